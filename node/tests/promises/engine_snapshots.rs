//! Promise: a running node takes snapshots, and nobody but whoever wants one notices: no write waits or fails for them, the
//! log goes when nothing needs it, and whatever a crash leaves of them, the node starts as it would without.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::{Config, Size, SnapshotCompression};
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, NoSnapshot, ReadFrom, Running, start_on};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::disk::{Dir, EntryKind};
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::store::snapshots::{Pinned, Progress, SnapshotFile, indexes};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    AolMode, ContentType, FsyncPolicy, LogIndex, Messages, ShardId, StreamName, UnixMillis,
};

use super::engine_crash::{Tally, images_of, record};
use super::engine_world::{BEGINNING, block_on, config, fatal};
use super::gated_disk::{Gate, GatedDir};
use super::tier;

const SHARD: ShardId = ShardId(0);

/// Snapshots are taken all the time.
fn often(config: Config) -> Config {
    Config { snapshot_log_size: Some(Size::bytes(1)), snapshot_rate: None, snapshot_keep: 2, ..config }
}

/// The log stays from its beginning on.
fn log_from_zero(config: Config) -> Config {
    Config {
        checkpoint_log_size: Size::gib(1),
        segment_size: Size::mib(8),
        segment_size_max: Size::mib(8),
        ..config
    }
}

/// The folders of all shards that have snapshots.
fn folders(disk: &SimulatedDisk) -> Vec<Arc<dyn Dir>> {
    let all = disk.root().subdir("snapshots").unwrap();
    let shards = all.entries().unwrap().into_iter().filter(|(_, kind)| *kind == EntryKind::Directory);
    shards.map(|(name, _)| all.subdir(&name).unwrap()).collect()
}

fn first_segment(disk: &SimulatedDisk) -> u64 {
    let lane = disk.root().subdir("lane-000").unwrap();
    lane.list().unwrap().first().map(|name| name[..10].parse().unwrap()).unwrap()
}

