//! Carries out what the replicas of a lane want done, in order. What is to be saved, written and synced is gathered for the
//! turn; what is said goes to the links at once, since a replica says only what its disk holds already.

use std::sync::Arc;
use std::time::Duration;

use super::{Confirmation, LaneOwner};
use crate::codec::record::RecordKind;
use crate::codec::voters::{decode_configs, encode_configs};
use crate::core::replication::{Effect, Entry, Halt, Input, Message, Part};
use crate::runtime::Failure;
use crate::runtime::applier::Committed;
use crate::runtime::links::answer_bytes;
use crate::runtime::mailbox::{Answer, Answered, Asker, Waiter, Waiting};
use crate::runtime::owner::{Service, tally};
use crate::runtime::whereabouts::Whereabouts;
use crate::types::{Configs, LogIndex, ReplicaId, ShardId};
use crate::wire::Shipping;

impl LaneOwner {
    /// Something happens to a replica.
    pub(super) fn step(&mut self, shard: ShardId, input: Input) {
        let mut effects = std::mem::take(&mut self.duty.effects);
        if let Some(replica) = self.shards.get_mut(&shard).and_then(|owner| owner.replica.as_mut()) {
            replica.step(input, &mut effects);
            self.carry_out(shard, &mut effects);
            self.note_leader(shard);
        }
        effects.clear();
        self.duty.effects = effects;
    }

