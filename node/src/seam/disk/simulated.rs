//! A disk in memory that can crash, tear, lose, lie and fill up, all decided by a seed.
//!
//! It keeps what programs see (the page cache) and, for each sector that was written since the last sync, what the device
//! holds. A crash decides for every such sector on its own whether it reached the device, and for every unsynced change
//! of a directory likewise, in any combination. A failed sync leaves its sectors unsynced for good, although later syncs
//! succeed: that is what real page caches do.

mod directory;
mod faults;
mod handles;
mod history;
mod inode;
mod moved;
mod random;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Call, Faults};
pub use history::{History, Replay};
pub use random::Random;

use self::directory::{Change, Directory};
use self::handles::SimulatedDir;
use self::history::Event;
use self::inode::Inode;
use self::moved::Move;
use super::Dir;

/// The unit that a device writes whole; a bad one tears even that.
pub const SECTOR_BYTES: usize = 512;

/// A file's place in the disk.
type InodeNumber = usize;

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    directories: Vec<Directory>,
    /// What was moved from one directory to another since either was synced.
    moves: Vec<Move>,
    faults: Faults,
    random: Random,
    /// Bytes that files may take together.
    capacity: u64,
    /// Bytes that they take.
    used: u64,
    /// Whether a crash tears single sectors, too.
    tears_sectors: bool,
    /// What has changed since [`SimulatedDisk::record`], in order.
    events: Option<Vec<Event>>,
}

