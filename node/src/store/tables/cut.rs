//! A cut through a shard: every row of every table as of one applied index, handed out piece by piece while writers go on.
//!
//! Invariants: all rows are of one read transaction; each was checked by its seal, and each table gave as many rows as it
//! says it has, or the cut fails. A cut never stands in the way: opening the file again and compacting it end the cut,
//! which can be made anew, and damage to a chunk fails the cut and not the shard. While it lives, pages that writers free
//! are not used again, so the file grows by what they write.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};

use redb::{AccessGuard, Key, ReadTransaction, ReadableTableMetadata, TableDefinition};

use super::blocks::with_sealed_leaves;
use super::content::{StateRows, TABLE_FIRST, TABLE_LAST, check};
use super::fault::{TablesError, corrupt, panic_text};
use super::schema::{CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS};
use super::state::{EPOCHS_ROW, IDENTITY_ROW, STATE_ROW, ShardState};
use super::{Reader, Shared};
use crate::codec::CodecError;
use crate::types::ShardId;

type Bytes = &'static [u8];

/// The transaction of the one cut that a shard may have. It lies with what writer and readers share, so that whoever
/// needs the file for himself can end it.
#[derive(Debug)]
pub(super) struct Held {
    transaction: ReadTransaction,
    /// The same as the cut's, so that a cut that was ended does not end its successor.
    token: Arc<()>,
}

/// A cut through a shard. At most one lives at a time.
#[derive(Debug)]
pub struct Cut {
    shared: Arc<Shared>,
    token: Arc<()>,
    state: ShardState,
    rows: u64,
}

/// How far a cut has been read. The default is its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutCursor {
    table: u8,
    after: Vec<u8>,
    /// Rows of the current table that were given.
    given: u64,
}

impl Default for CutCursor {
    fn default() -> Self {
        Self { table: TABLE_FIRST, after: Vec::new(), given: 0 }
    }
}

impl CutCursor {
    /// The persisted number of the table that comes next; none at the end.
    #[must_use]
    pub fn table(&self) -> Option<u8> {
        (self.table <= TABLE_LAST).then_some(self.table)
    }
}

impl Reader {
    /// Makes a cut at what is applied now. [`TablesError::Busy`] while another one lives.
    pub fn cut(&self) -> Result<Cut, TablesError> {
        let shard = self.shared.shard;
        let (transaction, state, rows) = self.shared.guarded_for_readers(self.waits, |database| {
            let transaction = redb::ReadableDatabase::begin_read(database)?;
            let state = load_state(&transaction, shard)?;
            let rows =
                (TABLE_FIRST..=TABLE_LAST)
                    .map(|table| table_rows(&transaction, table))
                    .sum::<Result<u64, _>>()?;
            Ok::<_, TablesError>((transaction, state, rows))
        })?;
        let mut held = held(&self.shared);
        if held.is_some() {
            return Err(TablesError::Busy);
        }
        let token = Arc::new(());
        *held = Some(Held { transaction, token: Arc::clone(&token) });
        drop(held);
        Ok(Cut { shared: Arc::clone(&self.shared), token, state, rows })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let mut held = held(&self.shared);
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, &self.token)) {
            *held = None;
        }
    }
}

impl Cut {
    /// The state that it shows.
    #[must_use]
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Hands the rows of the current table behind `cursor` to `take`, in key order, until it refuses one (which comes
    /// first the next time). At the end of the table the cursor moves to the next table.
    pub fn read(
        &self,
        cursor: &mut CutCursor,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TablesError> {
        let held = held(&self.shared);
        let mine = held.as_ref().filter(|held| Arc::ptr_eq(&held.token, &self.token));
        let Some(Held { transaction, .. }) = mine else {
            let reason = "the file was opened again or compacted under the cut".into();
            return Err(TablesError::Behind { reason });
        };
        let piece = Piece { transaction, shard: self.shared.shard };
        match catch_unwind(AssertUnwindSafe(|| piece.read(cursor, &mut take))) {
            Ok(Err(TablesError::Damaged { reason })) => Err(self.shared.damaged(&reason)),
            Ok(Err(error @ TablesError::Corrupt { .. })) => {
                self.shared.rot.note(&error.to_string());
                Err(error)
            }
            Ok(done) => done,
            Err(panic) => Err(self.shared.damaged(&format!("panic: {}", panic_text(&*panic)))),
        }
    }
}

/// Ends the cut under way, if there is one; its next reading says so.
pub(super) fn end(shared: &Shared) {
    *held(shared) = None;
}

fn held(shared: &Shared) -> MutexGuard<'_, Option<Held>> {
    // What panics while it is held is caught, and changes nothing of it.
    shared.cut.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load_state(transaction: &ReadTransaction, shard: ShardId) -> Result<ShardState, TablesError> {
    const WHAT: &str = "the shard state";
    let table = transaction.open_table(STATE)?;
    let mut rows = StateRows::default();
    for key in [STATE_ROW, EPOCHS_ROW] {
        let found = table.get(&key)?.ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))?;
        rows.take(shard, &key, found.value()).map_err(|cause| corrupt(WHAT, cause))?;
    }
    rows.state().ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))
}

