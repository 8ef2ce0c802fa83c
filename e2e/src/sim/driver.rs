//! Drives the replicas of a node by their contract: all effects of an input, in order, before the next; and compares
//! every claim that a replica makes with what is true.

use thalweg_node::codec::record::RecordKind;
use thalweg_node::codec::voters::encode_configs;
use thalweg_node::core::replication::{Answer, Effect, Entry, Input, Message, Records};
use thalweg_node::types::{Configs, Epoch, LogIndex, ReplicaId};

use super::client::Op;
use super::event::{Event, NodeId, Shard};
use super::log::{configs_of, count};
use super::network::chance;
use super::node::{Shipped, Waiting};
use super::plant::Plant;
use super::queue::{Micros, SECOND};
use super::world::World;

/// Entries in one message.
const SHIP_MAX: usize = 64;
/// Entries that may be on their way to a follower.
const WINDOW: u64 = 512;
/// An acknowledgement takes no longer, or the connection is taken for dead.
const STUCK_MAX: Micros = 6 * SECOND;
/// A write to the disk takes at least so long, and so much more by chance.
const SYNC_MIN: Micros = 150;
const SYNC_MORE: Micros = 400;

impl World {
    /// Something happens to a replica.
    pub(super) fn step(&mut self, node: NodeId, shard: Shard, input: Input) {
        let mut out = std::mem::take(&mut self.effects);
        if let Some(replica) = &mut self.nodes[node].locals[shard].replica {
            replica.step(input, &mut out);
            self.carry_out(node, shard, &mut out);
        }
        self.effects = out;
        self.after_step(node, shard);
    }

    /// Does what a replica wants done.
    pub(super) fn carry_out(&mut self, node: NodeId, shard: Shard, out: &mut Vec<Effect>) {
        for effect in out.drain(..) {
            let local = &mut self.nodes[node].locals[shard];
            match effect {
                Effect::Save(ticket) => local.asked = ticket,
                Effect::Append { kind, configs } => {
                    let place = local.replica.as_ref().and_then(|replica| replica.place());
                    let mut payload = Vec::new();
                    configs.iter().for_each(|configs| encode_configs(configs, &mut payload));
                    if let Some(epoch) = place.map(|place| place.epoch) {
                        self.append(node, shard, Entry { kind, epoch, payload: payload.into() });
                    }
                }
                Effect::Write(entries) => {
                    entries.into_iter().for_each(|entry| self.append(node, shard, entry));
                }
                Effect::Cut { to } => self.cut(node, shard, to),
                Effect::Send { to, message } => self.send(node, shard, to, message),
                Effect::Ship { to, after } => {
                    let shipped = Shipped { sent: after, held: after, moved: self.queue.now() };
                    local.shipping.insert(to, shipped);
                }
                Effect::Unship(to) => {
                    local.shipping.remove(&to);
                }
                Effect::Committed(upto) => self.committed(node, shard, upto),
                Effect::Opened(epoch) => self.opened(node, shard, epoch),
                Effect::Closed(epoch) => self.closed(node, shard, epoch),
                Effect::Suspended | Effect::Resumed => {}
                Effect::RoundBegun(round) => {
                    let reads = std::mem::take(&mut local.reads);
                    local.rounds.push_back((round, reads));
                }
                Effect::Readable { round, upto } => self.readable(node, shard, round, upto),
                Effect::Answer { ask, answer } => self.node_answers(node, shard, ask, answer),
                Effect::Confirmed { epoch, version } => {
                    self.say(node, || {
                        format!("lets voters {} of shard {shard} stand alone in epoch {epoch}", version.0)
                    });
                }
                Effect::Halted(halt) => {
                    self.violated(|| format!("node-{node} shard {shard} stopped: {halt}"))
                }
            }
        }
    }

    /// Ships, syncs and saves what the step left to do, and looks at what must always hold.
    pub(super) fn after_step(&mut self, node: NodeId, shard: Shard) {
        self.ship(node, shard);
        self.begin_sync(node);
        self.begin_save(node);
        let local = &self.nodes[node].locals[shard];
        let Some(replica) = &local.replica else { return };
        let (committed, synced, end) = (replica.committed(), replica.synced(), replica.history().end());
        let honest = self.plant.is_some() || synced <= local.durable;
        if committed > synced || synced > end || end != local.log.end() || !honest {
            let (durable, written) = (local.durable, local.log.end());
            self.violated(|| {
                format!(
                    "node-{node} shard {shard}: committed {committed}, synced {synced} (in truth {durable}), \
                     end {end} (in truth {written})"
                )
            });
        }
    }

