//! Reads a file in large pieces and hands out slices of them, so that recovery and followers do not copy payloads.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::seam::disk::File;

/// How much is read at once: large enough for the device, small enough that a slice that is kept pins little.
const WINDOW_BYTES: usize = 256 * 1024;

/// A window over one file.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn File>,
    /// Offset in the file where `bytes` begins.
    start: u64,
    bytes: Bytes,
}

impl Window {
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self { file, start: 0, bytes: Bytes::new() }
    }

    /// `count` bytes at `offset`, but nothing from `limit` on; fewer at the end of the file.
    pub(super) fn get(&mut self, offset: u64, count: usize, limit: u64) -> io::Result<Bytes> {
        let count = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX).min(count);
        if let Some(slice) = self.cached(offset, count) {
            return Ok(slice);
        }
        let want = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = want.min(WINDOW_BYTES.max(count));
        let mut buffer = BytesMut::zeroed(want);
        let got = self.file.read_at(&mut buffer, offset)?;
        buffer.truncate(got);
        self.start = offset;
        self.bytes = buffer.freeze();
        Ok(self.bytes.slice(..count.min(got)))
    }

    fn cached(&self, offset: u64, count: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(count)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}
