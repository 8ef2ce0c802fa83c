//! A volume that was put back to an older copy of itself begins anew: what it held is set aside in a folder of its own, and the superblock
//! becomes that of another volume.
//!
//! Invariants: nothing is erased. The superblock tells of the old volume until all that it held lies aside, durably, with a
//! copy of the superblock and of the manifest; then one change of it makes the volume another one. So a start that was cut off
//! at any step is gone on with by the next one, and none takes what is left for all that there was.

use std::io;
use std::sync::Arc;

use super::aside::of_all;
use super::layout::{LAYOUT_FILE, Layout, SET_ASIDE_PREFIX};
use super::lock::LOCK_FILE;
use super::publish::{TEMPORARY_SUFFIX, publish};
use super::reserve::RESERVE_FILE;
use super::superblock::{COPIES, SuperblockStore, SuperblockStoreError};
use crate::codec::superblock::Superblock;
use crate::seam::disk::{Dir, EntryKind};

/// Folders of what was set aside that a volume may hold when it begins anew. A disk that is put back again and again is
/// somebody's mistake; it must not fill the volume with copies of it.
pub const SET_ASIDE_FOLDERS_MAX: usize = 3;

/// What was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it lies: a data directory of its own, which the verbs can read.
    pub folder: String,
}

/// Why a volume does not begin anew.
#[derive(Debug, thiserror::Error)]
pub enum NotAnew {
    /// Nothing was changed.
    #[error(
        "it holds {0} folders of what was set aside before ({SET_ASIDE_PREFIX}…): remove those that nobody needs any more"
    )]
    TooMany(usize),
    /// Nothing was changed.
    #[error(
        "what it holds takes {held} bytes and would stay, as much comes back from the others, and only {free} are free: make \
         room, or move the data directory aside and start the node with an empty one"
    )]
    NoRoom {
        /// Bytes of tables and logs.
        held: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The device failed. Started again, the node goes on with it.
    #[error("what it holds cannot be set aside: {0}")]
    Io(io::Error),
    /// The superblock cannot be changed. Started again, the node goes on with it.
    #[error(transparent)]
    Superblock(#[from] SuperblockStoreError),
}

// No `#[from]`: that would make the cause a source as well, and print it twice.
impl From<io::Error> for NotAnew {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl NotAnew {
    /// Whether the volume is as it was.
    #[must_use]
    pub const fn is_unchanged(&self) -> bool {
        matches!(self, Self::TooMany(_) | Self::NoRoom { .. })
    }
}

/// Sets aside what a volume holds, and makes it the one of `first`, which was never served.
pub fn begin_anew(
    root: &Arc<dyn Dir>,
    layout: Layout,
    store: &mut SuperblockStore,
    first: Superblock,
) -> Result<SetAside, NotAnew> {
    let folder = folder_of(store.get());
    let entries = root.entries()?;
    // What was begun is gone on with: half of it is worth nothing to anybody.
    if !entries.iter().any(|(name, _)| *name == folder) {
        check(root.as_ref(), &entries)?;
    }
    let aside = root.subdir(&folder)?;
    for (name, _) in entries.iter().filter(|(name, _)| !stays(name)) {
        root.move_into(name, &folder)?;
    }
    for name in COPIES {
        publish(aside.as_ref(), name, &store.encoded())?;
    }
    publish(aside.as_ref(), LAYOUT_FILE, layout.encode().as_bytes())?;
    aside.sync()?;
    root.sync()?;
    store.update(|superblock| *superblock = first)?;
    Ok(SetAside { folder })
}

/// The folder of what a volume holds: the same whenever its setting aside is begun again, and another one if another copy
/// of it is put back, since each start draws a key.
fn folder_of(superblock: &Superblock) -> String {
    let key = superblock.keys.first().map_or(0, |key| key.0);
    format!("{SET_ASIDE_PREFIX}{:06}-{key:016x}", superblock.boot.0)
}

/// What belongs to the place and not to the volume that was here.
fn stays(name: &str) -> bool {
    let of_the_place = [LOCK_FILE, LAYOUT_FILE, RESERVE_FILE, COPIES[0], COPIES[1], "lost+found"];
    of_the_place.contains(&name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(name)) || is_set_aside(name)
}

/// Whether a folder of a data directory holds what was set aside.
#[must_use]
pub fn is_set_aside(name: &str) -> bool {
    name.starts_with(SET_ASIDE_PREFIX)
}

fn check(root: &dyn Dir, entries: &[(String, EntryKind)]) -> Result<(), NotAnew> {
    let folders = entries.iter().filter(|(name, _)| is_set_aside(name)).count();
    if folders >= SET_ASIDE_FOLDERS_MAX {
        return Err(NotAnew::TooMany(folders));
    }
    // Snapshots are taken as room allows.
    let comes_back = |name: &str| name == "tables" || name.starts_with("lane-");
    let mut held = 0u64;
    for (name, _) in entries.iter().filter(|(name, _)| comes_back(name)) {
        held = held.saturating_add(of_all(root.subdir(name)?.as_ref())?.bytes);
    }
    let free = root.free_bytes()?;
    if free < held { Err(NotAnew::NoRoom { held, free }) } else { Ok(()) }
}
