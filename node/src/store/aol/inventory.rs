//! Which files of the directory are segments of this lane, in order.
//!
//! A header is redundant on purpose: number and base follow from the neighbours, so a damaged header loses no record.
//! A file whose header does not fit its name is a segment in preparation, unless records of its place stand in it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::{LaneError, Operation};
use super::options::LaneOptions;
use super::scan::next_header;
use super::segment::{Segment, number_of};
use super::supply::header_of;
use crate::codec::record::{HEADER_BYTES as RECORD_HEADER_BYTES, RecordHeader};
use crate::codec::segment::{BLOCK_BYTES, HEADER_BYTES, SegmentError, SegmentHeader};
use crate::seam::disk::{Dir, File};
use crate::types::LanePosition;

/// What the directory holds.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Segments in order.
    pub(super) segments: VecDeque<Segment>,
    /// Numbers of files in preparation, in order; they hold nothing.
    pub(super) unfinished: Vec<u64>,
}

/// A file that is named like a segment.
struct Candidate {
    number: u64,
    file: Arc<dyn File>,
    header: Option<SegmentHeader>,
}

impl Inventory {
    /// Reads the directory and every segment's header.
    pub(super) fn read(dir: &dyn Dir, options: &LaneOptions) -> Result<Self, LaneError> {
        let mut candidates = Vec::new();
        for name in dir.list().map_err(LaneError::io(Operation::Open))? {
            let Some(number) = number_of(&name) else {
                return Err(LaneError::Foreign { name, reason: "no segment has such a name".to_owned() });
            };
            let file = dir.open_past_cache(&name).map_err(LaneError::io(Operation::Open))?;
            let header = read_header(file.as_ref(), &name, options)?.filter(|header| header.number == number);
            candidates.push(Candidate { number, file, header });
        }
        candidates.sort_by_key(|candidate| candidate.number);
        let mut inventory = Self::default();
        for (at, candidate) in candidates.iter().enumerate() {
            let next = candidates.get(at + 1..).unwrap_or_default().iter().find_map(|later| later.header);
            match candidate.segment(inventory.segments.back(), next, options)? {
                Some(segment) => inventory.push(segment)?,
                None => inventory.unfinished.push(candidate.number),
            }
        }
        Ok(inventory)
    }

    fn push(&mut self, segment: Segment) -> Result<(), LaneError> {
        if let Some(before) = self.segments.back().filter(|before| segment.base < before.end()) {
            return Err(LaneError::Foreign {
                name: super::segment::name_of(segment.number),
                reason: format!(
                    "it begins at {}, inside the segment before it ({})",
                    segment.base,
                    before.end()
                ),
            });
        }
        self.segments.push_back(segment);
        Ok(())
    }
}

impl Candidate {
    /// The segment that this file is; `None` if it holds nothing yet.
    fn segment(
        &self,
        before: Option<&Segment>,
        next: Option<SegmentHeader>,
        options: &LaneOptions,
    ) -> Result<Option<Segment>, LaneError> {
        if let Some(header) = self.header {
            let file = self.file.clone();
            return Ok(Some(Segment {
                number: self.number,
                base: header.base,
                bytes: header.bytes,
                headed: true,
                file,
            }));
        }
        let length = self.file.len().map_err(LaneError::io(Operation::Open))?;
        let room = length.saturating_sub(BLOCK_BYTES);
        let base = match (before, next) {
            (Some(before), _) if before.number + 1 == self.number => Some(before.end()),
            (_, Some(next)) if self.number + 1 == next.number => {
                next.base.0.checked_sub(room).map(LanePosition)
            }
            _ => self.base_by_first_record(options)?,
        };
        let Some(base) = base else { return Ok(None) };
        // The next segment begins where this one ends, whatever length the file has.
        let bytes = match next.filter(|next| next.number == self.number + 1) {
            Some(next) => next.base.0.saturating_sub(base.0),
            None => room,
        };
        let segment = Segment { number: self.number, base, bytes, headed: false, file: self.file.clone() };
        if next.is_none() && before.is_some_and(|before| before.number + 1 == self.number) {
            // The next one in preparation, most likely. Recovery sees whether the log went on in it, without reading it
            // when it need not.
            return Ok((bytes > 0).then_some(segment));
        }
        let alone = VecDeque::from([segment.clone()]);
        if next.is_none() && next_header(options.key(), &alone, base)?.is_none() {
            return Ok(None);
        }
        segment.write_header(&header_of(&segment, options)).map_err(LaneError::io(Operation::Open))?;
        Ok(Some(Segment { headed: true, ..segment }))
    }

    /// Where the only segment begins, by what its first record says.
    fn base_by_first_record(&self, options: &LaneOptions) -> Result<Option<LanePosition>, LaneError> {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let got = self.file.read_at(&mut bytes, BLOCK_BYTES).map_err(LaneError::io(Operation::Open))?;
        let header = RecordHeader::decode_anywhere(&options.key(), bytes.get(..got).unwrap_or_default());
        Ok(header.ok().map(|header| header.position))
    }
}

fn read_header(
    file: &dyn File,
    name: &str,
    options: &LaneOptions,
) -> Result<Option<SegmentHeader>, LaneError> {
    let mut bytes = [0; HEADER_BYTES];
    let got = file.read_at(&mut bytes, 0).map_err(LaneError::io(Operation::Open))?;
    match SegmentHeader::decode(bytes.get(..got).unwrap_or_default()) {
        Ok(header) if header.uuid == options.uuid && header.lane == options.lane => Ok(Some(header)),
        Ok(header) => Err(LaneError::Foreign {
            name: name.to_owned(),
            reason: format!("it was written by lane {} of another volume or incarnation", header.lane),
        }),
        Err(error @ SegmentError::Newer(_)) => Err(LaneError::Newer(format!("{name}: {error}"))),
        Err(SegmentError::Absent | SegmentError::Checksum) => Ok(None),
    }
}
