//! The disk under everything that the engine stores: a directory of named files.
//!
//! One error is one answer of the device. Callers that get an error from [`File::write_at`] or [`File::sync`] never
//! retry on the same file: after a failed sync the page cache may hold what the device does not.

use std::io;
use std::sync::Arc;

mod aligned;
mod real;
pub mod simulated;

pub use aligned::{Aligned, BLOCK_BYTES};
pub use real::RealDir;

/// What a name of a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, socket, device or anything else that no part of the engine makes.
    Other,
}

/// An open file. All methods take `&self`, so that a reader can share it with the one writer.
#[expect(clippy::len_without_is_empty, reason = "a file, not a collection")]
pub trait File: Send + Sync + std::fmt::Debug {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `position`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Makes all finished writes durable (data and what is needed to find it).
    fn sync(&self) -> io::Result<()>;
    /// Reserves the blocks of `0..length` and makes the file that long; the new part reads as zeros.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Makes the file that long: what lies behind is gone, what is new reads as zeros and need not have blocks yet.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Bytes that the file takes on the volume.
    fn stored_bytes(&self) -> io::Result<u64>;
    /// Lets go of what the system remembers of the file: after a failed sync, reads then show what the device has.
    fn forget_cached(&self);
    /// Says that the device may have what was written to `length` bytes at `position`, although nobody waits for it: a sync that
    /// comes later has less to do. Changes nothing that a read or a crash shows; a disk that cannot do it does nothing.
    fn write_back(&self, position: u64, length: u64) {
        let _nothing = (position, length);
    }
    /// Takes the file for this handle alone, for as long as it lives; `false` if another handle has it.
    fn lock(&self) -> io::Result<bool>;
}

/// A directory. Names are plain file names; sub-directories are opened with [`Dir::subdir`].
pub trait Dir: Send + Sync + std::fmt::Debug {
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file like [`Dir::open`], for somebody who writes much that nobody reads soon: what begins and ends at
    /// whole blocks of [`BLOCK_BYTES`], in the file and in memory ([`Aligned`]), goes to the device past the system's cache
    /// where the file system can do that. Everything else about the file is the same, [`File::sync`] too.
    fn open_past_cache(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open(name)
    }
    /// Creates a new file; fails if it exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Renames within the directory, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Moves a file or a folder, with all that is in it, into a sub-directory that exists; it keeps its name, which nothing there may
    /// have. After a crash it is here or there, whole; there for good once this directory and that one were synced.
    fn move_into(&self, name: &str, folder: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All names and what they stand for, sorted. A name that is no UTF-8 is shown with replacement characters.
    fn entries(&self) -> io::Result<Vec<(String, EntryKind)>>;
    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>> {
        let files = self.entries()?.into_iter().filter(|(_, kind)| *kind == EntryKind::File);
        Ok(files.map(|(name, _)| name).collect())
    }
    /// Makes creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;
    /// Opens (and creates, durably) a sub-directory.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Dir>>;
    /// Bytes of the whole volume.
    fn total_bytes(&self) -> io::Result<u64>;
    /// Bytes that the volume has left.
    fn free_bytes(&self) -> io::Result<u64>;
}
