//! The words for what a node says of itself, twice a second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::millis;
use crate::core::failover::{self as core, NodePulse, RoleSeen};
use crate::types::{Boot, ConfigVersion, Epoch, LogIndex, ReplicaId, ShardId};

/// One answer of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulse {
    /// Who it is.
    pub replica: ReplicaId,
    /// This start of its process.
    pub boot: Boot,
    /// It wants to hand over what it leads.
    pub draining: bool,
    /// It cannot serve as it should.
    pub sick: bool,
    /// Its volume has room.
    pub has_room: bool,
    /// Each shard of which it holds a replica.
    pub shards: Vec<ShardPulse>,
}

/// The same for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardPulse {
    /// Which.
    pub shard: ShardId,
    /// Nothing below counts for it any more.
    pub promised: Epoch,
    /// The index of its last entry.
    pub end: LogIndex,
    /// Something that is stored of it cannot be read.
    pub damaged: bool,
    /// It is damaged so that nothing of it is served.
    pub refuses: bool,
    /// What it does.
    pub role: Role,
}

/// What a replica does at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    /// It leads.
    Leading {
        /// Its epoch.
        epoch: Epoch,
        /// It takes writes.
        open: bool,
        /// For how long its oldest write has waited.
        waiting_ms: u64,
        /// What it knows to be committed.
        committed: LogIndex,
        /// The newest set of voters that it goes by.
        newest: ConfigVersion,
        /// The oldest that still counts for it.
        oldest: ConfigVersion,
    },
    /// It follows somebody, or nobody.
    Following {
        /// For how long it has heard of no leader.
        silent_ms: u64,
    },
    /// It stopped by itself.
    Halted,
}

impl From<NodePulse> for Pulse {
    fn from(pulse: NodePulse) -> Self {
        let NodePulse { replica, boot, draining, sick, has_room, shards } = pulse;
        let shard = |(shard, core::ShardPulse { promised, end, damaged, refuses, role })| ShardPulse {
            shard,
            promised,
            end,
            damaged,
            refuses,
            role: role.into(),
        };
        let shards = shards.into_iter().map(shard).collect();
        Self { replica, boot, draining, sick, has_room, shards }
    }
}

impl From<Pulse> for NodePulse {
    fn from(pulse: Pulse) -> Self {
        let Pulse { replica, boot, draining, sick, has_room, shards } = pulse;
        let shard = |ShardPulse { shard, promised, end, damaged, refuses, role }| {
            (shard, core::ShardPulse { promised, end, damaged, refuses, role: role.into() })
        };
        let shards = shards.into_iter().map(shard).collect();
        Self { replica, boot, draining, sick, has_room, shards }
    }
}

impl From<RoleSeen> for Role {
    fn from(role: RoleSeen) -> Self {
        match role {
            RoleSeen::Leading { epoch, open, waiting, committed, newest, oldest } => {
                Self::Leading { epoch, open, waiting_ms: millis(waiting), committed, newest, oldest }
            }
            RoleSeen::Following { silent } => Self::Following { silent_ms: millis(silent) },
            RoleSeen::Halted => Self::Halted,
        }
    }
}

impl From<Role> for RoleSeen {
    fn from(role: Role) -> Self {
        match role {
            Role::Leading { epoch, open, waiting_ms, committed, newest, oldest } => {
                let waiting = Duration::from_millis(waiting_ms);
                Self::Leading { epoch, open, waiting, committed, newest, oldest }
            }
            Role::Following { silent_ms } => Self::Following { silent: Duration::from_millis(silent_ms) },
            Role::Halted => Self::Halted,
        }
    }
}
