//! The network of a world: a proxy for each way, so that each may be cut, slowed or broken on its own.
//!
//! Each node is told other addresses of its peers than the others are: those of its own ways to them. A way that is cut
//! takes connections and carries nothing, as one that lost its packets does; what was sent arrives when it heals.

use std::collections::BTreeMap;

use crate::driver::{Detour, Planned};
use crate::proxy::{Accept, Line, Proxy, Rules};

/// A way from one node to another.
#[derive(Debug)]
struct Way {
    peer: Proxy,
    client: Proxy,
}

/// All ways between the nodes of a world, and from the driver to each.
#[derive(Debug, Default)]
pub struct Network {
    ways: BTreeMap<(usize, usize), Way>,
    admin: Vec<Proxy>,
}

impl Network {
    /// A way between any two of them.
    pub(super) async fn between(nodes: &[Planned], seed: u64) -> anyhow::Result<Self> {
        let mut network = Self::default();
        for (to, node) in nodes.iter().enumerate() {
            for from in (0..nodes.len()).filter(|from| *from != to) {
                let seed = seed ^ ((from as u64) << 8 | to as u64);
                let peer = Proxy::to(node.peer, seed).await?;
                let client = Proxy::to(node.client, seed ^ 1 << 16).await?;
                network.ways.insert((from, to), Way { peer, client });
            }
            network.admin.push(Proxy::to(node.admin, seed ^ to as u64).await?);
        }
        Ok(network)
    }

    /// By names: where each node finds each other one.
    pub(super) fn detours(&self, nodes: &[Planned]) -> BTreeMap<(String, String), Detour> {
        let detour = |((from, to), way): (&(usize, usize), &Way)| {
            let names = (nodes[*from].name.clone(), nodes[*to].name.clone());
            (names, Detour { peer: way.peer.address(), client: way.client.address() })
        };
        self.ways.iter().map(detour).collect()
    }

    /// Where the driver finds each node.
    pub(super) fn admin(&self, nodes: &mut [Planned]) {
        for (node, proxy) in nodes.iter_mut().zip(&self.admin) {
            node.admin = proxy.address();
        }
    }

    /// Nothing that `from` sends reaches `to`, on connections of either.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        let opened_by = |one, other| self.ways.get(&(one, other)).into_iter().flat_map(Way::proxies);
        opened_by(from, to).for_each(|proxy| proxy.change(|rules| rules.there.line = Line::Stopped));
        opened_by(to, from).for_each(|proxy| proxy.change(|rules| rules.back.line = Line::Stopped));
    }

    /// Nothing goes between two nodes.
    pub fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing goes between one node and all others. Clients and the driver reach it still.
    pub fn isolate(&self, node: usize) {
        (0..self.admin.len()).filter(|other| *other != node).for_each(|other| self.cut(node, other));
    }

    /// Connections of a node to others, of either side, break, and new ones are taken by nobody who would ever answer.
    pub fn half_open(&self, node: usize) {
        for proxy in self.of(node) {
            proxy.change(|rules| rules.accept = Accept::HalfOpen);
            proxy.reset();
        }
    }

    /// What a node and others send each other is acknowledged and never arrives.
    pub fn swallow(&self, node: usize) {
        let swallow =
            |rules: &mut Rules| (rules.there.line, rules.back.line) = (Line::Swallowing, Line::Swallowing);
        self.of(node).for_each(|proxy| proxy.change(swallow));
    }

    /// All ways from and to a node.
    fn of(&self, node: usize) -> impl Iterator<Item = &Proxy> {
        let its = move |((from, to), _): &(&(usize, usize), &Way)| *from == node || *to == node;
        self.ways.iter().filter(its).flat_map(|(_, way)| way.proxies())
    }

    /// The driver does not reach a node.
    pub fn hide_from_driver(&self, node: usize) {
        self.admin.get(node).into_iter().for_each(Proxy::block);
    }

    /// The same rules for every way between nodes.
    pub fn everywhere(&self, rules: Rules) {
        self.between_nodes().for_each(|proxy| proxy.set(rules));
    }

    /// Every connection between nodes ends at once, amid a frame if there is one.
    pub fn reset(&self) {
        self.between_nodes().for_each(Proxy::reset);
    }

    /// The beginning of the last connection on each way between peers comes once more.
    pub async fn replay(&self) -> anyhow::Result<usize> {
        let mut bytes = 0;
        for way in self.ways.values() {
            bytes += way.peer.replay().await?;
        }
        Ok(bytes)
    }

    /// Everything goes through again.
    pub fn heal(&self) {
        self.between_nodes().chain(&self.admin).for_each(Proxy::heal);
    }

    fn between_nodes(&self) -> impl Iterator<Item = &Proxy> {
        self.ways.values().flat_map(Way::proxies)
    }
}

impl Way {
    fn proxies(&self) -> [&Proxy; 2] {
        [&self.peer, &self.client]
    }
}
