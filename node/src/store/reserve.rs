//! Room that is kept for the way out of a full volume: a file that holds nothing. It is cut, piece by piece, when the
//! tables or the log must write although there is no room: only so can deletions be applied and the log be released.
//! Invariant: nothing is ever stored in it, so cutting it loses nothing. Leaves to the runtime when to make it again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::seam::disk::{Dir, File};

/// The reserve's name.
pub const RESERVE_FILE: &str = "reserve";
/// What is given up at a time: a few blocks of a table and their checksums, or some hundred writes of one block.
const PIECE_BYTES: u64 = 256 * 1024;
/// Room that a start needs before anything else can be thought of: markers, a new superblock, marks in the logs.
const START_BYTES: u64 = 1 << 20;
/// A small volume keeps one part in eight, whatever is configured.
const VOLUME_PART: u64 = 8;

/// Room that can be given up.
pub trait Spare: Send + Sync + std::fmt::Debug {
    /// Gives up a piece; `false` if nothing is left.
    fn give(&self) -> bool;
}

/// The reserve of a volume.
#[derive(Debug)]
pub struct Reserve {
    wanted: u64,
    directory: Arc<dyn Dir>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    bytes: u64,
}

impl Reserve {
    /// What a node with segments of this size keeps: one segment for deletions, as much for what they write to the tables;
    /// and a few hundred KiB at least for each shard's share in what was accepted when the volume was found full.
    #[must_use]
    pub const fn bytes_for(segment_bytes: u64) -> u64 {
        const BYTES_MIN: u64 = 8 << 20;
        let wanted = segment_bytes.saturating_mul(2);
        if wanted < BYTES_MIN { BYTES_MIN } else { wanted }
    }

    /// Opens the reserve in `directory`, or makes it. On a full volume it is as large as it can be.
    pub fn open(directory: &Arc<dyn Dir>, wanted: u64) -> io::Result<Self> {
        let file = match directory.open(RESERVE_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.create(RESERVE_FILE)?,
            opened => opened?,
        };
        let wanted = wanted.min(directory.total_bytes()? / VOLUME_PART);
        let wanted = wanted - wanted % PIECE_BYTES;
        let bytes = file.len()?;
        let directory = Arc::clone(directory);
        let reserve = Self { wanted, directory, inner: Mutex::new(Inner { file, bytes }) };
        if bytes > wanted {
            reserve.lock().cut(bytes - wanted)?;
        }
        while reserve.free()? < START_BYTES && reserve.give() {}
        reserve.refill()?;
        Ok(reserve)
    }

    // Both fields are set together at the end of each change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is to be.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// What it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Whether nothing of it is given up.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes() >= self.wanted
    }

    /// Bytes that are free on the volume beside it.
    pub fn free(&self) -> io::Result<u64> {
        self.directory.free_bytes()
    }

    /// Gives up `bytes` at once, for a file that must be allocated whole.
    pub fn lend(&self, bytes: u64) -> io::Result<()> {
        self.lock().cut(bytes)
    }

    /// Makes it whole again if that leaves half as much for everybody else; says whether it is whole.
    pub fn refill(&self) -> io::Result<bool> {
        let free = self.free()?;
        let mut inner = self.lock();
        let missing = self.wanted.saturating_sub(inner.bytes);
        if missing == 0 {
            return Ok(true);
        }
        // Twice what is left at least when a volume counts as full.
        if free < missing + self.wanted / 2 {
            return Ok(false);
        }
        match inner.file.allocate(self.wanted) {
            Ok(()) => {
                inner.bytes = self.wanted;
                Ok(true)
            }
            // Somebody else was faster: back to what it was.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                inner.cut(0).map(|()| false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.bytes.saturating_sub(bytes);
        self.file.set_len(left)?;
        self.bytes = left;
        Ok(())
    }
}

impl Spare for Reserve {
    fn give(&self) -> bool {
        let mut inner = self.lock();
        inner.bytes > 0 && inner.cut(PIECE_BYTES).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_up_piece_by_piece_and_made_again_and_takes_real_room() {
        let directory = tempfile::tempdir().unwrap();
        let root = crate::seam::disk::RealDir::open(directory.path()).unwrap();
        let reserve = Reserve::open(&root, 1 << 20).unwrap();
        let taken = || {
            std::os::unix::fs::MetadataExt::blocks(&directory.path().join(RESERVE_FILE).metadata().unwrap())
        };
        assert_eq!((reserve.bytes(), reserve.wanted(), taken()), (1 << 20, 1 << 20, 2048));
        assert!(reserve.give());
        assert_eq!((reserve.bytes(), taken()), (3 << 18, 1536));
        reserve.lend(1 << 19).unwrap();
        assert!(reserve.give() && !reserve.give(), "nothing is left");
        assert!(reserve.refill().unwrap());
        assert_eq!((reserve.bytes(), taken()), (1 << 20, 2048));
        drop(reserve);
        let smaller = Reserve::open(&root, 1 << 19).unwrap();
        assert_eq!((smaller.bytes(), taken()), (1 << 19, 1024));
    }
}
