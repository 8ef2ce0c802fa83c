//! What opening a lane found. The runtime logs it, counts it, and refuses the shards that miss records.

use std::collections::BTreeMap;

use crate::types::{LanePosition, LogIndex, ShardId};

/// What opening a lane found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was empty and the lane begins now.
    pub created: bool,
    /// The last thing in the log is the mark of a clean stop: nothing can be missing.
    pub clean: bool,
    /// Records delivered to the visitor.
    pub records: u64,
    /// Position of the first segment that is still there. Earlier ones were released, or are lost: a shard whose first record
    /// here lies beyond its checkpoint tells.
    pub start: LanePosition,
    /// Where reading began: what lies before is in the tables.
    pub read_from: LanePosition,
    /// Where appending goes on.
    pub tail: LanePosition,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<CutTail>,
    /// Damage before the end of what was known synced, in order.
    pub damaged: Vec<DamagedRange>,
    /// Records that a shard misses, or may miss, because of damage.
    pub gaps: Vec<ShardGap>,
    /// The last record that each shard had, as far as the records and the tables of heads in the log tell. Shards that
    /// may miss records are not among them, nor are those of which the log says nothing.
    pub heads: BTreeMap<ShardId, LogIndex>,
    /// There is damage, and no later mark says which shards exist: one that is nowhere in the log may miss records too.
    pub unseen_shards_suspect: bool,
}

/// Bytes behind the last valid record that no valid record says were synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutTail {
    /// Where the log now ends.
    pub at: LanePosition,
    /// Bytes that were cut.
    pub bytes: u64,
    /// Whole records among them: written, never synced, and behind one that did not reach the disk.
    pub records: u64,
    /// Whether a copy of them is in quarantine.
    pub kept: bool,
}

/// Bytes that were known synced and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRange {
    /// First damaged position.
    pub from: LanePosition,
    /// Position of the next valid record; when the end of the log is lost, just some position behind it.
    pub to: LanePosition,
    /// Whether a copy of them is in quarantine.
    pub kept: bool,
}

/// Records of one shard that are missing, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardGap {
    /// The shard.
    pub shard: ShardId,
    /// First missing index.
    pub from: LogIndex,
    /// Last missing index; `None`: nothing behind the damage tells how many there were, perhaps none.
    pub to: Option<LogIndex>,
}
