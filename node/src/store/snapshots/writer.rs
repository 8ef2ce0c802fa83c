//! Writes a snapshot from a cut through the tables, step by step: each step writes about one block, or says how long to
//! wait so that the rate is kept. Who calls decides how to wait and whether to go on.
//!
//! Invariants: memory is that of a few blocks, whatever the shard holds; temporary file → sync → rename → sync directory;
//! a writing that is dropped or fails leaves no file; older snapshots go only after that, and never the newest.

use std::sync::Arc;
use std::time::Duration;

use super::directory::{Snapshots, Turn, file_name};
use super::error::SnapshotError;
use super::pace::Pace;
use super::progress::Progress;
use super::sink::{Form, Gathered, Sink, empty_rows};
use crate::codec::snapshot::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, Compression, FOOTER_BYTES, SnapshotHeader, put_row, row_bytes,
};
use crate::seam::Clock;
use crate::store::tables::{Cut, CutCursor, Identity, Reader};
use crate::types::ClusterId;
use crate::types::{LogIndex, UnixMillis};

/// How a snapshot is written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// How blocks are compressed.
    pub compression: Compression,
    /// Bytes of rows per second at most, before compression: what is read, and no less than what is written.
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
    keep: usize,
    clock: Arc<dyn Clock>,
    began: Duration,
    pace: Pace,
    cut: Cut,
    cursor: CutCursor,
    /// An empty buffer for the next block.
    rows: Vec<u8>,
    /// Bytes of all rows that were read.
    raw_bytes: u64,
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
        let WriteOptions { compression, bytes_per_second, free_bytes_min, keep } = options;
        let header = header(self.identity, &cut, compression, clock.now());
        let (bytes, key) = header.encode();
        progress.begin(cut.rows());
        let form = Form { key, compression, free_bytes_min };
        let sink = Sink::create(&self.directory, &file_name(header.index), bytes, form, progress)?;
        let began = clock.elapsed();
        Ok(Writing {
            snapshots: self,
            keep,
            clock: Arc::clone(clock),
            began,
            pace: Pace::new(began, bytes_per_second),
            cut,
            cursor: CutCursor::default(),
            rows: empty_rows(),
            raw_bytes: 0,
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
    /// Of which index it becomes one.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.cut.state().applied.index
    }

    /// Goes on. After an error nothing is left of it; it is not called again.
    pub fn step(&mut self) -> Result<Step, SnapshotError> {
        if let Some(wait) = self.pace.wait(self.clock.elapsed(), self.raw_bytes) {
            return Ok(Step::Wait(wait));
        }
        let Some(table) = self.cursor.table() else { return self.finish().map(Step::Done) };
        let block = self.gather(table)?;
        self.raw_bytes += (block.rows.len() - BLOCK_HEAD_BYTES) as u64;
        self.rows = if block.count > 0 { self.sink.put(block)? } else { block.rows };
        Ok(Step::Wrote)
    }

    /// Fills the block with rows of the table, as many as fit.
    fn gather(&mut self, table: u8) -> Result<Gathered, SnapshotError> {
        let mut rows = std::mem::take(&mut self.rows);
        let (mut count, mut refused) = (0, None);
        self.cut.read(&mut self.cursor, |key, value| {
            let bytes = row_bytes(key, value);
            let fits = rows.len() + bytes <= BLOCK_HEAD_BYTES + BLOCK_BYTES_MAX;
            if fits {
                put_row(&mut rows, key, value);
                count += 1;
            } else {
                refused = Some(bytes);
            }
            fits
        })?;
        match refused {
            // The limits of the engine keep every row far below this.
            Some(bytes) if count == 0 => Err(SnapshotError::Device {
                file: self.sink.name().to_owned(),
                verb: "written",
                error: std::io::Error::other(format!("a row of table {table} takes {bytes} bytes")),
            }),
            _ => Ok(Gathered { table, count, rows }),
        }
    }

    fn finish(&mut self) -> Result<Taken, SnapshotError> {
        let footer = self.sink.publish()?;
        Ok(Taken {
            index: self.cut.state().applied.index,
            file: self.sink.name().to_owned(),
            bytes: footer.bytes + FOOTER_BYTES as u64,
            raw_bytes: footer.raw_bytes,
            rows: footer.rows_total(),
            took: self.clock.elapsed().saturating_sub(self.began),
            pruned: self.snapshots.prune(self.keep),
        })
    }
}
