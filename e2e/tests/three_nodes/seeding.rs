//! A node that was away for longer than the others keep their logs is seeded with snapshots, and is one of them again.

use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cluster::{Options, World};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, end, number, options};

/// What is written while a node is away: several times what the others keep of their logs for it.
const WRITTEN: usize = 24 << 20;
const APPEND_BYTES: usize = 256 << 10;
/// Streams over which that is spread, so that every shard has some of it.
const STREAMS: usize = 12;
/// The node that is away.
const AWAY: usize = 2;

/// Logs that keep little and are let go soon; `rate`: bytes per second for followers that are behind.
pub(super) fn short_logs(seed: u64, rate: Option<&str>) -> Options {
    let mut wanted = options(seed);
    let flags = [
        ["--segment-size", "1MiB"],
        ["--segment-size-max", "1MiB"],
        ["--request-body-max", "512KiB"],
        ["--follower-log-max", "2MiB"],
        ["--checkpoint-log-size", "1MiB"],
        ["--checkpoint-interval", "200ms"],
    ];
    let rate = rate.map(|rate| ["--catch-up-rate", rate]);
    wanted.node.extra.extend(flags.into_iter().chain(rate).flatten().map(str::to_owned));
    wanted
}

/// Writes more than the nodes that run keep of their logs.
pub(super) async fn outrun(world: &World, round: usize) -> anyhow::Result<()> {
    let address = world.addresses().into_iter().flatten().next().context("no node runs")?;
    let mut connection = Connection::open(address).await?;
    let body = noise(round);
    for piece in 0..WRITTEN / APPEND_BYTES {
        let name = format!("long-{round}-{}", piece % STREAMS);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = match piece < STREAMS {
                true => Request::create(&name, "application/octet-stream"),
                false => Request::append(&name, "application/octet-stream", &body),
            };
            let status = match connection.exchange(&request).await {
                Ok(answer) => answer.head.status,
                Err(_) => 0,
            };
            if matches!(status, 200 | 201 | 204) {
                break;
            }
            ensure!(Instant::now() < deadline, "{name} is not written: {status}");
            sleep(Duration::from_millis(100)).await;
            connection = Connection::open(address).await?;
        }
    }
    // Time for a checkpoint, which lets the log go.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Bytes that do not get shorter.
fn noise(round: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ round as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..APPEND_BYTES / 8).flat_map(|_| next()).collect()
}

/// Lines of a node's log that say something.
fn said(world: &World, node: usize, what: &str) -> usize {
    world.log(node).iter().filter(|line| line.contains(what)).count()
}

/// Waits until a node has said something so many times.
pub(super) async fn until_said(world: &World, node: usize, what: &str, times: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while said(world, node, what) < times {
        ensure!(Instant::now() < deadline, "node {} never says: {what}", node + 1);
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(super) const SEEDED: &str = "the shard was seeded";
const FETCHING: &str = "fetching a snapshot";

/// All shards that it does not lead are read on it as on the others: it has everything.
pub(super) async fn has_everything(world: &World, node: usize, round: usize) -> anyhow::Result<()> {
    let address = world.addresses()[node].context("it does not run")?;
    for stream in 0..STREAMS {
        let name = format!("long-{round}-{stream}");
        let deadline = Instant::now() + PATIENCE;
        let mut connection = Connection::open(address).await?;
        loop {
            let answer = connection.exchange(&Request::read(&name, "-1")).await?;
            if answer.head.status == 200 && !answer.body.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "{name} is not read: {}", answer.head.status);
            sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// It counts and leads: the two others are killed in turn.
async fn counts(world: &mut World) -> anyhow::Result<()> {
    let mut led = false;
    for other in (0..world.count()).filter(|node| *node != AWAY) {
        world.kill(other, true).await?;
        world.wait_open(PATIENCE).await?;
        led |= (0..4).any(|shard| world.leader(shard).is_ok_and(|leader| leader == AWAY));
        world.start_node(other).await?;
        world.wait_open(PATIENCE).await?;
    }
    ensure!(led, "it led nothing");
    Ok(())
}

async fn finish(mut world: World, seed: u64) -> anyhow::Result<()> {
    let outcome = world.take_work()?.end().await?;
    println!(
        "seed {seed}: {} requests judged, {} acknowledged appends",
        outcome.events, outcome.acknowledged
    );
    outcome.check(seed)?;
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_logs_have_left_behind_is_seeded_votes_and_leads() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 20);
    let data = tempfile::tempdir()?;
    let mut world = World::start(short_logs(seed, None), data.path()).await?;
    world.work(seed, 6, 6).await?;
    world.kill(AWAY, true).await?;
    outrun(&world, 0).await?;
    world.start_node(AWAY).await?;
    until_said(&world, AWAY, SEEDED, 4).await?;
    has_everything(&world, AWAY, 0).await?;
    counts(&mut world).await?;
    finish(world, seed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_was_emptied_is_seeded_behind_cut_logs_and_votes_again() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 21);
    let data = tempfile::tempdir()?;
    let mut world = World::start(short_logs(seed, None), data.path()).await?;
    world.work(seed, 6, 6).await?;
    world.kill(AWAY, true).await?;
    outrun(&world, 0).await?;
    world.wipe(AWAY)?;
    world.start_node(AWAY).await?;
    until_said(&world, AWAY, SEEDED, 4).await?;
    let settled = |view: &thalweg_e2e::driver::View| {
        view.table.next_replica as usize > 3 && view.is_open() && view.is_settled(3)
    };
    world.driver()?.wait(PATIENCE, "the new replica votes everywhere", settled).await?;
    has_everything(&world, AWAY, 0).await?;
    finish(world, seed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_killed_while_it_is_seeded_goes_on_where_it_was() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 22);
    let data = tempfile::tempdir()?;
    let mut world = World::start(short_logs(seed, Some("2MiB")), data.path()).await?;
    world.work(seed, 6, 6).await?;
    world.kill(AWAY, true).await?;
    outrun(&world, 0).await?;
    for times in 1..=3 {
        world.start_node(AWAY).await?;
        until_said(&world, AWAY, FETCHING, times).await?;
        sleep(Duration::from_millis(700)).await;
        world.kill(AWAY, false).await?;
    }
    world.start_node(AWAY).await?;
    until_said(&world, AWAY, SEEDED, 4).await?;
    let resumed = world.log(AWAY).iter().any(|line| line.contains(FETCHING) && !line.contains("there=0"));
    ensure!(resumed, "every fetch began anew:\n{}", world.log(AWAY).join("\n"));
    has_everything(&world, AWAY, 0).await?;
    finish(world, seed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_while_it_seeds_a_follower_is_replaced_by_one_that_seeds_it() -> anyhow::Result<()>
{
    let seed = number("TEST_SEED", 23);
    let data = tempfile::tempdir()?;
    let mut world = World::start(short_logs(seed, Some("2MiB")), data.path()).await?;
    world.work(seed, 6, 6).await?;
    world.kill(AWAY, true).await?;
    outrun(&world, 0).await?;
    world.start_node(AWAY).await?;
    for (times, other) in (1..).zip((0..world.count()).filter(|node| *node != AWAY)) {
        until_said(&world, AWAY, FETCHING, times).await?;
        sleep(Duration::from_millis(500)).await;
        world.kill(other, true).await?;
        sleep(Duration::from_millis(300)).await;
        world.start_node(other).await?;
        world.wait_open(PATIENCE).await?;
    }
    until_said(&world, AWAY, SEEDED, 4).await?;
    has_everything(&world, AWAY, 0).await?;
    finish(world, seed).await
}
