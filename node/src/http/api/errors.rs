//! Every error that a client can meet: one exhaustive match per kind. The codes are stable; `docs/http-api.md` lists
//! them all.

use std::borrow::Cow;

use crate::core::{AppendError, BodyError, CreateError, DeleteError, PinError};
use crate::http::wire::{Body, Problem, ResponseHead};
use crate::runtime::{Failure, ReadError};
use crate::types::NameError;

/// A request that is malformed: nothing was asked of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What kind of error.
    pub problem: Problem,
    /// What exactly.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    /// A header that is malformed or contradicts another.
    pub fn header(detail: impl Into<Cow<'static, str>>) -> Self {
        let problem = Problem::refused(400, "invalid_header", "A header is malformed");
        Self { problem, detail: detail.into() }
    }

    /// A body in a coding that nobody here undoes.
    #[must_use]
    pub fn coding() -> Self {
        let problem = Problem::refused(415, "unknown_content_coding", "The body has a content coding");
        Self {
            problem,
            detail: Cow::Borrowed("send the body without Content-Encoding: it is stored as it comes"),
        }
    }

    /// An offset that is none.
    pub fn offset(detail: &'static str) -> Self {
        let problem = Problem::refused(400, "invalid_offset", "The offset is malformed");
        Self { problem, detail: Cow::Borrowed(detail) }
    }

    /// A query parameter that is malformed.
    pub fn query(detail: &'static str) -> Self {
        let problem = Problem::refused(400, "invalid_query", "The query is malformed");
        Self { problem, detail: Cow::Borrowed(detail) }
    }

    /// A name that is none.
    #[must_use]
    pub fn name(error: NameError) -> Self {
        let problem = Problem::refused(400, "invalid_name", "The stream name is not acceptable");
        Self { problem, detail: error.to_string().into() }
    }

    /// Answers with it.
    pub fn write<L>(&self, out: &mut ResponseHead) -> Body<L> {
        Body::Full(self.problem.write(out, &self.detail))
    }
}

const NOT_FOUND: Problem = Problem::refused(404, "stream_not_found", "There is no such stream");
const GONE: Problem = Problem::refused(410, "stream_deleted", "The stream was deleted");
const STREAM_FULL: Problem = Problem::refused(413, "stream_full", "The stream is as large as it may be");

/// Of a PUT.
pub(super) fn create_problem(error: &CreateError) -> Problem {
    match error {
        CreateError::Conflict(_) => {
            Problem::refused(409, "stream_exists", "A stream of this name has another configuration")
        }
        CreateError::Retired => Problem::refused(
            409,
            "stream_name_held",
            "The name belongs to a deleted stream that forks still read",
        ),
        CreateError::Source(error) => pin_problem(*error),
        // The engine pins and asks again; a client sees this only if the stream vanished in between.
        CreateError::Unpinned => {
            Problem::refused(503, "fork_interrupted", "The fork was interrupted").retry_after(1)
        }
        CreateError::ForkType { .. } => {
            Problem::refused(409, "fork_content_type", "The fork's source has another content type")
        }
        CreateError::SubOffset => {
            Problem::refused(400, "fork_sub_offset_beyond_append", "The fork sub-offset is too large")
        }
        CreateError::Body(error) => body_problem(error),
        CreateError::StreamFull { .. } => STREAM_FULL,
    }
}

fn pin_problem(error: PinError) -> Problem {
    match error {
        PinError::NotFound => {
            Problem::refused(404, "fork_source_not_found", "The source of the fork does not exist")
        }
        PinError::Retired => {
            Problem::refused(409, "fork_source_deleted", "The source of the fork was deleted")
        }
        PinError::BeyondTail => {
            Problem::refused(400, "fork_offset_beyond_tail", "The fork offset is too large")
        }
        PinError::BeforeEarliest => {
            Problem::refused(410, "fork_offset_trimmed", "The source no longer keeps the fork offset")
        }
        PinError::Misaligned => {
            Problem::refused(400, "fork_offset_misaligned", "The fork offset is no message boundary")
        }
        PinError::TooDeep => Problem::refused(409, "fork_too_deep", "Forks are nested too deep"),
    }
}

