//! For how long nobody's append is acknowledged when a leader dies.

use std::time::Duration;

use anyhow::ensure;
use thalweg_e2e::cluster::{Gap, GapMeter, World};
use thalweg_node::types::{ShardCount, StreamName};

use super::troubles::CUT_OFF;
use super::{PATIENCE, end, end_with, number, options};

/// Appends that were acknowledged before and after what is measured, so that it lies between.
const STEADY: usize = 200;

async fn world() -> anyhow::Result<(World, tempfile::TempDir)> {
    let data = tempfile::tempdir()?;
    let world = World::start(options(7), data.path()).await?;
    Ok((world, data))
}

/// What happens to a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// SIGKILL; the driver hears of it at once.
    Killed,
    /// SIGSTOP, until another leads; nobody is told.
    Paused,
}

/// The gap that a client of the other nodes sees when this happens to the leader of its stream.
async fn gap(world: &mut World, round: u64, fate: Fate) -> anyhow::Result<Gap> {
    // The driver of a cluster that failed over a moment ago waits longer before it does so again; this one is new.
    world.drive().await?;
    world.wait_open(PATIENCE).await?;
    let stream = format!("gap-{fate:?}-{round}");
    let shard = StreamName::from_bytes(stream.as_bytes())?.shard(ShardCount::new(4)?);
    let leader = world.leader(shard.0.into())?;
    let others = world.addresses().into_iter().enumerate().filter(|(node, _)| *node != leader);
    let others: Vec<_> = others.filter_map(|(_, address)| address).collect();
    let meter = GapMeter::begin(&others, &stream).await?;
    meter.wait(Duration::ZERO, STEADY, PATIENCE).await?;
    let before = meter.now();
    match fate {
        Fate::Killed => world.kill(leader, true).await?,
        Fate::Paused => world.pause(leader)?,
    }
    meter.wait(before + Duration::from_millis(50), STEADY, PATIENCE).await?;
    let gap = meter.end().await;
    match fate {
        Fate::Killed => world.start_node(leader).await?,
        Fate::Paused => world.resume(leader)?,
    }
    Ok(gap)
}

/// So many gaps, the shortest first.
async fn gaps(world: &mut World, count: u64, fate: Fate) -> anyhow::Result<Vec<Duration>> {
    let mut gaps = Vec::new();
    for round in 0..count {
        gaps.push(gap(world, round, fate).await?.longest);
    }
    gaps.sort_unstable();
    println!("write gaps of {count} leaders that were {fate:?}, with a driver: {gaps:?}");
    Ok(gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_within_a_second_and_always_within_three() -> anyhow::Result<()> {
    let (mut world, _data) = world().await?;
    let gaps = gaps(&mut world, number("TEST_CLUSTER_KILLS", 3), Fate::Killed).await?;
    let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    ensure!(median < Duration::from_secs(1) && longest < Duration::from_secs(3), "{gaps:?}");
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_pauses_is_replaced_within_three_seconds_most_times_and_always_within_four()
-> anyhow::Result<()> {
    let (mut world, _data) = world().await?;
    let gaps = gaps(&mut world, number("TEST_CLUSTER_PAUSES", 2), Fate::Paused).await?;
    // Two of these seconds pass before anybody takes its silence for its end.
    let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    ensure!(median < Duration::from_secs(3) && longest < Duration::from_secs(4), "{gaps:?}");
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_taken_while_a_leader_is_cut_off_from_the_others_and_the_driver_reaches_it()
-> anyhow::Result<()> {
    let (mut world, _data) = world().await?;
    // No failover holds this one down.
    world.drive().await?;
    world.wait_open(PATIENCE).await?;
    let stream = "cut-off";
    let shard = StreamName::from_bytes(stream.as_bytes())?.shard(ShardCount::new(4)?);
    let leader = world.leader(shard.0.into())?;
    let others = world.addresses().into_iter().enumerate().filter(|(node, _)| *node != leader);
    let others: Vec<_> = others.filter_map(|(_, address)| address).collect();
    let meter = GapMeter::begin(&others, stream).await?;
    meter.wait(Duration::ZERO, STEADY, PATIENCE).await?;
    world.network().isolate(leader);
    // Of what was on its way there is one append for each writer at most.
    meter.wait(meter.now(), STEADY, PATIENCE).await?;
    let now = world.leader(shard.0.into())?;
    ensure!(now != leader, "it leads again");
    world.network().heal();
    let gap = meter.end().await;
    println!("write gap when a leader is cut off from the others only: {:?}", gap.longest);
    world.wait_open(PATIENCE).await?;
    end_with(world, &[CUT_OFF]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_started_again_serves_within_a_second_without_a_driver() -> anyhow::Result<()> {
    let (mut world, _data) = world().await?;
    let leader = world.leader(0)?;
    world.undrive().await;
    let names = (0..).map(|number| format!("alone-{number}"));
    let of_it = |name: &String| {
        let name = StreamName::from_bytes(name.as_bytes()).ok()?;
        (name.shard(ShardCount::new(4).ok()?).0 == 0).then_some(())
    };
    let stream = names.take(1000).find(|name| of_it(name).is_some()).unwrap_or_default();
    let others = world.addresses().into_iter().enumerate().filter(|(node, _)| *node != leader);
    let others: Vec<_> = others.filter_map(|(_, address)| address).collect();
    let meter = GapMeter::begin(&others, &stream).await?;
    meter.wait(Duration::ZERO, STEADY, PATIENCE).await?;
    world.kill(leader, false).await?;
    let before = meter.now();
    world.start_node(leader).await?;
    meter.wait(before, STEADY, PATIENCE).await?;
    let gap = meter.end().await;
    println!("write gap when the leader is killed and started at once, nobody elects: {:?}", gap.longest);
    ensure!(gap.longest < Duration::from_secs(1), "{gap:?}");
    world.drive().await?;
    world.wait_open(PATIENCE).await?;
    end(world).await
}
