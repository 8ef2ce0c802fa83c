//! Reads of the tables. Each call is one read transaction, so all of its answer is from one moment. Invariant: a byte
//! leaves only after the checksum of its row was verified; what cannot be verified is an error that names the unit.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase};

use super::Shared;
use super::apply::read_row;
use super::fault::{ReadFault, TablesError, corrupt};
use super::row::StreamEntry;
use super::schema::{
    CHUNKS, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS, TableNumber, expiry_key, fact_key, opened,
    pin_key, producer_key, split_expiry_key,
};
use super::state::{STATE_ROW, Totals, get_state};
use crate::codec::CodecError;
use crate::codec::chunk::{
    ChunkHead, ChunkKey, chunk_key, decode_first_row, decode_next_row, split_chunk_key,
};
use crate::codec::fields::Cursor;
use crate::codec::meta::{get_pin, get_producer_state};
use crate::types::limits::CHUNK_BYTES_TARGET;
use crate::types::{
    Lengths, Messages, Offset, PinId, PinOp, ProducerId, ProducerState, Retention, Segment, ShardId, Space,
    StreamId, StreamName, UnixMillis,
};

type ChunkRows = ReadOnlyTable<&'static [u8; 20], &'static [u8]>;

/// Reads the tables of one shard.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn snapshot<T, E: From<TablesError> + From<redb::TransactionError>>(
        &self,
        read: impl FnOnce(&ReadTransaction, ShardId) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared.guarded(|| read(&self.shared.database.begin_read()?, self.shared.shard))
    }

    /// The stream of a name.
    pub fn stream_by_name(&self, name: &StreamName) -> Result<Option<StreamEntry>, TablesError> {
        self.snapshot(|transaction, shard| {
            let key = name.as_str().as_bytes();
            let Some(found) = transaction.open_table(NAMES)?.get(key)? else { return Ok(None) };
            let stream = name_target(shard, key, found.value())?;
            named_entry(transaction, shard, stream, key).map(Some)
        })
    }

    /// The stream of an id.
    pub fn stream_by_id(&self, stream: StreamId) -> Result<Option<StreamEntry>, TablesError> {
        self.snapshot(|transaction, shard| {
            let row = read_row(&transaction.open_table(STREAMS)?, shard, stream)?;
            Ok(row.map(|row| StreamEntry { meta: row.meta, producers: row.producers }))
        })
    }

    /// How many producers a stream remembers.
    pub fn producer_count(&self, stream: StreamId) -> Result<u32, TablesError> {
        Ok(self.stream_by_id(stream)?.map_or(0, |entry| entry.producers))
    }

    /// The last accepted position of a producer.
    pub fn producer(
        &self,
        stream: StreamId,
        producer: &ProducerId,
    ) -> Result<Option<ProducerState>, TablesError> {
        self.snapshot(|transaction, shard| {
            let key = producer_key(stream, &producer.0);
            let Some(found) = transaction.open_table(PRODUCERS)?.get(&key[..])? else { return Ok(None) };
            opened(shard, TableNumber::Producers, &key, found.value())
                .and_then(|raw| get_producer_state(&mut Cursor::copying(raw)))
                .map(Some)
                .map_err(|cause| corrupt(format!("a producer of stream {stream}"), cause))
        })
    }

    /// Streams whose names begin with `prefix`, behind `after`, in name order.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StreamEntry>, TablesError> {
        let prefix = prefix.as_bytes();
        let first = after.map_or(prefix, str::as_bytes).max(prefix);
        self.snapshot(|transaction, shard| {
            let names = transaction.open_table(NAMES)?;
            let mut entries = Vec::new();
            for entry in names.range(first..)? {
                let (name, target) = entry?;
                let name = name.value();
                if entries.len() >= limit || !name.starts_with(prefix) {
                    break;
                }
                if after.is_some_and(|after| after.as_bytes() == name) {
                    continue;
                }
                let stream = name_target(shard, name, target.value())?;
                entries.push(named_entry(transaction, shard, stream, name)?);
            }
            Ok(entries)
        })
    }

    /// Streams by deadline, behind `after`, the earliest first.
    pub fn expiring(
        &self,
        after: Option<(UnixMillis, StreamId)>,
        limit: usize,
    ) -> Result<Vec<(UnixMillis, StreamId)>, TablesError> {
        let first = after.map_or([0; 16], |(deadline, stream)| expiry_key(deadline, stream));
        self.snapshot(|transaction, shard| {
            let table = transaction.open_table(EXPIRY)?;
            let mut found = Vec::new();
            for entry in table.range::<&[u8; 16]>(&first..)? {
                let (key, value) = entry?;
                if after.is_some() && *key.value() == first {
                    continue;
                }
                if found.len() >= limit {
                    break;
                }
                opened(shard, TableNumber::Expiry, key.value(), value.value())
                    .map_err(|cause| corrupt("a deadline", cause))?;
                found.push(split_expiry_key(*key.value()));
            }
            Ok(found)
        })
    }

    /// One fork's hold on a stream.
    pub fn pin(&self, stream: StreamId, pin: PinId) -> Result<Option<PinOp>, TablesError> {
        self.snapshot(|transaction, shard| {
            let key = pin_key(stream, pin);
            let Some(found) = transaction.open_table(PINS)?.get(&key)? else { return Ok(None) };
            let pin = opened(shard, TableNumber::Pins, &key, found.value())
                .and_then(|raw| get_pin(&mut Cursor::copying(raw)))
                .map_err(|cause| corrupt(format!("a pin of stream {stream}"), cause))?;
            Ok(Some(pin))
        })
    }

    /// The forks' holds on a stream.
    pub fn pins(&self, stream: StreamId) -> Result<Vec<PinOp>, TablesError> {
        self.snapshot(|transaction, shard| {
            let table = transaction.open_table(PINS)?;
            let mut pins = Vec::new();
            for entry in
                table.range::<&[u8; 16]>(&pin_key(stream, PinId(0))..=&pin_key(stream, PinId(u64::MAX)))?
            {
                let (key, value) = entry?;
                let pin = opened(shard, TableNumber::Pins, key.value(), value.value())
                    .and_then(|raw| get_pin(&mut Cursor::copying(raw)))
                    .map_err(|cause| corrupt(format!("a pin of stream {stream}"), cause))?;
                pins.push(pin);
            }
            Ok(pins)
        })
    }

    /// All facts of a space, in key order.
    pub fn facts(&self, space: Space) -> Result<Vec<(Bytes, Bytes)>, TablesError> {
        self.snapshot(|transaction, shard| {
            let table = transaction.open_table(FACTS)?;
            let mut facts = Vec::new();
            for entry in table.range(&[space as u8][..]..)? {
                let (key, value) = entry?;
                let Some(inner) = key.value().strip_prefix(&[space as u8]) else { break };
                let value = opened(shard, TableNumber::Facts, key.value(), value.value())
                    .map_err(|cause| corrupt("a fact", cause))?;
                facts.push((Bytes::copy_from_slice(inner), Bytes::copy_from_slice(value)));
            }
            Ok(facts)
        })
    }

    /// One fact.
    pub fn fact(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.snapshot(|transaction, shard| {
            let key = fact_key(space, key);
            let Some(found) = transaction.open_table(FACTS)?.get(&key[..])? else { return Ok(None) };
            let value = opened(shard, TableNumber::Facts, &key, found.value())
                .map_err(|cause| corrupt("a fact", cause))?;
            Ok(Some(Bytes::copy_from_slice(value)))
        })
    }

    /// Sums over the shard.
    pub fn totals(&self) -> Result<Totals, TablesError> {
        self.snapshot(|transaction, shard| {
            const WHAT: &str = "the shard state";
            let table = transaction.open_table(STATE)?;
            let found = table.get(&STATE_ROW)?.ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))?;
            let state = opened(shard, TableNumber::State, &STATE_ROW, found.value()).and_then(get_state);
            Ok(state.map_err(|cause| corrupt(WHAT, cause))?.totals)
        })
    }

    /// Messages of a stream from boundary `from` up to boundary `upto` (or to what is applied, if that is less), at
    /// most about `bytes_max` bytes in wire form but at least one message. Empty at the end.
    pub fn read(
        &self,
        stream: StreamId,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, ReadFault> {
        self.snapshot(|transaction, shard| {
            let row =
                read_row(&transaction.open_table(STREAMS)?, shard, stream)?.ok_or(ReadFault::NotFound)?;
            let chunks = transaction.open_table(CHUNKS)?;
            let meta = &row.meta;
            if from.messages > meta.tail.messages {
                return Err(ReadFault::BeyondTail { tail: meta.tail });
            }
            if from.messages < meta.base.messages {
                return Err(ReadFault::BeforeBase { base: meta.base });
            }
            let upto = if upto.messages >= meta.tail.messages { meta.tail } else { upto };
            for edge in [meta.base, meta.tail] {
                if from.messages == edge.messages && from.bytes != edge.bytes {
                    return Err(ReadFault::Misaligned);
                }
            }
            let run = Run { chunks: &chunks, shard, stream, earliest: meta.earliest };
            run.read(from, upto, bytes_max)
        })
    }

    /// The smallest boundary at or behind the earliest offset such that no more than `keep` says is kept behind it;
    /// looks at no more than `chunks_max` chunks. Bounds of age let whole chunks go.
    pub fn boundary(
        &self,
        stream: StreamId,
        keep: Retention,
        now: UnixMillis,
        chunks_max: usize,
    ) -> Result<Option<Offset>, ReadFault> {
        self.snapshot(|transaction, shard| {
            let row =
                read_row(&transaction.open_table(STREAMS)?, shard, stream)?.ok_or(ReadFault::NotFound)?;
            let chunks = transaction.open_table(CHUNKS)?;
            let meta = &row.meta;
            let goal = Goal { keep, tail: meta.tail, now };
            let mut reached = meta.earliest;
            let run = Run { chunks: &chunks, shard, stream, earliest: meta.earliest };
            let mut next = reached.max(meta.base);
            for _ in 0..chunks_max {
                if next >= meta.tail {
                    break;
                }
                let (head, _) = run.chunk_at(next.messages)?;
                let boundary = goal.within(&head, reached);
                reached = reached.max(boundary);
                if boundary < head.end() {
                    break;
                }
                next = head.end();
            }
            Ok((reached > meta.earliest).then_some(reached))
        })
    }
}

