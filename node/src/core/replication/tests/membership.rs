//! Voters come and go, one at a time.

use super::world::{World, id, voters};
use crate::codec::record::RecordKind;
use crate::core::replication::{Answer, Ask, Input, Refusal};
use crate::types::{Config, ConfigVersion, Configs, RecordEpoch};

fn configure(world: &mut World, leader: u32, configs: &Configs) {
    let (ask, configs) = (Ask(7), configs.clone());
    world.step(id(leader), Input::Configure { ask, epoch: RecordEpoch(1), configs, learners: Vec::new() });
}

fn four() -> World {
    let mut world = World::new(4);
    world.lead(0, 1, &Configs::first(voters(&[0, 1, 2])));
    world.settle();
    world
}

#[test]
fn a_change_counts_once_it_is_on_the_leaders_disk_and_until_it_is_confirmed_both_sets_count() {
    let mut world = four();
    let changed = Configs::first(voters(&[0, 1, 2])).with_next(voters(&[0, 1, 2, 3]));
    world.crash(3);
    world.crash(2);
    world.write(0, "a");
    world.settle();
    configure(&mut world, 0, &changed);
    world.settle();
    assert!(world.confirmed.is_empty(), "two of four are too few");
    let logged = world.node(1).log.iter().filter(|entry| entry.kind == RecordKind::Config).count();
    assert_eq!(logged, 2, "followers hear of a change before it is confirmed");
    assert!(
        world
            .answers
            .iter()
            .any(|(_, answer)| matches!(answer, Answer::Configured(version) if version.0 == 2))
    );
    world.restart(3);
    world.settle();
    assert_eq!(world.confirmed, [(RecordEpoch(1), 2)]);
    assert_eq!(world.node(3).replica.history(), world.node(0).replica.history());
    world.seal(3, 2);
    world.settle();
    let known = world.sealed(3).unwrap().configs.clone().unwrap();
    assert_eq!(known.last().voters, voters(&[0, 1, 2, 3]), "replicas learn of the sets from the log");
}

#[test]
fn a_leader_refuses_sets_of_voters_that_do_not_follow_from_its_own_and_goes_by_its_own() {
    let mut world = World::led();
    let config = |version, ids: &[u32]| Config { version: ConfigVersion(version), voters: voters(ids) };
    let first = config(1, &[0, 1, 2]);
    for told in
        [vec![config(99, &[0])], vec![config(2, &[0])], vec![first, config(2, &[0])], vec![config(1, &[0])]]
    {
        world.answers.clear();
        configure(&mut world, 0, &Configs::new(told.clone()).unwrap());
        let refused = Answer::Refused(Refusal::NoStep(ConfigVersion(1)));
        assert_eq!(world.answers, [(id(0), refused)], "{told:?}");
    }
    world.crash(1);
    world.crash(2);
    world.settle();
    let committed = world.node(0).replica.committed();
    world.write(0, "a");
    world.settle();
    assert_eq!(world.node(0).replica.committed(), committed, "one disk of three commits nothing");
}

#[test]
fn a_learner_gets_the_log_and_is_not_taken_for_a_removed_voter() {
    let mut world = four();
    let configs = Configs::first(voters(&[0, 1, 2])).with_next(voters(&[0, 1]));
    let (ask, learners) = (Ask(1), vec![id(3)]);
    world.step(id(0), Input::Configure { ask, epoch: RecordEpoch(1), configs, learners });
    world.settle();
    world.write(0, "a");
    world.settle();
    assert_eq!(world.node(3).replica.history(), world.node(0).replica.history());
    assert!(world.node(3).replica.committed() > world.node(3).replica.history().starts()[0].first);
    assert!(!world.node(3).replica.memory().retired);
}

#[test]
fn a_leader_that_restarts_goes_by_the_sets_that_it_knew() {
    let mut world = four();
    let changed = Configs::first(voters(&[0, 1, 2])).with_next(voters(&[0, 1, 2, 3]));
    world.crash(3);
    world.crash(2);
    configure(&mut world, 0, &changed);
    world.settle();
    world.crash(0);
    world.restart(0);
    world.settle();
    assert!(!world.node(0).replica.takes_writes(), "two of four commit nothing, not even the barrier");
    world.restart(2);
    world.settle();
    assert!(world.node(0).replica.takes_writes());
}

