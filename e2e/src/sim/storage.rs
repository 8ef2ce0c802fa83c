//! Syncs of logs and saves of memories: they take a while, they fail, and power fails while they are under way. Invariant: a
//! node whose disk refused a sync or a save ends, and begins anew with what is there.

use thalweg_node::core::replication::Input;
use thalweg_node::types::LogIndex;

use super::event::{Event, NodeId};
use super::network::chance;
use super::plant::Plant;
use super::queue::Micros;
use super::world::World;

/// A write to the disk takes at least so long, and so much more by chance.
pub(super) const SYNC_MIN: Micros = 150;
const SYNC_MORE: Micros = 400;

impl World {
    /// Begins a sync of a node's lane, unless one is under way.
    pub(super) fn begin_sync(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        let locals = &it.locals;
        let reaches = || locals.iter().map(super::node::Local::reach).collect();
        if it.disk.begin_sync(reaches) {
            let (life, delay) = (it.life, self.disk_delay());
            self.queue.after(delay, Event::LogSynced { node, life });
            self.crash_within(node, self.faults.crash_in_sync_per_mille, delay);
        }
    }

    /// Begins to save what the replicas of a node remember, where they want that.
    pub(super) fn begin_save(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        if !it.locals.iter().any(|local| local.wants_save()) {
            return;
        }
        let memories = it.memories();
        if !it.disk.begin_save(|| memories) {
            return;
        }
        let mut asked = Vec::new();
        for local in &mut it.locals {
            local.saved = local.asked;
            asked.push(local.asked);
        }
        let (life, delay) = (it.life, self.disk_delay());
        self.queue.after(delay, Event::MemorySaved { node, life });
        self.crash_within(node, self.faults.crash_in_save_per_mille, delay);
        if self.plant == Some(Plant::CountsTheUnsaved) {
            for (shard, ticket) in asked.into_iter().enumerate() {
                self.feed(node, shard, Input::Saved(ticket));
            }
        }
    }

    /// Power may fail before something is on the disk.
    pub(super) fn crash_within(&mut self, node: NodeId, per_mille: u64, delay: Micros) {
        if chance(&mut self.dice, per_mille) {
            let (life, within) = (self.nodes[node].life, self.dice.below(delay));
            self.queue.after(within, Event::Crash { node, life });
        }
    }

    pub(super) fn disk_delay(&mut self) -> Micros {
        let slow = chance(&mut self.dice, self.faults.slow_sync_per_mille);
        let more = if slow { self.dice.below(self.faults.slow_sync_max) } else { 0 };
        SYNC_MIN + self.dice.below(SYNC_MORE) + more
    }

    /// Whether the disk refuses; then the node ends.
    pub(super) fn refuses(&mut self, node: NodeId, what: &str) -> bool {
        let refuses = chance(&mut self.dice, self.faults.refused_syncs_per_mille);
        if refuses {
            self.figures.refused += 1;
            self.say(node, || format!("cannot {what}: input/output error"));
        }
        refuses
    }

    /// The lane of a node is on its disk, as far as it was when the sync began.
    pub(super) fn log_synced(&mut self, node: NodeId) {
        if self.refuses(node, "sync its log") {
            if self.plant != Some(Plant::RetriesAFailedSync) {
                return self.crash(node);
            }
            // The system has dropped a page that it could not write; the next sync finds nothing left to do.
            self.nodes[node].disk.drop_a_page(&mut self.dice);
        }
        let Some(reaches) = self.nodes[node].disk.end_sync() else { return };
        for (shard, reach) in reaches.into_iter().enumerate() {
            let local = &mut self.nodes[node].locals[shard];
            local.durable = local.durable.max(reach.end.min(local.log.end()));
            if local.replica.as_ref().is_some_and(|replica| replica.synced() < reach.end) {
                self.step(node, shard, Input::Synced(reach.end));
            }
            let local = &mut self.nodes[node].locals[shard];
            if let Some(to) = reach.cut.filter(|to| local.cutting == Some(*to)) {
                local.cutting = None;
                local.log.cut(to);
                local.durable = local.durable.min(to);
                let chain = local.log.chain();
                self.step(node, shard, Input::Cut { to, chain });
            }
            if reach.seeded && self.nodes[node].locals[shard].seeded {
                self.goes_on_seeded(node, shard);
            }
        }
        self.begin_sync(node);
    }

    /// So is its memory.
    pub(super) fn memory_saved(&mut self, node: NodeId) {
        if self.refuses(node, "save what it must remember") {
            return self.crash(node);
        }
        let before: Vec<_> =
            self.nodes[node].disk.remembered.memories.iter().map(|it| (it.promised, it.damaged)).collect();
        let tickets = self.nodes[node].disk.end_save();
        for (shard, ticket) in tickets.into_iter().enumerate() {
            let (promised, damaged) = before[shard];
            let now = &self.nodes[node].disk.remembered.memories[shard];
            let is_mended = damaged && !now.damaged;
            if now.promised < promised {
                self.violated(|| format!("node-{node} shard {shard} takes a promise back"));
            }
            if is_mended {
                self.figures.mended += 1;
                self.nodes[node].locals[shard].had = LogIndex(0);
                self.say(node, || format!("has all of shard {shard} again"));
            }
            self.step(node, shard, Input::Saved(ticket));
        }
        self.begin_save(node);
    }
}
