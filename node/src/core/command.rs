//! What may be asked of a shard, and every answer that it can give. HTTP maps these one to one.

use bytes::Bytes;

use super::{LinkCommand, LinkReply, SubscriptionCommand, SubscriptionError, SubscriptionOutcome};
pub use crate::codec::json::BodyError;
use crate::types::{
    ContentType, Lifetime, Messages, Offset, Parent, PinId, ProducerStamp, ProducerState, Retention, ShardId,
    StreamConfig, StreamId, StreamMeta, StreamName, StreamSeq, UnixMillis,
};

/// A request that may change a stream.
#[derive(Debug, Clone)]
pub enum Command {
    /// PUT.
    Create(Box<Create>),
    /// POST.
    Append(Append),
    /// DELETE.
    Delete(StreamName),
    /// First half of a fork, on the source's shard.
    Pin(Pin),
    /// The fork is gone or was refused.
    Unpin {
        /// The source.
        stream: StreamId,
        /// The pin.
        pin: PinId,
    },
    /// The sweeper believes that the stream's time is over. `touched_at` is the last read it knows of: if that moves the
    /// deadline beyond now, the stream is renewed instead.
    Expire {
        /// Which.
        stream: StreamId,
        /// The last read, if later than the last write.
        touched_at: Option<UnixMillis>,
    },
    /// The sweeper found what retention lets go.
    Trim {
        /// Which.
        stream: StreamId,
        /// A message boundary.
        earliest: Offset,
    },
    /// About a subscription whose home this shard is.
    Subscription(Box<SubscriptionCommand>),
    /// About a subscription's links to streams of this shard.
    Link(Box<LinkCommand>),
    /// Keep a key of the cluster unless there is one.
    Secret {
        /// Which.
        key: Bytes,
        /// The proposal.
        value: Bytes,
    },
}

impl Command {
    /// Whether it may add to what streams hold.
    #[must_use]
    pub fn adds_messages(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Append(_) | Self::Pin(_))
    }

    /// Whether it can only let go of what is stored (or, for a stream that forks still read, mark it so).
    #[must_use]
    pub fn frees_room(&self) -> bool {
        match self {
            Self::Delete(_) | Self::Unpin { .. } | Self::Expire { .. } | Self::Trim { .. } => true,
            Self::Subscription(command) => command.frees_room(),
            Self::Link(command) => command.frees_room(),
            Self::Create(_) | Self::Append(_) | Self::Pin(_) | Self::Secret { .. } => false,
        }
    }
}

/// PUT: create or confirm.
#[derive(Debug, Clone)]
pub struct Create {
    /// Which.
    pub name: StreamName,
    /// Content type, lifetime, retention, fork origin, as the request names them. What a fork leaves at its default
    /// (`Forever`, no retention, no content type) it inherits from the grant, and matches any when the stream exists.
    pub config: StreamConfig,
    /// Whether the request names a content type; a fork that does not matches any.
    pub content_type_given: bool,
    /// Whether the request names a fork offset; one that does not matches any.
    pub fork_offset_given: bool,
    /// `Stream-Closed: true`.
    pub closed: bool,
    /// Initial content. An error in it counts only if the stream would be created.
    pub body: Result<Option<Messages>, BodyError>,
    /// The source's grant when this is a fork (its pin is durable by now). A fork without one is answered from the
    /// stream that exists, else refused with [`CreateError::Unpinned`]: ask so first, and pin only then.
    pub fork: Option<Fork>,
}

impl Create {
    /// An open stream of this type, without content, that stays until it is deleted.
    #[must_use]
    pub fn empty(name: StreamName, content_type: ContentType) -> Self {
        Self {
            name,
            config: StreamConfig { content_type, ..StreamConfig::default() },
            content_type_given: true,
            fork_offset_given: false,
            closed: false,
            body: Ok(None),
            fork: None,
        }
    }
}

