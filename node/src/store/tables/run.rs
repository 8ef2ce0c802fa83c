//! Walks the chunks of one stream in one snapshot: reads of messages, and the boundary that retention asks for.
//! Invariant: messages leave in order, without holes, from rows whose checksums were verified, cut at exact boundaries.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use redb::ReadOnlyTable;

use super::fault::{ReadFault, corrupt};
use crate::codec::CodecError;
use crate::codec::chunk::{
    ChunkHead, ChunkKey, chunk_key, decode_first_row, decode_next_row, join, split_chunk_key,
};
use crate::types::limits::CHUNK_BYTES_TARGET;
use crate::types::{Lengths, Offset, Retention, Segment, ShardId, StreamId, UnixMillis};

/// Chunks of one stream.
pub(super) struct Run<'a> {
    pub chunks: &'a ReadOnlyTable<&'static [u8; 20], &'static [u8]>,
    pub shard: ShardId,
    pub stream: StreamId,
    pub earliest: Offset,
}

/// What retention asks for.
#[derive(Clone, Copy)]
pub(super) struct Goal {
    pub keep: Retention,
    pub tail: Offset,
    pub now: UnixMillis,
}

type Rows<'r> = redb::Range<'r, &'static [u8; 20], &'static [u8]>;

impl Run<'_> {
    fn corrupt(&self, at: u64, cause: CodecError) -> ReadFault {
        ReadFault::Tables(corrupt(format!("the chunk of stream {} at message {at}", self.stream), cause))
    }

    /// A missing chunk: let go by retention, or lost.
    fn hole(&self, at: u64) -> ReadFault {
        if at < self.earliest.messages {
            ReadFault::Trimmed { earliest: self.earliest }
        } else {
            self.corrupt(at, CodecError::Truncated("the chunk table"))
        }
    }

    /// The rows from the chunk that should hold message `from` up to message `upto`.
    fn rows(&self, from: u64, upto: u64) -> Result<Rows<'static>, ReadFault> {
        let (begin, end) = (chunk_key(self.stream, 0, 0), chunk_key(self.stream, from, 0));
        let found = self.chunks.range::<&[u8; 20]>(&begin..=&end)?.next_back().transpose()?;
        let Some((key, _)) = found else { return Err(self.hole(from)) };
        let (_, first_message, _) = split_chunk_key(key.value());
        let (begin, end) = (chunk_key(self.stream, first_message, 0), chunk_key(self.stream, upto, 0));
        Ok(self.chunks.range::<&[u8; 20]>(&begin..&end)?)
    }

    /// Messages from `from` up to `upto`. Damage behind the first messages ends the answer; the next read meets it.
    pub(super) fn read(
        &self,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, ReadFault> {
        let mut segments: Vec<Segment> = Vec::new();
        if from.messages >= upto.messages {
            let misaligned = from.messages == upto.messages && from.bytes != upto.bytes;
            return if misaligned { Err(ReadFault::Misaligned) } else { Ok(segments) };
        }
        let mut rows = self.rows(from.messages, upto.messages)?;
        let (mut at, mut room) = (from, bytes_max);
        while at.messages < upto.messages && (room > 0 || segments.is_empty()) {
            match self.segment(&mut rows, at, upto, room, segments.is_empty()) {
                Ok(Some(segment)) => {
                    room = room.saturating_sub(segment.messages.wire().len());
                    at = segment.end();
                    segments.push(segment);
                }
                Ok(None) => break,
                Err(_) if !segments.is_empty() => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(segments)
    }

    /// What is wanted of the next chunk. `None`: no room for its first message.
    fn segment(
        &self,
        rows: &mut Rows<'_>,
        at: Offset,
        upto: Offset,
        room: usize,
        first: bool,
    ) -> Result<Option<Segment>, ReadFault> {
        let Some((key, value)) = rows.next().transpose()? else { return Err(self.hole(at.messages)) };
        let (head, wire) = decode_first_row(self.shard, key.value(), value.value())
            .map_err(|cause| self.corrupt(at.messages, cause))?;
        if head.end().messages <= at.messages || head.start.messages > at.messages {
            return Err(self.hole(at.messages));
        }
        let Some(cut) = Cut::new(&head, at, upto, room, first)? else { return Ok(None) };
        let wire = if head.rows() > 1 {
            self.spread(&head, wire, rows)?
        } else {
            Bytes::copy_from_slice(wire.get(cut.bytes.clone()).unwrap_or_default())
        };
        let head = ChunkHead { lengths: cut.lengths(&head), ..head };
        let messages = join(&head, wire).map_err(|cause| self.corrupt(at.messages, cause))?;
        Ok(Some(Segment { start: at, messages }))
    }

    /// Puts a message together whose first part is `wire`.
    fn spread(&self, head: &ChunkHead, wire: &[u8], rows: &mut Rows<'_>) -> Result<Bytes, ReadFault> {
        let at = head.start.messages;
        let lost = || self.corrupt(at, CodecError::Truncated("a spread message"));
        let mut whole = BytesMut::with_capacity(head.wire_bytes());
        whole.extend_from_slice(wire);
        for part in 1..u32::try_from(head.rows()).unwrap_or(u32::MAX) {
            let (key, value) = rows.next().transpose()?.ok_or_else(lost)?;
            let bytes = decode_next_row(self.shard, key.value(), value.value())
                .map_err(|cause| self.corrupt(at, cause))?;
            let due = (head.wire_bytes() - whole.len()).min(CHUNK_BYTES_TARGET);
            if split_chunk_key(key.value()) != (self.stream, at, part) || bytes.len() != due {
                return Err(lost());
            }
            whole.extend_from_slice(bytes);
        }
        Ok(whole.freeze())
    }

    /// The smallest boundary behind which no more than `goal` says is kept, or how far `chunks_max` chunks reach.
    pub(super) fn boundary(&self, goal: Goal, base: Offset, chunks_max: usize) -> Result<Offset, ReadFault> {
        let mut reached = self.earliest;
        let mut next = reached.max(base);
        if next >= goal.tail {
            return Ok(reached);
        }
        let rows = self.rows(next.messages, goal.tail.messages)?;
        let first_rows = rows.filter(|row| row.as_ref().map_or(true, |(key, _)| is_first(key.value())));
        for row in first_rows.take(chunks_max) {
            let (key, value) = row?;
            let (head, _) = decode_first_row(self.shard, key.value(), value.value())
                .map_err(|cause| self.corrupt(next.messages, cause))?;
            if head.end().messages <= next.messages || head.start.messages > next.messages {
                return Err(self.hole(next.messages));
            }
            let boundary = goal.within(&head, reached);
            reached = reached.max(boundary);
            if boundary < head.end() {
                break;
            }
            next = head.end();
        }
        Ok(reached)
    }
}

fn is_first(key: &ChunkKey) -> bool {
    split_chunk_key(key).2 == 0
}

impl Goal {
    fn exceeded(&self, at: Offset) -> bool {
        self.keep.messages.is_some_and(|most| self.tail.messages.saturating_sub(at.messages) > most)
            || self.keep.bytes.is_some_and(|most| self.tail.bytes.saturating_sub(at.bytes) > most)
    }

    /// The boundary within a chunk.
    fn within(&self, head: &ChunkHead, from: Offset) -> Offset {
        let old = self.keep.seconds.map(|most| head.last_at.plus(most.saturating_mul(1000)));
        if old.is_some_and(|end| self.now > end) {
            return head.end();
        }
        let mut at = head.start;
        for &length in head.lengths.as_slice() {
            if at >= from && !self.exceeded(at) {
                break;
            }
            at = at.advanced(1, u64::from(length));
        }
        at
    }
}

/// The part of a chunk that a read takes.
struct Cut {
    messages: Range<usize>,
    bytes: Range<usize>,
}

impl Cut {
    /// From boundary `from` up to `upto`, at most `room` bytes (or one message if nothing was taken before). `None`:
    /// no room for a single message.
    fn new(
        head: &ChunkHead,
        from: Offset,
        upto: Offset,
        room: usize,
        first: bool,
    ) -> Result<Option<Self>, ReadFault> {
        let lengths = head.lengths.as_slice();
        let separator = head.framing.separator_len();
        let skip = usize::try_from(from.messages.saturating_sub(head.start.messages)).unwrap_or(usize::MAX);
        let before = lengths.get(..skip).ok_or(ReadFault::Misaligned)?;
        let skipped: u64 = before.iter().map(|&length| u64::from(length)).sum();
        if head.start.messages > from.messages || head.start.bytes + skipped != from.bytes {
            return Err(ReadFault::Misaligned);
        }
        let begin = before.iter().map(|&length| length as usize + separator).sum();
        let (mut end, mut taken) = (begin, skip);
        let mut at = from;
        for &length in &lengths[skip..] {
            if at.messages == upto.messages {
                break;
            }
            let gap = if taken == skip { 0 } else { separator };
            let next = end + gap + length as usize;
            if next - begin > room && !(first && taken == skip) {
                break;
            }
            (end, taken) = (next, taken + 1);
            at = at.advanced(1, u64::from(length));
        }
        if at.messages == upto.messages && at.bytes != upto.bytes {
            return Err(ReadFault::Misaligned);
        }
        Ok((taken > skip).then_some(Self { messages: skip..taken, bytes: begin..end }))
    }

    fn lengths(&self, head: &ChunkHead) -> Lengths {
        match &head.lengths.as_slice()[self.messages.clone()] {
            [one] => Lengths::One(*one),
            many => Lengths::Many(many.into()),
        }
    }
}
