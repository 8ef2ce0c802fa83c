//! The simulated world: nodes, network, record, operators, clients, and one queue of everything that will happen.

use std::collections::BTreeMap;

use thalweg_node::core::replication::{Ask, Effect, Input, Lead, ShardRow, Standing};
use thalweg_node::types::{Boot, Epoch, LogIndex, RecordEpoch, ReplicaId, Voters};

use super::client::{Asked, Client};
use super::disk::Disk;
use super::event::{Event, NodeId};
use super::faults::Faults;
use super::ledger::Ledger;
use super::network::Network;
use super::node::Node;
use super::operator::{Caller, Operator};
use super::plant::Plant;
use super::queue::{MILLI, Micros, Queue, SECOND};
use super::record::Record;
use super::trace::Trace;
use super::{Figures, Scope};
use crate::dice::Dice;

/// How often a node looks at its clock.
const TICK: Micros = 100 * MILLI;
/// After trouble ends everything is well within this.
///
/// A shard whose leader failed again and again is held down for a minute at most; the rest is for what comes then.
const HEALED_WITHIN: Micros = 120 * SECOND;
/// How many entries a log has before the older ones go: few enough that whoever was away for seconds lacks some.
const LOG_MAX_MIN: u64 = 32;
const LOG_MAX_MORE: u64 = 200;
/// What a core keeps in memory at most: next to nothing, a part, or everything.
const HEADS: [usize; 3] = [2, 8, 1000];
/// So long nobody asks anything at the end, so that everything comes to rest.
const QUIET: Micros = 20 * SECOND;

/// Everything.
pub(super) struct World {
    pub(super) queue: Queue,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    pub(super) faults: Faults,
    pub(super) plant: Option<Plant>,
    pub(super) nodes: Vec<Node>,
    /// Where each replica lives or lived.
    pub(super) homes: Vec<NodeId>,
    pub(super) network: Network,
    pub(super) record: Record,
    /// When a disk was lost last.
    pub(super) lost_a_disk: Micros,
    /// So many entries a log may have before the older ones are let go, if any ever are.
    pub(super) log_max: Option<u64>,
    /// Heads and what they remember that a core keeps in memory.
    pub(super) heads_max: usize,
    /// Images that were taken.
    pub(super) images_taken: u32,
    /// What some disks were.
    pub(super) images: BTreeMap<NodeId, (ReplicaId, Disk)>,
    /// Until when the record does not answer.
    pub(super) outage: Micros,
    pub(super) operators: Vec<Operator>,
    /// Per shard: who is to vote, once it has the log.
    pub(super) adding: Vec<Option<ReplicaId>>,
    /// Who asked what.
    pub(super) asks: BTreeMap<Ask, Caller>,
    pub(super) asked: u64,
    pub(super) clients: Vec<Client>,
    pub(super) history: Vec<Asked>,
    pub(super) ledgers: Vec<Ledger>,
    /// Partitions under way: the ways that each blocks.
    pub(super) partitions: BTreeMap<u64, Vec<(NodeId, NodeId)>>,
    pub(super) effects: Vec<Effect>,
    pub(super) peace: Option<Micros>,
    /// From when on clients ask nothing new: how often the record had been written by then.
    pub(super) quiet: Option<usize>,
    pub(super) violation: Option<String>,
    pub(super) figures: Figures,
}

impl World {
    /// A world as its seed makes it.
    pub(super) fn new(scope: &Scope) -> Self {
        let mut dice = Dice::new(scope.seed);
        let faults = Faults::drawn(&mut dice);
        let nodes = 3 + usize::from(dice.once_in(2)) + usize::from(dice.once_in(2));
        let voters = if nodes == 5 && dice.once_in(2) { 5 } else { 3 };
        let shards = 1 + usize::from(dice.once_in(2));
        let operators = 1 + usize::from(dice.once_in(4)) + usize::from(!dice.once_in(3));
        let log_max = dice.once_in(2).then(|| LOG_MAX_MIN + dice.below(LOG_MAX_MORE));
        let heads_max = dice.pick(&HEADS).copied().unwrap_or(HEADS[0]);
        let first = Voters::new((0..voters).map(ReplicaId));
        let rows = first.map(|voters| vec![ShardRow::first(voters, ReplicaId(0)); shards]);
        let mut record = Record::new(rows.unwrap_or_default());
        record.without_precondition = scope.plant == Some(Plant::WritesWithoutPrecondition);
        let client = Client { leaders: vec![0; shards], ..Client::default() };
        Self {
            queue: Queue::default(),
            dice,
            trace: Trace::new(scope.lines),
            faults,
            plant: scope.plant,
            nodes: (0..nodes).map(|node| fresh(node, node, shards)).collect(),
            homes: (0..nodes).collect(),
            network: Network::default(),
            record,
            lost_a_disk: 0,
            log_max,
            heads_max,
            images_taken: 0,
            images: BTreeMap::new(),
            outage: 0,
            operators: (0..operators).map(|rank| Operator::new(rank, 0, SECOND, scope.plant)).collect(),
            adding: vec![None; shards],
            asks: BTreeMap::new(),
            asked: 0,
            clients: vec![client; 4],
            history: Vec::new(),
            ledgers: (0..shards).map(|_| Ledger::default()).collect(),
            partitions: BTreeMap::new(),
            effects: Vec::new(),
            peace: None,
            quiet: None,
            violation: None,
            figures: Figures::default(),
        }
    }

