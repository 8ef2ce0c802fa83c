//! Tables in which damage was found while they are served are noted as such, so that a start gets other ones, and given up, so that the
//! running node does, too (`lane/giving_up.rs`). Invariant: a copy is given up only for a leader that knows of no damage of its own, by one
//! node at a time, and while the others can do without this one: of two damaged copies each may have what the other lacks.

use std::io;

use super::Sweeper;
use crate::core::replication::commit_rule;
use crate::runtime::mailbox::Job;
use crate::runtime::shared::Shard;
use crate::store::tables::{forget_damage, is_damage_noted, note_damage};
use crate::types::{Configs, ReplicaId, ShardId};
use crate::wire::Direction;

/// Whether enough of the others are there to commit what is written, whatever becomes of this one; where a set is so small that all
/// are needed, whether all others are.
fn can_do_without(configs: &Configs, me: ReplicaId, is_there: impl Fn(ReplicaId) -> bool) -> bool {
    configs.as_slice().iter().all(|config| {
        let others = || config.voters.iter().filter(|id| *id != me);
        let needed = commit_rule(config.voters.count()).writes.min(others().count());
        others().filter(|id| is_there(*id)).count() >= needed
    })
}

impl Sweeper {
    /// Tables in which damage was found are not needed once another leads, who has everything: from then on no start of this node
    /// takes them for whole, and its owner is asked, as often as it takes, to begin with nothing. While this node leads they are the best
    /// that there is.
    pub(super) fn condemn_tables(&self, shard: &Shard) {
        let leaders = &self.shared.leaders;
        let is_here = leaders.is_here(shard.id);
        let Some(root) = self.root().filter(|_| shard.is_rotten()) else { return };
        let is_given_up = || !is_here && shard.is_spare() && self.is_spared(shard.id);
        let note = || -> io::Result<()> {
            let tables = root.subdir("tables")?;
            let is_noted = is_damage_noted(tables.as_ref(), shard.id)?;
            if is_noted && is_here {
                return forget_damage(tables.as_ref(), shard.id);
            }
            if !is_given_up() {
                return Ok(());
            }
            if !is_noted {
                let leader = leaders.leader(shard.id).map(|leader| leader.0);
                tracing::warn!(
                    shard = shard.id.0,
                    leader,
                    "tables in which damage was found are not needed any more"
                );
                note_damage(tables.as_ref(), shard.id)?;
            }
            if shard.tables.rot().is_none() {
                // Another file has taken its place since; it would be meant.
                return forget_damage(tables.as_ref(), shard.id);
            }
            let _ended = shard.mailbox.send(Job::GiveUp { shard: shard.id });
            Ok(())
        };
        if let Err(error) = note() {
            tracing::warn!(shard = shard.id.0, %error, "that tables are damaged cannot be noted");
        }
    }

    /// Whether the others, as far as this node hears of them, can do without its copy of a shard.
    fn is_spared(&self, shard: ShardId) -> bool {
        let Some(cluster) = self.shared.cluster.get() else { return false };
        let (Some(me), Some(links)) = (cluster.me(), cluster.running_links()) else { return false };
        let looks = self.shared.looks.all(self.clock.elapsed());
        let look = looks.into_iter().map(|(report, _)| report).find(|report| report.shard == shard);
        let links = links.report();
        let is_there = |id: ReplicaId| {
            let to = links.iter().find(|link| link.peer == id && link.direction == Direction::Dialled);
            to.is_some_and(|link| link.is_connected)
        };
        look.and_then(|look| look.configs).is_some_and(|configs| can_do_without(&configs, me, is_there))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Voters;

    fn id(number: u32) -> ReplicaId {
        ReplicaId(number)
    }

    fn among(voters: u32, there: &[u32]) -> bool {
        let configs = Configs::first(Voters::new((0..voters).map(id)).unwrap());
        can_do_without(&configs, id(0), |id| there.contains(&id.0))
    }

    #[test]
    fn a_damaged_copy_is_given_up_only_while_enough_others_are_there_to_commit_without_it() {
        assert!(among(3, &[1, 2]));
        assert!(!among(3, &[1]), "the one that is away may be the only sound one beside it");
        assert!(among(5, &[1, 2, 4]) && !among(5, &[1, 2]));
        assert!(among(2, &[1]) && !among(2, &[]));
        let learner = Configs::first(Voters::new([1, 2, 3].map(id)).unwrap());
        assert!(can_do_without(&learner, id(0), |id| id.0 < 3), "it is no voter");
    }
}
