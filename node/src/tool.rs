//! The verbs that work on a data directory without serving it: `snapshot`, `restore`, `inspect`, `verify`. Each takes the
//! directory's lock, says what it found as a table or as JSON, and whether all of it was sound.
//!
//! Invariant: nothing that is there is overwritten; a directory that another process uses is refused.

mod inspect;
mod report;
mod restore;
mod snapshot;
mod verify;
mod watch;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::codec::superblock::Superblock;
use crate::config::{ToolCall, Verb};
use crate::seam::Clock;
use crate::seam::disk::{Dir, RealDir};
use crate::store::layout::Layout;
use crate::store::lock::DirectoryLock;
use crate::store::superblock::SuperblockStore;
use crate::store::tables::{Identity, Place};
use crate::types::ShardId;

/// Page cache of the one shard that is open at a time.
const CACHE_BYTES: usize = 32 << 20;

/// Does what was asked for; gives what is to be printed, and whether nothing was damaged. An error: it could not be done.
pub fn run(call: &ToolCall, clock: &Arc<dyn Clock>) -> anyhow::Result<(String, bool)> {
    let found = match &call.verb {
        Verb::Snapshot { data, to, lz4, rate, keep } => {
            let order = snapshot::Order { data, to: to.as_deref(), lz4: *lz4, rate: *rate, keep: *keep };
            snapshot::take(&order, clock)?
        }
        Verb::Restore { from, data, lanes } => restore::restore(from, data, *lanes, clock)?,
        Verb::Inspect { path } => inspect::inspect(path)?,
        Verb::Verify { path } => verify::verify(path, clock)?,
    };
    Ok((if call.json { found.json() } else { found.text() }, found.is_sound()))
}

/// A data directory that is locked and was laid out.
struct Opened {
    root: Arc<dyn Dir>,
    layout: Layout,
    superblock: Superblock,
    _lock: DirectoryLock,
}

impl Opened {
    /// Opens a data directory of a stopped node; `None` if no node's data is there. `option` is what named it, if one did.
    fn at(path: &Path, option: Option<&str>) -> anyhow::Result<Option<Self>> {
        let root = existing(path, option)?;
        let Some(layout) = Layout::read(root.as_ref())? else { return Ok(None) };
        let lock = DirectoryLock::acquire(root.as_ref())?;
        let superblock = SuperblockStore::open(root.as_ref())?.context("the superblock is missing")?;
        Ok(Some(Self { root, layout, superblock: superblock.get().clone(), _lock: lock }))
    }

    fn identity(&self, shard: ShardId) -> Identity {
        Identity { shard, shards: self.layout.shards, layout: self.superblock.cluster.0 }
    }

    fn place(&self, shard: ShardId) -> std::io::Result<Place> {
        let directory = self.root.subdir("tables")?;
        Ok(Place { directory, identity: self.identity(shard), cache_bytes: CACHE_BYTES, spare: None })
    }
}

/// What is said of a place that holds nothing of ours.
fn nothing_at(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} holds neither the data of a node (layout.toml) nor snapshots (snapshots/shard-000/*.snapshot and so on)",
        path.display()
    )
}

/// A directory that must be there; `option` is what named it, if one did.
fn existing(path: &Path, option: Option<&str>) -> anyhow::Result<Arc<dyn Dir>> {
    let cannot = || {
        let way_out = option.map(|option| format!("; name it with {option}")).unwrap_or_default();
        format!("cannot open the directory {}{way_out}", path.display())
    };
    std::fs::read_dir(path).with_context(cannot)?;
    RealDir::open(path).with_context(cannot)
}
