//! The layer between the database and its file: a checksum for every block of 4 KiB, checked at every read. redb
//! trusts what it reads; a flipped bit could show it an older page, hide a key, or make it overwrite living data.
//! Below this layer none of that can happen: a block that is not what was last written is an error.
//!
//! Invariant: at any crash, every block that the last completed sync left behind, and that was not written since, has
//! its checksum in the newest intact seal slot of its group. Leaves to redb: never to overwrite what its last durable
//! commit refers to, except its header, which is one sector with a checksum of its own; and to sync a file that it made
//! longer before it writes a header that says so. Only that header needs that sync, so it is made before the next one: a
//! file that grows by doubling would otherwise be synced again and again, with all that was written to it, while its
//! writer waits.

use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::rot::Rot;
use super::seals::{GROUP_BLOCKS, Seals, block_seal};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Payload of a group of blocks, and its size in the file: two seal slots stand in front.
const GROUP_PAYLOAD: u64 = GROUP_BLOCKS as u64 * BLOCK;
const GROUP_FILE: u64 = GROUP_PAYLOAD + 2 * BLOCK;
/// The header of the database lies in the first sector of block 0; the end of that sector is ours.
const HEADER_BYTES: usize = 504;
const SECTOR_BYTES: usize = 512;
const HEADER_MAGIC: [u8; 4] = *b"THB1";
/// The first byte of a leaf page of redb.
const LEAF_PAGE: u8 = 1;

thread_local! {
    static SEALED_LEAVES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `read`, whose every value has a seal of its own and whose gaps are noticed: within it, damaged leaf pages are
/// handed on, so that one bad chunk does not take its shard out of service.
pub(super) fn with_sealed_leaves<T>(read: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            SEALED_LEAVES.set(false);
        }
    }
    SEALED_LEAVES.set(true);
    let _reset = Reset;
    read()
}

/// A backend whose blocks are checked.
#[derive(Debug)]
pub(super) struct CheckedBlocks<B> {
    inner: B,
    seals: Mutex<Seals>,
    rot: Rot,
    /// The last call made the file longer.
    has_grown: AtomicBool,
    /// Its length is to be synced before the next header is written.
    owes_length: AtomicBool,
}

/// A run of blocks of one group, part of a read or write.
#[derive(Clone, Copy)]
struct Piece {
    first_block: u64,
    begin: usize,
    end: usize,
}

impl<B: StorageBackend> CheckedBlocks<B> {
    /// Checks what stands on `inner`, and notes in `rot` what is not right; keeps about `seal_bytes_max` bytes of checksums in
    /// memory.
    pub(super) fn new(inner: B, seal_bytes_max: usize, rot: Rot) -> Self {
        let seals = Mutex::new(Seals::new(seal_bytes_max));
        Self { inner, seals, rot, has_grown: AtomicBool::default(), owes_length: AtomicBool::default() }
    }

    /// Whether an intact header of a database is there.
    pub(super) fn check_header(&self) -> io::Result<()> {
        let checked = if self.len()? == 0 { Err(mismatch(0)) } else { self.read_header(&mut []) };
        self.noted(checked)
    }

