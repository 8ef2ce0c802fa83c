//! The words for logs and their voters.

use serde::{Deserialize, Serialize};

use crate::core::replication as core;
use crate::types::{Boot, Chain, Config, ConfigVersion, Configs, Epoch, LogIndex, ReplicaId, Voters};

/// What a replica is when it answers a seal, and must still be when it is told to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The start of its process.
    pub boot: Boot,
    /// The epoch of its last entry.
    pub last: Epoch,
    /// The index of that entry.
    pub end: LogIndex,
}

impl From<core::Standing> for Standing {
    fn from(core::Standing { boot, last, end }: core::Standing) -> Self {
        Self { boot, last, end }
    }
}

impl From<Standing> for core::Standing {
    fn from(Standing { boot, last, end }: Standing) -> Self {
        Self { boot, last, end }
    }
}

/// One set of voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterSet {
    /// Its place in the order of all sets of the shard.
    pub version: ConfigVersion,
    /// Who votes in it.
    pub voters: Vec<ReplicaId>,
}

/// The sets of voters that count at a time, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<VoterSet>", into = "Vec<VoterSet>")]
pub struct VoterSets(pub Configs);

impl TryFrom<Vec<VoterSet>> for VoterSets {
    type Error = &'static str;

    fn try_from(sets: Vec<VoterSet>) -> Result<Self, Self::Error> {
        let config = |VoterSet { version, voters }: VoterSet| {
            let count = voters.len();
            let voters = Voters::new(voters).filter(|set| set.count() == count);
            Ok(Config { version, voters: voters.ok_or("a set has 1 to 8 voters, each once")? })
        };
        let list = sets.into_iter().map(config).collect::<Result<Vec<_>, Self::Error>>()?;
        Configs::new(list).map(Self).ok_or("there is one set of voters at least, and versions grow")
    }
}

impl From<VoterSets> for Vec<VoterSet> {
    fn from(VoterSets(configs): VoterSets) -> Self {
        let set =
            |config: &Config| VoterSet { version: config.version, voters: config.voters.iter().collect() };
        configs.as_slice().iter().map(set).collect()
    }
}

/// The shape of a log: where each epoch begins, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistoryWords", into = "HistoryWords")]
pub struct History(pub core::History);

/// How a [`History`] is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryWords {
    /// Oldest first.
    pub starts: Vec<EpochStart>,
    /// The last entry.
    pub end: LogIndex,
    /// The chain after it.
    pub chain: Chain,
}

/// Where the entries of one epoch begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Its first entry.
    pub first: LogIndex,
}

impl TryFrom<HistoryWords> for History {
    type Error = core::HistoryError;

    fn try_from(words: HistoryWords) -> Result<Self, Self::Error> {
        let start = |EpochStart { epoch, first }| core::EpochStart { epoch, first };
        let starts = words.starts.into_iter().map(start).collect();
        core::History::new(starts, words.end, words.chain).map(Self)
    }
}

impl From<History> for HistoryWords {
    fn from(History(history): History) -> Self {
        let start = |core::EpochStart { epoch, first }: &core::EpochStart| EpochStart {
            epoch: *epoch,
            first: *first,
        };
        let starts = history.starts().iter().map(start).collect();
        Self { starts, end: history.end(), chain: history.chain() }
    }
}
