//! What can happen to a replica.

use std::time::Duration;

use super::History;
use super::Image;
use super::memory::Ticket;
use super::message::Message;
use crate::types::{Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

/// Something that happens to a replica. Whoever drives it carries out all effects of one input, in order, before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its log is on the disk up to here.
    Synced(LogIndex),
    /// Its memory is on the disk as of this ticket.
    Saved(Ticket),
    /// The cut that was asked for is durable.
    Cut {
        /// The last entry left.
        to: LogIndex,
        /// The chain after it.
        chain: Chain,
    },
    /// A message to this boot arrived.
    Heard {
        /// Who sent it.
        from: ReplicaId,
        /// What it says.
        message: Message,
    },
    /// Messages to this replica go through again, and none that were sent before will arrive.
    Connected(ReplicaId),
    /// Somebody wants to elect.
    Seal {
        /// Comes back with the answer.
        ask: Ask,
        /// The epoch for which it is sealed.
        epoch: RecordEpoch,
    },
    /// The record says that it leads.
    Lead(Box<Lead>),
    /// The record says who votes.
    Configure {
        /// Comes back with the answer.
        ask: Ask,
        /// The epoch of the record in which it leads.
        epoch: RecordEpoch,
        /// Who votes.
        configs: Configs,
        /// Who gets the log without voting.
        learners: Vec<ReplicaId>,
    },
    /// Somebody wants another voter to lead next.
    HandOver(HandOver),
    /// As a leader of this epoch: the log no longer has what a follower lacks.
    Lacks {
        /// Who.
        to: ReplicaId,
        /// The epoch in which it was shipped to.
        epoch: Epoch,
    },
    /// The image that was asked for is there, and the log behind it is kept.
    Imaged {
        /// For whom.
        to: ReplicaId,
        /// What it is.
        image: Image,
    },
    /// An image is here as a whole, and was checked.
    Fetched(Image),
    /// An image, or nothing, is in the place of what was here, durably.
    Seeded {
        /// The shape of the log that it stands for, read back from the disk.
        history: History,
        /// The sets of voters in it.
        voters: Option<Configs>,
    },
    /// An image was not fetched or not installed; what was here is here still.
    Unseeded,
    /// What was made of the log cannot be read here any more, and the others do without this replica: it is to begin with nothing.
    GiveUp,
    /// A linearizable read waits for proof that this replica still leads.
    Read,
    /// Another member remembers this start of the node, durably: it is known not to be that of an older disk.
    Vouched,
    /// Another member has met this start of the node's volume, of which the volume knows nothing: its disk is an older one.
    PutBack(Boot),
    /// Time has passed; counted from the start of the process.
    Tick(Duration),
}

/// Tells one question from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask(pub u64);

/// The order to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// Comes back with the answer.
    pub ask: Ask,
    /// The epoch that it leads.
    pub epoch: RecordEpoch,
    /// Who votes.
    pub configs: Configs,
    /// Who gets the log without voting.
    pub learners: Vec<ReplicaId>,
    /// What it said when it was sealed: if it is no longer so, the election was about somebody else.
    pub expected: Standing,
}

/// The order to let another voter hold everything, for which new writes wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    /// Comes back with the answer.
    pub ask: Ask,
    /// The epoch of the record in which it leads.
    pub epoch: RecordEpoch,
    /// Who is to have everything.
    pub to: ReplicaId,
    /// How long writes may wait, from the order to the next epoch.
    pub patience: Duration,
}

/// What a replica is when it answers a seal, and must still be when it is told to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// This start of its process.
    pub boot: Boot,
    /// The epoch of its last entry, which is on the disk.
    pub last: Epoch,
    /// The index of that entry.
    pub end: LogIndex,
}
