//! Snapshots of a running node's shards: one thread that takes them, one at a time, when they are due or ordered.
//!
//! Invariants: nobody waits for it but whoever ordered one, who hears what became of it in any case; what fails is told of,
//! counted and tried again, and no write ever hears of it. A snapshot gets its name only when the log holds on the device whatever is in it, so no power cut
//! leaves one of a future that never came; it holds committed entries only, because the tables do. Leaves to the store how
//! one is written, and which ones stay.

mod desk;
mod report;
mod reuse;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use desk::{Continued, Newest, SnapshotDesk};
use desk::{Order, Task};
pub use report::{NoSnapshot, SnapshotReport};
pub(crate) use schedule::Triggers;
use schedule::{Schedule, Seen};

use super::shared::Shared;
use crate::seam::Clock;
use crate::seam::disk::{Dir, EntryKind};
use crate::store::aol::LaneReader;
use crate::store::snapshots::{
    Progress, SNAPSHOTS_FOLDER, SnapshotError, SnapshotFile, Snapshots, Step, Taken, WriteOptions, Writing,
    existing, file_name,
};
use crate::store::tables::Identity;
use crate::telemetry::Metrics;
use crate::types::{LanePosition, LogIndex, ShardId};

/// A snapshot that takes longer says how far it is this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How snapshots are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotPace {
    /// When one is due.
    pub(crate) triggers: Triggers,
    /// Between two looks at what is due.
    pub(crate) look_interval: Duration,
    /// How they are written.
    pub(crate) options: WriteOptions,
}

/// Takes the snapshots of a node.
#[derive(Debug)]
pub(crate) struct SnapshotTaker {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// What holds the folder of all snapshots.
    root: Arc<dyn Dir>,
    cluster: [u8; 16],
    /// The logs of all lanes; none if the node keeps no log.
    logs: Vec<LaneReader>,
    pace: SnapshotPace,
    schedule: Schedule,
    /// Those that were opened.
    folders: BTreeMap<ShardId, Arc<Snapshots>>,
    /// Shards whose last attempt failed.
    failing: BTreeSet<ShardId>,
}

impl SnapshotTaker {
    /// `logs` is empty on a node without a log.
    pub(crate) fn new(
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
        root: Arc<dyn Dir>,
        cluster: [u8; 16],
        logs: Vec<LaneReader>,
        pace: SnapshotPace,
    ) -> Self {
        let clock = Arc::clone(&shared.clock);
        let shards = shared.open_shards().map(|shard| shard.id);
        let schedule = Schedule::new(pace.triggers, shards, clock.elapsed());
        let (folders, failing) = Default::default();
        Self { shared, clock, metrics, root, cluster, logs, pace, schedule, folders, failing }
    }

    /// Takes away what a crash left half written, and sees what there is. Nothing that it meets keeps a node from
    /// starting.
    pub(crate) fn look_around(&mut self) {
        self.look();
        self.measure();
    }

    fn look(&mut self) {
        let folder = (SNAPSHOTS_FOLDER.to_owned(), EntryKind::Directory);
        // Not there: no shard has any, and nothing is made before one is taken.
        if !self.root.entries().is_ok_and(|entries| entries.contains(&folder)) {
            return;
        }
        let shards: Vec<ShardId> = self.shared.count.shards().collect();
        for shard in shards {
            match self.find(shard) {
                Ok(None) => {}
                Ok(Some(found)) => self.schedule.found(shard, found, self.clock.now(), self.clock.elapsed()),
                Err(error) => {
                    tracing::warn!(shard = shard.0, %error, "what there is of snapshots is not known");
                }
            }
        }
    }

    /// The newest snapshot of a shard, as it says of itself.
    fn find(&mut self, shard: ShardId) -> Result<Option<Newest>, SnapshotError> {
        let there = existing(&self.root, shard).map_err(|error| SnapshotError::Device {
            file: SNAPSHOTS_FOLDER.to_owned(),
            verb: "listed",
            error,
        })?;
        if there.is_none() {
            return Ok(None);
        }
        let folder = self.folder(shard)?;
        let Some(newest) = folder.newest()? else { return Ok(None) };
        let file = newest.open()?;
        Ok(Some(self.known(shard, &file)))
    }

