//! Makes the next segment ready ahead of need, from a released one if there is one.
//!
//! Invariant: a segment is handed out only after its header and its directory entry are synced, so that no crash can
//! lose a segment that holds records. Old files are renamed or removed lowest number first and one at a time, so that
//! what a crash leaves is always one unbroken series.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::error::{LaneError, Operation, is_full};
use super::options::LaneOptions;
use super::segment::{Segment, name_of};
use crate::codec::segment::{BLOCK_BYTES, SegmentHeader};
use crate::seam::disk::{Dir, File};
use crate::types::LanePosition;

/// Zeros written per step: about half a millisecond of the device, between two group commits.
const STEP_BYTES: usize = 256 * 1024;
static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// How far the next segment is.
#[derive(Debug)]
enum Next {
    Nothing,
    /// The file exists under its name; `written` of its bytes hold something (zeros or old records).
    Begun {
        segment: Segment,
        written: u64,
    },
    Ready(Segment),
}

/// Where the next segment goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) base: LanePosition,
    /// Bytes of all live segments: the more the log holds, the larger the next segment.
    pub(super) live_bytes: u64,
    /// How much of the segment before it is used, in 1/1024.
    pub(super) used: u64,
}

/// The stock of segments that hold nothing that is needed.
#[derive(Debug)]
pub(super) struct Supply {
    dir: Arc<dyn Dir>,
    options: LaneOptions,
    free: VecDeque<Segment>,
    next: Next,
}

impl Supply {
    pub(super) fn new(dir: Arc<dyn Dir>, options: LaneOptions) -> Self {
        Self { dir, options, free: VecDeque::new(), next: Next::Nothing }
    }

    /// Bytes of the segment that is ready, if one is.
    pub(super) fn ready_bytes(&self) -> Option<u64> {
        match &self.next {
            Next::Ready(segment) => Some(segment.bytes),
            _ => None,
        }
    }

    /// Puts a segment (back) as the one that is ready.
    pub(super) fn put_ready(&mut self, segment: Segment) {
        self.next = Next::Ready(segment);
    }

    /// Hands out the segment that is ready.
    pub(super) fn take(&mut self) -> Option<Segment> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Ready(segment) => Some(segment),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// A segment whose records nobody needs any more. More than a few are removed.
    pub(super) fn release(&mut self, segment: Segment) -> Result<(), LaneError> {
        self.free.push_back(segment);
        self.keep(self.options.free_segments_max)
    }

    /// Gives back what is not about to be used: with the next segment at hand, everything; else one is kept for it.
    pub(super) fn give_back(&mut self) -> Result<(), LaneError> {
        self.keep(usize::from(matches!(self.next, Next::Nothing)))
    }

    fn keep(&mut self, count: usize) -> Result<(), LaneError> {
        while self.free.len() > count {
            let Some(oldest) = self.free.pop_front() else { break };
            remove_durably(self.dir.as_ref(), oldest.number).map_err(LaneError::io(Operation::Prepare))?;
        }
        Ok(())
    }

    /// One step towards a ready segment; `false` when there is nothing to do for now.
    pub(super) fn step(&mut self, place: Place) -> Result<bool, LaneError> {
        match &mut self.next {
            Next::Ready(_) => return Ok(false),
            Next::Nothing => self.begin(place, 0)?,
            // Twice as fast as the active segment fills up, so that the device has its time for the commits.
            Next::Begun { segment, written }
                if *written < segment.bytes && *written > segment.bytes / 512 * place.used =>
            {
                return Ok(false);
            }
            Next::Begun { segment, written } if *written < segment.bytes => {
                // Reserved blocks that were never written cost a journal commit at each sync of a record in them;
                // zeros written ahead make a new file as cheap to sync as a recycled one.
                let count = (segment.bytes - *written).min(STEP_BYTES as u64);
                let zeros = ZEROS.get(..usize::try_from(count).unwrap_or(STEP_BYTES)).unwrap_or(&ZEROS);
                segment.file.write_at(zeros, BLOCK_BYTES + *written).map_err(full_or_io)?;
                segment.file.sync().map_err(LaneError::io(Operation::Prepare))?;
                *written += count;
            }
            Next::Begun { .. } => self.finish()?,
        }
        Ok(true)
    }

