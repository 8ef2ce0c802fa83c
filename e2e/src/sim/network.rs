//! The network between nodes: connections that break and come back, messages that are late, lost, doubled, overtaken.
//! Invariant: a message reaches only the boot and the connection for which it was sent.

use std::collections::BTreeMap;

use super::event::NodeId;
use super::faults::Faults;
use super::queue::{MILLI, Micros};
use crate::dice::Dice;

/// A way from one node to another on its shortest trip, and what is added by chance.
const TRIP_MIN: Micros = 150;
const TRIP_MORE: Micros = 500;

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The number of the connection between two nodes (the smaller first), while there is one.
    connections: BTreeMap<(NodeId, NodeId), u64>,
    opened: u64,
    /// Ways on which nothing goes through, and how many partitions say so.
    blocked: BTreeMap<(NodeId, NodeId), u32>,
    /// When the last message arrives that was sent on a way.
    last: BTreeMap<(NodeId, NodeId), Micros>,
    /// Until when nothing arrives on a way.
    clogged: BTreeMap<(NodeId, NodeId), Micros>,
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

impl Network {
    /// The connection between two nodes, if there is one.
    pub(super) fn connection(&self, one: NodeId, other: NodeId) -> Option<u64> {
        self.connections.get(&pair(one, other)).copied()
    }

    /// A new connection.
    pub(super) fn connect(&mut self, one: NodeId, other: NodeId) {
        self.opened += 1;
        self.connections.insert(pair(one, other), self.opened);
    }

    /// The connection breaks: what is under way never arrives.
    pub(super) fn disconnect(&mut self, one: NodeId, other: NodeId) -> bool {
        self.connections.remove(&pair(one, other)).is_some()
    }

    /// Blocks a way, or takes that back.
    pub(super) fn block(&mut self, from: NodeId, to: NodeId, blocked: bool) {
        let count = self.blocked.entry((from, to)).or_default();
        *count = if blocked { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Whether nothing goes through from one to the other.
    pub(super) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.blocked.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    /// Nothing arrives on a way until then.
    pub(super) fn clog(&mut self, from: NodeId, to: NodeId, until: Micros) {
        self.clogged.insert((from, to), until);
    }

    /// When the messages arrive that this one becomes: none, one or two.
    pub(super) fn arrivals(
        &mut self,
        now: Micros,
        (from, to): (NodeId, NodeId),
        faults: &Faults,
        dice: &mut Dice,
    ) -> [Option<Micros>; 2] {
        if self.is_blocked(from, to) || chance(dice, faults.lost_per_mille) {
            return [None, None];
        }
        let clogged = self.clogged.get(&(from, to)).copied().unwrap_or(0);
        let mut at = (now + trip(faults, dice)).max(clogged);
        if !chance(dice, faults.reordered_per_mille) {
            let last = self.last.entry((from, to)).or_default();
            at = at.max(*last);
            *last = at;
        }
        let again = chance(dice, faults.doubled_per_mille).then(|| at + trip(faults, dice));
        [Some(at), again]
    }
}

/// How long a message takes.
pub(super) fn trip(faults: &Faults, dice: &mut Dice) -> Micros {
    let late = if chance(dice, faults.late_per_mille) { dice.below(faults.late_max + MILLI) } else { 0 };
    TRIP_MIN + dice.below(TRIP_MORE) + late
}

/// True so many times in a thousand.
pub(super) fn chance(dice: &mut Dice, per_mille: u64) -> bool {
    per_mille > 0 && dice.below(1000) < per_mille
}
