//! Reads a snapshot. Invariant: what leaves this file was checked; a walk that ends without an error has seen every byte
//! of the file, as it was written, in the order in which it was written. Memory is that of a few blocks: one thread reads
//! and checks them while another makes something of their rows.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, ScopedJoinHandle, scope};

use super::error::{Part, SnapshotError};
use super::progress::Progress;
use crate::codec::CodecError;
use crate::codec::snapshot::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, BlocksHash, FOOTER_BYTES, HEADER_BYTES_MAX, Rows,
    SnapshotFooter, SnapshotHeader, SnapshotKey, TABLES, open_block,
};
use crate::seam::disk::{Dir, File};
use crate::store::tables::content::{StateRows, check};
use crate::store::tables::{Identity, ShardState};

/// Blocks that are read ahead.
const AHEAD_MAX: usize = 4;
/// The table of the shard's state, which is the last one.
const STATE_TABLE: u8 = 9;

/// A snapshot whose header and footer were read and fit each other.
#[derive(Debug)]
pub struct SnapshotFile {
    name: String,
    file: Arc<dyn File>,
    header: SnapshotHeader,
    key: SnapshotKey,
    footer: SnapshotFooter,
    /// Where the first block begins.
    first: u64,
}

/// A block that was checked.
#[derive(Debug)]
pub(super) struct Block {
    /// The table's persisted number.
    pub(super) table: u8,
    part: Part,
    /// Where it ends in the file.
    end: u64,
    bytes: Vec<u8>,
}

impl Block {
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.bytes)
    }
}

impl SnapshotFile {
    /// Opens a snapshot; reads its two ends.
    pub fn open(directory: &dyn Dir, name: &str) -> Result<Self, SnapshotError> {
        let unread = SnapshotError::device(name, "read");
        let file = directory.open(name).map_err(&unread)?;
        let length = file.len().map_err(&unread)?;
        let mut front = vec![0; HEADER_BYTES_MAX.min(usize::try_from(length).unwrap_or(usize::MAX))];
        let count = file.read_at(&mut front, 0).map_err(&unread)?;
        front.truncate(count);
        let (header, key, first) =
            SnapshotHeader::decode(&front).map_err(SnapshotError::damaged(name, Part::Header))?;
        let at_end = SnapshotError::damaged(name, Part::Footer);
        let blocks_end = length.checked_sub(FOOTER_BYTES as u64).filter(|end| *end >= first as u64);
        let blocks_end = blocks_end.ok_or_else(|| at_end(CodecError::Truncated("the snapshot")))?;
        let mut back = [0; FOOTER_BYTES];
        let count = file.read_at(&mut back, blocks_end).map_err(&unread)?;
        let footer = SnapshotFooter::decode(key, &back[..count]).map_err(&at_end)?;
        if footer.bytes != blocks_end {
            return Err(at_end(CodecError::Impossible("the length of the snapshot")));
        }
        Ok(Self { name: name.to_owned(), file, header, key, footer, first: first as u64 })
    }

    /// What it is of.
    #[must_use]
    pub const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// What tells it from any other snapshot.
    #[must_use]
    pub const fn key(&self) -> SnapshotKey {
        self.key
    }

    /// The file, to be read as it is.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// What it says of its blocks.
    #[must_use]
    pub const fn footer(&self) -> &SnapshotFooter {
        &self.footer
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.footer.bytes + FOOTER_BYTES as u64
    }

    /// Refuses it unless it is of this shard, layout and cluster.
    pub fn must_be(&self, of: Identity) -> Result<(), SnapshotError> {
        let found = &self.header;
        let reason = if found.cluster.0 != of.layout {
            format!("it is of cluster {}", found.cluster)
        } else if (found.shard, found.shards) != (of.shard, of.shards) {
            format!("it is of shard {} of {}", found.shard, found.shards.get())
        } else {
            return Ok(());
        };
        Err(SnapshotError::Foreign { file: self.name.clone(), reason })
    }

    /// Reads all of it and checks everything that can be checked; gives the state that it holds.
    pub fn verify(&self, progress: &Progress) -> Result<ShardState, SnapshotError> {
        self.verify_at_leisure(progress, |_| true)
    }

    /// The same. After each block `go_on` hears where it ends in the file; it may take its time, or give the reading up.
    pub fn verify_at_leisure(
        &self,
        progress: &Progress,
        go_on: impl Fn(u64) -> bool,
    ) -> Result<ShardState, SnapshotError> {
        let shard = self.header.shard;
        let (mut table, mut last) = (0, Vec::new());
        self.walk(progress, |block| {
            if !go_on(block.end) {
                return Err(Refused::Other(SnapshotError::GivenUp));
            }
            if block.table != table {
                table = block.table;
                last.clear();
            }
            let mut rows = 0;
            for row in block.rows() {
                let (key, value) = row?;
                check(shard, table, key, value)?;
                // No key is empty.
                if key <= last.as_slice() {
                    return Err(CodecError::Impossible("the order of keys").into());
                }
                last.clear();
                last.extend_from_slice(key);
                rows += 1;
            }
            Ok(rows)
        })
    }

    /// Hands every block to `take`, which says how many rows it had, and compares the whole with header and footer.
    pub(super) fn walk(
        &self,
        progress: &Progress,
        take: impl FnMut(&Block) -> Result<u64, Refused>,
    ) -> Result<ShardState, SnapshotError> {
        progress.begin(self.footer.rows_total());
        scope(|scope| {
            let (blocks, read) = sync_channel(AHEAD_MAX);
            let (back, used) = channel();
            let thread = Builder::new().name("snapshot-read".to_owned());
            let ahead = thread.spawn_scoped(scope, move || Blocks::new(self).run(&blocks, &used));
            let ahead = ahead.map_err(SnapshotError::device(&self.name, "read"))?;
            self.put_together(progress, take, read, &|block| drop(back.send(block)), ahead)
        })
    }

