//! How nodes come to know each other's starts, and find out disks that were put back, by the rules of the product. Invariant: a
//! node takes part only while another one remembers its start, and what a node remembers is on its disk.

use thalweg_node::core::replication::{Input, is_news, recognise};
use thalweg_node::types::{Met, ReplicaId, Start};

use super::event::{Event, NodeId, Told};
use super::network::trip;
use super::plant::Plant;
use super::world::World;

impl World {
    /// Two nodes that connect look whether each knows the start that the other one remembers of it, and remember the
    /// present ones. Says whether both go on.
    pub(super) fn greet(&mut self, one: NodeId, other: NodeId) -> bool {
        self.recognise(one, other) && self.recognise(other, one)
    }

    /// A node looks whether a peer knows the start that it remembers of it, and remembers the present one. A peer that does not is
    /// at its end: somebody gives it an empty disk.
    pub(super) fn recognise(&mut self, at: NodeId, peer: NodeId) -> bool {
        let it = &self.nodes[peer];
        let (id, trail) = (it.id, it.disk.remembered.trail);
        let Some(start) = trail.last() else { return false };
        let known = self.nodes[at].disk.remembered.met.get(&id).copied();
        let known = match self.plant {
            Some(Plant::ForgetsBoots) => None,
            Some(Plant::AcceptsAnyStart) => known.map(|met| Met { key: None, ..met }),
            _ => known,
        };
        if recognise(known, &trail).is_err() {
            self.is_put_back(peer);
            return false;
        }
        let news = self.nodes[at].disk.remembered.met.insert(id, start.into()) != Some(start.into());
        if news {
            self.nodes[at].disk.remember();
            self.tell_of_starts(at, None, &[(id, start)]);
        }
        true
    }

    /// Two nodes are connected: each remembers the other one's start, and tells what else it knows.
    pub(super) fn introduced(&mut self, one: NodeId, other: NodeId) {
        for (at, peer) in [(one, other), (other, one)] {
            let known = self.nodes[at].disk.remembered.met.iter();
            let known = known.filter_map(|(id, met)| Some((*id, Start { boot: met.boot, key: met.key? })));
            let known: Vec<_> = known.collect();
            self.tell_of_starts(at, Some(peer), &known);
            if !std::mem::replace(&mut self.nodes[peer].vouched, true) {
                self.say(peer, || format!("is vouched for by node-{at}"));
                for shard in 0..self.ledgers.len() {
                    self.step(peer, shard, Input::Vouched);
                }
            }
        }
    }

    /// A node tells one peer, or all that it is connected to, of starts.
    fn tell_of_starts(&mut self, from: NodeId, to: Option<NodeId>, starts: &[(ReplicaId, Start)]) {
        for peer in (0..self.nodes.len()).filter(|peer| to.is_none_or(|to| to == *peer)) {
            let Some(connection) = self.network.connection(from, peer) else { continue };
            if !self.network.is_blocked(from, peer) {
                let told = Told { from, to: peer, connection, starts: starts.to_vec() };
                let delay = trip(&self.faults, &mut self.dice);
                self.queue.after(delay, Event::Heard(Box::new(told)));
            }
        }
    }

    /// A node hears of starts of others, tells on what is news, and speaks no more to whoever is in an earlier one.
    pub(super) fn hears_of_starts(&mut self, told: Told) {
        let Told { from, to, connection, ref starts } = told;
        if self.network.connection(from, to) != Some(connection) || !self.nodes[to].up {
            return;
        }
        if let Some(missed) = &mut self.nodes[to].paused {
            return missed.push(Event::Heard(Box::new(told)));
        }
        let it = &mut self.nodes[to];
        let of_another = |(id, start): &&(ReplicaId, Start)| {
            *id == it.id && recognise(Some(Met::from(*start)), &it.disk.remembered.trail).is_err()
        };
        let blind = matches!(self.plant, Some(Plant::ForgetsBoots | Plant::AcceptsAnyStart));
        if !blind && starts.iter().any(|told| of_another(&told)) {
            return self.is_put_back(to);
        }
        let (me, met) = (it.id, &mut it.disk.remembered.met);
        let is_news = |(id, start): &&(ReplicaId, Start)| *id != me && is_news(met.get(id).copied(), *start);
        let news: Vec<_> = starts.iter().filter(is_news).copied().collect();
        met.extend(news.iter().map(|(id, start)| (*id, Met::from(*start))));
        if news.is_empty() {
            return;
        }
        self.nodes[to].disk.remember();
        self.tell_of_starts(to, None, &news);
        for (id, start) in news {
            let home = self.homes.get(id.0 as usize).copied();
            let earlier = |home: &NodeId| {
                let it = &self.nodes[*home];
                it.id == id && it.disk.boot() < start.boot
            };
            if let Some(home) = home.filter(earlier) {
                self.break_connection(to, home);
            }
        }
    }

    /// A node hears that its disk is an older one: it takes no part any more, and somebody gives it an empty disk.
    fn is_put_back(&mut self, node: NodeId) {
        if !self.nodes[node].put_back && self.plant.is_none() {
            return self.violated(|| format!("the disk of node-{node} is taken for an older one"));
        }
        self.figures.rolled_back += 1;
        self.say(node, || "hears that its disk is an older one".to_owned());
        self.end(node);
        self.renew(node);
    }
}
