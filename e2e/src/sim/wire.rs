//! Messages between nodes, and connections that come and go.

use thalweg_node::core::replication::{Input, Message};
use thalweg_node::types::ReplicaId;

use super::event::{Event, Letter, NodeId, Shard};
use super::network::chance;
use super::plant::Plant;
use super::queue::{MILLI, Micros};
use super::world::World;

/// How long until a broken connection is tried again, at least, and by chance.
const RETRY_MIN: Micros = 50 * MILLI;
const RETRY_MORE: Micros = 400 * MILLI;

impl World {
    /// Sends a message; without a connection it is dropped.
    pub(super) fn post(&mut self, from: NodeId, shard: Shard, to: ReplicaId, message: Message) {
        let Some(&home) = self.homes.get(to.0 as usize) else { return };
        let Some(connection) = self.network.connection(from, home) else { return };
        let (sender, receiver, boot) =
            (self.nodes[from].id, self.nodes[home].id, self.nodes[home].disk.boot());
        if receiver != to {
            return;
        }
        let now = self.queue.now();
        let times = self.network.arrivals(now, (from, home), &self.faults, &mut self.dice);
        let letter = Letter { from, to: home, sender, receiver, boot, connection, shard, message };
        let [first, second] = times;
        if let Some(at) = second {
            self.queue.at(at, Event::Arrive(Box::new(letter.clone())));
        }
        if let Some(at) = first {
            self.queue.at(at, Event::Arrive(Box::new(letter)));
        }
    }

    /// A message arrives, unless its connection or its receiver is no more.
    pub(super) fn arrive(&mut self, letter: Box<Letter>) {
        let now = self.queue.now();
        let it = &mut self.nodes[letter.to];
        let meant = it.up && it.id == letter.receiver && it.disk.boot() == letter.boot;
        if !meant || self.network.connection(letter.from, letter.to) != Some(letter.connection) {
            return;
        }
        if let Some(missed) = &mut it.paused {
            return missed.push(Event::Arrive(letter));
        }
        self.figures.messages += 1;
        let Letter { to, shard, sender, mut message, .. } = *letter;
        if self.plant == Some(Plant::CountsOldAcknowledgements)
            && let Message::Ack { epoch, .. } = &mut message
            && let Some(leads) = it.locals[shard].replica.as_ref().and_then(|replica| replica.leads())
        {
            *epoch = leads;
        }
        match (&mut message, self.plant) {
            (Message::Report(report), Some(Plant::CountsTheDamaged)) => report.intact = true,
            (Message::Adopt { common, end, .. }, Some(Plant::MendsTooEarly)) => *end = *common,
            (Message::Offer { image, .. }, Some(Plant::TakesAnOlderImage)) => {
                self.takes_any_image(to, shard, letter.from, image.key);
            }
            _ => {}
        }
        let it = &mut self.nodes[to];
        let leads = matches!(
            message,
            Message::Follow(_)
                | Message::Adopt { .. }
                | Message::Records(_)
                | Message::Offer { .. }
                | Message::Beat { .. }
        );
        if leads && message.epoch() >= it.disk.remembered.memories[shard].promised {
            it.locals[shard].heard = now;
        }
        if self.plant == Some(Plant::ConfirmsTooEarly)
            && let Message::Ack { synced, .. } = &mut message
            && let Some(configs) =
                it.locals[shard].replica.as_ref().and_then(|it| it.memory().configs.as_ref())
            && configs.is_changing()
            && !configs.oldest().voters.contains(sender)
        {
            *synced = it.locals[shard].log.end();
        }
        if let Message::Ack { synced, .. } = &message {
            self.held(to, shard, sender, *synced);
        }
        self.step(to, shard, Input::Heard { from: sender, message });
    }

    /// A connection breaks, and is tried again after a while.
    pub(super) fn break_connection(&mut self, one: NodeId, other: NodeId) {
        if self.network.disconnect(one, other) {
            self.try_to_connect(one, other);
        }
    }

    /// Tries to connect two nodes in a while.
    pub(super) fn try_to_connect(&mut self, one: NodeId, other: NodeId) {
        let delay = RETRY_MIN + self.dice.below(RETRY_MORE);
        self.queue.after(delay, Event::Connect { one, other });
    }

    /// Two nodes connect, if both are there and hear of each other.
    pub(super) fn connect(&mut self, one: NodeId, other: NodeId) {
        if self.network.connection(one, other).is_some() {
            return;
        }
        let here = |node: NodeId| self.nodes[node].up && self.nodes[node].paused.is_none();
        if !here(one) || !here(other) {
            // Whoever starts or wakes tries again.
            return;
        }
        if self.network.is_blocked(one, other) || self.network.is_blocked(other, one) {
            return self.try_to_connect(one, other);
        }
        // Who speaks another version is refused before anything else is said.
        if self.nodes[one].version != self.nodes[other].version {
            return self.try_to_connect(one, other);
        }
        // The side that dials remembers the other one first; what it says then may be lost.
        if chance(&mut self.dice, self.faults.lost_per_mille) {
            self.recognise(one, other);
            return self.try_to_connect(one, other);
        }
        self.shake_hands(one, other);
    }

    /// Two nodes that hear of each other connect, if each takes the other one's disk for the one that it knew.
    pub(super) fn shake_hands(&mut self, one: NodeId, other: NodeId) {
        if !self.greet(one, other) {
            return;
        }
        self.network.connect(one, other);
        self.introduced(one, other);
        for (at, peer) in [(one, other), (other, one)] {
            let id = self.nodes[peer].id;
            for shard in 0..self.ledgers.len() {
                self.step(at, shard, Input::Connected(id));
            }
        }
    }

    /// A node that starts or wakes connects to all others.
    pub(super) fn connect_to_all(&mut self, node: NodeId) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if self.network.connection(node, other).is_none() {
                self.try_to_connect(node, other);
            }
        }
    }
}
