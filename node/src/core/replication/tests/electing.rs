//! Seals and orders to lead.

use super::world::{World, id};
use crate::core::replication::{Answer, Input, Message, Refusal, Standing};
use crate::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch};

fn configs(world: &World) -> Configs {
    world.node(0).replica.memory().configs.clone().unwrap()
}

#[test]
fn a_seal_is_answered_with_what_is_on_the_disk_once_the_promise_is_there_too() {
    let mut world = World::led();
    world.write(0, "a");
    world.deliver(0);
    let end = world.node(1).replica.history().end();
    world.seal(1, 2);
    world.save(1);
    assert!(world.sealed(1).is_none(), "an entry is not on the disk yet");
    world.sync(1);
    assert!(world.sealed(1).is_some());
    world.answers.clear();
    world.seal(1, 3);
    world.sync(1);
    assert!(world.sealed(1).is_none(), "the promise is not on the disk yet");
    world.save(1);
    let sealed = world.sealed(1).unwrap();
    assert_eq!((sealed.standing.end, sealed.promised.record), (end, RecordEpoch(3)));
    assert_eq!(world.node(1).memory.promised, Epoch { record: RecordEpoch(3), boot: Boot(0) });
}

#[test]
fn a_seal_of_an_epoch_that_nobody_can_have_reached_is_refused_and_nothing_is_promised() {
    let mut world = World::led();
    let promised = world.node(1).replica.memory().promised;
    for epoch in [u64::MAX, (1 << 32) + 2] {
        world.answers.clear();
        world.seal(1, epoch);
        world.settle();
        assert_eq!(world.answers, [(id(1), Answer::Refused(Refusal::TooFar(promised)))], "epoch {epoch}");
    }
    assert_eq!(world.node(1).memory.promised, promised);
    world.seal(1, (1 << 32) + 1);
    world.settle();
    assert!(world.sealed(1).is_some(), "a record that was rebuilt may jump");
}

#[test]
fn a_repeated_seal_changes_nothing_and_a_lower_one_is_refused() {
    let mut world = World::led();
    world.seal(1, 3);
    world.settle();
    let sealed = world.sealed(1).unwrap().clone();
    world.answers.clear();
    world.seal(1, 3);
    world.settle();
    assert_eq!(world.sealed(1), Some(&sealed));
    world.answers.clear();
    world.seal(1, 2);
    world.settle();
    assert!(
        matches!(world.answers[0].1, Answer::Refused(Refusal::Promised(promised)) if promised.record.0 == 3)
    );
}

#[test]
fn an_order_to_lead_holds_only_for_what_was_sealed() {
    let mut world = World::led();
    let configs = configs(&world);
    world.seal(1, 2);
    world.settle();
    let standing = world.node(1).replica.standing();
    let others = [
        Standing { boot: Boot(9), ..standing },
        Standing { end: LogIndex(standing.end.0 + 1), ..standing },
        Standing { last: Epoch::default(), ..standing },
    ];
    for other in others {
        world.answers.clear();
        world.lead_as(1, 2, &configs, other);
        assert_eq!(world.answers[0].1, Answer::Refused(Refusal::Changed(standing)), "{other:?}");
    }
    world.answers.clear();
    world.lead_as(1, 3, &configs, standing);
    assert!(
        matches!(world.answers[0].1, Answer::Refused(Refusal::Promised(_))),
        "it was sealed for another epoch"
    );
    world.lead_as(1, 2, &configs, standing);
    world.settle();
    assert!(world.node(1).replica.takes_writes());
}

#[test]
fn an_order_to_lead_that_is_repeated_is_answered_with_what_is() {
    let mut world = World::led();
    let configs = configs(&world);
    world.answers.clear();
    let end = world.node(0).replica.history().end();
    world.lead(0, 1, &configs);
    assert_eq!(world.node(0).replica.history().end(), end);
    assert!(matches!(world.answers[0].1, Answer::Leads { open: true, .. }));
}

#[test]
fn whoever_follows_the_leader_of_an_epoch_cannot_be_made_its_leader() {
    let mut world = World::led();
    let configs = configs(&world);
    [1, 2].into_iter().for_each(|number| world.seal(number, 2));
    world.settle();
    world.lead(1, 2, &configs);
    world.settle();
    world.answers.clear();
    world.lead(2, 2, &configs);
    assert!(matches!(world.answers[0].1, Answer::Refused(Refusal::Changed(_))));
}

#[test]
fn the_followers_of_a_new_leader_come_from_whatever_they_had() {
    let mut world = World::led();
    world.write(0, "everywhere");
    world.settle();
    world.write(0, "on two");
    world.letters.retain(|letter| letter.to != id(2));
    world.settle();
    assert!(world.node(2).replica.history().end() < world.node(1).replica.history().end());
    world.crash(0);
    for number in [1, 2] {
        world.seal(number, 2);
    }
    world.settle();
    let configs = configs(&world);
    world.lead(1, 2, &configs);
    world.settle();
    assert_eq!(world.node(2).replica.history(), world.node(1).replica.history());
    assert!(world.committed.iter().any(|entry| entry.payload == "on two"));
}

#[test]
fn a_seal_that_waited_does_not_tell_of_a_later_promise_before_that_is_on_the_disk() {
    let mut world = World::led();
    world.write(0, "a");
    world.deliver(0);
    world.seal(1, 2);
    world.save(1);
    let later = Epoch { record: RecordEpoch(2), boot: Boot(1) };
    world.step(id(1), Input::Heard { from: id(2), message: Message::Follow(later) });
    world.sync(1);
    assert!(world.sealed(1).is_none());
    world.save(1);
    assert_eq!(world.sealed(1).unwrap().promised, later);
    assert_eq!(world.node(1).memory.promised, later);
}
