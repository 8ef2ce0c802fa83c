//! A shard's file made from rows that another one held. Invariant: under its final name the file is complete, or it is not
//! there; until then it grows under the name that every new file has, and whatever ends the work early leaves at most that
//! name behind, which the next beginning takes away. Rows out of order are refused. Leaves to the caller that they are the
//! right ones.

use std::ops::Bound;
use std::sync::Arc;

use redb::{CursorError, Database, Durability, Key, TableDefinition, WriteTransaction};

use super::begin;
use super::content::check;
use super::fault::{TablesError, corrupt, other};
use super::file::TableFile;
use super::open::{Place, checked, device, guarded, load, make_tables, open_database, write_identity};
use super::replace::note_seeded;
use super::rot::Rot;
use super::schema::{CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS};
use super::state::ShardState;
use crate::codec::CodecError;
use crate::seam::disk::File as _;
use crate::store::staged::{Depth, Staged};
use crate::types::ShardId;

/// Rows between two commits take this part of the memory. A page is up to twice as large as what stands in it, and the
/// database keeps half of the memory for pages of a transaction: what does not fit there is written, read back for its
/// checksum and written once more.
const COMMIT_PART: u64 = 5;
/// Memory that a rebuilding takes at least: below it the commits cost more than the rows, and their pages leave in pieces.
const CACHE_BYTES_MIN: usize = 16 << 20;

type Bytes = &'static [u8];

/// A row as it is carried: key and sealed value, or why it cannot be read.
pub type CarriedRow<'a> = Result<(&'a [u8], &'a [u8]), CodecError>;

/// A file under way. Dropped before its end, it takes with it what it made.
#[derive(Debug)]
pub struct Rebuild {
    place: Place,
    work: Option<Work>,
    /// The file has its name.
    is_shown: bool,
    /// It is to take the place of the file that the shard has.
    is_successor: bool,
}

/// The database and its transaction; let go before the file is named or removed.
struct Work {
    // Before the database, so that it ends first.
    transaction: Option<WriteTransaction>,
    database: Database,
    file: Arc<Staged>,
    uncommitted: u64,
    uncommitted_max: u64,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("uncommitted", &self.uncommitted).finish_non_exhaustive()
    }
}

impl Rebuild {
    /// Begins a file. Fails if the shard has one.
    pub fn begin(place: &Place) -> Result<Self, TablesError> {
        Self::begin_on(place, place.begin_file()?, false)
    }

    /// Begins a file beside the one that the shard has, to take its place by [`super::Tables::replace`]. At its end it stands
    /// under a name of its own; one that stands there already goes.
    pub fn begin_successor(place: &Place) -> Result<Self, TablesError> {
        place.drop_successor().map_err(|error| device(&error))?;
        Self::begin_on(place, place.begin_successor()?, true)
    }

    fn begin_on(place: &Place, file: TableFile, is_successor: bool) -> Result<Self, TablesError> {
        let cache_bytes = place.cache_bytes.max(CACHE_BYTES_MIN);
        let depth = depth(cache_bytes);
        let cache_bytes = cache_bytes - depth.bytes().min(cache_bytes / 2);
        // Nothing waits for room here, and nothing that was set aside is given up: nobody needs this file to go on.
        let (backend, file) = file.staged(depth);
        let mut rebuild = Self { place: place.clone(), work: None, is_shown: false, is_successor };
        // Damage to it fails the rebuilding: nobody serves it yet.
        let blocks = checked(backend, cache_bytes, Rot::default());
        let database = guarded(|| open_database(blocks, cache_bytes))?;
        let uncommitted_max = cache_bytes as u64 / COMMIT_PART;
        let mut work = Work { transaction: None, database, file, uncommitted: 0, uncommitted_max };
        guarded(|| make_tables(work.transaction()?).map(drop))?;
        rebuild.work = Some(work);
        Ok(rebuild)
    }

