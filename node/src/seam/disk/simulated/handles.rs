//! Directories and files of a simulated disk as programs hold them. Every call is counted, and may be failed, here.

use std::io;
use std::sync::Arc;

use super::{Call, InodeNumber, SimulatedDisk};
use crate::seam::disk::{Dir, EntryKind, File};

#[derive(Debug)]
pub(super) struct SimulatedDir {
    disk: SimulatedDisk,
    number: usize,
}

impl SimulatedDir {
    pub(super) const fn new(disk: SimulatedDisk, number: usize) -> Self {
        Self { disk, number }
    }

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
        let inode = state.create(self.number, name)?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Rename)?;
        state.rename(self.number, from, to)
    }

    fn move_into(&self, name: &str, folder: &str) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Rename)?;
        state.move_into(self.number, name, folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Remove)?;
        state.remove(self.number, name)
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
        state.sync_directory(self.number)
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let mut state = self.disk.lock();
        state.enter(Call::Subdir)?;
        let number = state.subdir(self.number, name)?;
        Ok(Arc::new(Self { disk: self.disk.clone(), number }))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        self.disk.lock().enter(Call::Space)?;
        Ok(self.disk.lock().capacity)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.lock().enter(Call::Space)?;
        Ok(self.disk.free())
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
        let count = state.inode(self.inode)?.read(buffer, position);
        state.faults.read_bytes += count as u64;
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let allowed = state.enter(Call::Write);
        // A write that fails may have happened in part.
        let happened = if allowed.is_ok() { bytes.len() as u64 } else { state.part_of(bytes.len() as u64) };
        let part = bytes.get(..usize::try_from(happened).unwrap_or(0)).unwrap_or(bytes);
        state.write(self.inode, position, part)?;
        allowed
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let allowed = state.enter(Call::Sync);
        if allowed.is_ok() {
            state.sync(self.inode)?;
        } else if !state.faults.is_off() {
            state.inode(self.inode)?.fail_sync();
        }
        allowed
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::Allocate)?;
        state.allocate(self.inode, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.enter(Call::SetLength)?;
        state.set_length(self.inode, length)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.enter(Call::Length)?;
        Ok(state.inode(self.inode)?.len())
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        self.len()
    }

    fn forget_cached(&self) {
        if self.sync().is_ok()
            && let Ok(inode) = self.disk.lock().inode(self.inode)
        {
            inode.forget_cached();
        }
    }

    /// Nobody else has a simulated disk.
    fn lock(&self) -> io::Result<bool> {
        Ok(true)
    }
}