    /// A ready segment of at least `bytes`, at once.
    pub(super) fn require(&mut self, place: Place, bytes: u64) -> Result<(), LaneError> {
        if matches!(self.next, Next::Nothing) {
            self.begin(place, bytes)?;
        }
        if let Next::Ready(segment) | Next::Begun { segment, .. } = &self.next
            && segment.bytes < bytes
        {
            let larger = Segment { bytes: whole_pages(bytes), ..segment.clone() };
            larger.file.allocate(BLOCK_BYTES + larger.bytes).map_err(full_or_io)?;
            self.next = Next::Begun { segment: larger, written: 0 };
        }
        if matches!(self.next, Next::Begun { .. }) { self.finish() } else { Ok(()) }
    }

    /// Finds a file for the next segment and gives it its name.
    fn begin(&mut self, place: Place, bytes: u64) -> Result<(), LaneError> {
        let (file, bytes, written) = match self.free.pop_front() {
            Some(old) => match self.recycle(&old, place.number, bytes) {
                Ok(bytes) => (old.file, bytes, bytes),
                Err(error) => {
                    self.free.push_front(old);
                    return Err(error);
                }
            },
            None => {
                let grown = (place.live_bytes / 4).checked_next_power_of_two().unwrap_or(u64::MAX);
                let small = whole_pages(self.options.segment_bytes.max(bytes));
                let large = whole_pages(
                    grown.clamp(self.options.segment_bytes, self.options.segment_bytes_max).max(bytes),
                );
                match self.create(place.number, large) {
                    // A volume that has no room for a large one may have it for a small one.
                    Err(LaneError::Full) if small < large => (self.create(place.number, small)?, small, 0),
                    created => (created?, large, 0),
                }
            }
        };
        let segment = Segment { number: place.number, base: place.base, bytes, headed: true, file };
        self.next = Next::Begun { segment, written };
        Ok(())
    }

    fn recycle(&self, old: &Segment, number: u64, bytes: u64) -> Result<u64, LaneError> {
        let bytes = if old.bytes < bytes { whole_pages(bytes) } else { old.bytes };
        if old.bytes < bytes {
            old.file.allocate(BLOCK_BYTES + bytes).map_err(full_or_io)?;
        }
        self.dir.rename(&name_of(old.number), &name_of(number)).map_err(full_or_io)?;
        self.dir.sync().map_err(LaneError::io(Operation::Prepare))?;
        Ok(bytes)
    }

    fn create(&self, number: u64, bytes: u64) -> Result<Arc<dyn File>, LaneError> {
        let name = name_of(number);
        let file = match self.dir.create(&name) {
            // Left by an attempt that found the volume full.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.dir.open(&name).map_err(LaneError::io(Operation::Prepare))?
            }
            other => other.map_err(full_or_io)?,
        };
        if let Err(error) = file.allocate(BLOCK_BYTES + bytes) {
            if is_full(&error) {
                // What could be reserved goes back, so that others can use it; if that fails, the next attempt finds it.
                let _ = self.dir.remove(&name);
            }
            return Err(full_or_io(error));
        }
        self.dir.sync().map_err(LaneError::io(Operation::Prepare))?;
        drop(file);
        self.dir.open_past_cache(&name).map_err(LaneError::io(Operation::Prepare))
    }

    fn finish(&mut self) -> Result<(), LaneError> {
        let Next::Begun { segment, .. } = &self.next else { return Ok(()) };
        segment.write_header(&header_of(segment, &self.options)).map_err(full_or_io)?;
        self.next = Next::Ready(segment.clone());
        Ok(())
    }
}

/// The header that makes a file this segment of this lane.
pub(super) const fn header_of(segment: &Segment, options: &LaneOptions) -> SegmentHeader {
    SegmentHeader {
        lane: options.lane,
        uuid: options.uuid,
        number: segment.number,
        base: segment.base,
        bytes: segment.bytes,
    }
}

/// Removes a segment file so that a crash cannot bring it back.
pub(super) fn remove_durably(dir: &dyn Dir, number: u64) -> io::Result<()> {
    dir.remove(&name_of(number))?;
    dir.sync()
}

fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

fn full_or_io(error: io::Error) -> LaneError {
    if is_full(&error) { LaneError::Full } else { LaneError::io(Operation::Prepare)(error) }
}
