//! The committed state of one resident stream, and its messages that the tables do not hold yet.
//!
//! Invariant: what the tables hold and what the view's segments hold together is everything that is committed. Segments
//! leave only after the tables applied them. One lock, held for a few copies of reference counts, gives one snapshot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::runtime::StreamState;
use crate::types::limits::{CHUNK_BYTES_TARGET, SEGMENT_BYTES_SMALL};
use crate::types::{
    AppendOp, Incarnation, Lifetime, LogIndex, Messages, Offset, Parent, PinId, Segment, StreamConfig,
    StreamId, StreamMeta, StreamName, UnixMillis,
};

/// One resident stream.
#[derive(Debug)]
pub(crate) struct StreamView {
    pub(crate) id: StreamId,
    pub(crate) name: StreamName,
    pub(crate) incarnation: Incarnation,
    /// The last read that is known, for the sliding window; 0 = none.
    read_at: AtomicI64,
    /// When this start began: reads before it are not known, so a window that it interrupted begins afresh.
    started_at: UnixMillis,
    changed: Notify,
    /// Its sources were seen to hold what it reads of them: they hold it for as long as it lives.
    is_rooted: AtomicBool,
    inner: Mutex<Inner>,
}

/// What readers see, as of the last committed record.
#[derive(Debug)]
struct Inner {
    config: Arc<StreamConfig>,
    parent: Option<Parent>,
    base: Offset,
    earliest: Offset,
    tail: Offset,
    closed: bool,
    pins: u32,
    retired: bool,
    gone: bool,
    /// Last write, or this start if that was later (leader's clock).
    written_at: UnixMillis,
    /// The last record that changed the stream.
    index: LogIndex,
    /// Consecutive messages up to the tail, each with the record that brought it.
    segments: VecDeque<Unapplied>,
    /// Pins that the tables do not hold yet, each with the record that brought it.
    granted: Vec<(LogIndex, PinId)>,
}

#[derive(Debug, Clone)]
struct Unapplied {
    index: LogIndex,
    segment: Segment,
}

/// Everything a read needs, taken under one lock.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) state: StreamState,
    pub(crate) base: Offset,
    pub(crate) parent: Option<Parent>,
    pub(crate) pins: u32,
    pub(crate) retired: bool,
    /// Deleted for good, or expired.
    pub(crate) gone: bool,
    /// Where the messages in memory begin; what lies before is in the tables (or the parent).
    pub(crate) memory_from: Offset,
}

impl StreamView {
    /// A view of what the tables hold (or of a stream that was just created, `index` > 0). A window that a start at
    /// `started_at` interrupted begins afresh, as the owner sees it, too: late, never early.
    pub(crate) fn new(
        meta: &StreamMeta,
        incarnation: Incarnation,
        index: LogIndex,
        started_at: UnixMillis,
    ) -> Self {
        let inner = Inner::of(meta, index, meta.touched_at.max(started_at));
        Self {
            id: meta.id,
            name: meta.name.clone(),
            incarnation,
            read_at: AtomicI64::new(0),
            started_at,
            changed: Notify::new(),
            is_rooted: AtomicBool::new(false),
            inner: Mutex::new(inner),
        }
    }

    /// A panic while the lock is held cannot leave half a change: each change below is a few assignments.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Woken at every change.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Whether its sources were seen to hold what it reads of them.
    pub(crate) fn is_rooted(&self) -> bool {
        self.is_rooted.load(Ordering::Acquire)
    }

    /// They do.
    pub(crate) fn root(&self) {
        self.is_rooted.store(true, Ordering::Release);
    }

    /// Whether a fork has this pin since a record that the tables may not hold yet; of older pins they know.
    pub(crate) fn has_granted(&self, pin: PinId) -> bool {
        self.lock().granted.iter().any(|(_, granted)| *granted == pin)
    }

    /// The state at this moment.
    pub(crate) fn snapshot(&self, now: UnixMillis) -> Snapshot {
        self.lock().snapshot(self, now)
    }

    /// The state at this moment and the messages in memory from `from` on, about `bytes_max` of them; no messages when
    /// `from` lies before what is in memory. `None` when `from` is no message boundary.
    pub(crate) fn snapshot_from(
        &self,
        from: Offset,
        bytes_max: usize,
        now: UnixMillis,
    ) -> (Snapshot, Option<Vec<Segment>>) {
        let mut inner = self.lock();
        inner.compact(from, bytes_max);
        let snapshot = inner.snapshot(self, now);
        let segments = inner.messages_from(from, bytes_max);
        (snapshot, segments)
    }

    /// Remembers a read, which renews a sliding window.
    pub(crate) fn touch(&self, now: UnixMillis) {
        self.read_at.fetch_max(now.0, Ordering::Relaxed);
    }

