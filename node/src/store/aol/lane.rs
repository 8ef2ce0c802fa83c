//! The one writer of a lane: encodes records into a batch, writes the batch, syncs.
//!
//! Invariants: `synced ≤ written ≤ tail`. After a failed write or sync the lane is poisoned and never touches its files
//! again. When the volume is full nothing of the refused call remains in the log. When to write and sync, and what an
//! answer means, is the runtime's.

mod bulk;
mod room;

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use self::bulk::Bulk;
use self::room::lane_head;
use super::Record;
use super::beginning::Held;
use super::error::{LaneError, Operation, is_full};
use super::heads::Heads;
use super::inventory::Inventory;
use super::options::{Appended, LaneOptions, RecordHead};
use super::quarantine::{Quarantine, Reason};
use super::reader::{LaneReader, Shared};
use super::recovery::Recovery;
use super::report::RecoveryReport;
use super::segment::Segment;
use super::supply::{Place, Supply, header_of, remove_durably};
use crate::codec::record::{
    ALIGNMENT, HEADER_BYTES, LaneKey, RecordHeader, RecordKind, chain_after, total_bytes,
};
use crate::seam::disk::{Dir, File};
use crate::types::{Boot, Epoch, LanePosition, LogIndex, ShardId};

/// The batch buffer's size: batches are cut off its front until it is used up, so that small batches that readers keep
/// share memory instead of pinning a large buffer each.
const ARENA_BYTES: usize = 256 * 1024;
/// What a page of the page cache holds: a write that ends on its border needs no read of what was there before.
const PAGE_BYTES: u64 = 4096;

/// The records of a batch that go to one segment.
#[derive(Debug)]
struct Part {
    segment: Segment,
    /// Where they begin.
    position: LanePosition,
    /// A mark in front of them, when the segment begins with this part.
    lead: Vec<u8>,
    /// They themselves, in the batch buffer.
    range: Range<usize>,
    /// The roll behind them, when the segment ends with this part.
    trail: Vec<u8>,
}

/// A sync of what a lane wrote, for another thread.
#[derive(Debug)]
pub struct Flush {
    shared: Arc<Shared>,
    files: Vec<Arc<dyn File>>,
    upto: LanePosition,
}

impl Flush {
    /// Makes it durable. After an error the lane is poisoned.
    pub fn run(&self) -> Result<(), LaneError> {
        self.shared.sync(&self.files, self.upto)
    }
}

/// An append-only log, owned by one thread.
#[derive(Debug)]
pub struct Lane {
    options: LaneOptions,
    key: LaneKey,
    shared: Arc<Shared>,
    supply: Supply,
    active: Segment,
    heads: Heads,
    tail: LanePosition,
    written: LanePosition,
    synced: LanePosition,
    buffer: BytesMut,
    bulk: Bulk,
    parts: Vec<Part>,
    /// Heads before this batch, newest last: what a batch that found the volume full takes back.
    undo: Vec<(ShardId, Option<LogIndex>)>,
    unsynced: Vec<Arc<dyn File>>,
    /// Those of the sync that another thread makes.
    flushing: Vec<Arc<dyn File>>,
    quarantine: Quarantine,
    poisoned: bool,
}

impl Lane {
    /// Opens the log in `dir`, delivers every record of a shard in lane order, and makes it ready for appending.
    pub fn open(
        dir: &Arc<dyn Dir>,
        options: LaneOptions,
        visitor: impl FnMut(Record),
    ) -> Result<(Self, RecoveryReport), LaneError> {
        Self::open_behind(dir, options, &Held::new(), visitor)
    }

