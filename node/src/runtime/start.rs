//! From a directory to a running engine: lock, manifest, superblock, tables, logs, replay, owners.
//!
//! Order matters: the boot is fsynced before anything of it is written; the log is replayed into the tables before a
//! command is decided; each shard's epoch-start entry is durable before it opens.

mod assembly;
mod findings;
mod membership;
mod progress;
mod replay;
mod report;
mod salvage;
mod volume;

pub use progress::{GivenUp, StartPhase, StartProgress, StartStage};
pub use report::StartReport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;

use super::control::Control;
use super::engine::Engine;
use super::fatal::Fatal;
use super::mailbox::{Job, Mailbox};
use super::vault::Vault;
use crate::config::Config;
use crate::seam::Clock;
use crate::seam::disk::{Dir, RealDir};
use crate::store::aol::{Held, Lane, LaneOptions, Record, RecoveryReport};
use crate::store::layout::{Layout, lane_folder};
use crate::store::reserve::Spare;
use crate::store::tables::{Identity, Place, Tables, TablesError};
use crate::telemetry::Metrics;
use crate::types::{LaneId, ShardCount, ShardId};
use crate::wire::Links;
use assembly::Parts;
use findings::{compare, refuse_without_shards};
use membership::Membership;
use replay::{Replays, Settling, ShardReplay};
use report::tell;
use salvage::{begin_anew, can_be_set_aside, salvage};
use volume::Volume;

/// A running engine: the handle for requests, and what ends it.
#[derive(Debug)]
pub struct Running {
    /// For requests.
    pub engine: Engine,
    /// Resolves when the node cannot go on.
    pub fatal: Fatal,
    /// What the start found.
    pub report: StartReport,
    pub(super) vault: Arc<Vault>,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// To the other nodes, in a cluster.
    pub(super) links: Option<Arc<Links>>,
    /// Keeps the directory locked until the last thread has ended.
    pub(super) volume: Option<Volume>,
}

impl Running {
    /// For whoever elects.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.engine.shared), vault: Arc::clone(&self.vault) }
    }

    /// Refuses new work, answers what was taken, checkpoints, and ends all threads.
    pub fn stop(mut self) {
        self.engine.shared.close();
        if let Some(cluster) = self.engine.shared.cluster.get() {
            cluster.end();
        }
        if let Some(links) = self.links.take() {
            links.stop();
        }
        for mailbox in &self.mailboxes {
            let _ended = mailbox.send(Job::Stop);
        }
        for thread in self.threads {
            // A thread that panicked has said so in the log.
            let _panicked = thread.join();
        }
        drop(self.volume);
    }
}

/// Opens the data directory that the configuration names and starts the owners.
pub fn start(config: &Config, clock: &Arc<dyn Clock>, metrics: Arc<Metrics>) -> anyhow::Result<Running> {
    start_watched(config, clock, metrics, &StartProgress::default())
}

/// The same, and says meanwhile how far it is.
pub fn start_watched(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    progress: &StartProgress,
) -> anyhow::Result<Running> {
    anyhow::ensure!(
        config.data.is_dir() || !config.data.exists(),
        "{} is not a directory; name one with --data",
        config.data.display()
    );
    let root = std::fs::create_dir_all(&config.data).and_then(|()| RealDir::open(&config.data));
    let root = root.with_context(|| format!("cannot open the data directory {}", config.data.display()))?;
    start_watched_on(root, config, clock, metrics, progress)
}

