//! Writes a snapshot from a cut through the tables, step by step: each step writes about one block, or says how long to
//! wait so that the rate is kept. Who calls decides how to wait and whether to go on.
//!
//! Invariants: memory is that of two blocks, whatever the shard holds; temporary file → sync → rename → sync directory;
//! a writing that is dropped or fails leaves no file; older snapshots go only after that, and never the newest.

use std::sync::Arc;
use std::time::Duration;

use super::directory::{Snapshots, Turn, file_name};
use super::error::SnapshotError;
use super::pace::Pace;
use super::progress::Progress;
use crate::codec::snapshot::{
    BLOCK_BYTES_MAX, BlocksHash, Compression, SnapshotFooter, SnapshotHeader, SnapshotKey, TABLES,
    encode_block, put_row, row_bytes,
};
use crate::codec::superblock::ClusterId;
use crate::seam::Clock;
use crate::seam::disk::{Dir, File};
use crate::store::publish::TEMPORARY_SUFFIX;
use crate::store::tables::{Cut, CutCursor, Identity, Reader};
use crate::types::{LogIndex, UnixMillis};

/// Bytes written between two syncs, so that the sync of a log on the same device never waits for a whole snapshot.
const SYNC_BYTES: u64 = 16 << 20;
/// Bytes written between two looks at what the volume has left.
const LOOK_BYTES: u64 = 4 << 20;

/// How a snapshot is written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// How blocks are compressed.
    pub compression: Compression,
    /// Bytes that are read from the tables, or written, per second at most.
    pub bytes_per_second: u64,
    /// The writing is given up before the volume has less left than this.
    pub free_bytes_min: u64,
    /// Snapshots that stay when this one is complete, itself included; at least one.
    pub keep: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { compression: Compression::None, bytes_per_second: u64::MAX, free_bytes_min: 0, keep: 2 }
    }
}

/// What a step has done.
#[derive(Debug)]
pub enum Step {
    /// A piece is written; go on.
    Wrote,
    /// Nothing was done: go on after this time.
    Wait(Duration),
    /// The snapshot is there, durably.
    Done(Taken),
}

/// A snapshot that was written.
#[derive(Debug)]
pub struct Taken {
    /// Of which index.
    pub index: LogIndex,
    /// Its file's name.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its rows before compression.
    pub raw_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// How long it took.
    pub took: Duration,
    /// How many older ones went, or why they did not: this one is there all the same.
    pub pruned: Result<usize, SnapshotError>,
}

/// A snapshot under way.
#[derive(Debug)]
pub struct Writing<'s> {
    snapshots: &'s Snapshots,
    options: WriteOptions,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    began: Duration,
    pace: Pace,
    cut: Cut,
    cursor: CutCursor,
    key: SnapshotKey,
    footer: SnapshotFooter,
    /// Rows of the block that is being gathered.
    rows: Vec<u8>,
    /// Encoded, not yet written.
    out: Vec<u8>,
    sink: Sink,
    _turn: Turn,
}

impl Snapshots {
    /// Begins a snapshot of what `tables` show now. One at a time.
    pub fn begin(
        &self,
        tables: &Reader,
        clock: &Arc<dyn Clock>,
        options: WriteOptions,
        progress: &Arc<Progress>,
    ) -> Result<Writing<'_>, SnapshotError> {
        let turn = self.turn()?;
        let cut = tables.cut()?;
        let header = header(self.identity, &cut, options.compression, clock.now());
        let (out, key) = header.encode();
        let sink = Sink::create(&self.directory, file_name(header.index), options.free_bytes_min)?;
        let hash = BlocksHash::new(key);
        let footer = SnapshotFooter { blocks: 0, bytes: 0, raw_bytes: 0, hash, rows: [0; TABLES] };
        let began = clock.elapsed();
        progress.begin(cut.rows());
        Ok(Writing {
            snapshots: self,
            options,
            clock: Arc::clone(clock),
            progress: Arc::clone(progress),
            began,
            pace: Pace::new(began, options.bytes_per_second),
            cut,
            cursor: CutCursor::default(),
            key,
            footer,
            rows: Vec::with_capacity(BLOCK_BYTES_MAX),
            out,
            sink,
            _turn: turn,
        })
    }
}

fn header(identity: Identity, cut: &Cut, compression: Compression, taken_at: UnixMillis) -> SnapshotHeader {
    let state = cut.state();
    SnapshotHeader {
        cluster: ClusterId(identity.layout),
        shard: identity.shard,
        shards: identity.shards,
        compression,
        index: state.applied.index,
        epoch: state.applied.epoch,
        chain: state.applied.chain,
        taken_at,
        epochs: state.epochs.iter().map(|start| (start.epoch, start.first)).collect(),
    }
}

