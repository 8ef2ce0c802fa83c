//! Disks that are emptied, full or slow.
//!
//! Full and hanging disks are file systems of their own, which only root may mount; without that the tests say so and show
//! nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cluster::{Options, SmallVolume, World};
use thalweg_e2e::server::complaints;
use thalweg_node::types::{ShardCount, StreamName};
use tokio::time::sleep;

use super::{PATIENCE, PEERS_COME_AND_GO, end, number, options};

/// A world whose first node has a disk of its own.
async fn with_volume(megabytes: u64, data: &Path) -> anyhow::Result<Option<(World, SmallVolume)>> {
    let Some(volume) = SmallVolume::mount(megabytes)? else {
        println!("SKIPPED: no file system can be mounted here (that needs root); nothing was shown");
        return Ok(None);
    };
    let mut wanted: Options = options(9);
    wanted.volumes = vec![(0, volume.path().join("node"))];
    let small = ["--segment-size", "1MiB", "--segment-size-max", "2MiB", "--request-body-max", "1MiB"];
    wanted.node.extra.extend(small.map(str::to_owned));
    Ok(Some((World::start(wanted, data).await?, volume)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_disk_becomes_another_replica_and_votes_again() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 8);
    let data = tempfile::tempdir()?;
    let mut world = World::start(options(seed), data.path()).await?;
    world.work(seed, 12, 8).await?;
    for node in 0..world.count() {
        world.kill(node, true).await?;
        world.wipe(node)?;
        world.start_node(node).await?;
        let settled = |view: &thalweg_e2e::driver::View| {
            let replaced = view.table.next_replica as usize > 3 + node;
            replaced && view.is_open() && view.is_settled(3)
        };
        world.driver()?.wait(PATIENCE, "the new replica votes everywhere", settled).await?;
        world.news().iter().for_each(|news| println!("{news}"));
    }
    let (disks, outcome) = (world.count(), world.take_work()?.end().await?);
    println!("seed {seed}: {disks} disks emptied, {} acknowledged appends", outcome.acknowledged);
    outcome.check(seed)?;
    end(world).await
}

/// Copies a node's directory.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            std::fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

/// Waits until a node has said so in its log so often.
async fn says(world: &World, node: usize, words: &str, times: usize) -> anyhow::Result<()> {
    let said = async {
        while world.log(node).iter().filter(|line| line.contains(words)).count() < times {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.with_context(|| format!("node {node} never says: {words}"))
}

/// The data directories in which a node has set its old data aside.
fn set_aside(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("put-back-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_was_put_back_sets_it_aside_becomes_another_replica_and_votes_again()
-> anyhow::Result<()> {
    const KNOWN: &str = "this start is known in the cluster";
    const PUT_BACK: &str = "put back to an older copy";
    let seed = number("TEST_SEED", 11);
    let data = tempfile::tempdir()?;
    let image = data.path().join("image");
    let mut world = World::start(options(seed), data.path()).await?;
    world.work(seed, 8, 8).await?;
    world.kill(0, true).await?;
    copy(world.data(0), &image)?;
    world.start_node(0).await?;
    says(&world, 0, KNOWN, 2).await?;
    world.wait_open(PATIENCE).await?;
    // Back by exactly one start: its boot will be the same again.
    world.kill(0, true).await?;
    world.wipe(0)?;
    copy(&image, world.data(0))?;
    world.start_node(0).await?;
    // Nobody helps: the process finds it out, and goes on as another volume.
    let settled = |view: &thalweg_e2e::driver::View| {
        view.table.next_replica > 3 && view.is_open() && view.is_settled(3)
    };
    world.driver()?.wait(PATIENCE, "the new replica votes everywhere", settled).await?;
    let since = world.log(0);
    let at = since.iter().position(|line| line.contains(PUT_BACK)).context("it was never told")?;
    let vouched = since.iter().take(at).filter(|line| line.contains(KNOWN)).count();
    ensure!(vouched == 2, "somebody vouched for the disk that was put back:\n{}", since.join("\n"));
    // What was there stands aside, whole; and a further start finds nothing more to set aside.
    world.kill(0, true).await?;
    world.start_node(0).await?;
    world.driver()?.wait(PATIENCE, "it votes after a restart", settled).await?;
    let aside = set_aside(world.data(0))?;
    ensure!(aside.len() == 1, "{aside:?}");
    for folder in ["tables", "lane-000"] {
        let names = |folder: &Path| -> anyhow::Result<BTreeSet<OsString>> {
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
        };
        let (was, is) = (names(&image.join(folder))?, names(&aside[0].join(folder))?);
        ensure!(was.is_subset(&is), "{folder}: {was:?} was put back, {is:?} stands aside");
    }
    let outcome = world.take_work()?.end().await?;
    println!("seed {seed}: {} acknowledged appends", outcome.acknowledged);
    outcome.check(seed)?;
    let logs: Vec<String> = (0..world.count()).flat_map(|node| world.log(node)).collect();
    world.end().await?;
    let known =
        [PEERS_COME_AND_GO, &[PUT_BACK, "does not take this volume for the one that it knew"]].concat();
    let complaints = complaints(&logs, &known);
    ensure!(complaints.is_empty(), "unlisted log lines:\n{}", complaints.join("\n"));
    Ok(())
}

/// The name of a stream in a shard that a node leads.
fn led_by(world: &World, node: usize) -> anyhow::Result<String> {
    let shards = world.driver()?.view().table.rows.len();
    let count = ShardCount::new(shards as u64).context("a count of shards")?;
    for number in 0..1_000 {
        let text = format!("led-{number}");
        let shard = StreamName::from_bytes(text.as_bytes())?.shard(count);
        if world.leader(usize::from(shard.0))? == node {
            return Ok(text);
        }
    }
    anyhow::bail!("node {node} leads nothing")
}

/// Writes until the node whose disk is full says so, or another one leads the stream; which of the two. What fits into room that was set
/// aside before is taken meanwhile.
async fn refuses_or_hands_over(
    world: &World,
    full: &mut Connection,
    name: &str,
) -> anyhow::Result<&'static str> {
    let count =
        ShardCount::new(world.driver()?.view().table.rows.len() as u64).context("a count of shards")?;
    let shard = usize::from(StreamName::from_bytes(name.as_bytes())?.shard(count).0);
    let append = Request::append(name, "text/plain", &[b'x'; 256 << 10]);
    let told = async {
        loop {
            let answer = full.exchange(&append).await?;
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            match answer.head.status {
                507 => {
                    ensure!(told.contains("\"outcome\":\"refused\""), "{told}");
                    return Ok("the full node refuses writes with 507");
                }
                // Its followers pause, or another one is being elected.
                204 | 503 => {}
                status => anyhow::bail!("{status}: {told}"),
            }
            if world.leader(shard).is_ok_and(|leader| leader != 0) {
                return Ok("another node leads what the full one led");
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.context("the full node neither refuses nor hands over")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_one_node_refuses_or_hands_over_and_loses_nothing() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let Some((mut world, volume)) = with_volume(96, data.path()).await? else { return Ok(()) };
    let led = led_by(&world, 0)?;
    let mut full = Connection::open(world.addresses()[0].context("it does not run")?).await?;
    let created = full.exchange(&Request::create(&led, "text/plain")).await?;
    ensure!(created.head.status == 201, "{}", created.head.status);
    world.work(9, 6, 4).await?;
    let ballast = volume.path().join("ballast");
    let free = 256usize << 20;
    // Somebody else fills the disk: as much as there is, in pieces.
    let filled = std::process::Command::new("dd")
        .arg("if=/dev/zero")
        .arg(format!("of={}", ballast.display()))
        .args(["bs=1M", &format!("count={}", free >> 20)])
        .output()?;
    ensure!(!filled.status.success(), "the disk was larger than thought");
    println!("{}", refuses_or_hands_over(&world, &mut full, &led).await?);
    // The others go on beside it.
    world.progress(50, PATIENCE).await?;
    // Whoever leads, a full voter can be sealed and the others go on: a stream through any node is written again.
    std::fs::remove_file(&ballast)?;
    world.wait_open(PATIENCE).await?;
    let address = world.addresses()[1].context("it does not run")?;
    let mut connection = Connection::open(address).await?;
    let created = connection.exchange(&Request::create("after", "text/plain")).await?;
    ensure!(created.head.status == 201, "{}", created.head.status);
    let outcome = world.take_work()?.end().await?;
    outcome.check(9)?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_makes_its_node_hand_over_and_loses_nothing() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let Some((mut world, volume)) = with_volume(512, data.path()).await? else { return Ok(()) };
    world.work(10, 6, 4).await?;
    for still in [200, 1_000, 6_000] {
        sleep(Duration::from_secs(1)).await;
        volume.freeze()?;
        sleep(Duration::from_millis(still)).await;
        volume.thaw()?;
        world.wait_open(PATIENCE).await?;
    }
    let news: Vec<String> = world.news().iter().map(ToString::to_string).collect();
    news.iter().for_each(|news| println!("{news}"));
    // Whichever is noticed first: the lane does nothing, its writes wait, its followers hear nothing.
    let handed_over = |news: &String| ["(Sick)", "(Hung)", "(CutOff)"].iter().any(|why| news.ends_with(why));
    ensure!(news.iter().any(handed_over), "the disk stood still for six seconds, and its node led on");
    let outcome = world.take_work()?.end().await?;
    outcome.check(10)?;
    world.end().await
}
