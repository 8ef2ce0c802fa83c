//! Creates and opens the file of a shard. Invariants: a file under its final name is complete; a file that belongs to
//! another shard or layout is refused untouched; a file that keeps ending the process is not opened for ever.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend};

use super::apply::{Scratch, write_epochs, write_state};
use super::blocks::CheckedBlocks;
use super::fault::{TablesError, corrupt, other, panic_text};
use super::file::TableFile;
use super::schema::{
    CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS, TableNumber, opened, sealed,
    unsealed,
};
use super::state::{EPOCHS_ROW, IDENTITY_ROW, STATE_ROW, ShardState, get_epochs, get_state};
use super::{Shared, Tables, begin};
use crate::codec::CodecError;
use crate::seam::disk::{Dir, File};
use crate::types::{ShardCount, ShardId};

/// Starts of the process that may end while a file is being opened before that file is refused: a crash of the
/// machine at the wrong moment is no damage, three in a row are not taken for chance.
const ATTEMPTS_MAX: u32 = 3;

/// Room that must be left on the volume before anything is applied: what the largest record (64 MiB) may need would
/// starve small volumes; such a record meets the device's own error instead, and the file is opened again.
const VOLUME_RESERVE_BYTES: u64 = 8 << 20;

/// What a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Which shard.
    pub shard: ShardId,
    /// Of how many.
    pub shards: ShardCount,
    /// Of which layout: the volume's or cluster's id.
    pub layout: [u8; 16],
}

/// The name of a shard's file.
#[must_use]
pub fn file_name(shard: ShardId) -> String {
    format!("shard-{:03}.redb", shard.0)
}

impl Tables {
    /// Makes a new, empty file. Fails if one is there.
    pub fn create(
        directory: &Arc<dyn Dir>,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        let name = file_name(identity.shard);
        match directory.open(&name) {
            Ok(_) => return Err(TablesError::Exists { file: name }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(device(&error)),
        }
        let temporary = format!("{name}.new");
        let file = empty(directory.as_ref(), &temporary).map_err(|error| device(&error))?;
        let mut tables = Self::create_on(locked(file)?, identity, cache_bytes)?;
        // The database itself has synced the temporary file.
        let placed = directory.rename(&temporary, &name).and_then(|()| directory.sync());
        placed.map_err(|error| device(&error))?;
        tables.volume = Some(Volume::of(directory, cache_bytes));
        Ok(tables)
    }

    /// Opens the file of a shard that has one. A missing file is an error, never an empty shard.
    pub fn open(
        directory: &Arc<dyn Dir>,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        let name = file_name(identity.shard);
        let file = match directory.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TablesError::Missing { file: name });
            }
            Err(error) => return Err(device(&error)),
        };
        let file = locked(file)?;
        let marker = Marker::set(directory.as_ref(), &name)?;
        let opened = Self::open_on(file, identity, cache_bytes);
        // Also after an error: the process has lived to tell it.
        marker.clear()?;
        let mut tables = opened?;
        tables.volume = Some(Volume::of(directory, cache_bytes));
        Ok(tables)
    }

    /// Makes a new database on any backend.
    pub fn create_on(
        backend: impl StorageBackend,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        let database = guarded(|| open_database(checked(backend, cache_bytes), cache_bytes))?;
        guarded(|| initialise(&database, identity))?;
        Ok(Self::with(database, identity.shard, ShardState::default()))
    }

    /// Opens the database on any backend.
    pub fn open_on(
        backend: impl StorageBackend,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        if backend.len().map_err(|error| device(&error))? == 0 {
            return Err(TablesError::Missing { file: file_name(identity.shard) });
        }
        let blocks = checked(backend, cache_bytes);
        // A foreign or cut file must not be turned into an empty database.
        blocks.check_header().map_err(|error| device(&error))?;
        let database = guarded(|| open_database(blocks, cache_bytes))?;
        let state = guarded(|| load(&database, identity))?;
        Ok(Self::with(database, identity.shard, state))
    }

    fn with(database: Database, shard: ShardId, state: ShardState) -> Self {
        let durable = state.applied.index;
        let shared = Arc::new(Shared { database, shard, damage: OnceLock::new() });
        Self { shared, state, durable, scratch: Scratch::default(), volume: None }
    }
}

/// One part in sixteen of the cache holds block checksums: enough for sixteen times the data that the rest holds.
fn seal_bytes(cache_bytes: usize) -> usize {
    cache_bytes / 16
}

fn checked<B: StorageBackend>(backend: B, cache_bytes: usize) -> CheckedBlocks<B> {
    CheckedBlocks::new(backend, seal_bytes(cache_bytes))
}

fn open_database(
    blocks: CheckedBlocks<impl StorageBackend>,
    cache_bytes: usize,
) -> Result<Database, TablesError> {
    let page_bytes = cache_bytes - seal_bytes(cache_bytes);
    Ok(Builder::new().set_cache_size(page_bytes).create_with_backend(blocks)?)
}

fn guarded<T>(access: impl FnOnce() -> Result<T, TablesError>) -> Result<T, TablesError> {
    catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|panic| {
        Err(TablesError::Damaged { reason: format!("panic: {}", panic_text(&*panic)).into() })
    })
}

pub(super) fn device(error: &io::Error) -> TablesError {
    if error.kind() == io::ErrorKind::StorageFull { TablesError::Full } else { other(error) }
}

