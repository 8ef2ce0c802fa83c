//! Writes runs of messages as chunks. Small chunks at the end of a stream are joined as a binary counter carries: a
//! run takes up the chunk before it when that is at most twice as large, and so on. So a byte of a slow stream is
//! rewritten a handful of times on its way into a chunk of full size, however small the runs are.

use redb::{ReadableTable, Table};

use super::fault::{TablesError, corrupt};
use super::row::{SmallChunk, StreamRow};
use crate::codec::CodecError;
use crate::codec::chunk::{ChunkHead, chunk_key, decode_first_row, encode_row};
use crate::types::limits::{CHUNK_BYTES_SMALL, CHUNK_BYTES_TARGET, CHUNK_MESSAGES_MAX};
use crate::types::{Lengths, Messages, Offset, ShardId, UnixMillis};

pub(super) type ChunkTable<'t> = Table<'t, &'static [u8; 20], &'static [u8]>;

/// Buffers that live from one apply to the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    lengths: Vec<u32>,
    wire: Vec<u8>,
    row: Vec<u8>,
}

/// The chunk under construction. Its messages are in `buffers`.
struct Builder<'a, 't> {
    chunks: &'a mut ChunkTable<'t>,
    shard: ShardId,
    row: &'a mut StreamRow,
    buffers: &'a mut Buffers,
    start: Offset,
    first_at: UnixMillis,
    last_at: UnixMillis,
}

/// Writes `run`, whose first message begins at `start`, behind what the stream has.
pub(super) fn write_run(
    chunks: &mut ChunkTable<'_>,
    shard: ShardId,
    row: &mut StreamRow,
    buffers: &mut Buffers,
    start: Offset,
    run: &[(Messages, UnixMillis)],
) -> Result<(), TablesError> {
    let Some((_, at)) = run.first() else { return Ok(()) };
    buffers.lengths.clear();
    buffers.wire.clear();
    let joined = joined(row, start, run, *at);
    let mut builder = Builder { chunks, shard, row, buffers, start, first_at: *at, last_at: *at };
    builder.take_up(&joined, start)?;
    for (messages, at) in run {
        builder.push(messages, *at)?;
    }
    builder.flush()
}

/// A chunk of a stream with an age bound takes messages for an eighth of that age only: retention lets whole chunks go.
fn too_old(row: &StreamRow, chunk: SmallChunk, at: UnixMillis) -> bool {
    let seconds = row.meta.config.retention.seconds;
    seconds.is_some_and(|seconds| at > chunk.first_at.plus(seconds.saturating_mul(125)))
}

/// The small chunks that are to be joined with the run; they leave the row.
fn joined(
    row: &mut StreamRow,
    start: Offset,
    run: &[(Messages, UnixMillis)],
    at: UnixMillis,
) -> Vec<SmallChunk> {
    let mut bytes: u64 = run.iter().map(|(messages, _)| messages.wire().len() as u64).sum();
    let end = start.messages + run.iter().map(|(messages, _)| messages.count()).sum::<u64>();
    let mut kept = row.small.len();
    for chunk in row.small.iter().rev() {
        let messages = end.saturating_sub(chunk.start.messages);
        if chunk.wire_bytes > bytes.saturating_mul(2)
            || messages > CHUNK_MESSAGES_MAX as u64
            || too_old(row, *chunk, at)
        {
            break;
        }
        bytes = bytes.saturating_add(chunk.wire_bytes);
        kept -= 1;
    }
    let joined = row.small.split_off(kept);
    // What has grown too old stays as it is for ever.
    if row.small.last().is_some_and(|chunk| too_old(row, *chunk, at)) {
        row.small.clear();
    }
    joined
}

