//! Whom the supervisor suspects, and of what it takes no notice.

use std::time::Duration;

use super::stage::{SHARD, Stage, following, hung, id, leading};
use crate::core::failover::{Action, Input, Reason, RoleSeen, Trouble};
use crate::types::{ConfigVersion, RecordEpoch};

fn reason(stage: &Stage) -> Option<Reason> {
    stage.done.iter().find_map(|action| match action {
        Action::Moved { reason, .. } => *reason,
        _ => None,
    })
}

#[test]
fn a_leader_whose_process_has_ended_is_replaced_at_once() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    assert_eq!(stage.row().epoch, RecordEpoch(2));
    assert_eq!(stage.row().leader(), Ok(id(1)));
    assert_eq!(reason(&stage), Some(Reason::Ended));
}

#[test]
fn a_leader_that_only_the_operator_does_not_hear_goes_on_leading() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.pass(40);
    assert_eq!(stage.row().epoch, RecordEpoch(1));
    assert_eq!(stage.sealed(), 0);
    let said = stage.done.iter().filter(|action| matches!(action, Action::Say(..))).count();
    assert_eq!(said, 1, "it is said once, not each time");
    assert!(stage.done.contains(&Action::Say(SHARD, Some(Trouble::LeaderUnreachable(id(0))))));
    stage.node(0).up = true;
    stage.pass(0);
    assert_eq!(stage.done.last(), Some(&Action::Say(SHARD, None)));
}

#[test]
fn a_leader_that_neither_the_operator_nor_enough_voters_hear_is_replaced() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.node(1).role = following(5000);
    stage.pass(10);
    assert_eq!(stage.row().epoch, RecordEpoch(1), "one of three still hears it");
    stage.node(2).role = following(5000);
    stage.pass(1);
    assert_eq!(stage.row().epoch, RecordEpoch(2));
    assert_eq!(reason(&stage), Some(Reason::Silent));
}

#[test]
fn a_voter_that_still_leads_an_earlier_epoch_does_not_hear_the_leader() {
    let mut stage = Stage::new();
    let row = stage.row().seal().unwrap().activate(id(0)).unwrap();
    stage.record.insert(SHARD, row);
    stage.tell(Input::Record(stage.record.clone()));
    stage.node(0).up = false;
    stage.node(1).role = leading(1);
    stage.node(2).role = following(5000);
    stage.pass(6);
    assert_eq!(stage.row().epoch, RecordEpoch(3), "its disk was lost before it could lead");
    assert_eq!(reason(&stage), Some(Reason::Silent));
}

#[test]
fn a_leader_says_itself_that_it_is_sick_or_that_its_disk_hangs() {
    let mut sick = Stage::new();
    sick.node(0).sick = true;
    sick.pass(1);
    assert_eq!(reason(&sick), Some(Reason::Sick));
    let mut waits = Stage::new();
    waits.node(0).role = hung(3);
    waits.pass(1);
    assert_eq!(reason(&waits), Some(Reason::Hung));
}

/// How often it was said that writes wait, and that this is over.
fn stuck(stage: &Stage) -> (usize, usize) {
    let said = |wanted: Action| stage.done.iter().filter(|action| **action == wanted).count();
    (said(Action::Say(SHARD, Some(Trouble::LeaderStuck(id(0))))), said(Action::Say(SHARD, None)))
}

#[test]
fn a_leader_whose_writes_wait_is_left_alone_while_too_few_others_could_elect_another() {
    for make in
        [|stage: &mut Stage| stage.node(0).role = hung(3), |stage: &mut Stage| stage.node(0).sick = true]
    {
        let mut stage = Stage::new();
        stage.node(1).up = false;
        stage.pass(4);
        make(&mut stage);
        stage.node(0).deaf = true;
        stage.pass(200);
        assert_eq!((stage.row().epoch, stage.sealed()), (RecordEpoch(1), 0), "its own seal would be needed");
        assert_eq!(stuck(&stage), (1, 0), "it is said once");
        stage.node(1).up = true;
        stage.pass(1);
        assert_eq!((stage.row().epoch, stage.row().leader()), (RecordEpoch(2), Ok(id(1))));
        assert_eq!(stuck(&stage), (1, 1));
    }
}

