//! The folder of a shard's snapshots: what lies there, what goes, and who writes. Files are named by their log index only;
//! one that ends in `.tmp` was never complete.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::SnapshotError;
use super::reader::SnapshotFile;
use crate::seam::disk::{Dir, EntryKind};
use crate::store::publish::TEMPORARY_SUFFIX;
use crate::store::tables::Identity;
use crate::types::{LogIndex, ShardId};

/// The folder of all snapshots in a data directory.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";
/// What the name of a snapshot ends in.
const SUFFIX: &str = ".snapshot";

/// The name of the snapshot at an index; names sort as the indexes do.
#[must_use]
pub fn file_name(index: LogIndex) -> String {
    format!("{:020}{SUFFIX}", index.0)
}

fn folder_name(shard: ShardId) -> String {
    format!("shard-{:03}", shard.0)
}

fn index_of(name: &str) -> Option<LogIndex> {
    let index = LogIndex(name.strip_suffix(SUFFIX)?.parse().ok()?);
    (file_name(index) == name).then_some(index)
}

/// The snapshots in a folder, oldest first.
pub fn indexes(directory: &dyn Dir) -> io::Result<Vec<LogIndex>> {
    let mut found: Vec<LogIndex> = directory.list()?.iter().filter_map(|name| index_of(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The folder of a shard's snapshots, if it is there; nothing is made. `root` is what holds [`SNAPSHOTS_FOLDER`].
pub fn existing(root: &Arc<dyn Dir>, shard: ShardId) -> io::Result<Option<Arc<dyn Dir>>> {
    let mut directory = Arc::clone(root);
    for name in [SNAPSHOTS_FOLDER, &folder_name(shard)] {
        let wanted = (name.to_owned(), EntryKind::Directory);
        if !directory.entries()?.contains(&wanted) {
            return Ok(None);
        }
        directory = directory.subdir(name)?;
    }
    Ok(Some(directory))
}

/// The snapshots of a shard, for whoever writes them. The data directory is locked, so there is one such process.
#[derive(Debug)]
pub struct Snapshots {
    pub(super) directory: Arc<dyn Dir>,
    pub(super) identity: Identity,
    busy: Arc<AtomicBool>,
    pins: Pins,
}

/// How many use each snapshot.
#[derive(Debug, Clone, Default)]
struct Pins(Arc<Mutex<BTreeMap<LogIndex, usize>>>);

impl Pins {
    // Each change is one step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogIndex, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that somebody uses: its file stays for as long as this lives, however many newer ones there are.
#[derive(Debug)]
pub struct Pinned {
    index: LogIndex,
    directory: Arc<dyn Dir>,
    pins: Pins,
}

impl Pinned {
    /// Of which index it is.
    #[must_use]
    pub const fn index(&self) -> LogIndex {
        self.index
    }

    /// The folder that it lies in.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Dir> {
        &self.directory
    }

    /// Its name there.
    #[must_use]
    pub fn file(&self) -> String {
        file_name(self.index)
    }

    /// Opens it; reads its two ends.
    pub fn open(&self) -> Result<SnapshotFile, SnapshotError> {
        SnapshotFile::open(self.directory.as_ref(), &self.file())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(&self.index) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.index);
            }
        }
    }
}

/// Held by the one who writes.
#[derive(Debug)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Snapshots {
    /// Opens (and makes) the folder, and removes what a crash left half written. `root` is what holds
    /// [`SNAPSHOTS_FOLDER`].
    pub fn open(root: &Arc<dyn Dir>, identity: Identity) -> Result<Self, SnapshotError> {
        let opened = SnapshotError::device(SNAPSHOTS_FOLDER, "opened");
        let directory = root
            .subdir(SNAPSHOTS_FOLDER)
            .and_then(|all| all.subdir(&folder_name(identity.shard)))
            .map_err(&opened)?;
        let left = |name: &String| name.ends_with(TEMPORARY_SUFFIX);
        for name in directory.list().map_err(&opened)?.into_iter().filter(left) {
            directory.remove(&name).map_err(SnapshotError::device(&name, "removed"))?;
        }
        Ok(Self { directory, identity, busy: Arc::default(), pins: Pins::default() })
    }

    /// The folder itself.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Dir> {
        &self.directory
    }

    /// What is there, oldest first; whether it is intact, reading shows.
    pub fn list(&self) -> Result<Vec<LogIndex>, SnapshotError> {
        indexes(self.directory.as_ref()).map_err(SnapshotError::device(SNAPSHOTS_FOLDER, "listed"))
    }

    /// The newest one, so that it stays while it is used.
    pub fn newest(&self) -> Result<Option<Pinned>, SnapshotError> {
        // Nothing goes between the look and the pin.
        let mut pins = self.pins.lock();
        let Some(index) = self.list()?.pop() else { return Ok(None) };
        *pins.entry(index).or_default() += 1;
        Ok(Some(Pinned { index, directory: Arc::clone(&self.directory), pins: self.pins.clone() }))
    }

    /// Lets all but the newest `keep` go (at least one stays), and those that are in use; says how many went.
    pub fn prune(&self, keep: usize) -> Result<usize, SnapshotError> {
        let pins = self.pins.lock();
        let found = self.list()?;
        let surplus = found.len().saturating_sub(keep.max(1));
        let mut gone = 0;
        for index in found.iter().take(surplus).filter(|index| !pins.contains_key(index)) {
            let name = file_name(*index);
            self.directory.remove(&name).map_err(SnapshotError::device(&name, "removed"))?;
            gone += 1;
        }
        Ok(gone)
    }

    /// The right to write, until it is dropped.
    pub(super) fn turn(&self) -> Result<Turn, SnapshotError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(SnapshotError::Busy);
        }
        Ok(Turn(Arc::clone(&self.busy)))
    }
}
