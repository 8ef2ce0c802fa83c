//! Opens what a lane left behind: which files are segments, where the log ends, what is damaged.
//!
//! Invariant: bytes that any valid record says were synced are never cut. Damage before that point is skipped, kept and
//! reported; what lies behind it is the tail of a crash (unsynced writes reach the disk in any order): it is copied to
//! quarantine, overwritten with zeros so that no later recovery takes it up again, and only then written over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Record;
use super::beginning::{self, Held};
use super::error::{LaneError, Operation};
use super::heads::{Continuity, Heads};
use super::options::LaneOptions;
use super::quarantine::{Quarantine, Reason};
use super::report::{CutTail, DamagedRange, RecoveryReport};
use super::scan::{Evidence, Found, SegmentScan, evidence_from, next_header};
use super::segment::Segment;
use super::window::Window;
use crate::codec::record::{HEADER_BYTES, LANE_ITSELF, LaneKey, MAGIC, RecordHeader, RecordKind};
use crate::codec::segment::BLOCK_BYTES;
use crate::seam::disk::Dir;
use crate::types::{Boot, LanePosition};

/// How much is written again or overwritten at once.
const PIECE_BYTES: usize = 256 * 1024;

/// How far behind a clean close one looks whether anything stands there: more than two marks with a row for each shard.
const NEAR_BYTES: u64 = 64 * 1024;

/// What recovery hands to the lane.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The live segments; the last one is appended to.
    pub(super) segments: VecDeque<Segment>,
    /// Segments behind it, which hold nothing any more.
    pub(super) behind: VecDeque<Segment>,
    pub(super) tail: LanePosition,
    pub(super) heads: Heads,
    pub(super) report: RecoveryReport,
}

/// One walk over the segments of a lane.
pub(super) struct Recovery {
    key: LaneKey,
    /// The last boot that was counted.
    boot: Option<Boot>,
    segments: VecDeque<Segment>,
    quarantine: Quarantine,
    continuity: Continuity,
    report: RecoveryReport,
    /// The largest *synced up to* that the records walked over so far say.
    synced: LanePosition,
    /// Where the log ends if the last record is the close of the last boot.
    closed: Option<LanePosition>,
    /// From where what stands there was read once, and what the records there say.
    ahead: Option<(LanePosition, Evidence)>,
}

impl Recovery {
    /// Walks over `segments` (at least one, in order), from the first record on that the tables may lack.
    pub(super) fn run(
        dir: Arc<dyn Dir>,
        options: &LaneOptions,
        segments: VecDeque<Segment>,
        held: &Held,
        visitor: &mut dyn FnMut(Record),
    ) -> Result<Recovered, LaneError> {
        let first = segments.front().map(|segment| segment.base).unwrap_or_default();
        let start = beginning::find(options.key(), &segments, held)?.unwrap_or(first);
        let mut recovery = Self {
            key: options.key(),
            boot: options.boot,
            segments,
            quarantine: Quarantine::new(dir),
            continuity: Continuity::default(),
            report: RecoveryReport { start: first, read_from: start, ..RecoveryReport::default() },
            synced: start,
            closed: None,
            ahead: None,
        };
        let tail = recovery.walk(start, visitor)?;
        recovery.cut(tail)?;
        recovery.make_durable(tail)?;
        Ok(recovery.finish(tail))
    }

