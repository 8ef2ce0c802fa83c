//! Creates and opens the file of a shard. Invariants: a file under its final name is complete; a file that belongs to
//! another shard or layout is refused untouched; a file that keeps ending the process is not opened for ever.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};

use super::apply::{Scratch, StateTable, write_epochs, write_state};
use super::blocks::CheckedBlocks;
use super::fault::{TablesError, corrupt, other, panic_text};
use super::file::TableFile;
use super::late::{CatchUp, LateWrites, is_full};
use super::marker::{Marker, marker_name};
use super::rot::Rot;
use super::schema::{
    CHUNKS, DOOMED, EXPIRY, FACTS, NAMES, PINS, PRODUCERS, STATE, STREAMS, TableNumber, opened, sealed,
    unsealed,
};
use super::state::{EPOCHS_ROW, IDENTITY_ROW, STATE_ROW, ShardState, get_epochs, get_state};
use super::{LATE_BYTES_MAX, Shared, Tables, begin};
use crate::codec::CodecError;
use crate::seam::disk::{Dir, File};
use crate::store::reserve::Spare;
use crate::types::{ShardCount, ShardId};

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

/// A database that was opened, and how far it is.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) late: Arc<dyn CatchUp>,
    pub(super) state: ShardState,
}

/// How the database is opened again.
pub(super) struct Source {
    open: Box<dyn Fn() -> Result<Opened, TablesError> + Send>,
    place: Option<Place>,
}

impl Source {
    pub(super) fn open(&self) -> Result<Opened, TablesError> {
        (self.open)()
    }

    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        let file = |place: &Place| place.directory.open(&file_name(place.identity.shard));
        let bytes = |file: Arc<dyn File>| file.stored_bytes();
        self.place.as_ref().and_then(|place| file(place).and_then(bytes).ok()).unwrap_or(0)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// Where the tables of a shard lie, and what may be given up for them.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory.
    pub directory: Arc<dyn Dir>,
    /// What the file belongs to.
    pub identity: Identity,
    /// Memory for pages.
    pub cache_bytes: usize,
    /// Cut when the volume is full.
    pub spare: Option<Arc<dyn Spare>>,
}