/// What the source's shard granted to a fork.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Where the data before the fork's own lies.
    pub parent: Parent,
    /// The source's earliest readable offset.
    pub earliest: Offset,
    /// The source's content type, which the fork must share.
    pub content_type: ContentType,
    /// The source's lifetime, for a fork that names none.
    pub lifetime: Lifetime,
    /// The source's retention, for a fork that names none.
    pub retention: Retention,
    /// The bytes of the source's next message that `Stream-Fork-Sub-Offset` copies, as one message of the fork.
    pub prefix: Option<Messages>,
}

impl Fork {
    /// The grant that a pin on a source of `shard` stands for.
    #[must_use]
    pub fn granted(shard: ShardId, pin: PinId, pinned: &Pinned, prefix: Option<Messages>) -> Self {
        let source = &pinned.meta;
        let depth = source.parent.map_or(0, |parent| parent.depth).saturating_add(1);
        Self {
            parent: Parent { shard, stream: source.id, upto: pinned.upto, pin, depth },
            earliest: source.earliest.min(pinned.upto),
            content_type: source.config.content_type.clone(),
            lifetime: source.config.lifetime,
            retention: source.config.retention,
            prefix,
        }
    }
}

/// POST: append, close, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Which.
    pub name: StreamName,
    /// The request's content type, if it names one.
    pub content_type: Option<ContentType>,
    /// The messages (`None`: empty body). An error counts only if the stream exists.
    pub body: Result<Option<Messages>, BodyError>,
    /// `Stream-Closed: true`.
    pub close: bool,
    /// `Producer-Id`, `-Epoch`, `-Seq`.
    pub producer: Option<ProducerStamp>,
    /// `Stream-Seq`.
    pub seq: Option<StreamSeq>,
    /// `If-Match`: the tail that the writer expects.
    pub if_match: Option<Offset>,
}

impl Append {
    /// Messages and nothing else: no producer, no condition, no closure.
    #[must_use]
    pub fn plain(name: StreamName, content_type: ContentType, messages: Option<Messages>) -> Self {
        let content_type = Some(content_type);
        Self {
            name,
            content_type,
            body: Ok(messages),
            close: false,
            producer: None,
            seq: None,
            if_match: None,
        }
    }
}

/// First half of a fork: hold the source's data.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The source.
    pub source: StreamName,
    /// The fork.
    pub fork: StreamName,
    /// The divergence point; `None` = the source's tail. The pin keeps the source's data up to here, so it must be where
    /// the fork's own data begins: a sub-offset that counts messages is added before pinning, not after.
    pub offset: Option<Offset>,
    /// Names the pin.
    pub pin: PinId,
}

/// PUT succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// False: it was there with the same configuration.
    pub new: bool,
    /// Its state now.
    pub meta: Box<StreamMeta>,
}

/// Why a PUT was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A stream of that name has another configuration.
    #[error("a stream of this name exists with another {0}")]
    Conflict(&'static str),
    /// The name belongs to a deleted stream that forks still read.
    #[error(
        "the stream was deleted, but forks still read its data; the name is free once they are deleted too"
    )]
    Retired,
    /// A fork that would be created came without its grant: pin the source, then send it again. Never sent to a client.
    #[error("the source of the fork is not pinned yet")]
    Unpinned,
    /// The source cannot be forked so.
    #[error(transparent)]
    Source(#[from] PinError),
    /// A fork names another content type than its source has.
    #[error("the content type of the fork's source is {expected}")]
    ForkType {
        /// The source's.
        expected: ContentType,
    },
    /// `Stream-Fork-Sub-Offset` reaches beyond the source's next append.
    #[error("the fork sub-offset lies beyond the append that starts at the fork offset")]
    SubOffset,
    /// See [`BodyError`].
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The initial content is larger than a stream may be.
    #[error("a stream may hold at most {limit} bytes")]
    StreamFull {
        /// The configured bound.
        limit: u64,
    },
}

/// POST succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// To which stream; tells a re-created one from the old.
    pub stream: StreamId,
    /// The tail now.
    pub tail: Offset,
    /// Whether the stream is closed now.
    pub closed: bool,
    /// The producer's highest accepted position, if one was named.
    pub producer: Option<ProducerState>,
    /// Whether this request had been accepted before (nothing was appended now).
    pub duplicate: bool,
    /// Whether messages were appended (a mere closure appends none).
    pub data: bool,
}

