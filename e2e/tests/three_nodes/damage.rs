//! Nodes that find their disks damaged, when they start or while they run: what is damaged is repaired from the others, and counts again
//! when all of it is there.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use thalweg_e2e::cluster::World;
use thalweg_e2e::server::complaints;
use tokio::time::{Instant, sleep};

use super::seeding::{SEEDED, has_everything, outrun, short_logs, until_said};
use super::{PATIENCE, PEERS_COME_AND_GO, number, options};

const SHARDS: usize = 4;
const FOUND: &str = "shard damaged, to be repaired from its leader";
const REPAIRED: &str = "it holds all that its leader held";
/// What a node says that finds its disk damaged.
const DAMAGE: &[&str] = &[
    FOUND,
    "the log is damaged here",
    "the shard is repaired from its leader behind here",
    "nothing of that is sent on",
];
/// What a node says of itself that finds damage while it runs.
const RUNNING_DAMAGE: &[&str] = &[
    GIVEN_UP,
    "stored data is damaged",
    "stored data not served",
    "scrubbing found damage",
    "the tables do not hold what was committed",
    "the device failed this shard's tables",
    "shard damaged, refusing service",
    "are not needed any more",
    "damaged tables were not set aside; tried again",
    "a shard cannot be served yet",
    "no snapshot could be taken",
    // The database's own answer to a page that makes no sense.
    "/redb-",
];
const GIVEN_UP: &str = "the shard's tables are damaged: they are set aside";

/// The files of a folder of a node, by their names' ends.
fn files(data: &Path, folder: &str, end: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(data.join(folder))?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<anyhow::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(end)));
    paths.sort();
    Ok(paths)
}

/// Flips a bit in each place of a file.
fn flip(path: &Path, places: impl Iterator<Item = u64>) -> anyhow::Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    for place in places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, place)?;
        file.write_all_at(&[byte[0] ^ 0x10], place)?;
    }
    Ok(())
}

/// Flips bits in the middle of what is written of a log, far below its end.
fn flip_log(data: &Path) -> anyhow::Result<()> {
    let segments = files(data, "lane-000", ".aol")?;
    let written = |path: &PathBuf| -> anyhow::Result<usize> {
        Ok(std::fs::read(path)?.iter().rposition(|byte| *byte != 0).unwrap_or(0))
    };
    for path in &segments {
        let end = written(path)?;
        if end > 64 << 10 {
            let middle = end as u64 / 2;
            return flip(path, (middle..middle + 4096).step_by(64));
        }
    }
    anyhow::bail!("nothing is written in {segments:?}")
}

/// Flips a bit in each block of a shard's tables.
fn flip_tables(data: &Path, shard: usize) -> anyhow::Result<()> {
    let path = data.join(format!("tables/shard-{shard:03}.redb"));
    let bytes = std::fs::metadata(&path)?.len();
    flip(&path, (0..bytes / 512).map(|block| block * 512 + 77))
}

/// Flips a bit in every other page of a shard's tables, behind the first ones, of which the node that runs has a copy in memory.
fn flip_pages(data: &Path, shard: usize) -> anyhow::Result<()> {
    const PAGE_BYTES: u64 = 4096;
    let path = data.join(format!("tables/shard-{shard:03}.redb"));
    let pages = std::fs::metadata(&path)?.len() / PAGE_BYTES;
    ensure!(pages > 100, "{pages} pages are all that shard {shard} has");
    flip(&path, (4..pages).step_by(2).map(|page| page * PAGE_BYTES + 900))
}

/// How often a node has found a shard damaged, and how often one was repaired.
fn told(world: &World, node: usize) -> (usize, usize) {
    let count = |what: &str| world.log(node).iter().filter(|line| line.contains(what)).count();
    (count(FOUND), count(REPAIRED))
}

