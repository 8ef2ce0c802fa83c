//! The record: the rows of all shards in one linearizable register with compare-and-set, and the versions that stale caches
//! show. Invariant: a write changes all of its rows or none, each as it was when it was read.

use std::collections::BTreeMap;

use thalweg_node::core::failover::RowChange;
use thalweg_node::core::replication::ShardRow;
use thalweg_node::types::ShardId;

use super::event::Shard;

/// The rows of all shards at one moment.
pub(super) type Rows = BTreeMap<ShardId, ShardRow>;

/// All rows with all their versions.
#[derive(Debug)]
pub(super) struct Record {
    versions: Vec<Rows>,
    /// A planted bug: whatever is written is taken.
    pub(super) without_precondition: bool,
}

/// The number of a shard as the product writes it.
pub(super) fn shard_id(shard: Shard) -> ShardId {
    ShardId(u16::try_from(shard).unwrap_or(u16::MAX))
}

impl Record {
    /// A record that begins with these rows.
    pub(super) fn new(rows: Vec<ShardRow>) -> Self {
        let rows = (0..).map(ShardId).zip(rows).collect();
        Self { versions: vec![rows], without_precondition: false }
    }

    /// How often they were written.
    pub(super) const fn writes(&self) -> usize {
        self.versions.len()
    }

    /// The rows as they are, or as they were `back` versions ago.
    pub(super) fn rows(&self, back: usize) -> &Rows {
        &self.versions[(self.versions.len() - 1).saturating_sub(back)]
    }

    /// The row of a shard as it is.
    pub(super) fn now(&self, shard: Shard) -> &ShardRow {
        &self.rows(0)[&shard_id(shard)]
    }

    /// Writes rows if all of them are as they were when they were read.
    pub(super) fn write(&mut self, changes: &[RowChange]) -> bool {
        let now = self.rows(0);
        let as_read = |change: &RowChange| now.get(&change.shard) == Some(&change.before);
        let done = self.without_precondition || changes.iter().all(as_read);
        if done {
            let mut rows = now.clone();
            rows.extend(changes.iter().map(|change| (change.shard, change.after.clone())));
            self.versions.push(rows);
        }
        done
    }
}
