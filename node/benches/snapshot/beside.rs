//! What a snapshot under way costs those who write: the same appends with and without one, window by window.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg_node::config::{Config, Size};
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Control, Engine, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ContentType, Messages, ShardCount, ShardId, StreamName};

const WINDOW: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
const WRITERS: u64 = 16;
/// What the shard holds, so that a snapshot at the default rate lasts longer than a window.
const FILL_BYTES: usize = 320 << 20;
const FILL_BODY_BYTES: usize = 1 << 20;

fn name(number: u64) -> StreamName {
    StreamName::from_bytes(format!("s{number}").as_bytes()).unwrap()
}

fn text() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

async fn create(engine: &Engine, number: u64) {
    let create = Create::empty(name(number), text());
    engine.create(create, None).await.unwrap();
}

async fn append(engine: &Engine, number: u64, body: Bytes) {
    let append = Append::plain(name(number), text(), Messages::single(body));
    engine.append(append).await.unwrap();
}

/// Latencies of one window, sorted, in microseconds.
async fn window(engine: &Engine) -> Vec<u64> {
    let ended = Arc::new(AtomicBool::default());
    let writer = |number| {
        let (engine, ended) = (engine.clone(), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let started = Instant::now();
                append(&engine, number, Bytes::from_static(&[b'x'; 100])).await;
                times.push(u64::try_from(started.elapsed().as_micros()).unwrap());
            }
            times
        })
    };
    let writers: Vec<_> = (1..=WRITERS).map(writer).collect();
    tokio::time::sleep(WINDOW).await;
    ended.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await.unwrap());
    }
    times.sort_unstable();
    times
}

/// Takes one snapshot after the other until it is told to end.
async fn photograph(control: Control, ended: Arc<AtomicBool>, taken: Arc<AtomicU64>) {
    while !ended.load(Ordering::Relaxed) {
        let pinned = control.snapshot(ShardId(0)).await.unwrap();
        taken.fetch_add(pinned.open().unwrap().footer().raw_bytes, Ordering::Relaxed);
    }
}

fn told(what: &str, windows: &mut [Vec<u64>]) {
    let median = |part: fn(&Vec<u64>) -> u64, windows: &[Vec<u64>]| {
        let mut values: Vec<u64> = windows.iter().map(part).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let rate = median(|times| times.len() as u64, windows) / WINDOW.as_secs();
    let p50 = median(|times| times[times.len() / 2], windows);
    let p99 = median(|times| times[times.len() * 99 / 100], windows);
    let p999 = median(|times| times[times.len() * 999 / 1000], windows);
    println!(
        "  {what:<22} {rate:>6}/s  p50 {p50:>6} µs  p99 {p99:>6} µs  p99.9 {p999:>6} µs  (medians of {ROUNDS} windows)"
    );
}

pub(crate) fn measure(root: &Path, rate: Option<Size>) {
    let config = Config {
        data: root.join("beside"),
        shards: ShardCount::new(1).unwrap(),
        snapshot_rate: rate,
        ..Config::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = start(&config, &clock, Arc::new(Metrics::new(config.lanes))).unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let taken = Arc::new(AtomicU64::default());
    let mut spent = Duration::ZERO;
    tokio.block_on(async {
        let engine = &running.engine;
        for number in 0..=WRITERS {
            create(engine, number).await;
        }
        let body: Vec<u8> =
            (0..FILL_BODY_BYTES).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[4 + at % 2]).collect();
        for _ in 0..FILL_BYTES / FILL_BODY_BYTES {
            append(engine, 0, Bytes::from(body.clone())).await;
        }
        for _ in 0..ROUNDS {
            without.push(window(engine).await);
            let ended = Arc::new(AtomicBool::default());
            let began = Instant::now();
            let photographer =
                tokio::spawn(photograph(running.control(), Arc::clone(&ended), Arc::clone(&taken)));
            with.push(window(engine).await);
            ended.store(true, Ordering::Relaxed);
            photographer.await.unwrap();
            spent += began.elapsed();
        }
    });
    let speed = taken.load(Ordering::Relaxed) as f64 / spent.as_secs_f64() / 1e6;
    let rate = rate.map_or_else(|| "without a bound".to_owned(), |rate| format!("at {rate}/s"));
    println!(
        "# beside: {WRITERS} writers of 100 B, {} MB in the shard, snapshots {rate} (lz4)",
        FILL_BYTES / 1_000_000
    );
    told("no snapshot", &mut without);
    told("snapshot under way", &mut with);
    println!("  rows were read at {speed:.0} MB/s");
    running.stop();
    std::fs::remove_dir_all(config.data).unwrap();
}
