//! The superblock on the volume: two copies, each change written and synced to one after the other.
//!
//! Invariant: when a change returns, both copies hold it. So a torn write of one copy leaves the other whole, and later
//! damage of either copy forgets nothing: a promise that was given is never taken back. (Copies that merely alternate
//! would fall back to the change before, which looks the same as a torn write.)

use std::io;
use std::sync::Arc;

use super::publish::{publish, read_whole};
use crate::codec::superblock::{Superblock, SuperblockError};
use crate::seam::disk::{Dir, File};

/// The names of the copies.
pub const COPIES: [&str; 2] = ["superblock.a", "superblock.b"];
/// Reserved for each copy, so that a promise can be written on a full volume: 256 shards with a config of 200 bytes.
const COPY_BYTES: u64 = 128 * 1024;
/// Longest copy that is read.
const COPY_BYTES_MAX: usize = 16 << 20;

/// The open superblock.
#[derive(Debug)]
pub struct SuperblockStore {
    files: Vec<Arc<dyn File>>,
    sequence: u64,
    current: Superblock,
    poisoned: bool,
}

/// Why the superblock could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SuperblockStoreError {
    /// Both copies are damaged. Nothing was changed; the volume must be replaced, and joins as a new incarnation.
    #[error("both copies of the superblock are damaged; nothing on this volume can be trusted")]
    Unreadable,
    /// A newer release wrote it. Nothing was changed; run that release.
    #[error("{0}")]
    Newer(SuperblockError),
    /// An earlier change failed: restart.
    #[error("the superblock failed earlier; restart the node")]
    Poisoned,
    /// The device failed. Whether the change is durable is unknown.
    #[error("the superblock could not be read or written: {0}")]
    Io(io::Error),
}

// No `#[from]`: that would make the cause a source as well, and print it twice.
impl From<io::Error> for SuperblockStoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl SuperblockStore {
    /// Formats: writes the first superblock of a volume.
    pub fn create(dir: &dyn Dir, first: Superblock) -> Result<Self, SuperblockStoreError> {
        let bytes = first.encode(1);
        for name in COPIES {
            publish(dir, name, &bytes)?;
        }
        let store = Self { files: open_copies(dir)?, sequence: 1, current: first, poisoned: false };
        store.reserve()?;
        Ok(store)
    }

    /// What the volume remembers, as far as it can be read; `None` if it was never formatted. Changes nothing, so it needs
    /// no lock.
    pub fn peek(dir: &dyn Dir) -> Result<Option<Superblock>, SuperblockStoreError> {
        Ok(read_copies(dir)?.map(|read| read.current))
    }

    /// Reads the superblock and repairs a copy that is behind; `None` if the volume was never formatted.
    pub fn open(dir: &dyn Dir) -> Result<Option<Self>, SuperblockStoreError> {
        let Some(Read { sequence, current, behind }) = read_copies(dir)? else { return Ok(None) };
        let bytes = current.encode(sequence);
        for name in behind {
            publish(dir, name, &bytes)?;
        }
        let store = Self { files: open_copies(dir)?, sequence, current, poisoned: false };
        store.reserve()?;
        Ok(Some(store))
    }

    /// What the volume remembers.
    #[must_use]
    pub const fn get(&self) -> &Superblock {
        &self.current
    }

    /// What each copy holds.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        self.current.encode(self.sequence)
    }

    /// Changes it; when this returns, the change is durable in both copies.
    pub fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), SuperblockStoreError> {
        if self.poisoned {
            return Err(SuperblockStoreError::Poisoned);
        }
        let mut next = self.current.clone();
        change(&mut next);
        let sequence = self.sequence + 1;
        let bytes = next.encode(sequence);
        for file in &self.files {
            if let Err(error) = file.write_at(&bytes, 0).and_then(|()| file.sync()) {
                self.poisoned = true;
                return Err(error.into());
            }
        }
        (self.sequence, self.current) = (sequence, next);
        Ok(())
    }

    fn reserve(&self) -> io::Result<()> {
        for file in &self.files {
            if file.len()? < COPY_BYTES {
                file.allocate(COPY_BYTES)?;
                file.sync()?;
            }
        }
        Ok(())
    }
}

/// What the copies say.
struct Read {
    sequence: u64,
    current: Superblock,
    /// Copies that do not hold it.
    behind: Vec<&'static str>,
}

/// The newest copy; `None` if there is none.
fn read_copies(dir: &dyn Dir) -> Result<Option<Read>, SuperblockStoreError> {
    let mut newest: Option<(u64, Superblock)> = None;
    let mut sequences = Vec::new();
    let mut found = false;
    for name in COPIES {
        let bytes = read_whole(dir, name, COPY_BYTES_MAX)?;
        found |= bytes.is_some();
        let copy = match bytes.map(|bytes| Superblock::decode(&bytes)) {
            Some(Ok(copy)) => Some(copy),
            Some(Err(newer @ SuperblockError::Newer(_))) => {
                return Err(SuperblockStoreError::Newer(newer));
            }
            Some(Err(SuperblockError::Damaged)) | None => None,
        };
        sequences.push(copy.as_ref().map(|(sequence, _)| *sequence));
        newest = match (newest, copy) {
            (Some(one), Some(other)) => Some(if other.0 > one.0 { other } else { one }),
            (one, other) => one.or(other),
        };
    }
    let Some((sequence, current)) = newest else {
        return if found { Err(SuperblockStoreError::Unreadable) } else { Ok(None) };
    };
    let behind = COPIES.iter().zip(sequences).filter(|(_, copy)| *copy != Some(sequence));
    let behind = behind.map(|(name, _)| *name).collect();
    Ok(Some(Read { sequence, current, behind }))
}

fn open_copies(dir: &dyn Dir) -> io::Result<Vec<Arc<dyn File>>> {
    COPIES.iter().map(|name| dir.open(name)).collect()
}
