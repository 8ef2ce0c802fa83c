//! One segment file of a lane: where its bytes lie in the life of the lane.

use std::io;
use std::sync::Arc;

use crate::codec::segment::{BLOCK_BYTES, HINT_AT, HINT_BYTES, Hint, SegmentHeader};
use crate::seam::disk::File;
use crate::types::LanePosition;

/// An open segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) base: LanePosition,
    /// Bytes for records.
    pub(super) bytes: u64,
    /// It has its header; without one it is in preparation, or its header is damaged: its records tell.
    pub(super) headed: bool,
    pub(super) file: Arc<dyn File>,
}

impl Segment {
    pub(super) const fn end(&self) -> LanePosition {
        self.base.advanced(self.bytes)
    }

    pub(super) fn contains(&self, position: LanePosition) -> bool {
        self.base <= position && position < self.end()
    }

    /// Where a position lies in the file.
    pub(super) const fn offset(&self, position: LanePosition) -> u64 {
        BLOCK_BYTES + (position.0 - self.base.0)
    }

    /// Writes and syncs a header that makes the file this segment.
    pub(super) fn write_header(&self, header: &SegmentHeader) -> io::Result<()> {
        self.file.write_at(&header.encode(), 0)?;
        self.file.sync()
    }

    /// Writes and syncs where a record with a table of heads stands, which itself is synced.
    pub(super) fn write_hint(&self, position: LanePosition) -> io::Result<()> {
        self.file.write_at(&Hint { number: self.number, position }.encode(), HINT_AT)?;
        self.file.sync()
    }

    /// Where such a record may stand. Nothing is lost with a damaged hint: it only spares reading.
    pub(super) fn read_hint(&self) -> io::Result<Option<LanePosition>> {
        let mut bytes = [0; HINT_BYTES];
        let got = self.file.read_at(&mut bytes, HINT_AT)?;
        let hint = Hint::decode(bytes.get(..got).unwrap_or_default());
        let mine = hint.filter(|hint| hint.number == self.number && self.contains(hint.position));
        Ok(mine.map(|hint| hint.position))
    }
}

/// The name of a segment file.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:010}.aol")
}

/// The number in a segment file's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".aol")?;
    let number = digits.parse().ok()?;
    (name_of(number) == name).then_some(number)
}
