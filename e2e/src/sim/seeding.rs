//! Logs that let their older entries go, and followers that are seeded with an image of what they lack. Invariant: what is let go
//! is in the tables of its node, and tables are replaced as a whole or not at all.

use std::rc::Rc;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::replication::{Entry, Image, Input, Message, Replica};
use thalweg_node::types::{Chain, Epoch, LogIndex, ReplicaId};

use super::event::{Event, NodeId, Shard};
use super::log::Log;
use super::network::trip;
use super::plant::Plant;
use super::queue::{MILLI, Micros, SECOND};
use super::table::Table;
use super::world::World;

/// A seeding that takes longer has lost a message: the connection is given up.
pub(super) const SEEDING_MAX: Micros = 20 * SECOND;
/// A file of tables takes so long to come over, at most, and now and then longer.
const FETCH_MAX: Micros = 50 * MILLI;
const SLOW_FETCH_MAX: Micros = 5 * SECOND;
/// How long until a fetch that found nobody is tried again.
const FETCH_AGAIN: Micros = 500 * MILLI;
/// For a follower that is being seeded the log may be so many times longer.
const HELD_TIMES: u64 = 8;
/// Images that a node keeps.
const IMAGES_MAX: usize = 2;

impl World {
    /// The tables of a node take in what is committed.
    pub(super) fn apply(&mut self, node: NodeId, shard: Shard, upto: LogIndex) {
        let it = &mut self.nodes[node];
        let table = &mut it.disk.tables[shard];
        let log = &it.locals[shard].log;
        let due = usize::try_from(upto.0.saturating_sub(table.end().0)).unwrap_or(usize::MAX);
        for line in log.lines_behind(table.end()).take(due) {
            table.apply(&line.entry, line.chain);
        }
        it.locals[shard].desk.applied(table.end());
        if let Err(why) = self.ledgers[shard].holds(table) {
            self.violated(|| format!("node-{node} shard {shard}: {why}"));
        }
    }

    /// Logs that are too long let go what the tables hold, unless a follower that is being seeded needs it next.
    pub(super) fn let_go(&mut self, node: NodeId) {
        let Some(max) = self.log_max else { return };
        let (it, too_much) = (&mut self.nodes[node], self.plant == Some(Plant::LetsGoTooMuch));
        for (local, table) in it.locals.iter_mut().zip(&it.disk.tables) {
            if local.log.len() > max && !local.seeded {
                let needed = local.seeds.values().filter_map(|seed| seed.end).min();
                let needed = needed.filter(|_| local.log.len() < max * HELD_TIMES).unwrap_or(local.log.end());
                let half = LogIndex(local.log.end().0 - max / 2);
                let upto = half.min(needed);
                local.log.let_go(if too_much { upto } else { upto.min(table.end()) });
            }
        }
        if let Some(first) = it.locals.iter().map(|local| local.log.position().unwrap_or(usize::MAX)).min() {
            it.disk.let_go(first);
        }
    }

    /// A leader takes an image for a follower, which takes a while.
    pub(super) fn take_image(&mut self, node: NodeId, shard: Shard, to: ReplicaId) {
        let since = self.queue.now();
        let it = &mut self.nodes[node];
        it.locals[shard].seeds.insert(to, super::node::Seed { since, end: None });
        let (life, delay) = (it.life, self.disk_delay() * 4);
        self.queue.after(delay, Event::Imaged { node, life, shard, to });
    }

    /// It is there, or one that was taken before and that the log still continues.
    pub(super) fn imaged(&mut self, node: NodeId, shard: Shard, to: ReplicaId) {
        let (it, reuses) = (&mut self.nodes[node], self.dice.once_in(2));
        let local = &mut it.locals[shard];
        let Some(seed) = local.seeds.get_mut(&to) else { return };
        let continued = local.images.iter().next_back().filter(|(_, table)| table.end() >= local.log.base());
        let known = continued.filter(|_| reuses).map(|(key, table)| (*key, Rc::clone(table)));
        let (key, table) = known.unwrap_or_else(|| {
            self.images_taken += 1;
            (self.images_taken, Rc::new(it.disk.tables[shard].clone()))
        });
        local.images.insert(key, Rc::clone(&table));
        if local.images.len() > IMAGES_MAX {
            local.images.pop_first();
        }
        if self.plant == Some(Plant::OffersTheUncommitted) {
            return self.offer_anything(node, shard, to);
        }
        seed.end = Some(table.end());
        let image = Image { history: table.history().clone(), bytes: 1, key };
        self.say(node, || format!("has an image of shard {shard} up to entry {} for {to}", table.end()));
        self.step(node, shard, Input::Imaged { to, image });
    }

    /// A follower begins to fetch an image.
    pub(super) fn fetch(&mut self, node: NodeId, shard: Shard, from: ReplicaId, image: Image) {
        let it = &mut self.nodes[node];
        let (life, key) = (it.life, image.key);
        it.locals[shard].fetching = Some((from, image));
        let most = if self.dice.once_in(8) { SLOW_FETCH_MAX } else { FETCH_MAX };
        let delay = trip(&self.faults, &mut self.dice) + self.dice.below(most);
        self.queue.after(delay, Event::Fetched { node, life, shard, key });
    }

