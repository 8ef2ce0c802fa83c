//! The words of the engine: ids, positions, offsets, names, sizes. Each number has a type of its own, so that an
//! index can never be taken for an offset. Nothing here reads a clock, a file or a socket.

mod content_type;
mod durability;
mod glob;
mod identity;
mod messages;
mod name;
mod numbers;
mod offset;
mod op;
mod party;
mod ranges;
mod roster;
mod start;
mod stream;
mod stream_map;
mod subscription;
mod voters;

pub mod limits;

pub use content_type::ContentType;
pub use durability::{Acks, AolMode, Durability, FsyncPolicy};
pub use glob::{Glob, GlobError};
pub use identity::{ClusterId, IdentityError, VolumeIncarnation};
pub use messages::{Framing, Lengths, Messages, Segment};
pub use name::{NameError, StreamName};
pub use numbers::{
    Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, PinId, RecordEpoch, ShardCount, ShardCountError,
    ShardId, StreamId, UnixMillis,
};
pub use offset::{Offset, OffsetError};
pub use op::{AppendOp, Op, PinOp, Space};
pub use party::Party;
pub use ranges::in_ranges;
pub use roster::{Member, Roster};
pub use start::{Met, Start, StartKey, TRAIL_STARTS_MAX, Trail};
pub use stream::{
    ForkOrigin, Incarnation, Lifetime, Parent, ProducerId, ProducerStamp, ProducerState, Retention,
    StreamConfig, StreamMeta, StreamSeq,
};
pub use stream_map::{StreamMap, StreamSet};
pub use subscription::{
    Definition, Delivery, Grant, Link, Phase, Share, Stage, Subscription, SubscriptionId,
    SubscriptionIdError, SubscriptionUid, WakeId,
};
pub use voters::{Config, ConfigVersion, Configs, ReplicaId, VOTERS_MAX, Voters};
