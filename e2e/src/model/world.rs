//! Everything that the walk tells apart: the record, the replicas, and what is on its way between them.

use std::hash::{Hash, Hasher};

use super::Epochs;
use super::few::Few;
use super::log::{Kind, Log, Stamp};
use super::plant::Plant;
use super::row::Row;
use super::rules::{LogIndex, ReplicaId, Sealed, ShardRow, Voters};
use super::scope::Scope;
use super::sets::{Mask, Sets};

/// Replicas, the spare ones included.
pub(super) const REPLICAS_MAX: usize = 4;
/// Epochs that are told apart: those of the record and those of leaders that restart.
pub(super) const TERMS_MAX: usize = 8;
/// Orders and news on their way at a time.
const LETTERS_MAX: usize = 4;

/// A replica in the model.
pub(super) type Id = u8;

/// The same for the product.
#[must_use]
pub(super) fn replica(id: Id) -> ReplicaId {
    ReplicaId(u32::from(id))
}

/// An index for the product.
#[must_use]
pub(super) fn index(index: u8) -> LogIndex {
    LogIndex(u64::from(index))
}

/// One state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// What the record says.
    pub row: Row,
    /// The replicas by id; one that does not exist is one whose disk is lost.
    pub nodes: [Node; REPLICAS_MAX],
    /// What the leaders of epochs ever had.
    pub terms: Few<Term, TERMS_MAX>,
    /// Answers to the seals of the row's epoch.
    pub seals: [Option<Seal>; REPLICAS_MAX],
    /// Orders to lead that may still arrive.
    pub orders: Few<Order, LETTERS_MAX>,
    /// Sets of voters of which a leader may still hear.
    pub news: Few<News, LETTERS_MAX>,
    /// Versions that the leader of the row's epoch has confirmed, as bits; the record may hear of them.
    pub confirmed: u16,
    /// All that was ever committed, by anybody.
    pub committed: Log,
    /// The epoch in which the last of it was.
    pub committed_in: Stamp,
    /// A read that waits for its answer.
    pub read: Option<Read>,
    /// What was used of the scope.
    pub used: Used,
    /// What was lost, if anything was.
    pub lost: Option<Loss>,
}

/// How a promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Loss {
    /// Two committed entries of one index.
    Replaced,
    /// A leader begins without all that was committed in earlier epochs.
    LeaderLacks,
    /// Something is committed in an epoch although the leader of a later one began without it.
    TooLate,
    /// A read returned less than was committed before it began.
    StaleRead,
}

/// One replica: what is on its disk, and the role that it has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// Its log; what lies behind `synced` goes with a crash.
    pub log: Log,
    /// The sets of voters that it goes by, as a leader.
    pub sets: Sets,
    /// It takes nothing of lower epochs.
    pub promised: Stamp,
    /// The last epoch that it led.
    pub led: Stamp,
    /// How much of the log is on the disk.
    pub synced: u8,
    /// The disk is lost for good.
    pub wiped: bool,
    /// It leads, in the epoch `led`.
    pub leads: bool,
    /// As a leader: the first entry of its epoch.
    pub start: u8,
    /// As a leader: how far it has committed.
    pub committed: u8,
    /// As a leader: what others acknowledged in its epoch.
    pub acknowledged: [u8; REPLICAS_MAX],
}

/// What the leader of an epoch ever had, which may arrive anywhere at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Term {
    /// The epoch.
    pub stamp: Stamp,
    /// Whose it is.
    pub leader: Id,
    /// The longest log that it had in it.
    pub log: Log,
}

/// The answer of a sealed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seal {
    /// Epoch of its last synced entry.
    pub last: Stamp,
    /// Index of its last synced entry.
    pub end: u8,
    /// It has restarted or changed since: an order that is bound to this answer is refused.
    pub stale: bool,
}

/// An order to lead. It is bound to what the replica said when it was sealed, and forgotten once that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Order {
    /// Epoch of the record.
    pub record: u8,
    /// To whom.
    pub to: Id,
    /// The sets of voters.
    pub sets: Sets,
}

/// What the operator tells the leader of an epoch of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct News {
    /// Epoch of the record.
    pub record: u8,
    /// The sets of voters.
    pub sets: Sets,
}

/// A read at a leader, between its beginning and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Read {
    /// Who answers it.
    pub leader: Id,
    /// How far it will read.
    pub index: u8,
    /// How much was committed when it began.
    pub least: u8,
    /// Who has confirmed since that the leader leads, as bits.
    pub answers: u8,
}

/// How much of the scope is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Used {
    /// Writes of clients.
    pub writes: u8,
    /// Crashes.
    pub crashes: u8,
    /// Changes of the voters.
    pub changes: u8,
    /// Changes taken back.
    pub withdrawals: u8,
    /// Disks lost.
    pub wipes: u8,
    /// Reads.
    pub reads: u8,
}

impl World {
    /// The record has chosen replica 0 for the first epoch; nobody has heard of it.
    #[must_use]
    pub(super) fn first(scope: &Scope) -> Self {
        let voters = Voters::new((0..scope.voters).map(replica));
        let row = voters.map(|voters| Row::from(&ShardRow::first(voters, replica(0))));
        let row = row.unwrap_or_else(|| unreachable!("a scope has voters"));
        let mut nodes = [Node { wiped: true, ..Node::fresh() }; REPLICAS_MAX];
        nodes.iter_mut().take(usize::from(scope.replicas)).for_each(|node| node.wiped = false);
        let mut orders = Few::default();
        orders.push(Order { record: 1, to: 0, sets: row.sets });
        Self {
            row,
            nodes,
            terms: Few::default(),
            seals: [None; REPLICAS_MAX],
            orders,
            news: Few::default(),
            confirmed: 0,
            committed: Log::default(),
            committed_in: Stamp::default(),
            read: None,
            used: Used::default(),
            lost: None,
        }
    }

