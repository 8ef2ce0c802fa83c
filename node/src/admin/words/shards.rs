//! The words for how shards stand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{VoterSets, millis};
use crate::runtime::{self, FollowerReport, SeedingReport, ShardReport};
use crate::types::{Epoch, LogIndex, ReplicaId, ShardId};

/// How every shard stands on a node: `GET /admin/shards`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    /// One for each shard of the node.
    pub shards: Vec<Shard>,
}

/// How a shard stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which.
    pub shard: ShardId,
    /// What its replica does.
    pub role: ShardRole,
    /// Nothing below counts for it any more.
    pub promised: Epoch,
    /// Whom it takes for the leader.
    pub leader: Option<ReplicaId>,
    /// The last entry.
    pub end: LogIndex,
    /// The last entry on the disk.
    pub synced: LogIndex,
    /// The last entry that is committed, as far as is known here.
    pub committed: LogIndex,
    /// The last entry in the tables.
    pub applied: LogIndex,
    /// The sets of voters that count.
    pub configs: Option<VoterSets>,
    /// As a leader: how far each follower is.
    pub followers: Vec<Follower>,
    /// As a follower that lacks what the leader's log no longer has: how far its snapshot is fetched.
    pub seeding: Option<Seeding>,
}

/// How far a snapshot of a leader is on its way to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeding {
    /// The last entry that it holds.
    pub index: LogIndex,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of that which were sent, or have arrived.
    pub done: u64,
}

impl From<SeedingReport> for Seeding {
    fn from(SeedingReport { index, bytes, done }: SeedingReport) -> Self {
        Self { index, bytes, done }
    }
}

impl From<Seeding> for SeedingReport {
    fn from(Seeding { index, bytes, done }: Seeding) -> Self {
        Self { index, bytes, done }
    }
}

/// What a replica does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardRole {
    /// It leads and takes writes.
    Leading,
    /// It leads and does not take writes yet.
    Opening,
    /// It leads, hears of too few voters, and takes no writes until it does.
    Suspended,
    /// It follows.
    Following,
    /// It follows nobody.
    Waiting,
    /// It stopped by itself, and why.
    Halted(String),
    /// Its data is damaged, and how.
    Damaged(String),
}

/// How far a follower is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follower {
    /// Who.
    pub replica: ReplicaId,
    /// It gets entries.
    pub is_shipped: bool,
    /// It holds the log up to here on its disk.
    pub held: LogIndex,
    /// Entries that it lacks.
    pub lag_entries: u64,
    /// Bytes of the lane that it lacks, at most.
    pub lag_bytes: u64,
    /// For how long it has lacked the oldest of them.
    pub lag_ms: u64,
    /// For how long nothing was heard of it; none: never in this epoch.
    pub silent_ms: Option<u64>,
    /// How far a snapshot was sent to it, if it is being seeded.
    pub seeding: Option<Seeding>,
}

impl From<ShardReport> for Shard {
    fn from(report: ShardReport) -> Self {
        let follower = |(replica, follower): (ReplicaId, FollowerReport)| Follower {
            replica,
            is_shipped: follower.is_shipped,
            held: follower.held,
            lag_entries: follower.lag_entries,
            lag_bytes: follower.lag_bytes,
            lag_ms: millis(follower.lag),
            silent_ms: follower.silent.map(millis),
            seeding: follower.seeding.map(Into::into),
        };
        Self {
            shard: report.shard,
            role: report.role.into(),
            promised: report.promised,
            leader: report.leader,
            end: report.end,
            synced: report.synced,
            committed: report.committed,
            applied: report.applied,
            configs: report.configs.map(VoterSets),
            followers: report.followers.into_iter().map(follower).collect(),
            seeding: report.seeding.map(Into::into),
        }
    }
}

impl From<Shard> for ShardReport {
    fn from(shard: Shard) -> Self {
        let follower = |follower: Follower| {
            let report = FollowerReport {
                is_shipped: follower.is_shipped,
                held: follower.held,
                lag_entries: follower.lag_entries,
                lag_bytes: follower.lag_bytes,
                lag: Duration::from_millis(follower.lag_ms),
                silent: follower.silent_ms.map(Duration::from_millis),
                seeding: follower.seeding.map(Into::into),
            };
            (follower.replica, report)
        };
        Self {
            shard: shard.shard,
            role: shard.role.into(),
            promised: shard.promised,
            leader: shard.leader,
            end: shard.end,
            synced: shard.synced,
            committed: shard.committed,
            applied: shard.applied,
            configs: shard.configs.map(|sets| sets.0),
            followers: shard.followers.into_iter().map(follower).collect(),
            seeding: shard.seeding.map(Into::into),
        }
    }
}

impl From<runtime::ShardRole> for ShardRole {
    fn from(role: runtime::ShardRole) -> Self {
        match role {
            runtime::ShardRole::Leading => Self::Leading,
            runtime::ShardRole::Opening => Self::Opening,
            runtime::ShardRole::Suspended => Self::Suspended,
            runtime::ShardRole::Following => Self::Following,
            runtime::ShardRole::Waiting => Self::Waiting,
            runtime::ShardRole::Halted(why) => Self::Halted(why),
            runtime::ShardRole::Damaged(why) => Self::Damaged(why),
        }
    }
}

impl From<ShardRole> for runtime::ShardRole {
    fn from(role: ShardRole) -> Self {
        match role {
            ShardRole::Leading => Self::Leading,
            ShardRole::Opening => Self::Opening,
            ShardRole::Suspended => Self::Suspended,
            ShardRole::Following => Self::Following,
            ShardRole::Waiting => Self::Waiting,
            ShardRole::Halted(why) => Self::Halted(why),
            ShardRole::Damaged(why) => Self::Damaged(why),
        }
    }
}
