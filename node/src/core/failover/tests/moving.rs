//! How a shard gets another leader.

use std::collections::BTreeMap;
use std::time::Duration;

use super::stage::{SHARD, Stage, id, voters};
use crate::core::failover::{Action, Choice, Input, Reason, Taste, Trouble, Undecided, choose};
use crate::core::replication::{Phase, SealAnswer, ShardRow};
use crate::types::{LogIndex, RecordEpoch, ReplicaId, ShardId};

#[test]
fn nobody_is_sealed_while_too_few_voters_answer() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.node(1).up = false;
    stage.pass(8);
    stage.tell(Input::Ended(id(0)));
    stage.pass(8);
    assert_eq!((stage.row().epoch, stage.sealed()), (RecordEpoch(1), 0));
    let blocked = Trouble::FailoverBlocked(vec![id(0), id(1)]);
    assert!(stage.done.contains(&Action::Say(SHARD, Some(blocked))));
    stage.node(1).up = true;
    stage.pass(1);
    assert_eq!(stage.row().epoch, RecordEpoch(2), "ends by itself when they answer");
}

#[test]
fn whoever_has_most_leads_next() {
    let mut stage = Stage::new();
    (stage.node(0).end, stage.node(0).committed) = (9, 9);
    stage.node(1).end = 8;
    (stage.node(2).end, stage.node(2).committed) = (9, 8);
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(1);
    assert_eq!(stage.row().leader(), Ok(id(2)));
}

#[test]
fn among_equals_those_that_are_sick_or_drain_or_lead_more_come_last() {
    let elected = |change: fn(&mut Stage)| {
        let mut stage = Stage::new();
        change(&mut stage);
        stage.pass(0);
        stage.node(0).up = false;
        stage.tell(Input::Ended(id(0)));
        stage.pass(1);
        stage.row().leader()
    };
    assert_eq!(elected(|_| {}), Ok(id(1)));
    assert_eq!(elected(|stage| stage.node(1).draining = true), Ok(id(2)));
    assert_eq!(elected(|stage| stage.node(1).sick = true), Ok(id(2)));
    let both = |stage: &mut Stage| (stage.node(1).draining, stage.node(2).sick) = (true, true);
    assert_eq!(elected(both), Ok(id(1)), "one that drains serves until it ends");
}

#[test]
fn the_shards_of_one_node_go_to_several_others() {
    let mut stage = Stage::new();
    let rows = (0..4).map(|number| (ShardId(number), ShardRow::first(voters(&[0, 1, 2]), id(0))));
    stage.record = rows.collect();
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(1);
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(1);
    let leaders: Vec<ReplicaId> = stage.record.values().flat_map(ShardRow::leader).collect();
    assert_eq!(leaders, [id(1), id(2), id(1), id(2)]);
}

#[test]
fn an_election_that_would_lose_a_commit_stops() {
    let mut stage = Stage::new();
    stage.node(1).committed = 8;
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(4);
    assert_eq!(stage.row().phase, Phase::Sealing);
    let trouble = Trouble::ElectionBelowCommit { committed: LogIndex(8), end: LogIndex(7) };
    assert!(stage.done.contains(&Action::Say(SHARD, Some(trouble))));
}

#[test]
fn without_the_record_nothing_moves_and_nobody_is_sealed() {
    let mut stage = Stage::new();
    stage.record_down = true;
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(20);
    assert_eq!((stage.row().epoch, stage.sealed()), (RecordEpoch(1), 0));
    assert!(stage.done.iter().filter(|action| **action == Action::Read).count() > 3, "it asks again");
    stage.record_down = false;
    stage.pass(5);
    assert_eq!(stage.row().leader(), Ok(id(1)));
}

#[test]
fn a_sealing_that_another_began_is_joined_and_not_begun_again() {
    let mut stage = Stage::new();
    let sealing = stage.row().seal().unwrap();
    stage.record.insert(SHARD, sealing);
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(2);
    assert_eq!(stage.row().epoch, RecordEpoch(2));
    assert!(stage.row().leader().is_ok());
    let moved = stage.done.iter().filter(|action| matches!(action, Action::Moved { .. })).count();
    assert_eq!(moved, 1);
}

#[test]
fn what_is_lost_on_the_way_is_asked_and_ordered_again() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    (stage.lost, stage.lost_orders) = (4, 1);
    stage.tell(Input::Ended(id(0)));
    stage.pass(4);
    assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)));
    assert_eq!(stage.nodes[&id(1)].role, super::stage::leading(2), "the second order arrived");
}

#[test]
fn an_older_record_that_comes_late_changes_nothing() {
    let mut stage = Stage::new();
    let old = stage.record.clone();
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(2);
    stage.done.clear();
    stage.tell(Input::Record(old));
    stage.pass(4);
    assert_eq!(stage.done, []);
}

