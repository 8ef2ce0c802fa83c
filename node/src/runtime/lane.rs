//! The owner of a lane: one thread, which owns the lane's log and the cores of the shards that map to it.
//!
//! It takes all jobs that wait, decides them one after the other, writes the records as one group, syncs once, publishes,
//! answers. What arrives meanwhile is the next group. Invariant: nothing is published or answered before what it rests on
//! is as durable as the settings promise; after a failed write or sync nothing is answered any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::apply_queue::ApplyQueue;
use super::fatal::Fatal;
use super::group::{Group, Pending};
use super::mailbox::{Answer, Answered, Job, Mailbox};
use super::owner::{Decided, ShardOwner};
use super::tally::Cause;
use super::view::StreamView;
use super::{Failure, demand};
use crate::codec::op::encode_ops;
use crate::codec::record::{RecordKind, chain_after};
use crate::core::Command;
use crate::seam::Clock;
use crate::store::aol::{Appended, Lane, LaneError, RecordHead};
use crate::telemetry::{LaneMetrics, Metrics};
use crate::types::{
    AolMode, Boot, Chain, Durability, FsyncPolicy, LaneId, LanePosition, Op, Parent, ShardId,
};

/// Most bytes of records in one group: bounds how long the first of a group waits for the last.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// Streams of one shard that one sweep ends: a mass expiry delays no writer by more than a few milliseconds.
const EXPIRIES_PER_SWEEP_MAX: usize = 256;

/// Everything that a lane's owner works with.
#[derive(Debug)]
pub(crate) struct LaneOwner {
    pub(crate) lane: LaneId,
    /// This start.
    pub(crate) boot: Boot,
    pub(crate) log: Lane,
    pub(crate) shards: BTreeMap<ShardId, ShardOwner>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// The doors of all lanes, by shard.
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) sweep_interval: Duration,
    pub(crate) fatal: Fatal,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lane_metrics: LaneMetrics,
    pub(crate) group: Group,
    /// Where records are encoded that go to no log.
    pub(crate) scratch: BytesMut,
    /// The oldest record that was written and not synced (relaxed modes only).
    pub(crate) unsynced_since: Option<Duration>,
    pub(crate) swept_at: Duration,
    /// A decided record was not taken by the log: nothing may be decided on it.
    pub(crate) broken: bool,
    /// Records were written since the last mark.
    pub(crate) unmarked: bool,
    /// Writes are refused for lack of room.
    pub(crate) full: bool,
}

