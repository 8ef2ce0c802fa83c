//! What the replication of others got wrong, as far as a replica's decisions are concerned.

use super::world::{World, id, voters};
use crate::core::replication::{Input, Message};
use crate::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch};

#[test]
fn lesson_a_leader_that_lost_unsynced_writes_and_its_followers_hold_the_same_again() {
    let mut world = World::led();
    // Followers sync entries that their leader has not synced when its power is cut.
    world.write(0, "lost by the leader");
    while !world.letters.is_empty() {
        world.deliver(0);
    }
    [1, 2].into_iter().for_each(|number| world.sync(number));
    world.letters.clear();
    world.crash(0);
    assert!(world.node(0).log.len() < world.node(1).log.len());
    world.restart(0);
    world.settle();
    world.write(0, "next");
    world.settle();
    let text = |number: u32| -> Vec<_> {
        world.node(number).log.iter().map(|entry| (entry.epoch, entry.payload.clone())).collect()
    };
    assert!(text(0) == text(1) && text(0) == text(2));
    assert!(
        world.committed.iter().all(|entry| entry.payload != "lost by the leader"),
        "it was never committed"
    );
}

#[test]
fn lesson_a_follower_acknowledges_what_is_on_its_disk_and_nothing_that_is_only_written() {
    let mut world = World::led();
    world.write(0, "a");
    world.deliver(world.letters.iter().position(|letter| letter.to == id(1)).unwrap());
    let acked = |world: &World| {
        let said = world.letters.iter().filter(|letter| letter.from == id(1));
        said.filter_map(|letter| match letter.message {
            Message::Ack { synced, .. } => Some(synced),
            _ => None,
        })
        .max()
    };
    let end = world.node(1).replica.history().end();
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
    let beat = Message::Beat { epoch, committed: LogIndex(0), round: 3, is_spare: false };
    world.step(id(1), Input::Heard { from: id(0), message: beat });
    assert_eq!(acked(&world), Some(LogIndex(end.0 - 1)), "written there, and asked how far it is");
    world.sync(1);
    assert_eq!(acked(&world), Some(end));
}

#[test]
fn lesson_a_set_of_any_size_is_served_by_one_leader_at_once() {
    let mut world = World::new(5);
    world.lead(0, 1, &Configs::first(voters(&[0, 1, 2, 3, 4])));
    world.settle();
    world.write(0, "a");
    world.settle();
    // One of them restarts, and goes on from where it was.
    world.crash(3);
    world.write(0, "b");
    world.settle();
    world.restart(3);
    world.settle();
    world.write(0, "c");
    world.settle();
    assert!((1..5).all(|number| world.node(number).log == world.node(0).log));
}
