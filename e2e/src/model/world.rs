//! Everything that the walk tells apart: the record, the replicas, and what is on its way between them.

use thalweg_node::core::replication::{Sealed, ShardRow};
use thalweg_node::types::{Configs, Epoch, LogIndex, ReplicaId, Voters};

use super::Scope;
use super::log::{Kind, Log, Stamp};

/// Replicas at most, spare ones included.
pub(super) const REPLICAS_MAX: usize = 4;
const VOTERS_FIRST: u32 = 3;

/// A replica in the model, as small as it can be.
pub(super) type Id = u8;

/// The same for the product.
#[must_use]
pub(super) fn replica(id: Id) -> ReplicaId {
    ReplicaId(u32::from(id))
}

/// One state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// What the record says.
    pub row: ShardRow,
    /// The replicas by id.
    pub nodes: Vec<Node>,
    /// What the leaders of epochs ever had, and what was acknowledged to them.
    pub terms: Vec<Term>,
    /// Answers to the seals of the row's epoch.
    pub seals: [Option<Seal>; REPLICAS_MAX],
    /// Orders to lead that may still arrive.
    pub orders: Vec<Order>,
    /// Confirmed sets of voters of which the record may still hear: epoch and version.
    pub confirmations: Vec<(u8, u8)>,
    /// All that was ever committed, by anybody.
    pub committed: Log,
    /// What was used of the scope.
    pub used: Used,
    /// What was lost, if anything was.
    pub lost: Option<&'static str>,
}

/// One replica: what is on its disk, and the role that it has in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The disk is lost for good.
    pub wiped: bool,
    /// It takes nothing of lower epochs.
    pub promised: Stamp,
    /// The last epoch that it led.
    pub led: Stamp,
    /// Starts.
    pub boot: u8,
    /// Its log; what lies behind `synced` goes with a crash.
    pub log: Log,
    /// How much of the log is on the disk.
    pub synced: u8,
    /// How far it knows its log to be committed.
    pub known: u8,
    /// The sets of voters that it goes by, as a leader.
    pub configs: Option<Configs>,
    /// It leads.
    pub role: Option<Role>,
}

/// What a leader keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role {
    /// Its epoch.
    pub stamp: Stamp,
    /// The first entry of that epoch.
    pub start: u8,
    /// How far it has committed.
    pub committed: u8,
}

/// What the leader of an epoch ever had, which may arrive anywhere at any time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// The epoch.
    pub stamp: Stamp,
    /// Whose it is.
    pub leader: Id,
    /// The longest log that it had in it.
    pub log: Log,
    /// How far it has committed.
    pub committed: u8,
    /// What followers acknowledged in this epoch.
    pub acknowledged: [u8; REPLICAS_MAX],
}

/// The answer of a sealed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seal {
    /// Epoch of its last synced entry.
    pub last: Stamp,
    /// Index of its last synced entry.
    pub end: u8,
    /// The boot in which it answered.
    pub boot: u8,
}

impl Seal {
    /// The same for the product.
    #[must_use]
    pub fn answer(self, id: Id) -> Sealed {
        Sealed { replica: replica(id), last: Epoch { ..self.last.epoch() }, end: index(self.end) }
    }
}

/// An order to lead, bound to what the seal said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    /// Epoch of the record.
    pub record: u8,
    /// To whom.
    pub to: Id,
    /// What it answered when it was sealed.
    pub seal: Seal,
    /// The sets of voters.
    pub configs: Configs,
}

/// How much of the scope is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Used {
    pub writes: u8,
    pub crashes: u8,
    pub changes: u8,
    pub withdrawals: u8,
    pub wipes: u8,
}