impl Place {
    /// Opens the file; what was noted of it keeps a start from that, and not whoever serves it already.
    fn open(&self, rot: &Rot, is_served: bool) -> Result<Opened, TablesError> {
        let name = file_name(self.identity.shard);
        let file = match self.directory.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TablesError::Missing { file: name });
            }
            Err(error) => return Err(device(&error)),
        };
        let backend = locked(&file)?;
        let marker = Marker::set(self.directory.as_ref(), &name, is_served)?;
        file.forget_cached();
        drop(file);
        let opened = open_backend(backend, self.identity, self.cache_bytes, self.spare.clone(), rot);
        // Also after an error: the process has lived to tell it.
        marker.map_or(Ok(()), Marker::clear)?;
        opened
    }

    /// A new file under its temporary name. Fails if the shard has a file.
    pub(super) fn begin_file(&self) -> Result<TableFile, TablesError> {
        let name = file_name(self.identity.shard);
        match self.directory.open(&name) {
            Ok(_) => return Err(TablesError::Exists { file: name }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(device(&error)),
        }
        let file = empty(self.directory.as_ref(), &temporary_name(&name)).map_err(|error| device(&error))?;
        locked(&file)
    }

    /// A new file under its temporary name, whether the shard has a file or not.
    pub(super) fn begin_successor(&self) -> Result<TableFile, TablesError> {
        let name = temporary_name(&file_name(self.identity.shard));
        locked(&empty(self.directory.as_ref(), &name).map_err(|error| device(&error))?)
    }

    /// Gives the file, which its database has synced and let go, its name.
    pub(super) fn show_file(&self) -> Result<(), TablesError> {
        self.show_as(&file_name(self.identity.shard))
    }

    /// Gives it the name of what may take the place of the shard's file.
    pub(super) fn show_successor(&self) -> Result<(), TablesError> {
        self.show_as(&successor_name(self.identity.shard))
    }

    fn show_as(&self, name: &str) -> Result<(), TablesError> {
        let temporary = temporary_name(&file_name(self.identity.shard));
        let shown = self.directory.rename(&temporary, name).and_then(|()| self.directory.sync());
        shown.map_err(|error| device(&error))
    }

    /// Gives a successor the name of the shard's file, which was set aside.
    pub(super) fn promote_successor(&self) -> io::Result<()> {
        self.directory.rename(&self.successor(), &file_name(self.identity.shard))?;
        self.directory.sync()
    }

    /// The name of a complete file that waits to take the place of the shard's own.
    pub(super) fn successor(&self) -> String {
        successor_name(self.identity.shard)
    }

    /// Sets the file of the shard aside, if there is one, so that another one may be made. None takes the place of one that was set
    /// aside before. Once there are as many as may be kept, this one takes the place of the last if it `counts`, and goes if it does not.
    pub fn set_aside(&self, counts: bool) -> io::Result<()> {
        let (shard, name) = (self.identity.shard, file_name(self.identity.shard));
        let free =
            (1..=SET_ASIDE_MAX).map(|number| set_aside_name(shard, number)).find_map(|aside| {
                match self.directory.open(&aside) {
                    Ok(_) => None,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Ok(aside)),
                    Err(error) => Some(Err(error)),
                }
            });
        let moved = match free.transpose()? {
            Some(aside) => self.directory.rename(&name, &aside),
            None if counts => self.directory.rename(&name, &set_aside_name(shard, SET_ASIDE_MAX)),
            None => self.directory.remove(&name),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.forget_marker()?;
        self.directory.sync()
    }

    /// Another file has the shard's name: what was noted of opening the one before, or found in it, is not about this one.
    pub(super) fn forget_marker(&self) -> io::Result<()> {
        match self.directory.remove(&marker_name(&file_name(self.identity.shard))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a successor, if there is one: what nobody will put in the place of the shard's file.
    pub fn drop_successor(&self) -> io::Result<()> {
        match self.directory.remove(&successor_name(self.identity.shard)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what [`Self::begin_file`] began.
    pub(super) fn drop_file(&self) -> io::Result<()> {
        self.directory.remove(&temporary_name(&file_name(self.identity.shard)))
    }
}

fn temporary_name(name: &str) -> String {
    format!("{name}.new")
}

/// What the name of a file ends in that was set aside.
pub const DAMAGED_SUFFIX: &str = ".damaged";

/// Files of one shard that are set aside at most: the first of them had everything; more than a few are the same damage again and again.
const SET_ASIDE_MAX: u32 = 3;

/// The name under which a damaged file is set aside. Persisted, keep stable.
fn set_aside_name(shard: ShardId, number: u32) -> String {
    let name = file_name(shard);
    match number {
        1 => format!("{name}{DAMAGED_SUFFIX}"),
        number => format!("{name}.{number}{DAMAGED_SUFFIX}"),
    }
}

fn successor_name(shard: ShardId) -> String {
    format!("{}.next", file_name(shard))
}

impl Tables {
    /// Makes a new, empty file. Fails if one is there.
    pub fn create(
        directory: &Arc<dyn Dir>,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        Self::create_at(&Place { directory: Arc::clone(directory), identity, cache_bytes, spare: None })
    }

    /// Opens the file of a shard that has one. A missing file is an error, never an empty shard.
    pub fn open(
        directory: &Arc<dyn Dir>,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        Self::open_at(&Place { directory: Arc::clone(directory), identity, cache_bytes, spare: None })
    }

    /// The same with everything that there is to say.
    pub fn create_at(place: &Place) -> Result<Self, TablesError> {
        let tables = Self::create_on(place.begin_file()?, place.identity, place.cache_bytes)?;
        // What no room was found for is not in the file: then there is no file.
        tables.catch_up()?;
        drop(tables);
        place.show_file()?;
        Self::open_at(place)
    }

    /// The same with everything that there is to say.
    pub fn open_at(place: &Place) -> Result<Self, TablesError> {
        let rot = Rot::default();
        let mut tables = Self::with(place.open(&rot, false)?, place.identity.shard, rot.clone());
        let again = place.clone();
        let open = Box::new(move || again.open(&rot, true));
        tables.source = Some(Source { open, place: Some(place.clone()) });
        // Pages, rows and checksums take a quarter at least.
        tables.bytes_most = tables.bytes_most.max(tables.stored_bytes() / 4 * 3);
        Ok(tables)
    }

    /// Makes a new database on any backend.
    pub fn create_on(
        backend: impl StorageBackend,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        let layer = LateWrites::new(backend, None);
        let late = layer.handle();
        let rot = Rot::default();
        let blocks = checked(layer, cache_bytes, rot.clone());
        let database = guarded(|| open_database(blocks, cache_bytes))?;
        guarded(|| initialise(&database, identity))?;
        Ok(Self::with(Opened { database, late, state: ShardState::default() }, identity.shard, rot))
    }

    /// Opens the database on any backend; it cannot be opened again by [`Self::reopen`].
    pub fn open_on(
        backend: impl StorageBackend,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Self, TablesError> {
        let rot = Rot::default();
        let opened = open_backend(backend, identity, cache_bytes, None, &rot)?;
        Ok(Self::with(opened, identity.shard, rot))
    }

    /// Opens the database on backends that can be had again and again.
    pub fn open_from<B: StorageBackend>(
        backends: impl Fn() -> io::Result<B> + Send + 'static,
        identity: Identity,
        cache_bytes: usize,
        spare: Option<Arc<dyn Spare>>,
    ) -> Result<Self, TablesError> {
        let rot = Rot::default();
        let found = rot.clone();
        let open = move || {
            let backend = backends().map_err(|error| device(&error))?;
            open_backend(backend, identity, cache_bytes, spare.clone(), &found)
        };
        let mut tables = Self::with(open()?, identity.shard, rot);
        tables.source = Some(Source { open: Box::new(open), place: None });
        Ok(tables)
    }

    fn with(opened: Opened, shard: ShardId, rot: Rot) -> Self {
        let Opened { database, late, state } = opened;
        Self {
            shared: Arc::new(Shared::new(database, shard, rot)),
            durable: state.applied.index,
            bytes_most: state.totals.bytes,
            state,
            scratch: Scratch::default(),
            late,
            late_bytes_max: LATE_BYTES_MAX,
            source: None,
        }
    }
}

fn open_backend(
    backend: impl StorageBackend,
    identity: Identity,
    cache_bytes: usize,
    spare: Option<Arc<dyn Spare>>,
    rot: &Rot,
) -> Result<Opened, TablesError> {
    if backend.len().map_err(|error| device(&error))? == 0 {
        return Err(TablesError::Missing { file: file_name(identity.shard) });
    }
    let layer = LateWrites::new(backend, spare);
    let late = layer.handle();
    let blocks = checked(layer, cache_bytes, rot.clone());
    // A foreign or cut file must not be turned into an empty database.
    blocks.check_header().map_err(|error| device(&error))?;
    let database = guarded(|| open_database(blocks, cache_bytes))?;
    let state = guarded(|| load(&database, identity))?;
    Ok(Opened { database, late, state })
}

/// One part in sixteen of the cache holds block checksums: enough for sixteen times the data that the rest holds.
fn seal_bytes(cache_bytes: usize) -> usize {
    cache_bytes / 16
}

pub(super) fn checked<B: StorageBackend>(backend: B, cache_bytes: usize, rot: Rot) -> CheckedBlocks<B> {
    CheckedBlocks::new(backend, seal_bytes(cache_bytes), rot)
}

pub(super) fn open_database(
    blocks: CheckedBlocks<impl StorageBackend>,
    cache_bytes: usize,
) -> Result<Database, TablesError> {
    let page_bytes = cache_bytes - seal_bytes(cache_bytes);
    Ok(Builder::new().set_cache_size(page_bytes).create_with_backend(blocks)?)
}

pub(super) fn guarded<T>(access: impl FnOnce() -> Result<T, TablesError>) -> Result<T, TablesError> {
    catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|panic| {
        Err(TablesError::Damaged { reason: format!("panic: {}", panic_text(&*panic)).into() })
    })
}

pub(super) fn device(error: &io::Error) -> TablesError {
    if is_full(error) { TablesError::Full } else { other(error) }
}

fn initialise(database: &Database, identity: Identity) -> Result<(), TablesError> {
    let mut transaction = begin(database, Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        let mut table = make_tables(&transaction)?;
        let state = ShardState::default();
        write_state(&mut table, identity.shard, &state)?;
        write_epochs(&mut table, identity.shard, &state)?;
    }
    write_identity(&transaction, identity)?;
    Ok(transaction.commit()?)
}

/// Makes all tables; gives that of the state.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<StateTable<'_>, TablesError> {
    transaction.open_table(NAMES)?;
    transaction.open_table(STREAMS)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(PRODUCERS)?;
    transaction.open_table(PINS)?;
    transaction.open_table(EXPIRY)?;
    transaction.open_table(DOOMED)?;
    transaction.open_table(FACTS)?;
    Ok(transaction.open_table(STATE)?)
}

pub(super) fn write_identity(transaction: &WriteTransaction, identity: Identity) -> Result<(), TablesError> {
    let mut value = unsealed();
    value.extend_from_slice(&identity_bytes(identity));
    // The seal of the identity is bound to shard 0, so that a file of another shard says whose it is.
    let value = sealed(ShardId(0), TableNumber::State, &IDENTITY_ROW, value);
    transaction.open_table(STATE)?.insert(&IDENTITY_ROW, value.as_slice())?;
    Ok(())
}

fn identity_bytes(identity: Identity) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&identity.shard.0.to_le_bytes());
    bytes[2..4].copy_from_slice(&identity.shards.get().to_le_bytes());
    bytes[4..].copy_from_slice(&identity.layout);
    bytes
}

pub(super) fn load(database: &Database, identity: Identity) -> Result<ShardState, TablesError> {
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

/// A new file of that name; what an attempt that came to nothing left there goes. It is written as a whole before anybody
/// reads it, so it needs no place in the system's cache.
fn empty(directory: &dyn Dir, name: &str) -> io::Result<Arc<dyn File>> {
    match directory.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = directory.open_past_cache(name)?;
            file.set_len(0)?;
            Ok(file)
        }
        // What cannot be opened is not left behind, either.
        created => created.and_then(|_| {
            directory.open_past_cache(name).inspect_err(|_| directory.remove(name).unwrap_or_default())
        }),
    }
}

fn locked(file: &Arc<dyn File>) -> Result<TableFile, TablesError> {
    if file.lock().map_err(|error| device(&error))? {
        Ok(TableFile::new(Arc::clone(file)))
    } else {
        Err(other(&io::Error::other("the file is open elsewhere")))
    }
}
