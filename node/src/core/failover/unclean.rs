//! Going on without enough seals: the one exception to "voters change one at a time", for a shard whose quorum is gone for good.
//! Somebody asks for it, once, for one epoch of one shard, and names the replica that leads then, by what it has. Invariant: it
//! is refused while an election could still see everything; and whoever did not answer never counts again.

use crate::core::replication::{ShardRow, commit_rule, sees_every_commit};
use crate::types::{RecordEpoch, ReplicaId};

/// Whether a replica is there, as far as a supervisor has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It answers.
    Answers {
        /// It cannot lead: something that is stored of the shard cannot be read, or it stopped by itself.
        damaged: bool,
    },
    /// It does not, for so long that it does not count, or it has plainly ended.
    Silent,
    /// It was not asked often enough to say.
    Unknown,
}

/// What becomes of a shard that goes on with one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclean {
    /// Its row: a new epoch, in which that replica alone votes, on its way to a leader.
    pub row: ShardRow,
    /// The voters that did not answer. What they alone hold is given up, so they count for nothing any more, for ever.
    pub barred: Vec<ReplicaId>,
}

/// Why a shard does not go on so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UncleanRefusal {
    /// Much may have happened since it was asked for.
    #[error("the shard is in epoch {0} now: look again, and ask for that one")]
    OtherEpoch(RecordEpoch),
    /// Who does not vote may lack anything.
    #[error("{0} does not vote for the shard")]
    NoVoter(ReplicaId),
    /// It was given up before.
    #[error("{0} is barred for ever")]
    Barred(ReplicaId),
    /// Nothing can be led by it.
    #[error("{0} does not answer")]
    Silent(ReplicaId),
    /// It lacks something, or cannot read it.
    #[error("{0} is damaged, or has stopped by itself")]
    Damaged(ReplicaId),
    /// An election loses nothing.
    #[error("enough voters answer to elect a leader without any loss")]
    Electable,
    /// Its disk has all that was ever committed.
    #[error("{0} led last and answers: it has everything, so ask for it")]
    LastLeaderAnswers(ReplicaId),
    /// It takes a few seconds to know who does not answer.
    #[error("it is not known yet whether {0:?} answer")]
    TooEarly(Vec<ReplicaId>),
}

