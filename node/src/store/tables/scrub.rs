//! Reads every row of a shard once per round, a bounded number of bytes per call, and checks it: seals, names against
//! rows, rows against chunks, chunks against each other. Invariant: a call changes nothing and holds its snapshot only
//! while it runs. Leaves the rate, and what to do about a fault, to the runtime.

use std::ops::Bound;

use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableDatabase};

use super::Reader;
use super::apply::read_row;
use super::blocks::with_sealed_leaves;
use super::fault::TablesError;
use super::row::{StreamRow, get_row};
use super::schema::{
    CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS, TableNumber, opened,
};
use crate::codec::CodecError;
use crate::codec::chunk::{ChunkKey, chunk_key, decode_first_row, decode_next_row, split_chunk_key};
use crate::codec::fields::Cursor;
use crate::types::{Offset, ShardId, StreamId};

type Bytes = &'static [u8];

/// Where a round stands. The default is its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrubCursor {
    table: u8,
    after: Vec<u8>,
}

/// What one call has checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Where the next call goes on; the beginning when the round is complete.
    pub next: ScrubCursor,
    /// Whether the round is complete.
    pub complete: bool,
    /// Bytes read.
    pub bytes: u64,
    /// What was found, each with the unit's name.
    pub faults: Vec<String>,
}

impl Reader {
    /// Checks about `bytes_max` bytes from `cursor` on. What takes the shard out of service is a fault like others; then what
    /// follows in the same table is left out, or every round would end there.
    pub fn scrub(&self, cursor: &ScrubCursor, bytes_max: u64) -> Result<Scrubbed, TablesError> {
        let mut found = Scrubbed { next: cursor.clone(), ..Scrubbed::default() };
        let mut has_begun = false;
        let walked = self.shared.guarded_for_readers(self.waits, |database| {
            // From here on it is this call that meets whatever is met.
            has_begun = true;
            let transaction = database.begin_read()?;
            let (shard, room) = (self.shared.shard, bytes_max.max(1));
            let mut pass = Pass { transaction: &transaction, shard, room, found: &mut found, before: None };
            while pass.table()? {}
            Ok::<_, TablesError>(())
        });
        found.faults.first().into_iter().for_each(|fault| self.shared.rot.note(fault));
        match walked {
            Ok(()) => Ok(found),
            Err(error @ TablesError::Damaged { .. }) if has_begun => {
                found.faults.push(error.to_string());
                found.next = ScrubCursor { table: found.next.table.saturating_add(1), after: Vec::new() };
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }
}

/// One call under way.
struct Pass<'a> {
    transaction: &'a ReadTransaction,
    shard: ShardId,
    room: u64,
    found: &'a mut Scrubbed,
    /// The chunk before, and its stream's row.
    before: Option<(StreamId, Offset, Option<StreamRow>)>,
}

impl Pass<'_> {
    /// Goes on in the current table; false when the budget is used up or the round complete.
    fn table(&mut self) -> Result<bool, TablesError> {
        let open = self.transaction;
        let done = match self.found.next.table {
            0 => self.rows(&open.open_table(NAMES)?, |pass, key, value| pass.name(key, value))?,
            1 => self.rows(&open.open_table(STREAMS)?, |pass, key, value| pass.stream(key, value))?,
            2 => {
                let table = open.open_table(CHUNKS)?;
                with_sealed_leaves(|| self.rows(&table, |pass, key, value| pass.chunk(key, value)))?
            }
            3 => self.sealed(&open.open_table(PRODUCERS)?, TableNumber::Producers)?,
            4 => self.sealed(&open.open_table(PINS)?, TableNumber::Pins)?,
            5 => self.sealed(&open.open_table(EXPIRY)?, TableNumber::Expiry)?,
            6 => self.sealed(&open.open_table(DOOMED)?, TableNumber::Doomed)?,
            7 => self.sealed(&open.open_table(FACTS)?, TableNumber::Facts)?,
            _ => {
                // The identity's seal is bound to shard 0; it was checked when the file was opened.
                open.open_table(STATE)?;
                self.found.next = ScrubCursor::default();
                self.found.complete = true;
                return Ok(false);
            }
        };
        if done {
            self.found.next = ScrubCursor { table: self.found.next.table + 1, after: Vec::new() };
        }
        Ok(done)
    }