    /// Writes an entry to a node's lane and tells its replica.
    pub(super) fn append(&mut self, node: NodeId, shard: Shard, entry: Entry) {
        let it = &mut self.nodes[node];
        let local = &mut it.locals[shard];
        if local.cutting.is_some() {
            return self
                .violated(|| format!("node-{node} shard {shard} writes an entry while a cut is under way"));
        }
        let (epoch, configs) = (entry.epoch, configs_of(&entry));
        let (index, before) = (local.log.end().next(), local.log.chain());
        it.disk.write(shard, &entry, index, before);
        let chain = local.log.push(entry);
        if let Some(replica) = &mut local.replica {
            replica.appended(epoch, chain, configs);
        }
        self.trace.count(chain.0);
        if let Err(why) = self.ledgers[shard].written(index, epoch, chain) {
            self.violated(|| format!("node-{node} shard {shard}: {why}"));
        }
        if self.plant == Some(Plant::CountsTheUnsynced) {
            self.feed(node, shard, Input::Synced(index));
        }
    }

    /// Sets aside what lies behind `to`: a record says so, and once that is synced the replica hears of it.
    fn cut(&mut self, node: NodeId, shard: Shard, to: LogIndex) {
        self.say(node, || format!("cuts shard {shard} to entry {to}"));
        let it = &mut self.nodes[node];
        let local = &mut it.locals[shard];
        let chain = local.log.chain_at(to).unwrap_or_default();
        if to < self.ledgers[shard].end().min(local.log.end())
            && local.log.chain_at(to.next()) == self.ledgers[shard].chain_at(to.next())
        {
            return self.violated(|| {
                format!("node-{node} shard {shard} cuts to entry {to}, though the next one is committed")
            });
        }
        local.cutting = Some(to);
        if self.plant == Some(Plant::CutsInMemoryOnly) {
            local.cutting = None;
            local.log.cut(to);
            local.durable = local.durable.min(to);
            return self.feed(node, shard, Input::Cut { to, chain });
        }
        let epoch = Epoch::default();
        let mark = Entry { kind: RecordKind::Cut, epoch, payload: Default::default() };
        it.disk.write(shard, &mark, to, chain);
    }

    fn send(&mut self, node: NodeId, shard: Shard, to: ReplicaId, message: Message) {
        self.check_said(node, shard, &message);
        self.post(node, shard, to, message);
    }

    /// Sends what is new in a leader's log, as far as a follower's window reaches.
    fn ship(&mut self, node: NodeId, shard: Shard) {
        let local = &self.nodes[node].locals[shard];
        let Some(replica) = local.replica.as_ref().filter(|_| !local.shipping.is_empty()) else { return };
        let (Some(epoch), end, committed) = (replica.leads(), local.log.end(), replica.committed()) else {
            return;
        };
        let room = |shipped: &Shipped| LogIndex(shipped.held.0 + WINDOW).min(end);
        let due: Vec<(ReplicaId, LogIndex, LogIndex)> = local
            .shipping
            .iter()
            .filter(|(_, shipped)| shipped.sent < room(shipped))
            .map(|(to, shipped)| (*to, shipped.sent, room(shipped)))
            .collect();
        for (to, mut after, upto) in due {
            while after < upto {
                let log = &self.nodes[node].locals[shard].log;
                let most = SHIP_MAX.min(count(upto) - count(after));
                let mut entries = log.behind(after, most);
                let chain = log.chain_at(after).unwrap_or_default();
                let next = LogIndex(after.0 + entries.len() as u64);
                if self.plant == Some(Plant::DropsOnAFullLink) && entries.len() > 4 {
                    entries.remove(2);
                }
                let records = Records { epoch, after, chain, committed, entries };
                self.post(node, shard, to, Message::Records(records));
                after = next;
            }
            if let Some(shipped) = self.nodes[node].locals[shard].shipping.get_mut(&to) {
                shipped.sent = upto;
            }
        }
    }

    /// A follower acknowledged: its window moves.
    pub(super) fn held(&mut self, node: NodeId, shard: Shard, from: ReplicaId, synced: LogIndex) {
        let now = self.queue.now();
        if let Some(shipped) = self.nodes[node].locals[shard].shipping.get_mut(&from)
            && (synced > shipped.held || shipped.held >= shipped.sent)
        {
            (shipped.held, shipped.moved) = (shipped.held.max(synced), now);
        }
    }