    /// Notes what is the newest snapshot of a shard from now on.
    fn known(&self, shard: ShardId, file: &SnapshotFile) -> Newest {
        let header = file.header();
        let newest = Newest { index: header.index, taken_at: header.taken_at, bytes: file.bytes() };
        self.shared.snapshots.note(shard, newest);
        newest
    }

    fn folder(&mut self, shard: ShardId) -> Result<Arc<Snapshots>, SnapshotError> {
        if let Some(folder) = self.folders.get(&shard) {
            return Ok(Arc::clone(folder));
        }
        let identity = Identity { shard, shards: self.shared.count, layout: self.cluster };
        let folder = Arc::new(Snapshots::open(&self.root, identity)?);
        self.folders.insert(shard, Arc::clone(&folder));
        Ok(folder)
    }

    /// Runs until the engine closes.
    pub(crate) fn run(mut self) {
        let patience = self.pace.triggers.any().then_some(self.pace.look_interval);
        let shared = Arc::clone(&self.shared);
        loop {
            match shared.snapshots.next(patience) {
                Task::End => return,
                Task::Order(order) => self.serve(order),
                Task::Look => {
                    let seen = |shard| {
                        let open = shared.shard(shard).ok()?;
                        Some(Seen { applied: open.grown.applied(), logged: open.grown.bytes() })
                    };
                    if let Some(shard) = self.schedule.due(self.clock.elapsed(), seen) {
                        // What came of it was told and counted.
                        drop(self.attempt(shard));
                    }
                }
            }
            self.measure();
        }
    }

    fn serve(&mut self, order: Order) {
        let found = order.log.as_ref().and_then(|log| self.reusable(order.shard, log));
        let outcome = if found.is_some() { Ok(()) } else { self.attempt(order.shard) };
        // Whoever hears of it finds the figures as they are then.
        self.measure();
        let folder = self.folders.get(&order.shard).cloned();
        order.answer(|| {
            outcome.clone()?;
            let newest = folder.as_ref().map(|folder| folder.newest()).transpose()?.flatten();
            newest.ok_or_else(|| SnapshotError::Absent.into())
        });
    }

    /// Takes one, tells and counts what came of it.
    fn attempt(&mut self, shard: ShardId) -> Result<(), NoSnapshot> {
        let outcome = self.take(shard);
        self.shared.snapshots.rest();
        let metrics = &self.metrics.snapshots;
        let (now, was_calm) = (self.clock.elapsed(), self.failing.is_empty());
        match &outcome {
            Ok(taken) => {
                metrics.taken.inc();
                metrics.written.inc_by(taken.bytes);
                metrics.time.observe(taken.took);
                self.schedule.taken(shard, taken.index, self.grown(shard), now);
                if self.failing.remove(&shard) && self.failing.is_empty() {
                    tracing::info!("snapshots are taken again");
                }
            }
            Err(NoSnapshot::Failed(error)) => {
                metrics.failures.inc();
                self.schedule.failed(shard, now);
                self.failing.insert(shard);
                self.shared.snapshots.note_failure(shard, error.to_string());
                // One line when it begins; a full volume fails those of all shards, and again and again.
                if was_calm {
                    tracing::warn!(shard = shard.0, %error, "no snapshot could be taken; it is tried again");
                } else {
                    tracing::debug!(shard = shard.0, %error, "no snapshot could be taken");
                }
            }
            Err(_) => {}
        }
        outcome.map(drop)
    }

    fn grown(&self, shard: ShardId) -> u64 {
        self.shared.open_shard(shard).map_or(0, |open| open.grown.bytes())
    }