    /// The last read that is known.
    pub(crate) fn read_at(&self) -> Option<UnixMillis> {
        match self.read_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(UnixMillis(at)),
        }
    }

    /// Shows what other tables hold of the stream, which are further than all that was seen; whoever waits for changes is told
    /// by the caller.
    pub(crate) fn begin_again(&self, meta: &StreamMeta, index: LogIndex) {
        let mut inner = self.lock();
        let written_at = inner.written_at.max(meta.touched_at);
        *inner = Inner::of(meta, index, written_at);
    }

    /// The stream is no more.
    pub(crate) fn end(&self, index: LogIndex) {
        let mut inner = self.lock();
        (inner.gone, inner.pins, inner.index) = (true, 0, index);
        inner.segments.clear();
        inner.granted.clear();
    }

    /// Whether the tables have its last change.
    pub(crate) fn evictable(&self, applied: LogIndex) -> bool {
        self.lock().index <= applied
    }

    /// The last read, if it renewed a window and no record says so: what would be lost with the view.
    pub(crate) fn unrecorded_read(&self) -> Option<UnixMillis> {
        let inner = self.lock();
        let sliding = matches!(inner.config.lifetime, Lifetime::Sliding(_)) && !inner.gone && !inner.retired;
        self.read_at().filter(|read| sliding && *read > inner.written_at)
    }

    /// Publishes committed messages and closure; `op.messages` must not hold a request's buffer.
    pub(crate) fn append(&self, op: &AppendOp, index: LogIndex) {
        let mut inner = self.lock();
        if !op.messages.is_empty() {
            inner.segments.push_back(Unapplied {
                index,
                segment: Segment { start: op.start, messages: op.messages.clone() },
            });
            inner.tail = op.messages.end(op.start);
        }
        inner.closed |= op.close;
        inner.written_at = inner.written_at.max(op.at);
        inner.index = index;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Publishes any other change; says how many payload bytes it lets go.
    pub(crate) fn change(&self, index: LogIndex, change: Change) -> u64 {
        let mut inner = self.lock();
        let before = inner.earliest;
        match change {
            Change::Delete => inner.gone = true,
            Change::Retire => inner.retired = true,
            Change::Pin(pin) => {
                inner.pins += 1;
                inner.granted.push((index, pin));
            }
            Change::Unpin(pin) => {
                inner.pins = inner.pins.saturating_sub(1);
                inner.granted.retain(|(_, granted)| *granted != pin);
            }
            Change::Trim(earliest) => inner.earliest = inner.earliest.max(earliest),
            Change::Touch(at) => inner.written_at = inner.written_at.max(at),
        }
        inner.index = index;
        let let_go = inner.earliest.bytes.saturating_sub(before.bytes);
        drop(inner);
        if matches!(change, Change::Delete | Change::Retire) {
            self.changed.notify_waiters();
        }
        let_go
    }

    /// The tables hold everything up to `index`. Returns whether the stream is gone for good.
    pub(crate) fn applied(&self, index: LogIndex) -> bool {
        let mut inner = self.lock();
        while inner.segments.front().is_some_and(|first| first.index <= index) {
            inner.segments.pop_front();
        }
        inner.granted.retain(|(granted_by, _)| *granted_by > index);
        inner.gone && inner.index <= index
    }
}

/// A change other than messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Delete,
    Retire,
    Pin(PinId),
    Unpin(PinId),
    Trim(Offset),
    Touch(UnixMillis),
}

impl Inner {
    /// A stream as tables hold it: nothing of it waits to be applied.
    fn of(meta: &StreamMeta, index: LogIndex, written_at: UnixMillis) -> Self {
        Self {
            config: Arc::new(meta.config.clone()),
            parent: meta.parent,
            base: meta.base,
            earliest: meta.earliest,
            tail: meta.tail,
            closed: meta.closed,
            pins: meta.pins,
            retired: meta.retired,
            gone: false,
            written_at,
            index,
            segments: VecDeque::new(),
            granted: Vec::new(),
        }
    }

    fn snapshot(&self, view: &StreamView, now: UnixMillis) -> Snapshot {
        Snapshot {
            state: StreamState {
                incarnation: view.incarnation,
                config: Arc::clone(&self.config),
                earliest: self.earliest,
                tail: self.tail,
                closed: self.closed,
            },
            base: self.base,
            parent: self.parent,
            pins: self.pins,
            retired: self.retired,
            gone: self.gone || self.expired(view, now),
            memory_from: self.segments.front().map_or(self.tail, |first| first.segment.start),
        }
    }

