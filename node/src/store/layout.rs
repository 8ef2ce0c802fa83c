//! The layout manifest: how names map to shards and shards to lanes on this volume, fixed for life.
//!
//! Invariant: nothing in a data directory is opened or written before the manifest was found whole and equal to what the
//! configuration asks for, and before every name in the directory was recognised.

use std::fmt::Write;
use std::io;

use serde::Deserialize;

use super::lock::LOCK_FILE;
use super::publish::{TEMPORARY_SUFFIX, publish, read_whole};
use super::reserve::RESERVE_FILE;
use super::superblock::COPIES;
use crate::seam::disk::{Dir, EntryKind};
use crate::types::{LaneId, ShardCount};

/// The manifest's name.
pub const LAYOUT_FILE: &str = "layout.toml";
/// The only format so far. Persisted, keep stable.
const FORMAT: u32 = 1;
/// The only hash policy so far. Persisted, keep stable.
const HASH_POLICY: &str = "seahash-v1";
/// What every manifest of every format begins with. Persisted, keep stable.
const HEAD_LINE: &str = "# How this data directory is laid out. Fixed for life: do not edit.\n";
/// Longest manifest that is read.
const MANIFEST_BYTES_MAX: usize = 16 * 1024;
/// Files that are parts of the engine: exact names, or a prefix when it ends in `-`.
const FILES: [&str; 6] = [LAYOUT_FILE, LOCK_FILE, RESERVE_FILE, COPIES[0], COPIES[1], "shard-"];
/// Folders that are parts of the engine; `lost+found` is the file system's own.
const FOLDERS: [&str; 9] = [
    "lane-",
    "shard-",
    "tables",
    "slots",
    "snapshots",
    "seeding",
    "quarantine",
    SET_ASIDE_PREFIX,
    "lost+found",
];

/// What the folders begin with in which a volume that began anew keeps what it held before. Persisted, keep stable.
pub const SET_ASIDE_PREFIX: &str = "put-back-";

/// The folder of a lane's log.
#[must_use]
pub fn lane_folder(lane: LaneId) -> String {
    format!("lane-{:03}", lane.0)
}

/// How a volume is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Shards of the cluster.
    pub shards: ShardCount,
    /// Lanes that carry them: shard `s` belongs to lane `s % lanes`.
    pub lanes: u16,
}

/// Why a data directory is not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The configuration asks for another layout than the directory has.
    #[error(
        "this data directory was laid out with {found} {what}, but the configuration says {wanted}; the number is fixed \
         for life: configure {found}, or choose an empty directory with --data"
    )]
    Differs {
        /// `shards` or `lanes`.
        what: &'static str,
        /// In the manifest.
        found: u16,
        /// In the configuration.
        wanted: u16,
    },
    /// A newer release made the directory.
    #[error(
        "the data directory has format {format} and hash policy {policy}, this release knows format 1 and seahash-v1; \
             run the release that wrote it"
    )]
    Newer {
        /// Its format.
        format: u32,
        /// Its hash policy.
        policy: String,
    },
    /// The manifest is damaged.
    #[error(
        "layout.toml is damaged ({reason}); put back a copy of it (it never changes), or restore the volume"
    )]
    Unreadable {
        /// What does not fit.
        reason: String,
    },
    /// A file of the manifest's name that begins otherwise.
    #[error(
        "layout.toml in the data directory does not begin as a manifest of Thalweg does; if another program made it, \
         choose another directory with --data, or move the file away; if this is Thalweg's data, put back a copy of the \
         manifest (it never changes)"
    )]
    NotOurs,
    /// Parts of the engine are there, but no manifest.
    #[error(
        "it holds the data of a node ({found}), but layout.toml is missing; put back a copy of it (it never changes, and all \
         directories of as many shards and lanes have the same one), or restore the whole directory; to begin anew, choose \
         an empty directory with --data; nothing was changed"
    )]
    Lost {
        /// What is there.
        found: String,
    },
    /// A name that no part of the engine makes.
    #[error(
        "{name} in the data directory is not ours ({reason}); choose an empty directory with --data, or move it away"
    )]
    Foreign {
        /// What.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The file system failed.
    #[error("the data directory cannot be read: {0}")]
    Io(io::Error),
}

// No `#[from]`: that would make the cause a source as well, and print it twice.
impl From<io::Error> for LayoutError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The numbers of the manifest; the rest of its text is compared with what [`Layout::encode`] writes.
#[derive(Debug, Deserialize)]
struct Manifest {
    shards: u64,
    lanes: u16,
}

/// What must be readable of any format, for a clear refusal.
#[derive(Debug, Deserialize)]
struct Outline {
    format: u32,
    hash: String,
}

