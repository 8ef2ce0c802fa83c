//! What one shard has written and not committed, and who waits for that. Invariant: entries stand in log order; an answer
//! leaves once everything that it rests on is committed. One that changes nothing, such as a refusal, is as good as a read: it leaves
//! once a round has proven, too, that this replica still led when it was decided.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::Pending;
use crate::runtime::mailbox::{Asker, Waiting};
use crate::types::{Chain, LanePosition, LogIndex};

/// Moments that are remembered to tell how long a follower has been behind; older lags are told as at least that.
const TIMES_MAX: usize = 4096;

/// The line of one shard.
#[derive(Debug, Default)]
pub(crate) struct Line {
    entries: VecDeque<Pending>,
    /// What they take of the log.
    bytes: u64,
    answers: VecDeque<Waiting>,
    /// Reads that wait for the next round, and for rounds under way.
    reads: Vec<Asker>,
    rounds: VecDeque<(u64, Vec<Asker>)>,
    committed: LogIndex,
    /// The chain after the last committed entry.
    chain: Chain,
    /// When entries were written: the last index of each group.
    times: VecDeque<(LogIndex, Duration)>,
}

impl Line {
    /// Of a log that is committed up to there.
    pub(crate) fn new(committed: LogIndex, chain: Chain) -> Self {
        Self { committed, chain, ..Self::default() }
    }

    /// An entry was written.
    pub(crate) fn push(&mut self, entry: Pending) {
        self.bytes += entry.log_bytes();
        self.entries.push_back(entry);
    }

    /// Log bytes that are not committed.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything up to there was written by now.
    pub(crate) fn note_time(&mut self, upto: LogIndex, now: Duration) {
        if self.times.len() == TIMES_MAX {
            self.times.pop_front();
        }
        self.times.push_back((upto, now));
    }

    /// For how long somebody who has entries up to `held` has lacked the next one.
    pub(crate) fn lacking_since(&self, held: LogIndex) -> Option<Duration> {
        let next = self.times.partition_point(|(upto, _)| *upto <= held);
        self.times.get(next).map(|(_, at)| *at)
    }

    /// Since when the oldest entry that is not committed has waited for a majority.
    pub(crate) fn waiting_since(&self) -> Option<Duration> {
        self.entries.front().and_then(|_| self.lacking_since(self.committed))
    }

    /// The oldest entry that is not committed, and where it stands.
    pub(crate) fn first_place(&self) -> Option<(LogIndex, LanePosition)> {
        self.entries.front().map(|entry| (entry.index, entry.position))
    }

    /// Where the oldest entry stands that is not committed.
    pub(crate) fn first_position(&self) -> Option<LanePosition> {
        self.entries.front().map(|entry| entry.position)
    }

    /// Entries up to here are committed and taken.
    pub(crate) const fn committed(&self) -> LogIndex {
        self.committed
    }

    /// The chain after an entry that is not committed, or the last one that is.
    pub(crate) fn chain_at(&self, index: LogIndex) -> Option<Chain> {
        if index == self.committed {
            return Some(self.chain);
        }
        self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.chain)
    }

    /// The next entry up to `upto`, now committed.
    pub(crate) fn take_committed(&mut self, upto: LogIndex) -> Option<Pending> {
        let entry = self.entries.pop_front_if(|entry| entry.index <= upto)?;
        (self.committed, self.chain) = (entry.index, entry.chain);
        self.bytes -= entry.log_bytes();
        Some(entry)
    }

    /// Where the entries behind `to` stand in the lane, if there are any.
    pub(crate) fn places_behind(&self, to: LogIndex) -> Option<Range<LanePosition>> {
        let first = self.entries.partition_point(|entry| entry.index <= to);
        Some(self.entries.get(first)?.position..self.entries.back()?.end)
    }

    /// Drops what lies behind `to`.
    pub(crate) fn cut(&mut self, to: LogIndex) {
        let kept = self.entries.partition_point(|entry| entry.index <= to);
        self.bytes -= self.entries.drain(kept..).map(|entry| entry.log_bytes()).sum::<u64>();
        self.times.retain(|(upto, _)| *upto <= to);
    }

    /// An answer waits for what it rests on.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        let basis = self.answers.back().map_or(waiting.basis, |last| last.basis.max(waiting.basis));
        self.answers.push_back(Waiting { basis, ..waiting });
    }

    /// The next answer that may be given, everything up to `reached` being certain enough.
    pub(crate) fn take_answer(&mut self, reached: LogIndex) -> Option<Waiting> {
        self.answers.pop_front_if(|waiting| waiting.basis <= reached)
    }

    /// All that wait, when nothing of it will be certain any more.
    pub(crate) fn take_answers(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.answers.drain(..)
    }

    /// A read waits for the next round.
    pub(crate) fn ask(&mut self, asker: Asker) {
        self.reads.push(asker);
    }

    /// A round has begun: it serves the reads that had asked.
    pub(crate) fn begin_round(&mut self, round: u64) {
        self.rounds.push_back((round, std::mem::take(&mut self.reads)));
    }

    /// The rounds up to this one are proven.
    pub(crate) fn end_rounds(&mut self, round: u64) -> Vec<Asker> {
        let mut served = Vec::new();
        while let Some((_, askers)) = self.rounds.pop_front_if(|(begun, _)| *begun <= round) {
            served.extend(askers);
        }
        served
    }

    /// All reads, when this replica leads no more.
    pub(crate) fn take_reads(&mut self) -> Vec<Asker> {
        let rounds = self.rounds.drain(..).flat_map(|(_, askers)| askers);
        rounds.chain(self.reads.drain(..)).collect()
    }
}
