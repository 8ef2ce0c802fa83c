//! Starts that nobody vouches for, and disks that were put back (I8).

use super::world::{World, id};
use crate::core::replication::{Answer, Halt, Input, Refusal};
use crate::types::{Boot, RecordEpoch};

fn refused(world: &World, number: u32) -> Option<Refusal> {
    world.answers.iter().rev().find_map(|(from, answer)| match answer {
        Answer::Refused(refusal) if *from == id(number) => Some(*refusal),
        _ => None,
    })
}

#[test]
fn a_leader_that_nobody_vouches_for_leads_nothing_and_answers_no_seal() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    world.crash(0);
    world.start(0);
    world.meet(0);
    let before = world.node(0).replica.memory().clone();
    world.seal(0, 2);
    assert_eq!(refused(&world, 0), Some(Refusal::Unvouched));
    let standing = world.node(0).replica.standing();
    world.lead_as(0, 1, &before.configs.clone().unwrap(), standing);
    assert_eq!(refused(&world, 0), Some(Refusal::Unvouched));
    world.settle();
    let replica = &world.node(0).replica;
    assert_eq!((replica.memory(), replica.place()), (&before, None), "nothing is promised, nothing led");
    world.step(id(0), Input::Vouched);
    world.settle();
    let led = world.node(0).replica.leads().unwrap();
    assert_eq!((led.record, led.boot), (RecordEpoch(1), Boot(2)), "it goes on by itself then");
    world.step(id(0), Input::Vouched);
    assert_eq!(world.node(0).replica.leads(), Some(led), "once");
}

#[test]
fn a_follower_that_nobody_vouches_for_confirms_nothing_and_follows_whoever_asked_once_somebody_does() {
    let mut world = World::led();
    world.crash(2);
    world.write(0, "a");
    world.settle();
    world.start(2);
    world.meet(2);
    let said = |world: &World| world.letters.iter().any(|letter| letter.from == id(2));
    while !world.letters.is_empty() {
        world.deliver(0);
        assert!(!said(&world), "it says nothing");
    }
    let end = world.node(0).replica.history().end();
    assert!(world.node(2).replica.history().end() < end);
    world.step(id(2), Input::Vouched);
    world.settle();
    assert_eq!(world.node(2).replica.history().end(), end);
}

#[test]
fn a_replica_whose_disk_was_put_back_takes_no_part_any_more_whatever_it_did() {
    for number in [0, 1] {
        let mut world = World::led();
        world.step(id(number), Input::PutBack(Boot(7)));
        assert!(world.node(number).halted);
        assert_eq!(world.node(number).replica.halted(), Some(Halt::PutBack(Boot(7))));
        assert_eq!(world.node(number).replica.place(), None);
        world.seal(number, 2);
        assert_eq!(refused(&world, number), Some(Refusal::Halted(Halt::PutBack(Boot(7)))));
        world.step(id(number), Input::Vouched);
        world.step(id(number), Input::PutBack(Boot(9)));
        assert_eq!(world.node(number).replica.halted(), Some(Halt::PutBack(Boot(7))));
    }
}
