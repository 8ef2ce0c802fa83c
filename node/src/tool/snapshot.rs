//! `node snapshot`: starts the engine on the directory and stops it again, so that the tables hold all of the log, and takes
//! a snapshot of each shard. Invariant: what was acknowledged before the node stopped, however it stopped, is in them; of a
//! shard that a node would not serve there is none.
//!
//! A directory that was restored and never served is read as it is, so that it may still become a member. A member of a
//! cluster is not started: it would vote, and only its cluster knows how much of its log is committed. Its
//! snapshots are of what its last checkpoint holds, all of which is, and say so.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::report::Report;
use super::watch::{Watch, pause};
use super::{Opened, existing};
use crate::codec::snapshot::Compression;
use crate::codec::superblock::{ShardMemory, Superblock};
use crate::codec::voters::decode_configs;
use crate::config::{Config, Size};
use crate::runtime;
use crate::seam::Clock;
use crate::seam::disk::Dir;
use crate::store::layout::Layout;
use crate::store::lock::LockError;
use crate::store::snapshots::{Progress, SnapshotError, Snapshots, Step, Taken, WriteOptions};
use crate::store::tables::Tables;
use crate::telemetry::Metrics;
use crate::types::{Configs, Epoch, ReplicaId, ShardId, Voters};

/// What is to be done.
pub(super) struct Order<'a> {
    pub(super) data: &'a Path,
    pub(super) to: Option<&'a Path>,
    pub(super) lz4: bool,
    pub(super) rate: Option<Size>,
    pub(super) keep: u32,
}

pub(super) fn take(order: &Order<'_>, clock: &Arc<dyn Clock>) -> anyhow::Result<Report> {
    let nothing = || format!("{} holds no data of a node", order.data.display());
    // Asked for at once, because what a start says about a held lock is meant for servers.
    let opened = Opened::at(order.data, Some("--data")).map_err(of_a_running_one)?.with_context(nothing)?;
    let life = Life::of(&opened.superblock);
    drop(opened);
    let refused = if life == Life::Alone { settle(order.data, clock)? } else { BTreeMap::new() };
    let opened = Opened::at(order.data, Some("--data"))?.with_context(nothing)?;
    let target = match order.to {
        Some(path) => {
            std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            existing(path, Some("--to"))?
        }
        None => Arc::clone(&opened.root),
    };
    let columns = ["shard", "log index", "rows", "row bytes", "file bytes", "milliseconds", "file"];
    let mut report = Report::new(&columns);
    if life == Life::Member {
        let cluster = opened.superblock.cluster;
        report.fact("member of cluster", cluster.to_string());
        report.fact("as of", "its last checkpoint; what its log holds behind that, the cluster must say");
    }
    for shard in opened.layout.shards.shards() {
        if let Some(reason) = refused.get(&shard) {
            report.damage(format!("shard {shard}: no snapshot, because a node would not serve it: {reason}"));
            continue;
        }
        match one(order, &opened, &target, shard, clock) {
            Ok(taken) => {
                report.row(vec![
                    shard.0.into(),
                    taken.index.0.into(),
                    taken.rows.into(),
                    taken.raw_bytes.into(),
                    taken.bytes.into(),
                    u64::try_from(taken.took.as_millis()).unwrap_or(u64::MAX).into(),
                    taken.file.into(),
                ]);
                if let Err(error) = taken.pruned {
                    report.damage(format!("shard {shard}: older snapshots stay: {error}"));
                }
            }
            Err(SnapshotError::Device { file, error, .. }) if takes_nothing(&error) => anyhow::bail!(
                "{} cannot be written ({file}: {error}); choose another target with --to",
                order.to.unwrap_or(order.data).display()
            ),
            Err(error) => report.damage(format!("shard {shard}: no snapshot: {error}")),
        }
    }
    Ok(report)
}

/// Nobody may write there, or what stands there is no folder: the data is as sound as it was.
fn takes_nothing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory
    )
}

/// A node that serves is not stopped for that.
fn of_a_running_one(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<LockError>() {
        Some(LockError::Held { .. }) => error
            .context("a running node takes its snapshots itself: see POST /admin/snapshots in docs/admin.md"),
        _ => error,
    }
}

/// How a directory was served so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Not at all: nothing was promised, so nothing is in its log, and all that it holds is in its tables.
    Unserved,
    /// By a node on its own.
    Alone,
    /// By a member of a cluster.
    Member,
}

impl Life {
    fn of(superblock: &Superblock) -> Self {
        if is_member(superblock) {
            Self::Member
        } else if superblock.shards.is_empty() {
            Self::Unserved
        } else {
            Self::Alone
        }
    }
}

/// Whether others voted on what stands here, or are to. A node on its own has promised itself every shard, and votes as
/// replica 0 and nobody else does.
fn is_member(superblock: &Superblock) -> bool {
    let alone = Voters::new([ReplicaId(0)]).map(Configs::first);
    let is_alone = |memory: &ShardMemory| {
        let configs = decode_configs(&memory.config).ok();
        memory.promised != Epoch::default() && configs.is_some() && configs == alone
    };
    !superblock.roster.is_empty() || !superblock.shards.values().all(is_alone)
}

/// Brings the tables to the end of the log, exactly as a start and a clean stop do; gives the shards of which anything may
/// be missing.
fn settle(data: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<BTreeMap<ShardId, String>> {
    let root = existing(data, Some("--data"))?;
    let Some(layout) = Layout::read(root.as_ref())? else { return Ok(BTreeMap::new()) };
    let config = Config {
        data: data.to_owned(),
        shards: layout.shards,
        lanes: u32::from(layout.lanes),
        ..Config::default()
    };
    let metrics = Arc::new(Metrics::new(config.lanes));
    let running = runtime::start_on(root, &config, clock, metrics)?;
    let refused = running.report.damaged.iter().cloned().collect();
    running.stop();
    Ok(refused)
}

fn one(
    order: &Order<'_>,
    opened: &Opened,
    target: &Arc<dyn Dir>,
    shard: ShardId,
    clock: &Arc<dyn Clock>,
) -> Result<Taken, SnapshotError> {
    let device = |error| SnapshotError::Device { file: format!("of shard {shard}"), verb: "begun", error };
    let tables = Tables::open_at(&opened.place(shard).map_err(device)?)?;
    let options = WriteOptions {
        compression: if order.lz4 { Compression::Lz4 } else { Compression::None },
        bytes_per_second: order.rate.map_or(u64::MAX, Size::get),
        free_bytes_min: 0,
        keep: usize::try_from(order.keep).unwrap_or(usize::MAX),
    };
    let snapshots = Snapshots::open(target, opened.identity(shard))?;
    let progress = Arc::<Progress>::default();
    let _watch = Watch::over(format!("snapshot of shard {shard}"), &progress).map_err(device)?;
    let mut writing = snapshots.begin(&tables.reader(), clock, options, &progress)?;
    loop {
        match writing.step()? {
            Step::Wrote => {}
            Step::Wait(time) => pause(time),
            Step::Done(taken) => return Ok(taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_may_not_be_written_is_told_from_a_device_that_fails() {
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem, ErrorKind::NotADirectory] {
            assert!(takes_nothing(&kind.into()), "{kind}");
        }
        assert!(!takes_nothing(&Error::other("EIO")) && !takes_nothing(&ErrorKind::StorageFull.into()));
    }
}
