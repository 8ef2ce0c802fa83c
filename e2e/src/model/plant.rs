//! Rules that can be taken out, one at a time, each with the smallest scope in which the walk then finds a loss.

use super::scope::Scope;

/// A missing rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plant {
    /// A leader counts a majority without its own disk.
    CommitsWithoutOwnDisk,
    /// An acknowledgement of another epoch counts, too.
    CountsOldAcknowledgements,
    /// A leader commits entries of older epochs before one of its own.
    CommitsWithoutBarrier,
    /// A leader that restarts goes on in the epoch of its earlier boot.
    ResumesInItsOldEpoch,
    /// A promise is not on the disk before it is answered.
    ForgetsPromises,
    /// An election trusts the seal of any former leader alone.
    TrustsAnyFormerLeader,
    /// An election asks the newest set of voters only.
    AsksOnlyTheNewestSet,
    /// An election asks the oldest set of voters only.
    AsksOnlyTheOldestSet,
    /// An election prefers length to the epoch of the last entry.
    PrefersLength,
    /// A leader that an older set elected is not made a voter of the newest.
    LeavesTheWinnerOutside,
    /// A leader commits by the newest set of voters only.
    CommitsByTheNewestSet,
    /// A set of voters stands alone as soon as it holds anything.
    ConfirmsAnything,
    /// A set of voters stands alone once it holds an entry of the epoch, though not all that is committed.
    ConfirmsBelowTheCommit,
    /// A change is taken back by forgetting it.
    ForgetsWithdrawnSets,
    /// The leader itself may be taken out of the voters.
    RemovesTheLeader,
    /// A read is answered before the leader has committed anything of its own epoch.
    ReadsBeforeTheBarrier,
    /// A read is answered although its leader was confirmed before it began only.
    CountsAnOlderRound,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CommitsWithoutOwnDisk,
        Self::CountsOldAcknowledgements,
        Self::CommitsWithoutBarrier,
        Self::ResumesInItsOldEpoch,
        Self::ForgetsPromises,
        Self::TrustsAnyFormerLeader,
        Self::AsksOnlyTheNewestSet,
        Self::AsksOnlyTheOldestSet,
        Self::PrefersLength,
        Self::LeavesTheWinnerOutside,
        Self::CommitsByTheNewestSet,
        Self::ConfirmsAnything,
        Self::ConfirmsBelowTheCommit,
        Self::ForgetsWithdrawnSets,
        Self::RemovesTheLeader,
        Self::ReadsBeforeTheBarrier,
        Self::CountsAnOlderRound,
    ];

    /// The least that must happen for something to be lost without the rule.
    #[must_use]
    pub fn scope(self) -> Scope {
        let least = Scope { name: "as little as it takes", epochs: 2, writes: 0, crashes: 0, ..Scope::PLAIN };
        // Of four voters two can be asked of which none holds what two of the other set do.
        let four = Scope { replicas: 4, voters: 4, ..least };
        match self {
            Self::CommitsWithoutOwnDisk | Self::CountsOldAcknowledgements | Self::ResumesInItsOldEpoch => {
                Scope { writes: 1, crashes: 1, ..least }
            }
            Self::CommitsWithoutBarrier => Scope { epochs: 3, writes: 1, crashes: 1, ..least },
            Self::ForgetsPromises => Scope { crashes: 1, ..least },
            Self::TrustsAnyFormerLeader => Scope { epochs: 3, writes: 1, ..least },
            Self::PrefersLength => Scope { epochs: 3, crashes: 1, ..least },
            Self::AsksOnlyTheNewestSet | Self::ConfirmsAnything => Scope { changes: 1, ..least },
            Self::ConfirmsBelowTheCommit => Scope { writes: 1, changes: 1, ..least },
            Self::LeavesTheWinnerOutside => Scope { epochs: 3, changes: 1, ..four },
            Self::RemovesTheLeader | Self::AsksOnlyTheOldestSet => Scope { changes: 1, ..four },
            Self::ForgetsWithdrawnSets | Self::CommitsByTheNewestSet => {
                Scope { changes: 1, withdrawals: 1, ..four }
            }
            Self::ReadsBeforeTheBarrier | Self::CountsAnOlderRound => Scope { reads: 1, ..least },
        }
    }

    /// Whether other rules keep everything without this one. A leader that goes by the newest set alone goes by one that
    /// the record lists until a newer one is confirmed, which takes all that was committed with it; and an election asks
    /// each set that the record lists. The rule is there for a record that is lost and made anew from the last set that
    /// was confirmed: with it, that set alone has seen every commit.
    #[must_use]
    pub fn is_covered(self) -> bool {
        self == Self::CommitsByTheNewestSet
    }

    /// Whether acknowledgements outlive the epoch in which they were made.
    pub(super) fn keeps_acknowledgements(self) -> bool {
        matches!(self, Self::CountsOldAcknowledgements | Self::ResumesInItsOldEpoch)
    }

    /// Whether what the rules never look at again is looked at.
    pub(super) fn needs_the_past(self) -> bool {
        self.keeps_acknowledgements() || matches!(self, Self::ForgetsPromises | Self::TrustsAnyFormerLeader)
    }
}
