//! Every claim of a replica, compared with what is true: what it says rests on its disk, what it calls committed is on the
//! disks of enough voters.

use thalweg_node::core::replication::{Answer, Message};
use thalweg_node::types::{Configs, Epoch, LogIndex, ReplicaId};

use super::event::{NodeId, Shard};
use super::world::World;

impl World {
    /// What a message claims is on this disk.
    pub(super) fn check_said(&mut self, node: NodeId, shard: Shard, message: &Message) {
        let rests_on = match message {
            Message::Refused { .. } | Message::Differs { .. } => Epoch::default(),
            other => other.epoch(),
        };
        self.said(node, shard, rests_on);
        if self.plant.is_some() {
            return;
        }
        let it = &self.nodes[node];
        let (promised, durable) = (it.disk.remembered.memories[shard].promised, it.locals[shard].durable);
        let held = match message {
            Message::Ack { synced, .. } => *synced,
            _ => LogIndex(0),
        };
        if let Message::Offer { image, .. } = message
            && image.history.end() > self.ledgers[shard].end()
        {
            let end = image.history.end();
            return self.violated(|| {
                format!("node-{node} shard {shard} offers {end} entries, and some are not committed")
            });
        }
        if rests_on > promised || held > durable {
            self.violated(|| {
                format!(
                    "node-{node} shard {shard} says {message:?}, but its disk holds {durable} entries and the \
                     promise of epoch {promised}"
                )
            });
        }
    }

    /// Something was said that rests on a promise: no crash takes it back.
    fn said(&mut self, node: NodeId, shard: Shard, promised: Epoch) {
        let said = &mut self.nodes[node].disk.said[shard];
        *said = promised.max(*said);
    }

    /// What is called committed for the first time is on the disks of enough voters of every set that the leader goes by.
    pub(super) fn check_held(&mut self, node: NodeId, shard: Shard, upto: LogIndex) {
        let local = &self.nodes[node].locals[shard];
        let leads = local.replica.as_ref().filter(|replica| replica.leads().is_some());
        let Some(configs) = leads.and_then(|replica| replica.memory().configs.clone()) else { return };
        let chain = local.log.chain_at(upto);
        let holds = |id: ReplicaId| {
            let home = &self.nodes[self.homes[id.0 as usize]];
            let there = &home.locals[shard];
            // A disk that was replaced, put back or damaged held it before.
            let lost = home.id != id || home.put_back || there.had >= upto;
            lost || (there.durable >= upto && there.log.chain_at(upto) == chain)
        };
        let newest = Configs::new(vec![configs.last()]);
        for config in newest.iter().flat_map(|configs| configs.as_slice()) {
            let count = config.voters.iter().filter(|id| holds(*id)).count();
            let least = config.voters.count() / 2 + 1;
            if count < least && !configs.is_changing() {
                return self.violated(|| {
                    format!(
                        "node-{node} shard {shard} calls entry {upto} committed, which {count} of {:?} hold",
                        config.voters
                    )
                });
            }
        }
    }

    /// An answer to an operator: a seal must be on the disk.
    pub(super) fn check_answer(&mut self, node: NodeId, shard: Shard, answer: &Answer) {
        let Answer::Sealed(sealed) = answer else { return };
        self.said(node, shard, sealed.promised);
        let it = &self.nodes[node];
        let (promised, durable) = (it.disk.remembered.memories[shard].promised, it.locals[shard].durable);
        if self.plant.is_none() && (sealed.promised > promised || sealed.standing.end > durable) {
            let (said, end) = (sealed.promised, sealed.standing.end);
            self.violated(|| {
                format!(
                    "node-{node} shard {shard} answers a seal with the promise of epoch {said} and {end} \
                     entries, but its disk holds {promised} and {durable}"
                )
            });
        }
    }
}
