//! The words for what became of an order.

use serde::{Deserialize, Serialize};

use super::{History, Standing, VoterSets};
use crate::core::replication::{self as core, Answer, Refusal, SealAnswer};
use crate::runtime;
use crate::types::{Boot, ConfigVersion, Epoch, LogIndex, ShardId};

/// What became of each ask of a batch, in the order of the asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// One for each ask.
    pub answers: Vec<Answered>,
}

/// What became of one ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The shard of the ask.
    pub shard: ShardId,
    /// What became of it.
    pub outcome: Outcome,
}

/// The answer of a replica, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is sealed.
    Sealed(Box<Seal>),
    /// It leads.
    Leads {
        /// In this epoch.
        epoch: Epoch,
        /// It takes writes.
        open: bool,
    },
    /// It goes by these sets of voters, or by newer ones.
    Configured {
        /// The newest.
        version: ConfigVersion,
    },
    /// The voter that is to lead next holds all that there is, and new writes wait.
    CaughtUp {
        /// The last entry.
        end: LogIndex,
    },
    /// It did not do it.
    Refused(Refused),
    /// The ask came to no replica, or no answer came in time: what was asked may still happen.
    Unanswered(Unanswered),
}

/// What a sealed replica has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The epoch for which it is sealed.
    pub promised: Epoch,
    /// What an order to lead must name.
    pub standing: Standing,
    /// Up to here it knows entries to be committed.
    pub committed: LogIndex,
    /// The shape of its log.
    pub history: History,
    /// The newest sets of voters in its log.
    pub configs: Option<VoterSets>,
    /// It has all that it ever confirmed. Else its promise stands, and what it has shows nothing.
    pub intact: bool,
}

/// A refusal, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Its kind.
    pub why: RefusedWhy,
    /// The same in a sentence.
    pub words: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RefusedWhy {
    /// A later epoch is promised.
    Promised(Epoch),
    /// It is no longer what it was when it was sealed.
    Changed(Standing),
    /// It does not lead this epoch.
    NotLeading,
    /// The sets of voters do not follow from those that it goes by, up to this one.
    NoStep(ConfigVersion),
    /// The epoch lies too far above what is promised.
    TooFar(Epoch),
    /// Whoever was to have everything holds the log up to here only, or gets no log.
    Behind(LogIndex),
    /// It was removed from the voters.
    Retired,
    /// No other member has met this start yet.
    Unvouched,
    /// Its data is damaged, and no leader has repaired it yet.
    Damaged,
    /// It stopped by itself.
    Halted(Halt),
}

/// Why a replica stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Halt {
    /// A leader lacks entries that are committed.
    BelowCommit {
        /// The last index that both have.
        common: LogIndex,
        /// What is known to be committed.
        committed: LogIndex,
    },
    /// The same epoch and index, another content.
    ChainDiffers(LogIndex),
    /// One epoch begins at two places.
    EpochDiffers(Epoch),
    /// The leader remembers no epoch that it has.
    EpochForgotten(Epoch),
    /// Its disk is an older copy of itself; another member has met this start of it.
    PutBack(Boot),
}

/// No answer, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unanswered {
    /// Its kind.
    pub why: UnansweredWhy,
    /// The same in a sentence.
    pub words: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UnansweredWhy {
    /// The shard is not served there.
    NoShard(ShardId),
    /// The node was not told who it is.
    NotAMember,
    /// The node ends.
    Ending,
    /// No answer came in time: what was asked may still happen.
    Late,
}

impl Outcome {
    /// No answer came in time.
    #[must_use]
    pub fn late() -> Self {
        let words = "no answer came in time; what was asked may still happen".to_owned();
        Self::Unanswered(Unanswered { why: UnansweredWhy::Late, words })
    }

    /// The answer of the replica, or why there is none.
    pub fn answer(self) -> Result<Answer, Unanswered> {
        Ok(match self {
            Self::Sealed(seal) => Answer::Sealed(Box::new((*seal).into())),
            Self::Leads { epoch, open } => Answer::Leads { epoch, open },
            Self::Configured { version } => Answer::Configured(version),
            Self::CaughtUp { end } => Answer::CaughtUp(end),
            Self::Refused(refused) => Answer::Refused(refused.why.into()),
            Self::Unanswered(unanswered) => return Err(unanswered),
        })
    }
}