    /// The replica of an id.
    #[must_use]
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[usize::from(id)]
    }

    /// The replica of an id.
    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..).take(REPLICAS_MAX)
    }

    /// A leader writes an entry of its epoch.
    pub(super) fn append(&mut self, leader: Id, kind: Kind) {
        let node = self.node_mut(leader);
        node.log.push(node.led, kind);
        let Node { led, log, .. } = *node;
        // With a planted bug an epoch may have two terms: the later one is meant.
        let term = self.terms.iter_mut().filter(|term| term.stamp == led && term.leader == leader).last();
        if let Some(term) = term {
            term.log = log;
        }
    }

    /// Drops what no step can use any more, so that states that differ only in it are one.
    pub(super) fn forget_what_cannot_matter(&mut self, model: &Epochs) {
        if !model.plant.is_some_and(Plant::needs_the_past) {
            self.nodes.iter_mut().for_each(Node::forget_roles_that_are_over);
        }
        let Self { nodes, terms, seals, orders, news, read, .. } = self;
        let node = |id: Id| &nodes[usize::from(id)];
        for (seal, node) in seals.iter_mut().zip(nodes.iter()) {
            if let Some(seal) = seal {
                seal.stale |= !node.is_as_sealed(*seal);
            }
        }
        let leads = |term: &Term| node(term.leader).leads && node(term.leader).led == term.stamp;
        let reaches = |term: &Term| {
            (0..)
                .zip(nodes.iter())
                .any(|(id, node)| id != term.leader && !node.wiped && node.promised <= term.stamp)
        };
        terms.retain(|term| leads(term) || reaches(term));
        orders.retain(|order| {
            let node = node(order.to);
            !node.wiped && node.promised.record() <= order.record && node.led.record() < order.record
        });
        news.retain(|told| {
            let waits = orders.iter().any(|order| order.record == told.record);
            let leads =
                |node: &Node| node.led.record() == told.record && node.sets.newest() < told.sets.newest();
            // A leader that restarts hears of it as well.
            waits || nodes.iter().any(|node| leads(node) && node.promised.record() == told.record)
        });
        *read = read.filter(|read| node(read.leader).leads);
        if self.used.changes == model.scope.changes {
            self.forget_who_never_votes_again();
        }
    }

    /// Nobody counts such a replica, and nobody elects it: it may as well not exist.
    fn forget_who_never_votes_again(&mut self) {
        let leaders = self.nodes.iter().map(|node| &node.sets);
        let letters =
            self.news.iter().map(|told| &told.sets).chain(self.orders.iter().map(|order| &order.sets));
        let lists = leaders.chain(letters).chain([&self.row.sets]);
        let listed: Mask =
            lists.flat_map(Sets::masks).fold(1 << self.row.last_leader, |all, mask| all | mask);
        for (place, node) in
            self.nodes.iter_mut().enumerate().filter(|(place, node)| listed >> place & 1 == 0 && !node.leads)
        {
            *node = Node { wiped: true, ..Node::fresh() };
            self.seals[place] = None;
        }
    }
}

impl Node {
    /// An empty disk.
    #[must_use]
    pub(super) fn fresh() -> Self {
        Self {
            log: Log::default(),
            sets: Sets::default(),
            promised: Stamp::new(1, 0),
            led: Stamp::default(),
            synced: 0,
            wiped: false,
            leads: false,
            start: 0,
            committed: 0,
            acknowledged: [0; REPLICAS_MAX],
        }
    }

    /// Whether it holds what it said when it was sealed, and nothing else.
    #[must_use]
    pub(super) fn is_as_sealed(&self, seal: Seal) -> bool {
        !self.wiped
            && self.log.len() == seal.end
            && self.synced == seal.end
            && self.log.stamp(seal.end) == seal.last
    }

    fn forget_roles_that_are_over(&mut self) {
        if !self.leads {
            (self.start, self.committed, self.acknowledged) = (0, 0, [0; REPLICAS_MAX]);
        }
        if self.led.record() != self.promised.record() {
            (self.led, self.sets) = (Stamp::default(), Sets::default());
        }
    }
}

impl Seal {
    /// The same for the product.
    #[must_use]
    pub(super) fn answer(self, id: Id) -> Sealed {
        Sealed { replica: replica(id), last: self.last.epoch(), end: index(self.end) }
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [one, two, three, four] = self.acknowledged;
        let roles = u8::from(self.wiped) | u8::from(self.leads) << 1;
        self.log.hash(state);
        self.sets.hash(state);
        state.write_u64(u64::from_le_bytes([
            one,
            two,
            three,
            four,
            roles,
            self.synced,
            self.start,
            self.committed,
        ]));
        state.write_u16(u16::from_le_bytes([self.promised.number(), self.led.number()]));
    }
}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.log.hash(state);
        state.write_u16(u16::from_le_bytes([self.stamp.number(), self.leader]));
    }
}
