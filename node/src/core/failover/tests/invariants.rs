//! The invariants of the protocol, by their numbers, as far as whoever elects keeps them; `docs/promises.md` lists the
//! tests of each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::stage::{SHARD, Stage, following, id, leading, voters};
use crate::core::failover::{Action, Input, Supervisor, Taste, Undecided, choose};
use crate::core::replication::{Phase, SealAnswer, ShardRow};
use crate::types::{RecordEpoch, ReplicaId};

/// What a supervisor has done, without what it was told.
fn seals(stage: &Stage) -> BTreeMap<ReplicaId, SealAnswer> {
    let answers = stage.answered.iter().filter_map(|input| match input {
        Input::Sealed { from, answer, .. } => Some((*from, (**answer).clone())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn i01_of_two_that_elect_in_one_epoch_the_first_write_counts_and_the_other_tells_what_it_says() {
    let mut stage = Stage::new();
    let sealing = stage.row().seal().unwrap();
    stage.record.insert(SHARD, sealing.clone());
    stage.tell(Input::Record(stage.record.clone()));
    // Another operator was faster, and chose somebody else on the same seals.
    let theirs = sealing.activate(id(2)).unwrap();
    let mut late = Stage::new();
    late.record.insert(SHARD, sealing);
    late.record_down = true;
    late.tell(Input::Watched(late.record.clone()));
    late.record.insert(SHARD, theirs.clone());
    late.record_down = false;
    late.node(2).role = leading(2);
    late.pass(4);
    assert_eq!(late.row(), &theirs);
    let orders = late.done.iter().filter_map(|action| match action {
        Action::Lead { to, epoch, .. } => Some((*to, *epoch)),
        _ => None,
    });
    assert!(orders.into_iter().all(|order| order == (id(2), RecordEpoch(2))), "{:?}", late.done);
}

#[test]
fn i04_the_seal_of_an_older_leader_alone_elects_nobody_and_that_of_the_last_one_does() {
    let mut row = ShardRow::first(voters(&[0, 1, 2]), id(0));
    row = row.seal().unwrap().activate(id(1)).unwrap().seal().unwrap();
    let mut stage = Stage::new();
    stage.record.insert(SHARD, row.clone());
    stage.tell(Input::Record(stage.record.clone()));
    let all = seals(&stage);
    let chosen = |sealed: u32| {
        let seals = all.clone().into_iter().filter(|(from, _)| *from == id(sealed)).collect();
        choose(&row, &seals, None, Duration::from_secs(9), |_| false, |_| Taste::default())
            .map(|choice| choice.leader)
    };
    assert_eq!(chosen(0), Err(Undecided::Missing(vec![id(1), id(2)])), "it led before the last one");
    assert_eq!(chosen(1), Ok(id(1)), "what is committed is on the last leader's disk");
}

#[test]
fn i04_a_damaged_voter_is_not_elected_and_its_seal_shows_nothing() {
    let row = ShardRow::first(voters(&[0, 1, 2]), id(0)).seal().unwrap();
    let chosen = |sealed: &[u32], damaged: u32| {
        let mut stage = Stage::new();
        stage.record.insert(SHARD, row.clone());
        stage.node(damaged).damaged = true;
        stage.node(damaged).end = 9;
        stage.tell(Input::Record(stage.record.clone()));
        let seals = seals(&stage).into_iter().filter(|(from, _)| sealed.contains(&from.0)).collect();
        choose(&row, &seals, None, Duration::from_secs(9), |_| false, |_| Taste::default())
            .map(|choice| choice.leader)
    };
    assert_eq!(chosen(&[1, 2], 1), Err(Undecided::Missing(vec![id(0), id(1)])));
    assert_eq!(chosen(&[0, 1, 2], 1), Ok(id(0)), "whatever end the damaged one has");
    assert_eq!(chosen(&[0], 0), Err(Undecided::Missing(vec![id(0), id(1), id(2)])), "the last leader, too");
    assert_eq!(chosen(&[1, 2], 0), Ok(id(1)));
}

#[test]
fn i05_a_leader_is_chosen_by_what_the_seals_say_and_not_by_what_was_said_before() {
    let mut stage = Stage::new();
    (stage.node(1).end, stage.node(2).end) = (7, 90);
    stage.pass(1);
    stage.node(0).up = false;
    // What was not on its disk is gone; and the seal of replica 1 is lost on its way.
    (stage.node(1).end, stage.node(2).end, stage.lost) = (9, 8, 2);
    stage.tell(Input::Ended(id(0)));
    stage.now += Duration::from_millis(400);
    stage.tell(Input::Tick(stage.now));
    assert_eq!(
        (stage.answered.len(), stage.row().phase),
        (1, Phase::Sealing),
        "one seal of three is too few"
    );
    stage.pass(1);
    assert_eq!(stage.row().leader(), Ok(id(1)));
}

#[test]
fn i06_a_winner_that_does_not_take_the_lead_is_replaced_by_another_failover() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    // Replica 1 has started again since its seal: it refuses every order of this epoch.
    stage.lost_orders = 40;
    stage.tell(Input::Ended(id(0)));
    assert_eq!((stage.row().epoch, stage.row().leader()), (RecordEpoch(2), Ok(id(1))));
    stage.pass(3);
    stage.lost_orders = 0;
    stage.pass(8);
    assert!(stage.row().epoch > RecordEpoch(2), "never led: {:?}", stage.row());
    let leader = stage.row().leader().unwrap();
    assert_eq!(stage.nodes[&leader].role, leading(stage.row().epoch.0));
}

#[test]
fn i12_every_change_of_the_record_follows_a_read_past_the_caches() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(4);
    stage.node(0).up = true;
    stage.node(0).role = following(0);
    stage.node(1).draining = true;
    stage.pass(4);
    let writes = stage.done.iter().filter(|action| matches!(action, Action::Write(_))).count();
    assert!(writes >= 4, "two failovers: {writes}");
    let mut read = false;
    for action in &stage.done {
        match action {
            Action::Read => read = true,
            Action::Write(_) => {
                assert!(std::mem::take(&mut read), "decided on rows that were not read for it")
            }
            _ => {}
        }
    }
}

#[test]
fn i13_an_outage_of_the_record_promotes_nobody_and_orders_nobody() {
    let mut stage = Stage::new();
    stage.done.clear();
    stage.record_down = true;
    // All that could be a reason, one after the other.
    stage.node(0).sick = true;
    stage.pass(10);
    stage.node(0).up = false;
    (stage.node(1).role, stage.node(2).role) = (following(9000), following(9000));
    stage.pass(10);
    let moves = stage.done.iter().filter(|action| !matches!(action, Action::Read | Action::Say(..)));
    assert_eq!(moves.count(), 0, "{:?}", stage.done);
}

#[test]
fn i15_a_shard_without_enough_seals_stays_sealed_says_whom_it_lacks_and_goes_on_by_itself() {
    let mut stage = Stage::new();
    let sealing = stage.row().seal().unwrap();
    [0, 1].iter().for_each(|number| stage.node(*number).up = false);
    stage.record.insert(SHARD, sealing.clone());
    stage.supervisor = Supervisor::new(0);
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(60);
    assert_eq!(stage.row(), &sealing, "one seal of three shows nothing, however long it takes");
    let blocked = crate::core::failover::Trouble::FailoverBlocked(vec![id(0), id(1)]);
    assert!(stage.done.contains(&Action::Say(SHARD, Some(blocked))));
    stage.node(1).up = true;
    stage.pass(2);
    assert!(stage.row().leader().is_ok() && stage.row().epoch == sealing.epoch);
}