/// Why a POST was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No such stream.
    #[error("there is no stream of this name; create it with PUT")]
    NotFound,
    /// Deleted, but forks still read its data.
    #[error("the stream was deleted")]
    Gone,
    /// Neither a body nor `Stream-Closed: true`.
    #[error("the body is empty; send data, or Stream-Closed: true to close the stream")]
    EmptyBody,
    /// A body without `Content-Type`.
    #[error("a body needs a Content-Type")]
    MissingContentType,
    /// See [`BodyError`].
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A newer epoch of this producer has written.
    #[error("the producer was fenced: epoch {current} has written")]
    Fenced {
        /// The newest epoch.
        current: u64,
    },
    /// The stream is closed.
    #[error("the stream is closed")]
    Closed {
        /// Its final offset.
        tail: Offset,
    },
    /// Another content type.
    #[error("the stream's content type is {expected}")]
    ContentType {
        /// The stream's.
        expected: ContentType,
    },
    /// A new producer epoch that does not begin at 0.
    #[error("a new producer epoch begins with Producer-Seq 0")]
    EpochStart,
    /// A hole in the producer's sequence.
    #[error("Producer-Seq {received} came where {expected} was expected")]
    SequenceGap {
        /// What would be accepted.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// `Stream-Seq` not greater than the last.
    #[error("Stream-Seq must be greater than the last accepted one")]
    StreamSeq,
    /// `If-Match` names another tail.
    #[error("the stream's tail is {tail}")]
    TailMoved {
        /// The tail now.
        tail: Offset,
    },
    /// The stream's byte bound.
    #[error("a stream may hold at most {limit} bytes")]
    StreamFull {
        /// The configured bound.
        limit: u64,
    },
    /// The stream remembers as many producers as it may.
    #[error("a stream remembers at most {limit} producers")]
    TooManyProducers {
        /// The bound.
        limit: u32,
    },
}

/// DELETE succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The deleted stream's source, to be unpinned (only when the stream is gone for good).
    pub parent: Option<Parent>,
}

/// Why a DELETE was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// No such stream.
    #[error("there is no stream of this name")]
    NotFound,
    /// Deleted already, but forks still read its data.
    #[error("the stream was deleted already")]
    Gone,
}

/// The source is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The source's state.
    pub meta: Box<StreamMeta>,
    /// The divergence point.
    pub upto: Offset,
}

/// Why a source cannot be forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// No such source.
    #[error("the source of the fork does not exist")]
    NotFound,
    /// The source was deleted.
    #[error("the source of the fork was deleted")]
    Retired,
    /// The divergence point lies beyond the tail.
    #[error("the fork offset lies beyond the source's tail")]
    BeyondTail,
    /// The divergence point is no message boundary (the engine, which can read the source, finds most of these).
    #[error("the fork offset is no message boundary of the source")]
    Misaligned,
    /// The divergence point was let go by retention.
    #[error("the fork offset lies before the earliest kept message")]
    BeforeEarliest,
    /// Forks of forks, too deep.
    #[error("forks nest at most {} deep", crate::types::limits::FORK_DEPTH_MAX)]
    TooDeep,
}

/// The answer to a [`Command`], variant by variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Command::Create`].
    Create(Result<Created, CreateError>),
    /// To [`Command::Append`].
    Append(Result<Appended, AppendError>),
    /// To [`Command::Delete`].
    Delete(Result<Deleted, DeleteError>),
    /// To [`Command::Pin`].
    Pin(Result<Pinned, PinError>),
    /// To [`Command::Unpin`], [`Command::Expire`]: the source to unpin next, when a stream is gone for good by it.
    Released(Option<Parent>),
    /// To [`Command::Trim`].
    Trimmed,
    /// To [`Command::Subscription`].
    Subscription(Result<SubscriptionOutcome, SubscriptionError>),
    /// To [`Command::Link`].
    Link(LinkReply),
    /// To [`Command::Secret`]: the key that is kept.
    Secret(Bytes),
}
