//! Another file takes the place of a shard's own, while readers hold on to the shard. Invariants: after a crash there is the
//! old file or the new one, each whole, or, where the old one is damaged, none, but never a part of one; readers see the one or the
//! other, and none of them waits for more than a rename and an opening. A file that came so says up to which record it did: what
//! the log says of earlier ones is about the file before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use redb::{ReadableTable, WriteTransaction};

use super::fault::{TablesError, corrupt, other};
use super::late::Nothing;
use super::open::{Place, device, file_name};
use super::schema::{FACTS, STATE, TableNumber, fact_key, opened, sealed, unsealed};
use super::state::{STATE_ROW, get_state};
use super::{Reader, Tables, cut};
use crate::codec::CodecError;
use crate::codec::fields::{Cursor, put_number};
use crate::types::{LogIndex, ShardId, Space};

/// The row that says up to which record a file came as a whole. Persisted, keep stable.
const SEEDED_KEY: &[u8] = b"seeded";

/// Why a file did not take the place of another one.
#[derive(Debug, thiserror::Error)]
pub enum Unreplaced {
    /// The old file is there and served as before.
    #[error("{0}")]
    Kept(TablesError),
    /// The old one or the new one is there, but it cannot be used before the next start.
    #[error("{0}")]
    Unknown(TablesError),
}

/// Notes in a new file that all that it holds came with it.
pub(super) fn note_seeded(transaction: &WriteTransaction, shard: ShardId) -> Result<(), TablesError> {
    const WHAT: &str = "the shard state";
    let index = {
        let state = transaction.open_table(STATE)?;
        let row = state.get(&STATE_ROW)?.ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))?;
        let value = opened(shard, TableNumber::State, &STATE_ROW, row.value());
        value.and_then(get_state).map_err(|cause| corrupt(WHAT, cause))?.applied.index
    };
    let key = fact_key(Space::Voters, SEEDED_KEY);
    let mut value = unsealed();
    put_number(&mut value, index.0);
    let value = sealed(shard, TableNumber::Facts, &key, value);
    transaction.open_table(FACTS)?.insert(&key[..], value.as_slice())?;
    Ok(())
}

impl Reader {
    /// Up to which record the file came as a whole; zero if all of it was applied here.
    pub fn seeded(&self) -> Result<LogIndex, TablesError> {
        let Some(value) = self.fact(Space::Voters, SEEDED_KEY)? else { return Ok(LogIndex(0)) };
        let number = Cursor::copying(&value).number("a seeding");
        number.map(LogIndex).map_err(|cause| corrupt("a seeding", cause))
    }
}

impl Tables {
    /// Puts the file that [`super::Rebuild::begin_successor`] made in the place of this one.
    pub fn replace(&mut self) -> Result<(), Unreplaced> {
        // What is only applied would be lost with the handle, should the old file have to serve on.
        self.checkpoint().map_err(Unreplaced::Kept)?;
        let source = self.source.as_ref();
        let Some((source, place)) = source.and_then(|source| Some((source, source.place()?))) else {
            return Err(Unreplaced::Kept(TablesError::Busy));
        };
        let (name, next) = (file_name(self.shared.shard), place.successor());
        if place.directory.open(&next).is_err() {
            return Err(Unreplaced::Kept(TablesError::Missing { file: next }));
        }
        let unknown = |shared: &super::Shared, error: &dyn std::error::Error| {
            Unreplaced::Unknown(shared.damaged(&error.to_string()))
        };
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        cut::end(&self.shared);
        let old = database.take();
        // Its end may meet damage that its life did not.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(old)));
        self.late = Arc::new(Nothing);
        let renamed = place.directory.rename(&next, &name);
        let forgotten = || place.forget_marker().and_then(|()| place.directory.sync());
        if renamed.is_ok() {
            // What was found in the file before is not in this one.
            self.shared.rot.clear();
            forgotten().map_err(|error| unknown(&self.shared, &error))?;
        }
        let opened = source.open().map_err(|error| unknown(&self.shared, &error))?;
        *database = Some(opened.database);
        drop(database);
        self.bytes_most = opened.state.totals.bytes;
        self.state = opened.state;
        self.durable = self.state.applied.index;
        self.late = opened.late;
        renamed.map_err(|error| Unreplaced::Kept(other(&error)))
    }

    /// Sets the file aside, whatever is wrong with it, and goes on with an empty one. It takes the place of the last that may be set aside
    /// if it `counts`, and goes if it does not.
    pub fn empty(&mut self, counts: bool) -> Result<(), Unreplaced> {
        let source = self.source.as_ref();
        let Some((source, place)) = source.and_then(|source| Some((source, source.place()?))) else {
            return Err(Unreplaced::Kept(TablesError::Busy));
        };
        // It is there before the old one is let go: a volume without room for it keeps what it has.
        Self::create_successor(place).map_err(Unreplaced::Kept)?;
        let unknown = |shared: &super::Shared, error: &dyn std::error::Error| {
            Unreplaced::Unknown(shared.damaged(&error.to_string()))
        };
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        cut::end(&self.shared);
        let old = database.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(old)));
        self.late = Arc::new(Nothing);
        let swapped = place.set_aside(counts).and_then(|()| place.promote_successor());
        swapped.map_err(|error| unknown(&self.shared, &error))?;
        self.shared.rot.clear();
        // Whoever noted meanwhile what was found before meant the other file.
        let forgotten = place.forget_marker().and_then(|()| place.directory.sync());
        forgotten.map_err(|error| unknown(&self.shared, &error))?;
        let opened = source.open().map_err(|error| unknown(&self.shared, &error))?;
        *database = Some(opened.database);
        self.shared.is_damaged.store(false, Ordering::Release);
        self.shared.is_behind.store(false, Ordering::Release);
        drop(database);
        self.bytes_most = opened.state.totals.bytes;
        self.state = opened.state;
        self.durable = self.state.applied.index;
        self.late = opened.late;
        Ok(())
    }

    /// An empty file that waits to take the place of the shard's own.
    fn create_successor(place: &Place) -> Result<(), TablesError> {
        place.drop_successor().map_err(|error| device(&error))?;
        let tables = Self::create_on(place.begin_successor()?, place.identity, place.cache_bytes)?;
        tables.catch_up()?;
        drop(tables);
        place.show_successor()
    }
}
