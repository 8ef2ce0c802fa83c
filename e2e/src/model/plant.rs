//! Rules that can be taken out, one at a time: without any of them the walk finds a loss.

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
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::CommitsWithoutOwnDisk,
        Self::CountsOldAcknowledgements,
        Self::CommitsWithoutBarrier,
        Self::ResumesInItsOldEpoch,
        Self::ForgetsPromises,
        Self::TrustsAnyFormerLeader,
        Self::AsksOnlyTheNewestSet,
        Self::PrefersLength,
        Self::LeavesTheWinnerOutside,
        Self::CommitsByTheNewestSet,
        Self::ConfirmsAnything,
        Self::ConfirmsBelowTheCommit,
        Self::ForgetsWithdrawnSets,
        Self::RemovesTheLeader,
    ];
}