impl Writing<'_> {
    /// Goes on. After an error nothing is left of it; it is not called again.
    pub fn step(&mut self) -> Result<Step, SnapshotError> {
        let moved = self.footer.raw_bytes.max(self.sink.written);
        if let Some(wait) = self.pace.wait(self.clock.elapsed(), moved) {
            return Ok(Step::Wait(wait));
        }
        let Some(table) = self.cursor.table() else { return self.finish().map(Step::Done) };
        let gathered = self.gather(table)?;
        self.footer.raw_bytes += self.rows.len() as u64;
        if gathered > 0 {
            let compression = self.options.compression;
            let number = self.footer.blocks;
            let checksum = encode_block(self.key, number, table, compression, &self.rows, &mut self.out);
            self.footer.hash.add(checksum);
            self.footer.blocks += 1;
            if let Some(rows) = self.footer.rows.get_mut(usize::from(table) - 1) {
                *rows += gathered;
            }
        }
        if self.out.len() >= BLOCK_BYTES_MAX / 2 {
            self.sink.write(&mut self.out)?;
        }
        self.progress.reached(self.sink.written, self.footer.rows_total());
        Ok(Step::Wrote)
    }

    /// Fills the block with rows of the table, as many as fit.
    fn gather(&mut self, table: u8) -> Result<u64, SnapshotError> {
        let rows = &mut self.rows;
        rows.clear();
        let (mut gathered, mut refused) = (0, None);
        self.cut.read(&mut self.cursor, |key, value| {
            let fits = rows.len() + row_bytes(key, value) <= BLOCK_BYTES_MAX;
            if fits {
                put_row(rows, key, value);
                gathered += 1;
            } else {
                refused = Some(row_bytes(key, value));
            }
            fits
        })?;
        match refused {
            // The limits of the engine keep every row far below this.
            Some(bytes) if gathered == 0 => Err(SnapshotError::Device {
                file: self.sink.name.clone(),
                verb: "written",
                error: std::io::Error::other(format!("a row of table {table} takes {bytes} bytes")),
            }),
            _ => Ok(gathered),
        }
    }

    fn finish(&mut self) -> Result<Taken, SnapshotError> {
        self.footer.bytes = self.sink.written + self.out.len() as u64;
        let footer = self.footer.encode(self.key);
        self.out.extend_from_slice(&footer);
        self.sink.write(&mut self.out)?;
        self.sink.publish()?;
        self.progress.reached(self.sink.written, self.footer.rows_total());
        Ok(Taken {
            index: self.cut.state().applied.index,
            file: self.sink.name.clone(),
            bytes: self.sink.written,
            raw_bytes: self.footer.raw_bytes,
            rows: self.footer.rows_total(),
            took: self.clock.elapsed().saturating_sub(self.began),
            pruned: self.snapshots.prune(self.options.keep),
        })
    }
}

/// The file on its way to its name.
#[derive(Debug)]
struct Sink {
    directory: Arc<dyn Dir>,
    name: String,
    file: Arc<dyn File>,
    free_bytes_min: u64,
    written: u64,
    synced: u64,
    looked: u64,
    published: bool,
}

impl Sink {
    fn create(directory: &Arc<dyn Dir>, name: String, free_bytes_min: u64) -> Result<Self, SnapshotError> {
        let first = temporary(&name);
        let file = match directory.create(&first) {
            // Left by a writing that could not remove it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                directory.remove(&first).and_then(|()| directory.create(&first))
            }
            created => created,
        };
        let file = file.map_err(SnapshotError::device(&name, "created"))?;
        let directory = Arc::clone(directory);
        let sink = Self {
            directory,
            name,
            file,
            free_bytes_min,
            written: 0,
            synced: 0,
            looked: 0,
            published: false,
        };
        sink.look()?;
        Ok(sink)
    }

    /// What is left on the volume must stay enough for the log.
    fn look(&self) -> Result<(), SnapshotError> {
        if self.free_bytes_min == 0 {
            return Ok(());
        }
        let free = self.directory.free_bytes().map_err(SnapshotError::device(&self.name, "written"))?;
        if free < self.free_bytes_min + LOOK_BYTES { Err(SnapshotError::Full) } else { Ok(()) }
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let failed = SnapshotError::device(&self.name, "written");
        self.file.write_at(out, self.written).map_err(&failed)?;
        self.written += out.len() as u64;
        out.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync().map_err(&failed)?;
            self.synced = self.written;
        }
        if self.written - self.looked >= LOOK_BYTES {
            self.looked = self.written;
            self.look()?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SnapshotError> {
        let failed = SnapshotError::device(&self.name, "written");
        self.file.sync().map_err(&failed)?;
        self.directory.rename(&temporary(&self.name), &self.name).map_err(&failed)?;
        self.published = true;
        self.directory.sync().map_err(&failed)
    }
}

fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY_SUFFIX}")
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now goes when the folder is opened the next time.
            let _left = self.directory.remove(&temporary(&self.name));
        }
    }
}