/// What retention asks for.
struct Goal {
    keep: Retention,
    tail: Offset,
    now: UnixMillis,
}

impl Goal {
    fn exceeded(&self, at: Offset) -> bool {
        self.keep.messages.is_some_and(|most| self.tail.messages - at.messages > most)
            || self.keep.bytes.is_some_and(|most| self.tail.bytes - at.bytes > most)
    }

    /// The boundary within a chunk.
    fn within(&self, head: &ChunkHead, from: Offset) -> Offset {
        let old =
            self.keep.seconds.is_some_and(|most| self.now > head.last_at.plus(most.saturating_mul(1000)));
        if old {
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

fn name_target(shard: ShardId, name: &[u8], value: &[u8]) -> Result<StreamId, TablesError> {
    opened(shard, TableNumber::Names, name, value)
        .and_then(|raw| Cursor::copying(raw).number("stream id"))
        .map(StreamId)
        .map_err(|cause| corrupt(format!("the name {}", String::from_utf8_lossy(name)), cause))
}

fn named_entry(
    transaction: &ReadTransaction,
    shard: ShardId,
    stream: StreamId,
    name: &[u8],
) -> Result<StreamEntry, TablesError> {
    let row = read_row(&transaction.open_table(STREAMS)?, shard, stream)?;
    match row {
        Some(row) if row.meta.name.as_str().as_bytes() == name => {
            Ok(StreamEntry { meta: row.meta, producers: row.producers })
        }
        _ => Err(corrupt(format!("stream {stream}"), CodecError::Impossible("the row of a name"))),
    }
}

/// The chunks of one stream in one snapshot.
struct Run<'a> {
    chunks: &'a ChunkRows,
    shard: ShardId,
    stream: StreamId,
    earliest: Offset,
}

impl Run<'_> {
    fn corrupt(&self, at: u64, cause: CodecError) -> ReadFault {
        ReadFault::Tables(corrupt(format!("the chunk of stream {} at message {at}", self.stream), cause))
    }

    /// The chunk that holds message `at`: its head and the key of its first row.
    fn chunk_at(&self, at: u64) -> Result<(ChunkHead, ChunkKey), ReadFault> {
        let range = chunk_key(self.stream, 0, 0)..=chunk_key(self.stream, at, 0);
        let found = self.chunks.range::<&[u8; 20]>(range.start()..=range.end())?.next_back().transpose()?;
        let Some((key, value)) = found else { return Err(self.hole(at)) };
        let (head, _) = decode_first_row(self.shard, key.value(), value.value())
            .map_err(|cause| self.corrupt(at, cause))?;
        if head.end().messages <= at { Err(self.hole(at)) } else { Ok((head, *key.value())) }
    }

    /// A missing chunk: let go by retention, or lost.
    fn hole(&self, at: u64) -> ReadFault {
        if at < self.earliest.messages {
            ReadFault::Trimmed { earliest: self.earliest }
        } else {
            self.corrupt(at, CodecError::Truncated("the chunk table"))
        }
    }

    fn read(&self, from: Offset, upto: Offset, bytes_max: usize) -> Result<Vec<Segment>, ReadFault> {
        let mut segments = Vec::new();
        if from.messages >= upto.messages {
            return if from.messages == upto.messages && from.bytes != upto.bytes {
                Err(ReadFault::Misaligned)
            } else {
                Ok(segments)
            };
        }
        let (_, first) = self.chunk_at(from.messages)?;
        let end = chunk_key(self.stream, upto.messages, 0);
        let mut rows = self.chunks.range::<&[u8; 20]>(&first..&end)?;
        let (mut at, mut room) = (from, bytes_max);
        while at.messages < upto.messages {
            let Some((key, value)) = rows.next().transpose()? else { return Err(self.hole(at.messages)) };
            let (head, wire) = decode_first_row(self.shard, key.value(), value.value())
                .map_err(|cause| self.corrupt(at.messages, cause))?;
            let mut spread = BytesMut::new();
            let cut = Cut::new(&head, at, upto, room, segments.is_empty())?;
            let Some(cut) = cut else { break };
            let wire = if head.rows() > 1 {
                spread.reserve(head.wire_bytes());
                spread.extend_from_slice(wire);
                for part in 1..head.rows() {
                    let row = rows.next().transpose()?;
                    self.spread_part(
                        &head,
                        part,
                        row.as_ref().map(|(key, value)| (key.value(), value.value())),
                        &mut spread,
                    )?;
                }
                spread.freeze()
            } else {
                Bytes::copy_from_slice(wire.get(cut.bytes.clone()).unwrap_or_default())
            };
            let lengths = cut.lengths(&head);
            let messages = Messages::from_parts(head.framing, lengths, wire)
                .ok_or_else(|| self.corrupt(at.messages, CodecError::Impossible("a chunk")))?;
            room = room.saturating_sub(messages.wire().len());
            let segment = Segment { start: at, messages };
            at = segment.end();
            segments.push(segment);
            if at.messages < head.end().messages {
                break;
            }
        }
        Ok(segments)
    }

    fn spread_part(
        &self,
        head: &ChunkHead,
        part: usize,
        row: Option<(&ChunkKey, &[u8])>,
        out: &mut BytesMut,
    ) -> Result<(), ReadFault> {
        let at = head.start.messages;
        let lost = || self.corrupt(at, CodecError::Truncated("a spread message"));
        let (key, value) = row.ok_or_else(lost)?;
        let expected = (self.stream, at, u32::try_from(part).unwrap_or(u32::MAX));
        let bytes = decode_next_row(self.shard, key, value).map_err(|cause| self.corrupt(at, cause))?;
        let due = (head.wire_bytes() - out.len()).min(CHUNK_BYTES_TARGET);
        if split_chunk_key(key) != expected || bytes.len() != due {
            return Err(lost());
        }
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// The part of a chunk that a read takes.
struct Cut {
    messages: std::ops::Range<usize>,
    bytes: std::ops::Range<usize>,
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
