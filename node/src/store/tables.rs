//! The tables of one shard: a redb database that holds what its log has decided, up to an applied index. Owns stream
//! rows, chunks, producers, pins, deadlines and facts. Invariants: one apply is one transaction; what a checkpoint
//! acknowledged survives any crash; a byte that fails its checksum is never served. Leaves durability between two
//! checkpoints to the log, and the choice of when to apply, checkpoint, reap and scrub to the runtime.

mod apply;
mod blocks;
mod chunks;
pub mod content;
mod cut;
mod fault;
mod file;
mod late;
mod marker;
mod open;
mod read;
mod reap;
mod rebuild;
mod replace;
mod rot;
mod row;
mod run;
mod schema;
mod scrub;
mod seals;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use redb::{Database, Durability};

use fault::Fault;
use late::{CatchUp, Nothing};
use rot::Rot;

pub use cut::{Cut, CutCursor};
pub use fault::{ReadFault, TablesError};
pub use marker::{forget_damage, is_damage_noted, note_damage};
pub use open::{DAMAGED_SUFFIX, Identity, Place, file_name};
pub use read::Reader;
pub use rebuild::{CarriedRow, Rebuild};
pub use replace::Unreplaced;
pub use row::StreamEntry;
pub use scrub::{ScrubCursor, Scrubbed};
pub use state::{Applied, EpochStart, ShardState, Totals};

use crate::types::{LogIndex, Op, ShardId, StreamId};

/// Bytes that one shard's tables may keep in memory because the volume has no room for them; a transaction that begins
/// below this may pass it by what it writes. Twice what deletions and their checkpoint write at a time.
pub const LATE_BYTES_MAX: u64 = 4 << 20;

/// The database of a shard, for its one writer. Readers are [`Reader`]s.
#[derive(Debug)]
pub struct Tables {
    shared: Arc<Shared>,
    state: ShardState,
    durable: LogIndex,
    scratch: apply::Scratch,
    late: Arc<dyn CatchUp>,
    late_bytes_max: u64,
    source: Option<open::Source>,
    /// The most payload that the file ever had room for, as far as is known.
    bytes_most: u64,
}

/// What writer and readers share.
#[derive(Debug)]
struct Shared {
    /// Taken out while it is opened again.
    database: RwLock<Option<Database>>,
    shard: ShardId,
    /// Set by the first sign of damage; from then on nothing is read or written until the file is opened again.
    is_damaged: AtomicBool,
    /// The file was opened again and lacks what readers have seen: they are refused until [`Tables::readmit`].
    is_behind: AtomicBool,
    damage: Mutex<Arc<str>>,
    /// What is known to be damaged in the file.
    rot: Rot,
    /// The cut that is being read, if any.
    cut: Mutex<Option<cut::Held>>,
}

impl Shared {
    fn new(database: Database, shard: ShardId, rot: Rot) -> Self {
        let database = RwLock::new(Some(database));
        let damage = Mutex::new("".into());
        let (is_damaged, is_behind, cut) = Default::default();
        Self { database, shard, is_damaged, is_behind, damage, rot, cut }
    }

    /// Runs one access. A panic inside the database (its answer to a page that makes no sense) becomes damage; so does
    /// a failure of the device, since the database answers nothing any more after it.
    fn guarded<T, E: From<TablesError> + Fault>(
        &self,
        access: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        // Nothing panics while this lock is held but inside of `catch_unwind`.
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        self.guarded_within(database.as_ref(), access)
    }

    fn guarded_within<T, E: From<TablesError> + Fault>(
        &self,
        database: Option<&Database>,
        access: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(database) = database.filter(|_| !self.is_damaged.load(Ordering::Acquire)) else {
            return Err(self.damage().into());
        };
        match catch_unwind(AssertUnwindSafe(|| access(database))) {
            Ok(Err(error)) => {
                match error.tables() {
                    Some(TablesError::Damaged { reason }) => drop(self.damaged(reason)),
                    Some(corrupt @ TablesError::Corrupt { .. }) => self.rot.note(&corrupt.to_string()),
                    _ => {}
                }
                Err(error)
            }
            Ok(done) => done,
            Err(panic) => Err(self.damaged(&format!("panic: {}", fault::panic_text(&*panic))).into()),
        }
    }

