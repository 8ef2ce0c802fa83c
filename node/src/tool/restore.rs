//! `node restore`: a new data directory from snapshots. Invariant: the manifest comes last, so a directory of which anything
//! is missing is none that a node would start on. It is a life of its own, with a new cluster id: nothing that a client or
//! a replica remembers of the old one can be taken for something of the new one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::report::Report;
use super::watch::Watch;
use super::{CACHE_BYTES, existing};
use crate::codec::superblock::Superblock;
use crate::config::{Config, too_many_lanes};
use crate::seam::Clock;
use crate::seam::disk::{Dir, RealDir};
use crate::store::aol::{Lane, LaneOptions};
use crate::store::layout::{LAYOUT_FILE, Layout, lane_folder};
use crate::store::lock::{DirectoryLock, LOCK_FILE};
use crate::store::publish::publish;
use crate::store::snapshots::{
    Progress, Restored, SnapshotFile, existing as folder_of, file_name, indexes, restore_newest,
};
use crate::store::superblock::SuperblockStore;
use crate::store::tables::{Identity, Place, Tables};
use crate::types::{Boot, ClusterId, LaneId, ShardCount, ShardId, VolumeIncarnation};

/// How a cluster is begun from one node.
const BEGIN_CLUSTER: &str = "start it so, as a member of the cluster above (--cluster-id, or `cluster` in the file of --cluster-file), make it the \
    first leader of every shard, and start the others on empty directories: it sends them what they lack";

/// Ids of streams that a restored shard passes over. The original went on giving ids behind the snapshot, and a fork in
/// another shard, of a later moment, may name one of these: no other stream may ever have it. At a million new streams a
/// second that is more than an hour behind the snapshot; and four thousand million restores of restores fit.
const IDS_PASSED_OVER: u64 = 1 << 32;

/// What the snapshots are of.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    cluster: [u8; 16],
    shards: ShardCount,
}

pub(super) fn restore(
    from: &Path,
    data: &Path,
    lanes: u16,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Report> {
    let source = existing(from, Some("--from"))?;
    let origin = origin(&source, from)?;
    let layout = Layout { shards: origin.shards, lanes };
    if let Some(broken) = too_many_lanes(layout.lanes.into(), layout.shards.get().into()) {
        bail!(broken);
    }
    let folders = folders(&source, &origin)?;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let root = RealDir::open(data)?;
    let held: Vec<String> = root
        .entries()?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name != "lost+found" && name != LOCK_FILE)
        .collect();
    ensure!(
        held.is_empty(),
        "{} is not empty ({}); restore to an empty directory. What an interrupted restore left there may be removed",
        data.display(),
        held.join(", ")
    );
    let _lock = DirectoryLock::acquire(root.as_ref())?;
    let mut cluster = [0; 16];
    getrandom::fill(&mut cluster)?;
    let (mut report, boot) = shards(&folders, &origin, &root, cluster, clock)?;
    for lane in (0..layout.lanes).map(LaneId) {
        let directory = root.subdir(&lane_folder(lane))?;
        drop(Lane::open(&directory, LaneOptions::new(lane, cluster, true), |_| {})?);
    }
    SuperblockStore::create(root.as_ref(), superblock(cluster, boot)?)?;
    publish(root.as_ref(), LAYOUT_FILE, layout.encode().as_bytes())?;
    report.fact("restored to", data.display().to_string());
    report.fact("cluster", ClusterId(cluster).to_string());
    report.fact("of cluster", ClusterId(origin.cluster).to_string());
    report.fact("as a node", format!("start it with --data {}{}", data.display(), flags(layout)));
    report.fact("as a cluster", BEGIN_CLUSTER);
    Ok(report)
}

/// What a start on such a directory has to be told beside its path; it is refused otherwise.
fn flags(layout: Layout) -> String {
    let (usual, mut flags) = (Config::default(), String::new());
    // Writing to a string cannot fail.
    if layout.shards != usual.shards {
        let _ = write!(flags, " --shards {}", layout.shards.get());
    }
    if u32::from(layout.lanes) != usual.lanes {
        let _ = write!(flags, " --lanes {}", layout.lanes);
    }
    flags
}

