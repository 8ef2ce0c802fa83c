//! The commit rule: how many voters must hold an entry on the disk, how many seals an election needs, and when a new set
//! of voters may stand alone. Invariant: writes and seals of one set always meet in one voter at least.

use super::{Config, ReplicaId, Voters};
use crate::types::LogIndex;

/// What one set of voters asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitRule {
    /// Voters that must hold an entry on the disk, the leader among them, before it is committed.
    pub writes: usize,
    /// Voters whose seals show every committed entry.
    pub seals: usize,
}

/// The rule of a set of so many voters; the same whatever `acks` says.
#[must_use]
pub const fn commit_rule(voters: usize) -> CommitRule {
    let writes = voters / 2 + 1;
    CommitRule { writes, seals: voters + 1 - writes }
}

/// The last index that enough voters of every set hold on the disk. The leader's own disk counts in the sets in which it
/// votes, and holds the entry in any case: that is why the seal of the last leader alone shows every commit.
pub fn quorum_index(configs: &[Config], own: LogIndex, held: impl Fn(ReplicaId) -> LogIndex) -> LogIndex {
    configs.iter().map(|config| held_by_enough(&config.voters, &held)).min().unwrap_or_default().min(own)
}

/// Whether a leader may let a new set of voters stand alone: enough of them, and its own disk, hold an entry of its own
/// epoch that lies at its commit index or behind it. So whoever that set elects sees all that was committed before.
pub fn confirms(
    config: Config,
    epoch_start: LogIndex,
    committed: LogIndex,
    own: LogIndex,
    held: impl Fn(ReplicaId) -> LogIndex,
) -> bool {
    quorum_index(&[config], own, held) >= epoch_start.max(committed)
}

fn held_by_enough(voters: &Voters, held: impl Fn(ReplicaId) -> LogIndex) -> LogIndex {
    let least = commit_rule(voters.count()).writes;
    // The sets are small: asking for each voter how many hold as much needs no sorting and no memory.
    let enough = |index: LogIndex| voters.iter().filter(|id| held(*id) >= index).count() >= least;
    voters.iter().map(&held).filter(|index| enough(*index)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::ConfigVersion;
    use super::*;

    fn config(version: u64, ids: &[u32]) -> Config {
        let voters = Voters::new(ids.iter().copied().map(ReplicaId)).unwrap();
        Config { version: ConfigVersion(version), voters }
    }

    fn held(indexes: &'static [u64]) -> impl Fn(ReplicaId) -> LogIndex {
        |id| LogIndex(indexes.get(usize::try_from(id.0).unwrap()).copied().unwrap_or(0))
    }

    #[test]
    fn writes_and_seals_of_any_set_meet_in_one_voter() {
        for voters in 1..=super::super::VOTERS_MAX {
            let CommitRule { writes, seals } = commit_rule(voters);
            assert_eq!(writes + seals, voters + 1);
            assert!(2 * writes > voters, "two leaders of two epochs meet, too");
        }
    }

    #[test]
    fn an_entry_is_committed_when_a_majority_of_every_set_and_the_leader_hold_it() {
        let cases: [(&[Config], u64, &'static [u64], u64); 7] = [
            (&[config(1, &[0])], 9, &[9], 9),
            (&[config(1, &[0, 1, 2])], 9, &[9, 0, 0], 0),
            (&[config(1, &[0, 1, 2])], 9, &[9, 4, 7], 7),
            (&[config(1, &[0, 1, 2])], 3, &[3, 8, 8], 3),
            (&[config(1, &[0, 1, 2, 3, 4])], 9, &[9, 8, 7, 6, 5], 7),
            (&[config(1, &[0, 1, 2]), config(2, &[0, 1, 2, 3])], 9, &[9, 8, 2, 1], 2),
            (&[config(1, &[1, 2, 3])], 9, &[9, 5, 0, 0], 0),
        ];
        for (configs, own, indexes, expected) in cases {
            assert_eq!(quorum_index(configs, LogIndex(own), held(indexes)), LogIndex(expected), "{configs:?}");
        }
    }

    #[test]
    fn a_new_set_stands_alone_only_when_it_holds_all_that_was_committed() {
        let new = config(2, &[0, 1, 3]);
        let confirm = |start, committed, indexes| {
            confirms(new, LogIndex(start), LogIndex(committed), LogIndex(9), held(indexes))
        };
        assert!(confirm(3, 5, &[9, 5, 9, 0]));
        assert!(!confirm(3, 5, &[9, 4, 9, 4]), "the newcomer and the follower lack what the old set committed");
        assert!(!confirm(6, 5, &[9, 5, 9, 5]), "nothing of this epoch yet");
    }
}
