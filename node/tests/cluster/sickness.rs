//! A disk that hangs is not silent; and what does not need it is served meanwhile.

use std::time::Duration;

use thalweg_node::codec::frame::FrameKind;
use thalweg_node::core::failover::RoleSeen;
use thalweg_node::runtime::ReadFrom;
use thalweg_node::types::{ShardId, StreamName};
use tokio::task::JoinHandle;

use crate::world::{LARGE, PATIENCE, World, append, appending, make, text, within, write_bulk};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_sync_hangs_says_that_it_is_sick_until_it_comes_back() {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "stream");
    make(world.engine(0), &stream).await;
    assert!(!world.control(0).pulse().await.unwrap().sick);
    let gate = world.members[0].gate.clone();
    gate.close("lane-", "sync");
    let slow = held_write(&world, &stream, 1).await;
    assert!(!world.control(0).pulse().await.unwrap().sick, "a slow disk is not a sick one");
    gate.open();
    slow.await.unwrap();
    for bytes in [1, LARGE] {
        hangs_and_comes_back(&world, &stream, bytes).await;
    }
    world.stop().await;
}

/// Longer than a write takes that is on its way to a follower.
const SENT_WITHIN: Duration = Duration::from_secs(1);

async fn hangs_and_comes_back(world: &World, stream: &StreamName, bytes: usize) {
    let gate = world.members[0].gate.clone();
    let write = loop {
        let before = world.relays[1].seen(FrameKind::Records);
        gate.close("lane-", "sync");
        let write = held_write(world, stream, bytes).await;
        let sent = async {
            while world.relays[1].seen(FrameKind::Records) == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // A lane that has just come to rest syncs a mark, and is held before it takes the write.
        if tokio::time::timeout(SENT_WITHIN, sent).await.is_ok() {
            break write;
        }
        gate.open();
        write.await.unwrap();
    };
    pulse_says(world, 0, true).await;
    assert!(!world.control(1).pulse().await.unwrap().sick, "the others are well");
    gate.open();
    write.await.unwrap();
    pulse_says(world, 0, false).await;
    let pulse = world.control(0).pulse().await.unwrap();
    assert!(matches!(pulse.shards[&ShardId(0)].role, RoleSeen::Leading { open: true, .. }));
}

/// A write of so many bytes whose sync stands at the gate.
async fn held_write(world: &World, name: &StreamName, bytes: usize) -> JoinHandle<()> {
    let (engine, name, gate) = (world.engine(0).clone(), name.clone(), world.members[0].gate.clone());
    let write = tokio::spawn(async move { write_bulk(&engine, &name, bytes).await });
    tokio::task::spawn_blocking(move || gate.arrival()).await.unwrap();
    write
}

async fn pulse_says(world: &World, node: usize, sick: bool) {
    let asking = async {
        while world.control(node).pulse().await.unwrap().sick != sick {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it says how it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_fsync_error_ends_a_follower_which_confirms_nothing_more_and_comes_back_with_what_its_disk_has()
 {
    let mut world = World::led(|_| {}).await;
    let stream = world.led_by(0, "stream");
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "before ").await.unwrap();
    // What comes now only the first follower could confirm, and its disk fails once: the next sync would go well.
    world.end(2).await;
    world.members[1].gate.fail("lane-", "sync", 0, std::io::ErrorKind::Other);
    let (engine, name) = (world.engine(0).clone(), stream.clone());
    let write = tokio::spawn(async move { engine.append(appending(&name, "open ")).await });
    let fatal = world.members[1].running.as_ref().unwrap().fatal.clone();
    let why = within(fatal.reported()).await;
    assert!(why.contains("could not be written or synced"), "{why}");
    // It ends with what it did not sync; power fails meanwhile, so that nothing but its disk is left of it.
    world.lose_power_of(1, 5).await;
    if write.is_finished() {
        assert!(write.await.unwrap().is_err(), "nobody has confirmed it");
    } else {
        world.start_again(1);
        // It is confirmed from the leader's log, or the leader has given it up with an open outcome.
        let _either = within(write).await.unwrap();
    }
    for node in [1, 2] {
        if world.members[node].running.is_none() {
            world.start_again(node);
        }
    }
    let after = async { while append(world.engine(0), &stream, "after").await.is_err() {} };
    within(after).await;
    let expected = text(world.engine(0), &stream).await.unwrap();
    assert!(expected.starts_with("before ") && expected.ends_with("after"), "{expected}");
    let follows = async {
        while text(world.engine(1), &stream).await.ok().as_ref() != Some(&expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(follows).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_readers_of_a_follower_are_served_while_a_sync_of_another_lane_hangs() {
    let world = World::led(|config| config.lanes = 2).await;
    let (slow, quick) = (world.led_by(0, "slow"), world.led_by(1, "quick"));
    make(world.engine(0), &slow).await;
    make(world.engine(1), &quick).await;
    append(world.engine(1), &quick, "x").await.unwrap();
    assert_ne!(world.shard_of(&slow).0 % 2, world.shard_of(&quick).0 % 2);
    let gate = world.members[0].gate.clone();
    gate.close("lane-000", "sync");
    let write = held_write(&world, &slow, 1).await;
    for _ in 0..10 {
        let batch = world.engine(0).read(&quick, ReadFrom::Start, 1000).await.unwrap();
        assert_eq!(batch.state.tail.messages, 1);
    }
    append(world.engine(1), &quick, "y").await.unwrap();
    gate.open();
    write.await.unwrap();
    world.stop().await;
}
