//! What the record says of a cluster, and as what it stands in a file. Invariant: an id is given to one volume in one
//! incarnation and never again; every other statement about shards is a `ShardRow`, which keeps its own rules.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use thalweg_node::core::replication::{Phase, ShardRow};
use thalweg_node::types::{ClusterId, RecordEpoch, ReplicaId, Roster, ShardId};

use super::words::{ConfigWords, MemberWords, configs_from, configs_words, member_from, member_words};

/// The only form so far; a driver that finds another one writes nothing.
const FORMAT: u32 = 1;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Whose it is.
    pub cluster: ClusterId,
    /// The id that the next volume gets.
    pub next_replica: u32,
    /// Whoever is a member now.
    pub roster: Roster,
    /// Who leads and who votes.
    pub rows: BTreeMap<ShardId, ShardRow>,
    /// Who gets a shard's log without voting.
    pub learners: BTreeMap<ShardId, Vec<ReplicaId>>,
}

impl Table {
    /// Those who get a shard's log without voting.
    #[must_use]
    pub fn learners(&self, shard: ShardId) -> Vec<ReplicaId> {
        self.learners.get(&shard).cloned().unwrap_or_default()
    }

    /// What people call the node of a replica.
    #[must_use]
    pub fn node(&self, replica: ReplicaId) -> String {
        self.roster.members.get(&replica).map_or_else(|| replica.to_string(), |member| member.node.clone())
    }
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWords {
    format: u32,
    /// Grows with every change.
    version: u64,
    cluster: String,
    next_replica: u32,
    members: Vec<MemberWords>,
    shards: Vec<RowWords>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowWords {
    shard: u16,
    epoch: u64,
    phase: PhaseWords,
    /// Nobody while it is being sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader: Option<u32>,
    last_leader: u32,
    configs: Vec<ConfigWords>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseWords {
    Active,
    Sealing,
}

/// A table as it is written.
pub(super) fn to_words(version: u64, table: &Table) -> FileWords {
    let row = |(shard, row): (&ShardId, &ShardRow)| RowWords {
        shard: shard.0,
        epoch: row.epoch.0,
        phase: if row.leader().is_ok() { PhaseWords::Active } else { PhaseWords::Sealing },
        leader: row.leader().ok().map(|id| id.0),
        last_leader: row.last_leader.0,
        configs: configs_words(&row.configs),
        learners: table.learners(*shard).into_iter().map(|id| id.0).collect(),
    };
    FileWords {
        format: FORMAT,
        version,
        cluster: table.cluster.to_string(),
        next_replica: table.next_replica,
        members: table.roster.members.iter().map(|(id, member)| member_words(*id, member)).collect(),
        shards: table.rows.iter().map(row).collect(),
    }
}

/// A table as it was read, with its version.
pub(super) fn from_words(words: FileWords) -> anyhow::Result<(u64, Table)> {
    ensure!(words.format == FORMAT, "the record has format {}, this driver knows {FORMAT}", words.format);
    let members = words.members.into_iter().map(member_from).collect::<Result<_, _>>()?;
    let (mut rows, mut learners) = (BTreeMap::new(), BTreeMap::new());
    for row in words.shards {
        let shard = ShardId(row.shard);
        let phase = match (row.phase, row.leader) {
            (PhaseWords::Active, Some(leader)) => Phase::Active { leader: ReplicaId(leader) },
            (PhaseWords::Sealing, None) => Phase::Sealing,
            _ => anyhow::bail!("shard {shard} has a leader while it is being sealed, or none and is active"),
        };
        let configs = configs_from(&row.configs).with_context(|| format!("shard {shard}: its voters"))?;
        let (epoch, last_leader) = (RecordEpoch(row.epoch), ReplicaId(row.last_leader));
        rows.insert(shard, ShardRow { epoch, phase, last_leader, configs });
        if !row.learners.is_empty() {
            learners.insert(shard, row.learners.into_iter().map(ReplicaId).collect());
        }
    }
    let cluster = words.cluster.parse().context("the cluster's id")?;
    let (roster, next_replica) = (Roster { members }, words.next_replica);
    Ok((words.version, Table { cluster, next_replica, roster, rows, learners }))
}
