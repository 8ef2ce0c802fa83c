//! Looks for records in segments: the one that should stand at a position, and the next one behind damage.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Record;
use super::error::{LaneError, Operation};
use super::segment::Segment;
use super::window::Window;
use crate::codec::record::{ALIGNMENT, HEADER_BYTES, LaneKey, MAGIC, RecordError, RecordHeader};
use crate::types::LanePosition;

/// What stands at a position.
#[derive(Debug)]
pub(super) enum Found {
    /// A whole record.
    Record(Record),
    /// A whole header; the payload is damaged.
    Header(RecordHeader),
    /// No record of this position.
    Nothing,
}

/// A cursor over the bytes of one segment.
#[derive(Debug)]
pub(super) struct SegmentScan {
    key: LaneKey,
    pub(super) segment: Segment,
    window: Window,
}

impl SegmentScan {
    pub(super) fn new(key: LaneKey, segment: Segment) -> Self {
        let window = Window::new(segment.file.clone());
        Self { key, segment, window }
    }

    /// Whether a header fits between `position` and the segment's end.
    pub(super) fn has_space_at(&self, position: LanePosition) -> bool {
        self.segment.end().0.saturating_sub(position.0) >= HEADER_BYTES as u64
    }

    /// Bytes at a position, none from `limit` on.
    pub(super) fn bytes(
        &mut self,
        position: LanePosition,
        count: usize,
        limit: LanePosition,
    ) -> Result<Bytes, LaneError> {
        let limit = self.segment.offset(limit.min(self.segment.end()));
        self.window.get(self.segment.offset(position), count, limit).map_err(LaneError::io(Operation::Read))
    }

    /// The header at `position`, of a record that must end at or before `limit`.
    pub(super) fn header_at(
        &mut self,
        position: LanePosition,
        limit: LanePosition,
    ) -> Result<Option<RecordHeader>, LaneError> {
        let limit = limit.min(self.segment.end());
        let bytes = self.bytes(position, HEADER_BYTES, limit)?;
        match RecordHeader::decode(&self.key, &bytes, position) {
            Ok(header) if header.end() <= limit => Ok(Some(header)),
            Err(error @ RecordError::Newer { .. }) => Err(LaneError::Newer(error.to_string())),
            _ => Ok(None),
        }
    }

    /// The record at `position`, which must end at or before `limit`.
    pub(super) fn at(&mut self, position: LanePosition, limit: LanePosition) -> Result<Found, LaneError> {
        let Some(header) = self.header_at(position, limit)? else { return Ok(Found::Nothing) };
        self.record_of(header, limit)
    }

    /// The record of a header, if its payload is sound.
    pub(super) fn record_of(
        &mut self,
        header: RecordHeader,
        limit: LanePosition,
    ) -> Result<Found, LaneError> {
        let limit = limit.min(self.segment.end());
        let start = header.position.advanced(HEADER_BYTES as u64);
        let payload = self.bytes(start, header.payload_bytes as usize, limit)?;
        if self.key.payload_fits(&header, &payload) {
            Ok(Found::Record(Record { header, payload }))
        } else {
            Ok(Found::Header(header))
        }
    }

    /// The first position from `from` on where a header of this lane stands at its own position.
    fn next_from(&mut self, from: LanePosition) -> Result<Option<LanePosition>, LaneError> {
        const STRIDE: usize = 64 * 1024;
        let mut position = LanePosition(from.0.next_multiple_of(ALIGNMENT as u64).max(self.segment.base.0));
        while self.has_space_at(position) {
            let bytes = self.bytes(position, STRIDE + HEADER_BYTES, self.segment.end())?;
            for at in (0..STRIDE.min(bytes.len())).step_by(ALIGNMENT) {
                let candidate = bytes.get(at..).unwrap_or_default();
                let here = position.advanced(at as u64);
                if candidate.starts_with(&MAGIC) && self.is_header(candidate, here) {
                    return Ok(Some(here));
                }
            }
            if bytes.len() < STRIDE {
                break;
            }
            position = position.advanced(STRIDE as u64);
        }
        Ok(None)
    }

    fn is_header(&self, bytes: &[u8], position: LanePosition) -> bool {
        RecordHeader::decode(&self.key, bytes, position)
            .is_ok_and(|header| header.end() <= self.segment.end())
    }
}

/// Finds the next record behind damage, in this segment or a later one.
pub(super) fn next_header(
    key: LaneKey,
    segments: &VecDeque<Segment>,
    from: LanePosition,
) -> Result<Option<(RecordHeader, bool)>, LaneError> {
    for segment in segments.iter().filter(|segment| segment.end() > from) {
        let mut scan = SegmentScan::new(key, segment.clone());
        if let Some(position) = scan.next_from(from.max(segment.base))? {
            return Ok(match scan.at(position, segment.end())? {
                Found::Record(record) => Some((record.header, true)),
                Found::Header(header) => Some((header, false)),
                Found::Nothing => None,
            });
        }
    }
    Ok(None)
}

/// What the records from a position on say together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Evidence {
    /// The largest *synced up to* among them.
    pub(super) synced: LanePosition,
    /// Where the last of them ends.
    pub(super) end: LanePosition,
    /// How many there are.
    pub(super) records: u64,
}

/// Reads everything from a position on and collects what its records say.
pub(super) fn evidence_from(
    key: LaneKey,
    segments: &VecDeque<Segment>,
    from: LanePosition,
) -> Result<Evidence, LaneError> {
    let mut evidence = Evidence { end: from, ..Evidence::default() };
    let mut position = from;
    while let Some((header, whole)) = next_header(key, segments, position)? {
        evidence.synced = evidence.synced.max(header.synced);
        evidence.end = evidence.end.max(header.end());
        evidence.records += 1;
        position = if whole { header.end() } else { header.position.advanced(ALIGNMENT as u64) };
    }
    Ok(evidence)
}
