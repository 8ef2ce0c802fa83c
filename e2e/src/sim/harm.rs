//! Harm to disks: replaced by empty ones, damaged, put back to what they were. Invariant: no more disks are lost at a time
//! than the shards can bear, so that whatever is lost anyway is the product's fault.

use thalweg_node::core::replication::Phase;
use thalweg_node::types::{Boot, ReplicaId, Trail};

use super::event::{Event, NodeId};
use super::node::Node;
use super::plant::Plant;
use super::queue::{MILLI, Micros, SECOND};
use super::world::{World, fresh};

/// A disk that was just lost may be about to be made a voter: two such losses are more than a shard can bear.
const LOSSES_APART: Micros = 20 * SECOND;

impl World {
    /// A disk is replaced by an empty one.
    pub(super) fn wipe(&mut self, node: NodeId) {
        if self.may_lose_a_disk() {
            self.figures.wipes += 1;
            self.end(node);
            self.renew(node);
        }
    }

    /// A bit of a synced log flips, or of one copy of the superblock, or a write went elsewhere, or a file is gone, or the tables of a
    /// shard do not open. It is found when the node starts, or when a follower needs it.
    pub(super) fn flip(&mut self, node: NodeId) {
        if self.dice.once_in(4) {
            // One copy of the superblock is no loss.
            self.end(node);
            self.nodes[node].disk.flip_superblock(&mut self.dice);
            return self.recover(node);
        }
        if !self.may_lose_a_disk() {
            return;
        }
        let kind = self.dice.below(8);
        let goes_on = kind > 1 && self.nodes[node].up && !self.dice.once_in(4);
        if !goes_on {
            self.end(node);
        }
        let disk = &mut self.nodes[node].disk;
        let (harmed, how) = match kind {
            0 | 1 => return self.break_tables(node),
            2 => (disk.misdirect(&mut self.dice), "a write that went elsewhere"),
            3 => (disk.lose_a_file(&mut self.dice), "a file without an entry in its directory"),
            _ => (disk.flip(&mut self.dice), "a flipped bit"),
        };
        if harmed {
            self.figures.misplaced += u64::from(kind < 4);
            self.say(node, || format!("has {how} in its log"));
        }
        if !goes_on {
            self.recover(node);
        }
    }

    /// The tables of one shard do not open.
    fn break_tables(&mut self, node: NodeId) {
        let shard = usize::try_from(self.dice.below(self.ledgers.len() as u64)).unwrap_or(0);
        (self.nodes[node].disk.broken, self.nodes[node].disk.flipped) = (Some(shard), true);
        self.figures.damaged += 1;
        self.say(node, || format!("cannot open its tables of shard {shard}"));
        self.recover(node);
    }

    /// The disk of a node is put back to what it was some starts ago, also to before its first one, if everybody else has met or
    /// heard of a later one: whom nobody knows, nobody can find out. Or it is noted how it is now.
    pub(super) fn roll_back(&mut self, node: NodeId) {
        let id = self.nodes[node].id;
        let image = self.images.get(&node).filter(|(of, _)| *of == id).map(|(_, image)| image.boot());
        let Some(then) = image else {
            self.images.insert(node, (id, self.nodes[node].disk.image()));
            return;
        };
        let met = |other: &Node| other.disk.remembered.met.get(&id).is_some_and(|met| met.boot > then);
        let known = self.nodes.iter().all(|other| other.id == id || met(other));
        if known && self.may_lose_a_disk() {
            self.end(node);
            self.say(node, || format!("has a disk that was put back to boot {then}"));
            if let Some((_, image)) = self.images.remove(&node) {
                (self.nodes[node].disk, self.nodes[node].put_back) = (image, true);
            }
            self.recover(node);
        }
    }

    /// A node ends, and starts again soon.
    pub(super) fn end(&mut self, node: NodeId) {
        if self.nodes[node].up {
            self.stop(node);
            let delay = 100 * MILLI + self.dice.below(5 * SECOND);
            self.queue.after(delay, Event::Start { node });
        }
    }

    /// A node has an empty disk from now on, and is another replica.
    pub(super) fn renew(&mut self, node: NodeId) {
        let (id, life) = (self.nodes[node].id, self.nodes[node].life + 1);
        let same = self.plant == Some(Plant::CountsAnEmptyDisk);
        let next = if same { id.0 as usize } else { self.homes.len() };
        let trail = if same { self.nodes[node].disk.remembered.trail } else { Trail::without_keys(Boot(0)) };
        let (full, version) = (self.nodes[node].full, self.nodes[node].version);
        self.nodes[node] = Node { life, full, version, ..fresh(node, next, self.ledgers.len()) };
        self.nodes[node].disk.remembered.trail = trail;
        self.nodes[node].disk.remember();
        if !same {
            self.homes.push(node);
        }
        self.say(node, || format!("gets an empty disk: {}", ReplicaId(u32::try_from(next).unwrap_or(0))));
    }

    /// Whether all shards can bear the loss of a disk now; takes note that one is lost.
    fn may_lose_a_disk(&mut self) -> bool {
        let now = self.queue.now();
        let may = now >= self.lost_a_disk + LOSSES_APART
            && (0..self.ledgers.len()).all(|shard| self.bears_a_loss(shard));
        if may {
            self.lost_a_disk = now;
        }
        may
    }

    /// Whether a shard can bear the loss of a disk: all that vote have theirs, whole, and nothing else is under way.
    fn bears_a_loss(&self, shard: usize) -> bool {
        let row = self.record.now(shard);
        let there = |id: ReplicaId| {
            let home = &self.nodes[self.homes[id.0 as usize]];
            let whole = !home.disk.latent && !home.disk.remembered.memories[shard].damaged;
            home.id == id && !home.put_back && whole
        };
        let settled = matches!(row.phase, Phase::Active { .. }) && !row.configs.is_changing();
        let voters = row.configs.last().voters;
        settled && voters.count() >= 3 && voters.iter().all(there)
    }
}
