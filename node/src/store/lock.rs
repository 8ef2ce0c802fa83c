//! One process per data directory. The lock is the system's and goes with the process, however it ends.

use std::io;
use std::sync::Arc;

use crate::seam::disk::{Dir, File};

/// The lock file's name.
pub const LOCK_FILE: &str = "lock";

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock(
    #[expect(dead_code, reason = "the lock lives as long as the open file")] Arc<dyn File>,
);

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
    Io(io::Error),
}

// No `#[from]`: that would make the cause a source as well, and print it twice.
impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DirectoryLock {
    /// Locks an existing directory for this process.
    pub fn acquire(directory: &dyn Dir) -> Result<Self, LockError> {
        let file = match directory.open(LOCK_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match directory.create(LOCK_FILE) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => directory.open(LOCK_FILE)?,
                created => created?,
            },
            opened => opened?,
        };
        if !file.lock()? {
            return Err(LockError::Held { holder: holder(file.as_ref()) });
        }
        file.set_len(0)?;
        match file.write_at(format!("pid {}", std::process::id()).as_bytes(), 0) {
            // Only people read it; a full volume is no reason not to serve.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error.into()),
            _ => {}
        }
        Ok(Self(file))
    }
}

fn holder(file: &dyn File) -> String {
    // Only this much is ever written; a longer file is not ours.
    let mut text = [0; 32];
    let count = file.read_at(&mut text, 0).unwrap_or(0);
    match text.get(..count).map(std::str::from_utf8) {
        Some(Ok(text)) if !text.is_empty() => text.to_owned(),
        _ => "pid unknown".to_owned(),
    }
}
