//! What is told of snapshots, and how they are ordered from outside.

use std::sync::Arc;

use crate::runtime::control::Control;
use crate::store::snapshots::{Pinned, ProgressNow, SnapshotError};
use crate::types::{LogIndex, ShardId, UnixMillis};

/// Why no snapshot was taken. Writes do not hear of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoSnapshot {
    /// The shard is not served.
    #[error("{0}")]
    Unserved(Arc<str>),
    /// A crash of a node without a log takes it back behind what its tables show: only a stopped one can be taken.
    #[error(
        "a node without a log (aol: never) takes no snapshots while it runs; stop it and use `node snapshot`"
    )]
    NoLog,
    /// It could not be written. It may be tried again.
    #[error("{0}")]
    Failed(Arc<SnapshotError>),
    /// The node ends.
    #[error("the node is shutting down")]
    Ending,
}

impl From<SnapshotError> for NoSnapshot {
    fn from(error: SnapshotError) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// How the snapshots of a shard stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Which shard.
    pub shard: ShardId,
    /// Of which index the newest one is, if there is any.
    pub index: Option<LogIndex>,
    /// When that was taken.
    pub taken_at: Option<UnixMillis>,
    /// Bytes of its file.
    pub bytes: u64,
    /// One waits for its turn.
    pub is_ordered: bool,
    /// How far one is that is being written.
    pub under_way: Option<ProgressNow>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
}

impl Control {
    /// Has a snapshot of a shard taken now, and waits until it is durable under its name. What comes keeps the file from
    /// being removed.
    pub async fn snapshot(&self, shard: ShardId) -> Result<Pinned, NoSnapshot> {
        self.shared.snapshots.order(shard).await.unwrap_or(Err(NoSnapshot::Ending))
    }

    /// Orders one of each of these shards (all if there are none), and does not wait.
    pub fn order_snapshots(&self, shards: &[ShardId]) {
        let wanted = |shard: &ShardId| shards.is_empty() || shards.contains(shard);
        self.shared.count.shards().filter(wanted).for_each(|shard| self.shared.snapshots.order_only(shard));
    }

    /// How the snapshots of every shard stand.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotReport> {
        self.shared.snapshots.reports(self.shared.count.shards())
    }
}
