//! From an answer's status and headers to an outcome.

use crate::checker::Dialect;
use crate::client::{Answer, Failure, Head};
use crate::history::{Action, Outcome, Position, Refusal, Seen};

/// The server says that the write may have happened.
const UNKNOWN: &str = r#""outcome":"unknown""#;
/// The name is taken by a deleted stream that forks still read.
const HELD: &str = r#""stream_name_held""#;
/// The producer's epoch is new, and the number is not its first.
const EPOCH_START: &str = r#""producer_epoch_start""#;

/// What happened to a request whose body needs no reading. `Err` names an answer that should not exist.
pub(super) fn outcome(
    action: &Action,
    answer: &Result<Answer, Failure>,
    dialect: Dialect,
) -> Result<Outcome, String> {
    let head = match answer {
        Ok(answer) => &answer.head,
        Err(failure) if failure.sent => return Ok(Outcome::Unknown),
        Err(_) => return Ok(Outcome::Refused(Refusal::Unavailable)),
    };
    let unexpected = || {
        let body = answer.as_ref().map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        format!("{action:?} was answered with {} {:.200}", head.status, body.unwrap_or_default())
    };
    match (action, head.status) {
        (Action::Read { .. }, 410) if head.earliest.is_some() => {
            let earliest = head.earliest.and_then(|text| dialect.parse(text.as_str()));
            Ok(Outcome::Refused(Refusal::Trimmed(earliest)))
        }
        (_, 404 | 410) => Ok(Outcome::Refused(Refusal::NotFound)),
        // The log failed under the write, or its leader was replaced: the server says itself that it does not know.
        (_, 503) if says(answer, UNKNOWN) => Ok(Outcome::Unknown),
        (_, 429 | 503 | 507) => Ok(Outcome::Refused(Refusal::Unavailable)),
        (_, 500..=599) => Ok(Outcome::Unknown),
        (Action::Create(_), 200 | 201) => seen(head, dialect)
            .map(|seen| Outcome::Created { new: head.status == 201, seen })
            .ok_or_else(unexpected),
        (Action::Create(_), 409) if says(answer, HELD) => Ok(Outcome::Refused(Refusal::Held)),
        (Action::Create(_), 409) => Ok(Outcome::Refused(Refusal::Conflict)),
        (Action::Append(append), 200 | 204) => {
            let duplicate = append.stamp.is_some() && head.status == 204;
            seen(head, dialect).map(|seen| Outcome::Appended { duplicate, seen }).ok_or_else(unexpected)
        }
        (Action::Append(append), 409) => {
            let refusal = if head.closed {
                Refusal::Closed(tail(head, dialect))
            } else if append.stamp.is_some() {
                Refusal::Gap(head.producer_expected)
            } else {
                Refusal::StreamSeq
            };
            Ok(Outcome::Refused(refusal))
        }
        // Numbers are left out on purpose, and the first of an epoch may still be under way.
        (Action::Append(append), 400) if append.stamp.is_some() && says(answer, EPOCH_START) => {
            Ok(Outcome::Refused(Refusal::EpochStart))
        }
        (Action::Append(append), 403) if append.stamp.is_some() => Ok(Outcome::Refused(Refusal::Fenced)),
        (Action::Append(append), 412) if append.if_match.is_some() => {
            Ok(Outcome::Refused(Refusal::TailMoved(tail(head, dialect))))
        }
        (Action::Head, 200) => seen(head, dialect).map(Outcome::Headed).ok_or_else(unexpected),
        (Action::Delete, 204) => Ok(Outcome::Deleted),
        _ => Err(unexpected()),
    }
}

/// Whether this is a part of the answer's body.
fn says(answer: &Result<Answer, Failure>, part: &str) -> bool {
    answer.as_ref().is_ok_and(|answer| memchr::memmem::find(&answer.body, part.as_bytes()).is_some())
}

fn tail(head: &Head, dialect: Dialect) -> Option<Position> {
    dialect.parse(head.next?.as_str())
}

fn seen(head: &Head, dialect: Dialect) -> Option<Seen> {
    Some(Seen { tail: tail(head, dialect)?, closed: head.closed })
}
