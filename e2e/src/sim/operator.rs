//! One operator: the product's own supervisor from its start to its end, with a clock and ears of its own. It keeps nothing:
//! the next one of its name begins with what it is told.

mod lens;

use std::collections::BTreeSet;
use std::time::Duration;

use thalweg_node::core::failover::{Action, Input, Learners, NodePulse, Supervisor};
use thalweg_node::core::replication::{HandOver, Lead, SealAnswer};
use thalweg_node::types::{Configs, RecordEpoch, ReplicaId};

use self::lens::Lens;
use super::event::Shard;
use super::plant::Plant;
use super::queue::Micros;
use super::record::Rows;

/// What is asked of a node.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Pulse,
    Seal { to: ReplicaId, shard: Shard, epoch: RecordEpoch },
    Lead { to: ReplicaId, shard: Shard, order: Lead },
    Configure { to: ReplicaId, shard: Shard, epoch: RecordEpoch, configs: Configs, learners: Vec<ReplicaId> },
    HandOver { to: ReplicaId, shard: Shard, order: HandOver },
}

/// Who asks: an operator in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) operator: usize,
    pub(super) life: u64,
}

/// What an operator hears.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Pulse(NodePulse),
    Sealed {
        shard: Shard,
        from: ReplicaId,
        answer: Box<SealAnswer>,
    },
    /// The voter that is to lead next has everything.
    CaughtUp {
        shard: Shard,
        epoch: RecordEpoch,
    },
    /// The process of a node has plainly ended.
    Ended(ReplicaId),
    /// Who gets the log without voting.
    Learners(Learners),
    /// The record was read.
    Read(Rows),
    /// It was written, or not.
    Written(Rows),
    /// A cache shows this.
    Watched(Rows),
    /// Nobody knows what became of a read or a write.
    Unknown,
}

/// One operator, from its start to its end.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) life: u64,
    pub(super) rounds: u64,
    started: Micros,
    /// How far its clock jumped since.
    pub(super) jumped: Micros,
    supervisor: Supervisor,
    /// Who has answered since nodes were asked last.
    answered: BTreeSet<ReplicaId>,
    lens: Lens,
}

impl Operator {
    /// One that knows nothing yet.
    pub(super) fn new(rank: usize, life: u64, started: Micros, plant: Option<Plant>) -> Self {
        Self {
            life,
            rounds: 0,
            started,
            jumped: 0,
            supervisor: Supervisor::new(u32::try_from(rank).unwrap_or(0)),
            answered: BTreeSet::new(),
            lens: Lens::new(plant),
        }
    }

    /// Its clock goes on.
    pub(super) fn ticks(&mut self, now: Micros, out: &mut Vec<Action>) {
        self.rounds += 1;
        let passed = Duration::from_micros(now - self.started + self.jumped);
        self.hears(Input::Tick(passed), out);
    }

    /// Nodes are asked again: whoever of these has not answered since the last time has missed one.
    pub(super) fn asks_again(&mut self, of: &BTreeSet<ReplicaId>, out: &mut Vec<Action>) {
        let answered = std::mem::take(&mut self.answered);
        of.difference(&answered).for_each(|silent| self.hears(Input::Missed(*silent), out));
    }

    /// An answer, or news.
    pub(super) fn told(&mut self, reply: Reply, out: &mut Vec<Action>) {
        let input = match reply {
            Reply::Pulse(pulse) => {
                self.answered.insert(pulse.replica);
                Input::Pulse(Box::new(pulse))
            }
            Reply::Sealed { shard, from, answer } => {
                Input::Sealed { shard: super::record::shard_id(shard), from, answer }
            }
            Reply::CaughtUp { shard, epoch } => {
                Input::CaughtUp { shard: super::record::shard_id(shard), epoch }
            }
            Reply::Ended(replica) => Input::Ended(replica),
            Reply::Learners(learners) => Input::Learners(learners),
            Reply::Read(rows) => Input::Record(rows),
            Reply::Written(rows) => Input::Written(rows),
            Reply::Watched(rows) => Input::Watched(rows),
            Reply::Unknown => Input::RecordUnknown,
        };
        self.hears(input, out);
    }

    fn hears(&mut self, input: Input, out: &mut Vec<Action>) {
        let mut said = Vec::new();
        for input in self.lens.hears(input) {
            self.supervisor.step(input, &mut said);
        }
        self.lens.says(&mut said);
        out.append(&mut said);
    }
}
