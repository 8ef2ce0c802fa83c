//! What a replica wants done.

use super::History;
use super::Image;
use super::input::{Ask, Standing};
use super::memory::Ticket;
use super::message::{Entry, Message};
use crate::codec::record::RecordKind;
use crate::types::{Boot, ConfigVersion, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

/// Something that is to be done for a replica, in the order in which it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Save its memory as it is now, and say so.
    Save(Ticket),
    /// Append an entry of the epoch that it leads.
    Append {
        /// What it is: an epoch start or a set of voters.
        kind: RecordKind,
        /// The sets of voters, if it is that.
        configs: Option<Configs>,
    },
    /// Append the leader's entries.
    Write(Vec<Entry>),
    /// Set aside all entries behind `to`, durably, and say so.
    Cut {
        /// The last entry that stays.
        to: LogIndex,
    },
    /// Send a message, or drop it when that does not go through.
    Send {
        /// To whom.
        to: ReplicaId,
        /// The message.
        message: Message,
    },
    /// Send the log behind `after` to a follower, and go on with what is appended.
    Ship {
        /// To whom.
        to: ReplicaId,
        /// What it has.
        after: LogIndex,
    },
    /// Send it no more entries.
    Unship(ReplicaId),
    /// Get an image to seed a follower with, keep the log behind it, and say so.
    Image(ReplicaId),
    /// Fetch an image from the leader, in the background, and say so once it is here as a whole and was checked.
    Fetch {
        /// Who has it.
        from: ReplicaId,
        /// Which.
        image: Image,
    },
    /// Nothing need be fetched any more.
    Unfetch,
    /// Put the image that was fetched in the place of all that is here, so that a crash leaves the one or the other, and
    /// say so.
    Install(Image),
    /// Set aside all that is here, so that a crash leaves it or nothing, and say so.
    Empty,
    /// Entries up to here are committed: they may be applied, and answers that rest on them given.
    Committed(LogIndex),
    /// It leads and has committed an entry of its epoch: writes may be taken once all that is committed is applied.
    Opened(Epoch),
    /// It leads no more: what is not committed may or may not come to be; heads are dropped.
    Closed(Epoch),
    /// Too few voters are heard of: take no writes and no reads until they are.
    Suspended,
    /// They are heard of again.
    Resumed,
    /// Reads that asked before this round began wait for it; later ones for the next.
    RoundBegun(u64),
    /// The reads that wait for this round may be answered once `upto` is applied.
    Readable {
        /// The round.
        round: u64,
        /// What was committed when it began.
        upto: LogIndex,
    },
    /// The answer to an ask.
    Answer {
        /// Which ask.
        ask: Ask,
        /// The answer.
        answer: Answer,
    },
    /// A set of voters may stand alone, and the record should say so.
    Confirmed {
        /// The epoch of the record in which that is so.
        epoch: RecordEpoch,
        /// The set.
        version: ConfigVersion,
    },
    /// It takes no part any more until somebody looks at it; nothing was deleted.
    Halted(Halt),
}

/// The answer to an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is sealed: nothing of a lower epoch was confirmed since.
    Sealed(Box<SealAnswer>),
    /// It leads.
    Leads {
        /// In this epoch.
        epoch: Epoch,
        /// It has committed an entry of it.
        open: bool,
    },
    /// It goes by these sets of voters now, or by newer ones.
    Configured(ConfigVersion),
    /// The voter that is to lead next holds the log up to here, which is all; new writes wait for a while.
    CaughtUp(LogIndex),
    /// It did not do it.
    Refused(Refusal),
}

/// What a sealed replica has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealAnswer {
    /// The epoch for which it is sealed.
    pub promised: Epoch,
    /// What an order to lead must name.
    pub standing: Standing,
    /// Up to here it knows entries to be committed.
    pub committed: LogIndex,
    /// The shape of its log.
    pub history: History,
    /// The newest sets of voters in its log.
    pub configs: Option<Configs>,
    /// It has all that it ever confirmed. Else its promise stands, and what it has shows nothing.
    pub intact: bool,
}

/// Why an ask came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A later epoch is promised: whoever asks must look at the record again.
    #[error("epoch {0} is promised")]
    Promised(Epoch),
    /// It is no longer what it was when it was sealed: elect again.
    #[error("it is at {} entries of epoch {} in boot {}, not as it was sealed", .0.end, .0.last, .0.boot)]
    Changed(Standing),
    /// It does not lead this epoch.
    #[error("it does not lead")]
    NotLeading,
    /// The sets of voters do not follow from those that it goes by, up to this one: one voter and one version at a time.
    #[error("it goes by voters up to version {}: these do not follow from them one voter and one version at a time", .0.0)]
    NoStep(ConfigVersion),
    /// The epoch lies too far above what is promised: nobody would ever get there, and it would follow nobody until then.
    #[error("epoch {0} is promised, and this one lies too far above it")]
    TooFar(Epoch),
    /// Whoever was to have everything holds the log up to here only, or gets no log; writes are taken again.
    #[error("the other voter holds the log up to {0}, and not all of it")]
    Behind(LogIndex),
    /// It was removed from the voters, and has heard of no later set that has it again.
    #[error("it was removed from the voters")]
    Retired,
    /// No other member remembers this start yet: ask again.
    #[error("no other member has met this start yet")]
    Unvouched,
    /// It lost something that it may have confirmed, and has not got it back from a leader yet.
    #[error("its data is damaged and not repaired yet")]
    Damaged,
    /// It stopped by itself.
    #[error("it stopped: {0}")]
    Halted(Halt),
}

/// Why a replica stopped by itself. Each but the forgotten epoch means that a promise of this protocol was broken somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Halt {
    /// A leader lacks entries that are committed.
    #[error(
        "the leader's log is the same up to {common} only, but entries up to {committed} are committed (DivergedBelowCommit)"
    )]
    BelowCommit {
        /// The last index that both have.
        common: LogIndex,
        /// What is known to be committed.
        committed: LogIndex,
    },
    /// The same epoch and index, another content.
    #[error("entry {0} is another one than the leader's (ChainDiffers)")]
    ChainDiffers(LogIndex),
    /// One epoch begins at two places.
    #[error("epoch {0} begins at two places (EpochDiffers)")]
    EpochDiffers(Epoch),
    /// The leader remembers no epoch that this replica has.
    #[error(
        "the leader knows of no epoch before {0} any more, and all that is here is older: empty the disk, and it gets everything as a new replica (EpochForgotten)"
    )]
    EpochForgotten(Epoch),
    /// Its disk is an older copy of itself.
    #[error("its disk was put back to an older copy, which does not know of start {0} (PutBack)")]
    PutBack(Boot),
}
