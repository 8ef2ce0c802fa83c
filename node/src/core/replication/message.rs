//! What replicas of one shard say to each other. A message is meant for one boot of its receiver: what was sent to an
//! earlier one is never delivered. For safety nothing else is asked of the network:
//! messages may be lost, doubled or late. To get on, a connection that loses one must be given up (`Input::Connected`).

use bytes::Bytes;

use super::{History, Image};
use crate::codec::record::RecordKind;
use crate::types::{Boot, Chain, Epoch, LogIndex};

/// One message, from a leader to a follower or back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Leader: follow me in this epoch, and tell what you have.
    Follow(Epoch),
    /// Follower: the epoch is promised, durably; this is what I have.
    Report(Report),
    /// Follower: I have promised a later epoch.
    Refused {
        /// The epoch that was asked for.
        epoch: Epoch,
        /// What is promised.
        promised: Epoch,
    },
    /// Leader: our logs are the same up to `common`; cut what lies behind.
    Adopt {
        /// The leader's epoch.
        epoch: Epoch,
        /// The report that this answers: an answer to an earlier one would cut what was taken since.
        report: u64,
        /// The last index that both have.
        common: LogIndex,
        /// The leader's last entry when the report came: whoever was damaged is whole once it holds all up to here.
        end: LogIndex,
    },
    /// Leader: nothing shows how far our logs are the same. An epoch begins elsewhere in yours than in mine, so one of us never got
    /// it from its leader; or you have none of those that I remember.
    Differs {
        /// The leader's epoch.
        epoch: Epoch,
        /// The epoch that begins at two places; or the first that I remember, which you do not have.
        at: Epoch,
    },
    /// Leader: entries behind `after`.
    Records(Records),
    /// Leader: what you lack is no longer in my log; have an image of it, and the log from there on.
    Offer {
        /// The leader's epoch.
        epoch: Epoch,
        /// The image.
        image: Image,
    },
    /// Leader: nothing new but this.
    Beat {
        /// The leader's epoch.
        epoch: Epoch,
        /// Up to here entries are committed.
        committed: LogIndex,
        /// Proves leadership to the reads that wait for this round, once it is echoed.
        round: u64,
        /// Whoever knows that what it stores is damaged may give it up: nothing of mine is, and nobody else gives up theirs at the moment.
        is_spare: bool,
    },
    /// Follower: I hold everything up to `synced` on the disk.
    Ack {
        /// The leader's epoch.
        epoch: Epoch,
        /// Durable here, and the same as at the leader.
        synced: LogIndex,
        /// The last round heard of.
        round: u64,
    },
}

/// What a follower has, once it has promised an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The promised epoch: that of the leader who asked.
    pub epoch: Epoch,
    /// The start of the follower that says so: a report of an earlier one knows nothing of damage that this one found.
    pub boot: Boot,
    /// Counts the reports of one boot.
    pub number: u64,
    /// The shape of its log.
    pub history: History,
    /// Up to here it knows entries to be committed.
    pub committed: LogIndex,
    /// It has all that it ever confirmed. Else what it holds counts for nothing yet.
    pub intact: bool,
}

/// Entries of one shard, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The first entry follows this index.
    pub after: LogIndex,
    /// The chain after `after`.
    pub chain: Chain,
    /// Up to here entries are committed.
    pub committed: LogIndex,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One entry as it travels: index and chain follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: RecordKind,
    /// The leader that wrote it.
    pub epoch: Epoch,
    /// Its payload.
    pub payload: Bytes,
}

impl Message {
    /// The leader's epoch in which it was said.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Follow(epoch)
            | Self::Refused { epoch, .. }
            | Self::Adopt { epoch, .. }
            | Self::Differs { epoch, .. }
            | Self::Beat { epoch, .. }
            | Self::Offer { epoch, .. }
            | Self::Ack { epoch, .. } => *epoch,
            Self::Report(report) => report.epoch,
            Self::Records(records) => records.epoch,
        }
    }
}