#[test]
fn a_leader_whose_writes_wait_is_not_replaced_by_those_that_lack_what_is_committed_or_hang_as_well() {
    let mut behind = Stage::new();
    (behind.node(1).end, behind.node(2).end) = (3, 0);
    behind.pass(0);
    behind.node(0).deaf = true;
    behind.node(0).role = hung(3);
    behind.pass(20);
    assert_eq!((behind.row().epoch, stuck(&behind)), (RecordEpoch(1), (1, 0)), "both are being seeded");
    behind.node(1).end = 7;
    behind.pass(1);
    assert_eq!(behind.row().leader(), Ok(id(1)));
    let mut sick = Stage::new();
    sick.node(1).sick = true;
    sick.pass(0);
    sick.node(0).role = hung(3);
    sick.pass(20);
    assert_eq!((sick.row().epoch, stuck(&sick)), (RecordEpoch(1), (1, 0)));
}

#[test]
fn a_leader_that_waits_for_full_voters_leads_on_and_one_whose_lane_hangs_is_replaced_by_them() {
    let mut stage = Stage::new();
    (stage.node(1).full, stage.node(2).full) = (true, true);
    stage.pass(0);
    (stage.node(0).role, stage.node(0).end) = (hung(3), 9);
    stage.pass(20);
    assert_eq!((stage.row().epoch, stuck(&stage)), (RecordEpoch(1), (1, 0)));
    (stage.node(0).sick, stage.node(0).deaf) = (true, true);
    stage.pass(1);
    assert_eq!((stage.row().leader(), reason(&stage)), (Ok(id(1)), Some(Reason::Sick)));
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced_though_the_others_lack_what_it_has_not_committed() {
    let mut stage = Stage::new();
    (stage.node(0).end, stage.node(0).role) = (5_000, hung(3));
    // Its disk takes no promise.
    stage.node(0).deaf = true;
    stage.pass(1);
    assert_eq!((stage.row().leader(), reason(&stage)), (Ok(id(1)), Some(Reason::Hung)));
}

#[test]
fn a_leader_of_the_record_that_says_it_does_not_lead_is_replaced_after_a_second() {
    let mut stage = Stage::new();
    stage.node(0).role = following(0);
    stage.pass(0);
    assert_eq!(stage.row().epoch, RecordEpoch(1), "an order may be on its way");
    stage.pass(2);
    assert_eq!(reason(&stage), Some(Reason::NotLeading));
}

#[test]
fn a_leader_of_another_epoch_than_the_records_does_not_count_as_its_leader() {
    let mut stage = Stage::new();
    stage.node(0).role = leading(0);
    stage.pass(4);
    assert_eq!(reason(&stage), Some(Reason::NotLeading));
}

#[test]
fn a_shard_that_is_held_down_says_once_for_how_long_and_that_it_is_over() {
    let mut stage = Stage::new();
    let fails = |stage: &mut Stage| {
        let Ok(leader) = stage.row().leader() else { panic!("nobody leads") };
        stage.node(leader.0).up = false;
        stage.tell(Input::Ended(leader));
        leader
    };
    let held = |stage: &Stage| -> Vec<(u64, u32)> {
        let said = stage.done.iter().filter_map(|action| match action {
            Action::Say(SHARD, Some(Trouble::HeldDown { wait, failovers })) => {
                Some((wait.as_secs(), *failovers))
            }
            _ => None,
        });
        said.collect()
    };
    for round in 0..5 {
        let leader = fails(&mut stage);
        // Ten seconds are longer than the waits until then.
        stage.pass(9);
        stage.node(leader.0).up = true;
        stage.pass(9);
        assert_eq!(stage.row().epoch, RecordEpoch(round + 2));
    }
    assert_eq!(held(&stage), [], "each waited for longer than that since the one before");
    fails(&mut stage);
    stage.pass(5);
    assert_eq!((stage.row().epoch, held(&stage)), (RecordEpoch(6), vec![(16, 5)]));
    let over =
        |stage: &Stage| stage.done.iter().filter(|action| **action == Action::Say(SHARD, None)).count();
    assert_eq!(over(&stage), 0);
    stage.pass(13);
    assert_eq!((stage.row().epoch, held(&stage).len(), over(&stage)), (RecordEpoch(7), 1, 1));
}

#[test]
fn a_leader_that_drains_hands_over_to_one_that_has_all_it_has() {
    let mut stage = Stage::new();
    stage.node(0).draining = true;
    stage.node(0).end = 100_000;
    stage.pass(2);
    assert_eq!(stage.row().epoch, RecordEpoch(1), "the others lack too much");
    stage.node(1).end = 100_000;
    stage.pass(2);
    assert_eq!(stage.row().leader(), Ok(id(1)));
    assert_eq!(reason(&stage), Some(Reason::Draining));
}

#[test]
fn a_leader_that_cannot_read_all_hands_over_to_one_that_can_and_leads_on_while_there_is_none() {
    let mut stage = Stage::new();
    (stage.node(1).rotten, stage.node(2).rotten) = (true, true);
    stage.pass(1);
    stage.node(0).rotten = true;
    stage.pass(2);
    assert_eq!(stage.row().epoch, RecordEpoch(1), "nobody is better off");
    stage.node(2).rotten = false;
    stage.pass(2);
    assert_eq!(stage.row().leader(), Ok(id(2)), "the first of the others is damaged, too");
    assert_eq!(reason(&stage), Some(Reason::Damaged));
    let asked = stage.done.iter().any(|action| matches!(action, Action::HandOver { .. }));
    assert!(asked, "its successor had everything before the shard was sealed");
}

#[test]
fn a_leader_that_serves_nothing_hands_over_to_one_that_serves_what_it_can_read_and_not_the_other_way() {
    let mut stage = Stage::new();
    (stage.node(1).rotten, stage.node(2).rotten, stage.node(1).refuses) = (true, true, true);
    stage.pass(1);
    stage.node(0).rotten = true;
    stage.pass(3);
    assert_eq!(stage.row().epoch, RecordEpoch(1), "nobody is better off");
    stage.node(0).refuses = true;
    stage.pass(3);
    assert_eq!(stage.row().leader(), Ok(id(2)), "the first of the others serves nothing, either");
    assert_eq!(reason(&stage), Some(Reason::Damaged));
    let epoch = stage.row().epoch;
    stage.pass(3);
    assert_eq!(stage.row().epoch, epoch, "and that is not undone");
}

#[test]
fn a_damaged_leader_that_nobody_relieves_is_asked_ever_more_rarely_and_spoken_of_once() {
    let mut stage = Stage::new();
    (stage.nobody_catches_up, stage.node(0).rotten, stage.node(0).end) = (true, true, 9);
    let asked = |stage: &Stage| {
        let hand_overs = stage.done.iter().filter(|action| matches!(action, Action::HandOver { .. }));
        hand_overs.count()
    };
    let said = |stage: &Stage| {
        let spoken = Action::Say(SHARD, Some(Trouble::LeaderDamaged(id(0))));
        stage.done.iter().filter(|action| **action == spoken).count()
    };
    stage.pass(50);
    assert_eq!((asked(&stage), said(&stage)), (4, 0), "after 0, 3, 9 and 21 s");
    // A successor that comes and goes does not make it begin again.
    stage.node(0).end = 9_000;
    stage.pass(2);
    stage.node(0).end = 9;
    stage.pass(68);
    assert_eq!((asked(&stage), said(&stage)), (5, 1), "after 45 s");
    assert_eq!(stage.row().epoch, RecordEpoch(1));
    stage.node(0).rotten = false;
    stage.pass(0);
    assert_eq!(stage.done.last(), Some(&Action::Say(SHARD, None)));
}

#[test]
fn a_leader_that_drains_hands_over_to_a_damaged_voter_rather_than_to_nobody() {
    let mut stage = Stage::new();
    (stage.node(0).draining, stage.node(1).rotten) = (true, true);
    // The third one lacks too much.
    (stage.node(0).end, stage.node(1).end) = (100_000, 100_000);
    stage.pass(3);
    assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)));
    assert_eq!(reason(&stage), Some(Reason::Draining));
    stage.pass(8);
    assert_eq!(stage.row().epoch, RecordEpoch(2), "and that is not undone");
    let mut choosy = Stage::new();
    (choosy.node(0).draining, choosy.node(1).rotten) = (true, true);
    choosy.pass(3);
    assert_eq!(choosy.row().leader(), Ok(id(2)), "a sound one is the better one");
}

