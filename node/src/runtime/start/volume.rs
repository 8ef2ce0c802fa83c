//! The volume of a node: locked, laid out, identified, its boot counted.
//!
//! Invariant: the boot is durable before anything of it is written, and a volume serves one cluster for good. A volume at boot 0 was never served: whatever a
//! crash left of its first formatting is taken up again.

use std::sync::Arc;

use anyhow::Context;

use crate::codec::superblock::Superblock;
use crate::config::Config;
use crate::runtime::vault::Vault;
use crate::seam::disk::Dir;
use crate::store::begin_anew::{SetAside, begin_anew};
use crate::store::layout::{Layout, LayoutError};
use crate::store::lock::{DirectoryLock, LOCK_FILE};
use crate::store::reserve::Reserve;
use crate::store::superblock::SuperblockStore;
use crate::types::{Boot, ClusterId, LaneId, ShardId, StartKey, VolumeIncarnation};

/// An opened volume; locked for as long as it lives.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) root: Arc<dyn Dir>,
    pub(crate) layout: Layout,
    /// What is given up when the volume is full.
    pub(crate) reserve: Arc<Reserve>,
    /// What it remembers.
    pub(crate) vault: Arc<Vault>,
    _lock: DirectoryLock,
}

impl Volume {
    /// Opens or formats `root`. Nothing is overwritten that does not belong to this layout or to this cluster; without a
    /// cluster, the volume is one of its own.
    pub(crate) fn open(root: Arc<dyn Dir>, layout: Layout, config: &Config) -> anyhow::Result<Self> {
        let (node, cluster) = (config.node_name.as_str(), config.cluster_id);
        // What will be refused gets no lock file of ours. A superblock that cannot be read is told of below.
        if let Ok(Some(found)) = SuperblockStore::peek(root.as_ref()) {
            refuse_another_cluster(&found, cluster)?;
        }
        if !root.entries().map_err(LayoutError::from)?.iter().any(|(name, _)| name == LOCK_FILE) {
            Layout::check(root.as_ref(), layout)?;
        }
        let lock = DirectoryLock::acquire(root.as_ref())?;
        let fresh = Layout::open(root.as_ref(), layout)?;
        // Early, since a full volume has no room for what follows unless some of it is given up.
        let reserve = Reserve::open(&root, Reserve::bytes_for(config.segment_size.get()));
        let reserve = Arc::new(reserve.context("the reserve cannot be made")?);
        let mut superblock = match SuperblockStore::open(root.as_ref())? {
            Some(found) => found,
            None if fresh || root.entries()?.iter().all(|(name, _)| !is_data(name)) => {
                SuperblockStore::create(root.as_ref(), first_superblock(node, cluster)?)?
            }
            None => anyhow::bail!(
                "the superblock is missing although there is data; restore it or the whole directory"
            ),
        };
        if superblock.get().put_back.is_some() && may_begin_anew(config) {
            begin_another(&root, layout, &mut superblock, node)?;
        }
        Ok(Self { root, layout, reserve, vault: Arc::new(Vault::new(superblock)), _lock: lock })
    }

    /// Whether nothing was ever served from here.
    pub(crate) fn unserved(&self) -> bool {
        self.boot() == Boot(0)
    }

    /// This start, once [`Self::begin`] has counted it.
    pub(crate) fn boot(&self) -> Boot {
        self.vault.look(|superblock| superblock.boot)
    }

    /// Identifies the data: seeds every checksum and token.
    pub(crate) fn cluster(&self) -> [u8; 16] {
        self.vault.look(|superblock| superblock.cluster.0)
    }

    /// Counts this start, durably. From here on the log is written.
    pub(crate) fn begin(&self) -> anyhow::Result<()> {
        let key = StartKey(getrandom::u64()?);
        self.vault.update(|superblock| superblock.begin(key))?;
        Ok(())
    }

    pub(crate) fn lane_of(&self, shard: ShardId) -> LaneId {
        LaneId(shard.0 % self.layout.lanes)
    }
}

/// Whether a disk that was put back may become another member by itself: somebody must be there who gives it an id. Where a
/// file says who the members are, the ids of their volumes are fixed, and a node on its own has nobody who has what it lost.
pub(crate) const fn may_begin_anew(config: &Config) -> bool {
    config.cluster_id.is_some() && config.cluster_file.is_none()
}

/// Makes a volume that was put back another one. If it cannot be, the volume takes no part, as before.
fn begin_another(
    root: &Arc<dyn Dir>,
    layout: Layout,
    store: &mut SuperblockStore,
    node: &str,
) -> anyhow::Result<()> {
    let first = first_superblock(node, Some(store.get().cluster))?;
    let (was, is) = (store.get().incarnation, first.incarnation);
    match begin_anew(root, layout, store, first) {
        Ok(SetAside { folder }) => {
            tracing::warn!(
                %was,
                %is,
                folder,
                "this volume was put back to an older copy of itself: what it held is set aside, and it begins anew, as another \
                 volume that gets everything from the others"
            );
            Ok(())
        }
        Err(error) if error.is_unchanged() => {
            tracing::error!(
                reason = %error,
                "this volume was put back to an older copy of itself and cannot begin anew; started again, the node tries again"
            );
            Ok(())
        }
        Err(error) => {
            Err(error).context("this volume was put back to an older copy of itself and cannot begin anew")
        }
    }
}

fn is_data(name: &str) -> bool {
    name == "tables" || name.starts_with("lane-")
}

/// A member that went on by itself would lead what others lead, too.
fn refuse_another_cluster(found: &Superblock, wanted: Option<ClusterId>) -> anyhow::Result<()> {
    let theirs = found.cluster;
    match wanted {
        Some(ours) if ours != theirs => anyhow::bail!(
            "it belongs to cluster {theirs}, not to {ours}; choose another directory with --data, or start with \
             --cluster-id {theirs} (`cluster: {theirs}` in the file of --cluster-file)"
        ),
        None if !found.roster.is_empty() => {
            anyhow::bail!(
                "it belongs to a member of cluster {theirs}; start with --cluster-id {theirs}, or with --cluster-file and \
                 --node-name if a file named its members"
            )
        }
        _ => Ok(()),
    }
}

fn first_superblock(node: &str, cluster: Option<ClusterId>) -> anyhow::Result<Superblock> {
    Ok(Superblock {
        cluster: ClusterId(cluster.map_or_else(drawn, |ClusterId(given)| Ok(given))?),
        node: node.to_owned(),
        incarnation: VolumeIncarnation(drawn()?),
        volume: None,
        boot: Boot(0),
        keys: Vec::new(),
        peers: std::collections::BTreeMap::new(),
        shards: std::collections::BTreeMap::new(),
        roster: Vec::new(),
        put_back: None,
    })
}

fn drawn() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