    /// Appends rows to the table of this persisted number, in key order and behind all that it has. Says how many.
    pub fn append<'r>(
        &mut self,
        table: u8,
        rows: impl Iterator<Item = CarriedRow<'r>>,
    ) -> Result<u64, TablesError> {
        let shard = self.place.identity.shard;
        let work = self.work.as_mut().ok_or(TablesError::Busy)?;
        let file = Arc::clone(&work.file);
        let appended = guarded(|| {
            let mut batch = Batch { shard, table, rows: 0, bytes: 0 };
            let open = work.transaction()?;
            match table {
                1 => batch.append(open, NAMES, rows),
                2 => batch.append(open, STREAMS, rows),
                3 => batch.append(open, CHUNKS, rows),
                4 => batch.append(open, PRODUCERS, rows),
                5 => batch.append(open, PINS, rows),
                6 => batch.append(open, EXPIRY, rows),
                7 => batch.append(open, DOOMED, rows),
                8 => batch.append(open, FACTS, rows),
                _ => batch.append(open, STATE, rows),
            }?;
            work.uncommitted += batch.bytes;
            if work.uncommitted > work.uncommitted_max {
                work.commit(false)?;
            }
            Ok(batch.rows)
        });
        // The database only knows that its file failed.
        appended.map_err(|error| file.check().err().map_or(error, |cause| device(&cause)))
    }

    /// Completes the file and gives it its name; gives the state that it holds.
    pub fn finish(mut self) -> Result<ShardState, TablesError> {
        let mut work = self.work.take().ok_or(TablesError::Busy)?;
        let file = Arc::clone(&work.file);
        let finished = guarded(|| {
            write_identity(work.transaction()?, self.place.identity)?;
            if self.is_successor {
                note_seeded(work.transaction()?, self.place.identity.shard)?;
            }
            work.commit(true)?;
            load(&work.database, self.place.identity)
        });
        let closed = guarded(|| {
            drop(work);
            Ok(())
        });
        // One sync for all: the file has no name yet that anybody opens.
        file.settle().and_then(|()| file.sync()).map_err(|error| device(&error))?;
        let state = finished.and_then(|state| closed.map(|()| state))?;
        if self.is_successor { self.place.show_successor() } else { self.place.show_file() }?;
        self.is_shown = true;
        Ok(state)
    }
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        if let Some(mut work) = self.work.take() {
            let _ended = guarded(|| {
                if let Some(transaction) = work.transaction.take() {
                    transaction.abort()?;
                }
                drop(work);
                Ok(())
            });
        }
        if !self.is_shown {
            // What cannot be removed now is taken away when the file is begun the next time.
            let _left = self.place.drop_file();
        }
    }
}

/// How deep a file is staged that may take so much memory, with the database's own: half of it. The pages of one commit come
/// in no order; they fill windows before these have to leave, and leave many at once.
const fn depth(cache_bytes: usize) -> Depth {
    let mut depth = Depth { open_max: 2, waiting_max: 1 };
    loop {
        let deeper = Depth { open_max: depth.open_max + 2, waiting_max: depth.waiting_max + 1 };
        if deeper.bytes() > cache_bytes / 2 {
            return depth;
        }
        depth = deeper;
    }
}

impl Work {
    fn transaction(&mut self) -> Result<&WriteTransaction, TablesError> {
        if self.transaction.is_none() {
            self.transaction = Some(begin(&self.database, Durability::Immediate)?);
        }
        self.transaction.as_ref().ok_or(TablesError::Busy)
    }

    fn commit(&mut self, is_last: bool) -> Result<(), TablesError> {
        self.uncommitted = 0;
        let Some(mut transaction) = self.transaction.take() else { return Ok(()) };
        transaction.set_quick_repair(is_last);
        Ok(transaction.commit()?)
    }
}

/// Rows of one table.
struct Batch {
    shard: ShardId,
    table: u8,
    rows: u64,
    bytes: u64,
}

impl Batch {
    fn append<'r, K>(
        &mut self,
        transaction: &WriteTransaction,
        definition: TableDefinition<'static, K, Bytes>,
        rows: impl Iterator<Item = CarriedRow<'r>>,
    ) -> Result<(), TablesError>
    where
        K: Key + 'static,
    {
        let unfit = |cause| corrupt("a row", cause);
        let mut open = transaction.open_table(definition)?;
        let mut end = open.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
        for row in rows {
            let (key, value) = row.map_err(unfit)?;
            check(self.shard, self.table, key, value).map_err(unfit)?;
            match end.insert_before(K::from_bytes(key), value) {
                Ok(()) => {}
                Err(CursorError::UnorderedKey) => {
                    return Err(unfit(CodecError::Impossible("the order of keys")));
                }
                Err(CursorError::Storage(error)) => return Err(error.into()),
                Err(error) => return Err(other(&error)),
            }
            self.rows += 1;
            self.bytes += (key.len() + value.len()) as u64;
        }
        Ok(end.close()?)
    }
}
