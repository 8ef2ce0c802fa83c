//! The volume of a node: locked, identified, its boot counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::seam::disk::{Dir, RealDir};
use crate::store::lock::DirectoryLock;
use crate::types::{Boot, LaneId, ShardCount};

/// An opened volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) path: PathBuf,
    pub(crate) root: Arc<dyn Dir>,
    /// Identifies the data: seeds every checksum and token.
    pub(crate) cluster: [u8; 16],
    /// This start.
    pub(crate) boot: Boot,
    /// Nothing was here before.
    pub(crate) created: bool,
    pub(crate) shards: ShardCount,
    pub(crate) lanes: u16,
    _lock: DirectoryLock,
}

impl Volume {
    pub(crate) fn open(path: &Path, shards: ShardCount, lanes: u16) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        let lock = DirectoryLock::acquire(path)?;
        let root: Arc<dyn Dir> = RealDir::open(path)?;
        let file = path.join("interim-volume");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut parts = text.split_whitespace();
        let (id, boot) = (
            parts.next().and_then(|t| t.parse::<u64>().ok()),
            parts.next().and_then(|t| t.parse::<u64>().ok()),
        );
        let created = id.is_none();
        let id = id.unwrap_or(getrandom::u64()?);
        let boot = boot.unwrap_or(0) + 1;
        std::fs::write(&file, format!("{id} {boot}"))?;
        let mut cluster = [0; 16];
        cluster[..8].copy_from_slice(&id.to_le_bytes());
        Ok(Self {
            path: path.to_owned(),
            root,
            cluster,
            boot: Boot(boot),
            created,
            shards,
            lanes,
            _lock: lock,
        })
    }

    pub(crate) fn lane_of(&self, shard: crate::types::ShardId) -> LaneId {
        LaneId(shard.0 % self.lanes)
    }
}