    /// The same for readers, who are kept away longer. Only opening the file again and compacting it take the lock for
    /// themselves, and both last as long as they last: whoever has others behind it does not wait for that.
    fn guarded_for_readers<T, E: From<TablesError> + Fault>(
        &self,
        waits: bool,
        access: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let database = match self.database.try_read() {
            Ok(database) => database,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if waits => {
                self.database.read().unwrap_or_else(PoisonError::into_inner)
            }
            Err(TryLockError::WouldBlock) => return Err(TablesError::Busy.into()),
        };
        self.guarded_within(database.as_ref(), |database| {
            // Asked under the lock that opening the file again takes.
            if self.is_behind.load(Ordering::Acquire) {
                let reason = "what they held is being read from the log again".into();
                return Err(TablesError::Behind { reason }.into());
            }
            access(database)
        })
    }

    fn damage(&self) -> TablesError {
        let reason = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        TablesError::Damaged { reason: Arc::clone(&reason) }
    }

    /// Notes damage; the first reason stays.
    fn damaged(&self, reason: &str) -> TablesError {
        {
            let mut noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_damaged.swap(true, Ordering::AcqRel) {
                *noted = reason.into();
            }
        }
        self.damage()
    }
}

impl Tables {
    /// A handle for readers; cheap to clone, used from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// What is applied (visible to readers), durable or not.
    #[must_use]
    pub fn state(&self) -> &ShardState {
        &self.state
    }

    /// The applied index that survives a crash: the log behind it may go.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Why nothing is read or written until the file is opened again, if so.
    #[must_use]
    pub fn damage(&self) -> Option<TablesError> {
        if self.late.has_failed() {
            // The database may have kept it to itself.
            self.shared.damaged("the device failed a call");
        }
        self.shared.is_damaged.load(Ordering::Acquire).then(|| self.shared.damage())
    }

    /// What was found damaged in the file, by whomever.
    #[must_use]
    pub fn rot(&self) -> Option<Arc<str>> {
        self.shared.rot.found()
    }

    /// Bytes that are applied and wait in memory for room on the volume.
    #[must_use]
    pub fn late_bytes(&self) -> u64 {
        self.late.late_bytes()
    }

    /// Payload that fits into pages of the file that are free, roughly: as much as it once had room for, less what it
    /// holds. Rows of deleted streams that are not yet removed count as free.
    #[must_use]
    pub fn slack_bytes(&self) -> u64 {
        self.bytes_most.saturating_sub(self.state.totals.bytes)
    }

    /// Lets this many bytes wait in memory for room. A start lets any number: what is replayed then was in memory before.
    pub fn bound_late(&mut self, late_bytes_max: u64) {
        self.late_bytes_max = late_bytes_max;
    }

    /// Applies the ops of committed records in log order as one transaction, not yet durable. Ops at or below the
    /// applied index are skipped, so that a replay may begin anywhere before it. An error changes nothing.
    pub fn apply(
        &mut self,
        batch: &[(LogIndex, Op)],
        applied: Applied,
        epochs: &[EpochStart],
    ) -> Result<(), TablesError> {
        self.apply_all(batch.iter().map(|(index, op)| (*index, op)), applied, epochs)
    }

    /// The same with ops that lie elsewhere.
    pub fn apply_all<'o>(
        &mut self,
        batch: impl Iterator<Item = (LogIndex, &'o Op)>,
        applied: Applied,
        epochs: &[EpochStart],
    ) -> Result<(), TablesError> {
        self.has_room()?;
        let shared = Arc::clone(&self.shared);
        let (state, scratch) = (&self.state, &mut self.scratch);
        let next = shared.guarded(|database| {
            let transaction = begin(database, Durability::None)?;
            let next = apply::apply(&transaction, shared.shard, state, scratch, batch, applied, epochs)?;
            transaction.commit()?;
            Ok::<_, TablesError>(next)
        })?;
        self.bytes_most = self.bytes_most.max(next.totals.bytes);
        self.state = next;
        Ok(())
    }

    /// Lets no stream have one of the next `count` ids; not yet durable.
    pub fn pass_over_ids(&mut self, count: u64) -> Result<(), TablesError> {
        let shared = Arc::clone(&self.shared);
        let next_stream = StreamId(self.state.next_stream.0.saturating_add(count));
        let next = ShardState { next_stream, ..self.state.clone() };
        shared.guarded(|database| {
            let transaction = begin(database, Durability::None)?;
            apply::write_state(&mut transaction.open_table(schema::STATE)?, shared.shard, &next)?;
            Ok::<_, TablesError>(transaction.commit()?)
        })?;
        self.state = next;
        Ok(())
    }

