//! The rows of the table of hazards that one shard's replicas meet without a record and without an operator.

use std::time::Duration;

use super::world::{World, id, voters};
use crate::core::replication::{Input, Message};
use crate::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch};

fn configs() -> Configs {
    Configs::first(voters(&[0, 1, 2]))
}

fn has(world: &World, text: &str) -> bool {
    world.committed.iter().any(|entry| entry.payload == text)
}

#[test]
fn hazard_old_leader_isolated_with_clients_commits_nothing_and_proves_nothing_to_reads() {
    let mut world = World::led();
    world.write(0, "before");
    world.settle();
    world.cut_off.insert(id(0));
    [1, 2].into_iter().for_each(|number| world.seal(number, 2));
    world.settle();
    world.lead(1, 2, &configs());
    world.settle();
    // Its clients are with it, and it has heard of nothing.
    world.write(0, "isolated");
    world.step(id(0), Input::Read);
    world.write(1, "after");
    world.settle();
    assert!(has(&world, "before") && has(&world, "after") && !has(&world, "isolated"));
    assert!(world.readable.iter().all(|(by, _, _)| *by != id(0)));
    world.step(id(0), Input::Tick(Duration::from_secs(2)));
    assert!(!world.node(0).replica.takes_writes(), "and a second later it takes none");
    world.cut_off.clear();
    world.step(id(1), Input::Connected(id(0)));
    world.settle();
    assert_eq!(world.node(0).replica.history(), world.node(1).replica.history());
    assert!(world.node(0).log.iter().all(|entry| entry.payload != "isolated"));
}

#[test]
fn hazard_pod_recreated_with_an_empty_disk_promises_nothing_that_counts_for_the_replica_that_was() {
    let mut world = World::led();
    world.write(0, "a");
    world.sync(0);
    world.deliver(world.letters.iter().position(|letter| letter.to == id(1)).unwrap());
    world.sync(1);
    world.crash(2);
    // The empty disk is another replica: what it says is not said by the voter that the leader waits for.
    let before = world.node(0).replica.committed();
    let end = world.node(0).replica.history().end();
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
    world.letters.clear();
    let ack = Message::Ack { epoch, synced: end, round: 7 };
    world.step(id(0), Input::Heard { from: id(3), message: ack.clone() });
    world.step(id(0), Input::Read);
    assert_eq!(world.node(0).replica.committed(), before);
    assert!(world.readable.is_empty());
    world.step(id(0), Input::Heard { from: id(1), message: ack });
    assert_eq!(world.node(0).replica.committed(), end);
}

#[test]
fn hazard_everything_restarts_at_once_and_the_leader_goes_on_by_itself_in_an_epoch_of_its_new_boot() {
    let mut world = World::led();
    world.write(0, "acknowledged");
    world.settle();
    world.write(0, "under way");
    world.sync(0);
    let committed = world.committed.len();
    (0..3).for_each(|number| world.crash(number));
    world.letters.clear();
    (0..3).for_each(|number| world.restart(number));
    world.settle();
    assert_eq!(
        world.node(0).replica.leads(),
        Some(Epoch { record: RecordEpoch(1), boot: Boot(2) }),
        "nobody elected it"
    );
    assert!(world.node(0).replica.takes_writes() && has(&world, "acknowledged") && has(&world, "under way"));
    assert!(world.committed.len() > committed);
    assert!([1, 2].iter().all(|number| world.node(*number).log == world.node(0).log));
}

#[test]
fn hazard_everything_restarts_at_once_after_a_seal_and_nobody_leads_until_an_election_is_over() {
    let mut world = World::led();
    (0..3).for_each(|number| world.seal(number, 2));
    world.settle();
    (0..3).for_each(|number| world.crash(number));
    (0..3).for_each(|number| world.restart(number));
    world.settle();
    assert!(world.nodes.values().all(|node| node.replica.leads().is_none()), "no shortcut");
    (0..3).for_each(|number| world.seal(number, 2));
    world.settle();
    world.lead(2, 2, &configs());
    world.settle();
    assert!(world.node(2).replica.takes_writes());
}

#[test]
fn hazard_fsync_that_hangs_leaves_a_replica_that_confirms_what_is_on_its_disk_and_nothing_else() {
    let mut world = World::led();
    world.write(0, "a");
    let end = world.node(0).replica.history().end();
    for _ in 0..world.letters.len() {
        world.deliver(0);
    }
    // Neither follower's sync ever comes back; each is asked how far it is.
    world.sync(0);
    world.step(id(0), Input::Tick(Duration::from_millis(100)));
    while let Some(place) = world.letters.iter().position(|_| true) {
        world.deliver(place);
    }
    assert_eq!(world.node(0).replica.committed(), LogIndex(end.0 - 1));
    // The process ends; a new boot finds what the disk really has.
    world.crash(1);
    world.restart(1);
    world.settle();
    assert_eq!(world.node(0).replica.committed(), world.node(0).replica.history().end());
}