/// A node that had told so much before has found so many shards damaged, and repaired what it found.
async fn until_repaired(
    world: &World,
    node: usize,
    before: (usize, usize),
    least: usize,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = told(world, node);
        let (found, repaired) = (now.0 - before.0, now.1 - before.1);
        if found >= least && repaired >= found {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "node {} repaired {repaired} of {found} shards:\n{}",
            node + 1,
            world.log(node).join("\n")
        );
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Every shard is led; if not, what the nodes have said.
async fn is_led(world: &World) -> anyhow::Result<()> {
    let logs = || (0..world.count()).flat_map(|node| world.log(node)).collect::<Vec<_>>().join("\n");
    world.wait_open(PATIENCE).await.map(drop).with_context(logs)
}

/// Everybody but one is killed in turn: every seal and every write needs that one then.
async fn counts(world: &mut World, node: usize) -> anyhow::Result<()> {
    for other in (0..world.count()).filter(|other| *other != node) {
        world.kill(other, true).await?;
        is_led(world).await?;
        world.start_node(other).await?;
        is_led(world).await?;
    }
    Ok(())
}

async fn finish(mut world: World, seed: u64) -> anyhow::Result<()> {
    let outcome = world.take_work()?.end().await?;
    println!(
        "seed {seed}: {} requests judged, {} acknowledged appends",
        outcome.events, outcome.acknowledged
    );
    outcome.check(seed)?;
    let logs: Vec<String> = (0..world.count()).flat_map(|node| world.log(node)).collect();
    world.end().await?;
    let complaints = complaints(&logs, &[PEERS_COME_AND_GO, DAMAGE, RUNNING_DAMAGE].concat());
    ensure!(complaints.is_empty(), "unlisted log lines:\n{}", complaints.join("\n"));
    Ok(())
}

/// A node that leads the given shard, or one that does not.
fn node_that(world: &World, leads: bool, shard: usize) -> anyhow::Result<usize> {
    let leader = world.leader(shard)?;
    (0..world.count()).find(|node| (*node == leader) == leads).context("there is one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_with_a_damaged_log_and_damaged_tables_is_repaired_and_nothing_is_lost()
-> anyhow::Result<()> {
    let seed = number("TEST_SEED", 31);
    let data = tempfile::tempdir()?;
    let mut wanted = options(seed);
    // All that the log has must be read by a start.
    let late = ["--checkpoint-interval", "10m", "--checkpoint-log-size", "1GiB"];
    wanted.node.extra.extend(late.map(str::to_owned));
    let mut world = World::start(wanted, data.path()).await?;
    world.work(seed, 6, 6).await?;
    sleep(std::time::Duration::from_secs(4)).await;
    for leads_it in [false, true] {
        is_led(&world).await?;
        let node = node_that(&world, leads_it, 1)?;
        let before = told(&world, node);
        world.kill(node, true).await?;
        flip_log(world.data(node))?;
        flip_tables(world.data(node), 1)?;
        world.start_node(node).await?;
        until_repaired(&world, node, before, 1).await?;
        counts(&mut world, node).await?;
    }
    finish(world, seed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_tables_rotted_while_it_was_down_is_seeded_and_counts_again() -> anyhow::Result<()> {
    let seed = number("TEST_SEED", 32);
    let data = tempfile::tempdir()?;
    let mut world = World::start(short_logs(seed, None), data.path()).await?;
    world.work(seed, 6, 6).await?;
    outrun(&world, 0).await?;
    let node = node_that(&world, true, 0)?;
    world.stop(node).await?;
    for shard in 0..SHARDS {
        flip_tables(world.data(node), shard)?;
    }
    world.start_node(node).await?;
    until_said(&world, node, SEEDED, SHARDS).await?;
    until_repaired(&world, node, (0, 0), SHARDS).await?;
    has_everything(&world, node, 0).await?;
    counts(&mut world, node).await?;
    finish(world, seed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_whose_tables_are_damaged_under_it_is_repaired_under_load_and_nothing_is_lost()
-> anyhow::Result<()> {
    const SHARD: usize = 1;
    let seed = number("TEST_SEED", 33);
    let data = tempfile::tempdir()?;
    let mut wanted = short_logs(seed, None);
    // What is stored is read again soon, and from the disk.
    let sharp =
        ["--table-cache", "1MiB", "--tail-cache", "1MiB", "--scrub-period", "1s", "--sweep-interval", "50ms"];
    wanted.node.extra.extend(sharp.map(str::to_owned));
    let mut world = World::start(wanted, data.path()).await?;
    world.work(seed, 6, 6).await?;
    outrun(&world, 0).await?;
    for leads_it in [false, true] {
        is_led(&world).await?;
        let node = node_that(&world, leads_it, SHARD)?;
        let count = |what: &str| world.log(node).iter().filter(|line| line.contains(what)).count();
        let (given_up, repaired) = (count(GIVEN_UP), count(REPAIRED));
        flip_pages(world.data(node), SHARD)?;
        until_said(&world, node, GIVEN_UP, given_up + 1).await?;
        until_said(&world, node, REPAIRED, repaired + 1).await?;
        has_everything(&world, node, 0).await?;
        ensure!(!files(world.data(node), "tables", ".damaged")?.is_empty(), "nothing stands aside");
        counts(&mut world, node).await?;
    }
    finish(world, seed).await
}