    /// The same, noted if it says that the file is damaged: here, and nowhere above, that is told from a device that fails.
    fn noted<T>(&self, done: io::Result<T>) -> io::Result<T> {
        done.inspect_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.rot.note(&error.to_string()),
            // Nobody asks for a place behind the end of a file that is whole.
            io::ErrorKind::UnexpectedEof => {
                self.rot.note("the file ends before something that was written to it")
            }
            _ => {}
        })
    }

    /// The first block that is not what was written, if there is one.
    fn read_pieces(&self, offset: u64, out: &mut [u8]) -> io::Result<Option<u64>> {
        let mut bad = None;
        for piece in pieces(offset, out.len())? {
            let part = &mut out[piece.begin..piece.end];
            if piece.first_block == 0 {
                self.read_header(part)?;
            } else {
                bad = bad.or(self.read_piece(piece, part)?);
            }
        }
        Ok(bad)
    }

    fn seals(&self) -> MutexGuard<'_, Seals> {
        // A panic while the lock was held left whole entries; at worst a checksum is missing, which a read reports.
        self.seals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, group: u64, slot: u64, out: &mut [u8]) -> io::Result<bool> {
        let at = group * GROUP_FILE + slot * BLOCK;
        if at + BLOCK > self.inner.len()? {
            return Ok(false);
        }
        self.inner.read(at, out)?;
        Ok(true)
    }

    fn read_header(&self, out: &mut [u8]) -> io::Result<()> {
        let mut sector = [0; SECTOR_BYTES];
        self.inner.read(2 * BLOCK, &mut sector)?;
        let (payload, stamp) = sector.split_at(HEADER_BYTES);
        if stamp != header_stamp(payload) {
            return Err(mismatch(0));
        }
        for (target, source) in out.iter_mut().zip(payload.iter().copied().chain(std::iter::repeat(0))) {
            *target = source;
        }
        Ok(())
    }

    fn write_header(&self, data: &[u8]) -> io::Result<()> {
        if self.owes_length.load(Ordering::Acquire) {
            self.inner.sync_data()?;
            self.owes_length.store(false, Ordering::Release);
        }
        let (payload, rest) = data.split_at(data.len().min(HEADER_BYTES));
        if rest.iter().any(|&byte| byte != 0) {
            return Err(io::Error::other("the database's header has grown beyond its sector"));
        }
        let mut sector = [0; SECTOR_BYTES];
        if payload.len() < HEADER_BYTES
            && self.len()? > 0
            && self.read_header(&mut sector[..HEADER_BYTES]).is_err()
        {
            // The first header of a new file: there is nothing to keep.
            sector = [0; SECTOR_BYTES];
        }
        sector[..payload.len()].copy_from_slice(payload);
        let stamp = header_stamp(&sector[..HEADER_BYTES]);
        sector[HEADER_BYTES..].copy_from_slice(&stamp);
        self.inner.write(2 * BLOCK, &sector)
    }

    fn read_piece(&self, piece: Piece, out: &mut [u8]) -> io::Result<Option<u64>> {
        self.inner.read(file_position(piece.first_block), out)?;
        let group = piece.first_block / GROUP_BLOCKS as u64;
        let expected = self.seals().get(group, piece.first_block, out.len() / BLOCK_BYTES, |slot, raw| {
            self.load(group, slot, raw)
        })?;
        let blocks = (piece.first_block..).zip(out.chunks_exact(BLOCK_BYTES));
        let bad = blocks.zip(expected).find(|((block, data), seal)| block_seal(*block, data) != *seal);
        Ok(bad.map(|((block, _), _)| block))
    }

    fn write_piece(&self, piece: Piece, data: &[u8]) -> io::Result<()> {
        let group = piece.first_block / GROUP_BLOCKS as u64;
        let blocks = (piece.first_block..).zip(data.chunks_exact(BLOCK_BYTES));
        let seals: Vec<u32> = blocks.map(|(block, data)| block_seal(block, data)).collect();
        self.inner.write(file_position(piece.first_block), data)?;
        self.seals().set(group, piece.first_block, &seals, |slot, raw| self.load(group, slot, raw))
    }
}

fn header_stamp(payload: &[u8]) -> [u8; SECTOR_BYTES - HEADER_BYTES] {
    let mut stamp = [0; SECTOR_BYTES - HEADER_BYTES];
    stamp[..4].copy_from_slice(&HEADER_MAGIC);
    stamp[4..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    stamp
}

fn mismatch(block: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("block {block} of the file fails its checksum"))
}

fn file_position(block: u64) -> u64 {
    let blocks = GROUP_BLOCKS as u64;
    (block / blocks) * GROUP_FILE + 2 * BLOCK + (block % blocks) * BLOCK
}

fn file_len(payload_len: u64) -> u64 {
    let rest = payload_len % GROUP_PAYLOAD;
    (payload_len / GROUP_PAYLOAD) * GROUP_FILE + if rest == 0 { 0 } else { 2 * BLOCK + rest }
}

fn payload_len(file_len: u64) -> u64 {
    (file_len / GROUP_FILE) * GROUP_PAYLOAD + (file_len % GROUP_FILE).saturating_sub(2 * BLOCK)
}

/// Cuts `offset..offset + length` at the borders of groups; block 0 stands alone.
fn pieces(offset: u64, length: usize) -> io::Result<Vec<Piece>> {
    if !offset.is_multiple_of(BLOCK) || (offset > 0 && !length.is_multiple_of(BLOCK_BYTES)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an access that is no whole number of blocks",
        ));
    }
    let mut pieces = Vec::with_capacity(2);
    let mut begin = 0;
    while begin < length {
        let first_block = offset / BLOCK + (begin / BLOCK_BYTES) as u64;
        let blocks_left = GROUP_BLOCKS - usize::try_from(first_block % GROUP_BLOCKS as u64).unwrap_or(0);
        let most = if first_block == 0 { 1 } else { blocks_left };
        let end = length.min(begin + most * BLOCK_BYTES);
        pieces.push(Piece { first_block, begin, end });
        begin = end;
    }
    Ok(pieces)
}