    /// The same, but passes over what the tables hold anyway, as far as whole segments and a clean stop allow.
    pub fn open_behind(
        dir: &Arc<dyn Dir>,
        options: LaneOptions,
        held: &Held,
        mut visitor: impl FnMut(Record),
    ) -> Result<(Self, RecoveryReport), LaneError> {
        let Inventory { mut segments, unfinished } = Inventory::read(dir.as_ref(), &options)?;
        for number in unfinished.iter().rev() {
            remove_durably(dir.as_ref(), *number).map_err(LaneError::io(Operation::Open))?;
        }
        let mut supply = Supply::new(dir.clone(), options);
        let created = segments.is_empty();
        if created {
            if !options.may_create {
                return Err(LaneError::Missing);
            }
            // All of it with zeros ahead: nobody waits yet.
            while supply.step(Place { number: 1, base: LanePosition(0), live_bytes: 0, used: 1024 })? {}
            segments.extend(supply.take());
        }
        let mut recovered = Recovery::run(dir.clone(), &options, segments, held, &mut visitor)?;
        for segment in recovered.segments.iter_mut().filter(|segment| !segment.headed) {
            segment.write_header(&header_of(segment, &options)).map_err(LaneError::io(Operation::Open))?;
            segment.headed = true;
        }
        // What was only in preparation is prepared anew.
        let next = recovered.behind.front().is_some_and(|next| next.headed);
        let next = if next { recovered.behind.pop_front() } else { None };
        for extra in recovered.behind.iter().rev() {
            remove_durably(dir.as_ref(), extra.number).map_err(LaneError::io(Operation::Open))?;
        }
        let mut active = recovered.segments.back().cloned().ok_or(LaneError::Missing)?;
        if recovered.tail > active.end() {
            // The last segments are lost: go on behind the hole that recovery leaves.
            let place = Place { number: active.number + 2, base: recovered.tail, live_bytes: 0, used: 0 };
            supply.require(place, options.segment_bytes)?;
            active = supply.take().ok_or(LaneError::Missing)?;
            recovered.segments.push_back(active.clone());
        }
        match next {
            Some(next) if next.base == active.end() => supply.put_ready(next),
            Some(other) => {
                remove_durably(dir.as_ref(), other.number).map_err(LaneError::io(Operation::Open))?;
            }
            None => {}
        }
        let mut lane = Self {
            options,
            key: options.key(),
            shared: Arc::new(Shared::new(recovered.segments, recovered.tail)),
            supply,
            active,
            heads: recovered.heads,
            tail: recovered.tail,
            written: recovered.tail,
            synced: recovered.tail,
            buffer: BytesMut::with_capacity(ARENA_BYTES),
            bulk: Bulk::default(),
            parts: Vec::new(),
            undo: Vec::new(),
            unsynced: Vec::new(),
            flushing: Vec::new(),
            quarantine: Quarantine::new(dir.clone()),
            poisoned: false,
        };
        // From here on damage before this point is known for what it is.
        lane.mark_if_room()?;
        Ok((lane, RecoveryReport { created, ..recovered.report }))
    }