    /// Delivers every whole record and returns where the log ends.
    fn walk(
        &mut self,
        start: LanePosition,
        visitor: &mut dyn FnMut(Record),
    ) -> Result<LanePosition, LaneError> {
        let mut position = start;
        let mut scan: Option<SegmentScan> = None;
        loop {
            if self.closed == Some(position) && self.nothing_behind(position)? {
                return Ok(position);
            }
            let Some(segment) = self.segments.iter().find(|segment| position < segment.end()) else {
                return Ok(self.next_is_lost(position));
            };
            if position < segment.base {
                // A whole segment is missing.
                match self.skip_damage(position, position)? {
                    Some(next) => position = next,
                    None => return Ok(position),
                }
                continue;
            }
            let scan = match &mut scan {
                Some(scan) if scan.segment.number == segment.number => scan,
                other => other.insert(SegmentScan::new(self.key, segment.clone())),
            };
            let end = segment.end();
            if !scan.has_space_at(position) {
                position = end;
                continue;
            }
            match scan.at(position, end)? {
                Found::Record(record) => position = self.deliver(record, end, visitor),
                Found::Header(header) if self.proven_synced(position)? => {
                    self.continuity.lost(&header);
                    let kept = self.keep(Reason::Damaged, position, header.end());
                    self.report.damaged.push(DamagedRange { from: position, to: header.end(), kept });
                    position = header.end();
                }
                Found::Header(_) => return Ok(position),
                Found::Nothing => match self.skip_damage(position, position.advanced(1))? {
                    Some(next) => position = next,
                    None => return Ok(position),
                },
            }
        }
    }

    /// The log goes on in a segment that is not there. Its file and directory entry were durable before the roll was
    /// written, so it is lost. A hole stays behind it, so that later starts see that, too.
    fn next_is_lost(&mut self, position: LanePosition) -> LanePosition {
        let to = position.advanced(BLOCK_BYTES);
        self.continuity.blind(position);
        self.report.damaged.push(DamagedRange { from: position, to, kept: false });
        to
    }

    fn deliver(
        &mut self,
        record: Record,
        end: LanePosition,
        visitor: &mut dyn FnMut(Record),
    ) -> LanePosition {
        let header = record.header;
        self.synced = self.synced.max(header.synced);
        self.continuity.record(&record);
        self.report.clean = header.kind == RecordKind::Close && header.synced == header.position;
        let last_boot = self.report.clean && self.boot == Some(header.epoch.boot);
        self.closed = last_boot.then(|| header.end());
        if header.shard != LANE_ITSELF {
            self.report.records += 1;
            visitor(record);
        } else if header.kind == RecordKind::Settled {
            visitor(record);
        }
        if header.kind == RecordKind::Roll { end } else { header.end() }
    }

    /// Whether any valid record, later ones included, says that the byte at `position` was synced.
    fn proven_synced(&mut self, position: LanePosition) -> Result<bool, LaneError> {
        let (_, ahead) = match self.ahead {
            Some(ahead) => ahead,
            None => *self.ahead.insert((position, evidence_from(self.key, &self.segments, position)?)),
        };
        Ok(self.synced.max(ahead.synced) > position)
    }

    /// Whether nothing can stand behind a log that was closed in the last boot, and indeed nothing does. Each boot is
    /// counted before its first record, so all that can have been written since is the mark of a start that got no
    /// further: at the tail or, if that was full, at the beginning of the next segment. The rest need not be read.
    fn nothing_behind(&mut self, position: LanePosition) -> Result<bool, LaneError> {
        for segment in self.segments.iter().filter(|segment| segment.end() > position) {
            let from = position.max(segment.base);
            let near = from.advanced(NEAR_BYTES);
            let near = Segment { bytes: segment.bytes.min(near.0 - segment.base.0), ..segment.clone() };
            if next_header(self.key, &VecDeque::from([near]), from)?.is_some() {
                return Ok(false);
            }
        }
        self.ahead = Some((position, Evidence { end: position, ..Evidence::default() }));
        Ok(true)
    }

    /// Goes on behind damage at `position` if that was synced; `None` if the log ends here.
    fn skip_damage(
        &mut self,
        position: LanePosition,
        search_from: LanePosition,
    ) -> Result<Option<LanePosition>, LaneError> {
        if !self.proven_synced(position)? {
            return Ok(None);
        }
        let Some((header, _)) = next_header(self.key, &self.segments, search_from)? else { return Ok(None) };
        self.continuity.blind(position);
        let kept = self.keep(Reason::Damaged, position, header.position);
        self.report.damaged.push(DamagedRange { from: position, to: header.position, kept });
        Ok(Some(header.position))
    }