impl<B: StorageBackend> StorageBackend for CheckedBlocks<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(payload_len(self.inner.len()?))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(block) = self.noted(self.read_pieces(offset, out))? else { return Ok(()) };
        let damaged = self.noted(Err(mismatch(block)));
        if out.first() == Some(&LEAF_PAGE) && SEALED_LEAVES.get() { Ok(()) } else { damaged }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let grows = self.len()? < len;
        self.inner.set_len(file_len(len))?;
        self.has_grown.store(grows, Ordering::Release);
        let (group, kept) = (len / GROUP_PAYLOAD, usize::try_from(len % GROUP_PAYLOAD / BLOCK).unwrap_or(0));
        self.seals().cut(group, kept, |slot, raw| self.load(group, slot, raw))
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.has_grown.swap(false, Ordering::AcqRel) {
            self.owes_length.store(true, Ordering::Release);
            return Ok(());
        }
        let slots = self.seals().take_dirty();
        for (group, slot, raw) in slots {
            self.inner.write(group * GROUP_FILE + slot * BLOCK, &raw)?;
        }
        self.inner.sync_data()?;
        self.owes_length.store(false, Ordering::Release);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // What follows is synced for its own sake.
        self.has_grown.store(false, Ordering::Release);
        for piece in pieces(offset, data.len())? {
            let part = &data[piece.begin..piece.end];
            if piece.first_block == 0 { self.write_header(part)? } else { self.write_piece(piece, part)? }
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Call {
        Length,
        Sync,
        Header,
        Blocks,
    }

    /// What stands under the layer, and what was asked of it.
    #[derive(Debug, Default, Clone)]
    struct Below(Arc<Mutex<(Vec<u8>, Vec<Call>)>>);

    impl Below {
        fn calls(&self) -> Vec<Call> {
            std::mem::take(&mut self.0.lock().unwrap().1)
        }
    }

    impl StorageBackend for Below {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.lock().unwrap().0.len() as u64)
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let begin = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.0.lock().unwrap().0[begin..begin + out.len()]);
            Ok(())
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            let mut below = self.0.lock().unwrap();
            below.0.resize(usize::try_from(len).unwrap(), 0);
            below.1.push(Call::Length);
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.lock().unwrap().1.push(Call::Sync);
            Ok(())
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let begin = usize::try_from(offset).unwrap();
            let mut below = self.0.lock().unwrap();
            below.0[begin..begin + data.len()].copy_from_slice(data);
            below.1.push(if data.len() == SECTOR_BYTES { Call::Header } else { Call::Blocks });
            Ok(())
        }
    }

    fn begun() -> (Below, CheckedBlocks<Below>) {
        let below = Below::default();
        let blocks = CheckedBlocks::new(below.clone(), 0, Rot::default());
        blocks.set_len(8 * BLOCK).unwrap();
        blocks.write(0, &[7; 320]).unwrap();
        blocks.sync_data().unwrap();
        below.calls();
        (below, blocks)
    }

    #[test]
    fn a_length_is_synced_before_the_header_that_may_tell_of_it_and_not_before() {
        let (below, blocks) = begun();
        for blocks_in_all in [16, 32] {
            blocks.set_len(blocks_in_all * BLOCK).unwrap();
            blocks.sync_data().unwrap();
            blocks.write(BLOCK, &[1; BLOCK_BYTES]).unwrap();
        }
        assert_eq!(below.calls(), [Call::Length, Call::Blocks, Call::Length, Call::Blocks]);
        blocks.write(0, &[8; 320]).unwrap();
        assert_eq!(below.calls(), [Call::Sync, Call::Header]);
        blocks.write(0, &[9; 320]).unwrap();
        assert_eq!(below.calls(), [Call::Header], "once is enough");
    }

    #[test]
    fn a_sync_of_anything_else_than_a_length_is_made_at_once() {
        let (below, blocks) = begun();
        blocks.set_len(16 * BLOCK).unwrap();
        blocks.write(BLOCK, &[1; BLOCK_BYTES]).unwrap();
        blocks.sync_data().unwrap();
        assert_eq!(below.calls().last(), Some(&Call::Sync), "something was written behind it");
        blocks.set_len(12 * BLOCK).unwrap();
        blocks.sync_data().unwrap();
        assert_eq!(below.calls().last(), Some(&Call::Sync), "a file that is cut is no longer one");
        blocks.set_len(16 * BLOCK).unwrap();
        blocks.sync_data().unwrap();
        blocks.sync_data().unwrap();
        assert_eq!(below.calls().last(), Some(&Call::Sync), "only the first one is of the length");
        blocks.write(0, &[8; 320]).unwrap();
        assert_eq!(below.calls(), [Call::Header], "it was synced with that");
    }
}
