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

pub(super) use answers::{AnswerWords, answer_from};
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

/// Everybody, as a node is told and as it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RosterWords {
    pub(super) members: Vec<MemberWords>,
}

/// Asks of one kind to one replica; whoever else receives them refuses all.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BatchWords<A> {
    pub(super) cluster: String,
    pub(super) replica: u32,
    pub(super) incarnation: String,
    pub(super) asks: Vec<A>,
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

/// How far each follower of a leader is; of what a node says of a shard, the part that a driver needs.
#[derive(Debug, Deserialize)]
pub(super) struct ShardWords {
    pub(super) shard: u16,
    #[serde(default)]
    pub(super) followers: Vec<FollowerWords>,
}

/// One follower.
#[derive(Debug, Deserialize)]
pub(super) struct FollowerWords {
    pub(super) replica: u32,
    pub(super) is_shipped: bool,
    pub(super) lag_entries: u64,
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

pub(super) fn roster_words(roster: &Roster) -> RosterWords {
    RosterWords { members: roster.members.iter().map(|(id, member)| member_words(*id, member)).collect() }
}

pub(super) fn roster_from(words: RosterWords) -> anyhow::Result<Roster> {
    Ok(Roster { members: words.members.into_iter().map(member_from).collect::<Result<_, _>>()? })
}

/// For each shard that a node leads: by how many entries each follower that gets the log is behind.
pub(super) fn lags_from(words: Vec<ShardWords>) -> BTreeMap<ShardId, BTreeMap<ReplicaId, u64>> {
    let followers = |list: Vec<FollowerWords>| {
        let shipped = list.into_iter().filter(|follower| follower.is_shipped);
        shipped.map(|follower| (ReplicaId(follower.replica), follower.lag_entries)).collect()
    };
    words.into_iter().map(|shard| (ShardId(shard.shard), followers(shard.followers))).collect()
}