#[test]
fn what_a_cache_shows_is_looked_at_and_not_decided_on() {
    let mut stage = Stage::new();
    let known = stage.record.clone();
    let sealing = BTreeMap::from([(SHARD, stage.row().seal().unwrap())]);
    stage.record_down = true;
    stage.done.clear();
    stage.tell(Input::Watched(sealing.clone()));
    assert_eq!(stage.sealed(), 3, "a sealing that others began is joined");
    stage.pass(2);
    let writes = stage.done.iter().filter(|action| matches!(action, Action::Write(_))).count();
    assert_eq!(writes, 0);
    assert!(stage.done.contains(&Action::Read), "it is read anew before anything is written");
    (stage.record, stage.record_down) = (sealing, false);
    stage.pass(8);
    assert_eq!(stage.row().epoch, RecordEpoch(2));
    let row = stage.row().clone();
    stage.done.clear();
    stage.tell(Input::Watched(known));
    let mut changed = stage.record.clone();
    changed.insert(SHARD, row.change(voters(&[0, 1])).unwrap());
    stage.tell(Input::Watched(changed));
    stage.tell(Input::Watched(stage.record.clone()));
    stage.pass(0);
    let told = |action: &Action| matches!(action, Action::Configure { .. });
    assert!(stage.done.iter().any(told), "an older row of the same epoch is known for what it is");
}

#[test]
fn seals_of_another_epoch_elect_nobody() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    let old: Vec<Input> = stage.answered.clone();
    assert!(!old.is_empty());
    let mut row = stage.row().clone();
    row = row.activate(id(1)).unwrap_or(row).seal().unwrap();
    let mut late = Stage::new();
    late.nodes.values_mut().for_each(|node| node.up = false);
    late.record.insert(SHARD, row.clone());
    late.tell(Input::Record(late.record.clone()));
    old.into_iter().for_each(|answer| late.tell(answer));
    late.pass(4);
    assert_eq!(late.row(), &row);
}

#[test]
fn a_row_that_changed_meanwhile_is_decided_anew() {
    let mut stage = Stage::new();
    stage.record_down = true;
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    // Another operator was faster, and somebody leads epoch 3 already.
    let row = stage.row().seal().unwrap().activate(id(2)).unwrap().seal().unwrap().activate(id(1)).unwrap();
    stage.record.insert(SHARD, row.clone());
    stage.node(1).role = super::stage::leading(3);
    stage.record_down = false;
    stage.pass(8);
    assert_eq!(stage.row(), &row);
}

#[test]
fn an_operator_of_higher_rank_waits_longer() {
    let mut stage = Stage::new();
    stage.supervisor = crate::core::failover::Supervisor::new(3);
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(0);
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(1);
    assert_eq!(stage.row().epoch, RecordEpoch(1));
    stage.pass(3);
    assert_eq!(stage.row().epoch, RecordEpoch(2));
}

#[test]
fn a_winner_outside_the_newest_set_becomes_a_voter_of_it() {
    let mut stage = Stage::new();
    let changed = stage.row().change(voters(&[0, 1])).unwrap();
    stage.record.insert(SHARD, changed);
    stage.tell(Input::Record(stage.record.clone()));
    (stage.node(2).end, stage.node(2).committed) = (9, 9);
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(2);
    assert_eq!(stage.row().leader(), Ok(id(2)));
    assert!(stage.row().configs.last().voters.contains(id(2)));
}

fn chosen(row: &ShardRow, seals: &BTreeMap<ReplicaId, SealAnswer>) -> Result<Choice, Undecided> {
    choose(row, seals, None, Duration::ZERO, |_| false, |_| Taste::default())
}

