//! What goes between a driver and a node's admin port, as JSON, and the way there and back from the product's own values.
//! Total: what does not fit is an error, never a guess.

mod answers;
mod pulses;

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thalweg_node::core::replication::Standing;
use thalweg_node::types::{
    Boot, Config, ConfigVersion, Configs, Epoch, LogIndex, Member, RecordEpoch, ReplicaId, Roster, ShardId,
    Voters,
};

use super::admin::Meant;
pub(super) use answers::{AnswersWords, replies_from};
pub(super) use pulses::{StatusWords, status_from};
#[cfg(test)]
pub(super) use {answers::sealed_words, pulses::status_words};

/// One set of voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigWords {
    version: u64,
    voters: Vec<u32>,
}

/// An epoch of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochWords {
    record: u64,
    boot: u64,
}

/// What a replica must still be when it is told to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StandingWords {
    boot: u64,
    last: EpochWords,
    end: u64,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberWords {
    id: u32,
    node: String,
    incarnation: Option<String>,
    peer: String,
    client: String,
}

/// For whom something is meant; whoever else receives it refuses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MeantWords {
    pub(super) cluster: String,
    /// Nothing while the node was not told yet.
    pub(super) replica: Option<u32>,
    pub(super) incarnation: String,
}

/// Everybody, as a node is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RosterWords {
    pub(super) to: MeantWords,
    pub(super) members: Vec<MemberWords>,
}

/// Asks of one kind to one replica.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BatchWords<A> {
    pub(super) to: MeantWords,
    pub(super) asks: Vec<A>,
}

/// Whether a node is to hand over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DrainWords {
    pub(super) to: MeantWords,
    pub(super) draining: bool,
}

/// Seal it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SealWords {
    pub(super) shard: u16,
    pub(super) epoch: u64,
}

/// Lead it, or (without `expected`) learn who votes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OrderWords {
    pub(super) shard: u16,
    pub(super) epoch: u64,
    pub(super) configs: Vec<ConfigWords>,
    pub(super) learners: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<StandingWords>,
}

/// Every shard of a node.
#[derive(Debug, Deserialize)]
pub(super) struct ShardsWords {
    shards: Vec<ShardWords>,
}

/// How far each follower of a leader is; of what a node says of a shard, the part that a driver needs.
#[derive(Debug, Deserialize)]
struct ShardWords {
    shard: u16,
    followers: Vec<FollowerWords>,
}

/// One follower.
#[derive(Debug, Deserialize)]
struct FollowerWords {
    replica: u32,
    is_shipped: bool,
    lag_entries: u64,
}

pub(super) fn configs_words(configs: &Configs) -> Vec<ConfigWords> {
    let words = |config: &Config| ConfigWords {
        version: config.version.0,
        voters: config.voters.iter().map(|id| id.0).collect(),
    };
    configs.as_slice().iter().map(words).collect()
}

pub(super) fn configs_from(words: &[ConfigWords]) -> anyhow::Result<Configs> {
    let config = |words: &ConfigWords| {
        let voters = Voters::new(words.voters.iter().copied().map(ReplicaId));
        voters.map(|voters| Config { version: ConfigVersion(words.version), voters })
    };
    let list: Option<Vec<Config>> = words.iter().map(config).collect();
    list.and_then(Configs::new).context("no list of sets of voters")
}

pub(super) fn epoch_words(epoch: Epoch) -> EpochWords {
    EpochWords { record: epoch.record.0, boot: epoch.boot.0 }
}

pub(super) fn epoch_from(words: EpochWords) -> Epoch {
    Epoch { record: RecordEpoch(words.record), boot: Boot(words.boot) }
}

pub(super) fn standing_words(standing: Standing) -> StandingWords {
    StandingWords { boot: standing.boot.0, last: epoch_words(standing.last), end: standing.end.0 }
}

pub(super) fn standing_from(words: StandingWords) -> Standing {
    Standing { boot: Boot(words.boot), last: epoch_from(words.last), end: LogIndex(words.end) }
}

pub(super) fn member_words(id: ReplicaId, member: &Member) -> MemberWords {
    MemberWords {
        id: id.0,
        node: member.node.clone(),
        incarnation: member.incarnation.map(|incarnation| incarnation.to_string()),
        peer: member.peer.clone(),
        client: member.client.clone(),
    }
}

pub(super) fn member_from(words: MemberWords) -> anyhow::Result<(ReplicaId, Member)> {
    let MemberWords { id, node, incarnation, peer, client } = words;
    let incarnation = incarnation.map(|text| text.parse()).transpose()?;
    Ok((ReplicaId(id), Member { node, incarnation, peer, client }))
}

pub(super) fn members_words(roster: &Roster) -> Vec<MemberWords> {
    roster.members.iter().map(|(id, member)| member_words(*id, member)).collect()
}

pub(super) fn roster_from(members: Vec<MemberWords>) -> anyhow::Result<Roster> {
    Ok(Roster { members: members.into_iter().map(member_from).collect::<Result<_, _>>()? })
}

pub(super) fn meant_words(meant: &Meant) -> MeantWords {
    MeantWords {
        cluster: meant.cluster.to_string(),
        replica: meant.replica.map(|id| id.0),
        incarnation: meant.incarnation.to_string(),
    }
}

/// For each shard that a node leads: by how many entries each follower that gets the log is behind.
pub(super) fn lags_from(words: ShardsWords) -> BTreeMap<ShardId, BTreeMap<ReplicaId, u64>> {
    let followers = |list: Vec<FollowerWords>| {
        let shipped = list.into_iter().filter(|follower| follower.is_shipped);
        shipped.map(|follower| (ReplicaId(follower.replica), follower.lag_entries)).collect()
    };
    words.shards.into_iter().map(|shard| (ShardId(shard.shard), followers(shard.followers))).collect()
}
