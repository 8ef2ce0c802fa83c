//! Sets of voters, and the list of those that count at a time. Invariant: a set has one to [`VOTERS_MAX`] members, in
//! order and each once; a list has at least one set, its versions grow.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Most voters of a shard: five replicas, two that come or go while a change is withdrawn, and one to spare.
pub const VOTERS_MAX: usize = 8;

/// A replica of the cluster: one volume in one incarnation. Interned in the record, never used again, so an empty disk
/// under an old name is somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(pub u32);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}", self.0)
    }
}

/// Who votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voters {
    /// Ascending; what lies behind `count` is zero, so that equal sets are equal.
    ids: [ReplicaId; VOTERS_MAX],
    count: u8,
}

impl Voters {
    /// A set of these; `None` when there are none or too many.
    pub fn new(ids: impl IntoIterator<Item = ReplicaId>) -> Option<Self> {
        let empty = Self { ids: [ReplicaId(0); VOTERS_MAX], count: 0 };
        let set = ids.into_iter().try_fold(empty, Self::inserted)?;
        (set.count > 0).then_some(set)
    }

    /// The members in order.
    #[must_use]
    pub fn as_slice(&self) -> &[ReplicaId] {
        self.ids.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.as_slice().iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether this replica votes.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.as_slice().binary_search(&id).is_ok()
    }

    /// The set with one more; the same set if it votes already, `None` if there is no room.
    #[must_use]
    pub fn with(&self, id: ReplicaId) -> Option<Self> {
        self.inserted(id)
    }

    /// The set without one; `None` if nobody would be left.
    #[must_use]
    pub fn without(&self, id: ReplicaId) -> Option<Self> {
        Self::new(self.iter().filter(|member| *member != id))
    }

    /// How many voters are in one set and not in the other.
    #[must_use]
    pub fn distance(&self, other: &Self) -> usize {
        let missing = |from: &Self, to: &Self| from.iter().filter(|id| !to.contains(*id)).count();
        missing(self, other) + missing(other, self)
    }

    fn inserted(mut self, id: ReplicaId) -> Option<Self> {
        let Err(place) = self.as_slice().binary_search(&id) else { return Some(self) };
        if self.count() == VOTERS_MAX {
            return None;
        }
        self.ids.copy_within(place..VOTERS_MAX - 1, place + 1);
        *self.ids.get_mut(place)? = id;
        self.count += 1;
        Some(self)
    }
}

impl fmt::Debug for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|id| id.0)).finish()
    }
}

/// Counts the sets of voters of a shard; a later one supersedes an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigVersion(pub u64);

/// One set of voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    /// Its place in the order of all sets of the shard.
    pub version: ConfigVersion,
    /// Who votes in it.
    pub voters: Voters,
}

/// The sets that count at a time, oldest first; more than one while a change is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Configs(Vec<Config>);

impl Configs {
    /// The list of a shard that begins.
    #[must_use]
    pub fn first(voters: Voters) -> Self {
        Self(vec![Config { version: ConfigVersion(1), voters }])
    }

    /// A list from outside; `None` unless it has a set and its versions grow.
    #[must_use]
    pub fn new(list: Vec<Config>) -> Option<Self> {
        let grows = list.is_sorted_by(|one, next| one.version < next.version);
        (grows && !list.is_empty()).then_some(Self(list))
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Config] {
        &self.0
    }

    /// The set that will count when all is confirmed.
    #[must_use]
    pub fn last(&self) -> Config {
        // There is always one; without, nobody would vote and nothing could be committed, which is safe.
        const NOBODY: Voters = Voters { ids: [ReplicaId(0); VOTERS_MAX], count: 0 };
        self.0.last().copied().unwrap_or(Config { version: ConfigVersion(0), voters: NOBODY })
    }

    /// The oldest set that still counts.
    #[must_use]
    pub fn oldest(&self) -> Config {
        self.0.first().copied().unwrap_or(self.last())
    }

