//! Promise: a full volume leaves everything readable, refuses writes, and goes on by itself: after deletions, after more
//! room, after a restart. On a small file system in memory, which only root may mount; without that the tests say so and
//! prove nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::{Config, Size};
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, EngineError, Failure, ReadBatch, ReadError, ReadFrom, Running, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ContentType, Messages, Offset, ShardCount, StreamName};

const BODY_BYTES: usize = 48 * 1024;
/// Refused for so long means full, and nothing that the applier is about to mend.
const FULL: Duration = Duration::from_millis(1500);
/// Longest wait until what must come by itself has come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long something took.
struct Stopwatch(Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(SystemClock.elapsed())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed().saturating_sub(self.0)
    }
}

/// A file system of its own, gone with the value.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(directory.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: no file system can be mounted here (that needs root); nothing was shown");
            return None;
        }
        Some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap().success());
    }

    /// Takes all that is free, as another program may.
    fn stuff(&self) {
        let mut file = std::fs::File::create(self.path().join("lost+found/foreign")).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

struct World {
    volume: SmallVolume,
    running: Option<Running>,
    /// What every stream holds: how many bodies, the next one's number being its first byte.
    streams: BTreeMap<String, u64>,
    refused: u64,
}

fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

fn body(number: u64) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); BODY_BYTES].into()
}

/// What a client is told to come again for: no room, or tables that are being compacted to make some.
fn passes(failure: &Failure) -> bool {
    matches!(failure, Failure::DiskFull | Failure::ShardBusy { .. })
}

impl World {
    fn on(volume: SmallVolume) -> Self {
        let mut world = Self { volume, running: None, streams: BTreeMap::new(), refused: 0 };
        world.start();
        world
    }