    /// Does what a replica wants done.
    pub(super) fn carry_out(&mut self, shard: ShardId, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Save(ticket) => drop(self.duty.unsaved.insert(shard, ticket)),
                Effect::Append { kind, configs } => self.append_own(shard, kind, configs.as_ref()),
                Effect::Write(entries) => self.append_received(shard, &entries),
                Effect::Cut { to } => self.cut(shard, to),
                Effect::Send { to, message } => self.send(shard, to, &message),
                Effect::Ship { to, after } => self.ship(shard, to, after),
                Effect::Unship(to) => {
                    if let Some(port) = self.duty.ports.get_mut(&to) {
                        port.unship(shard);
                    }
                }
                Effect::Image(to) => self.seed(shard, to),
                Effect::Fetch { from, image } => self.fetch(shard, from, image),
                Effect::Unfetch => self.unfetch(shard),
                Effect::Install(_) => self.install(shard),
                Effect::Empty => self.empty(shard),
                Effect::Committed(upto) => self.publish(shard, upto),
                Effect::Opened(_) => {
                    if let Some(owner) = self.shards.get_mut(&shard) {
                        owner.service = Service::Opening;
                    }
                    self.open_if_applied(shard);
                }
                Effect::Closed(_) => self.close(shard),
                Effect::Suspended => self.suspend(shard),
                Effect::Resumed => tracing::info!(shard = shard.0, "enough voters are heard of again"),
                Effect::RoundBegun(round) => {
                    if let Some(owner) = self.shards.get_mut(&shard) {
                        owner.line.begin_round(round);
                    }
                }
                Effect::Readable { round, upto } => self.readable(shard, round, upto),
                Effect::Answer { ask, answer } => {
                    if let Some(sender) = self.duty.asks.remove(&ask) {
                        let _gone = sender.send(answer);
                    }
                }
                Effect::Confirmed { version, .. } => {
                    tracing::info!(shard = shard.0, version = version.0, "a set of voters stands alone");
                }
                Effect::Halted(halt) => {
                    if let Some(open) = self.shared.open_shard(shard) {
                        match halt {
                            Halt::PutBack(_) => open.condemn_with_all(&halt.to_string()),
                            halt => open.condemn(&halt.to_string()),
                        }
                    }
                }
            }
        }
    }

    /// An entry that begins an epoch or says who votes.
    fn append_own(&mut self, shard: ShardId, kind: RecordKind, configs: Option<&Configs>) {
        let Some(epoch) = self.replica(shard).and_then(|replica| replica.leads()) else { return };
        let mut payload = Vec::new();
        configs.into_iter().for_each(|configs| encode_configs(configs, &mut payload));
        self.append_entry(shard, &Entry { kind, epoch, payload: payload.into() });
    }

    /// Entries of the leader; room was made sure of when they came. Behind one that is not taken none is: it would get that one's index.
    fn append_received(&mut self, shard: ShardId, entries: &[Entry]) {
        let _all = entries.iter().all(|entry| self.append_entry(shard, entry));
    }

    /// Whether it was taken.
    fn append_entry(&mut self, shard: ShardId, entry: &Entry) -> bool {
        let configs = match entry.kind {
            RecordKind::Config => match decode_configs(&entry.payload) {
                Ok(configs) => Some(configs),
                Err(error) => {
                    if let Some(open) = self.shared.open_shard(shard) {
                        open.condemn(&format!("an entry from its leader cannot be read: {error}"));
                    }
                    return false;
                }
            },
            _ => None,
        };
        if let Err(error) = self.append_as_received(shard, entry, configs) {
            tracing::error!(%error, "an entry was not taken by the log");
            self.broken = true;
        }
        !self.broken
    }

    /// Takes entries back: a record says so, and once that is synced the replica hears of it.
    fn cut(&mut self, shard: ShardId, to: LogIndex) {
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        self.group.records.retain(|record| record.shard != shard || record.index <= to);
        let written =
            self.group.records.iter().rev().find(|record| record.shard == shard && record.index == to);
        let chain = written.map(|record| record.chain).or_else(|| owner.line.chain_at(to));
        let Some(chain) = chain else {
            tracing::error!(shard = shard.0, to = to.0, "entries are to be cut that are committed");
            self.broken = true;
            return;
        };
        let behind = owner.line.places_behind(to);
        let kept = behind.is_none_or(|range| self.log.keep_taken_back(shard, range.start, range.end));
        tracing::info!(shard = shard.0, to = to.0, kept, "entries that no majority held are taken back");
        owner.line.cut(to);
        owner.forget_marks_behind(to);
        self.duty.cuts.insert(shard, (to, chain));
        if let Err(error) = self.append_cut(shard, to, chain) {
            tracing::error!(%error, "a cut was not taken by the log");
            self.broken = true;
        }
    }

    fn send(&mut self, shard: ShardId, to: ReplicaId, message: &Message) {
        match message {
            Message::Report(_) | Message::Refused { .. } | Message::Ack { .. } => {
                if self.says_something(shard, to, message)
                    && let Some(door) = self.duty.doors.get(&to)
                {
                    door.put(shard, message);
                    self.duty.spoken_to.insert(to);
                }
            }
            Message::Offer { .. } => self.offer(shard, to, message),
            _ => {
                if let Some(port) = self.duty.ports.get_mut(&to) {
                    port.send(shard, message);
                }
            }
        }
    }

    /// A confirmation that says what the last one said tells the leader that this node lives, and nothing else: within half a heartbeat
    /// it knows that. So the news of a commit, which comes behind every group, is not answered.
    fn says_something(&mut self, shard: ShardId, to: ReplicaId, message: &Message) -> bool {
        let Message::Ack { epoch, synced, round } = *message else {
            self.duty.confirmed.remove(&(to, shard));
            return true;
        };
        let (now, said) = (self.clock.elapsed(), (epoch, synced, round));
        let fresh = |(last, at): &(Confirmation, Duration)| *last == said && now < *at + self.heartbeat / 2;
        if self.duty.confirmed.get(&(to, shard)).is_some_and(fresh) {
            return false;
        }
        self.duty.confirmed.insert((to, shard), (said, now));
        true
    }

    fn ship(&mut self, shard: ShardId, to: ReplicaId, after: LogIndex) {
        let (Some(owner), Some(port)) = (self.shards.get(&shard), self.duty.ports.get_mut(&to)) else {
            return;
        };
        let Some(replica) = &owner.replica else { return };
        let Some(epoch) = replica.leads() else { return };
        let shipping = Shipping {
            epoch,
            after,
            chain: owner.line.chain_at(after),
            committed: replica.committed(),
            written: replica.synced(),
            history: Arc::new(replica.history().clone()),
            from: owner.mark(after),
        };
        port.ship(shard, shipping);
    }

    /// Lets readers see what is committed, hands it to the applier, and answers.
    fn publish(&mut self, shard: ShardId, upto: LogIndex) {
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        while let Some(entry) = owner.line.take_committed(upto) {
            let (index, epoch, chain, position) = (entry.index, entry.epoch, entry.chain, entry.position);
            let received = entry.is_received();
            let (ops, view, cause) = match entry.changes() {
                Ok(changes) => changes,
                Err(reason) => {
                    if let Some(open) = owner.shared.open_shard(shard) {
                        open.condemn(&format!("record {index} cannot be read: {reason}"));
                    }
                    continue;
                }
            };
            let view = if received { owner.make_resident(&ops) } else { view };
            if let Some(open) = owner.shared.open_shard(shard) {
                open.views.publish(&ops, index, view.as_deref(), |op, let_go| {
                    tally::count(&self.metrics.engine, op, cause, let_go);
                });
                owner.shared.subscriptions.publish(shard, &ops);
            }
            owner.published(index, &ops, received);
            let committed = Committed::new(index, (epoch, chain), position, ops);
            self.duty.handed.bytes += committed.bytes;
            self.duty.handed.records.push((shard, committed));
        }
        if let Some(open) = owner.shared.open_shard(shard) {
            open.show(upto);
        }
        self.give_answers(shard, upto);
    }

    /// Gives the answers that rest on nothing behind `upto`.
    pub(super) fn give_answers(&mut self, shard: ShardId, upto: LogIndex) {
        let mut others = Vec::new();
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        while let Some(waiting) = owner.line.take_answer(upto) {
            tally::count_answer(&self.metrics.engine, &waiting.answer);
            match waiting.waiter {
                // A client that went away does not care.
                Waiter::Here(sender) => drop(sender.send(waiting.answer)),
                waiter => others.push((waiter, waiting.answer)),
            }
        }
        others.into_iter().for_each(|(waiter, answer)| self.answer(shard, waiter, answer));
    }

    /// Gives one answer.
    pub(super) fn answer(&mut self, shard: ShardId, waiter: Waiter, answer: Answer) {
        match waiter {
            Waiter::Here(sender) => drop(sender.send(answer)),
            Waiter::Peer { from, number } => {
                let visible = self.shards.get(&shard).map_or(LogIndex(0), |owner| owner.line.committed());
                if let Some(port) = self.duty.ports.get_mut(&from)
                    && let Some(bytes) = answer_bytes(&answer, visible)
                {
                    port.answer_errand(shard, number, bytes);
                }
            }
            Waiter::Nobody => {
                if let Ok(Answered { released: Some(parent), .. }) = answer {
                    self.release(parent);
                }
            }
        }
    }

    /// It leads no more: what is not committed may or may not come to be.
    pub(super) fn close(&mut self, shard: ShardId) {
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        owner.stop_serving();
        self.duty.seeds.drop_shard(shard);
        let mut waiters: Vec<Waiter> = owner.line.take_answers().map(|waiting| waiting.waiter).collect();
        for asker in owner.line.take_reads() {
            self.answer_read(shard, asker, None);
        }
        // What was decided in this turn rests on the same log.
        let due = self.group.answers.extract_if(.., |due| due.shard == shard);
        waiters.extend(due.map(|due| due.waiter));
        waiters.into_iter().for_each(|waiter| self.answer(shard, waiter, Err(Failure::LeaderLost)));
    }

    /// Serves writes once the tables hold all that is committed: heads are loaded from there.
    pub(super) fn open_if_applied(&mut self, shard: ShardId) {
        let now = self.clock.now();
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        match owner.serve_if_applied(now) {
            Ok(true) => self.note_leader(shard),
            Ok(false) => {}
            Err(error) => tracing::error!(shard = shard.0, %error, "a shard cannot be served yet"),
        }
    }

    fn readable(&mut self, shard: ShardId, round: u64, upto: LogIndex) {
        let Some(owner) = self.shards.get_mut(&shard) else { return };
        for asker in owner.line.end_rounds(round) {
            self.answer_read(shard, asker, Some(upto));
        }
    }

    /// Somebody's reads need proof that this replica leads.
    pub(super) fn read(&mut self, shard: ShardId, asker: Asker) {
        let leads = self.replica(shard).is_some_and(|replica| matches!(replica.part(), Part::Leading { .. }));
        match self.shards.get_mut(&shard) {
            Some(owner) if leads => {
                owner.line.ask(asker);
                self.step(shard, Input::Read);
            }
            _ => self.answer_read(shard, asker, None),
        }
    }

    /// `upto`: this replica led, and that much was committed when it was asked.
    pub(super) fn answer_read(&mut self, shard: ShardId, asker: Asker, upto: Option<LogIndex>) {
        match asker {
            Asker::Answer(waiting) if upto.is_some() => self.wait_for_commit(shard, waiting),
            // It may have been decided on what another leader has changed since; nothing was done for it.
            Asker::Answer(Waiting { waiter, .. }) => {
                self.answer(shard, waiter, Err(Failure::NotLeader { shard }));
            }
            Asker::Here(sender) => drop(sender.send(upto.ok_or(Failure::NotLeader { shard }))),
            Asker::Peer { from, number } => {
                if let Some(port) = self.duty.ports.get_mut(&from) {
                    port.answer_read(shard, number, upto);
                }
            }
        }
    }

    /// Tells requests where the leader is, when that has changed.
    pub(super) fn note_leader(&mut self, shard: ShardId) {
        let Some((leader, whereabouts)) = self.whereabouts(shard) else { return };
        if let Some(owner) = self.shards.get_mut(&shard).filter(|owner| owner.leader != leader) {
            owner.leader = leader;
            self.shared.leaders.note(shard, leader, whereabouts);
        }
    }

    /// The same leader may have moved to another address.
    pub(super) fn note_leader_again(&self, shard: ShardId) {
        let known = self.shards.get(&shard).and_then(|owner| owner.leader);
        if let Some((leader, whereabouts)) = self.whereabouts(shard).filter(|(leader, _)| *leader == known) {
            self.shared.leaders.note(shard, leader, whereabouts);
        }
    }

    fn whereabouts(&self, shard: ShardId) -> Option<(Option<ReplicaId>, Whereabouts)> {
        let cluster = self.shared.cluster.get()?;
        let owner = self.shards.get(&shard)?;
        let replica = owner.replica.as_ref()?;
        Some(match replica.part() {
            // Whoever hears of too few voters can prove nothing to a reader, and takes no writes: requests wait for another leader.
            Part::Leading { suspended: false, .. } if owner.service == Service::Open => {
                (Some(replica.id()), Whereabouts::Here)
            }
            Part::Following { leader } => (Some(leader), cluster.client_address(leader)),
            _ => (None, Whereabouts::Nobody),
        })
    }
}