    /// An expired stream is gone from the moment of its deadline, even before the sweeper's record.
    fn expired(&self, view: &StreamView, now: UnixMillis) -> bool {
        let read = view.read_at().unwrap_or(view.started_at).max(view.started_at);
        let touched = self.written_at.max(read);
        self.config.lifetime.deadline(touched).is_some_and(|deadline| deadline <= now)
    }

    /// Index of the segment that contains or begins at `from`.
    fn position(&self, from: Offset) -> usize {
        self.segments.partition_point(|entry| entry.segment.start.messages <= from.messages).saturating_sub(1)
    }

    /// Many small segments become few large ones before they are handed out, so that a burst of small appends is merged
    /// once for all readers and not gathered anew by each. At most what this read hands out is copied under the lock, and
    /// a segment that is large enough is not copied again; so a byte is copied about twice, however many read.
    fn compact(&mut self, from: Offset, bytes_max: usize) {
        const SEGMENTS_LOOSE_MAX: usize = 16;
        let first = self.position(from);
        let (mut count, mut loose, mut bytes) = (0, 0, 0);
        for entry in self.segments.range(first..) {
            let size = entry.segment.messages.wire().len();
            if bytes + size > bytes_max {
                break;
            }
            bytes += size;
            count += 1;
            loose += usize::from(size < SEGMENT_BYTES_SMALL);
        }
        if loose <= SEGMENTS_LOOSE_MAX {
            return;
        }
        let (mut runs, mut run, mut run_bytes) = (Vec::new(), Vec::new(), 0);
        for entry in self.segments.range(first..first + count) {
            let size = entry.segment.messages.wire().len();
            let large = size >= SEGMENT_BYTES_SMALL;
            if large || run_bytes + size > CHUNK_BYTES_TARGET {
                runs.extend(merged(&mut run));
                run_bytes = 0;
            }
            if large {
                runs.push(entry.clone());
            } else {
                run_bytes += size;
                run.push(entry.clone());
            }
        }
        runs.extend(merged(&mut run));
        let kept = runs.len();
        for (place, entry) in self.segments.range_mut(first..).zip(runs) {
            *place = entry;
        }
        self.segments.drain(first + kept..first + count);
    }

    fn messages_from(&self, from: Offset, bytes_max: usize) -> Option<Vec<Segment>> {
        let mut out = Vec::new();
        let Some(front) = self.segments.front() else { return Some(out) };
        if from < front.segment.start || from == self.tail {
            return Some(out);
        }
        let first = self.position(from);
        let mut bytes = 0;
        for entry in self.segments.range(first..) {
            let Segment { start, messages } = &entry.segment;
            let skip = if *start < from { messages.boundary(*start, from)? } else { 0 };
            let room = bytes_max.saturating_sub(bytes);
            let part = clip(*start, messages, skip, room, out.is_empty());
            let Some(part) = part else { break };
            bytes += part.messages.wire().len();
            let whole = part.messages.lengths().len() + skip == messages.lengths().len();
            out.push(part);
            if !whole {
                break;
            }
        }
        // A first segment that begins elsewhere means that `from` lies between boundaries.
        out.first().is_none_or(|part| part.start == from).then_some(out)
    }
}

/// Messages `skip..` of a run as far as they fit `room` bytes of wire form; at least one if `at_least_one`.
pub(crate) fn clip(
    start: Offset,
    messages: &Messages,
    skip: usize,
    room: usize,
    at_least_one: bool,
) -> Option<Segment> {
    let lengths = messages.lengths();
    let separator = messages.framing().separator_len();
    let mut to = lengths.len();
    if skip == 0 && messages.wire().len() <= room {
        return Some(Segment { start, messages: messages.clone() }).filter(|part| !part.messages.is_empty());
    }
    let mut bytes = 0;
    for (position, &length) in lengths.iter().enumerate().skip(skip) {
        bytes += length as usize + separator;
        if bytes > room + separator && !(at_least_one && position == skip) {
            to = position;
            break;
        }
    }
    let before: u64 = lengths[..skip.min(lengths.len())].iter().map(|&length| u64::from(length)).sum();
    let part = messages.slice(skip, to);
    (!part.is_empty()).then(|| Segment { start: start.advanced(skip as u64, before), messages: part })
}

/// One segment with the bytes of all; it leaves memory with the last of them.
fn merged(run: &mut Vec<Unapplied>) -> Option<Unapplied> {
    if run.len() < 2 {
        return run.pop();
    }
    let first = run.first()?;
    let (framing, start) = (first.segment.messages.framing(), first.segment.start);
    let index = run.iter().map(|entry| entry.index).max()?;
    let parts: Vec<&Messages> = run.iter().map(|entry| &entry.segment.messages).collect();
    let messages = Messages::concat(framing, &parts);
    run.clear();
    Some(Unapplied { index, segment: Segment { start, messages } })
}

#[cfg(test)]
pub(crate) mod tests;
