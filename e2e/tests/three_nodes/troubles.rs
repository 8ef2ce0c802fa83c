//! The checked workload on all nodes while things happen to them and to the network between them.

use thalweg_e2e::cluster::{Trouble, World};

use super::{PATIENCE, end, end_with, number, options};

/// A node that is stopped waits 5 s for its requests; while the network is broken one may wait for a leader as long, and then twice as
/// long for the answer of another node.
pub(super) const CUT_OFF: &str = "requests were still running and were cut off";

async fn survives(seed: u64, kinds: &[Trouble]) -> anyhow::Result<()> {
    let seed = number("TEST_SEED", seed);
    let count = u32::try_from(number("TEST_CLUSTER_TROUBLES", 3))?;
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(seed), data.path()).await?;
    world.work(seed, 12, 8).await?;
    let happened = world.disturb(count, seed, kinds).await?;
    let outcome = world.take_work()?.end().await?;
    let moved = world.news().len();
    println!(
        "seed {seed}: {happened}; {} requests judged, {} acknowledged appends, {} lives of streams, {moved} news",
        outcome.events, outcome.acknowledged, outcome.lives
    );
    outcome.check(seed)?;
    end_with(world, &[CUT_OFF]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_leaders_are_killed() -> anyhow::Result<()> {
    survives(1, &[Trouble::KillLeader, Trouble::KillLeader, Trouble::KillUnseen, Trouble::Stop]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_any_of_three_are_killed_again_and_again() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 12);
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(seed), data.path()).await?;
    world.work(seed, 12, 8).await?;
    let kills = world.kill_cycles(number("TEST_CLUSTER_CYCLES", 10), seed).await?;
    let outcome = world.take_work()?.end().await?;
    println!(
        "seed {seed}: {kills}; {} requests judged, {} acknowledged appends, {} lives of streams",
        outcome.events, outcome.acknowledged, outcome.lives
    );
    outcome.check(seed)?;
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_network_breaks() -> anyhow::Result<()> {
    let kinds = [
        Trouble::Isolate,
        Trouble::OneWay,
        Trouble::Hide,
        Trouble::HalfOpen,
        Trouble::Swallow,
        Trouble::Reset,
        Trouble::Slow,
        Trouble::Replay,
    ];
    survives(2, &kinds).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_nodes_pause_or_crawl() -> anyhow::Result<()> {
    survives(3, &[Trouble::Pause, Trouble::Pause, Trouble::Crawl]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_mix_of_everything() -> anyhow::Result<()> {
    survives(4, &Trouble::ALL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_come_back_with_everything_and_need_no_driver() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 5);
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(seed), data.path()).await?;
    world.work(seed, 12, 8).await?;
    world.undrive().await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        for node in 0..world.count() {
            world.kill(node, false).await?;
        }
        world.start_all().await?;
    }
    // It finds leaders in the epochs of their new boots, and has nothing to do.
    world.drive().await?;
    let view = world.wait_open(PATIENCE).await?;
    anyhow::ensure!(view.table.rows.values().all(|row| row.epoch.0 == 1), "somebody elected: {view:?}");
    let outcome = world.take_work()?.end().await?;
    outcome.check(seed)?;
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_drivers_over_one_record_do_no_harm_to_each_other() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 6);
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(seed), data.path()).await?;
    let second = world.second_driver(1).await?;
    world.work(seed, 12, 8).await?;
    let count = u32::try_from(number("TEST_CLUSTER_TROUBLES", 3))?;
    world.disturb(count.div_ceil(2), seed, &[Trouble::KillUnseen, Trouble::Pause, Trouble::Hide]).await?;
    // The first one is gone, the second goes on alone.
    world.undrive().await;
    world.kill(0, false).await?;
    second.ended("node-1").await;
    second
        .wait(PATIENCE, "the second driver replaces a leader", |view| {
            view.is_open() && !view.leaders().contains_key("node-1")
        })
        .await?;
    world.start_node(0).await?;
    let outcome = world.take_work()?.end().await?;
    second.stop().await;
    outcome.check(seed)?;
    end(world).await
}
