//! Large writes, past the system's cache. What a follower that catches up writes, nobody reads soon: the copy into the cache would be
//! the dearest step of its lane, and would drive out what is read.
//!
//! Invariant: the file holds the same bytes as if all of them had gone through the cache; a block that is not written whole goes
//! through the cache, before and after, so that no write needs to read the rest of it first.

use std::io;

use crate::seam::disk::{Aligned, BLOCK_BYTES, File};

/// What is worth the way past the cache: the device is waited for at once, and whoever reads it back asks the device.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of one write: enough that the device is busy, and all the memory that this takes.
const PIECE_BYTES: usize = 2 << 20;

/// Memory that a device can read, from the first large write on until a small one.
#[derive(Debug, Default)]
pub(super) struct Bulk(Option<Aligned>);

impl Bulk {
    /// Writes `bytes` at `offset` of the file; those behind `used` may go through the cache.
    pub(super) fn write(
        &mut self,
        file: &dyn File,
        bytes: &[u8],
        used: usize,
        offset: u64,
    ) -> io::Result<()> {
        let (first, last) = whole_blocks(offset, used);
        if last - first < LARGE_BYTES {
            self.0 = None;
            return file.write_at(bytes, offset);
        }
        let memory = self.0.get_or_insert_with(|| Aligned::new(PIECE_BYTES));
        write_if_any(file, bytes.get(..first).unwrap_or_default(), offset)?;
        let mut at = first;
        for piece in bytes.get(first..last).unwrap_or_default().chunks(PIECE_BYTES) {
            let place = memory.bytes_mut().get_mut(..piece.len()).unwrap_or_default();
            place.copy_from_slice(piece);
            file.write_at(place, offset + at as u64)?;
            at += piece.len();
        }
        write_if_any(file, bytes.get(last..).unwrap_or_default(), offset + last as u64)
    }
}

fn write_if_any(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    if bytes.is_empty() { Ok(()) } else { file.write_at(bytes, offset) }
}

/// Where the first whole block of the file begins in so many bytes at `offset`, and where the last one ends.
fn whole_blocks(offset: u64, length: usize) -> (usize, usize) {
    let block = BLOCK_BYTES as u64;
    let end = offset + length as u64;
    let (first, last) = (offset.next_multiple_of(block), end - end % block);
    let from = |at: u64| usize::try_from(at - offset).unwrap_or(length);
    if first < last { (from(first), from(last)) } else { (0, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::{Dir, RealDir};
    use std::sync::{Arc, Mutex};

    /// A file that notes where it is written, and how much of that a device could read from where it lies.
    #[derive(Debug)]
    struct Noting(Arc<dyn File>, Mutex<Vec<(u64, usize, bool)>>);

    impl File for Noting {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            self.0.read_at(buffer, position)
        }
        fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
            let lies_well = bytes.as_ptr().align_offset(BLOCK_BYTES) == 0;
            let whole =
                position.is_multiple_of(BLOCK_BYTES as u64) && bytes.len().is_multiple_of(BLOCK_BYTES);
            self.1.lock().unwrap().push((position, bytes.len(), lies_well && whole));
            self.0.write_at(bytes, position)
        }
        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
        fn allocate(&self, length: u64) -> io::Result<()> {
            self.0.allocate(length)
        }
        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn stored_bytes(&self) -> io::Result<u64> {
            self.0.stored_bytes()
        }
        fn forget_cached(&self) {
            self.0.forget_cached();
        }
        fn lock(&self) -> io::Result<bool> {
            self.0.lock()
        }
    }

    fn open(folder: &tempfile::TempDir) -> (Arc<dyn Dir>, Noting) {
        let directory = RealDir::open(folder.path()).unwrap();
        directory.create("file").unwrap().allocate(32 << 20).unwrap();
        let file = directory.open_past_cache("file").unwrap();
        (directory, Noting(file, Mutex::default()))
    }

    fn some(seed: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 + at % 251 + seed).to_le_bytes()[0]).collect()
    }

    /// As a log does it: one write behind the other, some small and some large, each with zeros up to the end of its last block.
    #[test]
    fn large_and_small_writes_behind_each_other_make_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, file) = open(&folder);
        let (mut bulk, mut wanted) = (Bulk::default(), Vec::new());
        let lengths =
            [100, LARGE_BYTES + 8, 4088, PIECE_BYTES + LARGE_BYTES + 24, 2 * PIECE_BYTES, 16, 3 << 20];
        for (seed, length) in lengths.into_iter().enumerate() {
            let mut bytes = some(seed, length);
            let offset = wanted.len();
            wanted.extend_from_slice(&bytes);
            bytes.resize((offset + length).next_multiple_of(BLOCK_BYTES) - offset, 0);
            bulk.write(&file, &bytes, length, offset as u64).unwrap();
            file.sync().unwrap();
            let mut found = vec![1; wanted.len().next_multiple_of(BLOCK_BYTES)];
            for reader in [&file.0, &directory.open("file").unwrap()] {
                assert_eq!(reader.read_at(&mut found, 0).unwrap(), found.len());
                assert!(found[..wanted.len()] == *wanted, "write {seed}");
                assert!(found[wanted.len()..].iter().all(|&byte| byte == 0), "write {seed}");
            }
        }
    }

    #[test]
    fn of_a_large_write_all_but_the_first_and_the_last_block_can_go_to_the_device_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (_directory, file) = open(&folder);
        let mut bulk = Bulk::default();
        let length = PIECE_BYTES + LARGE_BYTES;
        bulk.write(&file, &some(1, length), length, 4000).unwrap();
        let noted = std::mem::take(&mut *file.1.lock().unwrap());
        let (first, second) = (4096, 4096 + PIECE_BYTES as u64);
        let last = (4000 + length as u64) / 4096 * 4096;
        let rest = 4000 + length - usize::try_from(last).unwrap();
        let pieces = [
            (4000, 96, false),
            (first, PIECE_BYTES, true),
            (second, usize::try_from(last - second).unwrap(), true),
            (last, rest, false),
        ];
        assert_eq!(noted, pieces);
        bulk.write(&file, &some(2, 1000), 1000, last + rest as u64).unwrap();
        assert_eq!(*file.1.lock().unwrap(), [(last + rest as u64, 1000, false)]);
        assert!(bulk.0.is_none(), "its memory is let go with the first small one");
    }
}
