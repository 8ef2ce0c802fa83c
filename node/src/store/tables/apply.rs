//! Applies decided ops to the tables. Invariant: what readers see after an apply is what the ops say, whatever the
//! partition into batches. Rows of streams are changed in memory and written once per batch, so that many small
//! appends to a stream cost one chunk and one row.

use std::collections::hash_map::Entry;

use redb::{ReadableTable, Table, WriteTransaction};

use super::chunks::{Buffers, ChunkTable, write_run};
use super::fault::{TablesError, corrupt};
use super::row::{StreamRow, get_row, put_row};
use super::schema::{
    CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, RETAINED, STATE, STREAMS, TableNumber, expiry_key,
    fact_key, opened, pin_key, producer_key, sealed, stream_key, unsealed,
};
use super::state::{Applied, EPOCHS_ROW, EpochStart, STATE_ROW, ShardState, put_epochs, put_state};
use crate::codec::fields::put_number;
use crate::codec::meta::{put_pin, put_producer_state};
use crate::types::{
    AppendOp, Framing, LogIndex, Messages, Offset, Op, PinId, PinOp, ProducerStamp, ShardId, StreamId,
    StreamMap, StreamMeta, UnixMillis,
};

/// A doomed stream's rows all go (persisted).
pub(super) const DOOM_ALL: u8 = 1;
/// Only its chunks before the earliest offset go (persisted).
pub(super) const DOOM_TRIMMED: u8 = 2;

type Bytes = &'static [u8];

/// Memory that lives from one apply to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    buffers: Buffers,
    streams: StreamMap<Pending>,
}

/// A stream that the batch touches.
#[derive(Debug)]
struct Pending {
    row: StreamRow,
    framing: Framing,
    deadline_before: Option<UnixMillis>,
    retained_before: bool,
    bytes_before: u64,
    run_start: Offset,
    run: Vec<(Messages, UnixMillis)>,
    deleted: bool,
}

/// One batch under way.
struct Batch<'t, 's> {
    shard: ShardId,
    scratch: &'s mut Scratch,
    state: ShardState,
    index: LogIndex,
    names: Table<'t, Bytes, Bytes>,
    streams: Table<'t, &'static [u8; 8], Bytes>,
    chunks: ChunkTable<'t>,
    producers: Table<'t, Bytes, Bytes>,
    pins: Table<'t, &'static [u8; 16], Bytes>,
    expiry: Table<'t, &'static [u8; 16], Bytes>,
    doomed: Table<'t, &'static [u8; 8], Bytes>,
    facts: Table<'t, Bytes, Bytes>,
}

/// Applies `batch` within `transaction`; gives the state behind it.
pub(super) fn apply<'o>(
    transaction: &WriteTransaction,
    shard: ShardId,
    state: &ShardState,
    scratch: &mut Scratch,
    batch: impl Iterator<Item = (LogIndex, &'o Op)>,
    applied: Applied,
    epochs: &[EpochStart],
) -> Result<ShardState, TablesError> {
    scratch.streams.clear();
    let mut work = Batch {
        shard,
        scratch,
        state: state.clone(),
        index: LogIndex(0),
        names: transaction.open_table(NAMES)?,
        streams: transaction.open_table(STREAMS)?,
        chunks: transaction.open_table(CHUNKS)?,
        producers: transaction.open_table(PRODUCERS)?,
        pins: transaction.open_table(PINS)?,
        expiry: transaction.open_table(EXPIRY)?,
        doomed: transaction.open_table(DOOMED)?,
        facts: transaction.open_table(FACTS)?,
    };
    for (index, op) in batch.filter(|(index, _)| *index > state.applied.index) {
        work.index = index;
        work.op(op)?;
    }
    work.flush()?;
    let mut next = work.state;
    if applied.index > next.applied.index {
        next.applied = applied;
    }
    let mut table = transaction.open_table(STATE)?;
    if next.add_epochs(epochs) {
        write_epochs(&mut table, shard, &next)?;
    }
    write_state(&mut table, shard, &next)?;
    Ok(next)
}

pub(super) type StateTable<'t> = Table<'t, &'static [u8; 1], Bytes>;

pub(super) fn write_state(
    table: &mut StateTable<'_>,
    shard: ShardId,
    state: &ShardState,
) -> Result<(), TablesError> {
    let mut value = unsealed();
    put_state(&mut value, state);
    table.insert(&STATE_ROW, sealed(shard, TableNumber::State, &STATE_ROW, value).as_slice())?;
    Ok(())
}

pub(super) fn write_epochs(
    table: &mut StateTable<'_>,
    shard: ShardId,
    state: &ShardState,
) -> Result<(), TablesError> {
    let mut value = unsealed();
    put_epochs(&mut value, &state.epochs);
    table.insert(&EPOCHS_ROW, sealed(shard, TableNumber::State, &EPOCHS_ROW, value).as_slice())?;
    Ok(())
}

