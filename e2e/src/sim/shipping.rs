//! Entries on their way to followers: the newest from memory, the older ones read back from the lane. Invariant: what cannot be
//! read is sent to nobody; whoever needs it is seeded.

use thalweg_node::core::replication::{Entry, Input, Message, Records};
use thalweg_node::types::{LogIndex, ReplicaId};

use super::event::{NodeId, Shard};
use super::log::count;
use super::network::chance;
use super::node::Shipped;
use super::plant::Plant;
use super::queue::{Micros, SECOND};
use super::seeding::SEEDING_MAX;
use super::world::World;

/// Entries in one message.
const SHIP_MAX: usize = 64;
/// Entries that may be on their way to a follower.
const WINDOW: u64 = 512;
/// Entries that are still in memory when a follower is to get them.
const RING: u64 = 8;
/// An acknowledgement takes no longer, or the connection is taken for dead.
const STUCK_MAX: Micros = 6 * SECOND;

/// What became of reading entries back.
enum ReadBack {
    /// They are here.
    Whole(Vec<Entry>),
    /// Those before the first that is not what was written.
    Damaged(Vec<Entry>),
    /// The device did not answer.
    Failed,
}

impl World {
    /// Sends what is new in a leader's log, as far as a follower's window reaches.
    pub(super) fn ship(&mut self, node: NodeId, shard: Shard) {
        let local = &self.nodes[node].locals[shard];
        let Some(replica) = local.replica.as_ref().filter(|_| !local.shipping.is_empty()) else { return };
        let (Some(epoch), end) = (replica.leads(), local.log.end()) else { return };
        let base = local.log.base();
        if let Some((&to, _)) = local.shipping.iter().find(|(_, shipped)| shipped.sent < base) {
            self.nodes[node].locals[shard].shipping.remove(&to);
            return self.step(node, shard, Input::Lacks { to, epoch });
        }
        let room = |shipped: &Shipped| LogIndex(shipped.held.0 + WINDOW).min(end);
        let due: Vec<(ReplicaId, LogIndex, LogIndex)> = local
            .shipping
            .iter()
            .filter(|(_, shipped)| shipped.sent < room(shipped))
            .map(|(to, shipped)| (*to, shipped.sent, room(shipped)))
            .collect();
        for (to, after, upto) in due {
            if let Some(shipped) = self.nodes[node].locals[shard].shipping.get_mut(&to) {
                shipped.sent = upto;
            }
            self.ship_to(node, shard, to, (after, upto));
        }
    }

    /// Sends one follower what lies between two entries.
    fn ship_to(
        &mut self,
        node: NodeId,
        shard: Shard,
        to: ReplicaId,
        (mut after, upto): (LogIndex, LogIndex),
    ) {
        while after < upto {
            let most = SHIP_MAX.min(count(upto) - count(after));
            let (mut entries, damaged) = match self.read_back(node, shard, after, most) {
                ReadBack::Whole(entries) => (entries, false),
                ReadBack::Damaged(entries) => (entries, true),
                ReadBack::Failed => {
                    self.figures.unread += 1;
                    return self.break_connection(node, self.homes[to.0 as usize]);
                }
            };
            let local = &self.nodes[node].locals[shard];
            let Some(replica) = &local.replica else { return };
            let (Some(epoch), committed) = (replica.leads(), replica.committed()) else { return };
            let chain = local.log.chain_at(after).unwrap_or_default();
            let next = LogIndex(after.0 + entries.len() as u64);
            if self.plant == Some(Plant::DropsOnAFullLink) && entries.len() > 4 {
                entries.remove(2);
            }
            if !entries.is_empty() {
                let records = Records { epoch, after, chain, committed, entries };
                self.post(node, shard, to, Message::Records(records));
            }
            if damaged {
                self.figures.lacking += 1;
                self.say(node, || format!("cannot read entry {} of shard {shard} for {to}", next.next()));
                // The applier goes on meanwhile, so that an image has what cannot be read.
                self.apply(node, shard, committed);
                self.nodes[node].locals[shard].shipping.remove(&to);
                return self.step(node, shard, Input::Lacks { to, epoch });
            }
            after = next;
        }
    }

    /// The entries behind `after`, from memory or from the lane.
    fn read_back(&mut self, node: NodeId, shard: Shard, after: LogIndex, most: usize) -> ReadBack {
        let (it, faults) = (&self.nodes[node], self.faults.unread_per_mille);
        let log = &it.locals[shard].log;
        let older = after.0 + RING < log.end().0;
        if older && chance(&mut self.dice, faults) {
            return ReadBack::Failed;
        }
        let mut entries = Vec::with_capacity(most);
        for (index, line) in (after.0 + 1..).map(LogIndex).zip(log.lines_behind(after).take(most)) {
            if index.0 + RING > log.end().0 {
                entries.push(line.entry.clone());
                continue;
            }
            match it.disk.read((shard, index), line.position, self.plant) {
                Some(entry) => entries.push(entry),
                None => return ReadBack::Damaged(entries),
            }
        }
        ReadBack::Whole(entries)
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
        let seeds = self.nodes[node].locals[shard].seeds.iter();
        let late: Vec<ReplicaId> =
            seeds.filter(|(_, seed)| now > seed.since + SEEDING_MAX).map(|(to, _)| *to).collect();
        for to in given_up.into_iter().chain(late) {
            self.break_connection(node, self.homes[to.0 as usize]);
        }
    }
}
