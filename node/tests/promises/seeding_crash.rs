//! Promise: a follower that is seeded may lose its power at any moment. It starts with what it had, or with all of what it
//! was sent; its promises are kept, and no shard refuses service.
//!
//! Three nodes, of which the third one's disk is simulated and recorded while it comes back behind the logs of the others.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::{ClusterFile, Config, NodeName, Size};
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, EngineError, Failure, ReadFrom, Running, start_on};
use thalweg_node::seam::disk::simulated::{History, Random, Replay, SimulatedDisk};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::store::tables::{Identity, Tables};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ContentType, Epoch, LogIndex, Messages, ShardCount, ShardId, StreamName};
use tokio::runtime::Runtime;

use super::engine_world::block_on;
use super::free_address::free_address;
use super::tier;

const NODES: usize = 3;
/// The first node leads it.
pub(crate) const SHARD: ShardId = ShardId(0);
pub(crate) const APPEND_BYTES: usize = 16 << 10;
/// Appends before the third node goes away, while it is away, and after it is back.
pub(crate) const APPENDS: [usize; 3] = [4, 40, 4];
const PATIENCE: Duration = Duration::from_secs(60);
/// Moments of a replacement that are cut at behind the first one, each in several ways.
const STEPS: usize = 24;

pub(crate) struct World {
    pub(crate) configs: Vec<Config>,
    pub(crate) disks: Vec<SimulatedDisk>,
    pub(crate) name: StreamName,
    pub(crate) files: Arc<tempfile::TempDir>,
}

fn cluster_file(me: usize, peers: &[SocketAddr]) -> String {
    let member = |(id, peer): (usize, &SocketAddr)| {
        let node = if id == me { NodeName::standalone().to_string() } else { format!("n{id}") };
        format!("  - {{id: {id}, node: {node}, peer: '{peer}', client: '127.0.0.1:{}'}}\n", 4_437 + id)
    };
    let members: String = peers.iter().enumerate().map(member).collect();
    format!("cluster: {}\nmembers:\n{members}leaders: [0, 1, 2]\n", "0123456789abcdef".repeat(2))
}

fn config(me: usize, peers: &[SocketAddr], files: &Path) -> Config {
    let text = cluster_file(me, peers);
    let file = files.join(format!("cluster-{me}.yaml"));
    std::fs::write(&file, &text).unwrap();
    Config {
        data: files.join(format!("n{me}")),
        shards: ShardCount::new(2).unwrap(),
        cluster_id: Some(ClusterFile::parse(&text).unwrap().cluster),
        cluster_file: Some(file),
        peer_listen: peers[me],
        heartbeat: Duration::from_millis(20),
        segment_size: Size::kib(64),
        segment_size_max: Size::kib(64),
        follower_log_max: Size::kib(128),
        checkpoint_log_size: Size::kib(64),
        checkpoint_interval: Duration::from_millis(100),
        ..Config::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let files = tempfile::tempdir().unwrap();
        let peers: Vec<_> = (0..NODES).map(|_| free_address()).collect();
        let configs = (0..NODES).map(|me| config(me, &peers, files.path())).collect();
        let disk = |node| SimulatedDisk::new(seed * 10 + node).with_whole_sectors();
        let disks = (0..NODES as u64).map(disk).collect();
        let count = ShardCount::new(2).unwrap();
        let names = (0..).map(|number| StreamName::from_bytes(format!("s{number}").as_bytes()).unwrap());
        let name = { names }.find(|name| name.shard(count) == SHARD).unwrap();
        Self { configs, disks, name, files: Arc::new(files) }
    }

    pub(crate) fn start(&self, node: usize) -> (Running, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(1));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let root = self.disks[node].root();
        (start_on(root, &self.configs[node], &clock, Arc::clone(&metrics)).unwrap(), metrics)
    }
}

fn letter(number: usize) -> u8 {
    b'a' + u8::try_from(number % 26).unwrap()
}

