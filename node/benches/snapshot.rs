//! How fast a shard becomes a snapshot and a snapshot a shard again, beside the floor that the disk sets in the same run.
//!
//! `cargo bench -p thalweg-node --bench snapshot [-- messages|large|rows|beside]`. Rates count bytes of rows before compression,
//! so that plain and compressed ones compare; the floor writes as many bytes to a file in the same pieces, with the same
//! syncs. With `TEST_RIVAL_SURREALMX` (a program: `e2e/rivals/surrealmx`), the crate surrealmx does the same in turns, with a
//! key for each message; its rates count its keys and values. Figures of one run are compared with each other, never
//! across runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a measuring tool")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures time and prints it")]
#![allow(clippy::cast_precision_loss, reason = "figures to print")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rival::Rival;
use thalweg_node::codec::snapshot::Compression;
use thalweg_node::config::Size;
use thalweg_node::seam::disk::{Dir, RealDir};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::snapshots::{Progress, SnapshotFile, Snapshots, Step, Taken, WriteOptions, restore};
use thalweg_node::store::tables::{Applied, Identity, Place, Tables, file_name};
use thalweg_node::types::{
    AppendOp, ContentType, Framing, Lengths, LogIndex, Messages, Offset, Op, ShardCount, ShardId,
    StreamConfig, StreamId, StreamMeta, StreamName, UnixMillis,
};

#[path = "snapshot/beside.rs"]
mod beside;
#[path = "snapshot/rival.rs"]
mod rival;

const ROUNDS: usize = 5;
const CACHE_BYTES: usize = 32 << 20;
const MESSAGE_BYTES: usize = 100;
const AT: UnixMillis = UnixMillis(1_790_000_000_000);

fn identity() -> Identity {
    Identity { shard: ShardId(0), shards: ShardCount::new(1).unwrap(), layout: [1; 16] }
}

fn place(folder: &Path) -> Place {
    std::fs::create_dir_all(folder).unwrap();
    let directory = RealDir::open(folder).unwrap();
    Place { directory, identity: identity(), cache_bytes: CACHE_BYTES, spare: None }
}

/// A message as a program writes it: half of it repeats, half does not.
fn message(number: u64) -> Vec<u8> {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!(
        "{{\"order\":{number:012},\"state\":\"shipped\",\"token\":\"{noise:016x}{:016x}\"",
        noise ^ AT.0.cast_unsigned()
    );
    let mut bytes = text.into_bytes();
    bytes.resize(MESSAGE_BYTES - 1, b' ');
    bytes.push(b'}');
    bytes
}

fn create(id: u64) -> Op {
    Op::Create(Box::new(StreamMeta {
        id: StreamId(id),
        name: StreamName::from_bytes(format!("orders/{id:08}/events").as_bytes()).unwrap(),
        config: StreamConfig {
            content_type: ContentType::parse("text/plain").unwrap(),
            ..StreamConfig::default()
        },
        created_at: AT,
        touched_at: AT,
        base: Offset::ZERO,
        earliest: Offset::ZERO,
        tail: Offset::ZERO,
        closed: false,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 0,
        retired: false,
    }))
}

fn append(stream: u64, messages: u64) -> Op {
    let wire: Vec<u8> = (0..messages).flat_map(|number| message(stream * 1_000_000 + number)).collect();
    let lengths = vec![u32::try_from(MESSAGE_BYTES).unwrap(); usize::try_from(messages).unwrap()];
    let messages =
        Messages::from_parts(Framing::Plain, Lengths::Many(lengths.into()), Bytes::from(wire)).unwrap();
    let (stream, start) = (StreamId(stream), Offset::ZERO);
    Op::Append(AppendOp { stream, start, messages, close: false, producer: None, seq: None, at: AT })
}

/// A shard with so many streams of so many messages each.
fn tables(folder: &Path, streams: u64, messages: u64) -> Tables {
    let mut tables = Tables::create_at(&place(folder)).unwrap();
    for first in (1..=streams).step_by(1000) {
        let ids = first..=streams.min(first + 999);
        let ops: Vec<(LogIndex, Op)> =
            ids.flat_map(|id| [(LogIndex(id), create(id)), (LogIndex(id), append(id, messages))]).collect();
        let index = ops.last().unwrap().0;
        tables.apply(&ops, Applied { index, ..Applied::default() }, &[]).unwrap();
    }
    tables.checkpoint().unwrap();
    tables
}

/// The floor: so many bytes to a new file, in pieces of 256 KiB, synced every 16 MiB.
fn floor(folder: &Path, bytes: u64) -> Duration {
    let directory = RealDir::open(folder).unwrap();
    let piece: Vec<u8> =
        (0..256 << 10_u32).map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let started = Instant::now();
    let file = directory.create("floor").unwrap();
    for number in 0..bytes.div_ceil(piece.len() as u64) {
        file.write_at(&piece, number * piece.len() as u64).unwrap();
        if number % 64 == 63 {
            file.sync().unwrap();
        }
    }
    file.sync().unwrap();
    directory.sync().unwrap();
    let took = started.elapsed();
    directory.remove("floor").unwrap();
    took
}

fn take(snapshots: &Snapshots, tables: &Tables, compression: Compression) -> (Taken, Duration) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = WriteOptions { compression, ..WriteOptions::default() };
    let started = Instant::now();
    let mut writing = snapshots.begin(&tables.reader(), &clock, options, &Arc::default()).unwrap();
    loop {
        if let Step::Done(taken) = writing.step().unwrap() {
            return (taken, started.elapsed());
        }
    }
}

