//! The owner of a lane: one thread, which owns the lane's log and the cores of the shards that map to it.
//!
//! It takes all jobs that wait, decides them one after the other, writes the records as one group, syncs once, publishes,
//! answers. What arrives meanwhile is the next group. Invariant: nothing is published or answered before what it rests on
//! is as durable as the settings promise; after a failed write or sync nothing is answered any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Failure;
use super::apply_queue::{ApplyQueue, Committed, record_bytes};
use super::fatal::Fatal;
use super::mailbox::{Answer, Answered, Job, Mailbox};
use super::owner::{Decided, ShardOwner};
use super::view::StreamView;
use crate::codec::op::encode_ops;
use crate::codec::record::{RecordKind, chain_after};
use crate::seam::Clock;
use crate::store::aol::{Lane, LaneError, RecordHead};
use crate::telemetry::{LaneMetrics, Metrics};
use crate::types::{
    AolMode, Chain, Durability, FsyncPolicy, LanePosition, LogIndex, Op, ShardId, StreamId, UnixMillis,
};

/// Most bytes of records in one group: bounds how long the first of a group waits for the last.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// Streams of one shard that one sweep ends: a mass expiry delays no writer by more than a few milliseconds.
const EXPIRIES_PER_SWEEP_MAX: usize = 256;

/// Everything that a lane's owner works with.
#[derive(Debug)]
pub(crate) struct LaneOwner {
    pub(crate) log: Lane,
    pub(crate) shards: BTreeMap<ShardId, ShardOwner>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) sweep_interval: Duration,
    pub(crate) fatal: Fatal,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lane_metrics: LaneMetrics,
    pub(crate) group: Group,
    /// The oldest record that was written and not synced (relaxed modes only).
    pub(crate) unsynced_since: Option<Duration>,
    pub(crate) swept_at: Duration,
}

/// The records and answers of one group commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    records: Vec<Pending>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    bytes: u64,
}

/// A record that was decided and encoded, and is not durable yet.
#[derive(Debug)]
struct Pending {
    shard: ShardId,
    index: LogIndex,
    chain: Chain,
    position: LanePosition,
    ops: Vec<Op>,
    /// Where the wire bytes of each append lie in the group's buffer.
    wires: Vec<std::ops::Range<usize>>,
    view: Option<Arc<StreamView>>,
}

impl LaneOwner {
    /// Runs until told to stop or until the log fails.
    pub(crate) fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            self.mailbox.take(&mut jobs, self.patience());
            let mut stop = false;
            for job in jobs.drain(..) {
                stop |= matches!(job, Job::Stop);
                self.handle(job);
                if self.group.bytes >= GROUP_BYTES_MAX && self.commit().is_err() {
                    return self.fail();
                }
            }
            self.sweep();
            if self.commit().and_then(|()| self.sync_if_due()).is_err() {
                return self.fail();
            }
            if stop {
                return self.finish();
            }
            self.apply.wait_for_room();
        }
    }

    /// How long nothing may happen before something is due.
    fn patience(&self) -> Duration {
        let now = self.clock.elapsed();
        let sweep = self.swept_at + self.sweep_interval;
        let sync = match (self.durability.fsync, self.unsynced_since) {
            (FsyncPolicy::Interval(interval), Some(since)) => since + interval,
            _ => sweep,
        };
        sweep.min(sync).saturating_sub(now)
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Command { shard, command, answer } => {
                let now = self.clock.now();
                let decided = match self.shards.get_mut(&shard) {
                    Some(_) if !self.log.has_room(super::RECORD_ROOM) => Err(Failure::DiskFull),
                    Some(owner) => owner.decide(command, now),
                    None => Err(Failure::ShardDamaged { shard, reason: "it was found damaged at start".into() }),
                };
                let answered = decided.and_then(|decided| self.record(shard, decided));
                self.group.answers.push((answer, answered));
            }
            Job::Applied { shard, index, changed } => {
                if let Some(owner) = self.shards.get_mut(&shard) {
                    owner.applied(index, &changed);
                }
            }
            Job::Release(position) => {
                if let Err(error) = self.log.release(position) {
                    tracing::warn!(%error, "old log segments could not be recycled");
                }
            }
            Job::Damaged { shard, .. } => {
                self.shards.remove(&shard);
            }
            Job::Stop => {}
        }
    }

    /// Encodes the ops of a decision as one record of the group.
    fn record(&mut self, shard: ShardId, decided: Decided) -> Answer {
        let Decided { decision, view } = decided;
        let answered = Answered { reply: decision.reply, released: decision.released };
        if !decision.ops.is_empty() {
            let ops = decision.ops.into_vec();
            self.append(shard, RecordKind::Batch, ops, view).map_err(|_| Failure::LogFailed)?;
        }
        Ok(answered)
    }

    /// Puts one record into the group.
    pub(crate) fn append(
        &mut self,
        shard: ShardId,
        kind: RecordKind,
        ops: Vec<Op>,
        view: Option<Arc<StreamView>>,
    ) -> Result<(), LaneError> {
        let Some(owner) = self.shards.get_mut(&shard) else { return Ok(()) };
        let index = owner.last.next();
        let head = RecordHead { kind, shard, epoch: owner.epoch, index, chain: owner.chain };
        let mut wires = Vec::new();
        let appended = self.log.append(&head, |buffer| encode_ops(&ops, buffer, &mut wires))?;
        owner.last = index;
        owner.chain = appended.chain;
        for op in &ops {
            if let Op::Create(meta) = op
                && let Some(deadline) = meta.deadline()
            {
                owner.deadlines.insert((deadline, meta.id));
            }
        }
        self.group.bytes += appended.bytes;
        let pending = Pending { shard, index, chain: appended.chain, position: appended.position, ops, wires, view };
        self.group.records.push(pending);
        Ok(())
    }
}
