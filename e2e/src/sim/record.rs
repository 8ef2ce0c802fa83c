//! The record: one row per shard in a linearizable register with compare-and-set, and the versions that stale caches show.

use thalweg_node::core::replication::ShardRow;

use super::event::Shard;

/// Counts the changes of a row.
pub(super) type Version = usize;

/// A write, decided on the row as it was at a version.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) shard: Shard,
    pub(super) seen: Version,
    pub(super) row: ShardRow,
}

/// All rows with all their versions.
#[derive(Debug)]
pub(super) struct Record {
    rows: Vec<Vec<ShardRow>>,
}

impl Record {
    /// A record that begins with these rows.
    pub(super) fn new(rows: Vec<ShardRow>) -> Self {
        Self { rows: rows.into_iter().map(|row| vec![row]).collect() }
    }

    /// The row as it is, or as it was `back` versions ago.
    pub(super) fn row(&self, shard: Shard, back: usize) -> (Version, &ShardRow) {
        let versions = &self.rows[shard];
        let version = (versions.len() - 1).saturating_sub(back);
        (version, &versions[version])
    }

    /// The row as it is.
    pub(super) fn now(&self, shard: Shard) -> &ShardRow {
        self.row(shard, 0).1
    }

    /// Writes a row if nobody has written since it was read.
    pub(super) fn put(&mut self, put: Put, without_precondition: bool) -> bool {
        let versions = &mut self.rows[put.shard];
        let done = put.seen + 1 == versions.len() || without_precondition;
        if done {
            versions.push(put.row);
        }
        done
    }
}