/// Restores every shard; gives the boot behind which the new directory begins.
fn shards(
    folders: &BTreeMap<ShardId, Arc<dyn Dir>>,
    origin: &Origin,
    root: &Arc<dyn Dir>,
    cluster: [u8; 16],
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Report, Boot)> {
    let mut report =
        Report::new(&["shard", "log index", "streams", "payload bytes", "milliseconds", "damaged snapshots"]);
    let mut boot = Boot(1);
    let directory = root.subdir("tables")?;
    for (&shard, folder) in folders {
        let of = Identity { shard, shards: origin.shards, layout: origin.cluster };
        let identity = Identity { layout: cluster, ..of };
        let place =
            Place { directory: Arc::clone(&directory), identity, cache_bytes: CACHE_BYTES, spare: None };
        let (progress, began) = (Arc::<Progress>::default(), clock.elapsed());
        let _watch = Watch::over(format!("restoring shard {shard}"), &progress)?;
        let Restored { state, damaged } =
            restore_newest(folder, of, None, &place, &progress).with_context(|| {
                format!("shard {shard} cannot be restored; nothing was started on the new directory")
            })?;
        let mut tables = Tables::open_at(&place)?;
        tables.pass_over_ids(IDS_PASSED_OVER)?;
        tables.checkpoint()?;
        drop(tables);
        let took = clock.elapsed().saturating_sub(began);
        boot = state
            .epochs
            .iter()
            .map(|start| start.epoch.boot)
            .chain([boot, state.applied.epoch.boot])
            .max()
            .unwrap_or(boot);
        report.row(vec![
            shard.0.into(),
            state.applied.index.0.into(),
            state.totals.streams.into(),
            state.totals.bytes.into(),
            u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into(),
            damaged.len().into(),
        ]);
        for error in damaged {
            report.damage(format!("shard {shard}: an older snapshot was taken: {error}"));
        }
    }
    Ok((report, boot))
}

/// Reads it off the first snapshot whose header can be read.
fn origin(source: &Arc<dyn Dir>, from: &Path) -> anyhow::Result<Origin> {
    let mut unread = None;
    for shard in (0..256).map(ShardId) {
        let Some(folder) = folder_of(source, shard)? else { continue };
        for index in indexes(folder.as_ref())?.into_iter().rev() {
            match SnapshotFile::open(folder.as_ref(), &file_name(index)) {
                Ok(found) => {
                    let header = found.header();
                    return Ok(Origin { cluster: header.cluster.0, shards: header.shards });
                }
                Err(error) => unread = Some(error),
            }
        }
    }
    match unread {
        Some(error) => bail!("no snapshot in {} can be used: {error}", from.display()),
        None => bail!("there is no snapshot in {}; it should hold the folder `snapshots`", from.display()),
    }
}

/// The folder of each shard's snapshots; all must be there.
fn folders(source: &Arc<dyn Dir>, origin: &Origin) -> anyhow::Result<BTreeMap<ShardId, Arc<dyn Dir>>> {
    let mut found = BTreeMap::new();
    for shard in origin.shards.shards() {
        let folder = folder_of(source, shard)?.with_context(|| {
            format!(
                "of {} shards, shard {shard} has no snapshots; restore needs all of them",
                origin.shards.get()
            )
        })?;
        found.insert(shard, folder);
    }
    Ok(found)
}

/// A volume that was started before, so that no start takes it for one that is to be formatted.
fn superblock(cluster: [u8; 16], boot: Boot) -> anyhow::Result<Superblock> {
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation)?;
    Ok(Superblock {
        cluster: ClusterId(cluster),
        node: Config::default().node_name.to_string(),
        incarnation: VolumeIncarnation(incarnation),
        volume: None,
        boot,
        keys: Vec::new(),
        peers: BTreeMap::new(),
        shards: BTreeMap::new(),
        roster: Vec::new(),
        put_back: None,
    })
}
