//! Trouble that begins and ends: crashes, pauses, replaced disks, partitions, and the peace after it.

use thalweg_node::types::StartKey;

use super::disk::Unreadable;
use super::event::{Event, NodeId};
use super::faults::{Faults, Trouble};
use super::network::chance;
use super::operator::Caller;
use super::queue::{MILLI, Micros, SECOND};
use super::world::World;

const PAUSE_MAX: Micros = 30 * SECOND;
const PARTITION_MAX: Micros = 30 * SECOND;
const CLOG_MAX: Micros = 5 * SECOND;
const OUTAGE_MAX: Micros = 30 * SECOND;
const FULL_MAX: Micros = 30 * SECOND;
const DRAIN_MAX: Micros = 30 * SECOND;
const JUMP_MAX: Micros = 3600 * SECOND;
const JUMP_BACK_MAX: Micros = 5 * SECOND;

impl World {
    /// Trouble begins, and the next of its kind is awaited.
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        let Some(every) =
            self.faults.every.iter().find(|(kind, _)| *kind == trouble).map(|(_, every)| *every)
        else {
            return;
        };
        let next = 1 + self.dice.below(2 * every);
        self.queue.after(next, Event::Trouble(trouble));
        let node = self.some_node();
        match trouble {
            Trouble::Crash if self.dice.once_in(10) => {
                (0..self.nodes.len()).for_each(|node| self.crash(node));
            }
            Trouble::Crash => self.crash(node),
            Trouble::Pause => self.pause(node),
            Trouble::Wipe => self.wipe(node),
            Trouble::Reset => {
                let other = self.some_node();
                self.break_connection(node, other);
            }
            Trouble::Partition => self.part(),
            Trouble::Clog => {
                let other = self.some_node();
                let until = self.queue.now() + self.dice.below(CLOG_MAX);
                self.network.clog(node, other, until);
            }
            Trouble::OperatorCrash => self.end_some_operator(),
            Trouble::Outage => self.outage = self.queue.now() + self.dice.below(OUTAGE_MAX),
            Trouble::Flip => self.flip(node),
            Trouble::RollBack => self.roll_back(node),
            Trouble::Full => self.nodes[node].full = self.queue.now() + self.dice.below(FULL_MAX),
            Trouble::Drain => self.nodes[node].draining = self.queue.now() + self.dice.below(DRAIN_MAX),
            Trouble::Jump => self.jump(node),
            Trouble::Upgrade => {
                self.figures.upgraded += 1;
                self.end(node);
                self.nodes[node].version ^= 1;
            }
        }
    }

    /// The clock of a node jumps, or that of an operator: far forward or a little back; or one on the wall, as far back, too.
    fn jump(&mut self, node: NodeId) {
        if self.dice.once_in(3) {
            self.nodes[node].wall_off += self.off_by();
            return;
        }
        let jumped = match self.dice.below(self.operators.len() as u64 + 3) {
            0..3 => &mut self.nodes[node].jumped,
            other => &mut self.operators[usize::try_from(other - 3).unwrap_or(0)].jumped,
        };
        *jumped = match self.dice.once_in(3) {
            true => jumped.saturating_sub(self.dice.below(JUMP_BACK_MAX)),
            false => *jumped + self.dice.below(JUMP_MAX),
        };
    }

    /// How far a clock on the wall is off, in milliseconds.
    fn off_by(&mut self) -> i64 {
        let millis = 1000 * self.faults.off_max;
        let off = i64::try_from(self.dice.below(2 * millis + 1)).unwrap_or(0);
        off - i64::try_from(millis).unwrap_or(0)
    }

    pub(super) fn some_node(&mut self) -> NodeId {
        usize::try_from(self.dice.below(self.nodes.len() as u64)).unwrap_or(0)
    }

    /// The power of a node fails; it starts again after a while.
    pub(super) fn crash(&mut self, node: NodeId) {
        if self.nodes[node].up {
            self.stop(node);
            let slow = if self.dice.once_in(3) { 20 * SECOND } else { SECOND };
            let delay = 100 * MILLI + self.dice.below(slow);
            self.queue.after(delay, Event::Start { node });
        }
    }

    pub(super) fn stop(&mut self, node: NodeId) {
        self.figures.crashes += 1;
        self.say(node, || "crashes".to_owned());
        self.news_of_an_end(self.nodes[node].id);
        let it = &mut self.nodes[node];
        (it.up, it.paused, it.life) = (false, None, it.life + 1);
        let promised: Vec<_> = it.disk.remembered.memories.iter().map(|memory| memory.promised).collect();
        it.disk.crash(&mut self.dice);
        it.disk.unreadable = chance(&mut self.dice, self.faults.unread_per_mille);
        let kept =
            it.disk.remembered.memories.iter().zip(&promised).all(|(now, before)| now.promised >= *before);
        let kept = kept
            && it.disk.remembered.memories.iter().zip(&it.disk.said).all(|(now, said)| now.promised >= *said);
        if !kept {
            self.violated(|| format!("node-{node} takes a promise back in a crash"));
        }
        self.recover(node);
        for other in 0..self.nodes.len() {
            self.network.disconnect(node, other);
        }
    }

    /// What a node that ended will find on its disk. A shard that lacks something of what it had keeps its promise and the rest;
    /// what it lacks it gets from a leader.
    pub(super) fn recover(&mut self, node: NodeId) {
        match self.nodes[node].recover(self.plant) {
            Ok(lacking) => {
                for shard in lacking {
                    self.figures.damaged += 1;
                    let end = self.nodes[node].locals[shard].log.end();
                    self.say(node, || format!("finds shard {shard} damaged, and is left with {end} entries"));
                }
            }
            Err(Unreadable(why)) => self.violated(|| format!("node-{node} cannot read its log: {why}")),
        }
    }

    /// A node starts.
    pub(super) fn start(&mut self, node: NodeId) {
        let now = self.queue.now();
        let drift = self.faults.drift_per_mille;
        let clock = 1000 - drift + self.dice.below(2 * drift + 1);
        let off = self.off_by();
        let it = &mut self.nodes[node];
        if it.up {
            return;
        }
        if std::mem::take(&mut it.disk.unreadable) {
            // The start ends with an error, and is tried again.
            self.figures.unread += 1;
            return self.queue.after(SECOND, Event::Start { node });
        }
        it.wall_off = off;
        it.disk.remembered.trail = it.disk.remembered.trail.followed_by(StartKey(self.dice.draw()));
        it.disk.remember();
        (it.up, it.started, it.clock, it.jumped, it.vouched) = (true, now, clock, 0, false);
        let (life, id, boot) = (it.life, it.id, it.disk.boot());
        self.say(node, || format!("starts as {id} in boot {boot}"));
        self.begin_replicas(node);
        self.queue.after(self.dice.below(100) * MILLI, Event::Tick { node, life });
        self.connect_to_all(node);
    }

    /// Its replicas begin, and wait until somebody vouches for this start.
    fn begin_replicas(&mut self, node: NodeId) {
        for shard in 0..self.ledgers.len() {
            let mut out = Vec::new();
            self.nodes[node].start(shard, self.plant, &mut out);
            self.carry_out(node, shard, &mut out);
            let upto = self.nodes[node].locals[shard].replica.as_ref().map(|replica| replica.committed());
            let log = &self.nodes[node].locals[shard].log;
            let fits = self.ledgers[shard].holds(&self.nodes[node].disk.tables[shard]);
            let fits = fits.and_then(|()| self.ledgers[shard].committed(log, upto.unwrap_or_default()));
            if let Err(why) = fits {
                self.violated(|| format!("node-{node} shard {shard}: {why}"));
            }
            self.after_step(node, shard);
        }
    }

    fn pause(&mut self, node: NodeId) {
        let it = &mut self.nodes[node];
        if it.up && it.paused.is_none() {
            it.paused = Some(Vec::new());
            let delay = self.dice.below(PAUSE_MAX);
            self.say(node, || format!("stands still for {} ms", delay / MILLI));
            self.queue.after(delay, Event::Wake { node });
            // A long pause breaks its connections.
            if delay > 10 * SECOND {
                for other in 0..self.nodes.len() {
                    self.network.disconnect(node, other);
                }
            }
        }
    }

    /// A paused node goes on with what it missed.
    pub(super) fn wake(&mut self, node: NodeId) {
        let Some(mut missed) = self.nodes[node].paused.take() else { return };
        self.say(node, || "goes on".to_owned());
        // It may hear its clients first, and everything else before it looks at its clock.
        if self.dice.once_in(2) {
            missed.sort_by_key(|event| match event {
                Event::Request { .. } => 0,
                Event::Tick { .. } => 2,
                _ => 1,
            });
        }
        missed.into_iter().for_each(|event| self.happens(event));
        self.connect_to_all(node);
    }

    /// Some ways are blocked for a while: those of one node, of one half, or of a ring; in one direction or both.
    /// Operators have their places behind the nodes.
    fn part(&mut self) {
        let count = self.nodes.len() + self.operators.len();
        let mut ways = Vec::new();
        let (kind, both, one) = (self.dice.below(3), self.dice.once_in(2), self.some_node());
        let sides = self.dice.draw();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let parted = match kind {
                    0 => from == one || (both && to == one),
                    1 => {
                        let side = |node: usize| sides >> node & 1 == 1;
                        side(from) != side(to) && (both || side(from))
                    }
                    // Each hears of its neighbours only.
                    _ => (from + 1) % count != to && (to + 1) % count != from && (both || from < to),
                };
                if parted {
                    ways.push((from, to));
                }
            }
        }
        ways.iter().for_each(|(from, to)| self.network.block(*from, *to, true));
        let number = self.figures.partitions;
        self.figures.partitions += 1;
        let now = self.queue.now();
        self.trace.say(now, || format!("network  blocks {ways:?}"));
        self.partitions.insert(number, ways);
        let delay = self.dice.below(PARTITION_MAX);
        self.queue.after(delay, Event::Ends { trouble: Trouble::Partition, number });
    }

    /// A partition ends; connections that did not notice go on or break.
    pub(super) fn trouble_ends(&mut self, trouble: Trouble, number: u64) {
        if trouble != Trouble::Partition {
            return;
        }
        for (from, to) in self.partitions.remove(&number).unwrap_or_default() {
            self.network.block(from, to, false);
            if from.max(to) < self.nodes.len() && self.dice.once_in(2) {
                self.break_connection(from, to);
            }
        }
        let now = self.queue.now();
        self.trace.say(now, || "network  heals".to_owned());
    }

    fn end_some_operator(&mut self) {
        let count = self.operators.len() as u64;
        let operator = usize::try_from(self.dice.below(count)).unwrap_or(0);
        let life = self.operators[operator].life;
        self.operator_ends(Caller { operator, life });
    }

    /// All nodes have the newest version of the protocol; those that had another one start again.
    fn speak_alike(&mut self) {
        let newest = self.nodes.iter().map(|node| node.version).max().unwrap_or(0);
        for node in 0..self.nodes.len() {
            if self.nodes[node].version != newest {
                self.end(node);
                self.nodes[node].version = newest;
            }
        }
    }

    /// All trouble ends: what is down starts, what stands still goes on, every connection is made anew.
    pub(super) fn peace(&mut self) {
        let now = self.queue.now();
        self.trace.say(now, || "the trouble ends".to_owned());
        self.faults = Faults::none();
        self.peace = Some(now);
        self.outage = 0;
        for number in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.trouble_ends(Trouble::Partition, number);
        }
        self.speak_alike();
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.unreadable = false;
            (self.nodes[node].full, self.nodes[node].draining) = (0, 0);
            self.start(node);
            self.wake(node);
            for other in node + 1..self.nodes.len() {
                self.network.clog(node, other, 0);
                self.network.clog(other, node, 0);
                self.network.disconnect(node, other);
                self.try_to_connect(node, other);
            }
        }
    }
}
