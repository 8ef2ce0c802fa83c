//! What a caller says when it opens a lane or appends to it, and what it gets back.

use std::ops::Range;

use crate::codec::record::{LaneKey, RecordKind};
use crate::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, ShardId};

/// How a lane is laid out. Sizes may change from start to start; identity may not.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// Which lane.
    pub lane: LaneId,
    /// Its identity on this volume: seeds all checksums.
    pub uuid: [u8; 16],
    /// Whether an empty directory becomes a new lane; otherwise it is [`super::LaneError::Missing`].
    pub may_create: bool,
    /// Bytes of a new segment, at least.
    pub segment_bytes: u64,
    /// New segments grow to this as the log grows.
    pub segment_bytes_max: u64,
    /// Released segments kept for use again.
    pub free_segments_max: usize,
    /// The last boot that was counted durably, by whoever counts each one before the first record of it: a log that was
    /// closed in this boot has nothing behind its close. `None`: nobody counts.
    pub boot: Option<Boot>,
}

impl LaneOptions {
    /// A lane with the default sizes.
    #[must_use]
    pub const fn new(lane: LaneId, uuid: [u8; 16], may_create: bool) -> Self {
        Self {
            lane,
            uuid,
            may_create,
            segment_bytes: 8 << 20,
            segment_bytes_max: 64 << 20,
            free_segments_max: 8,
            boot: None,
        }
    }

    /// The key that seeds the lane's checksums.
    #[must_use]
    pub fn key(&self) -> LaneKey {
        LaneKey::new(self.lane, self.uuid)
    }

    /// Bytes that only records other than batches may use when the volume is full: a promise, an epoch-start entry, a
    /// config and a cut for each of 256 shards, several times over.
    pub(super) fn reserve_bytes(&self) -> u64 {
        (self.segment_bytes / 8).min(256 * 1024)
    }
}

/// What the caller decides about a record.
#[derive(Debug, Clone, Copy)]
pub struct RecordHead {
    /// What it is.
    pub kind: RecordKind,
    /// Whose.
    pub shard: ShardId,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// Its index; for a cut, the last index kept.
    pub index: LogIndex,
    /// The chain before it; for a cut, after `index`.
    pub chain: Chain,
}

/// Where an appended record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its position.
    pub position: LanePosition,
    /// The position behind it: it is durable when [`super::Lane::synced`] has reached this.
    pub end: LanePosition,
    /// Its payload within the batch that the next [`super::Lane::write`] returns.
    pub payload: Range<usize>,
    /// The shard's chain after it.
    pub chain: Chain,
}