impl World {
    /// The record has chosen replica 0 for the first epoch; nobody has heard of it.
    #[must_use]
    pub fn first(scope: &Scope) -> Self {
        let voters = Voters::new((0..VOTERS_FIRST).map(ReplicaId));
        let row = ShardRow::first(voters.unwrap_or_else(|| unreachable!("three voters fit")), replica(0));
        let seal = Seal { last: Stamp::default(), end: 0, boot: 0 };
        let order = Order { record: 1, to: 0, seal, configs: row.configs.clone() };
        Self {
            row,
            nodes: vec![Node::fresh(); usize::from(scope.replicas)],
            terms: Vec::new(),
            seals: [None; REPLICAS_MAX],
            orders: vec![order],
            confirmations: Vec::new(),
            committed: Log::default(),
            used: Used::default(),
            lost: None,
        }
    }

    /// The replica of an id.
    #[must_use]
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[usize::from(id)]
    }

    /// The replica of an id.
    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        0..u8::try_from(self.nodes.len()).unwrap_or(u8::MAX)
    }

    /// The epoch of the row.
    #[must_use]
    pub fn epoch(&self) -> u8 {
        u8::try_from(self.row.epoch.0).unwrap_or(u8::MAX)
    }

    /// What a leader has in its present epoch. With a planted bug an epoch may have two: the later one is meant.
    #[must_use]
    pub fn term(&self, leader: Id) -> Option<&Term> {
        let stamp = self.node(leader).role.as_ref()?.stamp;
        self.terms.iter().rev().find(|term| term.stamp == stamp && term.leader == leader)
    }

    /// As [`Self::term`].
    pub fn term_mut(&mut self, leader: Id) -> Option<&mut Term> {
        let stamp = self.node(leader).role.as_ref()?.stamp;
        self.terms.iter_mut().rev().find(|term| term.stamp == stamp && term.leader == leader)
    }

    /// A leader writes an entry of its epoch.
    pub fn append(&mut self, leader: Id, kind: Kind) {
        let node = self.node_mut(leader);
        let Some(role) = &node.role else { return };
        node.log.push(role.stamp, kind);
        let log = node.log;
        if let Some(term) = self.term_mut(leader) {
            term.log = log;
        }
    }

    /// Drops what no step can use any more, so that states that differ only in it are one.
    pub fn forget_what_cannot_matter(&mut self) {
        let Self { row, nodes, terms, orders, confirmations, .. } = self;
        let leads = |term: &Term| {
            let role = nodes.get(usize::from(term.leader)).and_then(|node| node.role.as_ref());
            role.is_some_and(|role| role.stamp == term.stamp)
        };
        let reaches = |term: &Term| {
            let others = nodes.iter().enumerate().filter(|(id, _)| *id != usize::from(term.leader));
            others.into_iter().any(|(_, node)| !node.wiped && node.promised <= term.stamp)
        };
        for term in terms.iter_mut().filter(|term| !leads(term)) {
            term.acknowledged = [0; REPLICAS_MAX];
        }
        terms.retain(|term| leads(term) || reaches(term));
        orders.retain(|order| {
            let node = &nodes[usize::from(order.to)];
            let may_accept = node.promised.record() <= order.record && node.led.record() < order.record;
            !node.wiped && may_accept && node.boot == order.seal.boot
        });
        let epoch = u8::try_from(row.epoch.0).unwrap_or(u8::MAX);
        confirmations.retain(|(of, _)| *of == epoch);
    }
}

impl Node {
    /// An empty disk.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            wiped: false,
            promised: Stamp::new(1, 0),
            led: Stamp::default(),
            boot: 0,
            log: Log::default(),
            synced: 0,
            known: 0,
            configs: None,
            role: None,
        }
    }

    /// Whether it holds what it said when it was sealed, and nothing else.
    #[must_use]
    pub fn is_as_sealed(&self, seal: Seal) -> bool {
        let ends = self.log.len() == seal.end && self.synced == seal.end;
        ends && self.boot == seal.boot && self.log.stamp(seal.end) == seal.last
    }
}

/// An index for the product.
#[must_use]
pub(super) fn index(index: u8) -> LogIndex {
    LogIndex(u64::from(index))
}