    /// It is here, if whoever has it can be reached.
    pub(super) fn fetched(&mut self, node: NodeId, shard: Shard, key: u32) {
        if self.plant == Some(Plant::TakesAnOlderImage) {
            let has_it = |donor: &NodeId| self.nodes[*donor].locals[shard].images.contains_key(&key);
            if let Some(donor) = (0..self.nodes.len()).find(has_it) {
                self.takes_any_image(node, shard, donor, key);
            }
        }
        let local = &self.nodes[node].locals[shard];
        let Some((from, image)) = local.fetching.clone().filter(|(_, image)| image.key == key) else {
            return;
        };
        let home = self.homes.get(from.0 as usize).copied().unwrap_or(node);
        let donor = &self.nodes[home];
        if self.network.connection(node, home).is_none()
            || self.network.is_blocked(home, node)
            || donor.paused.is_some()
        {
            let life = self.nodes[node].life;
            return self.queue.after(FETCH_AGAIN, Event::Fetched { node, life, shard, key });
        }
        let table =
            donor.locals[shard].images.get(&key).filter(|_| donor.up && donor.id == from).map(Rc::clone);
        let local = &mut self.nodes[node].locals[shard];
        local.fetched = table;
        let input = match local.fetched {
            Some(_) => Input::Fetched(image),
            None => Input::Unseeded,
        };
        self.step(node, shard, input);
    }

    /// The tables of a shard are to be replaced.
    pub(super) fn install(&mut self, node: NodeId, shard: Shard) {
        let it = &mut self.nodes[node];
        let Some(table) = it.locals[shard].fetched.take() else { return };
        it.locals[shard].fetching = None;
        let life = it.life;
        it.disk.installing[shard] = Some(table.came_as_a_whole());
        let delay = self.disk_delay();
        self.queue.after(delay, Event::Installed { node, life, shard });
        self.crash_within(node, self.faults.crash_in_save_per_mille, delay);
    }

    /// They are; the log says so next.
    pub(super) fn installed(&mut self, node: NodeId, shard: Shard) {
        if self.refuses(node, "put tables in their place") {
            self.nodes[node].disk.installing[shard] = None;
            return self.step(node, shard, Input::Unseeded);
        }
        let it = &mut self.nodes[node];
        if self.plant == Some(Plant::SeedsInMemoryOnly) {
            return self.seeds_in_memory(node, shard);
        }
        let Some(table) = it.disk.installing[shard].take() else { return };
        let (end, chain) = (table.end(), table.chain());
        let before = std::mem::replace(&mut it.disk.tables[shard], table);
        if self.plant == Some(Plant::LeavesTheDirectoryUnsynced) {
            it.disk.unlisted[shard] = Some(before);
        }
        it.locals[shard].seeded = true;
        self.write_cut(node, shard, end, chain);
        if let Err(why) = self.ledgers[shard].holds(&self.nodes[node].disk.tables[shard]) {
            self.violated(|| format!("node-{node} shard {shard}: {why}"));
        }
        self.begin_sync(node);
    }

    /// All of that is on the disk: the replica goes on from there.
    pub(super) fn goes_on_seeded(&mut self, node: NodeId, shard: Shard) {
        let it = &mut self.nodes[node];
        it.locals[shard].durable = it.disk.tables[shard].end();
        let table = it.disk.tables[shard].clone();
        self.is_seeded(node, shard, &table);
    }

    fn is_seeded(&mut self, node: NodeId, shard: Shard, table: &Table) {
        let local = &mut self.nodes[node].locals[shard];
        let (history, voters) = (table.history().clone(), table.voters().cloned());
        (local.log, local.seeded) = (Log::behind_base(table.end(), table.chain()), false);
        self.figures.seeded += 1;
        self.say(node, || format!("is seeded with shard {shard} up to entry {}", history.end()));
        self.step(node, shard, Input::Seeded { history, voters });
    }

    /// A planted bug: an image of all that is written.
    fn offer_anything(&mut self, node: NodeId, shard: Shard, to: ReplicaId) {
        let it = &mut self.nodes[node];
        let (local, mut table) = (&mut it.locals[shard], it.disk.tables[shard].clone());
        local.log.lines_behind(table.end()).for_each(|line| table.apply(&line.entry, line.chain));
        let Some(epoch) = local.replica.as_ref().and_then(Replica::leads) else { return };
        self.images_taken += 1;
        let image = Image { history: table.history().clone(), bytes: 1, key: self.images_taken };
        local.images.insert(image.key, Rc::new(table));
        self.post(node, shard, to, Message::Offer { epoch, image });
    }

    /// A planted bug: an image is put in the place of whatever is there.
    pub(super) fn takes_any_image(&mut self, node: NodeId, shard: Shard, from: NodeId, key: u32) {
        let Some(table) = self.nodes[from].locals[shard].images.get(&key).map(Rc::clone) else { return };
        let it = &mut self.nodes[node];
        let committed = it.locals[shard].replica.as_ref().map_or(LogIndex(0), Replica::committed);
        if table.end() < committed && !it.locals[shard].seeded {
            it.disk.tables[shard] = table.came_as_a_whole();
            self.write_cut(node, shard, table.end(), table.chain());
            self.crash(node);
        }
    }

    /// A planted bug: the replica goes on with an image that is still on its way to the disk.
    fn seeds_in_memory(&mut self, node: NodeId, shard: Shard) {
        let (delay, it) = (self.disk_delay() * 4, &mut self.nodes[node]);
        let Some(table) = it.disk.installing[shard].clone() else { return };
        if it.locals[shard].log.base() >= table.end() {
            it.disk.tables[shard] = table;
            it.disk.installing[shard] = None;
            return;
        }
        let life = it.life;
        self.queue.after(delay, Event::Installed { node, life, shard });
        self.is_seeded(node, shard, &table);
    }

    /// The lane says that a shard goes on behind `to`.
    fn write_cut(&mut self, node: NodeId, shard: Shard, to: LogIndex, chain: Chain) {
        let mark = Entry { kind: RecordKind::Cut, epoch: Epoch::default(), payload: Default::default() };
        self.nodes[node].disk.write(shard, &mark, to, chain);
    }
}
