//! The file that names all members of a cluster that nobody manages. `docs/cluster.example.yaml` is one.
//!
//! Invariant: a [`ClusterFile`] has one to [`VOTERS_MAX`] members with ids, names and addresses of their own, and every
//! leader is a member.

mod addresses;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_saphyr::options;

use super::NodeName;
use super::value::Value;
use crate::types::{
    ClusterId, IdentityError, Member, ReplicaId, Roster, ShardId, VOTERS_MAX, VolumeIncarnation,
};

/// Longest file that is read: eight members with long names, and many lines of comments.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Who is in a cluster, and who leads first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFile {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its members; what volumes they have is not known to a file.
    pub roster: Roster,
    /// Who leads first, in turn.
    pub leaders: Vec<ReplicaId>,
}

/// Why a file names no cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterFileError {
    /// It cannot be read.
    #[error("the cluster file {path} cannot be read: {why}")]
    Unreadable {
        /// As given.
        path: String,
        /// The system's words.
        why: String,
    },
    /// It is no YAML, or has other keys or values than it may.
    #[error("{path}: {why}")]
    Form {
        /// As given.
        path: String,
        /// Where, and what would be taken.
        why: String,
    },
    /// The node is not in it.
    #[error("{path}: no member has node: {node}; name one of its members with --node-name")]
    NotMe {
        /// As given.
        path: String,
        /// What this node is called.
        node: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "cluster")]
    cluster: ClusterId,
    members: Vec<WrittenMember>,
    leaders: Option<Vec<ReplicaId>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMember {
    id: ReplicaId,
    node: String,
    peer: String,
    client: String,
}

/// The words name the key: the place that the parser adds is only a line.
fn cluster<'de, D: Deserializer<'de>>(from: D) -> Result<ClusterId, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|error: IdentityError| {
        D::Error::custom(format!("cluster: {text} is {error} (draw them with `openssl rand -hex 16`)"))
    })
}

impl ClusterFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, ClusterFileError> {
        let mut text = String::new();
        let name = || path.to_string_lossy().into_owned();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| ClusterFileError::Unreadable { path: name(), why: error.to_string() })?;
        Self::parse(&text).map_err(|why| ClusterFileError::Form { path: name(), why })
    }

    /// Reads its text. The error names the place, or the member and the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("is longer than {} KiB", FILE_BYTES_MAX / 1024));
        }
        let options = options! { with_snippet: false };
        let written: Written =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        let order: Vec<ReplicaId> = written.members.iter().map(|member| member.id).collect();
        let roster = roster(written.members)?;
        let leaders = written.leaders.unwrap_or(order);
        if leaders.is_empty() {
            return Err("leaders: name one at least, or leave the line out".to_owned());
        }
        if let Some(stranger) = leaders.iter().find(|id| !roster.members.contains_key(id)) {
            return Err(format!("leaders: {stranger} is no member"));
        }
        Ok(Self { cluster: written.cluster, roster, leaders })
    }

    /// Who leads a shard first.
    #[must_use]
    pub fn first_leader(&self, shard: ShardId) -> ReplicaId {
        // There is always one; without, the lowest id is nobody's.
        let place = usize::from(shard.0).checked_rem(self.leaders.len()).unwrap_or_default();
        self.leaders.get(place).copied().unwrap_or_default()
    }

    /// Tells two files apart that do not name the same members and first leaders; never zero. Names and addresses may differ: each node
    /// may reach the others by ways of its own.
    #[must_use]
    pub fn plan(&self) -> u32 {
        let lists: [Vec<ReplicaId>; 2] =
            [self.roster.members.keys().copied().collect(), self.leaders.clone()];
        let mut said = Vec::new();
        for list in lists {
            let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
            said.extend_from_slice(&count.to_le_bytes());
            list.iter().for_each(|id| said.extend_from_slice(&id.0.to_le_bytes()));
        }
        crc32c::crc32c(&said).max(1)
    }

    /// The member of this name.
    pub fn me(&self, path: &Path, node: &NodeName) -> Result<ReplicaId, ClusterFileError> {
        let mut members = self.roster.members.iter();
        let mine = members.find(|(_, member)| member.node == node.as_str()).map(|(id, _)| *id);
        mine.ok_or_else(|| ClusterFileError::NotMe {
            path: path.to_string_lossy().into_owned(),
            node: node.to_string(),
        })
    }

    /// The members as one of them knows them, which has seen its own volume.
    #[must_use]
    pub fn roster_of(&self, me: ReplicaId, incarnation: VolumeIncarnation) -> Roster {
        let mut roster = self.roster.clone();
        if let Some(member) = roster.members.get_mut(&me) {
            member.incarnation = Some(incarnation);
        }
        roster
    }
}

fn roster(members: Vec<WrittenMember>) -> Result<Roster, String> {
    if members.is_empty() || members.len() > VOTERS_MAX {
        return Err(format!("members: there are 1 to {VOTERS_MAX}, not {}", members.len()));
    }
    let mut roster = Roster::default();
    let mut taken = BTreeSet::new();
    for (place, WrittenMember { id, node, peer, client }) in members.into_iter().enumerate() {
        let at = |field: &str, why: &str| format!("members[{place}].{field}: {why}");
        NodeName::parse(&node).map_err(|why| at("node", &why))?;
        for (field, address) in [("peer", &peer), ("client", &client)] {
            if !is_address(address) {
                return Err(at(field, "must be a host and a port, as in 127.0.0.1:4537 or n0.local:4537"));
            }
        }
        for (field, text) in [("node", &node), ("peer", &peer), ("client", &client)] {
            if !taken.insert(text.clone()) {
                return Err(at(field, &format!("{text} is there twice")));
            }
        }
        if roster.members.insert(id, Member { node, incarnation: None, peer, client }).is_some() {
            return Err(at("id", &format!("{} is there twice", id.0)));
        }
    }
    Ok(roster)
}

/// A name or an address, and a port that can be dialled.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let name = |host: &str| {
        (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let host = bracketed.map_or_else(|| name(host), |host| host.parse::<std::net::Ipv6Addr>().is_ok());
    host && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
