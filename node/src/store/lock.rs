//! One process per data directory. The lock is the system's and goes with the process, however it ends.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// The lock file's name.
pub const LOCK_FILE: &str = "lock";

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process serves this directory: stop it, or choose another directory.
    #[error("another process ({holder}) uses this data directory; stop it or choose another with --data")]
    Held {
        /// What the holder wrote about itself: `pid 4711`.
        holder: String,
    },
    /// The file system does not answer or does not lock.
    #[error("the data directory cannot be locked: {0}")]
    Io(#[from] io::Error),
}

impl DirectoryLock {
    /// Locks an existing directory for this process.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_FILE);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        match write!(file, "pid {}", std::process::id()) {
            // Only people read it; a full volume is no reason not to serve.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error.into()),
            _ => {}
        }
        Ok(Self(file))
    }
}

fn holder(file: &mut File) -> String {
    // Only this much is ever written; a longer file is not ours.
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(count) if count > 0 => text,
        _ => "pid unknown".to_owned(),
    }
}