    fn keep(&self, reason: Reason, from: LanePosition, to: LanePosition) -> bool {
        self.quarantine.keep(reason, self.segments.iter(), from, to)
    }

    /// Makes sure that nothing behind `tail` is ever taken for a record.
    fn cut(&mut self, tail: LanePosition) -> Result<(), LaneError> {
        let behind = match self.ahead {
            Some((from, ahead)) if from == tail => ahead,
            _ => evidence_from(self.key, &self.segments, tail)?,
        };
        let end = behind.end.max(self.torn_end(tail)?);
        if end == tail {
            return Ok(());
        }
        let kept = self.keep(Reason::Torn, tail, end);
        let cut = CutTail { at: tail, bytes: end.0 - tail.0, records: behind.records, kept };
        self.report.cut = Some(cut);
        let zeros = vec![0; PIECE_BYTES];
        // A crash in between does no harm: no record begins at the tail, so the next recovery cuts there again.
        for segment in self.segments.iter().filter(|segment| segment.end() > tail && segment.base < end) {
            let from = segment.offset(tail.max(segment.base));
            let to = segment.offset(end.min(segment.end()));
            let mut at = from;
            while at < to {
                let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
                let piece = zeros.get(..count).unwrap_or(&zeros);
                segment.file.write_at(piece, at).map_err(LaneError::io(Operation::Write))?;
                at += count as u64;
            }
            segment.file.sync().map_err(LaneError::io(Operation::Sync))?;
        }
        Ok(())
    }

    /// Where the header ends of a record that did not make it, if one was begun at the tail.
    fn torn_end(&self, tail: LanePosition) -> Result<LanePosition, LaneError> {
        let Some(segment) = self.segments.iter().find(|segment| segment.contains(tail)) else {
            return Ok(tail);
        };
        let mut scan = SegmentScan::new(self.key, segment.clone());
        let start = scan.bytes(tail, HEADER_BYTES, segment.end())?;
        // Old records of a recycled segment and zeros are what one expects here; only the beginning of a record that
        // was written for this very place is a torn one. Its header is damaged, so its magic has to do.
        let torn = start.starts_with(&MAGIC) && RecordHeader::decode_anywhere(&self.key, &start).is_err();
        Ok(if torn { tail.advanced(start.len() as u64) } else { tail })
    }

    /// Writes again what no record says was synced, and syncs all segments: after a failed sync the page cache may hold
    /// what the device does not, and a sync alone would not write it.
    fn make_durable(&mut self, tail: LanePosition) -> Result<(), LaneError> {
        for segment in self.segments.iter().filter(|segment| segment.base < tail) {
            let from = segment.offset(self.synced.max(segment.base).min(segment.end()));
            let to = segment.offset(tail.min(segment.end()));
            let mut window = Window::new(segment.file.clone());
            let mut at = from;
            while at < to {
                let bytes = window.get(at, PIECE_BYTES, to).map_err(LaneError::io(Operation::Read))?;
                if bytes.is_empty() {
                    break;
                }
                segment.file.write_at(&bytes, at).map_err(LaneError::io(Operation::Write))?;
                at += bytes.len() as u64;
            }
            segment.file.sync().map_err(LaneError::io(Operation::Sync))?;
        }
        Ok(())
    }

    fn finish(mut self, tail: LanePosition) -> Recovered {
        let (gaps, unseen_suspect, heads) = self.continuity.finish();
        self.report.gaps = gaps;
        self.report.heads = heads.rows();
        self.report.unseen_shards_suspect = unseen_suspect;
        self.report.tail = tail;
        let live = self.segments.iter().take_while(|segment| segment.base <= tail).count();
        let behind = self.segments.split_off(live.max(1).min(self.segments.len()));
        Recovered { segments: self.segments, behind, tail, heads, report: self.report }
    }
}
