//! Three nodes, one of which is away while the others write more than they keep of their logs: it comes back, is seeded,
//! and has everything.

use super::cluster::{PATIENCE, World, append_bytes, eventually, make, text};
use super::*;
use crate::config::Size;
use crate::runtime::{ShardReport, ShardRole};
use crate::types::LogIndex;

/// Bytes of one append, and how many of them outrun what the log keeps.
const APPEND_BYTES: usize = 16 << 10;
const APPENDS: u8 = 160;

/// Logs that keep little and are let go soon.
fn short_logs(config: &mut Config) {
    config.segment_size = Size::kib(64);
    config.segment_size_max = Size::kib(64);
    config.follower_log_max = Size::kib(128);
    config.checkpoint_log_size = Size::kib(64);
    config.checkpoint_interval = Duration::from_millis(100);
    config.apply_backlog = Size::kib(256);
}

async fn append(engine: &Engine, name: &StreamName, letter: u8) {
    append_bytes(engine, name, Bytes::from(vec![b'a' + letter % 26; APPEND_BYTES])).await;
}

/// All of a stream, piece by piece; a node that has just begun, or whose tables are being replaced, is asked again.
async fn whole(engine: &Engine, name: &StreamName) -> Vec<u8> {
    let (mut all, mut from) = (Vec::new(), ReadFrom::Start);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let batch = match engine.read(name, from, 1 << 20).await {
            Ok(batch) => batch,
            Err(error) => {
                assert!(tokio::time::Instant::now() < deadline, "{error:?}");
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
        };
        batch.segments.iter().for_each(|part| all.extend_from_slice(part.messages.wire()));
        if batch.next == batch.state.tail {
            return all;
        }
        from = ReadFrom::At(batch.next);
    }
}

/// The number of the first segment of a node's log: one that is let go is used again under a higher number.
fn first_segment(data: &Path) -> u64 {
    let names = std::fs::read_dir(data.join("lane-000")).unwrap();
    let number = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".aol")?.parse().ok();
    names.filter_map(|entry| number(entry.unwrap().file_name())).min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_the_logs_have_left_behind_is_seeded_and_follows_on() {
    let mut world = World::start_with(short_logs);
    world.led().await;
    let (name, other) = (world.led_by(0, "long"), world.led_by(1, "long"));
    for (node, name) in [(0, &name), (1, &other)] {
        make(world.engine(node), name).await;
    }
    assert_eq!(text(world.engine(2), &name).await, "");
    world.down().await;
    for letter in 0..APPENDS {
        append(world.engine(0), &name, letter).await;
        append(world.engine(1), &other, letter).await;
    }
    for node in 0..2 {
        eventually(|| first_segment(&world.configs[node].data) > 8).await;
    }
    world.up();
    let seeding = |world: &World| world.engine(2).shared.metrics.seeding.seeded.get();
    eventually(|| seeding(&world) >= 2).await;
    for (node, name) in [(0, &name), (1, &other)] {
        let there = whole(world.engine(node), name).await;
        assert_eq!(there.len(), APPEND_BYTES * usize::from(APPENDS));
        assert!(whole(world.engine(2), name).await == there, "the same bytes");
        append(world.engine(node), name, 7).await;
        assert_eq!(whole(world.engine(2), name).await.len(), there.len() + APPEND_BYTES);
    }
    // And it starts with what it got.
    world.down().await;
    append(world.engine(0), &name, 8).await;
    world.up();
    assert!(world.nodes[2].report.damaged.is_empty(), "{:?}", world.nodes[2].report.damaged);
    world.led().await;
    assert_eq!(whole(world.engine(2), &name).await.len(), APPEND_BYTES * (usize::from(APPENDS) + 2));
    assert_eq!(seeding(&world), 0, "the log had the rest");
    let folder = world.configs[2].data.join("seeding");
    eventually(|| std::fs::read_dir(&folder).unwrap().next().is_none()).await;
    world.stop().await;
}

/// Logs that keep more than lies between two places that a leader remembers of its log, which are a mebibyte apart.
fn marked_logs(config: &mut Config) {
    short_logs(config);
    config.follower_log_max = Size::mib(2);
}

/// A stream of the first node, whose shard is written to by nobody else.
struct Written {
    name: StreamName,
    /// The last entry of its shard.
    end: LogIndex,
}