impl Layout {
    /// The manifest's text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::from(HEAD_LINE);
        let (shards, lanes) = (self.shards.get(), self.lanes);
        // Writing to a string cannot fail.
        let _ =
            write!(text, "format = {FORMAT}\nhash = \"{HASH_POLICY}\"\nshards = {shards}\nlanes = {lanes}\n");
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "checksum = \"{checksum:08x}\"");
        text
    }

    /// Reads a manifest: every byte must be as [`Self::encode`] writes it.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let unreadable = |reason: &str| LayoutError::Unreadable { reason: reason.to_owned() };
        if !bytes.starts_with(HEAD_LINE.as_bytes()) {
            return Err(LayoutError::NotOurs);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is no text"))?;
        let body = text.rfind("checksum = ").and_then(|at| text.split_at_checked(at));
        let (body, last) = body.ok_or_else(|| unreadable("it has no checksum"))?;
        if last != format!("checksum = \"{:08x}\"\n", crc32c::crc32c(body.as_bytes())) {
            return Err(unreadable("its checksum does not fit"));
        }
        let outline: Outline = toml::from_str(text).map_err(|_| unreadable("it is no manifest"))?;
        if outline.format != FORMAT || outline.hash != HASH_POLICY {
            return Err(LayoutError::Newer { format: outline.format, policy: outline.hash });
        }
        let manifest: Manifest = toml::from_str(text).map_err(|_| unreadable("it is no manifest"))?;
        let shards = ShardCount::new(manifest.shards).map_err(|error| unreadable(&error.to_string()))?;
        let layout = Self { shards, lanes: manifest.lanes };
        if manifest.lanes == 0 || manifest.lanes > shards.get() || layout.encode() != text {
            return Err(unreadable("it is not as it was written"));
        }
        Ok(layout)
    }

    /// The layout of a data directory that has one. Changes nothing.
    pub fn read(dir: &dyn Dir) -> Result<Option<Self>, LayoutError> {
        read_whole(dir, LAYOUT_FILE, MANIFEST_BYTES_MAX)?.map(|bytes| Self::decode(&bytes)).transpose()
    }

    /// Checks a data directory against the wanted layout, or lays out an empty one. Returns whether the directory is new.
    pub fn open(dir: &dyn Dir, wanted: Self) -> Result<bool, LayoutError> {
        let new = Self::check(dir, wanted)?;
        if new {
            publish(dir, LAYOUT_FILE, wanted.encode().as_bytes())?;
        }
        Ok(new)
    }

    /// Whether a data directory may be laid out anew (`true`) or is laid out as wanted (`false`). Changes nothing.
    pub fn check(dir: &dyn Dir, wanted: Self) -> Result<bool, LayoutError> {
        let entries = dir.entries()?;
        for (name, kind) in &entries {
            check_entry(name, *kind)?;
        }
        let Some(bytes) = read_whole(dir, LAYOUT_FILE, MANIFEST_BYTES_MAX)? else {
            let data =
                entries.into_iter().map(|(name, _)| name).filter(|name| !may_precede_the_manifest(name));
            let found = data.collect::<Vec<_>>().join(", ");
            return if found.is_empty() { Ok(true) } else { Err(LayoutError::Lost { found }) };
        };
        let found = Self::decode(&bytes)?;
        let (shards, wanted_shards) = (found.shards.get(), wanted.shards.get());
        if shards != wanted_shards {
            return Err(LayoutError::Differs { what: "shards", found: shards, wanted: wanted_shards });
        }
        if found.lanes != wanted.lanes {
            return Err(LayoutError::Differs { what: "lanes", found: found.lanes, wanted: wanted.lanes });
        }
        Ok(false)
    }
}

/// The lock is taken before anything else, and a crash may leave the manifest's temporary file.
fn may_precede_the_manifest(name: &str) -> bool {
    name == LOCK_FILE || name == "lost+found" || name.strip_suffix(TEMPORARY_SUFFIX) == Some(LAYOUT_FILE)
}

fn check_entry(name: &str, kind: EntryKind) -> Result<(), LayoutError> {
    let known = |names: &[&str], name: &str| {
        names.iter().any(|known| name == *known || (known.ends_with('-') && name.starts_with(known)))
    };
    let reason = match kind {
        EntryKind::Other => "a symbolic link, device or socket",
        EntryKind::File if known(&FILES, name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(name)) => {
            return Ok(());
        }
        EntryKind::Directory if known(&FOLDERS, name) => return Ok(()),
        EntryKind::File => "no part of the engine makes such a file",
        EntryKind::Directory => "no part of the engine makes such a folder",
    };
    Err(LayoutError::Foreign { name: name.to_owned(), reason })
}
