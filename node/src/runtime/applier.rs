//! The applier: one thread that moves what is committed into the tables, checkpoints them, and tells the lanes which part
//! of the log is no longer needed.
//!
//! It lags on purpose: many small appends to a stream become one chunk. Invariant: a position of the log is released only
//! when every record before it is in a durable checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::apply_queue::{ApplyQueue, Committed, Work, record_bytes};
use super::mailbox::{Job, Mailbox};
use super::replay;
use super::shared::Shared;
use crate::seam::Clock;
use crate::store::tables::{Tables, TablesError};
use crate::telemetry::Metrics;
use crate::types::{LaneId, LanePosition, Op, ShardId, StreamId};

/// Rows of deleted streams that one round removes per shard: keeps a round short when a huge stream was deleted.
const REAP_ROWS_MAX: usize = 512;

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

/// One shard's tables and how far they are.
#[derive(Debug)]
pub(crate) struct ShardApplier {
    pub(crate) tables: Tables,
    pub(crate) lane: LaneId,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Where the first record lies that is applied and not durable, or that could not be applied.
    pub(crate) undurable: Option<LanePosition>,
    /// Rows of deleted streams may be left.
    pub(crate) reaping: bool,
    /// Records that could not be applied for lack of room: tried again first.
    pub(crate) stuck: Vec<Committed>,
    pub(crate) damaged: bool,
    /// The last attempt found no room.
    full: bool,
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
}

impl Applier {
    /// Runs until all lanes have ended and everything is in a checkpoint.
    pub(crate) fn run(mut self) {
        loop {
            let work = self.queue.take(self.pace.apply_interval);
            let ended = work.ended;
            self.round(work);
            if ended || self.checkpoint_due() {
                self.checkpoint();
            }
            self.measure();
            if ended {
                return;
            }
        }
    }

    fn round(&mut self, work: Work) {
        for (lane, end) in work.lane_ends {
            if let Some(entry) = self.lanes.get_mut(&lane) {
                entry.1 = end;
            }
        }
        for (shard, records) in work.shards {
            if let Some(applier) = self.shards.get_mut(&shard) {
                applier.stuck.extend(records);
            }
        }
        for (shard, applier) in &mut self.shards {
            let waiting = applier.waiting_bytes();
            if let Err(error) = applier.apply(*shard) {
                applier.failed(*shard, &error, &self.shared);
            }
            let left = waiting - applier.waiting_bytes();
            if left > 0 {
                self.queue.done(left);
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

    fn checkpoint_due(&self) -> bool {
        let dirty = self.shards.values().any(|applier| applier.undurable.is_some());
        let grown: u64 = self
            .lanes
            .iter()
            .map(|(lane, (_, end))| {
                let before = self.checkpointed_ends.get(lane).copied().unwrap_or_default();
                end.0.saturating_sub(before.0)
            })
            .sum();
        let waited = self.clock.elapsed().saturating_sub(self.checkpointed_at);
        dirty && (grown >= self.pace.checkpoint_bytes || waited >= self.pace.checkpoint_interval)
    }

    /// Makes everything applied durable, then lets the log go as far as that allows.
    fn checkpoint(&mut self) {
        let before = self.clock.elapsed();
        let mut kept: BTreeMap<LaneId, LanePosition> =
            self.lanes.iter().map(|(lane, (_, end))| (*lane, *end)).collect();
        for (shard, applier) in &mut self.shards {
            if applier.undurable.is_some() && !applier.damaged {
                match applier.tables.checkpoint() {
                    Ok(_) => {
                        self.metrics.store.checkpoints.inc();
                        applier.undurable = applier.stuck.first().map(|record| record.position);
                    }
                    Err(error) => {
                        self.metrics.store.checkpoint_failures.inc();
                        applier.failed(*shard, &error, &self.shared);
                    }
                }
            }
            if let (Some(needed), Some(end)) = (applier.undurable, kept.get_mut(&applier.lane)) {
                *end = needed.min(*end);
            }
        }
        for (lane, position) in kept {
            let position = self.holds.get(&lane).map_or(position, |hold| position.min(*hold));
            self.released.insert(lane, position);
            if let Some((mailbox, _)) = self.lanes.get(&lane) {
                let _ended = mailbox.send(Job::Release(position));
            }
        }
        self.checkpointed_at = self.clock.elapsed();
        self.checkpointed_ends = self.lanes.iter().map(|(lane, (_, end))| (*lane, *end)).collect();
        self.metrics.store.checkpoint_time.observe(self.checkpointed_at.saturating_sub(before));
    }
}

impl ShardApplier {
    /// `undurable`: the first record in the log that the last checkpoint lacks.
    pub(crate) fn new(
        tables: Tables,
        lane: LaneId,
        mailbox: Arc<Mailbox>,
        undurable: Option<LanePosition>,
    ) -> Self {
        Self {
            tables,
            lane,
            mailbox,
            undurable,
            reaping: true,
            stuck: Vec::new(),
            damaged: false,
            full: false,
        }
    }

    fn waiting_bytes(&self) -> u64 {
        self.stuck.iter().map(|record| record_bytes(&record.ops)).sum()
    }

    /// Applies what waits for this shard, and removes some rows of what was deleted.
    fn apply(&mut self, shard: ShardId) -> Result<(), TablesError> {
        if self.damaged {
            self.stuck.clear();
            return Ok(());
        }
        if let (Some(first), Some(last)) = (self.stuck.first(), self.stuck.last()) {
            self.undurable = self.undurable.or(Some(first.position));
            let index = last.index;
            replay::apply(&mut self.tables, &self.stuck)?;
            let ops = || self.stuck.iter().flat_map(|record| &record.ops);
            self.reaping |=
                ops().any(|op| matches!(op, Op::Delete { .. } | Op::Trim { .. } | Op::Unpin { .. }));
            let changed = changed(ops());
            self.stuck.clear();
            self.full = false;
            let _ended = self.mailbox.send(Job::Applied { shard, index, changed });
        }
        if self.reaping {
            self.reaping = self.tables.reap(REAP_ROWS_MAX)? > 0;
        }
        Ok(())
    }

    /// No room: kept and tried again. Anything else: the shard is damaged and refuses service; its log is kept.
    fn failed(&mut self, shard: ShardId, error: &TablesError, shared: &Shared) {
        if matches!(error, TablesError::Full) {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    shard = shard.0,
                    "no room to apply the log to the tables; trying again until there is"
                );
            }
            return;
        }
        self.damaged = true;
        if let Ok(open) = shared.shard(shard) {
            open.condemn(&error.to_string());
        }
    }
}

/// The streams that ops change, each once.
fn changed<'a>(ops: impl Iterator<Item = &'a Op>) -> Vec<StreamId> {
    let mut streams: Vec<StreamId> = ops.filter_map(Op::stream).collect();
    streams.sort_unstable();
    streams.dedup();
    streams
}
