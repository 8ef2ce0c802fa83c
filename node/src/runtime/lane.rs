//! The owner of a lane: one thread, which owns the lane's log and the cores of the shards that map to it.
//!
//! It takes all jobs that wait, decides them one after the other, writes the records as one group, syncs once, and lets the
//! replicas say what is committed by that: this is published and answered. What arrives meanwhile is the next group.
//! Invariant: nothing is published or answered before what it rests on is as durable as the settings promise, on as many
//! voters as the replica asks for; after a failed write or sync nothing is answered any more.

mod appending;
mod carry;
mod commit;
mod contact;
mod deciding;
mod demand;
mod flight;
mod giving_up;
mod group;
mod hold;
mod look;
mod reseed;
mod seeds;
mod stall;

pub(super) use contact::Listener;
pub(super) use flight::Flights;
pub(super) use group::Group;
pub(super) use look::Looks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::applier::{ApplyQueue, Committed};
use super::fatal::Fatal;
use super::links::UNHEARD;
use super::mailbox::{Asked, Hold, Installed, Job, Mailbox, Question, Waiter};
use super::owner::{Service, ShardOwner};
use super::shared::Shared;
use super::vault::Vault;
use crate::codec::record::{RecordKind, total_bytes};
use crate::core::Command;
use crate::core::replication::{self, Ask, Effect, HandOver, Input, Lead, Message, Replica, Ticket};
use crate::seam::Clock;
use crate::store::aol::{Lane, LaneError};
use crate::telemetry::{LaneMetrics, Metrics};
use crate::types::{
    AolMode, Boot, Chain, Durability, Epoch, FsyncPolicy, LaneId, LanePosition, LogIndex, Parent, ReplicaId,
    ShardId, StreamId,
};
use crate::wire::{Door, Port};
use seeds::Seeds;

/// Most bytes of records in one group: bounds how long the first of a group waits for the last.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// A group of this size pays for the blocks that it is the first to write: zeros written ahead of such groups would be the same bytes
/// once more, and a sync more between two of them. A follower that catches up writes nothing else.
const GROUP_BYTES_LARGE: u64 = 1 << 20;
/// Room that must be there before dropped entries are asked for again: a frame of them or two.
const ROOM_TO_GO_ON: usize = 512 << 10;
/// Everything that a lane's owner works with.
#[derive(Debug)]
pub(crate) struct LaneOwner {
    pub(crate) lane: LaneId,
    /// This start.
    pub(crate) boot: Boot,
    pub(crate) log: Lane,
    pub(crate) shards: BTreeMap<ShardId, ShardOwner>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) sweep_interval: Duration,
    /// Between two heartbeats.
    pub(crate) heartbeat: Duration,
    /// An answer may be given once its record is on this disk; the majority follows.
    pub(crate) acks_alone: bool,
    /// So many bytes may wait for a majority at most.
    pub(crate) ahead_max: u64,
    /// Bytes of the log that are kept for followers that fall behind.
    pub(crate) follower_log_max: u64,
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
    pub(crate) shared: Arc<Shared>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) duty: Duty,
    /// Syncs that the lane does not wait for.
    pub(crate) flights: Flights,
}

/// What a lane has to do for its replicas.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    /// To followers, and to leaders.
    pub(crate) ports: BTreeMap<ReplicaId, Port>,
    pub(crate) doors: BTreeMap<ReplicaId, Door>,
    /// Memories that are to be saved in this turn.
    pub(crate) unsaved: BTreeMap<ShardId, Ticket>,
    /// Cuts that are durable once this turn is synced.
    pub(crate) cuts: BTreeMap<ShardId, (LogIndex, Chain)>,
    /// Tables that were replaced; the log says so once this turn is synced.
    pub(crate) seeded: BTreeMap<ShardId, Installed>,
    /// Followers that are seeded.
    pub(crate) seeds: Seeds,
    /// What is committed and goes to the applier at the end of the turn.
    pub(crate) handed: Handed,
    /// Places of messages whose entries are written in this turn.
    pub(crate) holds: Vec<Hold>,
    /// Who waits for the answer of a replica.
    pub(crate) asks: BTreeMap<Ask, oneshot::Sender<replication::Answer>>,
    pub(crate) asked: u64,
    /// Room for what a replica says; kept so that it need not be made each time.
    pub(crate) effects: Vec<Effect>,
    pub(crate) ticked_at: Duration,
    /// The last group was a large one.
    pub(crate) writes_much: bool,
    /// Leaders to whom something was said that is not on its way yet.
    pub(crate) spoken_to: BTreeSet<ReplicaId>,
    /// What each leader was told last of each shard, if that was a confirmation, and when.
    pub(crate) confirmed: BTreeMap<(ReplicaId, ShardId), (Confirmation, Duration)>,
    /// Leaders whose entries were dropped for lack of room.
    pub(crate) starved: BTreeSet<ReplicaId>,
    /// Commands of shards that are being handed over.
    pub(crate) held: BTreeMap<ShardId, VecDeque<(Command, Waiter)>>,
    /// Where the log last said how far it is committed.
    pub(crate) settled_at: LanePosition,
    /// Log bytes that were written and not committed when the last turn ended.
    pub(crate) uncommitted: u64,
}