/// On any disk: everything that is stored lies in `root`.
pub fn start_on(
    root: Arc<dyn Dir>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Running> {
    start_watched_on(root, config, clock, metrics, &StartProgress::default())
}

/// On any disk, and says meanwhile how far it is.
pub fn start_watched_on(
    root: Arc<dyn Dir>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    progress: &StartProgress,
) -> anyhow::Result<Running> {
    let before = clock.elapsed();
    let lanes = u16::try_from(config.lanes).context("lanes")?;
    let layout = Layout { shards: config.shards, lanes };
    let volume = Volume::open(root, layout, config)
        .with_context(|| format!("cannot use the data directory {}", config.data.display()))?;
    let mut report = StartReport { created: volume.unserved(), ..StartReport::default() };
    let membership = Membership::find(config, &volume.vault)?;
    let settling = if membership.is_alone() { Settling::All } else { Settling::AsTold };
    let mut replays = open_tables(&volume, config, settling, &mut report, progress)?;
    progress.read_log(log_bytes(&volume, lanes));
    let (mut logs, mut starts) = (Vec::new(), Vec::new());
    for lane in 0..lanes {
        progress.go_on()?;
        let (log, found) = open_log(&volume, config, LaneId(lane), &mut replays, progress)?;
        tell(lane, &found, &metrics.store);
        compare(&volume, LaneId(lane), &found, &mut replays);
        report.records += found.records;
        logs.push(log);
        starts.push(found.start);
    }
    for replay in replays.values_mut() {
        progress.go_on()?;
        replay.finish();
    }
    if !membership.is_alone() {
        let places = Places::of(&volume, config)?;
        salvage(&volume, &|shard| places.of_shard(shard), &mut replays, &mut report)?;
    }
    refuse_without_shards(&replays, &report)?;
    progress.go_on()?;
    progress.begin_owners();
    volume.begin().context("the start cannot be recorded in the superblock")?;
    let (started_at, measured) = (clock.now(), Arc::clone(&metrics));
    let parts = Parts { volume, config, membership, clock: Arc::clone(clock), metrics, starts, started_at };
    let running = parts.assemble(replays, logs, &mut report)?;
    report.took = clock.elapsed().saturating_sub(before);
    report.measure(&measured.store);
    Ok(Running { report, ..running })
}

fn open_tables(
    volume: &Volume,
    config: &Config,
    settling: Settling,
    report: &mut StartReport,
    progress: &StartProgress,
) -> anyhow::Result<Replays> {
    progress.open_tables(u64::from(volume.layout.shards.get()));
    let places = Places::of(volume, config)?;
    let mut replays = BTreeMap::new();
    for shard in volume.layout.shards.shards() {
        progress.go_on()?;
        let place = places.of_shard(shard);
        let opened = match Tables::open_at(&place) {
            Err(TablesError::Missing { .. }) if volume.unserved() => Tables::create_at(&place),
            opened => opened,
        };
        match opened {
            Ok(tables) => {
                report.streams += tables.state().totals.streams;
                replays.insert(shard, ShardReplay::new(tables, settling));
            }
            // Nothing was ever served: the next start begins again, and no shard is without its file for ever.
            Err(error) if volume.unserved() => {
                anyhow::bail!("the tables of shard {shard} cannot be made: {error}")
            }
            Err(error) if settling == Settling::AsTold && can_be_set_aside(&error) => {
                match begin_anew(volume, &place, &error.to_string()) {
                    Ok(tables) => {
                        let mut replay = ShardReplay::new(tables, settling);
                        replay.lacking = Some(error.to_string());
                        replays.insert(shard, replay);
                    }
                    Err(reason) => report.damaged.push((shard, reason)),
                }
            }
            Err(error) => report.damaged.push((shard, error.to_string())),
        }
        progress.tables_opened();
    }
    // The marks of the openings are gone for good, so that those of several crashes never add up.
    places.directory.sync().context("the folder of the tables cannot be synced")?;
    Ok(replays)
}

/// Where the tables of a volume lie.
struct Places {
    directory: Arc<dyn Dir>,
    shards: ShardCount,
    layout: [u8; 16],
    cache_bytes: usize,
    spare: Arc<dyn Spare>,
}

impl Places {
    fn of(volume: &Volume, config: &Config) -> anyhow::Result<Self> {
        let directory = volume.root.subdir("tables").context("the folder of the tables cannot be opened")?;
        let shards = volume.layout.shards;
        let cache_bytes = usize::try_from(config.table_cache.get())? / usize::from(shards.get());
        let spare = Arc::clone(&volume.reserve) as Arc<dyn Spare>;
        Ok(Self { directory, shards, layout: volume.cluster(), cache_bytes, spare })
    }

    fn of_shard(&self, shard: ShardId) -> Place {
        let identity = Identity { shard, shards: self.shards, layout: self.layout };
        let (directory, spare) = (Arc::clone(&self.directory), Some(Arc::clone(&self.spare)));
        Place { directory, identity, cache_bytes: self.cache_bytes, spare }
    }
}

fn open_log(
    volume: &Volume,
    config: &Config,
    lane: LaneId,
    replays: &mut Replays,
    progress: &StartProgress,
) -> anyhow::Result<(Lane, RecoveryReport)> {
    let name = lane_folder(lane);
    let directory = volume.root.subdir(&name)?;
    let options = LaneOptions {
        segment_bytes: config.segment_size.get(),
        segment_bytes_max: config.segment_size_max.get(),
        free_segments_max: usize::try_from(config.segments_spare_max).unwrap_or(usize::MAX),
        boot: Some(volume.boot()),
        ..LaneOptions::new(lane, volume.cluster(), volume.unserved())
    };
    let held = held(volume, lane, replays);
    let visitor = |record: Record| {
        progress.record_read(record.header.end().0 - record.header.position.0);
        // A start that was given up reads on to the end of its log, and does nothing about it.
        if !progress.is_given_up() {
            replay::take(replays, &record);
        }
    };
    Lane::open_behind(&directory, options, &held, visitor)
        .with_context(|| format!("cannot use the log in {}", config.data.join(name).display()))
}

/// What the logs take, for the eyes of whoever waits; whatever is wrong with them is found when they are read.
fn log_bytes(volume: &Volume, lanes: u16) -> u64 {
    let lane_bytes = |lane: u16| -> std::io::Result<u64> {
        let directory = volume.root.subdir(&lane_folder(LaneId(lane)))?;
        directory.list()?.iter().map(|name| directory.open(name)?.len()).sum()
    };
    (0..lanes).filter_map(|lane| lane_bytes(lane).ok()).sum()
}

/// How far the tables of the lane's shards are; nothing if one of them may need the whole log.
fn held(volume: &Volume, lane: LaneId, replays: &Replays) -> Held {
    let shards = volume.layout.shards.shards().filter(|shard| volume.lane_of(*shard) == lane);
    let applied = shards.map(|shard| Some((shard, replays.get(&shard)?.last())));
    applied.collect::<Option<Held>>().unwrap_or_default()
}
