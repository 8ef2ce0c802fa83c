//! A leader that is handed over keeps new writes back: they are taken when nothing comes of it, and refused when another leads.

use std::time::Duration;

use thalweg_node::core::replication::Answer;
use thalweg_node::runtime::{EngineError, Failure};
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId};

use crate::world::{World, append, make, text, within};

/// Longer than a test takes from the order to the next epoch.
const LONG: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(100);

/// Node 1 gets everything; asked again while it is not served yet, as a supervisor would.
async fn hand_over(world: &World, shard: ShardId, patience: Duration) {
    let order = async {
        while !matches!(
            world.control(0).hand_over(shard, RecordEpoch(1), ReplicaId(1), patience).await,
            Ok(Answer::CaughtUp(_))
        ) {}
    };
    within(order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_came_during_a_hand_over_are_taken_in_their_order_when_nothing_comes_of_it() {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "kept");
    let shard = world.shard_of(&stream);
    make(world.engine(0), &stream).await;
    hand_over(&world, shard, SHORT).await;
    let writes = ["a", "b", "c"].map(|part| append(world.engine(0), &stream, part));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(text(world.engine(0), &stream).await.unwrap(), "abc");
    assert_eq!(text(world.engine(2), &stream).await.unwrap(), "abc");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_came_during_a_hand_over_are_refused_and_not_lost_on_the_way_when_another_leads() {
    let world = World::led(|_| {}).await;
    let stream = world.led_by(0, "moved");
    let shard = world.shard_of(&stream);
    make(world.engine(0), &stream).await;
    append(world.engine(0), &stream, "before ").await.unwrap();
    hand_over(&world, shard, LONG).await;
    // The logs of both are equal, so the first of them wins.
    let moves = world.elect(shard, 2, &[1, 0]);
    let (kept_back, leader) =
        futures::future::join(append(world.engine(0), &stream, "kept back"), moves).await;
    assert_eq!(leader, 1);
    let refused = matches!(kept_back, Err(EngineError::Failure(Failure::NotLeader { .. })));
    assert!(refused, "{kept_back:?}");
    append(world.engine(1), &stream, "after").await.unwrap();
    assert_eq!(text(world.engine(0), &stream).await.unwrap(), "before after");
    world.stop().await;
}