fn body_problem(error: &BodyError) -> Problem {
    match error {
        BodyError::InvalidJson(_) => Problem::refused(400, "invalid_json", "The body is not valid JSON"),
        BodyError::EmptyArray => Problem::refused(400, "empty_array", "The body carries no message"),
        BodyError::TooManyMessages => {
            Problem::refused(413, "too_many_messages", "The body carries too many messages")
        }
    }
}

/// Of a POST.
pub(super) fn append_problem(error: &AppendError) -> Problem {
    match error {
        AppendError::NotFound => NOT_FOUND,
        AppendError::Gone => GONE,
        AppendError::EmptyBody => Problem::refused(400, "empty_body", "The body is empty"),
        AppendError::MissingContentType => {
            Problem::refused(400, "missing_content_type", "The Content-Type is missing")
        }
        AppendError::Body(error) => body_problem(error),
        AppendError::Fenced { .. } => {
            Problem::refused(403, "producer_fenced", "A newer epoch of this producer has written")
        }
        AppendError::Closed { .. } => Problem::refused(409, "stream_closed", "The stream is closed"),
        AppendError::ContentType { .. } => {
            Problem::refused(409, "content_type_mismatch", "The stream has another content type")
        }
        AppendError::EpochStart => {
            Problem::refused(400, "producer_epoch_start", "A new producer epoch begins with sequence 0")
        }
        AppendError::SequenceGap { .. } => {
            Problem::refused(409, "producer_sequence_gap", "The producer's sequence has a gap")
        }
        AppendError::StreamSeq => {
            Problem::refused(409, "stream_seq_conflict", "Stream-Seq is not greater than the last one")
        }
        AppendError::TailMoved { .. } => {
            Problem::refused(412, "tail_moved", "The stream's tail is not the expected one")
        }
        AppendError::StreamFull { .. } => STREAM_FULL,
        AppendError::TooManyProducers { .. } => {
            Problem::refused(409, "too_many_producers", "The stream remembers as many producers as it may")
        }
    }
}

/// Of a DELETE.
pub(super) fn delete_problem(error: DeleteError) -> Problem {
    match error {
        DeleteError::NotFound => NOT_FOUND,
        DeleteError::Gone => GONE,
    }
}

/// Of a GET or HEAD.
pub(super) fn read_problem(error: &ReadError) -> Problem {
    match error {
        ReadError::NotFound => NOT_FOUND,
        ReadError::Gone => GONE,
        ReadError::Trimmed { .. } => {
            Problem::refused(410, "offset_trimmed", "These messages are no longer kept")
        }
        ReadError::BeyondTail { .. } => {
            Problem::refused(400, "offset_beyond_tail", "The offset lies beyond the stream's tail")
        }
        ReadError::Misaligned => {
            Problem::refused(400, "offset_misaligned", "The offset is no message boundary of this stream")
        }
        ReadError::Failure(failure) => failure_problem(failure),
    }
}

/// The node's own trouble.
pub(super) fn failure_problem(failure: &Failure) -> Problem {
    match failure {
        Failure::DiskFull => Problem::refused(507, "disk_full", "The volume is full").retry_after(10),
        Failure::NodeFull { .. } => {
            Problem::refused(507, "node_full", "The node holds as many bytes as it may").retry_after(10)
        }
        Failure::LinksFull { .. } => {
            Problem::refused(507, "links_full", "Subscriptions link as many streams as they may")
                .retry_after(10)
        }
        Failure::Overloaded => OVERLOADED,
        Failure::ShuttingDown => {
            Problem::refused(503, "shutting_down", "The node is shutting down").retry_after(1)
        }
        Failure::ShardDamaged { .. } => {
            Problem::refused(503, "shard_damaged", "A shard is damaged").retry_after(30)
        }
        Failure::ShardReopening { .. } => {
            Problem::refused(503, "shard_reopening", "A shard is being opened again").retry_after(1)
        }
        Failure::ShardBusy { .. } => {
            Problem::refused(503, "shard_busy", "A shard's tables are being put in order").retry_after(1)
        }
        Failure::Corrupt => Problem::refused(500, "data_corrupt", "Stored data fails its checksum"),
        Failure::NotLeader { .. } => NOT_LEADER,
        Failure::NoLeader { .. } => {
            Problem::refused(503, "no_leader", "The shard has no leader").retry_after(1)
        }
        Failure::Ahead { .. } => {
            Problem::refused(503, "followers_behind", "The followers of a shard do not keep up")
                .retry_after(1)
        }
        Failure::Unreplicated { .. } => {
            Problem::refused(503, "not_replicated", "Too few followers have taken the write")
                .retry_after(1)
                .unknown()
        }
        Failure::LeaderLost => {
            Problem::refused(503, "leader_lost", "The leader was replaced or did not answer")
                .retry_after(1)
                .unknown()
        }
        Failure::LogFailed => {
            Problem::refused(503, "log_failed", "The log failed while the write was under way")
                .retry_after(1)
                .unknown()
        }
    }
}