/// How many rows of content a table has.
fn table_rows(transaction: &ReadTransaction, table: u8) -> Result<u64, TablesError> {
    let open = transaction;
    Ok(match table {
        1 => open.open_table(NAMES)?.len()?,
        2 => open.open_table(STREAMS)?.len()?,
        3 => open.open_table(CHUNKS)?.len()?,
        4 => open.open_table(PRODUCERS)?.len()?,
        5 => open.open_table(PINS)?.len()?,
        6 => open.open_table(EXPIRY)?.len()?,
        7 => open.open_table(DOOMED)?.len()?,
        8 => open.open_table(FACTS)?.len()?,
        // Without the row of the identity.
        _ => open.open_table(STATE)?.len()?.saturating_sub(1),
    })
}

/// One reading of a cut.
struct Piece<'a> {
    transaction: &'a ReadTransaction,
    shard: ShardId,
}

impl Piece<'_> {
    fn read(
        &self,
        cursor: &mut CutCursor,
        take: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TablesError> {
        let ended = match cursor.table {
            1 => self.rows(NAMES, cursor, take),
            2 => self.rows(STREAMS, cursor, take),
            3 => with_sealed_leaves(|| self.rows(CHUNKS, cursor, take)),
            4 => self.rows(PRODUCERS, cursor, take),
            5 => self.rows(PINS, cursor, take),
            6 => self.rows(EXPIRY, cursor, take),
            7 => self.rows(DOOMED, cursor, take),
            8 => self.rows(FACTS, cursor, take),
            9 => self.rows(STATE, cursor, take),
            _ => return Ok(()),
        }?;
        if ended {
            // A damaged page may hide rows without any of them being wrong.
            if cursor.given != table_rows(self.transaction, cursor.table)? {
                return Err(corrupt(named(cursor.table), CodecError::Truncated("the rows of a table")));
            }
            *cursor = CutCursor { table: cursor.table + 1, after: Vec::new(), given: 0 };
        }
        Ok(())
    }

    /// Whether the table ended.
    fn rows<K>(
        &self,
        definition: TableDefinition<'static, K, Bytes>,
        cursor: &mut CutCursor,
        take: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, TablesError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: AsRef<[u8]>,
    {
        let open = self.transaction.open_table(definition)?;
        let after = std::mem::take(&mut cursor.after);
        let start = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(K::from_bytes(&after)) };
        let mut last = None;
        for row in open.range::<K::SelfType<'_>>((start, Bound::Unbounded))? {
            let (key, value) = row?;
            match self.hand_over(cursor.table, key.value().as_ref(), value.value(), take)? {
                Handed::Taken => cursor.given += 1,
                Handed::Refused => {
                    let last = last.map(|last: AccessGuard<'_, K>| last.value().as_ref().to_vec());
                    cursor.after = last.unwrap_or(after);
                    return Ok(false);
                }
                Handed::Passed => {}
            }
            last = Some(key);
        }
        Ok(true)
    }

    fn hand_over(
        &self,
        table: u8,
        key: &[u8],
        value: &[u8],
        take: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Handed, TablesError> {
        if table == TABLE_LAST && key == IDENTITY_ROW {
            return Ok(Handed::Passed);
        }
        check(self.shard, table, key, value)
            .map_err(|cause| corrupt(format!("{}, key {key:02x?}", named(table)), cause))?;
        Ok(if take(key, value) { Handed::Taken } else { Handed::Refused })
    }
}

/// What became of a row.
enum Handed {
    Taken,
    Refused,
    /// It is no content.
    Passed,
}

fn named(number: u8) -> String {
    format!("the table {}", crate::codec::snapshot::table_name(number))
}
