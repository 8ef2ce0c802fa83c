//! A disk in memory that can crash, tear, lose, lie and fill up, all decided by a seed.
//!
//! It keeps what programs see (the page cache) and, for each sector that was written since the last sync, what the device
//! holds. A crash decides for every such sector on its own whether it reached the device, and for every unsynced change
//! of a directory likewise, in any combination. A failed sync leaves its sectors unsynced for good, although later syncs
//! succeed: that is what real page caches do.

mod directory;
mod faults;
mod inode;
mod random;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Call, Faults};
pub use random::Random;

use self::directory::{Change, Directory};
use self::inode::Inode;
use super::{Dir, EntryKind, File};

/// The unit that a device writes whole, or tears.
pub const SECTOR_BYTES: usize = 512;

/// A file's place in the disk.
type InodeNumber = usize;

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    directories: Vec<Directory>,
    faults: Faults,
    random: Random,
    /// Bytes that files may take together.
    capacity: u64,
    /// Bytes that they take.
    used: u64,
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
            faults: Faults::default(),
            random: Random::new(seed),
            capacity: u64::MAX,
            used: 0,
        })
    }

    fn with(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The topmost directory.
    #[must_use]
    pub fn root(&self) -> Arc<dyn Dir> {
        Arc::new(SimulatedDir { disk: self.clone(), number: 0 })
    }

    /// What the device holds after a power cut now, as a disk of its own. The old disk goes on, so that several outcomes
    /// of one moment can be looked at.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.lock();
        let mut random = Random::new(seed);
        // Whole crashes of one kind are as likely as mixtures: they find different mistakes.
        let odds = random.below(5) * 25;
        let inodes: Vec<Inode> =
            state.inodes.iter().map(|inode| inode.after_power_cut(&mut random, odds)).collect();
        let directories: Vec<Directory> =
            state.directories.iter().map(|directory| directory.after_power_cut(&mut random, odds)).collect();
        let used = inodes.iter().map(Inode::len).sum();
        let capacity = state.capacity;
        drop(state);
        Self::with(State { inodes, directories, faults: Faults::default(), random, capacity, used })
    }

    /// What is there after the process was killed: everything that it wrote, unsynced parts still unsynced.
    #[must_use]
    pub fn after_kill(&self, seed: u64) -> Self {
        let state = self.lock();
        Self::with(State {
            inodes: state.inodes.clone(),
            directories: state.directories.clone(),
            faults: Faults::default(),
            random: Random::new(seed),
            capacity: state.capacity,
            used: state.used,
        })
    }

    /// Lets each unsynced sector reach the device with a chance of `percent`, as the system does on its own.
    pub fn write_back(&self, percent: u64) {
        let mut guard = self.lock();
        let State { inodes, random, .. } = &mut *guard;
        inodes.iter_mut().for_each(|inode| inode.write_back(random, percent));
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

    /// Sets how many bytes all files may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
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

#[derive(Debug)]
struct SimulatedDir {
    disk: SimulatedDisk,
    number: usize,
}

impl SimulatedDir {
    fn file(&self, inode: InodeNumber) -> Arc<dyn File> {
        Arc::new(SimulatedFile { disk: self.disk.clone(), inode })
    }
}

impl Dir for SimulatedDir {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.disk.lock();
        state.enter(Call::Open)?;
        let inode = state.directory(self.number)?.names.get(name).copied();
        inode.map(|inode| self.file(inode)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.disk.lock();
        state.enter(Call::Create)?;
        let inode = state.inodes.len();
        let directory = state.directory(self.number)?;
        if directory.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.names.insert(name.to_owned(), inode);
        directory.changes.push(Change::Put { name: name.to_owned(), inode });
        state.inodes.push(Inode::default());
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Rename)?;
        let directory = state.directory(self.number)?;
        let inode = directory.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = directory.names.insert(to.to_owned(), inode);
        directory.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), inode });
        if let Some(replaced) = replaced {
            state.forget(replaced);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Remove)?;
        let directory = state.directory(self.number)?;
        let inode = directory.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        directory.changes.push(Change::Gone { name: name.to_owned() });
        state.forget(inode);
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<(String, EntryKind)>> {
        let mut state = self.disk.lock();
        state.enter(Call::List)?;
        let directory = state.directory(self.number)?;
        let files = directory.names.keys().map(|name| (name.clone(), EntryKind::File));
        let mut entries: Vec<_> = files.collect();
        entries.extend(directory.subdirs.keys().map(|name| (name.clone(), EntryKind::Directory)));
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(entries)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::SyncDir)?;
        let directory = state.directory(self.number)?;
        directory.durable = directory.names.clone();
        directory.changes.clear();
        Ok(())
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let mut state = self.disk.lock();
        let new = state.directories.len();
        let number = *state.directory(self.number)?.subdirs.entry(name.to_owned()).or_insert(new);
        if number == new {
            state.directories.push(Directory::default());
        }
        Ok(Arc::new(Self { disk: self.disk.clone(), number }))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: InodeNumber,
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.enter(Call::Read)?;
        Ok(state.inode(self.inode)?.read(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let allowed = state.enter(Call::Write);
        // A write that fails may have happened in part.
        let happened =
            if allowed.is_ok() { bytes.len() as u64 } else { state.random.below(bytes.len() as u64 + 1) };
        let part = bytes.get(..usize::try_from(happened).unwrap_or(0)).unwrap_or(bytes);
        state.grow(self.inode, position + part.len() as u64)?;
        state.inode(self.inode)?.write(part, position);
        allowed
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let allowed = state.enter(Call::Sync);
        let off = state.faults.is_off();
        let inode = state.inode(self.inode)?;
        if allowed.is_ok() {
            inode.sync();
        } else if !off {
            inode.fail_sync();
        }
        allowed
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Allocate)?;
        state.grow(self.inode, length)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        Ok(state.inode(self.inode)?.len())
    }
}
