//! Readers that follow a stream on a node that hears of no leader.

use std::time::Duration;

use thalweg_node::codec::frame::FrameKind;
use thalweg_node::runtime::{Failure, ReadError, ReadFrom, TailEvent, Whereabouts};

use crate::relay::Relay;
use crate::world::{PATIENCE, World, append, eventually, make};

fn no_leader(event: &TailEvent) -> bool {
    matches!(event, TailEvent::Ended(ReadError::Failure(Failure::NoLeader { .. })))
}

#[tokio::test(flavor = "multi_thread")]
async fn i14_a_reader_that_follows_a_stream_ends_when_its_node_hears_of_no_leader_and_new_ones_are_refused() {
    let mut world = World::led(|_| {}).await;
    let stream = world.led_by(0, "followed");
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "one").await.unwrap();
    let mut tailer = world.engine(1).tail(&stream, ReadFrom::Start).await.unwrap();
    assert!(matches!(tailer.next(1000, PATIENCE).await, TailEvent::Batch(_)));
    let quiet = tailer.next(1000, Duration::from_millis(2500)).await;
    assert!(matches!(quiet, TailEvent::TimedOut(_)), "its leader is there, and says nothing: {quiet:?}");
    world.end(0).await;
    let ended = tailer.next(1000, PATIENCE).await;
    assert!(no_leader(&ended), "without a word that the stream is closed: {ended:?}");
    let refused = world.engine(1).tail(&stream, ReadFrom::Start).await.unwrap_err();
    assert!(matches!(refused, ReadError::Failure(Failure::NoLeader { .. })), "{refused:?}");
    // It comes back by itself, and so do readers.
    world.start_again(0);
    let shard = world.shard_of(&stream);
    eventually(|| world.engine(0).leader(shard) == Whereabouts::Here).await;
    append(world.engine(0), &stream, "two").await.unwrap();
    let mut tailer = world.engine(1).tail(&stream, ReadFrom::Start).await.unwrap();
    assert!(matches!(tailer.next(1000, PATIENCE).await, TailEvent::Batch(_)));
    let quiet = tailer.next(1000, Duration::from_millis(600)).await;
    assert!(matches!(quiet, TailEvent::TimedOut(_)), "an old loss ends no new reader: {quiet:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i13_a_reader_on_a_leader_that_hears_of_too_few_voters_ends_too() {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "followed");
    make(world.engine(0), &stream).await;
    let mut tailer = world.engine(0).tail(&stream, ReadFrom::Start).await.unwrap();
    // What its followers confirm is lost on the way.
    world.relays.iter().for_each(|relay| relay.swallow(FrameKind::Ack));
    let ended = tailer.next(1000, PATIENCE).await;
    assert!(no_leader(&ended), "{ended:?}");
    // It is no leader to anybody meanwhile, itself included: requests wait without a place in its lane.
    let shard = world.shard_of(&stream);
    assert_eq!(world.engine(0).leader(shard), Whereabouts::Nobody);
    assert!(world.engine(0).condition().held_up.iter().any(|held_up| held_up.shards.contains(&shard)));
    world.relays.iter().for_each(Relay::heal);
    eventually(|| world.engine(0).leader(shard) == Whereabouts::Here).await;
    world.stop().await;
}