#[test]
fn a_shard_is_sealed_for_a_hand_over_only_once_another_voter_has_everything() {
    let mut stage = Stage::new();
    (stage.nobody_catches_up, stage.node(0).draining) = (true, true);
    // The successor is near and never quite there, as under load; the leader would be elected again for its longer log.
    stage.node(0).end = 9;
    stage.pass(8);
    let asked = |stage: &Stage| {
        let hand_overs = stage.done.iter().filter(|action| matches!(action, Action::HandOver { .. }));
        hand_overs.count()
    };
    assert_eq!((stage.row().epoch, asked(&stage)), (RecordEpoch(1), 2), "asked again, but not all the time");
    stage.nobody_catches_up = false;
    stage.pass(6);
    assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)));
}

#[test]
fn a_word_that_comes_after_its_time_seals_nothing() {
    let mut stage = Stage::new();
    (stage.nobody_catches_up, stage.node(0).draining, stage.node(0).end) = (true, true, 9);
    stage.pass(1);
    stage.now += Duration::from_millis(600);
    stage.tell(Input::Tick(stage.now));
    stage.tell(Input::CaughtUp { shard: SHARD, epoch: RecordEpoch(1) });
    assert_eq!(stage.row().epoch, RecordEpoch(1), "its writers were let go");
}

