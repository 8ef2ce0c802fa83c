//! The rows of the table of hazards that whoever elects meets. What only an operator can meet (objects of Kubernetes, their
//! versions and finalizers) waits for it; here stands what the decision does about the same.

use std::time::Duration;

use super::stage::{SHARD, Stage, id, leading};
use crate::core::failover::{Action, Input, Supervisor};
use crate::core::replication::Phase;
use crate::types::RecordEpoch;

/// Another operator takes over, with nothing but what the record says.
fn takes_over(stage: &mut Stage) {
    stage.supervisor = Supervisor::new(0);
    stage.tell(Input::Tick(stage.now));
    stage.tell(Input::Record(stage.record.clone()));
}

fn writes(stage: &Stage) -> usize {
    stage.done.iter().filter(|action| matches!(action, Action::Write(_))).count()
}

#[test]
fn hazard_stale_cache_that_shows_an_older_leader_begins_nothing_and_takes_nothing_back() {
    let mut stage = Stage::new();
    let old = stage.record.clone();
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    stage.pass(2);
    let row = stage.row().clone();
    assert_eq!((row.epoch, row.leader()), (RecordEpoch(2), Ok(id(1))));
    // An operator that starts again is shown, by another API server, how it was before.
    stage.supervisor = Supervisor::new(0);
    stage.record_down = true;
    stage.done.clear();
    stage.tell(Input::Watched(old));
    stage.pass(2);
    stage.tell(Input::Ended(id(0)));
    stage.pass(6);
    assert_eq!((writes(&stage), stage.sealed()), (0, 0), "{:?}", stage.done);
    assert!(stage.done.contains(&Action::Read), "it looks before it does anything");
    stage.record_down = false;
    stage.pass(6);
    assert_eq!((writes(&stage), stage.row()), (0, &row));
}

#[test]
fn hazard_operator_crash_between_its_write_and_its_calls_is_gone_on_with_by_the_next_one() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    // It wrote that the shard is sealed, and asked nobody.
    let sealing = stage.row().seal().unwrap();
    stage.record.insert(SHARD, sealing);
    takes_over(&mut stage);
    stage.pass(1);
    assert_eq!((stage.row().epoch, stage.row().leader()), (RecordEpoch(2), Ok(id(1))), "no second epoch");
    // It wrote who leads, and told nobody.
    let active = stage.row().seal().unwrap().activate(id(2)).unwrap();
    stage.record.insert(SHARD, active.clone());
    stage.node(1).role = super::stage::following(0);
    takes_over(&mut stage);
    stage.pass(8);
    assert!(stage.row().epoch > active.epoch, "who was never told is replaced, in an epoch of its own");
    let leader = stage.row().leader().unwrap();
    assert_eq!(stage.nodes[&leader].role, leading(stage.row().epoch.0));
}

#[test]
fn hazard_retried_write_whose_answer_was_lost_is_looked_up_and_not_made_twice() {
    let mut stage = Stage::new();
    stage.node(0).up = false;
    stage.deaf_to_writes = true;
    stage.tell(Input::Ended(id(0)));
    assert_eq!((stage.row().epoch, stage.row().phase), (RecordEpoch(2), Phase::Sealing), "it was made");
    stage.tell(Input::RecordUnknown);
    stage.deaf_to_writes = false;
    stage.pass(3);
    assert_eq!((stage.row().epoch, stage.row().leader()), (RecordEpoch(2), Ok(id(1))));
    let sealed = stage.done.iter().filter_map(|action| match action {
        Action::Write(changes) => changes.iter().find(|change| change.after.phase == Phase::Sealing),
        _ => None,
    });
    assert_eq!(sealed.count(), 1);
}

#[test]
fn hazard_api_server_slow_is_waited_for_two_seconds_and_asked_one_thing_at_a_time() {
    let mut stage = Stage::new();
    stage.pass(0);
    stage.done.clear();
    stage.record_down = true;
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    let reads = |stage: &Stage| stage.done.iter().filter(|action| **action == Action::Read).count();
    let begun = stage.now;
    let mut asked = Vec::new();
    for _ in 0..100 {
        let before = reads(&stage);
        stage.now += Duration::from_millis(100);
        stage.tell(Input::Tick(stage.now));
        if reads(&stage) > before {
            asked.push((stage.now - begun).as_millis());
        }
    }
    assert_eq!(asked, [2000, 4000, 6000, 8000, 10_000], "the first was asked at once");
    assert_eq!(writes(&stage), 0);
}

#[test]
fn hazard_data_of_another_cluster_or_volume_is_nobodys_vote() {
    // Whoever answers under an id that no set lists counts for nothing; who gets which id is the record's affair.
    let mut stage = Stage::new();
    [0, 1].iter().for_each(|number| stage.node(*number).up = false);
    let foreign = stage.nodes[&id(2)].clone();
    stage.nodes.insert(id(7), foreign.clone());
    stage.nodes.insert(id(8), foreign);
    stage.pass(8);
    stage.tell(Input::Ended(id(0)));
    stage.pass(10);
    assert_eq!((stage.row().epoch, stage.sealed()), (RecordEpoch(1), 0));
    let sealing = stage.row().seal().unwrap();
    stage.record.insert(SHARD, sealing.clone());
    stage.tell(Input::Record(stage.record.clone()));
    stage.pass(10);
    assert_eq!(stage.row(), &sealing);
    let asked = stage.done.iter().filter(|action| matches!(action, Action::Seal { to, .. } if to.0 > 2));
    assert_eq!(asked.count(), 0);
}
