//! Which learners are level with their leaders, and for how long they have been: one look at a moment of calm says little of a disk
//! that is too slow. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thalweg_node::admin::words::{Shard, ShardRole, Shards};
use thalweg_node::types::{ReplicaId, ShardId};

/// A learner that lacks at most so many entries is level: it has the rest within milliseconds.
const CAUGHT_UP: u64 = 1000;
/// It becomes a voter after so long a time of that: four looks at it.
const LEVEL_FOR: Duration = Duration::from_secs(2);
/// When nobody has looked for so long, nothing is known of the time between: it begins anew.
const UNSEEN_MAX: Duration = Duration::from_secs(4);

/// For each shard, by how many entries each follower of its leader is behind.
pub(super) type Lags = BTreeMap<ShardId, BTreeMap<ReplicaId, u64>>;
/// Who may vote next.
pub(super) type Level = BTreeSet<(ShardId, ReplicaId)>;

/// What a node says of the followers that it feeds, for each shard that it leads.
pub(super) fn lags(said: Shards) -> Lags {
    let leads = |shard: &Shard| {
        let role = matches!(shard.role, ShardRole::Leading | ShardRole::Opening | ShardRole::Suspended);
        role && !shard.followers.is_empty()
    };
    let shard = |shard: Shard| {
        let fed = shard.followers.into_iter().filter(|follower| follower.is_shipped);
        (shard.shard, fed.map(|follower| (follower.replica, follower.lag_entries)).collect())
    };
    said.shards.into_iter().filter(leads).map(shard).collect()
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Levels {
    looked: BTreeMap<ShardId, Duration>,
    since: BTreeMap<(ShardId, ReplicaId), Duration>,
}

impl Levels {
    /// A leader tells how far its followers are.
    pub(super) fn measured(&mut self, lags: &Lags, now: Duration) {
        for (shard, behind) in lags {
            let unseen = self.looked.insert(*shard, now).is_none_or(|looked| looked + UNSEEN_MAX < now);
            let is_level = |id: &ReplicaId| behind.get(id).is_some_and(|entries| *entries <= CAUGHT_UP);
            self.since.retain(|(of, id), _| of != shard || !unseen && is_level(id));
            for id in behind.keys().filter(|id| is_level(id)) {
                self.since.entry((*shard, *id)).or_insert(now);
            }
        }
    }

    /// Who has been level for long enough, by a look that is not old.
    pub(super) fn level(&self, now: Duration) -> Level {
        let votes = |(shard, since): (&ShardId, &Duration)| {
            let looked = self.looked.get(shard).copied().unwrap_or_default();
            *since + LEVEL_FOR <= looked && now <= looked + UNSEEN_MAX
        };
        let level = self.since.iter().filter(|((shard, _), since)| votes((shard, since)));
        level.map(|(who, _)| *who).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);
    const NEW: ReplicaId = ReplicaId(9);

    /// Whether a learner may vote after these looks: at which millisecond, and by how many entries it was behind.
    fn votes_after(looks: &[(u64, Option<u64>)]) -> bool {
        let (mut levels, mut now) = (Levels::default(), Duration::ZERO);
        for (at, behind) in looks {
            now = Duration::from_millis(*at);
            let behind = behind.map(|entries| (NEW, entries)).into_iter().collect();
            levels.measured(&Lags::from([(SHARD, behind)]), now);
            // Another shard says nothing of this one.
            levels.measured(&Lags::from([(ShardId(4), BTreeMap::new())]), now);
        }
        assert!(levels.level(now + UNSEEN_MAX + Duration::from_millis(1)).is_empty(), "the last look is old");
        levels.level(now) == Level::from([(SHARD, NEW)])
    }

    #[test]
    fn a_learner_votes_once_it_has_been_level_for_two_seconds_on_end() {
        let (level, behind) = (Some(CAUGHT_UP), Some(CAUGHT_UP + 1));
        assert!(!votes_after(&[(0, level)]), "one look");
        assert!(!votes_after(&[(0, level), (1_000, level), (1_999, level)]), "too soon");
        assert!(votes_after(&[(0, level), (1_000, level), (2_000, level)]));
        assert!(!votes_after(&[(0, level), (1_000, behind), (2_000, level)]), "it fell behind");
        assert!(!votes_after(&[(0, level), (1_000, None), (2_000, level)]), "it was fed nothing");
        assert!(!votes_after(&[(0, level), (1_000, level), (2_000, behind)]), "it is behind now");
        assert!(!votes_after(&[(0, level), (5_000, level)]), "nobody looked for long");
        assert!(votes_after(&[(0, behind), (500, level), (1_500, level), (2_500, level)]));
    }
}
