//! Where the next record goes: room, rolling to the next segment, and taking a batch back from a full volume.

use std::io;

use super::{Lane, PAGE_BYTES, Part};
use crate::codec::record::{HEADER_BYTES, LANE_ITSELF, RecordKind, total_bytes};
use crate::codec::segment::HEAD_BYTES;
use crate::store::aol::error::LaneError;
use crate::store::aol::options::RecordHead;
use crate::store::aol::segment::Segment;
use crate::store::aol::supply::Place;
use crate::types::limits::RECORD_PAYLOAD_BYTES_MAX;
use crate::types::{Chain, Epoch, LanePosition, LogIndex};

/// Where a record fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// In the active segment.
    Here,
    /// In the next one, which is ready.
    Next,
}

/// The head of a record of the lane itself.
pub(super) fn lane_head(kind: RecordKind) -> RecordHead {
    RecordHead { kind, shard: LANE_ITSELF, epoch: Epoch::default(), index: LogIndex(0), chain: Chain(0) }
}

impl Part {
    fn at(segment: Segment, position: LanePosition) -> Self {
        Self { segment, position, lead: Vec::new(), range: 0..0, trail: Vec::new() }
    }

    fn bytes(&self) -> u64 {
        (self.lead.len() + self.range.len() + self.trail.len()) as u64
    }
}

impl Lane {
    pub(super) fn next_place(&self) -> Place {
        Place {
            number: self.active.number + 1,
            base: self.active.end(),
            live_bytes: self.shared.live_bytes(),
            used: (self.tail.0 - self.active.base.0) * 1024 / self.active.bytes.max(1),
        }
    }

    /// Makes the place for a record with such a payload the tail.
    pub(super) fn place(&mut self, payload_bytes: usize, kind: RecordKind) -> Result<(), LaneError> {
        if payload_bytes > RECORD_PAYLOAD_BYTES_MAX {
            return Err(LaneError::TooLong { bytes: payload_bytes });
        }
        if self.room_for(total_bytes(payload_bytes), kind)? == Room::Next {
            self.roll();
        }
        if self.parts.is_empty() {
            self.parts.push(Part::at(self.active.clone(), self.tail));
        }
        Ok(())
    }

    /// Where a record of `total` bytes fits.
    ///
    /// Each segment keeps room for the roll at its end. A batch must leave the reserve behind it, in this segment and the
    /// next together, so that promises, epoch-start entries, configs and cuts find room on a full volume.
    pub(super) fn room_for(&mut self, total: u64, kind: RecordKind) -> Result<Room, LaneError> {
        let reserve = if kind.may_use_reserve() { 0 } else { self.options.reserve_bytes() };
        let roll = HEADER_BYTES as u64;
        let left = self.active.end().0 - self.tail.0;
        if left >= total + roll + reserve {
            return Ok(Room::Here);
        }
        if left >= total + roll {
            if self.supply.ready_bytes().is_none() {
                self.require(0)?;
            }
            return Ok(Room::Here);
        }
        self.require(self.heads.mark_bytes() + HEAD_BYTES as u64 + total + roll + reserve)?;
        Ok(Room::Next)
    }

    fn require(&mut self, bytes: u64) -> Result<(), LaneError> {
        match self.supply.require(self.next_place(), bytes) {
            Err(error @ LaneError::Io { .. }) => self.poison(error),
            other => other,
        }
    }

    /// Ends the active segment and goes on in the one that is ready.
    fn roll(&mut self) {
        let Some(next) = self.supply.take() else { return };
        let roll = self.header(&lane_head(RecordKind::Roll), &[]).encode(&self.key);
        if self.active.end().0 - self.tail.0 >= HEADER_BYTES as u64 {
            if self.parts.is_empty() {
                self.parts.push(Part::at(self.active.clone(), self.tail));
            }
            if let Some(part) = self.parts.last_mut() {
                part.trail = roll.to_vec();
            }
        }
        self.tail = next.base;
        let mut table = Vec::new();
        self.heads.encode(&mut table);
        let mark = self.header(&lane_head(RecordKind::Mark), &table);
        let mut part = Part::at(next.clone(), self.tail);
        part.lead.extend_from_slice(&mark.encode(&self.key));
        part.lead.append(&mut table);
        self.parts.push(part);
        self.tail = mark.end();
        self.shared.push_back(next.clone());
        self.active = next;
    }

    /// Writes one part, up to the border of a page: behind the tail nothing is expected but zeros.
    pub(super) fn write_part(&mut self, part: &Part) -> io::Result<()> {
        let file = &part.segment.file;
        let mut offset = part.segment.offset(part.position);
        if !part.lead.is_empty() {
            file.write_at(&part.lead, offset)?;
            offset += part.lead.len() as u64;
        }
        let end = offset + part.range.len() as u64;
        let length = self.buffer.len();
        if part.trail.is_empty() && part.range.end == length {
            // A write that ends inside a page which is not in memory makes the system read the page first.
            let padding = end.next_multiple_of(PAGE_BYTES) - end;
            self.buffer.resize(length + usize::try_from(padding).unwrap_or(0), 0);
            let bytes = self.buffer.get(part.range.start..).unwrap_or_default();
            let written = self.bulk.write(file.as_ref(), bytes, part.range.len(), offset);
            self.buffer.truncate(length);
            written?;
        } else {
            let bytes = self.buffer.get(part.range.clone()).unwrap_or_default();
            self.bulk.write(file.as_ref(), bytes, bytes.len(), offset)?;
        }
        if part.trail.is_empty() { Ok(()) } else { file.write_at(&part.trail, end) }
    }

    /// Takes a batch back whose write found the volume full although its blocks were reserved (file systems that copy
    /// on write do that). `false` if it cannot be made certain that nothing of it will ever be read.
    pub(super) fn cut_back(&mut self, parts: &[Part]) -> bool {
        for part in parts {
            let zeros = vec![0; usize::try_from(part.bytes()).unwrap_or(0)];
            let offset = part.segment.offset(part.position);
            if part.segment.file.write_at(&zeros, offset).is_err() || part.segment.file.sync().is_err() {
                return false;
            }
        }
        for (shard, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            self.heads.restore(shard, before);
        }
        if let Some(first) = parts.first() {
            self.active = first.segment.clone();
            self.shared.pop_back_behind(self.active.number);
        }
        if let Some(next) = parts.get(1) {
            // Files of further parts stay where they are; preparing them again finds them.
            self.supply.put_ready(next.segment.clone());
        }
        self.tail = self.written;
        self.buffer.clear();
        true
    }
}