/// Whatever is there under its name is whole, and nothing else is there.
fn expect_whole(disk: &SimulatedDisk, what: &str) {
    for folder in folders(disk) {
        let found = indexes(folder.as_ref()).unwrap();
        assert_eq!(found.len(), folder.list().unwrap().len(), "{what}: litter: {:?}", folder.list());
        for name in folder.list().unwrap() {
            let file =
                SnapshotFile::open(folder.as_ref(), &name).unwrap_or_else(|error| panic!("{what}: {error}"));
            file.verify(&Progress::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

#[test]
fn a_node_restarts_with_and_without_snapshots_from_a_whole_and_a_cut_log_clean_and_killed_at_any_step() {
    let mut taken = 0;
    for (number, (snapshots, cut)) in (0..).zip([(false, false), (false, true), (true, false), (true, true)])
    {
        let seed = tier::seed() + 900 + number;
        let config = config(1, 4, 1);
        let config = if cut { config } else { log_from_zero(config) };
        let config = if snapshots { often(config) } else { config };
        let recorded = record(seed, config, if snapshots { expect_whole } else { |_, _| {} });
        let world = &recorded.world;
        taken += world.metrics.snapshots.taken.get();
        // More than the first one of each shard.
        assert_eq!(
            world.metrics.snapshots.taken.get() > 4,
            snapshots,
            "{}",
            world.metrics.snapshots.taken.get()
        );
        assert_eq!(world.metrics.snapshots.failures.get(), 0);
        let first = first_segment(&world.disk);
        assert_eq!(first > 1, cut, "snapshots: {snapshots}, the first segment is {first}");
        let mut tally = Tally::default();
        let count = tier::crash_images().div_ceil(60);
        images_of(&recorded, seed, count, &mut tally);
        // The last moment is a clean stop.
        let mut replay = recorded.history.replay();
        replay.advance(recorded.history.moments());
        recorded.look_at_end(replay.disk(), seed, &mut tally);
        println!("snapshots: {snapshots}, cut log: {cut}: {tally:?}");
    }
    println!("{taken} snapshots were taken");
}

/// An engine on a disk with a gate.
struct World {
    disk: SimulatedDisk,
    gate: Gate,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    running: Running,
    bodies: usize,
}

fn stream() -> StreamName {
    StreamName::from_bytes(b"only").unwrap()
}

fn text() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

impl World {
    fn on(disk: &SimulatedDisk, config: &Config) -> Self {
        let (gate, clock) = (Gate::default(), Arc::new(ManualClock::default()));
        clock.set(UnixMillis(BEGINNING));
        let metrics = Arc::new(Metrics::new(config.lanes));
        let as_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let root = GatedDir::root(disk.root(), &gate);
        let running = start_on(root, config, &as_clock, Arc::clone(&metrics)).unwrap();
        Self { disk: disk.clone(), gate, clock, metrics, running, bodies: 0 }
    }

    /// One shard, one stream; snapshots when they are ordered.
    fn new(seed: u64) -> Self {
        let mut world = Self::on(&SimulatedDisk::new(seed).with_whole_sectors(), &one_shard());
        let create = Create::empty(stream(), text());
        block_on(world.running.engine.create(create, None)).unwrap();
        world.append(20);
        world
    }

    /// Appends one after the other; each must be answered well.
    fn append(&mut self, count: usize) {
        for _ in 0..count {
            assert!(block_on(append(&self.running.engine, self.bodies)));
            self.bodies += 1;
        }
    }

    fn snapshot(&self) -> Result<Pinned, NoSnapshot> {
        block_on(self.running.control().snapshot(SHARD))
    }

    fn expect_content(&self, what: &str) {
        let name = stream();
        let read = self.running.engine.read(&name, ReadFrom::Start, 1 << 24);
        let batch = block_on(read).unwrap_or_else(|error| panic!("{what}: {error}"));
        let content: Vec<u8> =
            batch.segments.iter().flat_map(|segment| segment.messages.wire().to_vec()).collect();
        let expected: Vec<u8> = (0..self.bodies).flat_map(body).collect();
        assert!(content == expected, "{what}: {} bytes in place of {}", content.len(), expected.len());
    }
}

fn one_shard() -> Config {
    Config { snapshot_rate: None, snapshot_keep: 2, ..config(1, 1, 1) }
}

fn body(number: usize) -> Vec<u8> {
    format!("{number:0>600} ").into_bytes()
}

/// Whether it was answered well.
async fn append(engine: &Engine, number: usize) -> bool {
    let append = Append::plain(stream(), text(), Messages::single(Bytes::from(body(number))));
    engine.append(append).await.is_ok()
}

#[test]
fn writes_and_reads_go_on_and_the_log_goes_while_a_snapshot_stands_still() {
    let mut world = World::new(1);
    world.gate.close("snapshots/", "write");
    let control = world.running.control();
    let taking = std::thread::spawn(move || block_on(control.snapshot(SHARD)));
    world.gate.arrival();
    let (before, bodies) = (first_segment(&world.disk), world.bodies);
    world.append(600);
    world.expect_content("while a snapshot stands still");
    // The applier lets segments go behind its checkpoint, whatever the snapshot does.
    while first_segment(&world.disk) <= before + 1 {
        world.append(10);
    }
    world.gate.open();
    let pinned = taking.join().unwrap().unwrap();
    let file = pinned.open().unwrap();
    let state = file.verify(&Progress::default()).unwrap();
    assert!(
        state.totals.bytes <= (bodies * body(0).len()) as u64,
        "it shows what was written after it began"
    );
    drop(pinned);
    let later = world.snapshot().unwrap();
    assert!(later.open().unwrap().header().index > file.header().index);
    world.running.stop();
}

#[test]
fn log_segments_go_whether_or_not_there_is_a_snapshot() {
    for config in [one_shard(), often(one_shard())] {
        let mut world = World::new(2);
        if config.snapshot_log_size.is_some() {
            world.running.stop();
            world = World { bodies: world.bodies, ..World::on(&world.disk, &config) };
        }
        let before = first_segment(&world.disk);
        let lacks_one =
            |world: &World| config.snapshot_log_size.is_some() && world.metrics.snapshots.taken.get() == 0;
        while first_segment(&world.disk) <= before + 3 || lacks_one(&world) {
            world.append(10);
        }
        world.expect_content("with a cut log");
        world.running.stop();
    }
}

#[test]
fn an_error_of_the_device_at_any_call_of_a_snapshot_fails_no_write_and_the_next_one_succeeds() {
    let calls =
        ["open", "create", "rename", "remove", "list", "read", "write", "sync", "sync directory", "space"];
    let mut failures = 0_u64;
    let mut world = World::new(3);
    for call in calls {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            for behind in 0.. {
                world.append(1);
                world.gate.fail("snapshots/", call, behind, kind);
                let outcome = world.snapshot();
                let what = format!("{kind:?} at {call} behind {behind}");
                let unmet = world.gate.mend();
                world.append(1);
                assert_eq!(fatal(&world.running), None, "{what}");
                failures += u64::from(outcome.is_err());
                if let Ok(pinned) = &outcome {
                    pinned.open().unwrap().verify(&Progress::default()).unwrap();
                }
                drop(outcome);
                // Tried again, it succeeds, and nothing half written is left.
                let pinned = world.snapshot().unwrap_or_else(|error| panic!("{what}, again: {error}"));
                pinned.open().unwrap().verify(&Progress::default()).unwrap();
                drop(pinned);
                if unmet {
                    break;
                }
            }
        }
    }
    world.expect_content("after all failures");
    let metrics = &world.metrics.snapshots;
    // Twice it is there, and only cannot be told of.
    assert!(metrics.failures.get() <= failures && metrics.failures.get() >= 12, "{failures}");
    assert_eq!(metrics.failing.get(), 0);
    assert_eq!(world.running.control().snapshots()[0].failure, None);
    world.running.stop();
    let world = World { bodies: world.bodies, ..World::on(&world.disk, &one_shard()) };
    expect_whole(&world.disk, "after a restart");
    world.running.stop();
}

#[test]
fn a_write_that_failed_gets_into_no_snapshot() {
    let mut world = World::new(10);
    world.append(100);
    drop(world.snapshot().unwrap());
    world.gate.fail("lane-000/", "sync", 0, ErrorKind::Other);
    assert!(!block_on(append(&world.running.engine, world.bodies)));
    // A log that failed shows nothing to be sure of.
    assert!(world.snapshot().is_err());
    world.running.stop();
    for folder in folders(&world.disk) {
        for name in folder.list().unwrap() {
            let state =
                SnapshotFile::open(folder.as_ref(), &name).unwrap().verify(&Progress::default()).unwrap();
            assert!(state.totals.bytes <= (world.bodies * body(0).len()) as u64, "{name}");
        }
    }
}

#[test]
fn a_full_volume_is_left_to_the_log_and_snapshots_are_taken_again_when_there_is_room() {
    let mut world = World::new(4);
    world.append(100);
    let first = world.snapshot().unwrap().index();
    // What is left when writes begin to be refused, and a little more.
    let reserve = world.disk.used();
    world.disk.set_capacity(reserve + (9 << 20));
    world.append(1);
    let error = world.snapshot().unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    world.append(50);
    assert_eq!(world.metrics.snapshots.failing.get(), 1);
    assert!(world.running.control().snapshots()[0].failure.as_ref().unwrap().contains("full"));
    assert_eq!(world.running.control().snapshots()[0].index, Some(first));
    world.disk.set_capacity(u64::MAX);
    assert!(world.snapshot().unwrap().index() > first);
    assert_eq!(world.metrics.snapshots.failing.get(), 0);
    world.expect_content("at the end");
    world.running.stop();
}

#[test]
fn a_stop_ends_a_snapshot_under_way_and_leaves_no_litter_and_a_kill_leaves_what_the_next_start_removes() {
    let world = World::new(5);
    let first = world.snapshot().unwrap().index();
    let World { gate, disk, running, .. } = world;
    gate.close("snapshots/", "sync");
    let control = running.control();
    let taking = std::thread::spawn(move || block_on(control.snapshot(SHARD)));
    gate.arrival();
    let killed = disk.after_kill(1);
    let waiting = {
        let control = running.control();
        std::thread::spawn(move || block_on(control.snapshot(SHARD)))
    };
    running.engine.close();
    gate.open();
    running.stop();
    // The one under way may just have come to its end.
    let under_way = taking.join().unwrap();
    assert!(matches!(under_way, Ok(_) | Err(NoSnapshot::Ending)), "{under_way:?}");
    assert!(matches!(waiting.join().unwrap(), Ok(_) | Err(NoSnapshot::Ending)));
    expect_whole(&disk, "after a stop");
    let folder = folders(&killed).remove(0);
    assert!(folder.list().unwrap().iter().any(|name| name.ends_with(".tmp")));
    let world = World::on(&killed, &one_shard());
    expect_whole(&killed, "after the start that followed a kill");
    assert_eq!(indexes(folder.as_ref()).unwrap(), [first]);
    assert_eq!(world.running.control().snapshots()[0].index, Some(first), "what was there is known");
    world.running.stop();
}

#[test]
fn in_the_relaxed_modes_no_power_cut_leaves_a_snapshot_of_a_future_that_never_came() {
    for (aol, fsync) in [
        (AolMode::Sync, FsyncPolicy::Never),
        (AolMode::Async, FsyncPolicy::Never),
        (AolMode::Sync, FsyncPolicy::Interval(Duration::from_secs(60))),
    ] {
        let world = World::new(6);
        world.running.stop();
        let config = Config { aol, fsync, ..one_shard() };
        let mut world = World { bodies: world.bodies, ..World::on(&world.disk, &config) };
        world.append(60);
        let taken = loop {
            // The applier lags; some of what was appended must be in it.
            let pinned = world.snapshot().unwrap();
            if pinned.open().unwrap().verify(&Progress::default()).unwrap().totals.bytes > 40 * 600 {
                break pinned.open().unwrap().header().clone();
            }
            world.append(10);
        };
        let cut = world.disk.after_power_cut(7);
        world.running.stop();
        let after = World::on(&cut, &config);
        let folder = folders(&cut).remove(0);
        assert!(indexes(folder.as_ref()).unwrap().contains(&taken.index), "a durable snapshot is gone");
        // The start has applied all that the log had; what it wrote itself may not be applied yet.
        let now = after.snapshot().unwrap().open().unwrap().header().clone();
        let same = (now.index, now.epoch, now.chain) == (taken.index, taken.epoch, taken.chain);
        let (behind, before) = (now.index, taken.index);
        assert!(same || behind > before, "{aol:?} {fsync:?}: a snapshot of {before}, and a log of {behind}");
        after.running.stop();
    }
    let config = Config { aol: AolMode::Never, ..one_shard() };
    let world = World::on(&SimulatedDisk::new(6), &config);
    assert!(
        matches!(world.snapshot(), Err(NoSnapshot::NoLog)),
        "without a log there is nothing to be sure of"
    );
    world.running.stop();
}

#[test]
fn the_newest_snapshots_stay_and_one_in_use_stays_as_long_as_it_is_used() {
    let mut world = World::new(7);
    let held = world.snapshot().unwrap();
    let mut taken: Vec<LogIndex> = Vec::new();
    for _ in 0..4 {
        // Each shows something more, as soon as that is applied.
        let before = taken.last().copied().unwrap_or(held.index());
        taken.push(loop {
            world.append(10);
            let index = world.snapshot().unwrap().index();
            if index > before {
                break index;
            }
        });
    }
    let folder = folders(&world.disk).remove(0);
    let found = indexes(folder.as_ref()).unwrap();
    assert_eq!(found, [held.index(), taken[2], taken[3]]);
    held.open().unwrap().verify(&Progress::default()).unwrap();
    drop(held);
    drop(world.snapshot().unwrap());
    assert!(indexes(folder.as_ref()).unwrap().len() <= 2);
    world.running.stop();
}

#[test]
fn time_brings_a_snapshot_and_what_has_not_changed_gets_none() {
    let disk = SimulatedDisk::new(8);
    let interval = Duration::from_secs(900);
    let config = Config { snapshot_interval: Some(interval), ..one_shard() };
    let gate_of = |world: &World| {
        world.gate.close("snapshots/", "create");
        world.gate.clone()
    };
    let world = World::on(&disk, &config);
    // There is none yet: one is taken at once.
    let first = world.snapshot().unwrap().index();
    world.running.stop();
    let world = World::on(&disk, &config);
    let gate = gate_of(&world);
    world.clock.set(UnixMillis(BEGINNING + 899_000));
    assert_eq!(world.running.control().snapshots()[0].index, Some(first));
    world.clock.set(UnixMillis(BEGINNING + 900_000));
    // The new epoch is a change; now it is due.
    gate.arrival();
    gate.open();
    world.running.stop();
}

#[test]
fn snapshots_are_counted_and_their_age_is_told() {
    let world = World::new(9);
    assert_eq!(world.metrics.snapshots.missing.get(), 1);
    for compression in [SnapshotCompression::None, SnapshotCompression::Lz4] {
        let pinned = world.snapshot().unwrap();
        assert!(pinned.open().unwrap().bytes() > 0, "{compression:?}");
    }
    world.clock.set(UnixMillis(BEGINNING + 5_000));
    drop(world.snapshot().unwrap());
    let page = world.metrics.page();
    for line in [
        "thalweg_snapshots_taken_total 3",
        "thalweg_snapshot_failures_total 0",
        "thalweg_snapshot_missing_shards 0",
        "thalweg_snapshot_rows_expected 0",
        "thalweg_snapshot_age_seconds 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is missing in:\n{page}");
    }
    world.running.stop();
}
