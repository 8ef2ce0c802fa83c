//! Leaders: when they commit, when they take writes, what they say to readers, how they come back.

use super::world::{World, id, voters};
use crate::core::replication::{Input, Message};
use crate::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch};

fn epoch(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

#[test]
fn an_entry_is_committed_once_the_leader_and_a_majority_hold_it_on_the_disk() {
    let mut world = World::led();
    let before = world.node(0).replica.committed();
    world.write(0, "a");
    world.sync(0);
    assert_eq!(world.node(0).replica.committed(), before, "on one disk of three");
    world.deliver(0);
    assert_eq!(world.node(0).replica.committed(), before, "written there, not synced");
    let follower = world.nodes.values().find(|node| node.log.len() > node.synced).unwrap().replica.id();
    world.sync(follower.0);
    while let Some(place) = world.letters.iter().position(|letter| letter.from == follower) {
        world.deliver(place);
    }
    assert_eq!(world.node(0).replica.committed(), before.next());
}

#[test]
fn followers_alone_commit_nothing_that_is_not_on_the_leaders_disk() {
    let mut world = World::led();
    let before = world.node(0).replica.committed();
    world.write(0, "a");
    for number in [1, 2] {
        while let Some(place) = world.letters.iter().position(|letter| letter.to == id(number)) {
            world.deliver(place);
        }
        world.sync(number);
    }
    while !world.letters.is_empty() {
        world.deliver(0);
    }
    assert_eq!(world.node(0).replica.committed(), before);
    world.sync(0);
    assert_eq!(world.node(0).replica.committed(), before.next());
}

#[test]
fn a_leader_of_one_needs_nobody() {
    let mut world = World::new(1);
    world.lead(0, 1, &Configs::first(voters(&[0])));
    world.settle();
    world.write(0, "a");
    world.sync(0);
    assert_eq!(world.node(0).replica.committed(), world.node(0).replica.history().end());
    world.step(id(0), Input::Read);
    assert_eq!(world.readable.last().map(|(_, _, upto)| *upto), Some(world.node(0).replica.committed()));
}

#[test]
fn a_leader_that_restarts_goes_on_by_itself_in_an_epoch_of_its_new_boot() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    let committed = world.committed.len();
    world.crash(0);
    world.restart(0);
    assert_eq!(world.node(0).replica.leads(), None, "not before the epoch is on the disk");
    world.settle();
    assert_eq!(world.node(0).replica.leads(), Some(epoch(1, 2)));
    assert!(world.node(0).replica.takes_writes() && world.committed.len() > committed);
    for number in [1, 2] {
        assert_eq!(world.node(number).replica.history(), world.node(0).replica.history());
    }
}

#[test]
fn a_leader_that_was_sealed_does_not_come_back_by_itself() {
    let mut world = World::led();
    world.seal(0, 2);
    world.settle();
    assert_eq!(world.node(0).replica.leads(), None);
    world.crash(0);
    world.restart(0);
    world.settle();
    assert_eq!(world.node(0).replica.leads(), None);
}

#[test]
fn reads_wait_for_a_round_that_a_majority_answers_after_they_asked() {
    let mut world = World::led();
    world.step(id(0), Input::Read);
    assert!(world.readable.is_empty());
    world.settle();
    let committed = world.node(0).replica.committed();
    assert_eq!(world.readable, [(id(0), 1, committed)]);
    world.seal(1, 2);
    world.seal(2, 2);
    world.settle();
    world.step(id(0), Input::Read);
    world.settle();
    assert_eq!(world.readable.len(), 1, "sealed voters prove nothing to an old leader");
}

#[test]
fn a_read_that_asks_before_the_leader_opens_is_answered_when_it_does() {
    let mut world = World::new(3);
    world.lead(0, 1, &Configs::first(voters(&[0, 1, 2])));
    world.step(id(0), Input::Read);
    world.settle();
    let committed = world.node(0).replica.committed();
    assert!(committed > LogIndex(0));
    assert_eq!(world.readable, [(id(0), 1, committed)]);
}

#[test]
fn a_leader_without_a_majority_takes_no_writes_until_it_is_back() {
    use std::time::Duration;
    let mut world = World::led();
    world.crash(1);
    world.crash(2);
    world.letters.clear();
    world.step(id(0), Input::Tick(Duration::from_secs(5)));
    assert!(!world.node(0).replica.takes_writes());
    world.restart(1);
    world.settle();
    world.step(id(0), Input::Tick(Duration::from_secs(6)));
    world.settle();
    world.step(id(0), Input::Tick(Duration::from_millis(6100)));
    assert!(world.node(0).replica.takes_writes());
    assert_eq!(world.node(0).replica.leads(), Some(epoch(1, 1)), "nobody was elected, nobody resigned");
}

#[test]
fn nothing_older_is_committed_before_an_entry_of_the_leaders_own_epoch() {
    let mut world = World::led();
    world.write(0, "a");
    world.sync(0);
    world.crash(0);
    world.letters.clear();
    world.restart(0);
    let end = world.node(0).replica.history().end();
    let committed = world.node(0).replica.committed();
    world.save(0);
    assert_eq!(world.node(0).replica.history().end(), end.next(), "the epoch's first entry");
    let ack = |synced| Message::Ack { epoch: epoch(1, 2), synced, round: 0 };
    world.step(id(0), Input::Heard { from: id(1), message: ack(end) });
    assert_eq!(world.node(0).replica.committed(), committed, "two disks hold it, and that is not enough");
    world.sync(0);
    world.step(id(0), Input::Heard { from: id(1), message: ack(LogIndex(end.0 + 1)) });
    assert_eq!(world.node(0).replica.committed(), LogIndex(end.0 + 1));
}
