//! What a driver tells the world: what it did, and how everything stands.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_node::core::failover::{NodePulse, Reason, RoleSeen, Trouble};
use thalweg_node::core::replication::ShardRow;
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId};

use super::table::{GivenUp, Table};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another leads shards.
    Moved {
        /// Which.
        shard: ShardId,
        /// Who led.
        from: ReplicaId,
        /// Who leads.
        to: ReplicaId,
        /// The epoch that began.
        epoch: RecordEpoch,
        /// Why, if this driver began it.
        reason: Option<Reason>,
        /// For how long the record named no leader.
        took: Duration,
    },
    /// A shard is not as it should be.
    Trouble(ShardId, Trouble),
    /// That is over.
    Over(ShardId, Trouble),
    /// A node has another volume than before: it is another replica now.
    Replaced {
        /// Whose.
        node: String,
        /// The replica that it is.
        is: ReplicaId,
    },
    /// Who votes for a shard changes.
    Voters(ShardId, String),
    /// A shard goes on with what one replica has.
    GivenUp(GivenUp),
    /// Something that the driver does not touch until somebody looks.
    Refused(String),
    /// Something for which the driver touches nothing any more.
    Halted(String),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { shard, from, to, epoch, reason, took } => {
                write!(f, "shard {shard}: {from} → {to} in epoch {epoch}, {} ms", took.as_millis())?;
                reason.map_or(Ok(()), |reason| write!(f, " ({reason:?})"))
            }
            Self::Trouble(shard, Trouble::HeldDown { wait, failovers }) => {
                let (wait, times) = (wait.as_secs(), if *failovers == 1 { "failover" } else { "failovers" });
                write!(
                    f,
                    "shard {shard} is held down: its next failover comes {wait} s after the last, since there were \
                     {failovers} {times} without five minutes of calm between; it goes on sooner if its leader comes back"
                )
            }
            Self::Trouble(shard, trouble) => write!(f, "shard {shard}: {trouble:?}"),
            Self::Over(shard, Trouble::HeldDown { .. }) => write!(f, "shard {shard} is held down no more"),
            Self::Over(shard, _) => write!(f, "shard {shard} is well again"),
            Self::Replaced { node, is } => write!(f, "{node} has an empty disk: it is {is} now"),
            Self::Voters(shard, what) => write!(f, "shard {shard}: {what}"),
            Self::GivenUp(GivenUp { shard, epoch, chosen, barred }) => {
                write!(
                    f,
                    "shard {shard} goes on with what {chosen} has, from epoch {epoch} on; barred for ever:"
                )?;
                barred.iter().try_for_each(|it| write!(f, " {} ({}, {})", it.id, it.node, it.incarnation))?;
                f.write_str("; they must be off, since they are not fenced")
            }
            Self::Refused(why) | Self::Halted(why) => f.write_str(why),
        }
    }
}

/// How everything stands, as far as the driver has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The record.
    pub table: Table,
    /// The last answer of each replica that answers.
    pub pulses: BTreeMap<ReplicaId, NodePulse>,
}

impl View {
    /// The shards whose leader of the record takes writes.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = |shard: &ShardId| {
            let row = self.table.rows.get(shard)?;
            let pulse = self.pulses.get(&row.leader().ok()?)?.shards.get(shard)?;
            let RoleSeen::Leading { epoch, open, .. } = &pulse.role else { return None };
            (*open && epoch.record == row.epoch).then_some(())
        };
        self.table.rows.keys().filter(|shard| open(shard).is_some()).count()
    }

    /// Whether every shard has a leader that takes writes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open() == self.table.rows.len()
    }

    /// Whether every shard has as many voters as there are nodes, and nothing about them is under way.
    #[must_use]
    pub fn is_settled(&self, nodes: usize) -> bool {
        // Whoever sat somewhere before the youngest there has lost its disk.
        let members = &self.table.roster.members;
        let present: BTreeMap<&str, ReplicaId> =
            members.iter().map(|(id, member)| (member.node.as_str(), *id)).collect();
        let settled = |row: &ShardRow| {
            let voters = row.configs.last().voters;
            let all_vote = present.values().all(|id| voters.contains(*id));
            !row.configs.is_changing() && voters.count() == nodes && all_vote
        };
        self.table.learners.is_empty() && self.table.rows.values().all(settled)
    }

    /// How many shards each node leads, by its name.
    #[must_use]
    pub fn leaders(&self) -> BTreeMap<String, Vec<ShardId>> {
        let mut leaders: BTreeMap<String, Vec<ShardId>> = BTreeMap::new();
        for (shard, row) in &self.table.rows {
            if let Ok(leader) = row.leader() {
                leaders.entry(self.table.node(leader)).or_default().push(*shard);
            }
        }
        leaders
    }
}
