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
