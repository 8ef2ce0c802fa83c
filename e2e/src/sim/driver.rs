//! Drives the replicas of a node by their contract: all effects of an input, in order, before the next.

use thalweg_node::codec::record::RecordKind;
use thalweg_node::codec::voters::encode_configs;
use thalweg_node::core::replication::{Effect, Entry, Input, Message};
use thalweg_node::types::{Epoch, LogIndex, ReplicaId};

use super::client::Op;
use super::event::{Event, NodeId, Shard};
use super::log::configs_of;
use super::node::{Asker, Shipped};
use super::plant::Plant;
use super::storage::SYNC_MIN;
use super::world::World;

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
                Effect::Write(entries) => self.take(node, shard, entries),
                Effect::Cut { to } => self.cut(node, shard, to),
                Effect::Send { to, message } => self.send(node, shard, to, message),
                Effect::Ship { to, after } => {
                    let shipped = Shipped { sent: after, held: after, moved: self.queue.now() };
                    local.shipping.insert(to, shipped);
                    local.seeds.remove(&to);
                }
                Effect::Unship(to) => {
                    local.shipping.remove(&to);
                    local.seeds.remove(&to);
                }
                Effect::Committed(upto) => self.committed(node, shard, upto),
                Effect::Opened(epoch) => self.opened(node, shard, epoch),
                Effect::Closed(epoch) => self.closed(node, shard, epoch),
                Effect::Suspended | Effect::Resumed => {}
                Effect::Image(to) => self.take_image(node, shard, to),
                Effect::Fetch { from, image } => self.fetch(node, shard, from, image),
                Effect::Unfetch => (local.fetching, local.fetched) = (None, None),
                Effect::Install(_) => self.install(node, shard),
                // Nobody gives up here what a running node holds: a start does, with the same outcome.
                Effect::Empty => {
                    self.violated(|| format!("node-{node} shard {shard} was emptied unasked"));
                }
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
        let last = local.replica.as_ref().map(|replica| replica.history().last_epoch()).unwrap_or_default();
        if epoch < last {
            return self.violated(|| {
                format!(
                    "node-{node} shard {shard} writes an entry of epoch {epoch} behind one of epoch {last}"
                )
            });
        }
        let (index, before) = (local.log.end().next(), local.log.chain());
        let position = it.disk.write(shard, &entry, index, before);
        let chain = local.log.push(entry, position);
        if let Some(replica) = &mut local.replica {
            replica.appended(epoch, chain, configs);
        }
        self.trace.count(chain.0);
        if let Err(why) = self.ledgers[shard].written(index, epoch, chain) {
            self.violated(|| format!("node-{node} shard {shard}: {why}"));
        }
        let follows = self.nodes[node].locals[shard].replica.as_ref().is_some_and(|it| it.leads().is_none());
        if self.plant == Some(Plant::CountsTheUnsynced)
            || (self.plant == Some(Plant::AcknowledgesTheUnsynced) && follows)
        {
            self.feed(node, shard, Input::Synced(index));
        }
    }

    /// Writes a leader's entries; those for which there is no room are left out with all behind them, and come again.
    fn take(&mut self, node: NodeId, shard: Shard, mut entries: Vec<Entry>) {
        let has_room = self.queue.now() >= self.nodes[node].full;
        let fits = entries.iter().take_while(|entry| has_room || entry.kind.may_use_reserve()).count();
        let left_out = entries.split_off(fits);
        entries.into_iter().for_each(|entry| self.append(node, shard, entry));
        if self.plant == Some(Plant::TakesTheDroppedForWritten) {
            for entry in left_out {
                let local = &mut self.nodes[node].locals[shard];
                let (epoch, configs) = (entry.epoch, configs_of(&entry));
                let chain = local.log.push(entry, usize::MAX);
                if let Some(replica) = &mut local.replica {
                    replica.appended(epoch, chain, configs);
                }
                let end = local.log.end();
                self.feed(node, shard, Input::Synced(end));
            }
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
        if self.plant == Some(Plant::ForgetsTheUnapplied) {
            local.desk.applied(upto);
        }
        it.disk.called[shard] = it.disk.called[shard].max(upto);
        self.give_answers(node, shard);
        if self.dice.once_in(4) {
            self.apply(node, shard, upto);
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
        self.nodes[node].locals[shard].opened = Some(epoch);
        self.open_desk(node, shard);
        if let Err(why) = self.ledgers[shard].opened(epoch, id) {
            self.violated(|| format!("shard {shard}: {why}"));
        }
    }

    fn closed(&mut self, node: NodeId, shard: Shard, epoch: Epoch) {
        self.say(node, || format!("leads shard {shard} no more in epoch {epoch}"));
        self.close_desk(node, shard);
        let local = &mut self.nodes[node].locals[shard];
        local.shipping.clear();
        local.seeds.clear();
        let outcome = if self.plant == Some(Plant::RefusesTheUnknown) { Op::Refused } else { Op::Unknown };
        let writes: Vec<_> = local.writes.drain(..).map(|write| (write.call, outcome)).collect();
        let rounds = local.rounds.drain(..).flat_map(|(_, reads)| reads);
        let ended = |asker| match asker {
            Asker::Read(call) => (call, Op::Unknown),
            // Nothing was done for it.
            Asker::Answer(waiting) => (waiting.call, Op::Refused),
        };
        let reads: Vec<_> = rounds.chain(local.reads.drain(..)).map(ended).collect();
        for (call, outcome) in writes.into_iter().chain(reads) {
            self.queue.after(SYNC_MIN, Event::Answered { call, outcome });
        }
    }

    fn readable(&mut self, node: NodeId, shard: Shard, round: u64, upto: LogIndex) {
        let local = &mut self.nodes[node].locals[shard];
        let upto = if self.plant == Some(Plant::ReadsPastTheCommit) { local.log.end() } else { upto };
        let chain = local.log.chain_at(upto).unwrap_or_default();
        while let Some((_, reads)) = local.rounds.pop_front_if(|(begun, _)| *begun <= round) {
            for asker in reads {
                match asker {
                    Asker::Read(call) => {
                        self.queue.after(SYNC_MIN, Event::Answered { call, outcome: Op::Done(upto, chain) });
                    }
                    Asker::Answer(waiting) => local.wait(waiting),
                }
            }
        }
        self.give_answers(node, shard);
    }
}
