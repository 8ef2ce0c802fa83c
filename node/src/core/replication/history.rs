//! The shape of a replica's log: which epoch wrote which part of it, and the chain at the ends. Invariant: epochs and
//! their first indexes grow together; two logs that have the same epoch at an index are equal up to it.

use crate::types::{Chain, Epoch, LogIndex};

/// Where the entries of one epoch begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Its first entry.
    pub first: LogIndex,
}

/// A log without its entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    /// Oldest first. Those of entries that are no longer in the log are kept: another log may end there.
    starts: Vec<EpochStart>,
    end: LogIndex,
    chain: Chain,
}

/// Why starts and an end are no history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the epochs of a log do not grow")]
pub struct HistoryError;

/// How far two logs are known to be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Common {
    /// Up to here, by their epochs; zero when nothing is.
    Upto(LogIndex),
    /// They have an epoch that begins at different places: one of them was never written by the leader of that epoch.
    Impossible(Epoch),
}

impl History {
    /// The history of a log read from the disk or told by a peer.
    pub fn new(starts: Vec<EpochStart>, end: LogIndex, chain: Chain) -> Result<Self, HistoryError> {
        let grow = starts.is_sorted_by(|one, next| one.epoch < next.epoch && one.first < next.first);
        let inside = starts.last().is_none_or(|last| last.first <= end);
        let counted = starts.first().is_none_or(|first| first.first > LogIndex(0));
        let begun = starts.is_empty() == (end == LogIndex(0));
        if grow && inside && counted && begun { Ok(Self { starts, end, chain }) } else { Err(HistoryError) }
    }

    /// Where each epoch begins, oldest first.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// The index of the last entry.
    #[must_use]
    pub const fn end(&self) -> LogIndex {
        self.end
    }

    /// The chain after the last entry.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The epoch of the last entry; the lowest of all when there is none.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.starts.last().map(|start| start.epoch).unwrap_or_default()
    }

    /// The epoch of the entry at `index`, if there is such an entry.
    #[must_use]
    pub fn epoch_at(&self, index: LogIndex) -> Option<Epoch> {
        let after = self.starts.partition_point(|start| start.first <= index);
        let start = self.starts.get(after.checked_sub(1)?)?;
        (index <= self.end).then_some(start.epoch)
    }

    /// One more entry. Entries of an epoch below the last one are never appended, so such a call changes nothing.
    pub fn push(&mut self, epoch: Epoch, after: Chain) {
        if epoch < self.last_epoch() {
            debug_assert!(false, "an entry of {epoch} behind one of {}", self.last_epoch());
            return;
        }
        self.end = self.end.next();
        if epoch > self.last_epoch() || self.starts.is_empty() {
            self.starts.push(EpochStart { epoch, first: self.end });
        }
        self.chain = after;
    }

    /// Leaves the entries up to `to`, after which the chain is `chain`.
    pub fn cut(&mut self, to: LogIndex, chain: Chain) {
        if to < self.end {
            self.starts.retain(|start| start.first <= to);
            (self.end, self.chain) = (to, chain);
        }
    }

    /// How far this log and another one are the same, told by their epochs alone.
    #[must_use]
    pub fn common(&self, other: &Self) -> Common {
        let mut upto = LogIndex(0);
        for (place, start) in self.starts.iter().enumerate() {
            let Ok(theirs) = other.starts.binary_search_by_key(&start.epoch, |start| start.epoch) else {
                continue;
            };
            if other.starts.get(theirs).map(|start| start.first) != Some(start.first) {
                return Common::Impossible(start.epoch);
            }
            upto = self.end_of(place).min(other.end_of(theirs));
        }
        Common::Upto(upto)
    }

    /// The last entry of the epoch at this place.
    fn end_of(&self, place: usize) -> LogIndex {
        self.starts.get(place + 1).map_or(self.end, |next| LogIndex(next.first.0.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Boot, RecordEpoch};

    fn epoch(record: u64) -> Epoch {
        Epoch { record: RecordEpoch(record), boot: Boot(1) }
    }

    /// A log of so many entries of each epoch, the chain being the index.
    fn history(parts: &[(u64, u64)]) -> History {
        let mut history = History::default();
        for (record, count) in parts {
            for _ in 0..*count {
                history.push(epoch(*record), Chain(history.end.0 + 1));
            }
        }
        history
    }

    #[test]
    fn two_logs_are_the_same_as_far_as_their_epochs_agree() {
        type Parts = &'static [(u64, u64)];
        let cases: [(Parts, Parts, u64); 8] = [
            (&[], &[(1, 4)], 0),
            (&[(1, 4)], &[(1, 4)], 4),
            (&[(1, 6)], &[(1, 4)], 4),
            (&[(1, 4), (3, 2)], &[(1, 6)], 4),
            (&[(1, 4), (3, 2)], &[(1, 4), (2, 9)], 4),
            (&[(1, 4), (3, 2)], &[(1, 4), (3, 1)], 5),
            (&[(1, 4), (3, 2), (5, 1)], &[(1, 4), (3, 3)], 6),
            (&[(1, 2)], &[(2, 2)], 0),
        ];
        for (one, other, upto) in cases {
            let (one, other) = (history(one), history(other));
            assert_eq!(one.common(&other), Common::Upto(LogIndex(upto)), "{one:?} {other:?}");
            assert_eq!(other.common(&one), Common::Upto(LogIndex(upto)));
        }
        let other = history(&[(1, 3), (3, 2)]);
        assert_eq!(history(&[(1, 4), (3, 2)]).common(&other), Common::Impossible(epoch(3)));
    }

    #[test]
    fn a_cut_forgets_the_epochs_behind_it() {
        let mut log = history(&[(1, 4), (3, 2)]);
        assert_eq!((log.epoch_at(LogIndex(4)), log.epoch_at(LogIndex(5))), (Some(epoch(1)), Some(epoch(3))));
        assert_eq!((log.epoch_at(LogIndex(0)), log.epoch_at(LogIndex(7))), (None, None));
        log.cut(LogIndex(4), Chain(4));
        assert_eq!(log, history(&[(1, 4)]));
        log.cut(LogIndex(9), Chain(9));
        assert_eq!(log, history(&[(1, 4)]), "there is nothing behind the end");
    }

    #[test]
    fn what_a_peer_tells_of_its_log_is_checked() {
        let start = |record, first| EpochStart { epoch: epoch(record), first: LogIndex(first) };
        let tells = |starts, end| History::new(starts, LogIndex(end), Chain(0)).is_ok();
        assert!(tells(vec![], 0) && tells(vec![start(1, 1), start(2, 5)], 5));
        assert!(!tells(vec![], 3), "entries of no epoch");
        assert!(!tells(vec![start(1, 1)], 0), "an epoch without an entry");
        assert!(!tells(vec![start(1, 0)], 3), "there is no entry 0");
        assert!(!tells(vec![start(1, 1), start(2, 6)], 5), "begins behind the end");
        assert!(!tells(vec![start(2, 1), start(1, 5)], 9) && !tells(vec![start(1, 5), start(2, 5)], 9));
    }
}