/// Times of several rounds.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn print(&mut self, what: &str, bytes: u64, stored: u64, floor: Option<f64>) -> f64 {
        self.0.sort_unstable();
        let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e6;
        let (median, best) = (rate(self.0[self.0.len() / 2]), rate(self.0[0]));
        let ratio = floor.map_or(String::new(), |floor| format!("  {:.2} of the floor", median / floor));
        println!(
            "  {what:<28} median {median:>6.0} MB/s  best {best:>6.0} MB/s  {:>5.0} MB in the file{ratio}",
            stored as f64 / 1e6
        );
        median
    }
}

fn measure(root: &Path, what: &str, streams: u64, messages: u64) {
    let folder = root.join(what);
    let source = tables(&folder.join("tables"), streams, messages);
    let data: Arc<dyn Dir> = RealDir::open(&folder).unwrap();
    let snapshots = Snapshots::open(&data, identity()).unwrap();
    let (first, _) = take(&snapshots, &source, Compression::None);
    let bytes = first.raw_bytes;
    println!(
        "# {what}: {streams} streams of {messages} messages of {MESSAGE_BYTES} B: {} rows, {} MB",
        first.rows,
        bytes / 1_000_000
    );
    let mut floors = Times::default();
    let mut writes: [Times; 2] = Default::default();
    let mut verifies: [Times; 2] = Default::default();
    let mut restores: [Times; 2] = Default::default();
    let mut stored = [0; 2];
    let mut restored_bytes = 0;
    // As many messages, or as many rows and bytes.
    let (keys, value_bytes) = match messages {
        1 => (first.rows, usize::try_from(bytes / first.rows).unwrap().saturating_sub(KEY_BYTES)),
        _ => (streams * messages, MESSAGE_BYTES),
    };
    let mut theirs = Rival::start(&folder.join("rival"), keys, value_bytes);
    let mut their_writes: [Times; 2] = Default::default();
    let mut their_restores: [Times; 2] = Default::default();
    let mut their_stored = [0; 2];
    for round in 0..ROUNDS {
        floors.0.push(floor(&folder, bytes));
        for (at, compression) in [Compression::None, Compression::Lz4].into_iter().enumerate() {
            let (taken, took) = take(&snapshots, &source, compression);
            stored[at] = taken.bytes;
            writes[at].0.push(took);
            let snapshot = SnapshotFile::open(snapshots.directory().as_ref(), &taken.file).unwrap();
            let started = Instant::now();
            snapshot.verify(&Progress::default()).unwrap();
            verifies[at].0.push(started.elapsed());
            let target = folder.join(format!("restored-{round}-{at}"));
            let place = place(&target);
            let started = Instant::now();
            restore(&snapshot, &place, &Progress::default()).unwrap();
            restores[at].0.push(started.elapsed());
            restored_bytes = place.directory.open(&file_name(ShardId(0))).unwrap().stored_bytes().unwrap();
            std::fs::remove_dir_all(target).unwrap();
            if let Some(rival) = &mut theirs {
                let form = NAMES[at];
                let (took, bytes) = rival.ask(&format!("snapshot {form}"));
                their_writes[at].0.push(took);
                their_stored[at] = bytes;
                their_restores[at].0.push(rival.ask(&format!("recover {form}")).0);
            }
        }
    }
    let theirs = theirs.is_some().then(|| keys * (KEY_BYTES + value_bytes) as u64);
    let floor = floors.print("floor: write and sync", bytes, bytes, None);
    for (at, name) in NAMES.into_iter().enumerate() {
        let write = writes[at].print(&format!("snapshot, {name}"), bytes, stored[at], Some(floor));
        verifies[at].print(&format!("verify, {name}, warm"), bytes, stored[at], Some(floor));
        let restore =
            restores[at].print(&format!("restore, {name}, warm"), bytes, restored_bytes, Some(floor));
        if let Some(bytes) = theirs {
            let times = (&mut their_writes[at], &mut their_restores[at]);
            compare(name, (write, restore), times, (bytes, their_stored[at]), floor);
        }
    }
}

/// Prints theirs beside ours.
fn compare(
    name: &str,
    (write, restore): (f64, f64),
    (writes, restores): (&mut Times, &mut Times),
    (bytes, stored): (u64, u64),
    floor: f64,
) {
    let their_write = writes.print(&format!("surrealmx snapshot, {name}"), bytes, stored, Some(floor));
    let their_restore = restores.print(&format!("surrealmx recovery, {name}"), bytes, stored, Some(floor));
    println!(
        "  ours ÷ surrealmx, {name}: snapshot {:.1} ×, restore {:.1} ×",
        write / their_write,
        restore / their_restore
    );
}

/// The two ways of storing blocks.
const NAMES: [&str; 2] = ["none", "lz4"];
/// Of the rival's keys.
const KEY_BYTES: usize = 8;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshot-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    for (name, streams, messages) in
        [("messages", 1_000, 1_000), ("large", 1_000, 5_000), ("rows", 333_333, 1)]
    {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure(&root, name, streams, messages);
        }
    }
    if wanted.is_empty() || wanted.iter().any(|word| word == "beside") {
        for rate in [Some(Size::mib(64)), None] {
            beside::measure(&root, rate);
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