/// What a follower confirms: the epoch, how far its disk has it, and the round that it echoes.
pub(crate) type Confirmation = (Epoch, LogIndex, u64);

/// What is committed and waits to be handed to the applier.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) records: Vec<(ShardId, Committed)>,
    pub(crate) bytes: u64,
}

impl LaneOwner {
    /// Runs until told to stop or until the log fails.
    pub(crate) fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            self.mailbox.take(&mut jobs, self.patience());
            self.lane_metrics.queue.set(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
            let rested = jobs.is_empty();
            let mut stop = false;
            for job in jobs.drain(..) {
                stop |= matches!(job, Job::Stop);
                self.handle(job);
                if self.broken || (self.group.bytes >= GROUP_BYTES_MAX && self.turn().is_err()) {
                    return self.fail();
                }
            }
            self.sweep();
            self.tick();
            if self.take_up().is_err() {
                return self.fail();
            }
            self.unmarked |= !self.group.is_empty();
            let turned = match self.gathers() {
                true => {
                    self.hand_over();
                    Ok(())
                }
                false => self.turn().and_then(|()| self.sync_if_due()),
            };
            if turned.is_err() || self.broken {
                return self.fail();
            }
            if stop {
                return if self.land().is_ok() { self.finish() } else { self.fail() };
            }
            if self.tend(rested).is_err() {
                return self.fail();
            }
            if self.wait_for_room().is_err() {
                return self.fail();
            }
        }
    }

    /// Waits while the applier has enough to do.
    fn wait_for_room(&mut self) -> Result<(), LaneError> {
        if self.apply.wait_for_room(Duration::ZERO) {
            return Ok(());
        }
        // Whoever waits for what is being synced does not wait for the applier.
        self.land()?;
        self.turn()?;
        self.land()?;
        self.hand_over();
        while !self.apply.wait_for_room(self.heartbeat) {
            self.tick();
            self.turn()?;
        }
        Ok(())
    }

    /// What can wait until the writers were answered: a step towards the next segment; and once the lane has `rested`, a mark that says
    /// how far it is synced. It is a sync of its own: a lane that only hears what its followers confirmed has a writer who waits.
    fn tend(&mut self, rested: bool) -> Result<(), LaneError> {
        if self.durability.aol == AolMode::Never || self.flights.has_begun() {
            return Ok(());
        }
        if rested && self.unmarked && self.unsynced_since.is_none() {
            self.unmarked = false;
            self.lane_metrics.marks.inc();
            match self.log.mark() {
                Ok(()) | Err(LaneError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        self.duty.writes_much &= !rested;
        if self.duty.writes_much {
            return Ok(());
        }
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
        let tick = self.duty.ticked_at + self.heartbeat;
        sweep.min(sync).min(tick).saturating_sub(now)
    }

    fn handle(&mut self, job: Job) {
        if !job.only_adds() && self.land().is_err() {
            self.broken = true;
            return;
        }
        match job {
            Job::Command { shard, command, waiter } => self.take(shard, command, waiter),
            Job::Errand { from, shard, number, asked, hold } => {
                match *asked {
                    Asked::Command(command) if number == UNHEARD => {
                        self.take(shard, command, Waiter::Nobody);
                    }
                    Asked::Command(command) => self.take(shard, command, Waiter::Peer { from, number }),
                    Asked::Touched(streams) => self.touched(shard, &streams),
                }
                self.duty.holds.push(hold);
            }
            Job::Applied { shard, index, changed } => {
                if let Some(owner) = self.shards.get_mut(&shard) {
                    owner.applied(index, &changed);
                }
                self.open_if_applied(shard);
            }
            Job::Release { upto, lean } => {
                let upto = self.spared_for_followers(upto, lean);
                let released = self.log.release(upto);
                self.shards.values_mut().for_each(|owner| owner.forget_marks_before(upto));
                if let Err(error) = released.and_then(|()| if lean { self.log.give_back() } else { Ok(()) }) {
                    tracing::warn!(%error, "old log segments could not be recycled");
                }
            }
            Job::Heard { from, shard, message, hold } => {
                if self.takes(from, &message) {
                    self.step(shard, Input::Heard { from, message: *message });
                }
                self.duty.holds.push(hold);
            }
            Job::Dialled { peer, port } => {
                self.duty.ports.insert(peer, *port);
                self.each_shard(|_| Input::Connected(peer));
            }
            Job::Accepted { peer, door } => {
                self.duty.confirmed.retain(|(leader, _), _| *leader != peer);
                self.duty.doors.insert(peer, door);
            }
            Job::Read { shard, asker } => self.read(shard, asker),
            Job::Ask { shard, question, answer } => self.ask(shard, *question, answer),
            Job::Lacks { peer, shard, epoch } => self.step(shard, Input::Lacks { to: peer, epoch }),
            Job::Fetched { shard, image } => self.step(shard, Input::Fetched(*image)),
            Job::Unfetched { shard } => self.step(shard, Input::Unseeded),
            Job::Installed { shard, outcome } => self.installed(shard, outcome.map(|installed| *installed)),
            Job::GiveUp { shard } => self.give_up(shard),
            Job::Join(me) => self.join(me),
            Job::Vouched => self.each_shard(|_| Input::Vouched),
            Job::PutBack(met) => self.each_shard(|_| Input::PutBack(met)),
            Job::Synced | Job::Stop => {}
        }
    }

    /// Whether there is room for what a leader sends. Entries that are dropped are sent again on a new connection, once there
    /// is.
    fn takes(&mut self, from: ReplicaId, message: &Message) -> bool {
        let Message::Records(records) = message else { return true };
        let bytes: u64 = records.entries.iter().map(|entry| total_bytes(entry.payload.len())).sum();
        let kind = records.entries.first().map_or(RecordKind::Batch, |entry| entry.kind);
        let bytes = usize::try_from(bytes.saturating_add(self.group.bytes)).unwrap_or(usize::MAX);
        match self.log.has_room(bytes, kind) {
            Ok(true) => true,
            Ok(false) => {
                self.apply.beg(kind == RecordKind::Relief);
                self.note_room(false);
                self.duty.starved.insert(from);
                false
            }
            // The next step of the lane tells.
            Err(_) => false,
        }
    }

    /// There is room again for what was dropped: it is asked for.
    fn feed(&mut self) {
        if self.duty.starved.is_empty()
            || !self.log.has_room(ROOM_TO_GO_ON, RecordKind::Batch).unwrap_or(false)
        {
            return;
        }
        self.note_room(true);
        for leader in std::mem::take(&mut self.duty.starved) {
            if let Some(door) = self.duty.doors.get(&leader) {
                door.hang_up();
            }
        }
    }

    /// Decides a command, unless it is kept back.
    fn take(&mut self, shard: ShardId, command: Command, waiter: Waiter) {
        if let Some((command, waiter)) = self.hold(shard, (command, waiter)) {
            self.decide(shard, command, waiter);
        }
    }

    /// Streams were read on another node: their windows begin anew.
    fn touched(&self, shard: ShardId, streams: &[StreamId]) {
        let serving = self.shards.get(&shard).filter(|owner| owner.check_service().is_ok());
        if let Some(owner) = serving {
            owner.renew(streams, self.clock.now());
        }
    }

    /// What of the log is let go: the last of it stays for followers that fall behind, unless the volume is full.
    fn spared_for_followers(&mut self, upto: LanePosition, lean: bool) -> LanePosition {
        if self.shared.cluster.get().is_none() || lean {
            return upto;
        }
        let tail = self.log.tail();
        let spared = LanePosition(tail.0.saturating_sub(self.follower_log_max));
        let seeds = self.duty.seeds.floor(tail, self.follower_log_max).unwrap_or(spared);
        upto.min(spared).min(seeds)
    }

    /// An elector asks a replica. Whoever is not there does not answer: the sender is dropped.
    fn ask(&mut self, shard: ShardId, question: Question, answer: oneshot::Sender<replication::Answer>) {
        self.duty.asked += 1;
        let ask = Ask(self.duty.asked);
        if self.replica(shard).is_none() {
            return;
        }
        self.duty.asks.insert(ask, answer);
        let input = match question {
            Question::Seal(epoch) => Input::Seal { ask, epoch },
            Question::Lead(order, expected) => {
                let (epoch, configs, learners) = (order.epoch, order.configs, order.learners);
                Input::Lead(Box::new(Lead { ask, epoch, configs, learners, expected }))
            }
            Question::HandOver { epoch, successor: to, patience } => {
                Input::HandOver(HandOver { ask, epoch, to, patience })
            }
            Question::Configure(order) => {
                let (epoch, configs, learners) = (order.epoch, order.configs, order.learners);
                Input::Configure { ask, epoch, configs, learners }
            }
        };
        self.step(shard, input);
    }

    /// The same happens to every replica.
    fn each_shard(&mut self, input: impl Fn(ShardId) -> Input) {
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.step(shard, input(shard)));
    }

    /// The node was told who is in the cluster: replicas that have not begun begin. Those that have may have learnt of new
    /// addresses.
    pub(crate) fn join(&mut self, me: ReplicaId) {
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        let cluster = self.shared.cluster.get().cloned();
        let vouched = cluster.as_ref().is_none_or(|cluster| cluster.is_vouched());
        let awaits = |shard| cluster.as_ref().is_some_and(|cluster| cluster.awaits_members(shard));
        for shard in shards.into_iter().filter(|shard| !awaits(*shard)) {
            let memory = self.vault.memory(shard).unwrap_or_default();
            let mut effects = std::mem::take(&mut self.duty.effects);
            let begun = match self.shards.get_mut(&shard) {
                Some(owner) => owner.begin((me, self.boot, vouched), memory, &mut effects),
                None => false,
            };
            if begun {
                self.carry_out(shard, &mut effects);
            }
            effects.clear();
            self.duty.effects = effects;
            if begun {
                // What it hears before its next heartbeat is not as old as the node.
                self.step(shard, Input::Tick(self.clock.elapsed()));
                // Connections that were there before it.
                let peers: Vec<ReplicaId> = self.duty.ports.keys().copied().collect();
                peers.into_iter().for_each(|peer| self.step(shard, Input::Connected(peer)));
            }
            self.note_leader_again(shard);
        }
        if let Some(met) = cluster.and_then(|cluster| cluster.put_back_before()) {
            self.each_shard(|_| Input::PutBack(met));
        }
    }

    /// Time for heartbeats, and to say how everything stands.
    fn tick(&mut self) {
        let now = self.clock.elapsed();
        if now < self.duty.ticked_at + self.heartbeat {
            return;
        }
        self.duty.ticked_at = now;
        self.note_rot();
        self.each_shard(|_| Input::Tick(now));
        self.open_the_rest();
        self.feed();
        self.look_for_stalls(now);
        // What a replica that led no more could not answer, and nobody waits for any more.
        self.duty.asks.retain(|_, sender| !sender.is_closed());
        self.tend_seeds(now);
        self.tell(now);
        self.shared.tell_touches();
    }

    /// Shards that lead and could not be served at once, since their tables failed to be read.
    fn open_the_rest(&mut self) {
        let opening =
            |(shard, owner): (&ShardId, &ShardOwner)| (owner.service == Service::Opening).then_some(*shard);
        let shards: Vec<ShardId> = self.shards.iter().filter_map(opening).collect();
        shards.into_iter().for_each(|shard| self.open_if_applied(shard));
    }

    pub(super) fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.shards.get(&shard)?.replica.as_ref()
    }

    /// A fork has ended: its source may let go. Nobody waits for it; what is lost on the way is swept later.
    pub(super) fn release(&self, parent: Parent) {
        let Parent { shard, stream, pin, .. } = parent;
        self.shared.order(shard, Command::Unpin { stream, pin });
    }
}
