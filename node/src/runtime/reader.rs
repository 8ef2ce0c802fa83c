//! Reads: one snapshot of a stream's committed state, then its messages from memory, the cache, the tables, or, below a
//! fork's base, from the stream it was forked from. Whoever follows a tail and whoever lists names read here, too. Invariant:
//! what one answer says of a stream (messages, next offset, closure) is what was committed at one moment.

pub(super) mod listing;
mod sources;
mod tailer;

pub use listing::Listed;
pub use tailer::Tailer;

use std::sync::Arc;

use super::shared::{Shard, Shared};
use super::views::{Known, Snapshot, StreamView};
use super::{Failure, ReadBatch, ReadError, ReadFrom, StreamState};
use crate::seam::lending;
use crate::store::tables::ReadFault;
use crate::types::limits::FORK_DEPTH_MAX;
use crate::types::{Offset, Segment, ShardId, StreamId, StreamName};

impl Shared {
    /// The view of a name, loaded from the tables if need be.
    pub(crate) fn view(&self, name: &StreamName) -> Result<Option<Arc<StreamView>>, Failure> {
        let shard = self.shard_of(name)?;
        loop {
            let ticket = match shard.views.by_name(name) {
                Known::Here(view) => return Ok(Some(view)),
                Known::Absent => return Ok(None),
                Known::AskTables(ticket) => ticket,
            };
            let found = lending(|| shard.tables.stream_by_name(name));
            let Some(entry) = found.map_err(|fault| shard.table_fault(&fault))? else { return Ok(None) };
            if let Some(view) = shard.views.install(&entry.meta, ticket) {
                return Ok(Some(view));
            }
        }
    }

    /// The state of a name without making it resident: for a look in passing, which must not drive out what is in use.
    pub(crate) fn glimpse(&self, name: &StreamName) -> Result<Option<Snapshot>, Failure> {
        self.believed(name.shard(self.count), || self.look_at(name))
    }

    fn look_at(&self, name: &StreamName) -> Result<Option<Snapshot>, Failure> {
        let (shard, now) = (self.shard_of(name)?, self.judged_at());
        loop {
            let ticket = match shard.views.by_name(name) {
                Known::Here(view) => return Ok(Some(view.snapshot(now))),
                Known::Absent => return Ok(None),
                Known::AskTables(ticket) => ticket,
            };
            let found = lending(|| shard.tables.stream_by_name(name));
            let Some(entry) = found.map_err(|fault| shard.table_fault(&fault))? else { return Ok(None) };
            // Unless a view came or went meanwhile, the tables said all there is.
            if shard.views.ticket() == ticket {
                return Ok(Some(shard.views.glimpse(&entry.meta).snapshot(now)));
            }
        }
    }

    /// A living stream's view and state, for whoever is going to read it.
    pub(crate) fn living(&self, name: &StreamName) -> Result<(Arc<StreamView>, Snapshot), ReadError> {
        let (view, snapshot) = self.existing(name)?;
        self.must_be_rooted(&view, &snapshot)?;
        Ok((view, snapshot))
    }

    /// A living stream's state, for whoever reads nothing of it. That its sources cannot be asked at the moment is no reason
    /// to refuse that; that they do not hold what it shares with them is, if `shown`: all that they hold is visible here.
    pub(crate) fn standing(&self, name: &StreamName, shown: bool) -> Result<StreamState, ReadError> {
        let (view, snapshot) = self.existing(name)?;
        match self.lost_source(&view, &snapshot) {
            Ok(Some(_)) if shown => self.must_be_rooted(&view, &snapshot)?,
            _ => {}
        }
        Ok(snapshot.state)
    }

    fn existing(&self, name: &StreamName) -> Result<(Arc<StreamView>, Snapshot), ReadError> {
        let view = self.view(name)?.ok_or(ReadError::NotFound)?;
        let snapshot = view.snapshot(self.judged_at());
        alive(&snapshot)?;
        Ok((view, snapshot))
    }

    /// Where a read begins, checked against the stream's bounds.
    pub(crate) fn resolve(from: ReadFrom, state: &StreamState) -> Result<Offset, ReadError> {
        let offset = match from {
            ReadFrom::Start => state.earliest,
            ReadFrom::Now => state.tail,
            ReadFrom::At(offset) => offset,
        };
        if offset > state.tail {
            return Err(ReadError::BeyondTail { tail: state.tail });
        }
        if offset < state.earliest {
            return Err(ReadError::Trimmed { earliest: state.earliest });
        }
        if offset.messages == state.tail.messages && offset != state.tail {
            return Err(ReadError::Misaligned);
        }
        Ok(offset)
    }

    /// One read. The messages of a stream that is not resident are in the tables, too: its thread is lent once for both.
    pub(crate) fn read(
        &self,
        name: &StreamName,
        from: ReadFrom,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        match self.shard_of(name)?.views.by_name(name) {
            Known::Here(view) => self.read_view(name, &view, from, bytes_max),
            Known::Absent => Err(ReadError::NotFound),
            Known::AskTables(_) => lending(|| {
                let view = self.view(name)?.ok_or(ReadError::NotFound)?;
                self.read_view(name, &view, from, bytes_max)
            }),
        }
    }

