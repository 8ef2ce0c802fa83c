//! The applier: one thread that moves what is committed into the tables, checkpoints them, and tells the lanes which part
//! of the log is no longer needed.
//!
//! It lags on purpose: many small appends to a stream become one chunk. Invariant: a position of the log is released only
//! when every record before it is in a durable checkpoint; and no checkpoint holds what the log may still lose, so that
//! in every mode what a power cut leaves is what there was at one moment, in all shards of a lane.

mod applied_shard;
mod apply_queue;
mod records;
mod room;
mod trouble;

pub(super) use applied_shard::ShardApplier;
pub(super) use apply_queue::{ApplyQueue, Committed, Successor};
pub(super) use records::{apply, base_of, ops_of};
pub(super) use room::Room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Job, Mailbox};
use super::shared::Shared;
use crate::seam::Clock;
use crate::telemetry::Metrics;
use crate::types::{LaneId, LanePosition, ShardId};
use apply_queue::Work;

/// Shards whose checkpoints are made at a time.
const CHECKPOINTS_AT_ONCE: usize = 2;

/// When to apply and when to checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApplyPace {
    /// How long a committed record may wait for company.
    pub(crate) apply_interval: Duration,
    /// Longest time between two checkpoints while there are writes.
    pub(crate) checkpoint_interval: Duration,
    /// Log bytes that bring the next checkpoint.
    pub(crate) checkpoint_bytes: u64,
}

/// The applier of a node.
#[derive(Debug)]
pub(crate) struct Applier {
    pub(crate) shards: BTreeMap<ShardId, ShardApplier>,
    pub(crate) queue: Arc<ApplyQueue>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: BTreeMap<LaneId, (Arc<Mailbox>, LanePosition)>,
    pub(crate) pace: ApplyPace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// When the last checkpoint was made, and where each lane ended then.
    pub(crate) checkpointed_at: Duration,
    pub(crate) checkpointed_ends: BTreeMap<LaneId, LanePosition>,
    /// Before these positions the lanes need nothing any more.
    pub(crate) released: BTreeMap<LaneId, LanePosition>,
    /// Records from here on are needed by shards that are not served.
    pub(crate) holds: BTreeMap<LaneId, LanePosition>,
    pub(crate) room: Room,
}

impl Applier {
    /// Runs until all lanes have ended and everything is in a checkpoint.
    pub(crate) fn run(mut self) {
        self.look();
        loop {
            let work = self.queue.take(self.room.patience(self.pace.apply_interval));
            let (ended, log_begs) = (work.ended, work.log_begs.is_some());
            self.round(work);
            if ended || self.checkpoint_due(log_begs) {
                self.checkpoint();
            }
            self.compact();
            self.look();
            self.measure();
            if ended {
                return;
            }
        }
    }

    /// Whether the volume is full.
    fn look(&mut self) {
        self.room.look(self.shards.values(), &self.queue, &self.metrics.store);
    }

    fn round(&mut self, work: Work) {
        for (lane, end) in work.lane_ends {
            if let Some(entry) = self.lanes.get_mut(&lane) {
                entry.1 = end;
            }
        }
        for (shard, records) in work.shards {
            if let Some(applier) = self.shards.get_mut(&shard) {
                applier.take(records);
            }
        }
        for (shard, successor) in work.replaced {
            let is_durable = self.log_is_durable();
            if let Some(applier) = self.shards.get_mut(&shard) {
                self.queue.done(match successor {
                    Successor::Image => applier.replace(is_durable),
                    Successor::Nothing { is_first } => applier.empty(is_first, &self.shared),
                });
            }
        }
        if work.log_begs == Some(true) {
            self.room.lend_to_the_log();
        }
        let now = self.clock.elapsed();
        for applier in self.shards.values_mut() {
            let waiting = applier.waiting_bytes();
            applier.round(now, &self.shared);
            let left = waiting - applier.waiting_bytes();
            if left > 0 {
                self.queue.done(left);
                applier.tell_growth(left, &self.shared);
            }
        }
        self.queue.stall(self.shards.values().any(|applier| !applier.stuck.is_empty()));
    }

    /// How much waits, for the metrics.
    fn measure(&self) {
        self.metrics.engine.unapplied.set(i64::try_from(self.queue.bytes()).unwrap_or(i64::MAX));
        for (lane, (_, end)) in &self.lanes {
            let released = self.released.get(lane).copied().unwrap_or_default();
            if let Some(metrics) = self.metrics.lane(u32::from(lane.0)) {
                metrics.log.set(i64::try_from(end.0.saturating_sub(released.0)).unwrap_or(i64::MAX));
            }
        }
    }

