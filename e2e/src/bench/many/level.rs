//! When a follower has all that its leaders have.

use std::time::Duration;

use anyhow::ensure;
use thalweg_node::admin::AdminClient;
use thalweg_node::admin::words::{Shard, ShardRole};
use thalweg_node::types::ShardId;
use tokio::time::sleep;

use std::collections::BTreeMap;

use crate::cluster::World;
use crate::stopwatch::Stopwatch;

/// Between two looks: rarely enough that answering them is not what is measured.
const LOOK: Duration = Duration::from_millis(5);
/// A follower that is not level after this time never is.
const LEVEL_MAX: Duration = Duration::from_secs(300);

/// How far the logs of the leaders go, by shard.
pub(super) type Ends = BTreeMap<ShardId, u64>;

async fn shards(world: &World, node: usize) -> anyhow::Result<Vec<Shard>> {
    Ok(AdminClient::new(world.admin(node)).shards().await?.shards)
}

/// How far the logs of the leaders among these nodes go, once nothing is under way.
pub(super) async fn ends(world: &World, nodes: &[usize]) -> anyhow::Result<Ends> {
    let mut ends = Ends::new();
    for node in nodes {
        for shard in shards(world, *node).await? {
            if shard.role == ShardRole::Leading {
                ends.insert(shard.shard, shard.end.0);
            }
        }
    }
    Ok(ends)
}

/// Waits until all replicas of a node have committed, and hold on their disk, what the leaders have; says when it had the first and the last
/// of what it lacked.
pub(super) async fn reach(
    world: &World,
    node: usize,
    ends: &Ends,
    clock: &Stopwatch,
) -> anyhow::Result<(Duration, Duration)> {
    let mut first: Option<Duration> = None;
    let mut had: Option<u64> = None;
    loop {
        let now = clock.elapsed();
        ensure!(now < LEVEL_MAX, "the follower is not level after {LEVEL_MAX:?}");
        if let Ok(shards) = shards(world, node).await {
            let has = |shard: &Shard| shard.committed.0.min(shard.synced.0);
            let sum: u64 = shards.iter().map(has).sum();
            if *had.get_or_insert(sum) < sum {
                first.get_or_insert(now);
            }
            let level = |shard: &Shard| ends.get(&shard.shard).is_none_or(|end| has(shard) >= *end);
            if shards.len() >= ends.len() && shards.iter().all(level) {
                let now = clock.elapsed();
                return Ok((first.unwrap_or(now), now));
            }
        }
        sleep(LOOK).await;
    }
}
