//! What a node says of itself when it is asked, twice a second.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{Boot, ConfigVersion, Epoch, LogIndex, ReplicaId, ShardId};

/// One answer of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePulse {
    /// Its volume, interned.
    pub replica: ReplicaId,
    /// This start of its process.
    pub boot: Boot,
    /// It wants to hand over what it leads: it will end soon.
    pub draining: bool,
    /// It cannot serve as it should, and says so: one of its lanes has done nothing for seconds, as one does whose sync hangs.
    pub sick: bool,
    /// Its volume has room.
    pub has_room: bool,
    /// Each shard of which it holds a replica.
    pub shards: BTreeMap<ShardId, ShardPulse>,
}

/// The same for one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPulse {
    /// Nothing below counts for it any more.
    pub promised: Epoch,
    /// The index of its last entry.
    pub end: LogIndex,
    /// Something that is stored of it cannot be read, or it lacks what it may have confirmed: whoever leads it should be another.
    pub damaged: bool,
    /// It is damaged so that nothing of it is served.
    pub refuses: bool,
    /// What it does.
    pub role: RoleSeen,
}

/// What a replica does at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSeen {
    /// It leads.
    Leading {
        /// Its epoch.
        epoch: Epoch,
        /// It takes writes.
        open: bool,
        /// For how long its oldest write has waited; a hung disk is not silent.
        waiting: Duration,
        /// What it knows to be committed.
        committed: LogIndex,
        /// The newest set of voters that it goes by, and the oldest that still counts for it.
        newest: ConfigVersion,
        /// All sets below no longer count.
        oldest: ConfigVersion,
    },
    /// It follows somebody, or nobody.
    Following {
        /// For how long it has heard of no leader of an epoch that it would follow.
        silent: Duration,
    },
    /// It stopped by itself; somebody must look.
    Halted,
}
