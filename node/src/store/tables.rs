//! The tables of one shard: a redb database that holds what its log has decided, up to an applied index. Owns stream
//! rows, chunks, producers, pins, deadlines and facts. Invariants: one apply is one transaction; what a checkpoint
//! acknowledged survives any crash; a byte that fails its checksum is never served. Leaves durability between two
//! checkpoints to the log, and the choice of when to apply, checkpoint, reap and scrub to the runtime.

mod apply;
mod blocks;
mod chunks;
mod fault;
mod file;
mod open;
mod read;
mod reap;
mod row;
mod run;
mod schema;
mod scrub;
mod seals;
mod state;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use redb::{Database, Durability};

pub use fault::{ReadFault, TablesError};
pub use open::{Identity, file_name};
pub use read::Reader;
pub use row::StreamEntry;
pub use scrub::{ScrubCursor, Scrubbed};
pub use state::{Applied, EpochStart, ShardState, Totals};

use crate::types::{LogIndex, Op, ShardId};

/// The database of a shard, for its one writer. Readers are [`Reader`]s.
#[derive(Debug)]
pub struct Tables {
    shared: Arc<Shared>,
    state: ShardState,
    durable: LogIndex,
    scratch: apply::Scratch,
    volume: Option<open::Volume>,
}

/// What writer and readers share.
#[derive(Debug)]
struct Shared {
    database: Database,
    shard: ShardId,
    /// Set once, by the first sign of damage; from then on nothing is written any more.
    damage: OnceLock<Arc<str>>,
}

impl Shared {
    /// Runs one access. A panic inside the database (its answer to a page that makes no sense) becomes damage.
    fn guarded<T, E: From<TablesError>>(&self, access: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(reason) = self.damage.get() {
            return Err(TablesError::Damaged { reason: Arc::clone(reason) }.into());
        }
        match catch_unwind(AssertUnwindSafe(access)) {
            Ok(result) => result,
            Err(panic) => Err(self.damaged(&format!("panic: {}", fault::panic_text(&*panic))).into()),
        }
    }

    fn damaged(&self, reason: &str) -> TablesError {
        TablesError::Damaged { reason: Arc::clone(self.damage.get_or_init(|| reason.into())) }
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

    /// Applies the ops of committed records in log order as one transaction, not yet durable. Ops at or below the
    /// applied index are skipped, so that a replay may begin anywhere before it. An error changes nothing.
    pub fn apply(
        &mut self,
        batch: &[(LogIndex, Op)],
        applied: Applied,
        epochs: &[EpochStart],
    ) -> Result<(), TablesError> {
        self.has_room()?;
        let shared = Arc::clone(&self.shared);
        let (state, scratch) = (&self.state, &mut self.scratch);
        let next = shared.guarded(|| {
            let transaction = begin(&shared.database, Durability::None)?;
            let next = apply::apply(&transaction, shared.shard, state, scratch, batch, applied, epochs)?;
            transaction.commit()?;
            Ok::<_, TablesError>(next)
        })?;
        self.state = next;
        Ok(())
    }

    /// Makes everything applied durable; gives the applied index that the log need not repeat any more.
    pub fn checkpoint(&mut self) -> Result<LogIndex, TablesError> {
        self.has_room()?;
        let shared = Arc::clone(&self.shared);
        shared.guarded(|| {
            let mut transaction = begin(&shared.database, Durability::Immediate)?;
            transaction.set_quick_repair(true);
            Ok::<_, TablesError>(transaction.commit()?)
        })?;
        self.durable = self.state.applied.index;
        Ok(self.durable)
    }

    fn has_room(&self) -> Result<(), TablesError> {
        self.volume.as_ref().map_or(Ok(()), open::Volume::has_room)
    }

    /// Removes at most about `rows_max` rows of deleted or trimmed streams; says how many. Zero: nothing waits.
    pub fn reap(&mut self, rows_max: usize) -> Result<usize, TablesError> {
        let shared = Arc::clone(&self.shared);
        shared.guarded(|| {
            let transaction = begin(&shared.database, Durability::None)?;
            let removed = reap::reap(&transaction, shared.shard, rows_max)?;
            if removed == 0 {
                transaction.abort()?
            } else {
                transaction.commit()?
            }
            Ok(removed)
        })
    }
}

fn begin(database: &Database, durability: Durability) -> Result<redb::WriteTransaction, TablesError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability).map_err(|error| fault::other(&error))?;
    Ok(transaction)
}
