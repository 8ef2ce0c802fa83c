//! Reads records back while the lane goes on: for followers that fell behind, and for inspection.
//!
//! Invariant: a reader sees only what is written, in lane order, each record whole. A released segment may be written
//! over while it is read; the position in each record shows that, and the reader says [`LaneError::Released`].
//!
//! A reader may also make durable what the lane wrote and left unsynced: one sync at a time, since a device tells of a
//! failed sync once, and whoever hears of it poisons the lane for both.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::Record;
use super::error::{LaneError, Operation};
use super::scan::{Found, SegmentScan, next_header};
use super::segment::Segment;
use crate::codec::record::{LANE_ITSELF, LaneKey, RecordHeader, RecordKind};
use crate::seam::disk::File;
use crate::types::LanePosition;

/// What the lane and its readers share.
#[derive(Debug)]
pub(super) struct Shared {
    segments: RwLock<VecDeque<Segment>>,
    written: AtomicU64,
    synced: AtomicU64,
    /// Held during a sync.
    syncing: Mutex<()>,
    /// A sync failed.
    failed: AtomicBool,
}

impl Shared {
    pub(super) fn new(segments: VecDeque<Segment>, tail: LanePosition) -> Self {
        let (written, synced) = (AtomicU64::new(tail.0), AtomicU64::new(tail.0));
        let (syncing, failed) = (Mutex::default(), AtomicBool::default());
        Self { segments: RwLock::new(segments), written, synced, syncing, failed }
    }

    pub(super) fn set_written(&self, position: LanePosition) {
        self.written.store(position.0, Ordering::Release);
    }

    pub(super) fn synced(&self) -> LanePosition {
        LanePosition(self.synced.load(Ordering::Acquire))
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Syncs files, with which everything before `upto` is durable.
    pub(super) fn sync(&self, files: &[Arc<dyn File>], upto: LanePosition) -> Result<(), LaneError> {
        // It guards no data: a panic in between leaves nothing half done.
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            return Err(LaneError::Poisoned);
        }
        for file in files {
            if let Err(error) = file.sync() {
                self.failed.store(true, Ordering::Release);
                return Err(LaneError::io(Operation::Sync)(error));
            }
        }
        self.synced.fetch_max(upto.0, Ordering::AcqRel);
        Ok(())
    }

    pub(super) fn push_back(&self, segment: Segment) {
        self.change(|segments| segments.push_back(segment));
    }

    /// Takes back the segments behind `number`.
    pub(super) fn pop_back_behind(&self, number: u64) {
        self.change(|segments| segments.retain(|segment| segment.number <= number));
    }

    /// Takes out the first segment if it lies wholly before `upto` and is not the last one.
    pub(super) fn pop_front_before(&self, upto: LanePosition) -> Option<Segment> {
        self.change(|segments| {
            let releasable = segments.len() > 1 && segments.front().is_some_and(|first| first.end() <= upto);
            if releasable { segments.pop_front() } else { None }
        })
    }

    /// The segments that hold any of `from..to`.
    pub(super) fn between(&self, from: LanePosition, to: LanePosition) -> Vec<Segment> {
        let holds = |segment: &&Segment| segment.base < to && from < segment.end();
        self.look(|segments| segments.iter().filter(holds).cloned().collect())
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.look(|segments| segments.iter().map(|segment| segment.bytes).sum())
    }

