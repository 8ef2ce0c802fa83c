//! What a node says of itself, as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_node::core::failover::{NodePulse, RoleSeen, ShardPulse};
use thalweg_node::types::{Boot, ConfigVersion, LogIndex, ReplicaId, ShardId};

use super::super::admin::Status;
use super::{EpochWords, MemberWords, epoch_from, roster_from};

/// The answer to `GET /admin/status`.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct StatusWords {
    cluster: String,
    node: String,
    incarnation: String,
    boot: u64,
    replica: Option<u32>,
    is_new: bool,
    members: Vec<MemberWords>,
    /// Nothing until the node was told who it is.
    pulse: Option<PulseWords>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PulseWords {
    replica: u32,
    boot: u64,
    draining: bool,
    sick: bool,
    has_room: bool,
    shards: Vec<ShardPulseWords>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ShardPulseWords {
    shard: u16,
    promised: EpochWords,
    end: u64,
    role: RoleWords,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleWords {
    Leading { epoch: EpochWords, open: bool, waiting_ms: u64, newest: u64, oldest: u64 },
    Following { silent_ms: u64 },
    Halted,
}

/// What a node says.
pub(in super::super) fn status_from(words: StatusWords) -> anyhow::Result<Status> {
    let (boot, replica) = (Boot(words.boot), words.replica.map(ReplicaId));
    let pulse = words.pulse.map(|pulse| NodePulse {
        replica: ReplicaId(pulse.replica),
        boot: Boot(pulse.boot),
        draining: pulse.draining,
        sick: pulse.sick,
        has_room: pulse.has_room,
        shards: pulse.shards.iter().map(shard_from).collect(),
    });
    Ok(Status {
        cluster: words.cluster.parse()?,
        node: words.node,
        incarnation: words.incarnation.parse()?,
        boot,
        replica,
        is_new: words.is_new,
        roster: roster_from(words.members)?,
        pulse,
    })
}

fn shard_from(words: &ShardPulseWords) -> (ShardId, ShardPulse) {
    let role = match words.role {
        RoleWords::Leading { epoch, open, waiting_ms, newest, oldest } => RoleSeen::Leading {
            epoch: epoch_from(epoch),
            open,
            waiting: Duration::from_millis(waiting_ms),
            newest: ConfigVersion(newest),
            oldest: ConfigVersion(oldest),
        },
        RoleWords::Following { silent_ms } => {
            RoleSeen::Following { silent: Duration::from_millis(silent_ms) }
        }
        RoleWords::Halted => RoleSeen::Halted,
    };
    let pulse = ShardPulse { promised: epoch_from(words.promised), end: LogIndex(words.end), role };
    (ShardId(words.shard), pulse)
}

/// A status as a node gives it.
#[cfg(test)]
pub(in super::super) fn status_words(status: &Status) -> StatusWords {
    use super::{epoch_words, members_words};
    let milliseconds = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let role = |role: &RoleSeen| match role {
        RoleSeen::Leading { epoch, open, waiting, newest, oldest } => RoleWords::Leading {
            epoch: epoch_words(*epoch),
            open: *open,
            waiting_ms: milliseconds(waiting),
            newest: newest.0,
            oldest: oldest.0,
        },
        RoleSeen::Following { silent } => RoleWords::Following { silent_ms: milliseconds(silent) },
        RoleSeen::Halted => RoleWords::Halted,
    };
    let shard = |(shard, pulse): (&ShardId, &ShardPulse)| ShardPulseWords {
        shard: shard.0,
        promised: epoch_words(pulse.promised),
        end: pulse.end.0,
        role: role(&pulse.role),
    };
    StatusWords {
        cluster: status.cluster.to_string(),
        node: status.node.clone(),
        incarnation: status.incarnation.to_string(),
        boot: status.boot.0,
        replica: status.replica.map(|id| id.0),
        is_new: status.is_new,
        members: members_words(&status.roster),
        pulse: status.pulse.as_ref().map(|pulse| PulseWords {
            replica: pulse.replica.0,
            boot: pulse.boot.0,
            draining: pulse.draining,
            sick: pulse.sick,
            has_room: pulse.has_room,
            shards: pulse.shards.iter().map(shard).collect(),
        }),
    }
}
