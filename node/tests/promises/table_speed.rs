//! Promise: the ends of a long stream read alike. Beside it, measurements that are run by hand:
//! `cargo test --release --test promises -- --ignored --nocapture --test-threads=1 table_speed`.

#![expect(clippy::disallowed_methods, reason = "measurements read the machine's clock")]

use std::time::Instant;

use bytes::Bytes;
use thalweg_node::store::tables::{Identity, Tables};
use thalweg_node::types::{
    AppendOp, ContentType, LogIndex, Messages, Offset, Op, ShardCount, ShardId, StreamConfig, StreamId,
    StreamMeta, StreamName, UnixMillis,
};

use super::table_disk::Disk;
use super::table_model::{applied, dir, identity};

fn meta(id: u64) -> StreamMeta {
    StreamMeta {
        id: StreamId(id),
        name: StreamName::from_bytes(format!("orders/{id:08}/events").as_bytes()).unwrap(),
        config: StreamConfig {
            content_type: ContentType::parse("text/plain").unwrap(),
            ..StreamConfig::default()
        },
        created_at: UnixMillis(1_790_000_000_000),
        touched_at: UnixMillis(1_790_000_000_000),
        base: Offset::ZERO,
        earliest: Offset::ZERO,
        tail: Offset::ZERO,
        closed: false,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 0,
        retired: false,
    }
}

fn append(stream: u64, start: Offset, wire: &Bytes) -> Op {
    Op::Append(AppendOp {
        stream: StreamId(stream),
        start,
        messages: Messages::single(wire.clone()).unwrap(),
        close: false,
        producer: None,
        seq: None,
        at: UnixMillis(1_790_000_000_000),
    })
}

/// Streams 1..=count, created.
fn created(tables: &mut Tables, count: u64) -> u64 {
    let mut index = 0;
    for first in (1..=count).step_by(10_000) {
        let ids = first..=count.min(first + 9_999);
        let ops: Vec<_> = ids.map(|id| (LogIndex(id), Op::Create(Box::new(meta(id))))).collect();
        index += ops.len() as u64;
        tables.apply(&ops, applied(index), &[]).unwrap();
    }
    tables.checkpoint().unwrap();
    index
}

#[test]
fn a_long_stream_reads_alike_at_both_ends() {
    const MESSAGES: u64 = 1_000_000;
    let disk = Disk::default();
    let mut tables = Tables::create_on(disk.clone(), identity(), 4 << 20).unwrap();
    let mut index = created(&mut tables, 1);
    let wire = Bytes::from_static(b"a small message.");
    for _ in 0..100 {
        let mut ops = Vec::new();
        for _ in 0..MESSAGES / 100 {
            ops.push((
                LogIndex(index + 1),
                append(1, Offset { messages: index - 1, bytes: (index - 1) * 16 }, &wire),
            ));
            index += 1;
        }
        tables.apply(&ops, applied(index), &[]).unwrap();
    }
    tables.checkpoint().unwrap();
    let reader = tables.reader();
    let at = |messages: u64| Offset { messages, bytes: messages * 16 };
    // Device calls of a cold read, at places that were not read before.
    let mut calls = Vec::new();
    for place in [10, MESSAGES / 2, MESSAGES - 2_000] {
        for step in 0..3 {
            let before = disk.calls();
            let read = reader.read(StreamId(1), at(place + step * 500), at(MESSAGES), 1600).unwrap();
            assert_eq!(read[0].messages.count() + read.get(1).map_or(0, |s| s.messages.count()), 100);
            calls.push(disk.calls() - before);
        }
    }
    assert!(calls.iter().all(|&calls| calls <= 12), "{calls:?}");
}

fn apply_speed(streams: u64, batch: u64) {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity { shard: ShardId(0), shards: ShardCount::new(1).unwrap(), layout: [0; 16] };
    let mut tables = Tables::create(&dir(&directory), identity, 32 << 20).unwrap();
    let mut index = created(&mut tables, streams);
    let wire = Bytes::from(vec![b'x'; 100]);
    let mut tails = vec![Offset::ZERO; usize::try_from(streams).unwrap()];
    let rounds = (1_000_000 / batch).clamp(20, 200);
    let batches: Vec<Vec<(LogIndex, Op)>> = (0..rounds)
        .map(|_| {
            (0..batch)
                .map(|n| {
                    let stream = n % streams;
                    let tail = &mut tails[usize::try_from(stream).unwrap()];
                    let op = append(stream + 1, *tail, &wire);
                    *tail = tail.advanced(1, 100);
                    index += 1;
                    (LogIndex(index), op)
                })
                .collect()
        })
        .collect();
    let written = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/io").unwrap();
        text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
    };
    let (before, started) = (written(), Instant::now());
    let mut checkpoints = std::time::Duration::ZERO;
    for (number, ops) in batches.iter().enumerate() {
        tables.apply(ops, applied(ops[ops.len() - 1].0.0), &[]).unwrap();
        if number % 10 == 9 {
            let started = Instant::now();
            tables.checkpoint().unwrap();
            checkpoints += started.elapsed();
        }
    }
    let (all, bytes) = (started.elapsed(), written() - before);
    let ops = rounds * batch;
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6 / ops as f64;
    println!(
        "{streams:>6} streams, {batch:>6} appends of 100 B per batch: {:.2} us per append ({:.2} of it checkpoints, one per 10 batches), {:.0} appends/s, {:.1} bytes written per byte",
        micros(all),
        micros(checkpoints),
        1e6 / micros(all),
        bytes as f64 / (ops * 100) as f64,
    );
}

#[test]
#[ignore = "a measurement"]
fn measure_apply() {
    let only = std::env::var("TEST_STREAMS").ok();
    for (streams, batch) in
        [(1, 1), (1, 100), (1, 10_000), (100, 100), (100, 10_000), (10_000, 10_000), (10_000, 100_000)]
    {
        if only.as_ref().is_none_or(|only| *only == streams.to_string()) {
            apply_speed(streams, batch);
        }
    }
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn measure_many_databases() {
    for count in [16u16, 256] {
        let directory = tempfile::tempdir().unwrap();
        let shards = ShardCount::new(count.into()).unwrap();
        let cache = (32 << 20) / usize::from(count);
        let (before, started) = (resident_kib(), Instant::now());
        let all: Vec<Tables> = shards
            .shards()
            .map(|shard| {
                Tables::create(&dir(&directory), Identity { shard, shards, layout: [0; 16] }, cache).unwrap()
            })
            .collect();
        let (created, kib) = (started.elapsed(), resident_kib() - before);
        let path = directory.path().join("shard-000.redb");
        let disk = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) / 2;
        let length = std::fs::metadata(&path).unwrap().len() / 1024;
        drop(all);
        let started = Instant::now();
        let all: Vec<Tables> = shards
            .shards()
            .map(|shard| {
                Tables::open(&dir(&directory), Identity { shard, shards, layout: [0; 16] }, cache).unwrap()
            })
            .collect();
        println!(
            "{count} databases: created in {created:?}, opened in {:?}, {kib} KiB resident ({} each), file {length} KiB long, {disk} KiB on disk",
            started.elapsed(),
            kib / u64::from(count)
        );
        drop(all);
    }
}
