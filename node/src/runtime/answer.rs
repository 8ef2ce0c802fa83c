//! What the engine answers to a reader, and the failures that no request causes.

use std::sync::Arc;

use crate::types::{Incarnation, Offset, Segment, ShardId, StreamConfig};

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// `-1` or no offset: the earliest kept message.
    Start,
    /// `now`: the tail.
    Now,
    /// A boundary that an earlier answer named.
    At(Offset),
}

/// A stream's committed state at one moment.
#[derive(Debug, Clone)]
pub struct StreamState {
    /// Tells a re-created stream from the old one.
    pub incarnation: Incarnation,
    /// What creation fixed.
    pub config: Arc<StreamConfig>,
    /// The earliest offset that may be read.
    pub earliest: Offset,
    /// The end.
    pub tail: Offset,
    /// Whether it is closed for good.
    pub closed: bool,
}

/// What one read found; all of it from one snapshot.
#[derive(Debug, Clone)]
pub struct ReadBatch {
    /// The stream at that moment.
    pub state: StreamState,
    /// Where the batch begins.
    pub start: Offset,
    /// Where to read next.
    pub next: Offset,
    /// The messages, in order, without holes. Empty at the tail.
    pub segments: Vec<Segment>,
}

impl ReadBatch {
    /// Bytes of its messages.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.messages.wire().len()).sum()
    }

    /// Whether the batch reaches the tail.
    #[must_use]
    pub fn up_to_date(&self) -> bool {
        self.next == self.state.tail
    }

    /// Whether the batch reaches the end of a closed stream.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.state.closed && self.up_to_date()
    }
}

/// What a tailing reader meets next.
#[derive(Debug, Clone)]
pub enum TailEvent {
    /// New messages, or the closure (then the batch is `finished`).
    Batch(ReadBatch),
    /// Nothing happened until the deadline.
    TimedOut(StreamState),
    /// The stream was deleted or expired while waiting.
    Ended(ReadError),
    /// The node is shutting down: end the answer cleanly, the client comes back.
    ShuttingDown(StreamState),
}

/// Why a read was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No such stream.
    #[error("there is no stream of this name")]
    NotFound,
    /// Deleted, but forks still read its data.
    #[error("the stream was deleted")]
    Gone,
    /// Retention let these messages go.
    #[error("messages before {earliest} are no longer kept")]
    Trimmed {
        /// The earliest readable offset.
        earliest: Offset,
    },
    /// The offset lies behind the tail.
    #[error("the offset lies beyond the stream's tail {tail}")]
    BeyondTail {
        /// The tail.
        tail: Offset,
    },
    /// The offset lies inside a message.
    #[error("the offset is no message boundary of this stream")]
    Misaligned,
    /// The node's own trouble.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// The node's own trouble: not the request's fault. Says whether the write can have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Refused: the volume is full; reads go on, writes go on by themselves when there is room.
    #[error("the volume is full; the write was not accepted")]
    DiskFull,
    /// Refused: the configured total of bytes is reached.
    #[error("the node holds as many bytes as it may ({limit}); delete streams or raise the limit")]
    NodeFull {
        /// The configured bound.
        limit: u64,
    },
    /// Refused: a subscription's pattern means the new stream, and no more links fit.
    #[error(
        "subscriptions link as many streams as they may ({limit}); remove some, or narrow their patterns"
    )]
    LinksFull {
        /// The bound.
        limit: usize,
    },
    /// Refused: too much work is waiting.
    #[error("the node has as much work as it may hold; send the request again")]
    Overloaded,
    /// Refused: the node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// Refused: this shard's data is damaged and waits for repair.
    #[error("shard {shard} is damaged and refuses service: {reason}")]
    ShardDamaged {
        /// Which.
        shard: ShardId,
        /// What was found.
        reason: Arc<str>,
    },
    /// Refused: the device failed this shard's tables, or others take their place; they are being opened again, and then it is
    /// served again.
    #[error("shard {shard} is being opened again: {reason}")]
    ShardReopening {
        /// Which.
        shard: ShardId,
        /// What the device answered, or who replaces them.
        reason: Arc<str>,
    },
    /// Refused: this shard's tables are being compacted or opened again, and memory does not hold what was asked for.
    #[error(
        "the tables of shard {shard} are being compacted or opened again; only streams in memory are served"
    )]
    ShardBusy {
        /// Which.
        shard: ShardId,
    },
    /// Refused: stored bytes fail their checksum; they are never served.
    #[error("stored data fails its checksum and is not served")]
    Corrupt,
    /// Refused: leadership of the shard was lost before the write was decided.
    #[error("this node does not lead shard {shard}; nothing was done")]
    NotLeader {
        /// Which.
        shard: ShardId,
    },
    /// Refused: nobody led the shard, or its leader could not be reached, for as long as the request could wait.
    #[error("shard {shard} has no leader that can be reached at the moment; nothing was done")]
    NoLeader {
        /// Which.
        shard: ShardId,
    },
    /// Refused: followers do not take what this leader writes, and as much waits for a majority, or for as long, as may.
    #[error("the followers of shard {shard} do not take what is written; nothing was done")]
    Ahead {
        /// Which.
        shard: ShardId,
    },
    /// Unknown: it was written here, and no majority has it after a long wait.
    #[error("too few followers of shard {shard} have taken the write so far; it may or may not happen")]
    Unreplicated {
        /// Which.
        shard: ShardId,
    },
    /// Unknown: another leader took over while the write was being replicated, and may or may not have kept it; or the
    /// leader did not answer a request that was forwarded to it.
    #[error(
        "the shard's leader was replaced, or did not answer in time, while the write was under way; it may or may not have happened"
    )]
    LeaderLost,
    /// Unknown: the log failed while the write was under way; the node is going down.
    #[error("the log failed while the write was under way; it may or may not have happened")]
    LogFailed,
}

impl Failure {
    /// Whether the write certainly did not happen.
    #[must_use]
    pub fn refused(&self) -> bool {
        !matches!(self, Self::LogFailed | Self::LeaderLost | Self::Unreplicated { .. })
    }
}
