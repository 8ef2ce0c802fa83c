//! A shard with snapshots on a simulated disk, and what stands in it as plain lists.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_node::codec::snapshot::Compression;
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::store::snapshots::{
    Progress, Restored, SnapshotError, Snapshots, Step as Stepped, Taken, WriteOptions, Writing, existing,
    restore_newest,
};
use thalweg_node::store::tables::{EpochStart, Place, Reader, Tables, TablesError};
use thalweg_node::types::{Boot, Epoch, LogIndex, Op, RecordEpoch, Space, UnixMillis};

use super::table_crash::Run;
use super::table_disk::Dice;
use super::table_model::{Plain, applied, expect_same, identity, scrubbed};

pub(crate) const CACHE_BYTES: usize = 256 << 10;

/// Tables that hold the beginning of a drawn run.
pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) run: Run,
    pub(crate) tables: Tables,
    /// Batches of the run that are applied.
    pub(crate) done: usize,
}

/// Where the tables lie that others are restored to.
pub(crate) fn place(disk: &SimulatedDisk, folder: &str) -> Place {
    let directory = disk.root().subdir(folder).unwrap();
    Place { directory, identity: identity(), cache_bytes: CACHE_BYTES, spare: None }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    let clock = ManualClock::default();
    clock.set(UnixMillis(1_000_000));
    Arc::new(clock)
}

/// The epoch that begins at a record, one in three.
fn epochs(last: u64) -> Vec<EpochStart> {
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(last) };
    if last.is_multiple_of(3) { vec![EpochStart { epoch, first: LogIndex(last) }] } else { Vec::new() }
}

impl World {
    pub(crate) fn new(seed: u64, batches: usize) -> Self {
        let disk = SimulatedDisk::new(seed).with_whole_sectors();
        let run = Run::drawn(&mut Dice(seed), batches);
        let tables = Tables::create_at(&place(&disk, "tables")).unwrap();
        Self { disk, run, tables, done: 0 }
    }

    /// Applies so many more batches; each of them changes a fact, too.
    pub(crate) fn apply(&mut self, batches: usize) {
        for _ in 0..batches {
            let batch = &self.run.batches[self.done];
            let mut ops = batch.ops.clone();
            let value = Bytes::from(batch.last.to_string());
            for key in [Bytes::from_static(b"last"), Bytes::from(format!("fact {}", batch.last))] {
                ops.push((LogIndex(batch.last), Op::Put { space: Space::Secret, key, value: value.clone() }));
            }
            self.tables.apply(&ops, applied(batch.last), &epochs(batch.last)).unwrap();
            if batch.reap > 0 {
                self.tables.reap(batch.reap).unwrap();
            }
            if batch.checkpoint {
                self.tables.checkpoint().unwrap();
            }
            self.done += 1;
        }
    }

    pub(crate) fn index(&self) -> LogIndex {
        self.tables.state().applied.index
    }

    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots::open(&self.disk.root(), identity()).unwrap()
    }

    pub(crate) fn take(&self, options: WriteOptions) -> Result<Taken, SnapshotError> {
        let snapshots = self.snapshots();
        finish(snapshots.begin(&self.tables.reader(), &clock(), options, &Arc::default())?)
    }

    /// Restores the newest snapshot of `disk` there, and holds it against the plain lists.
    pub(crate) fn expect_restored(&self, disk: &SimulatedDisk, folder: &str, what: &str) -> Restored {
        let restored = restored(disk, folder).unwrap_or_else(|error| panic!("{what}: {error}"));
        self.expect_tables(disk, folder, what);
        restored
    }

    /// Opens tables and holds them against the plain lists at their index.
    pub(crate) fn expect_tables(&self, disk: &SimulatedDisk, folder: &str, what: &str) {
        let tables = Tables::open_at(&place(disk, folder)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let index = tables.state().applied.index.0;
        assert_eq!(tables.state().applied, applied(index), "{what}");
        expect_same(&tables.reader(), self.plain(index), 7);
        assert_eq!(scrubbed(&tables.reader()), [] as [String; 0], "{what}");
    }

    pub(crate) fn plain(&self, index: u64) -> &Plain {
        &self.run.plains[usize::try_from(index).unwrap()]
    }
}

pub(crate) fn lz4() -> WriteOptions {
    WriteOptions { compression: Compression::Lz4, ..WriteOptions::default() }
}

/// Steps to the end without waiting.
pub(crate) fn finish(mut writing: Writing<'_>) -> Result<Taken, SnapshotError> {
    loop {
        if let Stepped::Done(taken) = writing.step()? {
            return Ok(taken);
        }
    }
}

/// Restores the newest snapshot of `disk` to a folder of it.
pub(crate) fn restored(disk: &SimulatedDisk, folder: &str) -> Result<Restored, SnapshotError> {
    let failed = |error| SnapshotError::Device { file: folder.to_owned(), verb: "opened", error };
    let from = existing(&disk.root(), identity().shard).map_err(failed)?.ok_or(SnapshotError::Absent)?;
    let directory = disk.root().subdir(folder).map_err(failed)?;
    let place = Place { directory, identity: identity(), cache_bytes: CACHE_BYTES, spare: None };
    restore_newest(&from, identity(), None, &place, &Progress::default())
}

/// The facts of a shard.
pub(crate) fn facts(reader: &Reader) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
    reader.facts(Space::Secret)
}