    fn sealed<K>(&mut self, table: &ReadOnlyTable<K, Bytes>, number: TableNumber) -> Result<bool, TablesError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: AsRef<[u8]>,
    {
        self.rows(table, |pass, key, value| {
            let checked = opened(pass.shard, number, key, value).map(drop);
            pass.note(checked, || format!("{number:?} {key:02x?}"));
            Ok(())
        })
    }

    /// Visits rows behind the cursor until the budget is used up; true at the end of the table.
    fn rows<K>(
        &mut self,
        table: &ReadOnlyTable<K, Bytes>,
        mut check: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), TablesError>,
    ) -> Result<bool, TablesError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: AsRef<[u8]>,
    {
        let after = self.found.next.after.clone();
        let start = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(K::from_bytes(&after)) };
        for row in table.range::<K::SelfType<'_>>((start, Bound::Unbounded))? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let key = key.as_ref();
            let bytes = (key.len() + value.len()) as u64;
            check(self, key, value)?;
            self.found.bytes += bytes;
            self.found.next.after = key.to_vec();
            if self.found.bytes >= self.room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note(&mut self, checked: Result<(), CodecError>, unit: impl FnOnce() -> String) {
        if let Err(cause) = checked {
            self.found.faults.push(format!("{}: {cause}", unit()));
        }
    }

    fn name(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let text = || format!("name {}", String::from_utf8_lossy(key));
        let target = opened(self.shard, TableNumber::Names, key, value)
            .and_then(|raw| Cursor::copying(raw).number("stream id"));
        let checked = match target {
            Ok(stream) => {
                let row = read_row(&self.transaction.open_table(STREAMS)?, self.shard, StreamId(stream))?;
                let same = row.is_some_and(|row| row.meta.name.as_str().as_bytes() == key);
                if same { Ok(()) } else { Err(CodecError::Impossible("the row of a name")) }
            }
            Err(cause) => Err(cause),
        };
        self.note(checked, text);
        Ok(())
    }

    fn stream(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let row = opened(self.shard, TableNumber::Streams, key, value).and_then(get_row);
        let checked = match row {
            Ok(row) => {
                let named =
                    self.transaction.open_table(NAMES)?.get(row.meta.name.as_str().as_bytes())?.is_some();
                let chunks = self.transaction.open_table(CHUNKS)?;
                let last = row.last.map(|last| chunk_key(row.meta.id, last.messages, 0));
                let there = match last {
                    Some(key) => with_sealed_leaves(|| Ok::<_, TablesError>(chunks.get(&key)?.is_some()))?,
                    None => row.meta.tail <= row.meta.earliest.max(row.meta.base),
                };
                if named && there { Ok(()) } else { Err(CodecError::Impossible("a stream row")) }
            }
            Err(cause) => Err(cause),
        };
        self.note(checked, || format!("stream {key:02x?}"));
        Ok(())
    }

    fn chunk(&mut self, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let Ok(key) = ChunkKey::try_from(key) else { return Ok(()) };
        let (stream, at, part) = split_chunk_key(&key);
        let unit = || format!("the chunk of stream {stream} at message {at}, part {part}");
        if part > 0 {
            let checked = decode_next_row(self.shard, &key, value).map(drop);
            self.note(checked, unit);
            return Ok(());
        }
        let (start, end) = match decode_first_row(self.shard, &key, value) {
            Ok((head, _)) => (head.start, head.end()),
            Err(cause) => {
                self.before = None;
                self.note(Err(cause), unit);
                return Ok(());
            }
        };
        let row = match self.before.take() {
            Some((before, reached, row)) if before == stream => {
                // A hole is right only where retention has made it.
                let kept = row.as_ref().map_or(start, |row| row.meta.earliest);
                if reached != start && start > kept {
                    self.note(Err(CodecError::Truncated("the chunk table")), unit);
                }
                row
            }
            _ => read_row(&self.transaction.open_table(STREAMS)?, self.shard, stream)?,
        };
        let ends = |row: &StreamRow| row.last.is_none_or(|last| last != start || row.meta.tail == end);
        if !row.as_ref().is_none_or(ends) {
            self.note(Err(CodecError::Impossible("the end of the last chunk")), unit);
        }
        self.before = Some((stream, end, row));
        Ok(())
    }
}
