//! What a record of the log says: decided outcomes. Applying one cannot fail; every replica applies the same.

use bytes::Bytes;

use super::{
    Messages, Offset, PinId, ProducerStamp, StreamId, StreamMeta, StreamName, StreamSeq, UnixMillis,
};

/// One decided change. A record carries one or more, which happen wholly or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A stream begins to exist with exactly this state (its first messages follow as an [`Op::Append`] of the same record).
    Create(Box<StreamMeta>),
    /// Messages, a closure, or both, at the end of a stream.
    Append(AppendOp),
    /// The stream and all its data are gone; the data may be removed later, a bounded amount at a time.
    Delete {
        /// Which.
        stream: StreamId,
    },
    /// The stream answers 410 from now on; its data stays for the forks that read from it.
    Retire {
        /// Which.
        stream: StreamId,
    },
    /// A fork reads from this stream.
    Pin(PinOp),
    /// That fork is gone (or never came to be).
    Unpin {
        /// The source.
        stream: StreamId,
        /// The pin.
        pin: PinId,
    },
    /// Messages before `earliest` may not be read any more, and their data may be removed unless a fork holds it.
    Trim {
        /// Which.
        stream: StreamId,
        /// The new earliest offset, a message boundary.
        earliest: Offset,
    },
    /// The sliding window of a stream starts again.
    Touch {
        /// Which.
        stream: StreamId,
        /// The last read or write (leader's clock).
        at: UnixMillis,
    },
    /// A small fact beside the streams (subscriptions, links, keys): set.
    Put {
        /// Which kind of fact.
        space: Space,
        /// Its key, unique within the space.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A small fact beside the streams: gone.
    Erase {
        /// Which kind of fact.
        space: Space,
        /// Its key.
        key: Bytes,
    },
}

/// Kinds of small facts. Persisted: numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// A subscription's definition and state, on its home shard.
    Subscription = 1,
    /// A subscription's pattern, copied to every shard.
    Pattern = 2,
    /// A stream's link to a subscription, on the stream's shard.
    Link = 3,
    /// Keys of the cluster (the webhook signing key).
    Secret = 4,
    /// The newest committed sets of voters; written by applying a config record, never by a batch.
    Voters = 5,
}

impl Op {
    /// Whether it only lets go of what is stored, so that it is accepted on a full volume.
    #[must_use]
    pub fn frees_room(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Unpin { .. } | Self::Trim { .. } | Self::Erase { .. })
    }

    /// The stream that it changes, if it changes one.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Create(meta) => Some(meta.id),
            Self::Append(AppendOp { stream, .. })
            | Self::Delete { stream }
            | Self::Retire { stream }
            | Self::Pin(PinOp { stream, .. })
            | Self::Unpin { stream, .. }
            | Self::Trim { stream, .. }
            | Self::Touch { stream, .. } => Some(*stream),
            Self::Put { .. } | Self::Erase { .. } => None,
        }
    }
}

/// Messages, a closure, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOp {
    /// To which stream.
    pub stream: StreamId,
    /// The tail before.
    pub start: Offset,
    /// The messages; none for a mere closure.
    pub messages: Messages,
    /// Whether the stream is closed by it.
    pub close: bool,
    /// The idempotent producer, whose state moves with the data.
    pub producer: Option<ProducerStamp>,
    /// The new `Stream-Seq`.
    pub seq: Option<StreamSeq>,
    /// When (leader's clock).
    pub at: UnixMillis,
}

/// A fork's hold on its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinOp {
    /// The source.
    pub stream: StreamId,
    /// Names the pin; the fork's [`super::Parent`] carries the same.
    pub pin: PinId,
    /// The fork's name: where to look whether it still exists.
    pub fork: StreamName,
    /// The fork reads the source up to here.
    pub upto: Offset,
    /// When (leader's clock).
    pub at: UnixMillis,
}
