//! For how long nobody's append is acknowledged when a leader that still serves hands over.

use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::cluster::{Gap, GapMeter, World};
use thalweg_node::admin::AdminClient;
use thalweg_node::admin::words::Drain;
use thalweg_node::types::{ShardCount, StreamName};

use super::{PATIENCE, end, number, options};

/// Appends that were acknowledged before and after what is measured, so that it lies between.
const STEADY: usize = 200;
/// How often the driver is asked who leads.
const LOOK: Duration = Duration::from_millis(5);

/// Whether a node wants to hand over what it leads.
async fn drain(world: &World, node: usize, draining: bool) -> anyhow::Result<()> {
    let admin = AdminClient::new(world.admin(node));
    let to = admin.status().await?.addressee();
    Ok(admin.drain(&Drain { to, draining }).await?)
}

/// The gap that clients of all nodes see when the leader of their stream drains.
async fn drained(world: &mut World, round: u64) -> anyhow::Result<Gap> {
    world.wait_open(PATIENCE).await?;
    let stream = format!("switched-{round}");
    let shard = StreamName::from_bytes(stream.as_bytes())?.shard(ShardCount::new(4)?);
    let leader = world.leader(shard.0.into())?;
    let nodes: Vec<_> = world.addresses().into_iter().flatten().collect();
    let meter = GapMeter::begin(&nodes, &stream).await?;
    meter.wait(Duration::ZERO, STEADY, PATIENCE).await?;
    let before = world.driver()?.view().table.rows[&shard].epoch;
    drain(world, leader, true).await?;
    let moved = async {
        while world.leader(shard.0.into()).map_or(true, |now| now == leader) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.context("it still leads")?;
    let now = meter.now();
    meter.wait(now, STEADY, PATIENCE).await?;
    let gap = meter.end().await;
    ensure!(gap.turned_away == 0, "a node answered that it does not lead: {gap:?}");
    let after = world.driver()?.view().table.rows[&shard].epoch;
    ensure!(after.0 == before.0 + 1, "from epoch {before} to {after}: it was sealed more than once");
    drain(world, leader, false).await?;
    Ok(gap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_drains_under_load_is_relieved_at_the_first_attempt_and_writers_wait_a_moment()
-> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(17), data.path()).await?;
    let mut gaps = Vec::new();
    for round in 0..number("TEST_CLUSTER_SWITCHOVERS", 3) {
        gaps.push(drained(&mut world, round).await?.longest);
    }
    gaps.sort_unstable();
    println!("write gaps of a switchover: {gaps:?}");
    ensure!(gaps[gaps.len() / 2] <= Duration::from_millis(100), "{gaps:?}");
    ensure!(gaps[gaps.len() - 1] < Duration::from_secs(1), "{gaps:?}");
    end(world).await
}