    fn put_together(
        &self,
        progress: &Progress,
        mut take: impl FnMut(&Block) -> Result<u64, Refused>,
        read: Receiver<Block>,
        give_back: &dyn Fn(Vec<u8>),
        ahead: ScopedJoinHandle<'_, Result<(), SnapshotError>>,
    ) -> Result<ShardState, SnapshotError> {
        let mut state = StateRows::default();
        let mut counts = [0; TABLES];
        for block in read {
            let at_block = SnapshotError::damaged(&self.name, block.part);
            let rows = take(&block).map_err(|refused| match refused {
                Refused::Bytes(cause) => at_block(cause),
                Refused::Other(error) => error,
            })?;
            if block.table == STATE_TABLE {
                for row in block.rows() {
                    let (key, value) = row.map_err(&at_block)?;
                    state.take(self.header.shard, key, value).map_err(&at_block)?;
                }
            }
            if let Some(count) = counts.get_mut(usize::from(block.table) - 1) {
                *count += rows;
            }
            progress.reached(block.end, counts.iter().sum());
            give_back(block.bytes);
        }
        let lost = || io::Error::other("the thread that reads it panicked");
        ahead.join().unwrap_or_else(|_| Err(SnapshotError::device(&self.name, "read")(lost())))?;
        let at_end = SnapshotError::damaged(&self.name, Part::Footer);
        if counts != self.footer.rows {
            return Err(at_end(CodecError::Impossible("the number of rows")));
        }
        let state = state.state().filter(|state| self.is_of(state));
        state.ok_or_else(|| at_end(CodecError::Impossible("the state of the shard")))
    }

    fn is_of(&self, state: &ShardState) -> bool {
        let SnapshotHeader { index, epoch, chain, epochs, .. } = &self.header;
        let applied = state.applied;
        let same = state.epochs.iter().map(|start| (start.epoch, start.first)).eq(epochs.iter().copied());
        (applied.index, applied.epoch, applied.chain) == (*index, *epoch, *chain) && same
    }
}

/// Why a block was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its rows are not what they should be.
    Bytes(CodecError),
    /// Something else failed.
    Other(SnapshotError),
}

impl From<CodecError> for Refused {
    fn from(cause: CodecError) -> Self {
        Self::Bytes(cause)
    }
}

/// One way through the blocks.
struct Blocks<'f> {
    of: &'f SnapshotFile,
    number: u64,
    position: u64,
    raw_bytes: u64,
    hash: BlocksHash,
    table: u8,
    stored: Vec<u8>,
}

impl<'f> Blocks<'f> {
    fn new(of: &'f SnapshotFile) -> Self {
        let hash = BlocksHash::new(of.key);
        let stored = Vec::with_capacity(BLOCK_BYTES_MAX);
        Self { of, number: 0, position: of.first, raw_bytes: 0, hash, table: 0, stored }
    }

    /// Gives all of them away, and ends early when nobody takes them any more.
    fn run(mut self, blocks: &SyncSender<Block>, used: &Receiver<Vec<u8>>) -> Result<(), SnapshotError> {
        while self.number < self.of.footer.blocks {
            let rows = used.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES_MAX));
            let block = self.next(rows)?;
            if blocks.send(block).is_err() {
                return Ok(());
            }
        }
        self.finish()
    }

    fn next(&mut self, mut bytes: Vec<u8>) -> Result<Block, SnapshotError> {
        let of = self.of;
        let part = Part::Block { number: self.number, table: None };
        let damaged = SnapshotError::damaged(&of.name, part);
        let mut raw = [0; BLOCK_HEAD_BYTES];
        self.read(part, &mut raw)?;
        let head = BlockHead::decode(&raw).map_err(&damaged)?;
        let mut stored = std::mem::take(&mut self.stored);
        stored.resize(head.stored_bytes, 0);
        self.read(part, &mut stored)?;
        let opened = open_block(of.key, self.number, &raw, &mut stored, &mut bytes);
        self.stored = stored;
        opened.map_err(&damaged)?;
        let part = Part::Block { number: self.number, table: Some(head.table) };
        if head.table < self.table {
            return Err(SnapshotError::damaged(&of.name, part)(CodecError::Impossible(
                "the order of tables",
            )));
        }
        self.table = head.table;
        self.number += 1;
        self.raw_bytes += head.raw_bytes as u64;
        self.hash.add(head.checksum);
        Ok(Block { table: head.table, part, end: self.position, bytes })
    }

    /// The next bytes; none of the footer's.
    fn read(&mut self, part: Part, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        let of = self.of;
        let short = || SnapshotError::damaged(&of.name, part)(CodecError::Truncated("a block of a snapshot"));
        let end = self.position.saturating_add(buffer.len() as u64);
        if end > of.footer.bytes {
            return Err(short());
        }
        let count =
            of.file.read_at(buffer, self.position).map_err(SnapshotError::device(&of.name, "read"))?;
        if count < buffer.len() {
            return Err(short());
        }
        self.position = end;
        Ok(())
    }

    fn finish(&self) -> Result<(), SnapshotError> {
        let footer = &self.of.footer;
        let same =
            self.position == footer.bytes && self.raw_bytes == footer.raw_bytes && self.hash == footer.hash;
        if same {
            return Ok(());
        }
        Err(SnapshotError::damaged(&self.of.name, Part::Footer)(CodecError::Checksum("the blocks together")))
    }
}