/// More work than there is room for.
pub(super) const OVERLOADED: Problem =
    Problem::refused(503, "overloaded", "The server has as much work as it may hold").retry_after(1);

/// Nothing was done, and the leader would do it.
pub(super) const NOT_LEADER: Problem =
    Problem::refused(503, "not_leader", "Another node leads the shard").retry_after(1);

/// Another node has passed it on to somebody who was at this address before.
pub(super) const MISDIRECTED: Problem = Problem::refused(421, "misdirected", "Another node is meant");

/// Why an answer is not given.
pub(super) const NO_ROOM_FOR_ANSWER: &str = "too many response bytes are in flight; send the request again";
/// Why a body of many messages is not taken.
pub(super) const NO_ROOM_FOR_LENGTHS: &str = "too many request bytes are in flight to keep the lengths of so many messages; \
     send the request again, or fewer messages at a time";

/// Answers with the node's own trouble.
pub(super) fn write_failure<L>(out: &mut ResponseHead, failure: &Failure) -> Body<L> {
    Body::Full(failure_problem(failure).write(out, &failure.to_string()))
}

/// Answers a failed GET or HEAD.
pub(super) fn write_read_error<L>(out: &mut ResponseHead, error: &ReadError) -> Body<L> {
    let body = read_problem(error).write(out, &error.to_string());
    match error {
        ReadError::Trimmed { earliest } => out.header("Stream-Earliest-Offset", &earliest.to_text()),
        ReadError::BeyondTail { tail } => out.header("Stream-Next-Offset", &tail.to_text()),
        ReadError::NotFound | ReadError::Gone | ReadError::Misaligned | ReadError::Failure(_) => {}
    }
    Body::Full(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::Outcome;
    use crate::types::ShardId;

    #[test]
    fn a_failure_is_called_refused_only_if_it_says_so_itself() {
        let (shard, reason) = (ShardId(3), std::sync::Arc::<str>::from("a page"));
        let all = [
            Failure::DiskFull,
            Failure::NodeFull { limit: 1 },
            Failure::LinksFull { limit: 1 },
            Failure::Overloaded,
            Failure::ShuttingDown,
            Failure::ShardDamaged { shard, reason: std::sync::Arc::clone(&reason) },
            Failure::ShardReopening { shard, reason },
            Failure::ShardBusy { shard },
            Failure::Corrupt,
            Failure::NotLeader { shard },
            Failure::NoLeader { shard },
            Failure::Ahead { shard },
            Failure::Unreplicated { shard },
            Failure::LeaderLost,
            Failure::LogFailed,
        ];
        for failure in all {
            let may_have_happened = failure.to_string().contains("may or may not");
            let problem = failure_problem(&failure);
            assert_eq!(failure.refused(), !may_have_happened, "{failure}");
            assert_eq!(problem.outcome == Outcome::Refused, !may_have_happened, "{failure}");
        }
        let plain = failure_problem(&Failure::LeaderLost).title;
        assert!(plain.contains("replaced or did not answer"), "nobody knows which: {plain}");
    }
}