impl Written {
    async fn begin(world: &World) -> Self {
        world.led().await;
        let name = world.led_by(0, "long");
        let mut written = Self { name, end: LogIndex(0) };
        // What a leader writes first is there once it is open.
        let end = |shard: &ShardReport| (shard.role == ShardRole::Leading).then_some(shard.end);
        written.end = written.look(world, end).await;
        // Nobody is to lack anything of other shards later.
        for node in 1..world.nodes.len() {
            written.has_all(world, node).await;
        }
        make(world.engine(0), &written.name).await;
        written.end = written.end.next();
        written
    }

    fn shard(&self, world: &World) -> ShardId {
        self.name.shard(world.engine(0).shared.count)
    }

    /// What the leader says of the shard, as soon as it says that.
    async fn look<T>(&self, world: &World, what: impl Fn(&ShardReport) -> Option<T>) -> T {
        let control = world.nodes[0].control();
        let looking = async {
            loop {
                let shards = control.shards().await;
                if let Some(seen) = shards.get(usize::from(self.shard(world).0)).and_then(&what) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("it never says so")
    }

    /// A node has everything of all shards that the first node leads.
    async fn has_all(&self, world: &World, node: usize) {
        let (leader, follower) = (world.nodes[0].control(), world.nodes[node].control());
        let looking = async {
            loop {
                let (led, held) = (leader.shards().await, follower.shards().await);
                let is_level = led.iter().zip(&held).all(|(led, held)| match led.role {
                    ShardRole::Following => true,
                    ShardRole::Leading => held.synced == led.end,
                    _ => false,
                });
                if is_level && led.len() == held.len() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("it never has everything");
    }

    /// Writes more than is kept, and waits until the rest of the log is let go.
    async fn outrun_the_log(&mut self, world: &World) {
        for letter in 0..APPENDS {
            self.append(world, letter).await;
        }
        let written = u64::try_from(APPEND_BYTES).unwrap() * (self.end.0 - 8);
        let kept = world.configs[0].follower_log_max.get() + (256 << 10);
        let first = (written - kept) / world.configs[0].segment_size.get();
        eventually(|| first_segment(&world.configs[0].data) >= first).await;
    }

    async fn append(&mut self, world: &World, letter: u8) {
        append(world.engine(0), &self.name, letter).await;
        self.end = self.end.next();
    }

    /// Has a snapshot taken of all that was written.
    async fn snapshot(&self, world: &World) -> std::path::PathBuf {
        let is_level = |shard: &ShardReport| (shard.applied == self.end).then_some(());
        self.look(world, is_level).await;
        let pinned = world.nodes[0].control().snapshot(self.shard(world)).await.unwrap();
        assert_eq!(pinned.index(), self.end);
        let folder = format!("snapshots/shard-{:03}", self.shard(world).0);
        world.configs[0].data.join(folder).join(pinned.file())
    }

    /// The last node is seeded and has everything.
    async fn is_seeded(&self, world: &World) {
        let last = world.nodes.len() - 1;
        eventually(|| world.engine(last).shared.metrics.seeding.seeded.get() > 0).await;
        assert!(whole(world.engine(last), &self.name).await == whole(world.engine(0), &self.name).await);
    }
}

/// How many snapshots the first node has taken.
fn taken(world: &World) -> u64 {
    world.engine(0).shared.metrics.snapshots.taken.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_are_seeded_one_after_the_other_from_one_snapshot() {
    let mut world = World::of(5, marked_logs);
    let mut written = Written::begin(&world).await;
    world.down().await;
    world.down().await;
    written.outrun_the_log(&world).await;
    written.snapshot(&world).await;
    // Something follows it in the log.
    written.append(&world, 1).await;
    for _ in 0..2 {
        world.up();
        written.is_seeded(&world).await;
    }
    assert_eq!(taken(&world), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_seeded_from_a_new_snapshot_when_the_one_that_is_there_is_damaged() {
    let mut world = World::start_with(marked_logs);
    let mut written = Written::begin(&world).await;
    world.down().await;
    written.outrun_the_log(&world).await;
    let file = written.snapshot(&world).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    world.up();
    written.is_seeded(&world).await;
    assert_eq!(taken(&world), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_seeded_from_a_new_snapshot_when_the_log_no_longer_goes_on_from_the_one_that_is_there()
{
    let mut world = World::start_with(marked_logs);
    let mut written = Written::begin(&world).await;
    world.down().await;
    written.append(&world, 0).await;
    written.snapshot(&world).await;
    written.outrun_the_log(&world).await;
    world.up();
    written.is_seeded(&world).await;
    assert_eq!(taken(&world), 2);
    world.stop().await;
}