    fn start(&mut self) {
        let config = Config {
            data: self.volume.path().to_owned(),
            shards: ShardCount::new(4).unwrap(),
            segment_size: Size::mib(1),
            segment_size_max: Size::mib(2),
            table_cache: Size::mib(4),
            tail_cache: Size::mib(4),
            apply_backlog: Size::mib(4),
            ..Config::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let running = start(&config, &clock, Arc::new(Metrics::new(config.lanes))).unwrap();
        assert!(running.report.damaged.is_empty(), "{:?}", running.report.damaged);
        self.running = Some(running);
    }

    fn restart(&mut self) {
        self.running.take().unwrap().stop();
        self.start();
    }

    fn engine(&self) -> Engine {
        self.running.as_ref().unwrap().engine.clone()
    }

    async fn create(&mut self, stream: &str) {
        let create = Create::empty(name(stream), plain());
        self.engine().create(create, None).await.unwrap();
        self.streams.insert(stream.to_owned(), 0);
    }

    /// One body more; `false` if there is no room now.
    async fn append(&mut self, stream: &str) -> bool {
        let number = self.streams[stream];
        let append = Append::plain(name(stream), plain(), Messages::single(body(number)));
        match self.engine().append(append).await {
            Ok(_) => {
                *self.streams.get_mut(stream).unwrap() += 1;
                true
            }
            Err(EngineError::Failure(failure)) if passes(&failure) => {
                self.refused += 1;
                false
            }
            Err(other) => panic!("{stream}: {other}"),
        }
    }

    /// Writes to all streams in turn until nothing is taken any more; says how many bodies were.
    async fn fill(&mut self) -> u64 {
        let names: Vec<String> = self.streams.keys().cloned().collect();
        let (mut taken, mut last) = (0, Stopwatch::start());
        while last.elapsed() < FULL {
            for stream in &names {
                if self.append(stream).await {
                    taken += 1;
                    last = Stopwatch::start();
                } else {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        taken
    }

    /// Writes until `count` bodies were taken for each stream, however long it is refused.
    async fn write(&mut self, count: u64) {
        let names: Vec<String> = self.streams.keys().cloned().collect();
        for stream in &names {
            let (mut left, before) = (count, Stopwatch::start());
            while left > 0 {
                if self.append(stream).await {
                    left -= 1;
                } else {
                    assert!(before.elapsed() < PATIENCE, "{stream} takes nothing: {}", self.usage());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn delete(&mut self, stream: &str) {
        let before = Stopwatch::start();
        loop {
            match self.engine().delete(name(stream)).await {
                Ok(()) => break,
                Err(EngineError::Failure(failure)) if passes(&failure) => {
                    assert!(before.elapsed() < PATIENCE, "{stream} cannot be deleted: {}", self.usage());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(other) => panic!("{stream}: {other}"),
            }
        }
        self.streams.remove(stream);
    }

    /// A part of a stream.
    async fn read(&self, stream: &str, from: Offset) -> ReadBatch {
        let before = Stopwatch::start();
        loop {
            match self.engine().read(&name(stream), ReadFrom::At(from), 1 << 20).await {
                Ok(batch) => return batch,
                Err(ReadError::Failure(failure)) if passes(&failure) && before.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{stream} at {from}: {error}"),
            }
        }
    }

    /// Every stream holds what was acknowledged, byte for byte, and no more.
    async fn check(&self) {
        for (stream, bodies) in &self.streams {
            let (mut from, mut number) = (Offset::default(), 0);
            loop {
                let batch = self.read(stream, from).await;
                for segment in &batch.segments {
                    for part in segment.messages.wire().chunks(BODY_BYTES) {
                        assert_eq!(part, body(number), "{stream}, body {number}");
                        number += 1;
                    }
                }
                from = batch.next;
                if batch.up_to_date() {
                    break;
                }
            }
            assert_eq!(number, *bodies, "{stream}");
        }
    }

    fn usage(&self) -> String {
        let arguments = ["-type", "f", "-printf", "%b blocks, %s bytes: %P\n"];
        let listed = Command::new("find").arg(self.volume.path()).args(arguments).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_volume_stays_readable_and_goes_on_by_itself_after_deletions_a_restart_and_more_room() {
    let Some(volume) = SmallVolume::mount("48m") else { return };
    let mut world = World::on(volume);
    for number in 0..16 {
        world.create(&format!("s{number}")).await;
    }
    let first = world.fill().await;
    println!("{first} bodies filled it, {} refusals\n{}", world.refused, world.usage());
    assert!(first > 16 * 1024 * 1024 / BODY_BYTES as u64, "a third of the volume at least");
    world.check().await;
    world.restart();
    world.check().await;
    for number in 0..8 {
        world.delete(&format!("s{number}")).await;
    }
    let before = Stopwatch::start();
    world.write(first / 16 / 4).await;
    println!("written again {:?} after the deletions\n{}", before.elapsed(), world.usage());
    world.check().await;
    let second = world.fill().await;
    println!("{second} bodies filled it again\n{}", world.usage());
    world.volume.grow("80m");
    let before = Stopwatch::start();
    world.write(10).await;
    println!("written again {:?} after the volume grew", before.elapsed());
    world.check().await;
    world.restart();
    world.check().await;
    world.running.take().unwrap().stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_another_program_fills_to_the_last_byte_still_takes_deletions_and_restarts() {
    let Some(volume) = SmallVolume::mount("48m") else { return };
    std::fs::create_dir(volume.path().join("lost+found")).unwrap();
    let mut world = World::on(volume);
    for number in 0..8 {
        world.create(&format!("s{number}")).await;
    }
    world.write(20).await;
    world.volume.stuff();
    world.fill().await;
    world.check().await;
    world.restart();
    world.check().await;
    for number in 0..4 {
        world.delete(&format!("s{number}")).await;
    }
    // What the deletions free inside the tables, and of the log, is room.
    world.write(3).await;
    world.check().await;
    world.fill().await;
    std::fs::remove_file(world.volume.path().join("lost+found/foreign")).unwrap();
    world.write(20).await;
    world.check().await;
    world.restart();
    world.check().await;
    world.running.take().unwrap().stop();
}
