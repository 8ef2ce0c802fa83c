//! Reads of the tables. Each call is one read transaction, so all of its answer is from one moment. Invariant: a byte
//! leaves only after the checksum of its row was verified; what cannot be verified is an error that names the unit.

use std::ops::Bound::{self, Excluded, Included};
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableDatabase};

use super::Shared;
use super::apply::read_row;
use super::blocks::with_sealed_leaves;
use super::fault::{Fault, ReadFault, TablesError, corrupt};
use super::row::StreamEntry;
use super::run::{Goal, Run};
use super::schema::{
    CHUNKS, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, RETAINED, STATE, STREAMS, TableNumber, expiry_key,
    fact_key, opened, pin_key, producer_key, split_expiry_key,
};
use super::state::{STATE_ROW, ShardState, Totals, get_state};
use crate::codec::CodecError;
use crate::codec::fields::Cursor;
use crate::codec::meta::{get_pin, get_producer_state};
use crate::types::{
    LogIndex, Offset, PinId, PinOp, ProducerId, ProducerState, Retention, Segment, ShardId, Space, StreamId,
    StreamName, UnixMillis,
};

/// Reads the tables of one shard. While they are compacted or opened again, it is told that they are busy.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) waits: bool,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waits: false }
    }

    /// The same for a thread that has nobody behind it: it waits while the tables are busy.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), waits: true }
    }

    /// What was found damaged in the file, by whomever: everything else of it is served.
    #[must_use]
    pub fn rot(&self) -> Option<Arc<str>> {
        self.shared.rot.found()
    }

    /// Has the file opened again, so that nothing of it is in memory.
    #[cfg(test)]
    pub(crate) fn evict(&self) {
        self.shared.damaged("it is to be opened again");
    }

    /// Notes that something stored is damaged, as whoever reads it elsewhere has found.
    pub fn note_rot(&self, what: &str) {
        self.shared.rot.note(what);
    }

    fn snapshot<T, E: From<TablesError> + From<redb::TransactionError> + Fault>(
        &self,
        read: impl FnOnce(&ReadTransaction, ShardId) -> Result<T, E>,
    ) -> Result<T, E> {
        self.shared
            .guarded_for_readers(self.waits, |database| read(&database.begin_read()?, self.shared.shard))
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
        let first = after.unwrap_or((RETAINED, StreamId(u64::MAX)));
        self.deadlines(Excluded(first), (UnixMillis(i64::MAX), StreamId(u64::MAX)), limit)
    }

    /// Streams that let old messages go, from `first` on, by id.
    pub fn retained(&self, first: StreamId, limit: usize) -> Result<Vec<StreamId>, TablesError> {
        let found = self.deadlines(Included((RETAINED, first)), (RETAINED, StreamId(u64::MAX)), limit)?;
        Ok(found.into_iter().map(|(_, stream)| stream).collect())
    }

    fn deadlines(
        &self,
        first: Bound<(UnixMillis, StreamId)>,
        last: (UnixMillis, StreamId),
        limit: usize,
    ) -> Result<Vec<(UnixMillis, StreamId)>, TablesError> {
        let key = |(at, stream)| expiry_key(at, stream);
        let (first, last) = (first.map(key), key(last));
        self.snapshot(|transaction, shard| {
            let table = transaction.open_table(EXPIRY)?;
            let mut found = Vec::new();
            for entry in table.range::<&[u8; 16]>((first.as_ref(), Included(&last)))? {
                let (key, value) = entry?;
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

    /// Forks' holds of the whole shard, behind `after`, by stream and pin.
    pub fn all_pins(&self, after: (StreamId, PinId), limit: usize) -> Result<Vec<PinOp>, TablesError> {
        let first = pin_key(after.0, after.1);
        self.snapshot(|transaction, shard| {
            let table = transaction.open_table(PINS)?;
            let mut pins = Vec::new();
            for entry in table.range::<&[u8; 16]>(&first..)? {
                let (key, value) = entry?;
                if *key.value() == first {
                    continue;
                }
                if pins.len() >= limit {
                    break;
                }
                let pin = opened(shard, TableNumber::Pins, key.value(), value.value())
                    .and_then(|raw| get_pin(&mut Cursor::copying(raw)))
                    .map_err(|cause| corrupt("a pin", cause))?;
                pins.push(pin);
            }
            Ok(pins)
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
        self.state().map(|state| state.totals)
    }

    /// Larger than every stream id that was ever used in the shard.
    pub fn next_stream(&self) -> Result<StreamId, TablesError> {
        self.state().map(|state| state.next_stream)
    }

    /// The last record that is applied.
    pub fn applied(&self) -> Result<LogIndex, TablesError> {
        self.state().map(|state| state.applied.index)
    }

    /// The state of the shard without its epochs.
    fn state(&self) -> Result<ShardState, TablesError> {
        self.snapshot(|transaction, shard| {
            const WHAT: &str = "the shard state";
            let table = transaction.open_table(STATE)?;
            let found = table.get(&STATE_ROW)?.ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))?;
            let state = opened(shard, TableNumber::State, &STATE_ROW, found.value()).and_then(get_state);
            state.map_err(|cause| corrupt(WHAT, cause))
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
            with_sealed_leaves(|| run.read(from, upto, bytes_max))
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
            let run = Run { chunks: &chunks, shard, stream, earliest: meta.earliest };
            let goal = Goal { keep, tail: meta.tail, now };
            let reached = with_sealed_leaves(|| run.boundary(goal, meta.base, chunks_max))?;
            Ok((reached > meta.earliest).then_some(reached))
        })
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