impl Builder<'_, '_> {
    /// Takes up the messages of `joined`, which reach to `end`. The first one's row will be overwritten, the others go.
    fn take_up(&mut self, joined: &[SmallChunk], end: Offset) -> Result<(), TablesError> {
        let Some(first) = joined.first() else { return Ok(()) };
        let stream = self.row.meta.id;
        self.start = first.start;
        self.first_at = first.first_at;
        for chunk in joined {
            let key = chunk_key(stream, chunk.start.messages, 0);
            let unit = || format!("the chunk of stream {stream} at {}", chunk.start);
            let reached = self.end();
            let Some(found) = self.chunks.get(&key)? else {
                return Err(corrupt(unit(), CodecError::Truncated("the chunk table")));
            };
            let (head, wire) =
                decode_first_row(self.shard, &key, found.value()).map_err(|cause| corrupt(unit(), cause))?;
            if head.start != chunk.start || head.start != reached || head.rows() > 1 {
                return Err(corrupt(unit(), CodecError::Impossible("the chunk before")));
            }
            if head.framing.separator_len() == 1 && !self.buffers.lengths.is_empty() {
                self.buffers.wire.push(b',');
            }
            self.buffers.lengths.extend_from_slice(head.lengths.as_slice());
            self.buffers.wire.extend_from_slice(wire);
            drop(found);
            if chunk.start != first.start {
                self.chunks.remove(&key)?;
            }
        }
        if self.end() == end {
            Ok(())
        } else {
            let unit = format!("the last chunk of stream {stream}");
            Err(corrupt(unit, CodecError::Impossible("the end of the last chunk")))
        }
    }

    fn push(&mut self, messages: &Messages, at: UnixMillis) -> Result<(), TablesError> {
        let separator = messages.framing().separator_len();
        let mut lengths = messages.lengths();
        let mut wire = &messages.wire()[..];
        while !lengths.is_empty() {
            let (count, bytes) = self.fitting(lengths, separator);
            if count == 0 {
                let end = self.end();
                self.flush()?;
                self.start = end;
                self.first_at = at;
                continue;
            }
            if separator == 1 && !self.buffers.lengths.is_empty() {
                self.buffers.wire.push(b',');
            }
            let (taken, rest) = lengths.split_at(count);
            self.buffers.lengths.extend_from_slice(taken);
            self.buffers.wire.extend_from_slice(&wire[..bytes]);
            lengths = rest;
            wire = wire.get(bytes + separator..).unwrap_or_default();
            self.last_at = at;
        }
        Ok(())
    }

    /// How many of the next messages fit, and their bytes in wire form. An empty chunk takes any first message.
    fn fitting(&self, lengths: &[u32], separator: usize) -> (usize, usize) {
        let mut used = self.buffers.wire.len();
        let mut joined = 0;
        let room = CHUNK_MESSAGES_MAX.saturating_sub(self.buffers.lengths.len());
        for (count, &length) in lengths.iter().enumerate() {
            let empty = used == 0 && self.buffers.lengths.is_empty() && count == 0;
            let needed = length as usize + if empty { 0 } else { separator };
            if count == room || (!empty && used + needed > CHUNK_BYTES_TARGET) {
                return (count, joined);
            }
            used += needed;
            joined += length as usize + if count == 0 { 0 } else { separator };
        }
        (lengths.len(), joined)
    }

    fn end(&self) -> Offset {
        let lengths = &self.buffers.lengths;
        self.start.advanced(lengths.len() as u64, lengths.iter().map(|&length| u64::from(length)).sum())
    }

    /// Writes the chunk, if it holds anything, and remembers it as the last.
    fn flush(&mut self) -> Result<(), TablesError> {
        let buffers = &mut *self.buffers;
        if buffers.lengths.is_empty() {
            return Ok(());
        }
        let stream = self.row.meta.id;
        let head = ChunkHead {
            start: self.start,
            framing: self.row.meta.framing(),
            first_at: self.first_at,
            last_at: self.last_at,
            lengths: Lengths::Many(buffers.lengths.as_slice().into()),
        };
        for part in 0..u32::try_from(head.rows()).unwrap_or(u32::MAX) {
            encode_row(&mut buffers.row, self.shard, stream, &head, &buffers.wire, part);
            self.chunks.insert(&chunk_key(stream, self.start.messages, part), buffers.row.as_slice())?;
        }
        self.row.last = Some(self.start);
        if buffers.wire.len() >= CHUNK_BYTES_SMALL || buffers.lengths.len() >= CHUNK_MESSAGES_MAX / 2 {
            self.row.small.clear();
        } else {
            let (start, first_at) = (self.start, self.first_at);
            self.row.small.push(SmallChunk { start, wire_bytes: buffers.wire.len() as u64, first_at });
        }
        buffers.lengths.clear();
        buffers.wire.clear();
        Ok(())
    }
}
