//! What one node asks of another and is lost on its way there or back.

use thalweg_node::codec::frame::FrameKind;
use thalweg_node::runtime::{ForkRequest, ReadError};

use crate::world::{World, append, creation, make, text};

/// A fork whose source another node leads, while the connection breaks with the next frame of this kind.
async fn fork_despite(kind: FrameKind) {
    let world = World::led(|_| {}).await;
    let (source, fork) = (world.led_by(0, "source"), world.led_by(1, "fork"));
    make(world.engine(0), &source).await;
    append(world.engine(0), &source, "one").await.unwrap();
    assert_eq!(text(world.engine(1), &source).await.unwrap(), "one");
    // Node 0 leads the source, so it dials node 1.
    world.relays[1].break_with(kind);
    let request = ForkRequest { source: source.clone(), offset: None, sub_offset: 0 };
    let created = world.engine(1).create(creation(&fork), Some(request)).await;
    world.relays[1].loss();
    assert!(created.unwrap().new);
    assert_eq!(text(world.engine(2), &fork).await.unwrap(), "one");
    // The source is held once, however often it was asked for: it goes with its only fork.
    world.engine(0).delete(source.clone()).await.unwrap();
    assert_eq!(text(world.engine(0), &source).await, Err(ReadError::Gone));
    world.engine(1).delete(fork).await.unwrap();
    assert_eq!(text(world.engine(0), &source).await, Err(ReadError::NotFound));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_errand_that_is_lost_on_its_way_is_asked_again() {
    fork_despite(FrameKind::ErrandAsked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_errand_whose_answer_is_lost_is_done_once() {
    fork_despite(FrameKind::ErrandAnswered).await;
}
