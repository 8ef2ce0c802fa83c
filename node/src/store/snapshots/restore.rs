//! Makes a shard's file of tables from a snapshot. Invariant: the file gets its name only after every byte of the snapshot
//! was checked and all rows are durably in it; a damaged snapshot is passed over for the newest older one that is intact,
//! and told of.

use std::sync::Arc;

use super::directory::{SNAPSHOTS_FOLDER, file_name, indexes};
use super::error::SnapshotError;
use super::progress::Progress;
use super::reader::{Refused, SnapshotFile};
use crate::seam::disk::Dir;
use crate::store::tables::{Identity, Place, Rebuild, ShardState, TablesError};
use crate::types::LogIndex;

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The state of the tables; its applied index is the snapshot's.
    pub state: ShardState,
    /// Newer snapshots that are damaged, newest first.
    pub damaged: Vec<SnapshotError>,
}

/// Restores one snapshot to `place`, where the shard must have no file. The place may be in another cluster.
pub fn restore(
    snapshot: &SnapshotFile,
    place: &Place,
    progress: &Progress,
) -> Result<ShardState, SnapshotError> {
    // The cluster is the caller's to judge; of another shard nothing fits.
    snapshot.must_be(Identity { layout: snapshot.header().cluster.0, ..place.identity })?;
    fill(snapshot, Rebuild::begin(place)?, progress)
}

/// Makes of a snapshot of this very cluster the file that may take the place of the one which the shard has.
pub fn restore_successor(
    snapshot: &SnapshotFile,
    place: &Place,
    progress: &Progress,
) -> Result<ShardState, SnapshotError> {
    snapshot.must_be(place.identity)?;
    fill(snapshot, Rebuild::begin_successor(place)?, progress)
}

fn fill(
    snapshot: &SnapshotFile,
    mut rebuild: Rebuild,
    progress: &Progress,
) -> Result<ShardState, SnapshotError> {
    let state = snapshot.walk(progress, |block| {
        if progress.is_given_up() {
            return Err(Refused::Other(SnapshotError::GivenUp));
        }
        rebuild.append(block.table, block.rows()).map_err(|error| match error {
            TablesError::Corrupt { cause, .. } => Refused::Bytes(cause),
            error => Refused::Other(error.into()),
        })
    })?;
    let held = rebuild.finish()?;
    // The tables read their state back from the device.
    if held == state {
        Ok(held)
    } else {
        Err(TablesError::Damaged { reason: "another state was read back".into() }.into())
    }
}

/// Restores the newest intact snapshot of those in `directory`, all of which must be of `of`; none newer than `upto`.
pub fn restore_newest(
    directory: &Arc<dyn Dir>,
    of: Identity,
    upto: Option<LogIndex>,
    place: &Place,
    progress: &Progress,
) -> Result<Restored, SnapshotError> {
    let found = indexes(directory.as_ref()).map_err(SnapshotError::device(SNAPSHOTS_FOLDER, "listed"))?;
    let mut damaged = Vec::new();
    for index in found.into_iter().rev().filter(|index| upto.is_none_or(|upto| *index <= upto)) {
        let attempt = SnapshotFile::open(directory.as_ref(), &file_name(index)).and_then(|snapshot| {
            snapshot.must_be(of)?;
            restore(&snapshot, place, progress)
        });
        match attempt {
            Ok(state) => return Ok(Restored { state, damaged }),
            Err(error) if error.is_damage() => damaged.push(error),
            Err(error) => return Err(error),
        }
    }
    Err(if damaged.is_empty() { SnapshotError::Absent } else { SnapshotError::NoneIntact(damaged) })
}