    /// Makes everything applied durable; gives the applied index that the log need not repeat any more. On a full volume
    /// the checkpoint may be made in memory only: then this is [`TablesError::Full`], and calling again finishes it.
    pub fn checkpoint(&mut self) -> Result<LogIndex, TablesError> {
        self.catch_up()?;
        let shared = Arc::clone(&self.shared);
        shared.guarded(|database| {
            let mut transaction = begin(database, Durability::Immediate)?;
            transaction.set_quick_repair(true);
            Ok::<_, TablesError>(transaction.commit()?)
        })?;
        self.catch_up()?;
        self.durable = self.state.applied.index;
        Ok(self.durable)
    }

    /// Removes at most about `rows_max` rows of deleted or trimmed streams; says how many. Zero: nothing waits.
    pub fn reap(&mut self, rows_max: usize) -> Result<usize, TablesError> {
        self.has_room()?;
        let shared = Arc::clone(&self.shared);
        shared.guarded(|database| {
            let transaction = begin(database, Durability::None)?;
            let removed = reap::reap(&transaction, shared.shard, rows_max)?;
            if removed == 0 {
                transaction.abort()?
            } else {
                transaction.commit()?
            }
            Ok::<_, TablesError>(removed)
        })
    }

    /// Opens the file again after its device failed. What was applied behind the last checkpoint is gone from the tables
    /// and must be applied again; until then readers must be kept away.
    pub fn reopen(&mut self) -> Result<(), TablesError> {
        let Some(source) = &self.source else { return Err(self.shared.damage()) };
        self.shared.damaged("it is being opened again");
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        cut::end(&self.shared);
        // The old one lets go of the file first. Its end may meet the same damage as its life did.
        let old = database.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(old)));
        self.late = Arc::new(Nothing);
        let opened = source.open()?;
        *database = Some(opened.database);
        self.shared.is_behind.store(true, Ordering::Release);
        self.state = opened.state;
        self.durable = self.state.applied.index;
        self.late = opened.late;
        self.shared.is_damaged.store(false, Ordering::Release);
        Ok(())
    }

    /// Lets readers in again after [`Self::reopen`], once everything is there that they have seen.
    pub fn readmit(&self) {
        self.shared.is_behind.store(false, Ordering::Release);
    }

    /// Gives pages that are free inside the file back to the volume. Nobody can read meanwhile, and it takes as long as
    /// writing the file anew: for small files on a full volume.
    pub fn compact(&mut self) -> Result<(), TablesError> {
        self.checkpoint()?;
        {
            let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
            let Some(database) = database.as_mut() else { return Err(self.shared.damage()) };
            // The database does not move pages that a reader may hold.
            cut::end(&self.shared);
            match catch_unwind(AssertUnwindSafe(|| database.compact())) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.shared.damaged(&error.to_string())),
                Err(panic) => return Err(self.shared.damaged(&fault::panic_text(&*panic))),
            }
        }
        self.bytes_most = self.state.totals.bytes;
        // Compaction leaves no map of the free pages behind, without which opening after a crash takes long.
        self.checkpoint().map(drop)
    }

    /// Bytes that the file takes on the volume; nothing for backends that are no files.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.source.as_ref().map_or(0, open::Source::stored_bytes)
    }

    /// A transaction begins only while little waits in memory.
    fn has_room(&self) -> Result<(), TablesError> {
        match self.catch_up() {
            Err(TablesError::Full) if self.late.late_bytes() <= self.late_bytes_max => Ok(()),
            other => other,
        }
    }

    fn catch_up(&self) -> Result<(), TablesError> {
        if self.late.late_bytes() == 0 {
            return Ok(());
        }
        self.late.catch_up().map_err(|error| match open::device(&error) {
            TablesError::Damaged { reason } => self.shared.damaged(&reason),
            other => other,
        })
    }
}

fn begin(database: &Database, durability: Durability) -> Result<redb::WriteTransaction, TablesError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability).map_err(|error| fault::other(&error))?;
    Ok(transaction)
}
