//! The largest append that a cluster allows: heartbeats and the entries of other shards wait behind it on its way.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use thalweg_node::config::{MEMBER_BODY_MAX, Size};
use thalweg_node::core::{Append, AppendError};
use thalweg_node::runtime::{EngineError, Failure};
use thalweg_node::types::Messages;

use crate::world::{NODES, World, append, appending, make, within};

/// On a machine that does much else a leader may hear nothing of its followers for a second, and longer.
fn is_for_want_of_followers(error: &EngineError<AppendError>) -> bool {
    matches!(error, EngineError::Failure(Failure::NoLeader { .. } | Failure::Unreplicated { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_append_of_a_cluster_goes_through_and_other_shards_are_written_meanwhile() {
    let world = World::led(|config| {
        (config.request_body_max, config.request_permits) = (MEMBER_BODY_MAX, Size::mib(64));
    })
    .await;
    let (large, small) = (world.led_by(0, "large"), world.led_by(1, "small"));
    make(world.engine(0), &large).await;
    make(world.engine(1), &small).await;
    let over = AtomicBool::new(false);
    let largest = async {
        let body = Bytes::from(vec![b'x'; MEMBER_BODY_MAX.as_usize()]);
        let append = || Append { body: Ok(Messages::single(body.clone())), ..appending(&large, "") };
        while let Err(error) = world.engine(0).append(append()).await {
            assert!(is_for_want_of_followers(&error), "{error:?}");
        }
        over.store(true, Ordering::Relaxed);
    };
    let others = async {
        let mut written = 0;
        while !over.load(Ordering::Relaxed) || written == 0 {
            match append(world.engine(1), &small, "x").await {
                Ok(_) => written += 1,
                Err(error) => assert!(is_for_want_of_followers(&error), "{error:?}"),
            }
        }
        written
    };
    let ((), written) = within(async { tokio::join!(largest, others) }).await;
    let least = [MEMBER_BODY_MAX.get(), written];
    for node in 0..NODES {
        let has_all = async {
            let bytes = async |name| world.engine(node).head(name).await.map_or(0, |state| state.tail.bytes);
            while bytes(&large).await < least[0] || bytes(&small).await < least[1] {}
        };
        within(has_all).await;
    }
    world.stop().await;
}