    /// Encodes one record into the batch; nothing reaches the disk before [`Self::write`]. `payload` appends the payload
    /// to the buffer it is given and must leave alone what is already in it.
    pub fn append(
        &mut self,
        head: &RecordHead,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Result<Appended, LaneError> {
        self.check()?;
        let start = self.buffer.len();
        self.buffer.put_bytes(0, HEADER_BYTES);
        payload(&mut self.buffer);
        let payload_range = start + HEADER_BYTES..self.buffer.len();
        match self.place(payload_range.len(), head.kind) {
            Ok(()) => {}
            Err(error) => {
                self.buffer.truncate(start);
                return Err(error);
            }
        }
        let bytes = self.buffer.get(payload_range.clone()).unwrap_or_default();
        let chain = if head.kind.is_chained() {
            chain_after(head.chain, head.epoch, head.index, head.kind, bytes)
        } else {
            head.chain
        };
        let header = self.header(head, bytes);
        self.buffer.put_bytes(0, payload_range.len().next_multiple_of(ALIGNMENT) - payload_range.len());
        if let Some(place) = self.buffer.get_mut(start..start + HEADER_BYTES) {
            place.copy_from_slice(&header.encode(&self.key));
        }
        if let Some(part) = self.parts.last_mut() {
            if part.range.is_empty() {
                part.range = start..start;
            }
            part.range.end = self.buffer.len();
        }
        let before = self.heads.note(head.kind, head.shard, head.index);
        self.undo.push((head.shard, before));
        self.tail = header.end();
        Ok(Appended { position: header.position, end: header.end(), payload: payload_range, chain })
    }

    /// Whether records of this kind and of `bytes` in all (payloads, and [`total_bytes`] of nothing for each) will be taken. Makes the
    /// next segment ready if that needs it.
    pub fn has_room(&mut self, bytes: usize, kind: RecordKind) -> Result<bool, LaneError> {
        self.check()?;
        match self.room_for(total_bytes(bytes), kind) {
            Ok(_) => Ok(true),
            Err(LaneError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the batch and returns it: [`Appended::payload`] points into it. Nothing of it is durable yet.
    pub fn write(&mut self) -> Result<Bytes, LaneError> {
        self.check()?;
        let parts = std::mem::take(&mut self.parts);
        for part in &parts {
            if let Err(error) = self.write_part(part) {
                if is_full(&error) && self.cut_back(&parts) {
                    return Err(LaneError::Full);
                }
                return self.poison(LaneError::io(Operation::Write)(error));
            }
        }
        for part in parts {
            if !self.unsynced.iter().any(|file| Arc::ptr_eq(file, &part.segment.file)) {
                self.unsynced.push(part.segment.file);
            }
        }
        self.undo.clear();
        self.written = self.tail;
        self.shared.set_written(self.written);
        let batch = self.buffer.split().freeze();
        // After a large batch comes another one: a buffer that grew as it is filled would copy most of it once more. Small ones go
        // into small buffers again, since a reader that keeps one message keeps the buffer.
        let wanted = ARENA_BYTES.max(batch.len());
        let room = self.buffer.capacity();
        if room < ARENA_BYTES / 8 || wanted > ARENA_BYTES || room > ARENA_BYTES {
            self.buffer = BytesMut::with_capacity(wanted);
        }
        Ok(batch)
    }

    /// Makes everything written durable and returns how far that is.
    pub fn sync(&mut self) -> Result<LanePosition, LaneError> {
        self.check()?;
        let mut files = std::mem::take(&mut self.unsynced);
        // Nobody knows whether the other thread has begun.
        for file in std::mem::take(&mut self.flushing) {
            if !files.iter().any(|other| Arc::ptr_eq(other, &file)) {
                files.push(file);
            }
        }
        if let Err(error) = self.shared.sync(&files, self.written) {
            return self.poison(error);
        }
        self.synced = self.written;
        Ok(self.synced)
    }

    /// What another thread syncs while this one goes on: all that is written. [`Self::end_sync`] follows before the next.
    pub fn begin_sync(&mut self) -> Result<Flush, LaneError> {
        self.check()?;
        self.flushing.append(&mut self.unsynced);
        Ok(Flush { shared: Arc::clone(&self.shared), files: self.flushing.clone(), upto: self.written })
    }

    /// The other thread has made it durable; returns how far that is.
    pub fn end_sync(&mut self) -> Result<LanePosition, LaneError> {
        self.check()?;
        self.flushing.clear();
        self.synced = self.synced.max(self.shared.synced());
        Ok(self.synced)
    }

    /// Does one small step of making the next segment ready; `false` when there is nothing to do for now. To be called
    /// after every commit, once its writers were answered. A full volume is no error here: [`Self::has_room`] tells.
    pub fn tend(&mut self) -> Result<bool, LaneError> {
        self.check()?;
        if !self.parts.is_empty() {
            return Ok(false);
        }
        match self.supply.step(self.next_place()) {
            Err(LaneError::Full) => Ok(false),
            Err(error) => self.poison(error),
            more => more,
        }
    }

    /// Lets go of segments that lie wholly before `upto`; they are used again.
    pub fn release(&mut self, upto: LanePosition) -> Result<(), LaneError> {
        self.check()?;
        // A reader may have synced more.
        self.synced = self.synced.max(self.shared.synced());
        while let Some(segment) = self.shared.pop_front_before(upto.min(self.synced)) {
            if let Err(error) = self.supply.release(segment) {
                return self.poison(error);
            }
        }
        Ok(())
    }

    /// Gives released segments back to a full volume, all but one for what comes next.
    pub fn give_back(&mut self) -> Result<(), LaneError> {
        self.check()?;
        match self.supply.give_back() {
            Err(error) => self.poison(error),
            done => done,
        }
    }

    /// Keeps a copy of the records in `from..to`, which a shard takes back; whether all of it is there now. Records of other
    /// shards among them are kept, too.
    pub fn keep_taken_back(&self, shard: ShardId, from: LanePosition, to: LanePosition) -> bool {
        let to = to.min(self.written);
        let segments = self.shared.between(from, to);
        from >= to || self.quarantine.keep(Reason::TakenBack(shard), segments.iter(), from, to)
    }

    /// Writes and syncs a mark: from then on everything before it is known to have been synced. Worth it when the lane
    /// falls idle, since damage in the last group cannot be told from a torn tail otherwise.
    pub fn mark(&mut self) -> Result<(), LaneError> {
        self.commit_mark(&lane_head(RecordKind::Mark)).map(drop)
    }

    /// The same; a full volume can do without.
    fn mark_if_room(&mut self) -> Result<(), LaneError> {
        match self.mark() {
            Err(LaneError::Full) => Ok(()),
            marked => marked,
        }
    }

    /// Writes, syncs and marks the log as cleanly ended in this boot, and notes where it did, so that the next start finds
    /// the place without reading what is in the tables.
    pub fn close(mut self, boot: Boot) -> Result<(), LaneError> {
        let epoch = Epoch { boot, ..Epoch::default() };
        let closed = self.commit_mark(&RecordHead { epoch, ..lane_head(RecordKind::Close) })?;
        self.active.write_hint(closed).map_err(LaneError::io(Operation::Write))
    }

    /// Everything before this is durable.
    #[must_use]
    pub const fn synced(&self) -> LanePosition {
        self.synced
    }

    /// Everything before this is written.
    #[must_use]
    pub const fn written(&self) -> LanePosition {
        self.written
    }

    /// What the next segment takes at least.
    #[must_use]
    pub const fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// Where the next record goes, the batch included.
    #[must_use]
    pub const fn tail(&self) -> LanePosition {
        self.tail
    }

    /// A handle to read records back with, for other threads too.
    #[must_use]
    pub fn reader(&self) -> LaneReader {
        LaneReader::new(self.key, self.shared.clone())
    }

    /// Returns where the mark stands.
    fn commit_mark(&mut self, head: &RecordHead) -> Result<LanePosition, LaneError> {
        self.write()?;
        self.sync()?;
        let heads = self.heads.clone();
        let Appended { position, .. } = self.append(head, |out| heads.encode(out))?;
        self.write()?;
        self.sync()?;
        Ok(position)
    }

    fn header(&self, head: &RecordHead, payload: &[u8]) -> RecordHeader {
        let header = RecordHeader {
            kind: head.kind,
            shard: head.shard,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_checksum: 0,
            position: self.tail,
            synced: self.synced,
            epoch: head.epoch,
            index: head.index,
            chain: head.chain,
        };
        RecordHeader { payload_checksum: self.key.payload_checksum(&header, payload), ..header }
    }

    fn check(&self) -> Result<(), LaneError> {
        if self.poisoned || self.shared.has_failed() { Err(LaneError::Poisoned) } else { Ok(()) }
    }

    fn poison<T>(&mut self, error: LaneError) -> Result<T, LaneError> {
        self.poisoned = true;
        Err(error)
    }
}