/// Decides whether a shard goes on with `chosen`, in the epoch behind `epoch`.
pub fn unclean(
    row: &ShardRow,
    epoch: RecordEpoch,
    chosen: ReplicaId,
    is_barred: impl Fn(ReplicaId) -> bool,
    presence: impl Fn(ReplicaId) -> Presence,
) -> Result<Unclean, UncleanRefusal> {
    let everybody = row.configs.everybody();
    if row.epoch != epoch {
        return Err(UncleanRefusal::OtherEpoch(row.epoch));
    }
    if is_barred(chosen) {
        return Err(UncleanRefusal::Barred(chosen));
    }
    if !everybody.contains(&chosen) {
        return Err(UncleanRefusal::NoVoter(chosen));
    }
    // Whoever is barred counts as gone, whatever it says.
    let presence = |id| if is_barred(id) { Presence::Silent } else { presence(id) };
    let unknown: Vec<ReplicaId> =
        everybody.iter().copied().filter(|id| presence(*id) == Presence::Unknown).collect();
    if !unknown.is_empty() {
        return Err(UncleanRefusal::TooEarly(unknown));
    }
    match presence(chosen) {
        Presence::Answers { damaged: false } => {}
        Presence::Answers { damaged: true } => return Err(UncleanRefusal::Damaged(chosen)),
        Presence::Silent | Presence::Unknown => return Err(UncleanRefusal::Silent(chosen)),
    }
    let is_whole = |id| presence(id) == Presence::Answers { damaged: false };
    let enough_to_commit = row.configs.as_slice().iter().all(|config| {
        let voters = &config.voters;
        voters.iter().filter(|id| is_whole(*id)).count() >= commit_rule(voters.count()).writes
    });
    // Of an even number of voters half may elect and not commit: whom they elected has everything.
    let is_elected = row.leader() == Ok(chosen) && !enough_to_commit;
    if sees_every_commit(&row.configs, None, is_whole) && !is_elected {
        return Err(UncleanRefusal::Electable);
    }
    if chosen != row.last_leader && is_whole(row.last_leader) {
        return Err(UncleanRefusal::LastLeaderAnswers(row.last_leader));
    }
    let barred = everybody.into_iter().filter(|id| presence(*id) == Presence::Silent).collect();
    let row = row.go_on_with(chosen).ok_or(UncleanRefusal::NoVoter(chosen))?;
    Ok(Unclean { row, barred })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::replication::Phase;
    use crate::types::{ConfigVersion, Voters};

    const WHOLE: Presence = Presence::Answers { damaged: false };

    fn voters(ids: &[u32]) -> Voters {
        Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
    }

    /// Three voters in epoch 4; the first led last.
    fn row() -> ShardRow {
        let row = ShardRow::first(voters(&[0, 1, 2]), ReplicaId(0));
        ShardRow { epoch: RecordEpoch(4), ..row }
    }

    fn ask(row: &ShardRow, chosen: u32, present: &[Presence]) -> Result<Unclean, UncleanRefusal> {
        let presence = |id: ReplicaId| present[usize::try_from(id.0).unwrap()];
        unclean(row, RecordEpoch(4), ReplicaId(chosen), |_| false, presence)
    }

    #[test]
    fn a_shard_whose_quorum_is_gone_goes_on_with_the_one_that_was_named_in_a_new_epoch() {
        for row in [row(), ShardRow { phase: Phase::Sealing, ..row() }] {
            let Unclean { row, barred } = ask(&row, 2, &[Presence::Silent, Presence::Silent, WHOLE]).unwrap();
            assert_eq!(
                (row.epoch, row.phase, row.last_leader),
                (RecordEpoch(5), Phase::Sealing, ReplicaId(2))
            );
            assert_eq!((row.configs.last().version, row.configs.is_changing()), (ConfigVersion(2), false));
            assert_eq!(row.configs.everybody(), [ReplicaId(2)]);
            assert_eq!(barred, [ReplicaId(0), ReplicaId(1)]);
            assert!(row.activate(ReplicaId(2)).is_ok());
        }
    }

    #[test]
    fn a_shard_is_not_given_up_while_an_election_or_the_last_leader_has_everything() {
        let silent = Presence::Silent;
        assert_eq!(ask(&row(), 2, &[silent, WHOLE, WHOLE]), Err(UncleanRefusal::Electable));
        let led = UncleanRefusal::LastLeaderAnswers(ReplicaId(0));
        assert_eq!(ask(&row(), 2, &[WHOLE, silent, WHOLE]), Err(UncleanRefusal::Electable));
        assert_eq!(
            ask(&ShardRow { last_leader: ReplicaId(0), ..row() }, 2, &[WHOLE, silent, silent]),
            Err(UncleanRefusal::Silent(ReplicaId(2)))
        );
        let five = ShardRow { configs: crate::types::Configs::first(voters(&[0, 1, 2, 3, 4])), ..row() };
        assert_eq!(ask(&five, 2, &[WHOLE, silent, WHOLE, silent, silent]), Err(led));
        let barred = ask(&five, 0, &[WHOLE, silent, WHOLE, silent, silent]).unwrap().barred;
        assert_eq!(barred, [1, 3, 4].map(ReplicaId), "who answers is not barred");
        // Two of four may elect, and commit nothing.
        let four = ShardRow { configs: crate::types::Configs::first(voters(&[0, 1, 2, 3])), ..row() };
        let halves = [WHOLE, WHOLE, silent, silent];
        assert_eq!(ask(&four, 1, &halves), Err(UncleanRefusal::Electable));
        assert!(ask(&four, 0, &halves).is_ok());
    }

    #[test]
    fn a_request_holds_for_one_epoch_and_a_voter_that_is_whole_and_was_never_barred() {
        let gone = [Presence::Silent, Presence::Silent, WHOLE];
        let presence = |id: ReplicaId| gone[usize::try_from(id.0).unwrap()];
        let later = ShardRow { epoch: RecordEpoch(5), ..row() };
        assert_eq!(ask(&later, 2, &gone), Err(UncleanRefusal::OtherEpoch(RecordEpoch(5))));
        let barred = unclean(&row(), RecordEpoch(4), ReplicaId(2), |id| id == ReplicaId(2), presence);
        assert_eq!(barred, Err(UncleanRefusal::Barred(ReplicaId(2))));
        let changed = ShardRow { configs: crate::types::Configs::first(voters(&[0, 1])), ..row() };
        assert_eq!(ask(&changed, 2, &gone), Err(UncleanRefusal::NoVoter(ReplicaId(2))));
        assert_eq!(ask(&row(), 1, &gone), Err(UncleanRefusal::Silent(ReplicaId(1))));
        let damaged = Presence::Answers { damaged: true };
        let spoilt = [Presence::Silent, Presence::Silent, damaged];
        assert_eq!(ask(&row(), 2, &spoilt), Err(UncleanRefusal::Damaged(ReplicaId(2))));
    }

    #[test]
    fn nobody_is_given_up_before_it_is_known_that_it_does_not_answer() {
        let early = [Presence::Silent, Presence::Unknown, WHOLE];
        assert_eq!(ask(&row(), 2, &early), Err(UncleanRefusal::TooEarly(vec![ReplicaId(1)])));
    }

    #[test]
    fn whoever_was_barred_for_another_shard_counts_for_none_whatever_it_says() {
        let presence = |_| WHOLE;
        let barred = |id: ReplicaId| id != ReplicaId(2);
        let outcome = unclean(&row(), RecordEpoch(4), ReplicaId(2), barred, presence).unwrap();
        assert_eq!(outcome.barred, [ReplicaId(0), ReplicaId(1)]);
    }
}