impl From<Result<Answer, runtime::Unanswered>> for Outcome {
    fn from(answer: Result<Answer, runtime::Unanswered>) -> Self {
        match answer {
            Ok(Answer::Sealed(seal)) => Self::Sealed(Box::new((*seal).into())),
            Ok(Answer::Leads { epoch, open }) => Self::Leads { epoch, open },
            Ok(Answer::Configured(version)) => Self::Configured { version },
            Ok(Answer::CaughtUp(end)) => Self::CaughtUp { end },
            Ok(Answer::Refused(refusal)) => {
                Self::Refused(Refused { why: refusal.into(), words: refusal.to_string() })
            }
            Err(unanswered) => Self::Unanswered(unanswered.into()),
        }
    }
}

impl From<SealAnswer> for Seal {
    fn from(seal: SealAnswer) -> Self {
        let SealAnswer { promised, standing, committed, history, configs, intact } = seal;
        let (history, configs) = (History(history), configs.map(VoterSets));
        Self { promised, standing: standing.into(), committed, history, configs, intact }
    }
}

impl From<Seal> for SealAnswer {
    fn from(seal: Seal) -> Self {
        let Seal { promised, standing, committed, history, configs, intact } = seal;
        let (history, configs) = (history.0, configs.map(|sets| sets.0));
        Self { promised, standing: standing.into(), committed, history, configs, intact }
    }
}

impl From<Refusal> for RefusedWhy {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Promised(epoch) => Self::Promised(epoch),
            Refusal::Changed(standing) => Self::Changed(standing.into()),
            Refusal::NotLeading => Self::NotLeading,
            Refusal::NoStep(newest) => Self::NoStep(newest),
            Refusal::TooFar(promised) => Self::TooFar(promised),
            Refusal::Behind(held) => Self::Behind(held),
            Refusal::Retired => Self::Retired,
            Refusal::Unvouched => Self::Unvouched,
            Refusal::Damaged => Self::Damaged,
            Refusal::Halted(halt) => Self::Halted(halt.into()),
        }
    }
}

impl From<RefusedWhy> for Refusal {
    fn from(why: RefusedWhy) -> Self {
        match why {
            RefusedWhy::Promised(epoch) => Self::Promised(epoch),
            RefusedWhy::Changed(standing) => Self::Changed(standing.into()),
            RefusedWhy::NotLeading => Self::NotLeading,
            RefusedWhy::NoStep(newest) => Self::NoStep(newest),
            RefusedWhy::TooFar(promised) => Self::TooFar(promised),
            RefusedWhy::Behind(held) => Self::Behind(held),
            RefusedWhy::Retired => Self::Retired,
            RefusedWhy::Unvouched => Self::Unvouched,
            RefusedWhy::Damaged => Self::Damaged,
            RefusedWhy::Halted(halt) => Self::Halted(halt.into()),
        }
    }
}

impl From<core::Halt> for Halt {
    fn from(halt: core::Halt) -> Self {
        match halt {
            core::Halt::BelowCommit { common, committed } => Self::BelowCommit { common, committed },
            core::Halt::ChainDiffers(index) => Self::ChainDiffers(index),
            core::Halt::EpochDiffers(epoch) => Self::EpochDiffers(epoch),
            core::Halt::EpochForgotten(epoch) => Self::EpochForgotten(epoch),
            core::Halt::PutBack(met) => Self::PutBack(met),
        }
    }
}

impl From<Halt> for core::Halt {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::BelowCommit { common, committed } => Self::BelowCommit { common, committed },
            Halt::ChainDiffers(index) => Self::ChainDiffers(index),
            Halt::EpochDiffers(epoch) => Self::EpochDiffers(epoch),
            Halt::EpochForgotten(epoch) => Self::EpochForgotten(epoch),
            Halt::PutBack(met) => Self::PutBack(met),
        }
    }
}

impl From<runtime::Unanswered> for Unanswered {
    fn from(unanswered: runtime::Unanswered) -> Self {
        let why = match &unanswered {
            runtime::Unanswered::NoShard(shard) => UnansweredWhy::NoShard(*shard),
            runtime::Unanswered::NotAMember => UnansweredWhy::NotAMember,
            runtime::Unanswered::Ending => UnansweredWhy::Ending,
        };
        Self { why, words: unanswered.to_string() }
    }
}