/// What everybody has answered.
fn seals(stage: &Stage) -> BTreeMap<ReplicaId, SealAnswer> {
    let answers = stage.answered.iter().filter_map(|input| match input {
        Input::Sealed { from, answer, .. } => Some((*from, (**answer).clone())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_voter_that_may_still_answer_is_waited_for_and_one_whose_process_ended_is_not() {
    let mut stage = Stage::new();
    let row = stage.row().seal().unwrap();
    stage.record.insert(SHARD, row.clone());
    stage.tell(Input::Record(stage.record.clone()));
    let mut seals = seals(&stage);
    seals.remove(&id(0));
    let choice = |gone: &[ReplicaId]| {
        let chosen =
            choose(&row, &seals, None, Duration::ZERO, |id| gone.contains(&id), |_| Taste::default());
        chosen.map(|choice| choice.leader)
    };
    assert_eq!(choice(&[]), Err(Undecided::Stragglers));
    assert_eq!(choice(&[id(1)]), Err(Undecided::Stragglers), "an end of somebody who has answered");
    assert_eq!(choice(&[id(0)]), Ok(id(1)));
}

#[test]
fn a_relieved_leader_leads_again_only_when_enough_others_are_not_sealed_in_a_second() {
    let mut stage = Stage::new();
    let row = stage.row().seal().unwrap();
    stage.node(0).end = 9;
    stage.record.insert(SHARD, row.clone());
    stage.tell(Input::Record(stage.record.clone()));
    let all = seals(&stage);
    let choice = |row: &ShardRow, sealed: &[u32], reason, waited, gone: &[ReplicaId]| {
        let seals = all.clone().into_iter().filter(|(from, _)| sealed.contains(&from.0)).collect();
        let waited = Duration::from_millis(waited);
        let is_gone = |id| gone.contains(&id);
        choose(row, &seals, reason, waited, is_gone, |_| Taste::default()).map(|choice| choice.leader)
    };
    for reason in [Reason::CutOff, Reason::Hung, Reason::Sick].map(Some) {
        assert_eq!(choice(&row, &[0, 1, 2], reason, 0, &[]), Ok(id(1)), "what the others have is enough");
        assert_eq!(choice(&row, &[1, 2], reason, 0, &[]), Ok(id(1)), "it is not waited for");
        assert_eq!(choice(&row, &[0, 1], reason, 999, &[]), Err(Undecided::Stragglers));
        assert_eq!(choice(&row, &[0, 1], reason, 0, &[id(2)]), Ok(id(0)), "nobody else can come");
        assert_eq!(choice(&row, &[0, 1], reason, 1000, &[]), Ok(id(0)), "better than nobody");
    }
    for reason in [None, Some(Reason::Silent), Some(Reason::Draining)] {
        assert_eq!(choice(&row, &[0, 1, 2], reason, 0, &[]), Ok(id(0)), "{reason:?}");
    }
    // Enough of the new set, and too few of the old one, which may have committed something without them.
    let configs = row.configs.with_next(voters(&[0, 1, 2, 3])).with_next(voters(&[0, 2, 3]));
    let changing = ShardRow { configs, ..row };
    let mut with_three = all.clone();
    with_three.insert(id(3), all[&id(2)].clone());
    let chosen = |sealed: &[u32]| {
        let seals = with_three.clone().into_iter().filter(|(from, _)| sealed.contains(&from.0)).collect();
        let choice =
            choose(&changing, &seals, Some(Reason::CutOff), Duration::ZERO, |_| false, |_| Taste::default());
        choice.map(|choice| choice.leader)
    };
    assert_eq!(chosen(&[0, 2, 3]), Err(Undecided::Stragglers));
    assert_eq!(chosen(&[0, 1, 2, 3]), Ok(id(1)));
}

#[test]
fn an_election_whose_epoch_has_entries_already_is_over_and_nobody_is_called_short_of_a_commit() {
    let mut stage = Stage::new();
    let row = stage.row().seal().unwrap();
    stage.record.insert(SHARD, row.clone());
    stage.tell(Input::Record(stage.record.clone()));
    let mut seals = seals(&stage);
    // Another one elected from the same seals; what was sealed before follows by now, and says so when it is asked again.
    let again = seals.get_mut(&id(0)).unwrap();
    again.standing.last.record = row.epoch;
    again.standing.end = LogIndex(again.standing.end.0 + 3);
    again.committed = again.standing.end;
    for reason in [Reason::CutOff, Reason::Hung, Reason::Sick].map(Some) {
        let chosen = choose(&row, &seals, reason, Duration::ZERO, |_| false, |_| Taste::default());
        assert_eq!(chosen, Err(Undecided::NotSealing), "{reason:?}");
    }
}

#[test]
fn an_end_elects_nobody_while_too_few_voters_are_sealed() {
    let row = Stage::new().row().seal().unwrap();
    let chosen = choose(&row, &BTreeMap::new(), None, Duration::ZERO, |_| true, |_| Taste::default());
    assert_eq!(chosen, Err(Undecided::Missing(vec![id(0), id(1), id(2)])));
}

#[test]
fn a_seal_of_another_epoch_or_of_somebody_who_does_not_vote_counts_for_nothing() {
    let row = Stage::new().row().seal().unwrap();
    let mut sealing = Stage::new();
    sealing.record.insert(SHARD, row.clone());
    sealing.tell(Input::Record(sealing.record.clone()));
    let seals = seals(&sealing);
    assert!(chosen(&row, &seals).is_ok());
    let later = row.activate(id(0)).unwrap().seal().unwrap();
    assert_eq!(chosen(&later, &seals), Err(Undecided::Missing(vec![id(0), id(1), id(2)])));
    let strangers = seals.into_iter().map(|(replica, seal)| (id(replica.0 + 7), seal)).collect();
    assert_eq!(chosen(&row, &strangers), Err(Undecided::Missing(vec![id(0), id(1), id(2)])));
}
