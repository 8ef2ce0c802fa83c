//! Answers of a replica to asks, as JSON.

use serde::{Deserialize, Serialize};
use thalweg_node::core::replication::{EpochStart, History, SealAnswer};
use thalweg_node::types::{Chain, ConfigVersion, LogIndex};

use super::super::admin::Reply;
use super::{ConfigWords, EpochWords, StandingWords, configs_from, epoch_from, standing_from};

/// The answers to a batch, in the order of its asks.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct AnswersWords {
    answers: Vec<AnsweredWords>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnsweredWords {
    shard: u16,
    outcome: AnswerWords,
}

/// The answer to one ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum AnswerWords {
    Sealed(Box<SealedWords>),
    Leads { epoch: EpochWords, open: bool },
    Configured { version: u64 },
    Refused(RefusedWords),
    Unanswered(RefusedWords),
}

/// Why not; the driver goes by what the next status and the record say, so the words are enough for it.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct RefusedWords {
    why: serde_json::Value,
    words: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct SealedWords {
    promised: EpochWords,
    standing: StandingWords,
    committed: u64,
    history: HistoryWords,
    configs: Option<Vec<ConfigWords>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HistoryWords {
    starts: Vec<StartWords>,
    end: u64,
    chain: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StartWords {
    epoch: EpochWords,
    first: u64,
}

/// What the answers say, of these shards and no others.
pub(in super::super) fn replies_from(words: AnswersWords, asked: &[u16]) -> anyhow::Result<Vec<Reply>> {
    let answered: Vec<u16> = words.answers.iter().map(|answer| answer.shard).collect();
    anyhow::ensure!(answered == asked, "answers for shards {answered:?}, asks were for {asked:?}");
    words.answers.into_iter().map(|answer| answer_from(answer.outcome)).collect()
}

fn answer_from(words: AnswerWords) -> anyhow::Result<Reply> {
    Ok(match words {
        AnswerWords::Sealed(words) => Reply::Sealed(Box::new(sealed_from(*words)?)),
        AnswerWords::Leads { epoch, open } => Reply::Leads { epoch: epoch_from(epoch), open },
        AnswerWords::Configured { version } => Reply::Configured(ConfigVersion(version)),
        AnswerWords::Refused(refused) | AnswerWords::Unanswered(refused) => Reply::Refused(refused.words),
    })
}

fn sealed_from(words: SealedWords) -> anyhow::Result<SealAnswer> {
    let start =
        |words: StartWords| EpochStart { epoch: epoch_from(words.epoch), first: LogIndex(words.first) };
    let HistoryWords { starts, end, chain } = words.history;
    let starts = starts.into_iter().map(start).collect();
    Ok(SealAnswer {
        promised: epoch_from(words.promised),
        standing: standing_from(words.standing),
        committed: LogIndex(words.committed),
        history: History::new(starts, LogIndex(end), Chain(chain))
            .map_err(|_| anyhow::anyhow!("epochs that do not follow each other"))?,
        configs: words.configs.as_deref().map(configs_from).transpose()?,
    })
}

/// A seal as a node answers it.
#[cfg(test)]
pub(in super::super) fn sealed_words(answer: &SealAnswer) -> AnswerWords {
    use super::{configs_words, epoch_words, standing_words};
    let start = |start: &EpochStart| StartWords { epoch: epoch_words(start.epoch), first: start.first.0 };
    let (end, chain) = (answer.history.end().0, answer.history.chain().0);
    AnswerWords::Sealed(Box::new(SealedWords {
        promised: epoch_words(answer.promised),
        standing: standing_words(answer.standing),
        committed: answer.committed.0,
        history: HistoryWords { starts: answer.history.starts().iter().map(start).collect(), end, chain },
        configs: answer.configs.as_ref().map(configs_words),
    }))
}