impl LaneOwner {
    /// Runs until told to stop or until the log fails.
    pub(crate) fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            self.mailbox.take(&mut jobs, self.patience());
            self.lane_metrics.queue.set(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
            let mut stop = false;
            for job in jobs.drain(..) {
                stop |= matches!(job, Job::Stop);
                self.handle(job);
                if self.broken || (self.group.bytes >= GROUP_BYTES_MAX && self.commit().is_err()) {
                    return self.fail();
                }
            }
            self.sweep();
            if self.broken {
                return self.fail();
            }
            let idle = self.group.is_empty();
            if self.commit().and_then(|()| self.sync_if_due()).is_err() {
                return self.fail();
            }
            if stop {
                return self.finish();
            }
            if self.tend(idle).is_err() {
                return self.fail();
            }
            self.apply.wait_for_room();
        }
    }

    /// What can wait until the writers were answered: a step towards the next segment; and once the lane has fallen idle,
    /// a mark that says how far it is synced.
    fn tend(&mut self, idle: bool) -> Result<(), LaneError> {
        if self.durability.aol == AolMode::Never {
            return Ok(());
        }
        if idle && self.unmarked && self.unsynced_since.is_none() {
            self.unmarked = false;
            match self.log.mark() {
                Ok(()) | Err(LaneError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        self.unmarked |= !idle;
        self.log.tend().map(drop)
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
                let answered = self.command(shard, command);
                self.group.answers.push((answer, answered));
            }
            Job::Applied { shard, index, changed } => {
                if let Some(owner) = self.shards.get_mut(&shard) {
                    owner.applied(index, &changed);
                }
            }
            Job::Release { upto, lean } => {
                let released = self.log.release(upto);
                if let Err(error) = released.and_then(|()| if lean { self.log.give_back() } else { Ok(()) }) {
                    tracing::warn!(%error, "old log segments could not be recycled");
                }
            }
            Job::Stop => {}
        }
    }

    /// Decides a command and encodes what it changes as one record of the group.
    fn command(&mut self, shard: ShardId, command: Command) -> Answer {
        // Room is made sure of before the decision, so that a decision never has to be taken back.
        let kind = if command.frees_room() { RecordKind::Relief } else { RecordKind::Batch };
        if !self.has_room(shard, &command, kind)? {
            return Err(Failure::DiskFull);
        }
        let now = self.clock.now();
        let owner = self.shards.get_mut(&shard).ok_or_else(|| unknown_shard(shard))?;
        owner.check_links(&command)?;
        if kind == RecordKind::Batch && command.adds_messages() {
            owner.shared.check_total()?;
        }
        let cause = Cause::of(&command);
        let Decided { decision, view } = owner.decide(command, now)?;
        if !decision.ops.is_empty()
            && let Err(error) = self.append(shard, kind, decision.ops.into_vec(), view, cause)
        {
            // The core has decided on it already: only a new start can take that back.
            tracing::error!(%error, "a decided record was not taken by the log");
            self.broken = true;
            return Err(Failure::LogFailed);
        }
        Ok(Answered { reply: decision.reply, released: decision.released })
    }

    fn has_room(&mut self, shard: ShardId, command: &Command, kind: RecordKind) -> Result<bool, Failure> {
        if self.durability.aol == AolMode::Never {
            return Ok(true);
        }
        let shares = self.shards.get(&shard).map_or(0, |owner| owner.core.shares());
        let group = usize::try_from(self.group.bytes).unwrap_or(usize::MAX);
        let bytes = demand::log_bytes(command, shares).saturating_add(group);
        // The tables are asked first: a refused write must not take room for the log.
        let relief = kind == RecordKind::Relief;
        if !relief && !self.apply.has_room(shard) {
            return Ok(false);
        }
        let room = self.log.has_room(bytes, kind).map_err(|_| Failure::LogFailed)?;
        if !room {
            self.apply.beg(relief);
        }
        if !relief && self.full == room {
            self.full = !room;
            self.lane_metrics.full.set(i64::from(!room));
            if room {
                tracing::info!("there is room for the log again, writes go on");
            } else {
                tracing::warn!("no room for the log: writes are refused, reads and deletions go on");
            }
        }
        Ok(room)
    }

    /// Puts one record into the group.
    pub(crate) fn append(
        &mut self,
        shard: ShardId,
        kind: RecordKind,
        ops: Vec<Op>,
        view: Option<Arc<StreamView>>,
        cause: Cause,
    ) -> Result<(), LaneError> {
        let Some(owner) = self.shards.get_mut(&shard) else { return Ok(()) };
        let index = owner.last.next();
        let head = RecordHead { kind, shard, epoch: owner.epoch, index, chain: owner.chain };
        let mut wires = Vec::new();
        let encode = |buffer: &mut BytesMut| encode_ops(&ops, buffer, &mut wires);
        let Encoded { position, chain, bytes } = match self.durability.aol {
            AolMode::Never => encode_only(&head, &mut self.scratch, encode),
            AolMode::Sync | AolMode::Async => {
                let Appended { position, end, chain, .. } = self.log.append(&head, encode)?;
                Encoded { position, chain, bytes: end.0 - position.0 }
            }
        };
        owner.last = index;
        owner.chain = chain;
        owner.note_lives(&ops);
        self.group.bytes += bytes;
        let epoch = head.epoch;
        self.group.records.push(Pending { shard, index, epoch, chain, position, ops, wires, view, cause });
        Ok(())
    }

    /// Begins this start's epoch in every shard: durable before anything else is decided.
    pub(crate) fn open_epoch(&mut self) -> Result<(), LaneError> {
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in shards {
            self.append(shard, RecordKind::EpochStart, Vec::new(), None, Cause::Request)?;
        }
        self.commit()
    }

    /// Ends the streams whose time is over, a bounded number at a time.
    fn sweep(&mut self) {
        let elapsed = self.clock.elapsed();
        if elapsed < self.swept_at + self.sweep_interval {
            return;
        }
        self.swept_at = elapsed;
        let now = self.clock.now();
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in shards {
            let due = self.shards.get_mut(&shard).map(|owner| owner.due(now, EXPIRIES_PER_SWEEP_MAX));
            for stream in due.unwrap_or_default() {
                let answered = self.command(shard, Command::Expire { stream, touched_at: None });
                if let Some(owner) = self.shards.get_mut(&shard) {
                    match &answered {
                        // Renewed, or gone: then there is no deadline any more.
                        Ok(_) => owner.schedule(stream, now.plus(1000)),
                        Err(_) => owner.postpone(stream, now.plus(1000)),
                    }
                }
                // What it releases goes on behind the commit, like the answers of the group.
                self.group.answers.push((None, answered));
            }
        }
    }

    /// A fork has ended: its source may let go. Nobody waits for it; what is lost in a crash is swept later.
    pub(super) fn release(&self, parent: Parent) {
        let Parent { shard, stream, pin, .. } = parent;
        if let Some(mailbox) = self.mailboxes.get(usize::from(shard.0)) {
            let command = Command::Unpin { stream, pin };
            let _ended = mailbox.send(Job::Command { shard, command, answer: None });
        }
    }
}

/// Where a record went.
struct Encoded {
    position: LanePosition,
    chain: Chain,
    bytes: u64,
}

/// Without a log, a record still has an index and a chain, so that a log can begin again behind it.
fn encode_only(head: &RecordHead, scratch: &mut BytesMut, encode: impl FnOnce(&mut BytesMut)) -> Encoded {
    let start = scratch.len();
    encode(scratch);
    let payload = scratch.get(start..).unwrap_or_default();
    let chain = chain_after(head.chain, head.epoch, head.index, head.kind, payload);
    Encoded { position: LanePosition::default(), chain, bytes: payload.len() as u64 }
}

fn unknown_shard(shard: ShardId) -> Failure {
    Failure::ShardDamaged { shard, reason: "it was found damaged at start".into() }
}
