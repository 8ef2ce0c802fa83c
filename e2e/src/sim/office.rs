//! What goes between operators, the record and the nodes; answers may be late or lost though the deed was done.

use std::collections::BTreeSet;

use thalweg_node::core::failover::{Action, Learners, RowChange, Trouble};
use thalweg_node::core::replication::{Answer, Ask, HandOver, Input, Lead, Replica};
use thalweg_node::types::ReplicaId;

use super::event::{Event, NodeId, Shard};
use super::network::{chance, trip};
use super::operator::{Caller, Operator, Question, Reply};
use super::plant::Plant;
use super::queue::{MILLI, Micros, SECOND};
use super::record::shard_id;
use super::world::World;

/// How often an operator looks at its clock, and asks nodes.
const ROUND: Micros = 250 * MILLI;
const ROUNDS_PER_PULSE: u64 = 2;
/// How many versions a cache may lag.
const STALE_MAX: u64 = 50;

impl World {
    /// An operator's clock goes on; it asks nodes; its cache shows it something.
    pub(super) fn operate(&mut self, caller: Caller) {
        let Caller { operator, life } = caller;
        if self.operators[operator].life != life {
            return;
        }
        self.queue.after(ROUND, Event::Operate(caller));
        let mut out = Vec::new();
        let (now, members) = (self.queue.now(), self.members());
        let it = &mut self.operators[operator];
        it.ticks(now, &mut out);
        let asks = it.rounds % ROUNDS_PER_PULSE == 1;
        if asks {
            it.asks_again(&members, &mut out);
        }
        self.office(caller, out);
        if asks {
            (0..self.nodes.len()).for_each(|node| self.ask(Some(caller), node, Question::Pulse));
            if self.queue.now() >= self.outage {
                let back = self.staleness();
                let rows = self.record.rows(back).clone();
                self.tell_late(caller, Reply::Watched(rows));
            }
        }
    }

    /// Who is in the cluster: whoever votes, and whoever lives on a node.
    fn members(&self) -> BTreeSet<ReplicaId> {
        let voters = self.record.rows(0).values().flat_map(|row| row.configs.everybody());
        voters.chain(self.nodes.iter().map(|node| node.id)).collect()
    }

    /// How many versions ago an operator sees the record.
    fn staleness(&mut self) -> usize {
        let stale = chance(&mut self.dice, self.faults.stale_per_mille);
        let back = if stale { self.dice.below(STALE_MAX) } else { 0 };
        usize::try_from(back).unwrap_or(0)
    }

    /// Carries out what an operator wants done.
    fn office(&mut self, caller: Caller, out: Vec<Action>) {
        for action in out {
            let delay = trip(&self.faults, &mut self.dice);
            match action {
                Action::Read => self.queue.after(delay, Event::Get(caller)),
                Action::Write(changes) => {
                    self.queue.after(delay, Event::Put { caller, changes });
                    if chance(&mut self.dice, self.faults.ends_at_write_per_mille) {
                        let within = self.dice.below(2 * delay);
                        self.queue.after(within, Event::OperatorEnds(caller));
                    }
                }
                Action::Seal { shard, epoch, to } => {
                    let shard = usize::from(shard.0);
                    self.ask(Some(caller), self.home(to), Question::Seal { to, shard, epoch });
                }
                Action::Lead { shard, epoch, to, configs, learners, expected } => {
                    let order = Lead { ask: Ask(0), epoch, configs, learners, expected };
                    let shard = usize::from(shard.0);
                    self.ask(Some(caller), self.home(to), Question::Lead { to, shard, order });
                }
                Action::Configure { shard, epoch, to, configs, learners } => {
                    let shard = usize::from(shard.0);
                    let question = Question::Configure { to, shard, epoch, configs, learners };
                    self.ask(Some(caller), self.home(to), question);
                }
                Action::HandOver { shard, epoch, to, successor, patience } => {
                    let order = HandOver { ask: Ask(0), epoch, to: successor, patience };
                    let shard = usize::from(shard.0);
                    self.ask(Some(caller), self.home(to), Question::HandOver { to, shard, order });
                }
                Action::Moved { shard, from, to, reason, .. } => {
                    let why = reason.map_or("others began it".to_owned(), |reason| format!("{reason:?}"));
                    self.operator_says(caller, || {
                        format!("sees shard {shard} move from {from} to {to}: {why}")
                    });
                }
                Action::Say(shard, Some(Trouble::ElectionBelowCommit { committed, end })) => {
                    self.violated(|| {
                        format!(
                            "an election of shard {shard} ends at entry {end}, but entries up to {committed} are \
                             committed (ElectionBelowCommit)"
                        )
                    });
                }
                Action::Say(shard, Some(trouble)) => {
                    self.operator_says(caller, || format!("says of shard {shard}: {trouble:?}"));
                }
                Action::Say(_, None) => {}
            }
        }
    }

