//! Who may lead next, from the seals of a shard's voters. Invariant: an election sees every committed entry, or does not
//! happen: enough seals of every set of voters that counts, or the seal of the last leader.

use super::commit_rule;
use crate::types::{Configs, Epoch, LogIndex, ReplicaId, Voters};

/// What a sealed voter has, as of its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// Who answered.
    pub replica: ReplicaId,
    /// The epoch of its last synced entry.
    pub last: Epoch,
    /// The index of its last synced entry.
    pub end: LogIndex,
}

/// Whether these seals show every entry that was ever committed. The last leader's disk holds all of them; every other
/// proof needs enough voters of *each* set, since the leader may have gone by any of them.
pub fn sees_every_commit(
    configs: &Configs,
    last_leader: Option<ReplicaId>,
    sealed: impl Fn(ReplicaId) -> bool,
) -> bool {
    let enough =
        |voters: &Voters| voters.iter().filter(|id| sealed(*id)).count() >= commit_rule(voters.count()).seals;
    last_leader.is_some_and(&sealed) || configs.as_slice().iter().all(|config| enough(&config.voters))
}

/// The sealed voters that have most, the epoch of the last entry first: all of them may lead, and the rest is taste.
pub fn winners<'a>(
    configs: &Configs,
    answers: impl Iterator<Item = &'a Sealed> + Clone,
) -> impl Iterator<Item = &'a Sealed> {
    let everybody = configs.everybody();
    let voting = answers.filter(move |answer| everybody.binary_search(&answer.replica).is_ok());
    let most = voting.clone().map(|answer| (answer.last, answer.end)).max();
    voting.filter(move |answer| Some((answer.last, answer.end)) == most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Boot, RecordEpoch};

    fn set(ids: &[u32]) -> Voters {
        Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
    }

    fn sees(configs: &Configs, last_leader: Option<u32>, sealed: &[u32]) -> bool {
        sees_every_commit(configs, last_leader.map(ReplicaId), |id| sealed.contains(&id.0))
    }

    #[test]
    fn an_election_needs_enough_seals_of_every_set_or_the_last_leader() {
        let one = Configs::first(set(&[0, 1, 2]));
        assert!(sees(&one, None, &[1, 2]));
        assert!(!sees(&one, None, &[1]));
        assert!(sees(&one, Some(1), &[1]), "what is committed is on the last leader's disk");
        let two = one.with_next(set(&[0, 1, 2, 3]));
        assert!(sees(&two, None, &[1, 2]), "two of three and two of four");
        assert!(!sees(&two, None, &[2, 3]), "two of four, but one of the three that may have committed");
        assert!(!sees(&two, Some(0), &[3]));
    }

    #[test]
    fn the_epoch_of_the_last_entry_counts_before_the_length_and_only_voters_are_asked() {
        let sealed = |id, record, end| Sealed {
            replica: ReplicaId(id),
            last: Epoch { record: RecordEpoch(record), boot: Boot(1) },
            end: LogIndex(end),
        };
        let configs = Configs::first(set(&[0, 1, 2]));
        let answers = [sealed(0, 1, 90), sealed(1, 2, 7), sealed(2, 2, 7), sealed(3, 9, 99)];
        let best: Vec<u32> = winners(&configs, answers.iter()).map(|answer| answer.replica.0).collect();
        assert_eq!(best, [1, 2]);
    }
}
