//! The words for orders.

use serde::{Deserialize, Serialize};

use super::{Standing, VoterSets};
use crate::runtime::Order;
use crate::types::{ClusterId, RecordEpoch, ReplicaId, ShardId, VolumeIncarnation};

/// Whom an order is meant for; whoever is not quite that refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressee {
    /// The cluster.
    pub cluster: ClusterId,
    /// The id; none for a node that was not told yet.
    pub replica: Option<ReplicaId>,
    /// The volume.
    pub incarnation: VolumeIncarnation,
}

/// Asks of several shards of one node; answered in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<A> {
    /// Who is meant.
    pub to: Addressee,
    /// One for each shard.
    pub asks: Vec<A>,
}

/// Seals a replica: `POST /admin/seal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealAsk {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch that begins.
    pub epoch: RecordEpoch,
}

/// Orders a replica to lead: `POST /admin/lead`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeadAsk {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch in which it leads.
    pub epoch: RecordEpoch,
    /// Who votes.
    pub configs: VoterSets,
    /// Who gets the log without voting.
    pub learners: Vec<ReplicaId>,
    /// What it must still be.
    pub expected: Standing,
}

/// Tells a leader who votes: `POST /admin/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigAsk {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch that it leads.
    pub epoch: RecordEpoch,
    /// Who votes.
    pub configs: VoterSets,
    /// Who gets the log without voting.
    pub learners: Vec<ReplicaId>,
}

/// Lets another voter hold everything, for which new writes wait: `POST /admin/hand-over`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOverAsk {
    /// Which shard.
    pub shard: ShardId,
    /// The epoch that it leads.
    pub epoch: RecordEpoch,
    /// Who is to have everything.
    pub successor: ReplicaId,
    /// How long writes may wait, from the order to the next epoch; a second at most.
    pub patience_ms: u64,
}

/// Whether a node wants to hand over what it leads: `POST /admin/drain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Who is meant.
    pub to: Addressee,
    /// It does, or no longer does.
    pub draining: bool,
}

/// Ends a node in order: `POST /admin/shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Who is meant.
    pub to: Addressee,
}

impl LeadAsk {
    /// The ask for an order.
    #[must_use]
    pub fn new(shard: ShardId, order: Order, expected: Standing) -> Self {
        let Order { epoch, configs, learners } = order;
        Self { shard, epoch, configs: VoterSets(configs), learners, expected }
    }
}

impl From<LeadAsk> for Order {
    fn from(ask: LeadAsk) -> Self {
        Self { epoch: ask.epoch, configs: ask.configs.0, learners: ask.learners }
    }
}

impl ConfigAsk {
    /// The ask for an order.
    #[must_use]
    pub fn new(shard: ShardId, order: Order) -> Self {
        let Order { epoch, configs, learners } = order;
        Self { shard, epoch, configs: VoterSets(configs), learners }
    }
}

impl From<ConfigAsk> for Order {
    fn from(ask: ConfigAsk) -> Self {
        Self { epoch: ask.epoch, configs: ask.configs.0, learners: ask.learners }
    }
}
