//! What leaders are told of voters and learners.

use std::collections::BTreeMap;
use std::time::Duration;

use super::stage::{SHARD, Stage, id, leading, voters};
use crate::core::failover::{Action, Input, RoleSeen};
use crate::types::{ConfigVersion, ReplicaId};

/// The learners in everything that leaders were told since the last look.
fn told(stage: &mut Stage) -> Vec<Vec<ReplicaId>> {
    let actions = std::mem::take(&mut stage.done).into_iter();
    let told = actions.filter_map(|action| match action {
        Action::Lead { learners, .. } | Action::Configure { learners, .. } => Some(learners),
        _ => None,
    });
    told.collect()
}

/// Time goes by in small steps, and nobody says anything new.
fn wait(stage: &mut Stage, millis: u64) {
    for _ in 0..millis / 25 {
        stage.now += Duration::from_millis(25);
        stage.tell(Input::Tick(stage.now));
    }
}

fn learn(stage: &mut Stage, learners: &[u32]) {
    let of_shard = learners.iter().copied().map(id).collect::<Vec<_>>();
    let all = BTreeMap::from([(SHARD, of_shard)]);
    stage.tell(Input::Learners(all.into_iter().filter(|(_, ids)| !ids.is_empty()).collect()));
}

#[test]
fn a_leader_is_told_the_same_at_most_twice_a_second_and_what_is_new_at_once() {
    let mut stage = Stage::new();
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage), Vec::<Vec<ReplicaId>>::new(), "it goes by the newest set");
    let changed = stage.row().change(voters(&[0, 1])).unwrap();
    stage.record.insert(SHARD, changed);
    stage.tell(Input::Record(stage.record.clone()));
    wait(&mut stage, 25);
    assert_eq!(told(&mut stage).len(), 1);
    wait(&mut stage, 475);
    assert_eq!(told(&mut stage).len(), 0);
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage).len(), 2);
    learn(&mut stage, &[2]);
    wait(&mut stage, 25);
    assert_eq!(told(&mut stage), [[id(2)]]);
}

#[test]
fn a_leader_that_goes_by_older_sets_than_the_record_after_a_restart_is_told_so_until_it_does_not() {
    let goes_by = |stage: &mut Stage, oldest| {
        stage.node(0).role = match leading(1) {
            RoleSeen::Leading { epoch, open, waiting, committed, .. } => {
                let (newest, oldest) = (ConfigVersion(2), ConfigVersion(oldest));
                RoleSeen::Leading { epoch, open, waiting, committed, newest, oldest }
            }
            other => other,
        };
        stage.pass(0);
    };
    let mut stage = Stage::new();
    let changed = stage.row().change(voters(&[0, 1])).unwrap();
    stage.record.insert(SHARD, changed);
    stage.tell(Input::Record(stage.record.clone()));
    goes_by(&mut stage, 2);
    stage.pass(2);
    assert!(!stage.row().configs.is_changing(), "it confirmed the newer set, and the record says so");
    told(&mut stage);
    // It ended before that was on its disk, and the newest set that it goes by is the record's.
    goes_by(&mut stage, 1);
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage).len(), 2);
    goes_by(&mut stage, 2);
    told(&mut stage);
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage).len(), 0);
}

#[test]
fn whoever_leads_is_told_of_the_learners_and_of_their_end() {
    let mut stage = Stage::new();
    learn(&mut stage, &[7]);
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage), [[id(7)], [id(7)]], "it does not say whom it feeds");
    stage.node(0).up = false;
    stage.tell(Input::Ended(id(0)));
    assert_eq!(told(&mut stage), [[id(7)]], "the order to lead has them");
    stage.pass(0);
    learn(&mut stage, &[]);
    told(&mut stage);
    wait(&mut stage, 1000);
    assert_eq!(told(&mut stage).len(), 1, "that nobody learns any more is said once");
}