    /// A connection on which nothing moves, though there is something to move, is given up.
    pub(super) fn give_up_connections(&mut self, node: NodeId, shard: Shard) {
        let now = self.queue.now();
        let shipping = &self.nodes[node].locals[shard].shipping;
        let stuck = |shipped: &Shipped| shipped.held < shipped.sent && now > shipped.moved + STUCK_MAX;
        let given_up: Vec<ReplicaId> =
            shipping.iter().filter(|(_, shipped)| stuck(shipped)).map(|(to, _)| *to).collect();
        given_up.into_iter().for_each(|to| self.break_connection(node, self.homes[to.0 as usize]));
    }

    fn begin_sync(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        let locals = &it.locals;
        let reaches = || locals.iter().map(super::node::Local::reach).collect();
        if it.disk.begin_sync(reaches) {
            let (life, delay) = (it.life, self.disk_delay());
            self.queue.after(delay, Event::LogSynced { node, life });
            self.crash_within(node, self.faults.crash_in_sync_per_mille, delay);
        }
    }

    fn begin_save(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        if !it.locals.iter().any(|local| local.wants_save()) {
            return;
        }
        let memories = it.memories();
        if it.disk.begin_save(|| memories) {
            it.locals.iter_mut().for_each(|local| local.saved = local.asked);
            let (life, delay) = (it.life, self.disk_delay());
            self.queue.after(delay, Event::MemorySaved { node, life });
            self.crash_within(node, self.faults.crash_in_save_per_mille, delay);
        }
    }

    /// Power may fail before something is on the disk.
    fn crash_within(&mut self, node: NodeId, per_mille: u64, delay: Micros) {
        if chance(&mut self.dice, per_mille) {
            let (life, within) = (self.nodes[node].life, self.dice.below(delay));
            self.queue.after(within, Event::Crash { node, life });
        }
    }

    fn disk_delay(&mut self) -> Micros {
        let slow = chance(&mut self.dice, self.faults.slow_sync_per_mille);
        let more = if slow { self.dice.below(self.faults.slow_sync_max) } else { 0 };
        SYNC_MIN + self.dice.below(SYNC_MORE) + more
    }

    pub(super) fn log_synced(&mut self, node: NodeId) {
        let Some(reaches) = self.nodes[node].disk.end_sync() else { return };
        for (shard, reach) in reaches.into_iter().enumerate() {
            let local = &mut self.nodes[node].locals[shard];
            local.durable = local.durable.max(reach.end.min(local.log.end()));
            if local.replica.as_ref().is_some_and(|replica| replica.synced() < reach.end) {
                self.step(node, shard, Input::Synced(reach.end));
            }
            let local = &mut self.nodes[node].locals[shard];
            if let Some(to) = reach.cut.filter(|to| local.cutting == Some(*to)) {
                local.cutting = None;
                local.log.cut(to);
                local.durable = local.durable.min(to);
                let chain = local.log.chain();
                self.step(node, shard, Input::Cut { to, chain });
            }
        }
        self.begin_sync(node);
    }

    pub(super) fn memory_saved(&mut self, node: NodeId) {
        let before: Vec<_> = self.nodes[node].disk.memories.iter().map(|memory| memory.promised).collect();
        let tickets = self.nodes[node].disk.end_save();
        for (shard, ticket) in tickets.into_iter().enumerate() {
            if self.nodes[node].disk.memories[shard].promised < before[shard] {
                self.violated(|| format!("node-{node} shard {shard} takes a promise back"));
            }
            self.step(node, shard, Input::Saved(ticket));
        }
        self.begin_save(node);
    }

    /// Feeds something to a replica at once, but after what happens now.
    pub(super) fn feed(&mut self, node: NodeId, shard: Shard, input: Input) {
        let life = self.nodes[node].life;
        self.queue.after(0, Event::Feed { node, life, shard, input });
    }

    fn committed(&mut self, node: NodeId, shard: Shard, upto: LogIndex) {
        let it = &mut self.nodes[node];
        let local = &mut it.locals[shard];
        self.trace.count(upto.0);
        let news = self.ledgers[shard].committed(&local.log, upto);
        while let Some(Waiting { index, op, .. }) = local.writes.pop_front_if(|write| write.index <= upto) {
            if let Some(chain) = self.ledgers[shard].chain_at(index) {
                self.queue.after(SYNC_MIN, Event::Answered { op, outcome: Op::Done(index, chain) });
            }
        }
        if self.dice.once_in(4) {
            it.disk.applied[shard] = upto;
        }
        match news {
            Ok(0) => {}
            Ok(_) => self.check_held(node, shard, upto),
            Err(why) => self.violated(|| format!("node-{node} shard {shard}: {why}")),
        }
    }