    /// Whether a change is under way.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.0.len() > 1
    }

    /// The list with one more set behind it.
    #[must_use]
    pub fn with_next(&self, voters: Voters) -> Self {
        let version = ConfigVersion(self.last().version.0 + 1);
        let mut list = self.0.clone();
        list.push(Config { version, voters });
        Self(list)
    }

    /// The list once `version` is confirmed: older sets no longer count.
    #[must_use]
    pub fn confirmed(&self, version: ConfigVersion) -> Self {
        let kept: Vec<Config> = self.0.iter().copied().filter(|config| config.version >= version).collect();
        Self::new(kept).unwrap_or_else(|| self.clone())
    }

    /// What a leader that goes by `self` goes by once it hears of `told`: newer sets are added, what is confirmed here or
    /// there does not come back, older news changes nothing.
    #[must_use]
    pub fn hearing(&self, told: &Self) -> Self {
        let own = self.oldest().version;
        match told.last().version.cmp(&self.last().version) {
            Ordering::Less => self.clone(),
            Ordering::Equal => self.confirmed(told.oldest().version),
            Ordering::Greater => told.confirmed(own),
        }
    }

    /// Whether `told` may be news for a leader that goes by `self`: an older list, or the same sets, or those that follow from its newest
    /// one step by step, each with the next version and one voter more or less at most (none when a change is taken back again).
    #[must_use]
    pub fn leads_to(&self, told: &Self) -> bool {
        let newest = self.last();
        let differs =
            |config: &Config| self.0.iter().any(|own| own.version == config.version && own != config);
        let is_step = |pair: &[Config]| match pair {
            [one, next] => {
                Some(next.version.0) == one.version.0.checked_add(1) && one.voters.distance(&next.voters) <= 1
            }
            _ => false,
        };
        let later = told.0.iter().skip_while(|config| config.version < newest.version);
        let later: Vec<Config> = later.copied().collect();
        told.last().version < newest.version
            || !told.0.iter().any(differs) && later.first() == Some(&newest) && later.windows(2).all(is_step)
    }

    /// Everybody who votes in any of the sets, in order.
    #[must_use]
    pub fn everybody(&self) -> Vec<ReplicaId> {
        let mut ids: Vec<ReplicaId> =
            self.0.iter().flat_map(|config| config.voters.as_slice()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[u32]) -> Voters {
        Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
    }

    #[test]
    fn a_set_of_voters_is_the_same_in_whatever_order_it_was_named() {
        assert_eq!(voters(&[3, 1, 2, 1]), voters(&[1, 2, 3]));
        assert_eq!(voters(&[1, 2]).with(ReplicaId(0)), Some(voters(&[0, 1, 2])));
        assert_eq!(voters(&[1, 2, 3]).without(ReplicaId(2)), Some(voters(&[1, 3])));
        assert_eq!(voters(&[1]).without(ReplicaId(1)), None, "somebody must vote");
        assert_eq!(Voters::new((0..9).map(ReplicaId)), None, "too many");
        assert_eq!(voters(&[1, 2, 3]).distance(&voters(&[1, 2, 4])), 2);
    }

    #[test]
    fn a_leader_never_takes_back_a_set_that_it_has_confirmed() {
        let first = Configs::first(voters(&[1, 2, 3]));
        let changed = first.with_next(voters(&[1, 2]));
        let leader = first.hearing(&changed).confirmed(ConfigVersion(2));
        assert_eq!(leader.as_slice().len(), 1);
        assert_eq!(leader.hearing(&changed), leader, "nothing new in it");
        let withdrawn = changed.with_next(voters(&[1, 2, 3]));
        let heard: Vec<u64> = leader.hearing(&withdrawn).as_slice().iter().map(|c| c.version.0).collect();
        assert_eq!(heard, [2, 3]);
    }

    #[test]
    fn a_leader_that_forgot_what_it_had_confirmed_hears_of_it_again() {
        let changed = Configs::first(voters(&[1, 2])).with_next(voters(&[1]));
        let confirmed = changed.confirmed(ConfigVersion(2));
        assert_eq!(changed.hearing(&confirmed), confirmed, "voter 2 may be no more");
        assert_eq!(confirmed.hearing(&changed), confirmed);
    }

    #[test]
    fn a_leader_hears_of_sets_that_follow_from_its_own_one_voter_and_one_version_at_a_time() {
        let list = |sets: &[(u64, &[u32])]| {
            let config = |(version, ids): &(u64, &[u32])| Config {
                version: ConfigVersion(*version),
                voters: voters(ids),
            };
            Configs::new(sets.iter().map(config).collect()).unwrap()
        };
        let own = list(&[(4, &[0, 1, 2]), (5, &[0, 1])]);
        let news = [
            list(&[(4, &[0, 1, 2]), (5, &[0, 1])]),
            list(&[(5, &[0, 1])]),
            list(&[(4, &[0, 1, 2]), (5, &[0, 1]), (6, &[0, 1, 2])]),
            list(&[(5, &[0, 1]), (6, &[0, 1, 3])]),
            // Taken back twice, and won by one of the older set.
            list(&[(4, &[0, 1, 2]), (5, &[0, 1]), (6, &[0, 1, 2]), (7, &[0, 1, 2]), (8, &[0, 1, 2, 3])]),
            list(&[(3, &[9])]),
        ];
        news.iter().for_each(|told| assert!(own.leads_to(told), "{told:?}"));
        let no_news = [
            list(&[(99, &[0])]),
            list(&[(6, &[0])]),
            list(&[(5, &[0])]),
            list(&[(4, &[0]), (5, &[0, 1])]),
            list(&[(5, &[0, 1]), (7, &[0])]),
            list(&[(5, &[0, 1]), (6, &[0, 2])]),
            list(&[(5, &[0, 1]), (6, &[0]), (7, &[0, 1, 2])]),
            list(&[(4, &[0, 1, 2]), (6, &[0, 1])]),
        ];
        no_news.iter().for_each(|told| assert!(!own.leads_to(told), "{told:?}"));
    }

    #[test]
    fn a_list_of_sets_has_one_at_least_and_its_versions_grow() {
        let config = |version| Config { version: ConfigVersion(version), voters: voters(&[1]) };
        assert!(Configs::new(vec![]).is_none());
        assert!(Configs::new(vec![config(2), config(2)]).is_none());
        assert!(Configs::new(vec![config(2), config(4)]).is_some());
    }
}