/// Reads a stream's row.
pub(super) fn read_row(
    table: &impl ReadableTable<&'static [u8; 8], Bytes>,
    shard: ShardId,
    stream: StreamId,
) -> Result<Option<StreamRow>, TablesError> {
    let key = stream_key(stream);
    let Some(found) = table.get(&key)? else { return Ok(None) };
    let row = opened(shard, TableNumber::Streams, &key, found.value())
        .and_then(get_row)
        .map_err(|cause| corrupt(format!("the row of stream {stream}"), cause))?;
    Ok(Some(row))
}

/// Writes a stream's row.
pub(super) fn write_row(
    table: &mut Table<'_, &'static [u8; 8], Bytes>,
    shard: ShardId,
    row: &StreamRow,
) -> Result<(), TablesError> {
    let key = stream_key(row.meta.id);
    let mut value = unsealed();
    put_row(&mut value, row);
    table.insert(&key, sealed(shard, TableNumber::Streams, &key, value).as_slice())?;
    Ok(())
}

impl Batch<'_, '_> {
    fn op(&mut self, op: &Op) -> Result<(), TablesError> {
        match op {
            Op::Create(meta) => self.create(meta),
            Op::Append(append) => self.append(append),
            Op::Delete { stream } => self.delete(*stream),
            Op::Retire { stream } => {
                self.stream(*stream)?.row.meta.retired = true;
                Ok(())
            }
            Op::Pin(pin) => self.pin(pin),
            Op::Unpin { stream, pin } => self.unpin(*stream, *pin),
            Op::Trim { stream, earliest } => self.trim(*stream, *earliest),
            Op::Touch { stream, at } => {
                let meta = &mut self.stream(*stream)?.row.meta;
                meta.touched_at = meta.touched_at.max(*at);
                Ok(())
            }
            Op::Put { space, key, value } => {
                let key = fact_key(*space, key);
                let value = [&unsealed(), &value[..]].concat();
                self.facts.insert(&key[..], &sealed(self.shard, TableNumber::Facts, &key, value)[..])?;
                Ok(())
            }
            Op::Erase { space, key } => {
                self.facts.remove(&fact_key(*space, key)[..])?;
                Ok(())
            }
        }
    }

    fn impossible(&self, reason: &'static str) -> TablesError {
        TablesError::Impossible { index: self.index, reason }
    }