fn initialise(database: &Database, identity: Identity) -> Result<(), TablesError> {
    let mut transaction = begin(database, Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        transaction.open_table(NAMES)?;
        transaction.open_table(STREAMS)?;
        transaction.open_table(CHUNKS)?;
        transaction.open_table(PRODUCERS)?;
        transaction.open_table(PINS)?;
        transaction.open_table(EXPIRY)?;
        transaction.open_table(DOOMED)?;
        transaction.open_table(FACTS)?;
        let mut table = transaction.open_table(STATE)?;
        let state = ShardState::default();
        write_state(&mut table, identity.shard, &state)?;
        write_epochs(&mut table, identity.shard, &state)?;
        let mut value = unsealed();
        value.extend_from_slice(&identity_bytes(identity));
        // The seal of the identity is bound to shard 0, so that a file of another shard says whose it is.
        let value = sealed(ShardId(0), TableNumber::State, &IDENTITY_ROW, value);
        table.insert(&IDENTITY_ROW, value.as_slice())?;
    }
    Ok(transaction.commit()?)
}

fn identity_bytes(identity: Identity) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&identity.shard.0.to_le_bytes());
    bytes[2..4].copy_from_slice(&identity.shards.get().to_le_bytes());
    bytes[4..].copy_from_slice(&identity.layout);
    bytes
}

fn load(database: &Database, identity: Identity) -> Result<ShardState, TablesError> {
    const WHAT: &str = "the shard state";
    let table = database.begin_read()?.open_table(STATE)?;
    let row = |shard: ShardId, key: [u8; 1]| -> Result<Vec<u8>, TablesError> {
        let found = table.get(&key)?.ok_or_else(|| corrupt(WHAT, CodecError::Truncated(WHAT)))?;
        let value = opened(shard, TableNumber::State, &key, found.value());
        Ok(value.map_err(|cause| corrupt(WHAT, cause))?.to_vec())
    };
    let found = row(ShardId(0), IDENTITY_ROW)?;
    if found != identity_bytes(identity) {
        let number = |at: usize| found.get(at..at + 2).map_or(0, |raw| u16::from_le_bytes([raw[0], raw[1]]));
        let reason = format!("it was made for shard {} of {} of some layout", number(0), number(2));
        return Err(TablesError::Foreign { file: file_name(identity.shard), reason });
    }
    let mut state = get_state(&row(identity.shard, STATE_ROW)?).map_err(|cause| corrupt(WHAT, cause))?;
    state.epochs = get_epochs(&row(identity.shard, EPOCHS_ROW)?).map_err(|cause| corrupt(WHAT, cause))?;
    Ok(state)
}

/// A new file of that name; what an attempt that came to nothing left there goes.
fn empty(directory: &dyn Dir, name: &str) -> io::Result<Arc<dyn File>> {
    match directory.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = directory.open(name)?;
            file.set_len(0)?;
            Ok(file)
        }
        other => other,
    }
}

fn locked(file: Arc<dyn File>) -> Result<TableFile, TablesError> {
    if file.lock().map_err(|error| device(&error))? {
        Ok(TableFile::new(file))
    } else {
        Err(other(&io::Error::other("the file is open elsewhere")))
    }
}

/// The volume that a file lies on. A write that meets a full volume makes redb refuse everything until it is opened
/// again, reads included; so there must be room before a transaction begins.
#[derive(Debug)]
pub(super) struct Volume {
    directory: Arc<dyn Dir>,
    needed_bytes: u64,
}

impl Volume {
    /// What one transaction may write: its batch and the pages it copies are bounded by the cache, which is written
    /// out when it overflows; the file grows by a factor at most.
    fn of(directory: &Arc<dyn Dir>, cache_bytes: usize) -> Self {
        Self { directory: Arc::clone(directory), needed_bytes: 2 * cache_bytes as u64 + VOLUME_RESERVE_BYTES }
    }

    pub(super) fn has_room(&self) -> Result<(), TablesError> {
        let free = self.directory.free_bytes().map_err(|error| device(&error))?;
        if free < self.needed_bytes { Err(TablesError::Full) } else { Ok(()) }
    }
}

/// The quarantine marker: written before a file is opened, removed after. Holds how many openings were begun.
struct Marker<'a> {
    directory: &'a dyn Dir,
    name: String,
}

impl<'a> Marker<'a> {
    fn set(directory: &'a dyn Dir, file: &str) -> Result<Self, TablesError> {
        let name = format!("{file}.opening");
        let (marker, found) = match directory.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (directory.open(&name).map_err(|error| device(&error))?, true)
            }
            other => (other.map_err(|error| device(&error))?, false),
        };
        // One byte per opening that was begun; a marker whose byte was lost still stands for one.
        let length = marker.len().map_err(|error| device(&error))?;
        let begun = u32::try_from(length).unwrap_or(u32::MAX).max(u32::from(found));
        if begun >= ATTEMPTS_MAX {
            return Err(TablesError::Quarantined { file: file.into(), attempts: begun });
        }
        // Not synced: what the marker guards against is the end of the process, and that leaves it standing; a power
        // cut may forget it, but is not the file's fault.
        marker.write_at(b"o", u64::from(begun)).map_err(|error| device(&error))?;
        Ok(Self { directory, name })
    }

    fn clear(self) -> Result<(), TablesError> {
        self.directory.remove(&self.name).map_err(|error| device(&error))
    }
}
