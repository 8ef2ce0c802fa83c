//! The shape of a replica's log: which epoch wrote which part of it, and the chain at the ends. Invariant: epochs and
//! their first indexes grow together; two logs that have the same epoch at an index are equal up to it; no more epochs are kept
//! than [`EPOCHS_MAX`], and what is said of two logs is never a guess about those that were forgotten.

use crate::codec::snapshot::EPOCHS_MAX;
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
    /// Oldest first. Those of entries that are no longer in the log are kept, as many as in the tables: another log may end
    /// there. If the first one does not begin with entry 1, older ones were forgotten.
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
    /// One of them ends among the epochs that the other has forgotten, or both have forgotten: there may be much that is the same,
    /// and nothing shows up to where. This log knows of none before this epoch.
    Forgotten(Epoch),
}

impl History {
    /// The history of a log read from the disk or told by a peer.
    pub fn new(starts: Vec<EpochStart>, end: LogIndex, chain: Chain) -> Result<Self, HistoryError> {
        let grow = starts.is_sorted_by(|one, next| one.epoch < next.epoch && one.first < next.first);
        let inside = starts.last().is_none_or(|last| last.first <= end);
        let counted = starts.first().is_none_or(|first| first.first > LogIndex(0));
        let begun = starts.is_empty() == (end == LogIndex(0));
        if !(grow && inside && counted && begun) {
            return Err(HistoryError);
        }
        let mut history = Self { starts, end, chain };
        history.forget_all_but(EPOCHS_MAX);
        Ok(history)
    }

    /// Forgets the oldest epochs. That of the last entry stays.
    fn forget_all_but(&mut self, most: usize) {
        let surplus = self.starts.len().saturating_sub(most.max(1));
        self.starts.drain(..surplus);
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
            self.forget_all_but(EPOCHS_MAX);
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
        let mut upto = None;
        for (place, start) in self.starts.iter().enumerate() {
            let Ok(theirs) = other.starts.binary_search_by_key(&start.epoch, |start| start.epoch) else {
                continue;
            };
            if other.starts.get(theirs).map(|start| start.first) != Some(start.first) {
                return Common::Impossible(start.epoch);
            }
            upto = Some(self.end_of(place).min(other.end_of(theirs)));
        }
        // All that is later than an epoch of both is known of both: what was forgotten changes nothing then.
        match upto {
            None if self.may_have_forgotten(other) || other.may_have_forgotten(self) => {
                Common::Forgotten(self.starts.first().map(|start| start.epoch).unwrap_or_default())
            }
            upto => Common::Upto(upto.unwrap_or_default()),
        }
    }

    /// Whether it has forgotten epochs, and some of them may be the other's.
    fn may_have_forgotten(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (self.starts.first(), other.starts.first()) else { return false };
        let older = |start: &EpochStart| start.first > LogIndex(1);
        older(mine) && (older(theirs) || theirs.epoch < mine.epoch)
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

    /// Two logs that were one for a while: so many epochs, of so many entries each, of which the other one has others from `fork` on.
    fn pair(parts: &[(u64, bool)], fork: usize) -> (History, History) {
        let mut logs = (History::default(), History::default());
        for (number, (count, is_mine)) in parts.iter().enumerate() {
            let number_of = u64::try_from(number).unwrap() + 1;
            for _ in 0..*count {
                let chain = Chain(number_of);
                if number < fork || *is_mine {
                    logs.0.push(epoch(number_of), chain);
                }
                if number < fork || !*is_mine {
                    logs.1.push(epoch(number_of), chain);
                }
            }
        }
        logs
    }

    proptest::proptest! {
        #[test]
        fn what_logs_have_in_common_is_the_same_or_not_known_when_epochs_are_forgotten(
            parts in proptest::collection::vec((1..4_u64, proptest::bool::ANY), 0..12),
            fork in 0..12_usize,
            (cut, keep, keep_other) in (0..30_u64, 1..8_usize, 1..8_usize),
        ) {
            let (mut one, mut other) = pair(&parts, fork);
            other.cut(LogIndex(cut), Chain(cut));
            let known = one.common(&other);
            let (before, before_other) = (one.clone(), other.clone());
            one.forget_all_but(keep);
            other.forget_all_but(keep_other);
            let is_folded = one != before || other != before_other;
            for (found, first) in [(one.common(&other), &one), (other.common(&one), &other)] {
                match found {
                    Common::Forgotten(at) => {
                        proptest::prop_assert!(is_folded, "nothing was forgotten");
                        proptest::prop_assert_eq!(at, first.starts[0].epoch);
                        let shared = |start: &EpochStart| other.starts.contains(start);
                        proptest::prop_assert!(!one.starts.iter().any(shared), "it could be known");
                    }
                    found => proptest::prop_assert_eq!(found, known),
                }
            }
        }
    }

    #[test]
    fn a_log_of_many_leaders_keeps_the_last_epochs_only_and_still_meets_whoever_has_one_of_them() {
        let bound = u64::try_from(EPOCHS_MAX).unwrap();
        let parts: Vec<(u64, u64)> = (1..=2 * bound).map(|number| (number, 1)).collect();
        let long = history(&parts);
        assert_eq!((long.starts().len(), long.end()), (EPOCHS_MAX, LogIndex(2 * bound)));
        let read = History::new(history(&parts[..10]).starts, long.end, long.chain);
        assert!(read.is_ok(), "a short table of a long log");
        for (length, expected) in [
            (bound + 1, Common::Upto(LogIndex(bound + 1))),
            (bound, Common::Forgotten(epoch(bound + 1))),
            (1, Common::Forgotten(epoch(bound + 1))),
            (0, Common::Upto(LogIndex(0))),
        ] {
            let short = history(&parts[..usize::try_from(length).unwrap()]);
            assert_eq!(long.common(&short), expected, "{length}");
        }
        // A log that begins later than all that was forgotten has nothing of it.
        let stranger = history(&[(3 * bound, 4)]);
        assert_eq!(long.common(&stranger), Common::Upto(LogIndex(0)));
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
