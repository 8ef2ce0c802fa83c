//! The words for snapshots.

use serde::{Deserialize, Serialize};

use super::Addressee;
use crate::runtime::SnapshotReport;
use crate::types::{LogIndex, ShardId};

/// How the snapshots of every shard of a node stand: `GET /admin/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// One for each shard of the node.
    pub snapshots: Vec<ShardSnapshot>,
}

/// How the snapshots of a shard stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSnapshot {
    /// Which shard.
    pub shard: ShardId,
    /// Of which index the newest one is.
    pub index: Option<LogIndex>,
    /// When that was taken, in milliseconds since 1970.
    pub taken_at_ms: Option<i64>,
    /// Bytes of its file.
    pub bytes: u64,
    /// One waits for its turn.
    pub is_ordered: bool,
    /// How far one is that is being written.
    pub under_way: Option<UnderWay>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderWay {
    /// Rows that are in it.
    pub rows: u64,
    /// Of how many.
    pub of_rows: u64,
    /// Bytes of its file so far.
    pub bytes: u64,
}

/// Orders snapshots: `POST /admin/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotAsk {
    /// Who is meant.
    pub to: Addressee,
    /// Of these shards; of all if there are none.
    #[serde(default)]
    pub shards: Vec<ShardId>,
}

impl From<SnapshotReport> for ShardSnapshot {
    fn from(report: SnapshotReport) -> Self {
        let SnapshotReport { shard, index, taken_at, bytes, is_ordered, under_way, failure } = report;
        let under_way =
            under_way.map(|now| UnderWay { rows: now.rows, of_rows: now.rows_total, bytes: now.bytes });
        let taken_at_ms = taken_at.map(|at| at.0);
        Self { shard, index, taken_at_ms, bytes, is_ordered, under_way, failure }
    }
}
