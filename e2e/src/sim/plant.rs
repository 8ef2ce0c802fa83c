//! Bugs that can be planted, one at a time, into the driver of the simulated world: each must be found.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plant {
    /// A client hears of success as soon as the leader has appended.
    AcknowledgesBeforeCommit,
    /// A replica is told that its log is synced when it is only written.
    CountsTheUnsynced,
    /// A promise does not survive a restart.
    ForgetsPromises,
    /// A seal is answered as if everything written were on the disk.
    SealsTheUnsynced,
    /// A node with an empty disk goes on under its old identity.
    CountsAnEmptyDisk,
    /// A read is answered by whoever believes that it leads.
    ReadsWithoutARound,
    /// A read is answered by a round that began before it asked.
    ReadsFromAnOlderRound,
    /// A read shows what is not committed.
    ReadsPastTheCommit,
    /// Entries that find no room on a link are dropped, and the next ones take their place.
    DropsOnAFullLink,
    /// A cut is reported before it is durable.
    CutsInMemoryOnly,
    /// Recovery takes the last whole record for a torn one.
    CutsTooMuch,
    /// A leader that restarts goes on in the epoch of its earlier boot.
    ResumesInItsOldEpoch,
    /// A restarted leader goes by the first set of voters of its log again.
    ForgetsNewVoters,
    /// All that is on the disk of a node that starts is taken for committed.
    AppliesTheUncommitted,
    /// A write that is not answered at once is appended again.
    DuplicatesOnRetry,
    /// What was appended by a leader since sealed is called refused.
    RefusesTheUnknown,
    /// An acknowledgement of an earlier epoch counts in this one.
    CountsOldAcknowledgements,
    /// The record takes every write, whatever it was decided on.
    WritesWithoutPrecondition,
    /// An election prefers length to the epoch of the last entry.
    PrefersLength,
    /// An election takes place with one seal.
    TrustsOneSeal,
    /// An election asks the newest set of voters only.
    AsksOnlyTheNewestSet,
    /// The winner is told to lead before the record says so.
    LeadsBeforeTheRecord,
    /// A new set of voters is taken for known and confirmed as soon as it is in the record.
    ConfirmsUnasked,
    /// A follower confirms what it has written and not synced.
    AcknowledgesTheUnsynced,
    /// A promise counts as saved when it is only on its way.
    CountsTheUnsaved,
    /// A new leader serves reads before it has committed an entry of its own epoch.
    SkipsTheBarrier,
    /// What a newcomer confirms is taken for the leader's whole log while voters change.
    ConfirmsTooEarly,
    /// Damage within the log is taken for a torn tail.
    TakesDamageForATornTail,
    /// A sync that failed is tried again.
    RetriesAFailedSync,
    /// Nobody compares the start of a peer with the one that is remembered.
    ForgetsBoots,
    /// A start is taken for one of the same disk when its boot is high enough, whatever it drew.
    AcceptsAnyStart,
    /// A node takes part before any other one has met its start.
    VotesUnvouched,
    /// A full disk leaves entries out and confirms them.
    TakesTheDroppedForWritten,
    /// What a damaged replica holds counts in commits, and its seal in elections.
    CountsTheDamaged,
    /// A damaged replica is whole as soon as it follows a leader.
    MendsTooEarly,
    /// A log lets go what its tables do not hold.
    LetsGoTooMuch,
    /// A leader offers an image of entries that may be taken back.
    OffersTheUncommitted,
    /// A follower takes an image of less than it knows to be committed.
    TakesAnOlderImage,
    /// A seeded follower goes on before the image is on its disk.
    SeedsInMemoryOnly,
    /// A leader loads the heads of streams without the producers that came with an image.
    LeavesProducersOut,
    /// A new leader decides before its tables hold all that is committed.
    ServesBeforeItsTables,
    /// A leader keeps what it decided, though it has led no more since and that was taken back.
    KeepsWhatWasTakenBack,
    /// A duplicate is answered before what it repeats is committed.
    AnswersDuplicatesAtOnce,
    /// A leader forgets heads that its tables do not hold as they are.
    ForgetsTheUnapplied,
    /// A leader sends on what it reads back from its log, whatever its checksum says.
    ServesDamagedBytes,
    /// What was never written is taken for the end of a log, whatever stands behind it.
    TakesZerosForTheEnd,
    /// So is what the device does not let be read.
    TakesAnErrorForTheEnd,
    /// Tables take the place of others without a sync of the directory.
    LeavesTheDirectoryUnsynced,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 48] = [
        Self::AcknowledgesBeforeCommit,
        Self::CountsTheUnsynced,
        Self::ForgetsPromises,
        Self::SealsTheUnsynced,
        Self::CountsAnEmptyDisk,
        Self::ReadsWithoutARound,
        Self::ReadsFromAnOlderRound,
        Self::ReadsPastTheCommit,
        Self::DropsOnAFullLink,
        Self::CutsInMemoryOnly,
        Self::CutsTooMuch,
        Self::ResumesInItsOldEpoch,
        Self::ForgetsNewVoters,
        Self::AppliesTheUncommitted,
        Self::DuplicatesOnRetry,
        Self::RefusesTheUnknown,
        Self::CountsOldAcknowledgements,
        Self::WritesWithoutPrecondition,
        Self::PrefersLength,
        Self::TrustsOneSeal,
        Self::AsksOnlyTheNewestSet,
        Self::LeadsBeforeTheRecord,
        Self::ConfirmsUnasked,
        Self::AcknowledgesTheUnsynced,
        Self::CountsTheUnsaved,
        Self::SkipsTheBarrier,
        Self::ConfirmsTooEarly,
        Self::TakesDamageForATornTail,
        Self::RetriesAFailedSync,
        Self::ForgetsBoots,
        Self::AcceptsAnyStart,
        Self::VotesUnvouched,
        Self::TakesTheDroppedForWritten,
        Self::CountsTheDamaged,
        Self::MendsTooEarly,
        Self::LetsGoTooMuch,
        Self::OffersTheUncommitted,
        Self::TakesAnOlderImage,
        Self::SeedsInMemoryOnly,
        Self::LeavesProducersOut,
        Self::ServesBeforeItsTables,
        Self::KeepsWhatWasTakenBack,
        Self::AnswersDuplicatesAtOnce,
        Self::ForgetsTheUnapplied,
        Self::ServesDamagedBytes,
        Self::TakesZerosForTheEnd,
        Self::TakesAnErrorForTheEnd,
        Self::LeavesTheDirectoryUnsynced,
    ];
}