/// Appends the message of this number; what is refused, because a machine under load lets nodes lose each other, is sent again.
pub(crate) async fn append(engine: &Engine, name: &StreamName, number: usize) {
    let append = Append::plain(
        name.clone(),
        ContentType::parse("text/plain").unwrap(),
        Messages::single(Bytes::from(vec![letter(number); APPEND_BYTES])),
    );
    let taken = async {
        while let Err(refusal) = engine.append(append.clone()).await {
            let nothing_done = matches!(
                refusal,
                EngineError::Failure(
                    Failure::NoLeader { .. } | Failure::NotLeader { .. } | Failure::Ahead { .. }
                )
            );
            assert!(nothing_done, "message {number}: {refusal:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("a leader takes it");
}

pub(crate) async fn create(engine: &Engine, name: &StreamName) {
    let content_type = ContentType::parse("text/plain").unwrap();
    let create = Create::empty(name.clone(), content_type);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while engine.create(create.clone(), None).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "nobody leads");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Looks until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node shows so many messages.
pub(crate) async fn has(engine: &Engine, name: &StreamName, count: usize) {
    let shows = async || {
        let read = engine.read(name, ReadFrom::Now, 1).await;
        read.is_ok_and(|batch| batch.state.tail.messages == count as u64)
    };
    eventually("it has everything", shows).await;
}

/// How much of the stream the tables of a disk hold, and up to which record they came as a whole.
pub(crate) fn held(disk: &SimulatedDisk, world: &World) -> (u64, LogIndex) {
    let directory = disk.root().subdir("tables").unwrap();
    let layout = world.configs[2].cluster_id.unwrap().0;
    let identity = Identity { shard: SHARD, shards: ShardCount::new(2).unwrap(), layout };
    let tables = Tables::open(&directory, identity, 1 << 20).unwrap();
    let reader = tables.reader();
    let seeded = reader.seeded().unwrap();
    let Some(entry) = reader.stream_by_name(&world.name).unwrap() else { return (0, seeded) };
    let (mut from, tail) = (entry.meta.earliest, entry.meta.tail);
    while from != tail {
        for part in reader.read(entry.meta.id, from, tail, 1 << 20).unwrap() {
            let first = usize::try_from(part.start.messages).unwrap();
            for (number, message) in (first..).zip(part.messages.wire().chunks(APPEND_BYTES)) {
                assert!(message.iter().all(|byte| *byte == letter(number)), "message {number}");
            }
            from = part.messages.end(part.start);
        }
    }
    (tail.messages, seeded)
}

fn promised(disk: &SimulatedDisk) -> Epoch {
    let found = SuperblockStore::peek(disk.root().as_ref()).unwrap().unwrap();
    found.shards.get(&SHARD).map(|memory| memory.promised).unwrap_or_default()
}

pub(crate) fn tokio() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The number of the first segment of a node's log, as its name says it.
pub(crate) fn first_segment(world: &World, node: usize) -> String {
    let lane = world.disks[node].root().subdir("lane-000").unwrap();
    lane.list().unwrap().into_iter().min().unwrap()
}

/// Three nodes of which the third went away, and the logs of the others went on without it.
pub(crate) fn left_behind(world: &World, runtime: &Runtime) -> (Running, Running, Arc<Metrics>) {
    let ((first, metrics), (second, _), (third, _)) = (world.start(0), world.start(1), world.start(2));
    runtime.block_on(async {
        create(&first.engine, &world.name).await;
        for number in 0..APPENDS[0] {
            append(&first.engine, &world.name, number).await;
        }
        has(&third.engine, &world.name, APPENDS[0]).await;
    });
    third.stop();
    runtime.block_on(async {
        for number in APPENDS[0]..APPENDS[0] + APPENDS[1] {
            append(&first.engine, &world.name, number).await;
        }
        // A segment that is let go is used again under a higher number.
        let gone = async || first_segment(world, 0).as_str() > "0000000004";
        eventually("the log is let go", gone).await;
    });
    (first, second, metrics)
}

/// The third node's life from when it comes back until it has everything.
fn record(world: &World) -> History {
    let runtime = tokio();
    let (first, second, _) = left_behind(world, &runtime);
    let (history, third) = world.disks[2].record(|| {
        let (third, metrics) = world.start(2);
        runtime.block_on(async {
            eventually("it is seeded", async || metrics.seeding.seeded.get() > 0).await;
            let numbers = APPENDS[0] + APPENDS[1]..APPENDS.iter().sum();
            for number in numbers {
                append(&first.engine, &world.name, number).await;
            }
            has(&third.engine, &world.name, APPENDS.iter().sum()).await;
        });
        third
    });
    for running in [third, first, second] {
        running.stop();
    }
    history
}

/// The moment at which the file that takes the place of the shard's own first has its name.
fn replacement(history: &History) -> usize {
    let mut replay = history.replay();
    for moment in 0..=history.moments() {
        replay.advance(moment);
        let names = replay.disk().root().subdir("tables").unwrap().list().unwrap();
        if names.iter().any(|name| name.ends_with(".next")) {
            return moment;
        }
    }
    panic!("nothing was made to take a place")
}

#[derive(Debug, Default)]
struct Tally {
    images: usize,
    /// Images that started with the tables before.
    old: usize,
    /// With what the leader sent.
    new: usize,
}

fn look_at(world: &World, replay: &Replay, random: &mut Random, what: &str, tally: &mut Tally) {
    let disk = match random.chance(20) {
        true => replay.disk().after_kill(random.next()),
        false => replay.disk().after_power_cut(random.next()),
    };
    let before = promised(&disk);
    tally.images += 1;
    // Nobody is there; what it has is its own.
    let config = Config { peer_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..world.configs[2].clone() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = start_on(disk.root(), &config, &clock, Arc::new(Metrics::new(1)));
    let running = running.unwrap_or_else(|error| panic!("{what}: does not start: {error:#}"));
    assert_eq!(running.report.damaged, [], "{what}");
    let report = block_on(running.control().shards()).into_iter().find(|report| report.shard == SHARD);
    assert!(report.is_some_and(|report| report.promised >= before), "{what}: the promise is kept");
    running.stop();
    let (messages, seeded) = held(&disk, world);
    let [first, ..] = APPENDS.map(|count| count as u64);
    match seeded {
        LogIndex(0) => {
            tally.old += 1;
            assert_eq!(messages, first, "{what}");
        }
        _ => {
            tally.new += 1;
            // More than the old ones; how much more depends on how far the leader's tables were behind its log, which brings the rest.
            assert!(messages > first, "{what}: {messages} messages");
        }
    }
}

#[test]
fn no_power_cut_while_a_follower_is_seeded_leaves_anything_but_the_old_or_the_new() {
    let mut tally = Tally::default();
    let seed = tier::seed() + 1;
    let world = World::new(seed);
    let history = record(&world);
    let (first, mut random) = (replacement(&history), Random::new(seed));
    let mut cuts: Vec<usize> = (0..tier::crash_images() / 20)
        .map(|_| usize::try_from(random.below(history.moments() as u64 + 1)).unwrap())
        .collect();
    cuts.extend((0..STEPS).map(|step| first + step));
    cuts.sort_unstable();
    let mut replay = history.replay();
    for moment in cuts {
        replay.advance(moment);
        let what = format!("seed {seed}, cut at {moment} of {}, replaced from {first} on", history.moments());
        look_at(&world, &replay, &mut random, &what, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.old > STEPS / 8 && tally.new > STEPS / 8, "{tally:?}");
}
