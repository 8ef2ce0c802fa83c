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
    // What was asked for before the fetch is as long as the file; compressed rows take many times as much.
    if folder.free_bytes()? < file.footer().raw_bytes.saturating_add(workshop.free_bytes_min) {
        return Err(Failed::Room);
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::snapshot::Compression;
    use crate::seam::disk::simulated::SimulatedDisk;
    use crate::seam::{Clock, ManualClock};
    use crate::store::reserve::Reserve;
    use crate::store::snapshots::{Snapshots, Step, WriteOptions, existing, file_name};
    use crate::store::tables::{Applied, EpochStart as Begins, Tables};
    use crate::types::{Chain, Epoch, Op, Space};

    const SHARD: ShardId = ShardId(1);
    /// Rows of zeros, of which nearly nothing is left once they are compressed.
    const ROWS: u32 = 200;
    const ROW_BYTES: usize = 4096;
    /// More than a file of tables with these rows takes.
    const FREE_BYTES: u64 = 64 << 20;

    /// A snapshot of the shard, where a fetch leaves it.
    fn fetched(workshop: &Workshop) -> SnapshotFile {
        let place = workshop.place(SHARD).unwrap();
        let mut tables = Tables::create_at(&place).unwrap();
        let value = Bytes::from(vec![0; ROW_BYTES]);
        let put = |row: u32| Op::Put {
            space: Space::Secret,
            key: Bytes::copy_from_slice(&row.to_be_bytes()),
            value: value.clone(),
        };
        let ops: Vec<(LogIndex, Op)> = (0..ROWS).map(|row| (LogIndex(1), put(row))).collect();
        let applied = Applied { index: LogIndex(1), chain: Chain(1), epoch: Epoch::default() };
        let begins = Begins { epoch: Epoch::default(), first: LogIndex(1) };
        tables.apply(&ops, applied, &[begins]).unwrap();
        let snapshots = Snapshots::open(&workshop.root, place.identity).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let options = WriteOptions { compression: Compression::Lz4, ..WriteOptions::default() };
        let mut writing = snapshots.begin(&tables.reader(), &clock, options, &Arc::default()).unwrap();
        while !matches!(writing.step().unwrap(), Step::Done(_)) {}
        let taken = existing(&workshop.root, SHARD).unwrap().unwrap();
        let from = taken.open(&file_name(LogIndex(1))).unwrap();
        let mut bytes = vec![0; usize::try_from(from.len().unwrap()).unwrap()];
        assert_eq!(from.read_at(&mut bytes, 0).unwrap(), bytes.len());
        let folder = workshop.folder().unwrap();
        folder.create(&part_name(SHARD)).unwrap().write_at(&bytes, 0).unwrap();
        SnapshotFile::open(folder.as_ref(), &part_name(SHARD)).unwrap()
    }

    #[test]
    fn no_tables_are_made_of_a_small_snapshot_whose_rows_would_leave_too_little_room() {
        let disk = SimulatedDisk::new(1);
        let mut workshop = Workshop {
            root: disk.root(),
            cluster: [7; 16],
            shards: ShardCount::new(4).unwrap(),
            cache_bytes: 1 << 20,
            spare: Arc::new(Reserve::open(&disk.root(), 0).unwrap()),
            free_bytes_min: 0,
        };
        let file = fetched(&workshop);
        let (image, rows) = (image_of(&file).unwrap(), file.footer().raw_bytes);
        assert!(2 * image.bytes < rows, "{} bytes of {rows}", image.bytes);
        disk.set_capacity(disk.used() + FREE_BYTES);
        // Room for another such file, but not for its rows.
        workshop.free_bytes_min = FREE_BYTES - rows + 1;
        let folder = workshop.folder().unwrap();
        let made =
            |workshop: &Workshop| build(folder.as_ref(), workshop, SHARD, &image, &Progress::default());
        assert!(matches!(made(&workshop), Err(Failed::Room)));
        workshop.free_bytes_min -= 1;
        made(&workshop).unwrap();
    }
}
