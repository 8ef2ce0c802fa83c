//! The streams of one shard as the committed entries of the ledger make them, entry by entry: what a decision may be, and what
//! ought to be answered at any of them. Written anew, by the rules of the protocol alone, so that it shares no mistake with
//! the core that decides.

use std::collections::BTreeMap;

use thalweg_node::core::{AppendError, Reply};
use thalweg_node::types::{AppendOp, LogIndex, Offset, Op, ProducerId, ProducerState, StreamId, StreamName};

/// All streams that ever were.
#[derive(Debug, Default)]
pub(super) struct Books {
    accounts: BTreeMap<StreamId, Account>,
}

/// One stream.
#[derive(Debug)]
struct Account {
    id: StreamId,
    name: StreamName,
    begun: LogIndex,
    ended: Option<LogIndex>,
    /// The tail behind each entry that moved it.
    tails: Vec<(LogIndex, Offset)>,
    /// What was accepted of each producer, and by which entry.
    producers: BTreeMap<ProducerId, Vec<(LogIndex, ProducerState)>>,
}

/// What is asked of a shard.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Append(StreamName, Option<(ProducerId, ProducerState)>),
    Create(StreamName),
    Delete(StreamName),
}

/// What is answered to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The first entry behind the one that was looked at is this one's.
    Accepted,
    /// It was accepted before; the newest of its producer, and the tail.
    Duplicate(ProducerState, Offset),
    NotFound,
    Fenced(u64),
    EpochStart,
    Gap(u64),
    /// The stream was there already: which one, and its tail.
    There(StreamId, Offset),
    /// Nobody ought to say this.
    Other(String),
}

impl Verdict {
    /// What the product answers.
    pub(super) fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Append(Ok(appended)) if !appended.duplicate => Self::Accepted,
            Reply::Append(Ok(appended)) => match appended.producer {
                Some(state) => Self::Duplicate(state, appended.tail),
                None => Self::Other(format!("{appended:?}")),
            },
            Reply::Append(Err(AppendError::NotFound)) | Reply::Delete(Err(_)) => Self::NotFound,
            Reply::Append(Err(AppendError::Fenced { current })) => Self::Fenced(*current),
            Reply::Append(Err(AppendError::EpochStart)) => Self::EpochStart,
            Reply::Append(Err(AppendError::SequenceGap { expected, .. })) => Self::Gap(*expected),
            Reply::Create(Ok(created)) if created.new => Self::Accepted,
            Reply::Create(Ok(created)) => Self::There(created.meta.id, created.meta.tail),
            Reply::Delete(Ok(_)) => Self::Accepted,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

impl Account {
    fn lives_at(&self, at: LogIndex) -> bool {
        self.begun <= at && self.ended.is_none_or(|ended| ended > at)
    }

    fn tail_at(&self, at: LogIndex) -> Offset {
        newest(&self.tails, at).unwrap_or(Offset::ZERO)
    }

    fn producer_at(&self, id: &ProducerId, at: LogIndex) -> Option<ProducerState> {
        newest(self.producers.get(id)?, at)
    }

    fn append(&mut self, op: &AppendOp, index: LogIndex) -> Result<(), String> {
        let tail = self.tail_at(index);
        if op.start != tail {
            return Err(format!(
                "an append to {} begins at {:?}, but the tail is {tail:?}",
                self.name, op.start
            ));
        }
        if let Some(stamp) = &op.producer {
            let last = self.producer_at(&stamp.id, index);
            if judge(last, stamp.state) != Verdict::Accepted {
                return Err(format!(
                    "an append to {} has number {:?} of a producer of which {last:?} was accepted last",
                    self.name, stamp.state
                ));
            }
            self.producers.entry(stamp.id.clone()).or_default().push((index, stamp.state));
        }
        self.tails.push((index, op.messages.end(op.start)));
        Ok(())
    }
}

impl Books {
    /// The next committed entry: each of its changes must be one that could be decided there.
    pub(super) fn take(&mut self, index: LogIndex, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            match op {
                Op::Create(meta) => {
                    let used = self.accounts.last_key_value().is_some_and(|(last, _)| *last >= meta.id);
                    if used || self.find(&meta.name, index).is_some() {
                        return Err(format!("stream {} of {} is there already", meta.id, meta.name));
                    }
                    let (name, producers) = (meta.name.clone(), BTreeMap::new());
                    let account = Account {
                        id: meta.id,
                        name,
                        begun: index,
                        ended: None,
                        tails: Vec::new(),
                        producers,
                    };
                    self.accounts.insert(meta.id, account);
                }
                Op::Append(append) => self.living(append.stream, index)?.append(append, index)?,
                Op::Delete { stream } => self.living(*stream, index)?.ended = Some(index),
                other => return Err(format!("nobody asked for {other:?}")),
            }
        }
        Ok(())
    }

    fn living(&mut self, stream: StreamId, index: LogIndex) -> Result<&mut Account, String> {
        let account = self.accounts.get_mut(&stream).filter(|account| account.lives_at(index));
        account.ok_or_else(|| format!("stream {stream} is not there"))
    }

    fn find(&self, name: &StreamName, at: LogIndex) -> Option<&Account> {
        self.accounts.values().rev().find(|account| account.name == *name && account.lives_at(at))
    }

    /// What ought to be answered as of an entry.
    pub(super) fn ought(&self, wish: &Wish, at: LogIndex) -> Verdict {
        match wish {
            Wish::Create(name) => {
                let there = |account: &Account| Verdict::There(account.id, account.tail_at(at));
                self.find(name, at).map_or(Verdict::Accepted, there)
            }
            Wish::Delete(name) => self.find(name, at).map_or(Verdict::NotFound, |_| Verdict::Accepted),
            Wish::Append(name, stamp) => match (self.find(name, at), stamp) {
                (None, _) => Verdict::NotFound,
                (Some(_), None) => Verdict::Accepted,
                (Some(account), Some((id, state))) => match judge(account.producer_at(id, at), *state) {
                    Verdict::Duplicate(last, _) => Verdict::Duplicate(last, account.tail_at(at)),
                    other => other,
                },
            },
        }
    }
}

/// What a producer may do next.
fn judge(last: Option<ProducerState>, next: ProducerState) -> Verdict {
    let Some(last) = last else {
        return if next.seq == 0 { Verdict::Accepted } else { Verdict::Gap(0) };
    };
    match (next.epoch.cmp(&last.epoch), next.seq) {
        (std::cmp::Ordering::Less, _) => Verdict::Fenced(last.epoch),
        (std::cmp::Ordering::Greater, 0) => Verdict::Accepted,
        (std::cmp::Ordering::Greater, _) => Verdict::EpochStart,
        (std::cmp::Ordering::Equal, seq) if seq <= last.seq => Verdict::Duplicate(last, Offset::ZERO),
        (std::cmp::Ordering::Equal, seq) if seq == last.seq + 1 => Verdict::Accepted,
        (std::cmp::Ordering::Equal, _) => Verdict::Gap(last.seq + 1),
    }
}

/// The last of these that is not behind an entry.
fn newest<T: Copy>(of: &[(LogIndex, T)], at: LogIndex) -> Option<T> {
    let behind = of.partition_point(|(index, _)| *index <= at);
    of.get(behind.checked_sub(1)?).map(|(_, value)| *value)
}
