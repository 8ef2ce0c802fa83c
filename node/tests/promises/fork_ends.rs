//! Promise: over two lanes, the source of a fork is let go only behind the durable end of the fork. In the other order a
//! power cut brings back a fork whose beginning is gone.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, ForkRequest, ReadError, ReadFrom, Running, start_on};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    ContentType, Lifetime, Messages, ShardCount, ShardId, StreamConfig, StreamName, UnixMillis,
};

use super::engine_world::{BEGINNING, block_on, config};
use super::gated_disk::{Gate, GatedDir};

/// When the fork's time is over.
const DEADLINE: i64 = BEGINNING + 60_000;

/// How a fork ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Expired,
    Deleted,
}

struct World {
    disk: SimulatedDisk,
    gate: Gate,
    clock: Arc<ManualClock>,
    running: Running,
    source: StreamName,
    fork: StreamName,
    /// Another stream of the source's lane.
    beside: StreamName,
}

fn start(disk: &SimulatedDisk, gate: &Gate, clock: &Arc<ManualClock>) -> Running {
    let config = config(2, 2, 1);
    let metrics = Arc::new(Metrics::new(2));
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    start_on(GatedDir::root(disk.root(), gate), &config, &clock, metrics).unwrap()
}

fn clock_at(now: i64) -> Arc<ManualClock> {
    let clock = Arc::new(ManualClock::default());
    clock.set(UnixMillis(now));
    clock
}

/// A name of the shard, and so of the lane of this number.
fn name_in(shard: u16, from: usize) -> StreamName {
    let names = (from..).map(|at| StreamName::from_bytes(format!("s{at}").as_bytes()).unwrap());
    names.into_iter().find(|name| name.shard(ShardCount::new(2).unwrap()) == ShardId(shard)).unwrap()
}

fn text(bytes: &'static str) -> Messages {
    Messages::single(Bytes::from_static(bytes.as_bytes())).unwrap()
}

async fn create(engine: &Engine, name: &StreamName, lifetime: Lifetime, source: Option<&StreamName>) {
    let content_type = ContentType::parse("text/plain").unwrap();
    let create = Create {
        name: name.clone(),
        config: StreamConfig { content_type, lifetime, ..StreamConfig::default() },
        content_type_given: true,
        fork_offset_given: false,
        closed: false,
        body: Ok(None),
        fork: None,
    };
    let fork = source.map(|source| ForkRequest { source: source.clone(), offset: None, sub_offset: 0 });
    engine.create(create, fork).await.unwrap();
}

async fn append(engine: &Engine, name: &StreamName, bytes: &'static str) {
    let append = Append::plain(name.clone(), ContentType::parse("text/plain").unwrap(), Some(text(bytes)));
    engine.append(append).await.unwrap();
}

async fn content(engine: &Engine, name: &StreamName) -> Result<String, ReadError> {
    let mut content = Vec::new();
    let mut from = ReadFrom::Start;
    loop {
        let batch = engine.read(name, from, 1 << 20).await?;
        for segment in &batch.segments {
            content.extend_from_slice(segment.messages.wire());
        }
        if batch.up_to_date() {
            return Ok(String::from_utf8(content).unwrap());
        }
        from = ReadFrom::At(batch.next);
    }
}

impl World {
    /// A fork on lane 0 whose source, on lane 1, was deleted: it is kept for the fork alone.
    fn new() -> Self {
        let (disk, gate, clock) = (SimulatedDisk::new(5), Gate::default(), clock_at(BEGINNING));
        let running = start(&disk, &gate, &clock);
        let (source, beside, fork) = (name_in(1, 0), name_in(1, 100), name_in(0, 0));
        let engine = &running.engine;
        block_on(async {
            create(engine, &source, Lifetime::Forever, None).await;
            create(engine, &beside, Lifetime::Forever, None).await;
            append(engine, &source, "from the source, ").await;
            create(engine, &fork, Lifetime::Until(UnixMillis(DEADLINE)), Some(&source)).await;
            append(engine, &fork, "from the fork").await;
            engine.delete(source.clone()).await.unwrap();
            assert_eq!(content(engine, &source).await, Err(ReadError::Gone), "kept for the fork");
        });
        Self { disk, gate, clock, running, source, fork, beside }
    }

    /// What a start on this disk finds, while the fork's time is not over.
    fn found_on(&self, disk: &SimulatedDisk) -> (Result<String, ReadError>, Result<String, ReadError>) {
        let running = start(disk, &Gate::default(), &clock_at(BEGINNING));
        assert!(running.report.damaged.is_empty(), "{:?}", running.report.damaged);
        let engine = &running.engine;
        let found =
            block_on(async { (content(engine, &self.fork).await, content(engine, &self.source).await) });
        running.stop();
        found
    }
}

fn check(end: End) {
    let world = World::new();
    let engine = world.running.engine.clone();
    world.gate.close("lane-000/", "sync");
    let deleting = {
        let (engine, fork) = (engine.clone(), world.fork.clone());
        std::thread::spawn(move || match end {
            End::Deleted => block_on(engine.delete(fork)).unwrap(),
            End::Expired => {}
        })
    };
    if matches!(end, End::Expired) {
        world.clock.set(UnixMillis(DEADLINE + 1));
    }
    // The record stands in the log, and is not durable. The lane syncs for itself, too: that is not the moment.
    loop {
        world.gate.arrival();
        match world.found_on(&world.disk.after_kill(1)).0 {
            Err(error) => break assert_eq!(error, ReadError::NotFound, "{end:?}"),
            Ok(_) => world.gate.let_pass(),
        }
    }
    // Whatever was sent to lane 1 before is decided before these, and durable with them.
    for _ in 0..3 {
        block_on(append(&engine, &world.beside, "x"));
    }
    assert_eq!(block_on(content(&engine, &world.source)), Err(ReadError::Gone), "{end:?}: let go too early");
    let mut came_back = 0;
    for seed in 0..20 {
        match world.found_on(&world.disk.after_power_cut(seed)) {
            (Ok(fork), source) => {
                assert_eq!(fork, "from the source, from the fork", "{end:?}, seed {seed}");
                assert_eq!(source, Err(ReadError::Gone), "{end:?}, seed {seed}");
                came_back += 1;
            }
            (fork, _) => assert_eq!(fork, Err(ReadError::NotFound), "{end:?}, seed {seed}"),
        }
    }
    assert!(came_back > 0, "{end:?}: no power cut took the end back");
    world.gate.open();
    deleting.join().unwrap();
    // The order is kept, and the source goes: lane 1 hears of it behind the commit, at some time.
    while block_on(content(&engine, &world.source)) != Err(ReadError::NotFound) {
        block_on(append(&engine, &world.beside, "x"));
    }
    world.running.stop();
}

#[test]
fn the_source_of_a_fork_on_another_lane_is_let_go_only_behind_the_durable_end_of_the_fork() {
    check(End::Deleted);
    check(End::Expired);
}
