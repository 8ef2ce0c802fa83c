//! Which nodes there are to be, and where everybody finds them. Invariant: a node's place in the plan has a name for good;
//! which replica sits there changes with its disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use thalweg_node::types::{ClusterId, Member, Roster};

/// One node that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What it is called, `--node-name`.
    pub name: String,
    /// Where its admin port is.
    pub admin: SocketAddr,
    /// Where other nodes reach it.
    pub peer: SocketAddr,
    /// Where clients reach it.
    pub client: SocketAddr,
}

/// Another way from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detour {
    /// Instead of its peer address.
    pub peer: SocketAddr,
    /// Instead of its client address.
    pub client: SocketAddr,
}

/// A cluster as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its identity.
    pub cluster: ClusterId,
    /// How many shards it has.
    pub shards: u16,
    /// Its nodes.
    pub nodes: Vec<Planned>,
    /// By the names of who goes and to whom; without one, the way is straight.
    pub detours: BTreeMap<(String, String), Detour>,
}

impl Plan {
    /// What a node is told of the members: each is where it finds it.
    #[must_use]
    pub fn told_to(&self, node: &str, roster: &Roster) -> Roster {
        let seen_from_there = |member: &Member| {
            let way = (node.to_owned(), member.node.clone());
            let mut member = member.clone();
            if let Some(detour) = self.detours.get(&way) {
                (member.peer, member.client) = (detour.peer.to_string(), detour.client.to_string());
            }
            member
        };
        Roster { members: roster.members.iter().map(|(id, member)| (*id, seen_from_there(member))).collect() }
    }
}