    /// The node of a replica.
    fn home(&self, id: ReplicaId) -> NodeId {
        self.homes.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// An operator's read reaches the record.
    pub(super) fn record_read(&mut self, caller: Caller) {
        if self.queue.now() < self.outage {
            return;
        }
        let back = self.staleness();
        let rows = self.record.rows(back).clone();
        self.tell_late(caller, Reply::Read(rows));
    }

    /// A write reaches the record, even if its operator is no more.
    pub(super) fn record_written(&mut self, caller: Caller, changes: &[RowChange]) {
        if self.queue.now() < self.outage {
            return;
        }
        let done = self.record.write(changes);
        for change in changes {
            let how = if done { "writes" } else { "is too late to write" };
            self.operator_says(caller, || format!("{how} of {}", written(change)));
        }
        let rows = self.record.rows(0).clone();
        match chance(&mut self.dice, self.faults.lost_answers_per_mille) {
            true if self.dice.once_in(2) => self.tell_late(caller, Reply::Unknown),
            true => {}
            false => self.tell_late(caller, Reply::Written(rows)),
        }
    }

    /// Asks a node, if the question gets there.
    pub(super) fn ask(&mut self, caller: Option<Caller>, node: NodeId, question: Question) {
        let blocked = caller.is_some_and(|caller| self.network.is_blocked(self.place(caller), node));
        if !blocked && !chance(&mut self.dice, self.faults.lost_per_mille) {
            let delay = trip(&self.faults, &mut self.dice);
            self.queue.after(delay, Event::Asked { caller, node, question: Box::new(question) });
        }
    }

    /// A question reaches a node.
    pub(super) fn node_asked(&mut self, caller: Option<Caller>, node: NodeId, question: Question) {
        if !self.nodes[node].up {
            return;
        }
        self.asked += 1;
        let (ask, id) = (Ask(self.asked), self.nodes[node].id);
        let (to, shard, input) = match question {
            Question::Pulse => {
                let pulse = Reply::Pulse(self.pulse(node));
                return self.answer(caller, node, pulse);
            }
            Question::Seal { to, shard, epoch } => {
                self.say(node, || format!("is asked to seal shard {shard} for epoch {epoch}"));
                if self.plant == Some(Plant::SealsTheUnsynced) {
                    let end = self.nodes[node].locals[shard].log.end();
                    self.feed(node, shard, Input::Synced(end));
                }
                (to, shard, Input::Seal { ask, epoch })
            }
            Question::Lead { to, shard, order } => {
                self.say(node, || format!("is told to lead shard {shard} in epoch {}", order.epoch));
                (to, shard, Input::Lead(Box::new(Lead { ask, ..order })))
            }
            Question::Configure { to, shard, epoch, configs, learners } => {
                (to, shard, Input::Configure { ask, epoch, configs, learners })
            }
            Question::HandOver { to, shard, order } => {
                self.say(node, || format!("is told to let {} have all of shard {shard}", order.to));
                (to, shard, Input::HandOver(HandOver { ask, ..order }))
            }
        };
        if to == id {
            if let Some(caller) = caller {
                self.asks.insert(ask, caller);
            }
            self.step(node, shard, input);
        }
    }

    /// A replica answers whoever asked.
    pub(super) fn node_answers(&mut self, node: NodeId, shard: Shard, ask: Ask, mut answer: Answer) {
        self.check_answer(node, shard, &answer);
        if let (Answer::Sealed(sealed), Some(Plant::CountsTheDamaged)) = (&mut answer, self.plant) {
            sealed.intact = true;
        }
        if matches!(answer, Answer::Sealed(_) | Answer::Refused(_)) {
            self.say(node, || format!("answers for shard {shard}: {}", told(&answer)));
        }
        let caller = self.asks.remove(&ask);
        match answer {
            Answer::Sealed(answer) => {
                let from = self.nodes[node].id;
                self.answer(caller, node, Reply::Sealed { shard, from, answer });
            }
            Answer::CaughtUp(end) => {
                self.say(node, || format!("has handed shard {shard} over up to entry {end}"));
                let leads = self.nodes[node].locals[shard].replica.as_ref().and_then(Replica::leads);
                let Some(epoch) = leads.map(|epoch| epoch.record) else { return };
                self.answer(caller, node, Reply::CaughtUp { shard, epoch });
            }
            _ => {}
        }
    }

    /// Where an operator sits in the network.
    const fn place(&self, caller: Caller) -> NodeId {
        self.nodes.len() + caller.operator
    }

    /// A node's answer sets out.
    fn answer(&mut self, caller: Option<Caller>, node: NodeId, reply: Reply) {
        let Some(caller) = caller else { return };
        let blocked = self.network.is_blocked(node, self.place(caller));
        if !blocked && !chance(&mut self.dice, self.faults.lost_answers_per_mille) {
            self.tell_late(caller, reply);
        }
    }

    /// All operators hear who gets the log without voting.
    pub(super) fn tell_of_learners(&mut self) {
        let adding = self.adding.iter().enumerate();
        let learners: Learners =
            adding.map(|(shard, id)| (shard_id(shard), id.iter().copied().collect())).collect();
        for operator in 0..self.operators.len() {
            let caller = Caller { operator, life: self.operators[operator].life };
            self.tell_late(caller, Reply::Learners(learners.clone()));
        }
    }

    fn tell_late(&mut self, caller: Caller, reply: Reply) {
        let delay = trip(&self.faults, &mut self.dice);
        self.queue.after(delay, Event::Told { caller, reply: Box::new(reply) });
    }

    /// An operator hears something, if it is still the one that asked.
    pub(super) fn operator_told(&mut self, caller: Caller, reply: Reply) {
        let it = &mut self.operators[caller.operator];
        if it.life == caller.life {
            let mut out = Vec::new();
            it.told(reply, &mut out);
            self.office(caller, out);
        }
    }

    /// Some operators hear that a process has plainly ended; perhaps when it runs again.
    pub(super) fn news_of_an_end(&mut self, replica: ReplicaId) {
        for operator in 0..self.operators.len() {
            if self.dice.once_in(2) {
                let caller = Caller { operator, life: self.operators[operator].life };
                let delay = self.dice.below(2 * SECOND);
                self.queue.after(delay, Event::Told { caller, reply: Box::new(Reply::Ended(replica)) });
            }
        }
    }

    /// An operator ends and, after a while, starts again with nothing.
    pub(super) fn operator_ends(&mut self, caller: Caller) {
        let Caller { operator, life } = caller;
        if self.operators[operator].life != life {
            return;
        }
        self.operator_says(caller, || "ends and starts again".to_owned());
        let next = Caller { operator, life: life + 1 };
        let delay = self.dice.below(5 * SECOND);
        let starts = self.queue.now() + delay;
        self.operators[operator] = Operator::new(operator, next.life, starts, self.plant);
        self.queue.after(delay, Event::Operate(next));
    }

    fn operator_says(&mut self, caller: Caller, line: impl FnOnce() -> String) {
        let now = self.queue.now();
        self.trace.say(now, || format!("operator-{}  {}", caller.operator, line()));
    }
}

/// A change of a row, in words.
pub(super) fn written(change: &RowChange) -> String {
    let row = &change.after;
    let sets: Vec<_> = row.configs.as_slice().iter().map(|config| config.voters).collect();
    match row.leader() {
        Ok(leader) => {
            format!("shard {}: {leader} leads in epoch {}, voters {sets:?}", change.shard, row.epoch)
        }
        Err(_) => format!("shard {}: sealing for epoch {}, voters {sets:?}", change.shard, row.epoch),
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Sealed(sealed) => format!(
            "{} entries, the last of epoch {}, {} committed",
            sealed.standing.end, sealed.standing.last, sealed.committed
        ),
        other => format!("{other:?}"),
    }
}
