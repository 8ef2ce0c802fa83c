//! What the record says of a cluster, and as what it stands in a file. Invariant: an id is given to one volume in one
//! incarnation and never again; every other statement about shards is a `ShardRow`, which keeps its own rules.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use thalweg_node::admin::words::{MemberList, VoterSets};
use thalweg_node::core::replication::{Phase, ShardRow};
use thalweg_node::types::{ClusterId, RecordEpoch, ReplicaId, Roster, ShardId, VolumeIncarnation};

/// The form that is written; a driver that finds one that it does not know writes nothing. The first one knew nothing of what
/// is given up.
const FORMAT: u32 = 2;
const OLDEST: u32 = 1;

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
    /// What was given up, for ever.
    pub unclean: Vec<GivenUp>,
    /// Somebody wishes that a shard goes on without its quorum.
    pub wish: Option<Wish>,
}

/// A volume that was a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcast {
    /// Its id.
    pub id: ReplicaId,
    /// The node in which it was.
    pub node: String,
    /// The volume itself.
    pub incarnation: VolumeIncarnation,
}

/// A shard went on with one replica, and what others hold alone was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUp {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch that began so.
    pub epoch: RecordEpoch,
    /// With whom it goes on.
    pub chosen: ReplicaId,
    /// Whoever did not answer. Nothing of it counts any more, for any shard.
    pub barred: Vec<Outcast>,
}

/// A wish for an unclean election: for one epoch of one shard, and granted or refused once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Which shard.
    pub shard: ShardId,
    /// In which epoch it is now.
    pub epoch: RecordEpoch,
    /// The volume with which it is to go on.
    pub incarnation: VolumeIncarnation,
    /// Why it was not granted; until then it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Table {
    /// When a volume was given up, if it was.
    #[must_use]
    pub fn barred(&self, volume: VolumeIncarnation) -> Option<&GivenUp> {
        let is_it = |given_up: &&GivenUp| given_up.barred.iter().any(|it| it.incarnation == volume);
        self.unclean.iter().find(is_it)
    }

    /// Whether a replica was given up.
    #[must_use]
    pub fn is_barred(&self, replica: ReplicaId) -> bool {
        self.unclean.iter().flat_map(|given_up| &given_up.barred).any(|it| it.id == replica)
    }

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
    cluster: ClusterId,
    next_replica: u32,
    members: MemberList,
    shards: Vec<RowWords>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unclean: Vec<GivenUp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wish: Option<Wish>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowWords {
    shard: ShardId,
    epoch: RecordEpoch,
    phase: PhaseWords,
    /// Nobody while it is being sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader: Option<ReplicaId>,
    last_leader: ReplicaId,
    configs: VoterSets,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    learners: Vec<ReplicaId>,
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
        shard: *shard,
        epoch: row.epoch,
        phase: if row.leader().is_ok() { PhaseWords::Active } else { PhaseWords::Sealing },
        leader: row.leader().ok(),
        last_leader: row.last_leader,
        configs: VoterSets(row.configs.clone()),
        learners: table.learners(*shard),
    };
    FileWords {
        format: FORMAT,
        version,
        cluster: table.cluster,
        next_replica: table.next_replica,
        members: MemberList(table.roster.clone()),
        shards: table.rows.iter().map(row).collect(),
        unclean: table.unclean.clone(),
        wish: table.wish.clone(),
    }
}

/// A table as it was read, with its version.
pub(super) fn from_words(words: FileWords) -> anyhow::Result<(u64, Table)> {
    let FileWords { format, version, cluster, next_replica, members, shards, unclean, wish } = words;
    let MemberList(roster) = members;
    let is_known = (OLDEST..=FORMAT).contains(&format);
    ensure!(is_known, "the record has format {format}, this driver knows {OLDEST} to {FORMAT}");
    let (mut rows, mut learners) = (BTreeMap::new(), BTreeMap::new());
    for RowWords { shard, epoch, phase, leader, last_leader, configs, learners: learning } in shards {
        let phase = match (phase, leader) {
            (PhaseWords::Active, Some(leader)) => Phase::Active { leader },
            (PhaseWords::Sealing, None) => Phase::Sealing,
            _ => anyhow::bail!("shard {shard} has a leader while it is being sealed, or none and is active"),
        };
        rows.insert(shard, ShardRow { epoch, phase, last_leader, configs: configs.0 });
        if !learning.is_empty() {
            learners.insert(shard, learning);
        }
    }
    Ok((version, Table { cluster, next_replica, roster, rows, learners, unclean, wish }))
}