    fn read_view(
        &self,
        name: &StreamName,
        view: &StreamView,
        from: ReadFrom,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        let snapshot = view.snapshot(self.judged_at());
        alive(&snapshot)?;
        self.touch(name.shard(self.count), view, snapshot.state.config.lifetime);
        let start = Self::resolve(from, &snapshot.state)?;
        self.batch(name, view, start, bytes_max)
    }

    /// The messages of a stream from `start`, with the state that they belong to.
    pub(crate) fn batch(
        &self,
        name: &StreamName,
        view: &StreamView,
        start: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatch, ReadError> {
        let shard = self.shard_of(name)?;
        let (snapshot, memory) = view.snapshot_from(start, bytes_max, self.judged_at());
        alive(&snapshot)?;
        self.must_be_rooted(view, &snapshot)?;
        let segments = match memory {
            None => return Err(ReadError::Misaligned),
            Some(segments) if !segments.is_empty() || start == snapshot.state.tail => segments,
            Some(_) => self.gather(shard.id, view.id, start, snapshot.state.tail, bytes_max)?,
        };
        let next = segments.last().map_or(start, |last| last.messages.end(last.start));
        self.metrics.engine.reads.inc();
        self.metrics.engine.read.inc_by(next.bytes.saturating_sub(start.bytes));
        Ok(ReadBatch { state: snapshot.state, start, next, segments })
    }

    /// Messages of a stream from several places, in order, without holes.
    pub(crate) fn gather(
        &self,
        shard: ShardId,
        stream: StreamId,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, ReadError> {
        let mut out: Vec<Segment> = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while next < upto && bytes < bytes_max {
            let part = self.step(Place { shard, stream }, next, upto, bytes_max - bytes, 0)?;
            let contiguous = part.first().is_some_and(|first| first.start == next);
            let Some(last) = part.last().filter(|_| contiguous) else { return Err(Failure::Corrupt.into()) };
            let end = last.messages.end(last.start);
            let size: usize = part.iter().map(|segment| segment.messages.wire().len()).sum();
            if bytes > 0 && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            next = end;
            out.extend(part);
        }
        Ok(out)
    }

    /// The next messages from exactly one place; at least one.
    fn step(
        &self,
        place: Place,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
        depth: u32,
    ) -> Result<Vec<Segment>, ReadError> {
        if depth > FORK_DEPTH_MAX {
            return Err(Failure::Corrupt.into());
        }
        let shard = self.shard(place.shard)?;
        let (base, parent, memory_from) = match shard.views.by_id(place.stream) {
            Some(view) => {
                let (snapshot, memory) = view.snapshot_from(from, bytes_max, self.judged_at());
                let segments = memory.ok_or(ReadError::Misaligned)?;
                if !segments.is_empty() {
                    return Ok(clipped(segments, upto));
                }
                (snapshot.base, snapshot.parent, snapshot.memory_from)
            }
            None => {
                let found = lending(|| shard.tables.stream_by_id(place.stream));
                let meta = found.map_err(|fault| shard.table_fault(&fault))?.ok_or(ReadError::NotFound)?.meta;
                (meta.base, meta.parent, meta.tail)
            }
        };
        if from < base {
            let parent = parent.ok_or(Failure::Corrupt)?;
            let source = Place { shard: parent.shard, stream: parent.stream };
            return self.step(source, from, upto.min(parent.upto), bytes_max, depth + 1);
        }
        self.cold(shard, place.stream, from, upto.min(memory_from), bytes_max)
    }

    /// Messages that the tables hold, through the cache of hot segments.
    fn cold(
        &self,
        shard: &Shard,
        stream: StreamId,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, ReadError> {
        let cached = self.cache.run(shard.id, stream, from, upto, bytes_max);
        if !cached.is_empty() {
            return Ok(cached);
        }
        self.metrics.engine.table_reads.inc();
        let read = || shard.tables.read(stream, from, upto, bytes_max);
        let found = lending(read).map_err(|fault| match fault {
            ReadFault::Misaligned => ReadError::Misaligned,
            // Removed between the snapshot and this read.
            ReadFault::NotFound => ReadError::NotFound,
            ReadFault::Trimmed { earliest } => ReadError::Trimmed { earliest },
            other => ReadError::Failure(shard.fault(&other)),
        })?;
        self.cache.insert(shard.id, stream, &found);
        Ok(found)
    }
}

/// A stream's data, whatever its name.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard: ShardId,
    stream: StreamId,
}

/// Segments without what lies at or behind `upto`.
fn clipped(segments: Vec<Segment>, upto: Offset) -> Vec<Segment> {
    let inside = segments.into_iter().filter(|segment| segment.start < upto);
    inside
        .map(|Segment { start, messages }| {
            let keep = usize::try_from(upto.messages - start.messages).unwrap_or(usize::MAX);
            let whole = keep >= messages.lengths().len();
            Segment { start, messages: if whole { messages } else { messages.slice(0, keep) } }
        })
        .collect()
}

/// Refuses what is deleted, expired or kept only for forks.
pub(crate) fn alive(snapshot: &Snapshot) -> Result<(), ReadError> {
    if snapshot.retired || (snapshot.gone && snapshot.pins > 0) {
        return Err(ReadError::Gone);
    }
    if snapshot.gone { Err(ReadError::NotFound) } else { Ok(()) }
}
