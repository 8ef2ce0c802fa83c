//! Everything that the walk tells apart: the record, the replicas, and what is on its way between them.

use std::hash::{Hash, Hasher};

use super::few::Few;
use super::log::{Kind, Log, Stamp};
use super::node::{Node, Seal};
use super::row::Row;
use super::rules::{LogIndex, ReplicaId, ShardRow, Voters};
use super::scope::Scope;
use super::sets::Sets;

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
}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.log.hash(state);
        state.write_u16(u16::from_le_bytes([self.stamp.number(), self.leader]));
    }
}
