//! Where a fetch lies, and what is made of it: a file of tables beside that of the shard, from rows that were all checked.
//! Invariant: of a snapshot that is not what was offered, or not intact, nothing is made.

use std::io;
use std::sync::Arc;

use super::Failed;
use super::part::{part_name, remove_part};
use crate::core::replication::{EpochStart, History, Image};
use crate::seam::disk::Dir;
use crate::store::reserve::Spare;
use crate::store::snapshots::{Progress, SnapshotError, SnapshotFile, restore_successor};
use crate::store::tables::{Identity, Place};
use crate::types::{LogIndex, ShardCount, ShardId};

/// The folder of what was fetched and not installed.
const FOLDER: &str = "seeding";

/// What a fetch needs of the node.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The data directory.
    pub(crate) root: Arc<dyn Dir>,
    /// The identity of all files of this volume.
    pub(crate) cluster: [u8; 16],
    pub(crate) shards: ShardCount,
    /// Memory for the pages of a file that is being made.
    pub(crate) cache_bytes: usize,
    pub(crate) spare: Arc<dyn Spare>,
    /// Room that must stay on the volume.
    pub(crate) free_bytes_min: u64,
}

impl Workshop {
    pub(super) fn folder(&self) -> io::Result<Arc<dyn Dir>> {
        self.root.subdir(FOLDER)
    }

    fn place(&self, shard: ShardId) -> io::Result<Place> {
        let identity = Identity { shard, shards: self.shards, layout: self.cluster };
        let spare = Some(Arc::clone(&self.spare));
        Ok(Place { directory: self.root.subdir("tables")?, identity, cache_bytes: self.cache_bytes, spare })
    }

    /// Removes what earlier starts left of a shard that is at `applied` by now: a file that waits for its place, and a fetch of
    /// no more than what is there.
    pub(super) fn tidy(&self, shard: ShardId, applied: LogIndex) -> io::Result<()> {
        self.place(shard)?.drop_successor()?;
        let folder = self.folder()?;
        match SnapshotFile::open(folder.as_ref(), &part_name(shard)) {
            Ok(file) if file.header().index <= applied => remove_part(folder.as_ref(), shard),
            _ => Ok(()),
        }
    }
}

/// Reads and checks all of a snapshot, and makes of it the file that may take the place of the shard's own.
pub(super) fn build(
    folder: &dyn Dir,
    workshop: &Workshop,
    shard: ShardId,
    image: &Image,
    progress: &Progress,
) -> Result<(), Failed> {
    let unfit = |error: SnapshotError| match error {
        SnapshotError::Full => Failed::Room,
        SnapshotError::GivenUp => Failed::Unwanted,
        SnapshotError::Device { error, .. } => Failed::Disk(error),
        error => Failed::Unfit(error.to_string()),
    };
    let file = SnapshotFile::open(folder, &part_name(shard)).map_err(unfit)?;
    if image_of(&file).as_ref() != Some(image) {
        return Err(Failed::Unfit("it is not what was offered".to_owned()));
    }
    restore_successor(&file, &workshop.place(shard)?, progress).map_err(unfit).map(drop)
}

/// A snapshot as replicas speak of it.
pub(crate) fn image_of(file: &SnapshotFile) -> Option<Image> {
    let header = file.header();
    let starts = header.epochs.iter().map(|(epoch, first)| EpochStart { epoch: *epoch, first: *first });
    let history = History::new(starts.collect(), header.index, header.chain).ok()?;
    Some(Image { history, bytes: file.bytes(), key: file.key().number() })
}