    /// Lets time pass until the end or the first violation.
    pub(super) fn run(&mut self, scope: &Scope) {
        self.begin();
        let peace = scope.virtual_micros.saturating_sub(HEALED_WITHIN + QUIET);
        self.queue.at(peace, Event::Peace);
        self.queue.at(scope.virtual_micros.saturating_sub(QUIET), Event::Quiet);
        while self.violation.is_none() {
            let Some(event) = self.queue.next(scope.virtual_micros) else { break };
            self.figures.events += 1;
            self.trace.count(self.queue.now());
            self.trace.count(event.number());
            self.happens(event);
        }
        self.figures.micros = self.queue.now();
        if self.violation.is_none() {
            self.finish();
        }
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        // The cluster is founded: its nodes know each other,
        for (one, other) in self.pairs() {
            self.shake_hands(one, other);
        }
        for shard in 0..self.ledgers.len() {
            // and the first leader begins without an election.
            let expected = Standing { boot: Boot(1), last: Epoch::default(), end: LogIndex(0) };
            let (epoch, configs) = (RecordEpoch(1), self.record.now(shard).configs.clone());
            let order = Lead { ask: Ask(0), epoch, configs, learners: Vec::new(), expected };
            self.step(0, shard, Input::Lead(Box::new(order)));
        }
        for client in 0..self.clients.len() {
            self.queue.after(SECOND + client as u64, Event::Client(client));
        }
        for operator in 0..self.operators.len() {
            self.queue.after(SECOND, Event::Operate(Caller { operator, life: 0 }));
        }
        self.queue.after(super::hand::LOOKS, Event::Hand);
        for (trouble, every) in self.faults.every.clone() {
            let first = 2 * SECOND + self.dice.below(2 * every);
            self.queue.after(first, Event::Trouble(trouble));
        }
    }

    pub(super) fn happens(&mut self, event: Event) {
        if let Some(node) = event.process()
            && let Some(missed) = &mut self.nodes[node].paused
        {
            missed.push(event);
            return;
        }
        match event {
            Event::Tick { node, life } if self.lives(node, life) => self.tick(node),
            Event::LogSynced { node, life } if self.lives(node, life) => self.log_synced(node),
            Event::MemorySaved { node, life } if self.lives(node, life) => self.memory_saved(node),
            Event::Feed { node, life, shard, input } if self.lives(node, life) => {
                self.step(node, shard, input);
            }
            Event::Imaged { node, life, shard, to } if self.lives(node, life) => self.imaged(node, shard, to),
            Event::Fetched { node, life, shard, key } if self.lives(node, life) => {
                self.fetched(node, shard, key);
            }
            Event::Installed { node, life, shard } if self.lives(node, life) => self.installed(node, shard),
            Event::Tick { .. } | Event::LogSynced { .. } | Event::MemorySaved { .. } | Event::Feed { .. } => {
            }
            Event::Imaged { .. } | Event::Fetched { .. } | Event::Installed { .. } => {}
            Event::Arrive(letter) => self.arrive(letter),
            Event::Connect { one, other } => self.connect(one, other),
            Event::Heard(told) => self.hears_of_starts(*told),
            Event::Crash { node, life } if self.lives(node, life) => self.crash(node),
            Event::Crash { .. } => {}
            Event::Start { node } => self.start(node),
            Event::Wake { node } => self.wake(node),
            Event::Trouble(trouble) => self.trouble(trouble),
            Event::Ends { trouble, number } => self.trouble_ends(trouble, number),
            Event::Client(client) => self.client_asks(client),
            Event::Request { node, call } => self.request(node, call),
            Event::Answered { call, outcome } => self.answered(call, outcome),
            Event::GiveUp { call } => self.give_up(call),
            Event::Operate(caller) => self.operate(caller),
            Event::OperatorEnds(caller) => self.operator_ends(caller),
            Event::Asked { caller, node, question } => self.node_asked(caller, node, *question),
            Event::Told { caller, reply } => self.operator_told(caller, *reply),
            Event::Get(caller) => self.record_read(caller),
            Event::Put { caller, changes } => self.record_written(caller, &changes),
            Event::Hand => self.hand_looks(),
            Event::Changed(change) => self.hand_changes(&change),
            Event::Peace => self.peace(),
            Event::Quiet => self.quiet = Some(self.record.writes()),
        }
    }

    /// Every two nodes.
    pub(super) fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let count = self.nodes.len();
        (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other))).collect()
    }

    fn tick(&mut self, node: NodeId) {
        let now = self.queue.now();
        let it = &self.nodes[node];
        let (started, clock, life, jumped) = (it.started, it.clock, it.life, it.jumped);
        self.queue.after(TICK, Event::Tick { node, life });
        let passed = std::time::Duration::from_micros((now - started) * clock / 1000 + jumped);
        for shard in 0..self.ledgers.len() {
            self.step(node, shard, Input::Tick(passed));
            self.give_up_connections(node, shard);
            if let Some(upto) = self.nodes[node].locals[shard].desk.opens_at() {
                self.apply(node, shard, upto);
                self.serve_if_applied(node, shard);
            }
        }
        self.let_go(node);
    }

    /// Whether this start of a node's process still goes on.
    pub(super) fn lives(&self, node: NodeId, life: u64) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    /// Something is seen that must never be.
    pub(super) fn violated(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            let now = self.queue.now();
            self.trace.say(now, || format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// A line of the event log about a node.
    pub(super) fn say(&mut self, node: NodeId, line: impl FnOnce() -> String) {
        let now = self.queue.now();
        self.trace.say(now, || format!("node-{node}  {}", line()));
    }
}

/// A node with an empty disk.
pub(super) fn fresh(node: NodeId, id: usize, shards: usize) -> Node {
    let id = ReplicaId(u32::try_from(id).unwrap_or(u32::MAX));
    Node::new(id, Disk::new(node, id.0.into(), shards), 0)
}
