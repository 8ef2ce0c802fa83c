//! Three nodes, one of which is away while the others write more than they keep of their logs: it comes back, is seeded,
//! and has everything.

use super::cluster::{World, eventually, make, plain, text};
use super::*;
use crate::config::Size;

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
    let append = Append {
        name: name.clone(),
        content_type: Some(plain()),
        body: Ok(Messages::single(Bytes::from(vec![b'a' + letter % 26; APPEND_BYTES]))),
        close: false,
        producer: None,
        seq: None,
        if_match: None,
    };
    engine.append(append).await.unwrap();
}

/// All of a stream, piece by piece.
async fn whole(engine: &Engine, name: &StreamName) -> Vec<u8> {
    let (mut all, mut from) = (Vec::new(), ReadFrom::Start);
    loop {
        let batch = engine.read(name, from, 1 << 20).await.unwrap();
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
