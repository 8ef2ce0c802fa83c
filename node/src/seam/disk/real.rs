//! The machine's file system. Data is synced with `fdatasync`, directories with `fsync`.
//!
//! A file that is written past the cache has two handles. What the one cannot take goes through the other; the system keeps
//! both in step, for whoever does not write one place through both at the same moment.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::aligned::whole_blocks;
use super::{Dir, EntryKind, File};

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDir {
    path: PathBuf,
    handle: fs::File,
}

impl RealDir {
    /// Opens a directory, and creates it durably if only its last part is missing.
    pub fn open(path: &Path) -> io::Result<Arc<dyn Dir>> {
        match fs::create_dir(path) {
            Ok(()) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Arc::new(Self { path: path.to_owned(), handle: fs::File::open(path)? }))
    }
}

impl Dir for RealDir {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_past_cache(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let cached = RealFile(fs::File::options().read(true).write(true).open(&path)?);
        let past = OFlags::DIRECT.bits().cast_signed();
        match fs::File::options().write(true).custom_flags(past).open(&path) {
            Ok(past) => Ok(Arc::new(PastCache { cached, past, is_refused: AtomicBool::default() })),
            // A file system in memory, for one: there is nothing behind its cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Arc::new(cached)),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options().read(true).write(true).create_new(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam under `publish`")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "nothing appears by it that was not there, whole, under another name"
    )]
    fn move_into(&self, name: &str, folder: &str) -> io::Result<()> {
        let target = self.path.join(folder).join(name);
        if fs::symlink_metadata(&target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(self.path.join(name), target)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn entries(&self) -> io::Result<Vec<(String, EntryKind)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let kind = if kind.is_file() {
                EntryKind::File
            } else if kind.is_dir() {
                EntryKind::Directory
            } else {
                EntryKind::Other
            };
            entries.push((entry.file_name().to_string_lossy().into_owned(), kind));
        }
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(entries)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        Self::open(&self.path.join(name))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        let stats = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stats.f_blocks.saturating_mul(stats.f_frsize))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stats = rustix::fs::fstatvfs(&self.handle)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }
}

/// A file of the file system.
#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // File systems without fallocate: the length is set, and writes may still meet a full disk.
            Err(rustix::io::Errno::OPNOTSUPP) if length > self.len()? => self.0.set_len(length),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.blocks() * 512)
    }

    fn forget_cached(&self) {
        // Either may fail on a device that is failing; what is then read is checked all the same.
        let _unsynced = self.0.sync_data();
        let _cached = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn write_back(&self, position: u64, length: u64) {
        // It begins to write what was changed there, waits for nothing, and forgets what was written before.
        let length = std::num::NonZeroU64::new(length);
        let _hint = rustix::fs::fadvise(&self.0, position, length, rustix::fs::Advice::DontNeed);
    }

    fn lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file of the file system whose whole blocks go to the device past the cache.
#[derive(Debug)]
struct PastCache {
    cached: RealFile,
    past: fs::File,
    /// It wants other blocks than ours, or no longer takes them: the cache takes all.
    is_refused: AtomicBool,
}

impl File for PastCache {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.cached.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut count = whole_blocks(bytes, position);
        if count == 0 || self.is_refused.load(Ordering::Relaxed) {
            return self.cached.write_at(bytes, position);
        }
        match self.past.write_all_at(&bytes[..count], position) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                count = 0;
            }
            Err(error) => return Err(error),
        }
        let rest = &bytes[count..];
        if rest.is_empty() { Ok(()) } else { self.cached.write_at(rest, position + count as u64) }
    }

    fn sync(&self) -> io::Result<()> {
        // Of the file, not of a handle.
        self.cached.sync()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.cached.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.cached.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.cached.len()
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        self.cached.stored_bytes()
    }

    fn forget_cached(&self) {
        self.cached.forget_cached();
    }

    fn write_back(&self, position: u64, length: u64) {
        self.cached.write_back(position, length);
    }

    fn lock(&self) -> io::Result<bool> {
        self.cached.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::{Aligned, BLOCK_BYTES};

    /// On whatever file system the tests run: whether it takes blocks past its cache or not, the file is the same.
    #[test]
    fn what_is_written_past_the_cache_and_through_it_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RealDir::open(folder.path()).unwrap();
        directory.create("file").unwrap().write_at(b"before", 0).unwrap();
        let file = directory.open_past_cache("file").unwrap();
        let mut memory = Aligned::new(5 * BLOCK_BYTES);
        for (at, byte) in memory.bytes_mut().iter_mut().enumerate() {
            *byte = at.to_le_bytes()[0] ^ at.to_le_bytes()[1];
        }
        let bytes = memory.bytes();
        // Whole blocks; blocks and a rest; what begins anywhere; a block again, over what the cache has.
        file.write_at(&bytes[..2 * BLOCK_BYTES], 0).unwrap();
        file.write_at(&bytes[2 * BLOCK_BYTES..4 * BLOCK_BYTES + 100], 2 * BLOCK_BYTES as u64).unwrap();
        file.write_at(&bytes[4 * BLOCK_BYTES + 100..], 4 * BLOCK_BYTES as u64 + 100).unwrap();
        file.write_at(&bytes[4 * BLOCK_BYTES..], 4 * BLOCK_BYTES as u64).unwrap();
        file.sync().unwrap();
        let mut found = vec![0; bytes.len() + 1];
        for reader in [&file, &directory.open("file").unwrap()] {
            assert_eq!(reader.read_at(&mut found, 0).unwrap(), bytes.len());
            assert!(found[..bytes.len()] == *bytes);
        }
        assert!(directory.open_past_cache("nothing").is_err());
    }
}
