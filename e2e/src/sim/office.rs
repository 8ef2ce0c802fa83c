//! What goes between operators, the record and the nodes; answers may be late or lost though the deed was done.

use thalweg_node::core::replication::{Answer, Ask, Input, Lead};

use super::event::{Event, NodeId, Shard};
use super::network::{chance, trip};
use super::operator::{Do, Question, Reply, ShardStatus, Status, Whim};
use super::plant::Plant;
use super::queue::{MILLI, Micros};
use super::record::{Put, Version};
use super::world::World;
use thalweg_node::core::replication::ShardRow;

/// How often an operator looks around.
const ROUND: Micros = 250 * MILLI;
/// How many versions a cache may lag.
const STALE_MAX: u64 = 50;

impl World {
    pub(super) fn operate(&mut self, operator: usize, life: u64) {
        if self.operators[operator].0 != life {
            return;
        }
        self.queue.after(ROUND, Event::Operate { operator, life });
        let whim = chance(&mut self.dice, self.faults.whims_per_mille).then(|| {
            let shard = self.dice.below(self.ledgers.len() as u64);
            let whims = [Whim::Seal, Whim::Add, Whim::Remove, Whim::Withdraw];
            let whim = self.dice.pick(&whims).copied().unwrap_or(Whim::Seal);
            (usize::try_from(shard).unwrap_or(0), whim)
        });
        let mut out = Vec::new();
        self.operators[operator].1.operate(whim, &mut out);
        self.office(operator, out);
    }

    /// Carries out what an operator wants done.
    fn office(&mut self, operator: usize, out: Vec<Do>) {
        let life = self.operators[operator].0;
        for wish in out {
            let delay = trip(&self.faults, &mut self.dice);
            match wish {
                Do::Get(shard) => self.queue.after(delay, Event::Get { operator, life, shard }),
                Do::Put(put) => {
                    self.queue.after(delay, Event::Put { operator, life, put: Box::new(put) });
                }
                Do::Ask(node, question) => {
                    let event = Event::Asked { operator, life, node, question: Box::new(question) };
                    let blocked = self.network.is_blocked(self.place(operator), node);
                    if !blocked && !chance(&mut self.dice, self.faults.lost_per_mille) {
                        self.queue.after(delay, event);
                    }
                }
                Do::Alarm(what) => self.violated(|| what),
            }
        }
    }

    pub(super) fn record_read(&mut self, operator: usize, life: u64, shard: Shard) {
        if self.queue.now() < self.outage {
            return;
        }
        let stale = chance(&mut self.dice, self.faults.stale_per_mille);
        let back = if stale { self.dice.below(STALE_MAX) } else { 0 };
        let (version, row) = self.record.row(shard, usize::try_from(back).unwrap_or(0));
        let row = Box::new(row.clone());
        let delay = trip(&self.faults, &mut self.dice);
        self.queue.after(delay, Event::Row { operator, life, shard, version, row });
    }

    pub(super) fn operator_reads(
        &mut self,
        operator: usize,
        life: u64,
        shard: Shard,
        row: (Version, &ShardRow),
    ) {
        if self.operators[operator].0 != life {
            return;
        }
        let mut out = Vec::new();
        self.operators[operator].1.row(self.queue.now(), shard, row, &self.homes, &mut out);
        self.office(operator, out);
    }

    /// A write reaches the record, even if its operator is no more.
    pub(super) fn record_written(&mut self, operator: usize, life: u64, put: Put) {
        if self.queue.now() < self.outage {
            return;
        }
        let (shard, row) = (put.shard, put.row.clone());
        if !self.record.put(put, self.plant == Some(Plant::WritesWithoutPrecondition)) {
            return;
        }
        let now = self.queue.now();
        self.trace.say(now, || format!("operator-{operator}  writes of shard {shard}: {}", written(&row)));
        if !chance(&mut self.dice, self.faults.lost_answers_per_mille) {
            let delay = trip(&self.faults, &mut self.dice);
            self.queue.after(delay, Event::Get { operator, life, shard });
        }
    }

    /// A question reaches a node.
    pub(super) fn node_asked(&mut self, operator: usize, life: u64, node: NodeId, question: Question) {
        if !self.nodes[node].up {
            return;
        }
        self.asked += 1;
        let (ask, id) = (Ask(self.asked), self.nodes[node].id);
        let (to, shard, input) = match question {
            Question::Status => {
                let reply = Reply::Status(self.status(node));
                return self.tell(operator, life, node, reply);
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
        };
        if to == id {
            self.asks.insert(ask, (operator, life, shard));
            self.step(node, shard, input);
        }
    }

    /// A replica answers an operator.
    pub(super) fn node_answers(&mut self, node: NodeId, shard: Shard, ask: Ask, answer: Answer) {
        self.check_answer(node, shard, &answer);
        if matches!(answer, Answer::Sealed(_) | Answer::Refused(_)) {
            self.say(node, || format!("answers for shard {shard}: {}", told(&answer)));
        }
        if let Some((operator, life, shard)) = self.asks.remove(&ask) {
            let reply = self.reply(node, shard, answer);
            self.tell(operator, life, node, reply);
        }
    }

    /// Where an operator sits in the network.
    const fn place(&self, operator: usize) -> NodeId {
        self.nodes.len() + operator
    }

    fn tell(&mut self, operator: usize, life: u64, node: NodeId, reply: Reply) {
        let blocked = self.network.is_blocked(node, self.place(operator));
        if !blocked && !chance(&mut self.dice, self.faults.lost_answers_per_mille) {
            let delay = trip(&self.faults, &mut self.dice);
            self.queue.after(delay, Event::Told { operator, life, reply: Box::new(reply) });
        }
    }

    pub(super) fn operator_told(&mut self, operator: usize, life: u64, reply: Reply) {
        if self.operators[operator].0 == life {
            self.operators[operator].1.told(self.queue.now(), reply);
        }
    }

    fn status(&self, node: NodeId) -> Status {
        let it = &self.nodes[node];
        let shards = it.locals.iter().filter_map(|local| local.replica.as_ref()).map(|replica| {
            let configs = replica.memory().configs.as_ref();
            ShardStatus {
                leads: replica.leads(),
                open: replica.takes_writes(),
                end: replica.history().end(),
                committed: replica.committed(),
                versions: configs.map(|configs| (configs.oldest().version, configs.last().version)),
            }
        });
        Status { node, replica: it.id, shards: shards.collect() }
    }
}

fn written(row: &ShardRow) -> String {
    let sets: Vec<_> = row.configs.as_slice().iter().map(|config| config.voters).collect();
    match row.leader() {
        Ok(leader) => format!("{leader} leads in epoch {}, voters {sets:?}", row.epoch),
        Err(_) => format!("sealing for epoch {}, voters {sets:?}", row.epoch),
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