    fn take(&mut self, shard: ShardId) -> Result<Taken, NoSnapshot> {
        let shared = Arc::clone(&self.shared);
        let open = shared.shard(shard).map_err(|failure| NoSnapshot::Unserved(failure.to_string().into()))?;
        if self.logs.is_empty() {
            return Err(NoSnapshot::NoLog);
        }
        let folder = self.folder(shard)?;
        let progress = shared.snapshots.begin(shard);
        let mut writing = folder.begin(&open.tables.patient(), &self.clock, self.pace.options, &progress)?;
        tracing::info!(
            shard = shard.0,
            index = writing.index().0,
            rows = progress.now().rows_total,
            "snapshot begun"
        );
        self.log_is_durable(shard)?;
        let taken = self.write(shard, &mut writing, &progress)?;
        drop(writing);
        self.finished(shard, &folder, &taken);
        Ok(taken)
    }

    /// What the tables show was in the log before. In the relaxed modes it need not be on the device yet.
    fn log_is_durable(&self, shard: ShardId) -> Result<(), NoSnapshot> {
        let log = self.logs.get(usize::from(shard.0) % self.logs.len().max(1));
        let Some(log) = log else { return Err(NoSnapshot::NoLog) };
        let Some(last) = log.written().0.checked_sub(1) else { return Ok(()) };
        let synced = log.make_durable(LanePosition(last));
        synced.map(drop).map_err(|error| {
            let error = std::io::Error::other(error.to_string());
            SnapshotError::Device { file: "behind the log".to_owned(), verb: "begun", error }.into()
        })
    }

    fn write(
        &self,
        shard: ShardId,
        writing: &mut Writing<'_>,
        progress: &Progress,
    ) -> Result<Taken, NoSnapshot> {
        let mut told = self.clock.elapsed();
        loop {
            let is_ending = match writing.step()? {
                Step::Wrote => self.shared.closing(),
                Step::Wait(time) => self.shared.wait_until_closing(time),
                Step::Done(taken) => return Ok(taken),
            };
            if is_ending {
                return Err(NoSnapshot::Ending);
            }
            let (now, at) = (self.clock.elapsed(), progress.now());
            let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.snapshots.rows.set(gauge(at.rows));
            self.metrics.snapshots.rows_total.set(gauge(at.rows_total));
            if now >= told + PROGRESS_INTERVAL {
                told = now;
                tracing::info!(
                    shard = shard.0,
                    rows = at.rows,
                    of_rows = at.rows_total,
                    bytes = at.bytes,
                    "snapshot under way"
                );
            }
        }
    }

    fn finished(&self, shard: ShardId, folder: &Snapshots, taken: &Taken) {
        let Taken { index, bytes, raw_bytes, rows, took, .. } = taken;
        tracing::info!(
            shard = shard.0,
            index = index.0,
            rows,
            raw_bytes,
            bytes,
            took_ms = took.as_millis(),
            "snapshot taken"
        );
        if let Err(error) = &taken.pruned {
            tracing::warn!(shard = shard.0, %error, "older snapshots stay for now");
        }
        match SnapshotFile::open(folder.directory().as_ref(), &file_name(*index)) {
            Ok(file) => drop(self.known(shard, &file)),
            Err(error) => tracing::warn!(shard = shard.0, %error, "the new snapshot cannot be read"),
        }
    }

    /// For the metrics.
    fn measure(&self) {
        let metrics = &self.metrics.snapshots;
        metrics.rows.set(0);
        metrics.rows_total.set(0);
        metrics.failing.set(gauge(self.failing.len()));
        let (missing, oldest) = self.shared.snapshots.summary(&self.shared);
        metrics.missing.set(gauge(missing));
        let age = oldest.map_or(0, |taken_at| self.clock.now().0.saturating_sub(taken_at.0).max(0) / 1000);
        metrics.age.set(age);
    }
}

/// However its thread ends, nobody waits for it any more.
impl Drop for SnapshotTaker {
    fn drop(&mut self) {
        self.shared.snapshots.end();
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How far a shard's tables are, and how much went into them since the start: what the applier tells.
#[derive(Debug, Default)]
pub(crate) struct Grown {
    applied: AtomicU64,
    bytes: AtomicU64,
}

impl Grown {
    /// The tables hold the log up to here; so many bytes of records more than before.
    pub(crate) fn note(&self, applied: LogIndex, bytes: u64) {
        self.applied.store(applied.0, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(Ordering::Relaxed))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
