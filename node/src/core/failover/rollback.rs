//! Records that are older than what nodes know (I16): somebody put one back, and whoever elected by it would begin an epoch, or bring back
//! voters, a second time. Invariant: nothing is decided on a record below which no node may be.

use std::collections::BTreeMap;

use super::pulse::{NodePulse, RoleSeen};
use crate::core::replication::ShardRow;
use crate::types::{ConfigVersion, RecordEpoch, ShardId};

/// What a node knows and the record does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// A shard that the record does not have.
    #[error("it has shard {0}, which the record does not know")]
    Shard(ShardId),
    /// A promise above the row.
    #[error("it has promised epoch {promised} of shard {shard}, and the record is in epoch {known}")]
    Promise {
        /// Which shard.
        shard: ShardId,
        /// What the node has promised.
        promised: RecordEpoch,
        /// Where the record is.
        known: RecordEpoch,
    },
    /// A leader goes by a set of voters above the row.
    #[error("it goes by voters {} of shard {shard}, and the record knows voters {}", newest.0, known.0)]
    Voters {
        /// Which shard.
        shard: ShardId,
        /// What the leader goes by.
        newest: ConfigVersion,
        /// What the record knows.
        known: ConfigVersion,
    },
}

/// What shows that a record is older than what a node knows, if anything does: nobody promises, or goes by, what was not in the
/// record first. To be asked again of the record as it is now before anybody believes it.
#[must_use]
pub fn rollback(rows: &BTreeMap<ShardId, ShardRow>, pulse: &NodePulse) -> Option<Rollback> {
    pulse.shards.iter().find_map(|(shard, seen)| {
        let shard = *shard;
        let Some(row) = rows.get(&shard) else { return Some(Rollback::Shard(shard)) };
        if seen.promised.record > row.epoch {
            let (promised, known) = (seen.promised.record, row.epoch);
            return Some(Rollback::Promise { shard, promised, known });
        }
        let known = row.configs.last().version;
        match seen.role {
            RoleSeen::Leading { newest, .. } if newest > known => {
                Some(Rollback::Voters { shard, newest, known })
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::stage::{SHARD, epoch, following, id, leading, voters};
    use super::*;
    use crate::core::failover::ShardPulse;
    use crate::types::{Boot, LogIndex};

    fn pulse(shard: ShardId, promised: u64, role: RoleSeen) -> NodePulse {
        let seen =
            ShardPulse { promised: epoch(promised), end: LogIndex(1), damaged: false, refuses: false, role };
        let shards = BTreeMap::from([(shard, seen)]);
        NodePulse { replica: id(1), boot: Boot(1), draining: false, sick: false, has_room: true, shards }
    }

    #[test]
    fn i16_a_promise_or_a_set_of_voters_above_the_record_shows_that_an_older_one_was_put_back() {
        let row = ShardRow::first(voters(&[0, 1, 2]), id(0));
        let rows = BTreeMap::from([(SHARD, row.clone())]);
        for role in [following(0), leading(1), RoleSeen::Halted] {
            assert_eq!(rollback(&rows, &pulse(SHARD, 1, role)), None);
        }
        let (promised, known) = (RecordEpoch(2), RecordEpoch(1));
        let beyond = rollback(&rows, &pulse(SHARD, 2, following(0)));
        assert_eq!(beyond, Some(Rollback::Promise { shard: SHARD, promised, known }));
        let missing = rollback(&rows, &pulse(ShardId(9), 1, following(0)));
        assert_eq!(missing, Some(Rollback::Shard(ShardId(9))));
        // The leader was told of a further set, and the record was put back to before that.
        let after = ShardRow { configs: row.configs.with_next(voters(&[0, 1])), ..row };
        let role = match leading(1) {
            RoleSeen::Leading { epoch, open, waiting, committed, oldest, .. } => {
                let newest = after.configs.last().version;
                RoleSeen::Leading { epoch, open, waiting, committed, newest, oldest }
            }
            other => other,
        };
        let told = pulse(SHARD, 1, role);
        let (newest, known) = (ConfigVersion(2), ConfigVersion(1));
        assert_eq!(rollback(&rows, &told), Some(Rollback::Voters { shard: SHARD, newest, known }));
        assert_eq!(rollback(&BTreeMap::from([(SHARD, after)]), &told), None);
    }
}