    /// The stream as the batch has left it so far.
    fn stream(&mut self, stream: StreamId) -> Result<&mut Pending, TablesError> {
        let index = self.index;
        let missing = || TablesError::Impossible { index, reason: "it names a stream that does not exist" };
        let pending = match self.scratch.streams.entry(stream) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let row = read_row(&self.streams, self.shard, stream)?.ok_or_else(missing)?;
                place.insert(Pending::stored(row))
            }
        };
        if pending.deleted { Err(missing()) } else { Ok(pending) }
    }

    fn create(&mut self, meta: &StreamMeta) -> Result<(), TablesError> {
        if meta.id < self.state.next_stream {
            return Err(self.impossible("it creates a stream with an id that was used before"));
        }
        if meta.tail != meta.base {
            return Err(self.impossible("it creates a stream whose end is not its beginning"));
        }
        let name = meta.name.as_str().as_bytes();
        let mut value = unsealed();
        put_number(&mut value, meta.id.0);
        let value = sealed(self.shard, TableNumber::Names, name, value);
        if self.names.insert(name, &value[..])?.is_some() {
            return Err(self.impossible("it creates a stream whose name is taken"));
        }
        self.state.next_stream = StreamId(meta.id.0.saturating_add(1));
        self.state.totals.streams += 1;
        self.scratch.streams.insert(meta.id, Pending::created(meta.clone()));
        Ok(())
    }

    fn append(&mut self, append: &AppendOp) -> Result<(), TablesError> {
        let misfit = self.impossible("it appends at another place than the end");
        let framing = self.impossible("its messages have another framing than the stream");
        let pending = self.stream(append.stream)?;
        let meta = &mut pending.row.meta;
        if append.start != meta.tail {
            return Err(misfit);
        }
        if !append.messages.is_empty() {
            if append.messages.framing() != pending.framing {
                return Err(framing);
            }
            if pending.run.is_empty() {
                pending.run_start = append.start;
            }
            meta.tail = append.messages.end(append.start);
            pending.run.push((append.messages.clone(), append.at));
        }
        // A wall clock may go back; a window never does.
        meta.touched_at = meta.touched_at.max(append.at);
        if append.close {
            meta.closed = true;
            meta.closed_by.clone_from(&append.producer);
        }
        if append.seq.is_some() {
            meta.last_seq.clone_from(&append.seq);
        }
        match &append.producer {
            Some(stamp) => self.produce(append.stream, stamp),
            None => Ok(()),
        }
    }

    fn produce(&mut self, stream: StreamId, stamp: &ProducerStamp) -> Result<(), TablesError> {
        let key = producer_key(stream, &stamp.id.0);
        let mut value = unsealed();
        put_producer_state(&mut value, stamp.state);
        let value = sealed(self.shard, TableNumber::Producers, &key, value);
        let new = self.producers.insert(&key[..], &value[..])?.is_none();
        if new {
            let row = &mut self.stream(stream)?.row;
            row.producers = row.producers.saturating_add(1);
        }
        Ok(())
    }

    fn delete(&mut self, stream: StreamId) -> Result<(), TablesError> {
        let pending = self.stream(stream)?;
        pending.deleted = true;
        pending.run.clear();
        let name = pending.row.meta.name.clone();
        self.names.remove(name.as_str().as_bytes())?;
        self.state.totals.streams = self.state.totals.streams.saturating_sub(1);
        self.doom(stream, DOOM_ALL)
    }

    fn pin(&mut self, pin: &PinOp) -> Result<(), TablesError> {
        let key = pin_key(pin.stream, pin.pin);
        let mut value = unsealed();
        put_pin(&mut value, pin);
        self.stream(pin.stream)?;
        let value = sealed(self.shard, TableNumber::Pins, &key, value);
        if self.pins.insert(&key, &value[..])?.is_none() {
            let meta = &mut self.stream(pin.stream)?.row.meta;
            meta.pins = meta.pins.saturating_add(1);
        }
        Ok(())
    }

    fn unpin(&mut self, stream: StreamId, pin: PinId) -> Result<(), TablesError> {
        self.stream(stream)?;
        if self.pins.remove(&pin_key(stream, pin))?.is_none() {
            return Ok(());
        }
        let meta = &mut self.stream(stream)?.row.meta;
        meta.pins = meta.pins.saturating_sub(1);
        // What the fork held back may have been trimmed long ago.
        if meta.earliest > meta.base { self.doom(stream, DOOM_TRIMMED) } else { Ok(()) }
    }

    fn trim(&mut self, stream: StreamId, earliest: Offset) -> Result<(), TablesError> {
        let beyond = self.impossible("it trims beyond the end");
        let meta = &mut self.stream(stream)?.row.meta;
        if earliest > meta.tail {
            return Err(beyond);
        }
        if earliest <= meta.earliest {
            return Ok(());
        }
        meta.earliest = earliest;
        self.doom(stream, DOOM_TRIMMED)
    }

    fn doom(&mut self, stream: StreamId, why: u8) -> Result<(), TablesError> {
        let key = stream_key(stream);
        let mut value = unsealed();
        value.push(why);
        self.doomed.insert(&key, &sealed(self.shard, TableNumber::Doomed, &key, value)[..])?;
        Ok(())
    }

    /// Writes every touched stream, in the order of the tables.
    fn flush(&mut self) -> Result<(), TablesError> {
        let mut touched: Vec<Pending> = self.scratch.streams.drain().map(|(_, pending)| pending).collect();
        touched.sort_unstable_by_key(|pending| pending.row.meta.id);
        for mut pending in touched {
            self.flush_stream(&mut pending)?;
        }
        Ok(())
    }

    fn flush_stream(&mut self, pending: &mut Pending) -> Result<(), TablesError> {
        let stream = pending.row.meta.id;
        let (deadline, bytes) =
            if pending.deleted { (None, 0) } else { (pending.row.deadline(), pending.row.own_bytes()) };
        self.state.totals.bytes =
            self.state.totals.bytes.saturating_sub(pending.bytes_before).saturating_add(bytes);
        self.move_deadline(stream, pending.deadline_before, deadline)?;
        let retained = (!pending.deleted && pending.row.retained()).then_some(RETAINED);
        self.move_deadline(stream, pending.retained_before.then_some(RETAINED), retained)?;
        if pending.deleted {
            self.streams.remove(&stream_key(stream))?;
            return Ok(());
        }
        let Pending { row, run, run_start, .. } = pending;
        write_run(&mut self.chunks, self.shard, row, &mut self.scratch.buffers, *run_start, run)?;
        write_row(&mut self.streams, self.shard, row)
    }

    fn move_deadline(
        &mut self,
        stream: StreamId,
        before: Option<UnixMillis>,
        after: Option<UnixMillis>,
    ) -> Result<(), TablesError> {
        if before == after {
            return Ok(());
        }
        if let Some(at) = before {
            self.expiry.remove(&expiry_key(at, stream))?;
        }
        if let Some(at) = after {
            let key = expiry_key(at, stream);
            self.expiry.insert(&key, &sealed(self.shard, TableNumber::Expiry, &key, unsealed())[..])?;
        }
        Ok(())
    }
}

impl Pending {
    fn stored(row: StreamRow) -> Self {
        let (deadline_before, bytes_before, run_start) = (row.deadline(), row.own_bytes(), row.meta.tail);
        let retained_before = row.retained();
        Self {
            framing: row.meta.framing(),
            row,
            deadline_before,
            retained_before,
            bytes_before,
            run_start,
            run: Vec::new(),
            deleted: false,
        }
    }

    fn created(meta: StreamMeta) -> Self {
        let run_start = meta.tail;
        let row = StreamRow { meta, producers: 0, last: None, small: Vec::new() };
        Self {
            framing: row.meta.framing(),
            row,
            deadline_before: None,
            retained_before: false,
            bytes_before: 0,
            run_start,
            run: Vec::new(),
            deleted: false,
        }
    }
}