    fn opened(&mut self, node: NodeId, shard: Shard, epoch: Epoch) {
        self.figures.elections += 1;
        self.say(node, || format!("opens shard {shard} in epoch {epoch}"));
        let id = self.nodes[node].id;
        if let Err(why) = self.ledgers[shard].opened(epoch, id) {
            self.violated(|| format!("shard {shard}: {why}"));
        }
    }

    fn closed(&mut self, node: NodeId, shard: Shard, epoch: Epoch) {
        self.say(node, || format!("leads shard {shard} no more in epoch {epoch}"));
        let local = &mut self.nodes[node].locals[shard];
        local.shipping.clear();
        let outcome = if self.plant == Some(Plant::RefusesTheUnknown) { Op::Refused } else { Op::Unknown };
        let writes: Vec<_> = local.writes.drain(..).map(|write| (write.op, outcome)).collect();
        let rounds = local.rounds.drain(..).flat_map(|(_, reads)| reads);
        let reads: Vec<_> = rounds.chain(local.reads.drain(..)).map(|op| (op, Op::Unknown)).collect();
        for (op, outcome) in writes.into_iter().chain(reads) {
            self.queue.after(SYNC_MIN, Event::Answered { op, outcome });
        }
    }

    fn readable(&mut self, node: NodeId, shard: Shard, round: u64, upto: LogIndex) {
        let local = &mut self.nodes[node].locals[shard];
        let upto = if self.plant == Some(Plant::ReadsPastTheCommit) { local.log.end() } else { upto };
        let chain = local.log.chain_at(upto).unwrap_or_default();
        while let Some((_, reads)) = local.rounds.pop_front_if(|(begun, _)| *begun <= round) {
            for op in reads {
                self.queue.after(SYNC_MIN, Event::Answered { op, outcome: Op::Done(upto, chain) });
            }
        }
    }

    /// What a message claims is on this disk.
    fn check_said(&mut self, node: NodeId, shard: Shard, message: &Message) {
        if self.plant.is_some() {
            return;
        }
        let it = &self.nodes[node];
        let (promised, durable) = (it.disk.memories[shard].promised, it.locals[shard].durable);
        let rests_on = match message {
            Message::Refused { .. } | Message::Differs { .. } => Epoch::default(),
            other => other.epoch(),
        };
        let held = match message {
            Message::Ack { synced, .. } => *synced,
            _ => LogIndex(0),
        };
        if rests_on > promised || held > durable {
            self.violated(|| {
                format!(
                    "node-{node} shard {shard} says {message:?}, but its disk holds {durable} entries and the \
                     promise of epoch {promised}"
                )
            });
        }
    }

    /// What is called committed for the first time is on the disks of enough voters of every set that the leader goes by.
    fn check_held(&mut self, node: NodeId, shard: Shard, upto: LogIndex) {
        let local = &self.nodes[node].locals[shard];
        let leads = local.replica.as_ref().filter(|replica| replica.leads().is_some());
        let Some(configs) = leads.and_then(|replica| replica.memory().configs.clone()) else { return };
        let chain = local.log.chain_at(upto);
        let holds = |id: ReplicaId| {
            let home = &self.nodes[self.homes[id.0 as usize]];
            let there = &home.locals[shard];
            // A disk that was replaced held it before.
            home.id != id || (there.durable >= upto && there.log.chain_at(upto) == chain)
        };
        let newest = Configs::new(vec![configs.last()]);
        for config in newest.iter().flat_map(|configs| configs.as_slice()) {
            let count = config.voters.iter().filter(|id| holds(*id)).count();
            let least = config.voters.count() / 2 + 1;
            if count < least && !configs.is_changing() {
                return self.violated(|| {
                    format!(
                        "node-{node} shard {shard} calls entry {upto} committed, which {count} of {:?} hold",
                        config.voters
                    )
                });
            }
        }
    }

    /// An answer to an operator: a seal must be on the disk.
    pub(super) fn check_answer(&mut self, node: NodeId, shard: Shard, answer: &Answer) {
        let Answer::Sealed(sealed) = answer else { return };
        let it = &self.nodes[node];
        let (promised, durable) = (it.disk.memories[shard].promised, it.locals[shard].durable);
        if self.plant.is_none() && (sealed.promised > promised || sealed.standing.end > durable) {
            let (said, end) = (sealed.promised, sealed.standing.end);
            self.violated(|| {
                format!(
                    "node-{node} shard {shard} answers a seal with the promise of epoch {said} and {end} \
                     entries, but its disk holds {promised} and {durable}"
                )
            });
        }
    }
}