    // A thread that panicked while it held the lock left a list of segments that is whole: no change here has two steps.
    fn change<T>(&self, change: impl FnOnce(&mut VecDeque<Segment>) -> T) -> T {
        change(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn look<T>(&self, look: impl FnOnce(&VecDeque<Segment>) -> T) -> T {
        look(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A handle to read a lane's records with; cheap to clone.
#[derive(Debug, Clone)]
pub struct LaneReader {
    key: LaneKey,
    shared: Arc<Shared>,
}

impl LaneReader {
    pub(super) const fn new(key: LaneKey, shared: Arc<Shared>) -> Self {
        Self { key, shared }
    }

    /// The first position that is still there.
    #[must_use]
    pub fn start(&self) -> LanePosition {
        self.shared.look(|segments| segments.front().map(|first| first.base).unwrap_or_default())
    }

    /// Everything before this is written.
    #[must_use]
    pub fn written(&self) -> LanePosition {
        LanePosition(self.shared.written.load(Ordering::Acquire))
    }

    /// Everything before this is durable.
    #[must_use]
    pub fn synced(&self) -> LanePosition {
        self.shared.synced()
    }

    /// Makes the record that begins at `position` durable, with everything before it; `false` if it is not written yet.
    /// After an error the lane is poisoned.
    pub fn make_durable(&self, position: LanePosition) -> Result<bool, LaneError> {
        if self.synced() > position {
            return Ok(true);
        }
        let (synced, written) = (self.synced(), self.written());
        if written <= position {
            return Ok(false);
        }
        let files: Vec<Arc<dyn File>> = self.shared.look(|segments| {
            let unsynced = segments.iter().filter(|segment| segment.end() > synced && segment.base < written);
            unsynced.map(|segment| Arc::clone(&segment.file)).collect()
        });
        self.shared.sync(&files, written).map(|()| true)
    }

    /// The records of shards from `position` on, which must be where a record begins or [`Self::start`]. At the end the
    /// iterator gives `None` and goes on when more is written.
    #[must_use]
    pub fn read_from(&self, position: LanePosition) -> LaneRecords {
        LaneRecords { reader: self.clone(), position, scan: None }
    }
}

/// Records in lane order.
#[derive(Debug)]
pub struct LaneRecords {
    reader: LaneReader,
    position: LanePosition,
    scan: Option<SegmentScan>,
}

impl LaneRecords {
    /// Where the next record will be looked for.
    #[must_use]
    pub const fn position(&self) -> LanePosition {
        self.position
    }

    /// Goes on behind damage at the position: with the next record that stands where it says, or at the end of what is written.
    /// Whoever does so must notice what is missing.
    pub fn pass_over_damage(&mut self) -> Result<(), LaneError> {
        let (position, limit) = (self.position, self.reader.written());
        if let Ok(Some(scan)) = self.scan_here()
            && let Found::Header(header) = scan.at(position, limit)?
        {
            self.position = header.end();
            return Ok(());
        }
        let from = position.advanced(1);
        let segments = VecDeque::from(self.reader.shared.between(from, limit));
        let next = next_header(self.reader.key, &segments, from)?;
        self.position = next.map_or(limit, |(header, _)| header.position.min(limit));
        Ok(())
    }

    /// The next record, or nothing of it if it is not `wanted`: what nobody asks for is not checked.
    pub fn next_if(
        &mut self,
        wanted: impl Fn(&RecordHeader) -> bool,
    ) -> Option<Result<Option<Record>, LaneError>> {
        self.read(wanted).transpose()
    }

    /// The next record of a shard; without what is in it, unless it is wanted.
    fn read(&mut self, wanted: impl Fn(&RecordHeader) -> bool) -> Result<Option<Option<Record>>, LaneError> {
        let limit = self.reader.written();
        while self.position < limit {
            let position = self.position;
            let reader = self.reader.clone();
            let Some(scan) = self.scan_here()? else { return Ok(None) };
            let end = scan.segment.end();
            if !scan.has_space_at(position) {
                self.position = end;
                continue;
            }
            let header = scan.header_at(position, limit)?;
            let found = match header.filter(|header| header.shard == LANE_ITSELF || wanted(header)) {
                Some(header) => Some(scan.record_of(header, limit)?),
                None => None,
            };
            let start = reader.start();
            if position < start {
                return Err(LaneError::Released { start });
            }
            let Some(header) = header else { return Err(LaneError::Damaged { position }) };
            let record = match found {
                None => None,
                Some(Found::Record(record)) => Some(record),
                Some(_) => return Err(LaneError::Damaged { position }),
            };
            self.position = if header.kind == RecordKind::Roll { end } else { header.end() };
            if header.shard != LANE_ITSELF {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The scan over the segment that holds the position.
    fn scan_here(&mut self) -> Result<Option<&mut SegmentScan>, LaneError> {
        let position = self.position;
        if self.scan.as_ref().is_none_or(|scan| !scan.segment.contains(position)) {
            let found =
                self.reader.shared.look(|all| all.iter().find(|segment| position < segment.end()).cloned());
            let Some(segment) = found else { return Ok(None) };
            if position < segment.base {
                let start = self.reader.start();
                let released = position < start;
                return Err(if released {
                    LaneError::Released { start }
                } else {
                    LaneError::Damaged { position }
                });
            }
            self.scan = Some(SegmentScan::new(self.reader.key, segment));
        }
        Ok(self.scan.as_mut())
    }
}

impl Iterator for LaneRecords {
    type Item = Result<Record, LaneError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read(|_| true).map(Option::flatten).transpose()
    }
}
