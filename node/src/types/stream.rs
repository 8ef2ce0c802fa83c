//! What a stream is: its configuration (fixed at creation) and its state at one point of the shard's log.

use bytes::Bytes;

use super::{ContentType, Framing, Offset, PinId, ShardId, StreamId, StreamName, UnixMillis};

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lifetime {
    /// Never.
    #[default]
    Forever,
    /// This many seconds after the last read or write (`Stream-TTL`).
    Sliding(u64),
    /// At a fixed instant (`Stream-Expires-At`).
    Until(UnixMillis),
}

impl Lifetime {
    /// When a stream that was last touched at `touched_at` ends, if ever.
    #[must_use]
    pub fn deadline(self, touched_at: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Forever => None,
            Self::Sliding(seconds) => Some(touched_at.plus(seconds.saturating_mul(1000))),
            Self::Until(at) => Some(at),
        }
    }
}

/// How much of a stream is kept (`Stream-Retain-…`); `None` keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Retention {
    /// Messages older than this many seconds may go.
    pub seconds: Option<u64>,
    /// The oldest messages may go once more payload bytes than this are kept.
    pub bytes: Option<u64>,
    /// The oldest messages may go once more messages than this are kept.
    pub messages: Option<u64>,
}

/// What a fork request named; part of the fork's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkOrigin {
    /// The source.
    pub source: StreamName,
    /// The divergence point (resolved: the source's tail when the request named none).
    pub offset: Offset,
    /// Messages (JSON) or bytes behind the divergence point that the fork copied; 0 = none.
    pub sub_offset: u64,
}

/// What creation fixed. A PUT of an existing stream succeeds only if all of it (and the closure state) matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamConfig {
    /// Content type.
    pub content_type: ContentType,
    /// When it ends by itself.
    pub lifetime: Lifetime,
    /// How much is kept.
    pub retention: Retention,
    /// Where it was forked from.
    pub fork: Option<ForkOrigin>,
}

/// Where the data before a fork's own data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The source's shard.
    pub shard: ShardId,
    /// The source's id there (the name may belong to another stream by now).
    pub stream: StreamId,
    /// Data of the parent up to this offset belongs to the fork.
    pub upto: Offset,
    /// The pin that keeps it there.
    pub pin: PinId,
    /// How many streams a read may have to walk up: 1 when the source is no fork itself.
    pub depth: u32,
}

/// The id that an idempotent producer chose: 1 to `PRODUCER_ID_BYTES_MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub Bytes);

/// Last accepted position of a producer on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerState {
    /// The producer's epoch: a higher one fences the lower.
    pub epoch: u64,
    /// The last accepted sequence number (one per request).
    pub seq: u64,
}

/// The producer headers of one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProducerStamp {
    /// Who.
    pub id: ProducerId,
    /// Which epoch and sequence number.
    pub state: ProducerState,
}

/// `Stream-Seq`: opaque, compared bytewise, one sequence per stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamSeq(pub Bytes);

/// A token that tells a re-created stream from the old one: equal on all replicas, different for each creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// The durable state of a stream at one log index (without its messages and producers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMeta {
    /// Its id in this shard.
    pub id: StreamId,
    /// Its name.
    pub name: StreamName,
    /// What creation fixed.
    pub config: StreamConfig,
    /// When it was created (leader's clock).
    pub created_at: UnixMillis,
    /// When it was last written to or, as far as recorded, read (leader's clock); base of the sliding window.
    pub touched_at: UnixMillis,
    /// Where its own data begins: the fork point, else zero. Data before it is the parent's.
    pub base: Offset,
    /// The earliest offset that may be read; advanced by retention.
    pub earliest: Offset,
    /// The end.
    pub tail: Offset,
    /// Closed for good.
    pub closed: bool,
    /// The producer request that closed it: its retry is a duplicate, not an error.
    pub closed_by: Option<ProducerStamp>,
    /// The last accepted `Stream-Seq`.
    pub last_seq: Option<StreamSeq>,
    /// Where the data before `base` lies.
    pub parent: Option<Parent>,
    /// Living forks that read from this stream.
    pub pins: u32,
    /// Deleted or expired, but kept because forks read from it: answers 410.
    pub retired: bool,
}

impl StreamMeta {
    /// How its messages stand next to each other.
    #[must_use]
    pub fn framing(&self) -> Framing {
        if self.config.content_type.is_json() { Framing::Json } else { Framing::Plain }
    }

    /// When the stream ends unless it is touched, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixMillis> {
        self.config.lifetime.deadline(self.touched_at)
    }
}
