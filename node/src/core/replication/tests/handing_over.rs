//! Leaders that hold new writes so that another voter can have everything.

use std::time::Duration;

use super::world::{World, id, voters};
use crate::core::replication::{Answer, Ask, HandOver, Input, Refusal};
use crate::types::{Configs, LogIndex, RecordEpoch, ReplicaId};

const PATIENCE: Duration = Duration::from_millis(500);

fn order(world: &mut World, epoch: u64, to: ReplicaId) {
    let order = HandOver { ask: Ask(9), epoch: RecordEpoch(epoch), to, patience: PATIENCE };
    world.step(id(0), Input::HandOver(order));
}

fn last(world: &World) -> Option<&Answer> {
    world.answers.last().map(|(_, answer)| answer)
}

fn tick(world: &mut World, millis: u64) {
    world.step(id(0), Input::Tick(Duration::from_millis(millis)));
}

#[test]
fn writes_wait_until_the_other_voter_holds_everything_and_then_for_the_next_epoch() {
    let mut world = World::led();
    tick(&mut world, 1000);
    world.write(0, "a");
    world.answers.clear();
    order(&mut world, 1, id(2));
    assert!(!world.node(0).replica.takes_writes() && world.node(0).replica.is_handing_over());
    assert_eq!(last(&world), None, "it does not have the entry yet");
    world.settle();
    let end = world.node(0).replica.history().end();
    assert_eq!(last(&world), Some(&Answer::CaughtUp(end)));
    assert_eq!(world.node(2).replica.history().end(), end);
    assert!(world.node(0).replica.is_handing_over(), "what is sealed next must still be all there is");
    (0..3).for_each(|number| world.seal(number, 2));
    world.settle();
    assert!(!world.node(0).replica.is_handing_over());
    assert_eq!(world.sealed(0).unwrap().standing.end, world.sealed(2).unwrap().standing.end);
    world.lead(2, 2, &Configs::first(voters(&[0, 1, 2])));
    world.settle();
    assert!(world.node(2).replica.takes_writes());
}

#[test]
fn a_hold_ends_by_itself_and_nothing_has_changed() {
    let mut world = World::led();
    tick(&mut world, 1000);
    world.cut_off.insert(id(2));
    world.write(0, "a");
    order(&mut world, 1, id(2));
    world.settle();
    tick(&mut world, 1400);
    assert!(world.node(0).replica.is_handing_over());
    // A repeated order makes the hold no longer; whoever gave the first one hears that it came to nothing.
    order(&mut world, 1, id(2));
    assert!(matches!(last(&world), Some(Answer::Refused(Refusal::Behind(_)))));
    world.answers.clear();
    tick(&mut world, 1500);
    assert!(world.node(0).replica.takes_writes());
    assert!(matches!(last(&world), Some(Answer::Refused(Refusal::Behind(_)))), "{:?}", world.answers);
    world.write(0, "b");
    world.settle();
    assert_eq!(world.node(0).replica.committed(), world.node(0).replica.history().end());
    assert!(world.closed.is_empty());
}

#[test]
fn nobody_is_handed_over_to_who_does_not_vote_or_gets_no_entries() {
    let mut world = World::led();
    tick(&mut world, 1000);
    order(&mut world, 1, id(7));
    assert_eq!(last(&world), Some(&Answer::Refused(Refusal::Behind(LogIndex(0)))));
    order(&mut world, 2, id(2));
    assert_eq!(last(&world), Some(&Answer::Refused(Refusal::NotLeading)), "another epoch is meant");
    world.crash(2);
    world.step(id(0), Input::Connected(id(2)));
    order(&mut world, 1, id(2));
    assert!(matches!(last(&world), Some(Answer::Refused(Refusal::Behind(_)))));
    assert!(world.node(0).replica.takes_writes());
}