#[test]
fn a_leader_that_forgot_that_a_set_stands_alone_is_told_and_does_without_the_voter_that_went() {
    let mut world = World::new(2);
    let both = Configs::first(voters(&[0, 1]));
    world.lead(0, 1, &both);
    world.settle();
    let changed = both.with_next(voters(&[0]));
    configure(&mut world, 0, &changed);
    world.save(0);
    while world.confirmed.is_empty() {
        (0..2).for_each(|number| world.sync(number));
        world.deliver(0);
    }
    // The record says so by now, the voter is taken away, and the leader ends before it has saved it.
    world.crash(0);
    world.restart(0);
    world.crash(1);
    world.settle();
    let versions = |world: &World| {
        let configs = world.node(0).replica.configs().unwrap();
        configs.as_slice().iter().map(|config| config.version.0).collect::<Vec<_>>()
    };
    assert_eq!((versions(&world), world.node(0).replica.takes_writes()), (vec![1, 2], false));
    configure(&mut world, 0, &changed.confirmed(changed.last().version));
    world.settle();
    assert_eq!((versions(&world), world.node(0).replica.takes_writes()), (vec![2], true));
    assert!(!world.node(0).memory.configs.as_ref().unwrap().is_changing());
}

#[test]
fn a_set_that_is_confirmed_while_it_is_told_again_is_the_only_one_that_is_remembered() {
    let mut world = four();
    let changed = Configs::first(voters(&[0, 1, 2])).with_next(voters(&[0, 1, 2, 3]));
    configure(&mut world, 0, &changed);
    world.save(0);
    configure(&mut world, 0, &changed);
    while world.confirmed.is_empty() {
        (1..4).for_each(|number| world.save(number));
        (0..4).for_each(|number| world.sync(number));
        world.deliver(0);
    }
    world.settle();
    let remembered = world.node(0).memory.configs.clone().unwrap();
    assert_eq!((remembered.oldest().version.0, remembered.is_changing()), (2, false));
}

#[test]
fn a_replica_that_applies_its_own_removal_takes_no_part_any_more() {
    let mut world = World::led();
    let configs = Configs::first(voters(&[0, 1, 2])).with_next(voters(&[0, 1]));
    let (ask, learners) = (Ask(1), vec![id(2)]);
    world.step(id(0), Input::Configure { ask, epoch: RecordEpoch(1), configs, learners });
    world.settle();
    assert_eq!(world.confirmed, [(RecordEpoch(1), 2)]);
    world.write(0, "a");
    world.settle();
    assert!(world.node(2).replica.memory().retired);
    assert!(!world.node(1).replica.memory().retired);
    world.answers.clear();
    world.seal(2, 2);
    assert!(matches!(world.answers[0].1, Answer::Refused(_)));
}

#[test]
fn a_removed_replica_that_a_later_set_has_again_answers_seals_again() {
    let mut world = four();
    let first = Configs::first(voters(&[0, 1, 2]));
    let added = first.with_next(voters(&[0, 1, 2, 3]));
    configure(&mut world, 0, &added.with_next(voters(&[0, 1, 2])));
    world.settle();
    let (ask, learners) = (Ask(1), vec![id(3)]);
    let configs = world.node(0).replica.memory().configs.clone().unwrap();
    assert_eq!(configs.as_slice().len(), 1, "the addition was taken back");
    let learn = Input::Configure {
        ask,
        epoch: RecordEpoch(1),
        configs: configs.with_next(voters(&[0, 1])),
        learners,
    };
    world.step(id(0), learn);
    world.settle();
    world.write(0, "a");
    world.settle();
    assert!(world.node(3).memory.retired);
    let configs = world.node(0).replica.memory().configs.clone().unwrap();
    configure(&mut world, 0, &configs.with_next(voters(&[0, 1, 3])));
    world.settle();
    world.answers.clear();
    world.seal(3, 2);
    world.settle();
    assert!(world.sealed(3).is_some(), "it votes");
}