#[test]
fn nobody_hands_over_to_one_that_drains_as_well() {
    let mut stage = Stage::new();
    (1..3).for_each(|number| stage.node(number).draining = true);
    stage.pass(0);
    stage.node(0).draining = true;
    stage.pass(8);
    assert_eq!(stage.row().epoch, RecordEpoch(1));
}

#[test]
fn a_leader_that_enough_voters_do_not_hear_hands_over() {
    let mut stage = Stage::new();
    stage.node(1).role = following(1500);
    stage.node(2).role = following(1500);
    stage.pass(2);
    assert_eq!(stage.row().epoch, RecordEpoch(1));
    stage.node(1).role = following(2500);
    stage.node(2).role = following(2500);
    // It has the entry with which its epoch began, and nobody else has.
    stage.node(0).end = 8;
    stage.pass(2);
    assert_eq!(reason(&stage), Some(Reason::CutOff));
    assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)));
    stage.node(0).role = following(60_000);
    stage.pass(20);
    assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)), "and that holds");
}

#[test]
fn a_leader_that_is_sick_or_hangs_and_is_sealed_all_the_same_does_not_lead_again() {
    for make in
        [|stage: &mut Stage| stage.node(0).role = hung(3), |stage: &mut Stage| stage.node(0).sick = true]
    {
        let mut stage = Stage::new();
        stage.node(0).end = 9;
        make(&mut stage);
        stage.pass(2);
        assert_eq!((stage.row().leader(), stage.row().epoch), (Ok(id(1)), RecordEpoch(2)));
    }
}

#[test]
fn what_a_leader_has_confirmed_gets_into_the_record() {
    let mut stage = Stage::new();
    let changed = stage.row().change(super::stage::voters(&[0, 1])).unwrap();
    stage.record.insert(SHARD, changed.clone());
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(0);
    let told = stage.done.iter().any(|action| {
        matches!(action, Action::Configure { to, configs, .. } if *to == id(0) && *configs == changed.configs)
    });
    assert!(told, "a leader is told of the sets that it does not go by");
    stage.node(0).role = match leading(1) {
        RoleSeen::Leading { epoch, open, waiting, committed, .. } => {
            let (newest, oldest) = (ConfigVersion(2), ConfigVersion(2));
            RoleSeen::Leading { epoch, open, waiting, committed, newest, oldest }
        }
        other => other,
    };
    stage.pass(1);
    assert_eq!(stage.row().configs.oldest().version, ConfigVersion(2));
}