/// The disk. Clones are handles to the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// An empty disk whose every choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State {
            inodes: Vec::new(),
            directories: vec![Directory::default()],
            moves: Vec::new(),
            faults: Faults::default(),
            random: Random::new(seed),
            capacity: u64::MAX,
            used: 0,
            tears_sectors: true,
            events: None,
        })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The topmost directory.
    #[must_use]
    pub fn root(&self) -> Arc<dyn Dir> {
        Arc::new(SimulatedDir::new(self.clone(), 0))
    }

    /// What the device holds after a power cut now, as a disk of its own. The old disk goes on, so that several outcomes
    /// of one moment can be looked at.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.lock();
        let mut random = Random::new(seed);
        let tears_sectors = state.tears_sectors;
        // Whole crashes of one kind are as likely as mixtures: they find different mistakes.
        let odds = random.below(5) * 25;
        let mut directories: Vec<Directory> =
            state.directories.iter().map(|directory| directory.after_power_cut(&mut random, odds)).collect();
        moved::after_power_cut(&state.moves, &mut directories, &mut random, odds);
        let named: BTreeSet<InodeNumber> =
            directories.iter().flat_map(|directory| directory.names.values().copied()).collect();
        // Files without a name are gone.
        let survivor = |(number, inode): (InodeNumber, &Inode)| {
            if named.contains(&number) {
                inode.after_power_cut(&mut random, odds, tears_sectors)
            } else {
                Inode::default()
            }
        };
        let inodes: Vec<Inode> = state.inodes.iter().enumerate().map(survivor).collect();
        let used = inodes.iter().map(Inode::len).sum();
        let capacity = state.capacity;
        drop(state);
        let faults = Faults::default();
        let events = None;
        let moves = Vec::new();
        Self::with(State {
            inodes,
            directories,
            moves,
            faults,
            random,
            capacity,
            used,
            tears_sectors,
            events,
        })
    }

    /// What is there after the process was killed: everything that it wrote, unsynced parts still unsynced.
    #[must_use]
    pub fn after_kill(&self, seed: u64) -> Self {
        let state = self.lock();
        Self::with(State {
            inodes: state.inodes.clone(),
            directories: state.directories.clone(),
            moves: state.moves.clone(),
            faults: Faults::default(),
            random: Random::new(seed),
            capacity: state.capacity,
            used: state.used,
            tears_sectors: state.tears_sectors,
            events: None,
        })
    }

    /// Lets each unsynced sector reach the device with a chance of `percent`, as the system does on its own.
    pub fn write_back(&self, percent: u64) {
        let mut guard = self.lock();
        let State { inodes, random, .. } = &mut *guard;
        inodes.iter_mut().for_each(|inode| inode.write_back(random, percent));
    }

    /// Bytes that were read from files since the last [`Self::set_faults`].
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.lock().faults.read_bytes
    }

    /// Sets which calls fail from now on, and starts counting calls anew.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Calls of a kind since the last [`Self::set_faults`].
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().faults.count(call)
    }

    /// From now on each sector is written whole or not at all, as every device promises.
    #[must_use]
    pub fn with_whole_sectors(self) -> Self {
        self.lock().tears_sectors = false;
        self
    }

    /// Sets how many bytes all files may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Bytes that the volume has left.
    fn free(&self) -> u64 {
        let state = self.lock();
        state.capacity.saturating_sub(state.used)
    }

    /// Bytes that all files take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// Flips one bit of a file, on the device and in memory; `path` is `folder/file` or `file`. Whether there was such
    /// a bit.
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        let mut state = self.lock();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut number = 0;
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            match state.directories.get(number).and_then(|directory| directory.subdirs.get(part)) {
                Some(subdir) => number = *subdir,
                None => return false,
            }
        }
        let inode = state.directories.get(number).and_then(|directory| directory.names.get(name)).copied();
        inode.and_then(|inode| state.inodes.get_mut(inode)).is_some_and(|inode| inode.flip(bit))
    }

    // A test that panicked while it held the lock is over; what it left does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a call and fails it if that was asked for.
    fn enter(&mut self, call: Call) -> io::Result<()> {
        self.faults.enter(call)
    }

    fn inode(&mut self, number: InodeNumber) -> io::Result<&mut Inode> {
        self.inodes.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn directory(&mut self, number: usize) -> io::Result<&mut Directory> {
        self.directories.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Notes a change for the history, if one is kept.
    fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    fn create(&mut self, directory: usize, name: &str) -> io::Result<InodeNumber> {
        let inode = self.inodes.len();
        let place = self.directory(directory)?;
        if place.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        place.names.insert(name.to_owned(), inode);
        place.changes.push(Change::Put { name: name.to_owned(), inode });
        self.inodes.push(Inode::default());
        self.note(|| Event::Create { directory, name: name.to_owned() });
        Ok(inode)
    }

    fn rename(&mut self, directory: usize, from: &str, to: &str) -> io::Result<()> {
        let place = self.directory(directory)?;
        let inode = place.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = place.names.insert(to.to_owned(), inode);
        place.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), inode });
        if let Some(replaced) = replaced {
            self.forget(replaced);
        }
        self.note(|| Event::Rename { directory, from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&mut self, directory: usize, name: &str) -> io::Result<()> {
        let place = self.directory(directory)?;
        let inode = place.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        place.changes.push(Change::Gone { name: name.to_owned() });
        self.forget(inode);
        self.note(|| Event::Remove { directory, name: name.to_owned() });
        Ok(())
    }

    fn sync_directory(&mut self, directory: usize) -> io::Result<()> {
        let place = self.directory(directory)?;
        place.durable = place.names.clone();
        place.changes.clear();
        self.keep_moves(directory);
        self.note(|| Event::SyncDirectory { directory });
        Ok(())
    }

    fn subdir(&mut self, directory: usize, name: &str) -> io::Result<usize> {
        let new = self.directories.len();
        let number = *self.directory(directory)?.subdirs.entry(name.to_owned()).or_insert(new);
        if number == new {
            self.directories.push(Directory::default());
            self.note(|| Event::Subdir { directory, name: name.to_owned() });
        }
        Ok(number)
    }

    /// How much of a write of so many bytes happened before it failed.
    fn part_of(&mut self, bytes: u64) -> u64 {
        let part = self.random.below(bytes + 1);
        if self.tears_sectors { part } else { part - part % SECTOR_BYTES as u64 }
    }

    fn write(&mut self, inode: InodeNumber, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.grow(inode, position + bytes.len() as u64)?;
        self.inode(inode)?.write(bytes, position);
        self.note(|| Event::Write { inode, position, bytes: bytes.into() });
        Ok(())
    }

    fn sync(&mut self, inode: InodeNumber) -> io::Result<()> {
        self.inode(inode)?.sync();
        self.note(|| Event::Sync { inode });
        Ok(())
    }

    fn allocate(&mut self, inode: InodeNumber, length: u64) -> io::Result<()> {
        self.grow(inode, length)?;
        self.note(|| Event::Grow { inode, length });
        Ok(())
    }

    fn set_length(&mut self, inode: InodeNumber, length: u64) -> io::Result<()> {
        self.grow(inode, length)?;
        let less = self.inode(inode)?.len() - length;
        self.inode(inode)?.truncate(length);
        self.used = self.used.saturating_sub(less);
        self.note(|| Event::Length { inode, length });
        Ok(())
    }

    /// Makes room for a file that grows to `length`.
    fn grow(&mut self, number: InodeNumber, length: u64) -> io::Result<()> {
        let more = length.saturating_sub(self.inode(number)?.len());
        if self.used.saturating_add(more) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used += more;
        self.inode(number)?.grow(length);
        Ok(())
    }

    /// Gives the space of a file back that no name stands for any more. (Open handles still read it.)
    fn forget(&mut self, number: InodeNumber) {
        let named = self.directories.iter().any(|directory| directory.names.values().any(|n| *n == number));
        if !named && let Some(inode) = self.inodes.get(number) {
            self.used = self.used.saturating_sub(inode.len());
        }
    }
}