    /// Whether the log holds on the device whatever is applied; syncs it if the lanes left that for later. A lane whose log
    /// fails here sees it at its next step.
    fn log_is_durable(&self) -> bool {
        self.shards.values().all(|shard| {
            let end = self.lanes.get(&shard.lane).map(|(_, end)| *end).unwrap_or_default();
            matches!(shard.log.make_durable(end), Ok(true))
        })
    }

    /// Gives what one small file does not need back to a full volume.
    fn compact(&mut self) {
        let wasteful = self.room.wasteful(self.shards.values()).filter(|_| self.log_is_durable());
        if let Some(shard) = wasteful.and_then(|shard| self.shards.get_mut(&shard)) {
            shard.compact(self.clock.elapsed(), &self.shared);
        }
    }

    /// `urgent`: the log needs what a checkpoint lets go.
    fn checkpoint_due(&self, urgent: bool) -> bool {
        let dirty = self.shards.values().any(ShardApplier::is_dirty);
        let grown: u64 = self
            .lanes
            .iter()
            .map(|(lane, (_, end))| {
                let before = self.checkpointed_ends.get(lane).copied().unwrap_or_default();
                end.0.saturating_sub(before.0)
            })
            .sum();
        let waited = self.clock.elapsed().saturating_sub(self.checkpointed_at);
        let much = grown >= self.room.bounded(self.pace.checkpoint_bytes);
        dirty && (urgent || self.room.is_full() || much || waited >= self.pace.checkpoint_interval)
    }

    /// Makes durable what is applied, some shards at a time: the device has something to write while it is asked to flush. On a full
    /// volume one after the other, since what one lets go may be room for the next.
    fn make_checkpoints(&mut self, now: Duration) {
        let at_once = if self.room.is_full() { 1 } else { CHECKPOINTS_AT_ONCE };
        let Self { shards, shared, metrics, .. } = self;
        let mut dirty: Vec<_> = shards.values_mut().filter(|applier| applier.is_dirty()).collect();
        let size = dirty.len().div_ceil(at_once).max(1);
        let make = |part: &mut [&mut ShardApplier]| {
            for applier in part {
                match applier.checkpoint(now, shared) {
                    Some(true) => drop(metrics.store.checkpoints.inc()),
                    Some(false) => drop(metrics.store.checkpoint_failures.inc()),
                    None => {}
                }
            }
        };
        std::thread::scope(|scope| {
            let mut parts = dirty.chunks_mut(size);
            let mine = parts.next();
            for part in parts {
                let thread = std::thread::Builder::new().name("checkpoint".to_owned());
                // Without a thread those shards wait for the next checkpoint, and the log for them.
                let _unmade = thread.spawn_scoped(scope, || make(part));
            }
            mine.map(make)
        });
    }

    /// Makes everything applied durable, then lets the log go as far as that allows.
    fn checkpoint(&mut self) {
        if !self.log_is_durable() {
            return;
        }
        let before = self.clock.elapsed();
        let mut kept: BTreeMap<LaneId, LanePosition> =
            self.lanes.iter().map(|(lane, (_, end))| (*lane, *end)).collect();
        self.make_checkpoints(before);
        for applier in self.shards.values() {
            if let (Some(needed), Some(end)) = (applier.undurable, kept.get_mut(&applier.lane)) {
                *end = needed.min(*end);
            }
        }
        let mut kept_bytes = 0;
        for (lane, position) in kept {
            let position = self.holds.get(&lane).map_or(position, |hold| position.min(*hold));
            self.released.insert(lane, position);
            if let Some((mailbox, end)) = self.lanes.get(&lane) {
                kept_bytes += end.0.saturating_sub(position.0);
                let lean = self.room.is_full();
                let _ended = mailbox.send(Job::Release { upto: position, lean });
            }
        }
        self.checkpointed_at = self.clock.elapsed();
        self.checkpointed_ends = self.lanes.iter().map(|(lane, (_, end))| (*lane, *end)).collect();
        let reopened: u64 = self.shards.values().map(|shard| shard.trouble.ended).sum();
        self.metrics.store.tables_reopened.set(i64::try_from(reopened).unwrap_or(i64::MAX));
        self.metrics.store.log_kept.set(i64::try_from(kept_bytes).unwrap_or(i64::MAX));
        self.metrics.store.checkpoint_time.observe(self.checkpointed_at.saturating_sub(before));
    }
}
