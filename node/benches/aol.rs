//! How many appends the log makes durable per second, beside the floor that the disk sets in the same run.
//!
//! `cargo bench -p thalweg-node --bench aol [-- files|group|lanes|work]`. All compared variants share the threads and the
//! hand-over, so that only the log differs. Figures of one run are compared with each other, never across runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a measuring tool")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures time and prints it")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thalweg_node::codec::record::{RecordKind, total_bytes};
use thalweg_node::seam::disk::RealDir;
use thalweg_node::store::aol::{Lane, LaneOptions, RecordHead};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LogIndex, RecordEpoch, ShardId};

const PAYLOAD: [u8; 100] = [7; 100];
/// Variants take turns in short rounds: others use the machine and its disk too.
const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: usize = 41;

/// What makes appends durable.
trait Log: Send {
    fn append(&mut self, shard: u16);
    fn commit(&mut self);
    fn rest(&mut self) {}
}

/// The floor: one write and one sync of as many bytes, into a file whose blocks were all written before.
struct Floor {
    file: std::fs::File,
    buffer: Vec<u8>,
    at: u64,
}

const FLOOR_BYTES: u64 = 64 << 20;

impl Floor {
    fn new(path: &Path) -> Self {
        let file = std::fs::File::create(path).unwrap();
        for piece in 0..FLOOR_BYTES >> 20 {
            file.write_all_at(&vec![0; 1 << 20], piece << 20).unwrap();
        }
        file.sync_all().unwrap();
        Self { file, buffer: Vec::new(), at: 0 }
    }
}

impl Log for Floor {
    fn append(&mut self, _: u16) {
        let total = usize::try_from(total_bytes(PAYLOAD.len())).unwrap();
        self.buffer.resize(self.buffer.len() + total, 7);
    }

    fn commit(&mut self) {
        if self.at + self.buffer.len() as u64 > FLOOR_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
    }
}

/// A lane, which lets go of its segments a while behind the tail, as checkpoints do.
struct Ours {
    lane: Lane,
    heads: Vec<(u64, Chain)>,
    keep_bytes: u64,
}

impl Ours {
    fn new(folder: &Path, segment_bytes: u64, keep_bytes: u64) -> Self {
        let dir = RealDir::open(folder).unwrap();
        let options = LaneOptions { segment_bytes, ..LaneOptions::new(LaneId(0), [1; 16], true) };
        let (mut lane, _) = Lane::open(&dir, options, |_| {}).unwrap();
        while lane.tend().unwrap() {}
        Self { lane, heads: vec![(0, Chain(0)); 256], keep_bytes }
    }
}

impl Log for Ours {
    fn append(&mut self, shard: u16) {
        let (index, chain) = &mut self.heads[usize::from(shard)];
        *index += 1;
        let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
        let (kind, shard) = (RecordKind::Batch, ShardId(shard));
        let head = RecordHead { kind, shard, epoch, index: LogIndex(*index), chain: *chain };
        *chain = self.lane.append(&head, |out| out.extend_from_slice(&PAYLOAD)).unwrap().chain;
    }

    fn commit(&mut self) {
        self.lane.write().unwrap();
        self.lane.sync().unwrap();
    }

    fn rest(&mut self) {
        let upto = self.lane.synced().0.saturating_sub(self.keep_bytes);
        self.lane.release(thalweg_node::types::LanePosition(upto)).unwrap();
        self.lane.tend().unwrap();
    }
}

/// A waiting writer.
struct Request {
    shard: u16,
    done: Sender<()>,
}

fn commit_loop(log: &mut dyn Log, requests: &Receiver<Request>) {
    let mut waiting = Vec::new();
    while let Ok(first) = requests.recv() {
        waiting.push(first);
        waiting.extend(requests.try_iter());
        waiting.iter().for_each(|request| log.append(request.shard));
        log.commit();
        waiting.drain(..).for_each(|request| request.done.send(()).unwrap_or_default());
        log.rest();
    }
}

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// `writers` threads that each wait for their append; shards are spread over the logs.
fn run(logs: &mut [Box<dyn Log>], writers: usize, shards: u16) -> Figures {
    let stop = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let latencies = Mutex::new(Vec::new());
    let mut senders = Vec::new();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for log in logs {
            let (sender, receiver) = channel();
            senders.push(sender);
            scope.spawn(move || commit_loop(log.as_mut(), &receiver));
        }
        let senders = Arc::new(std::mem::take(&mut senders));
        for writer in 0..writers {
            let (stop, count, latencies, senders) = (&stop, &count, &latencies, senders.clone());
            scope.spawn(move || {
                let (done, finished) = channel();
                let mut mine = Vec::new();
                let mut choice = writer as u64;
                while !stop.load(Ordering::Relaxed) {
                    choice = choice
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let shard = u16::try_from((choice >> 33) % u64::from(shards)).unwrap();
                    let begun = Instant::now();
                    let lane = usize::from(shard) % senders.len();
                    senders[lane].send(Request { shard, done: done.clone() }).unwrap();
                    finished.recv().unwrap();
                    mine.push(begun.elapsed());
                    count.fetch_add(1, Ordering::Relaxed);
                }
                latencies.lock().unwrap().append(&mut mine);
            });
        }
        drop(senders);
        while started.elapsed() < ROUND {
            std::thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let elapsed = started.elapsed().as_secs_f64();
    let mut latencies = latencies.into_inner().unwrap();
    latencies.sort_unstable();
    let at = |per_mille: usize| latencies.get(latencies.len() * per_mille / 1000).copied().unwrap_or(ROUND);
    #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
    let per_second = count.into_inner() as f64 / elapsed;
    Figures { per_second, p50: at(500), p99: at(990) }
}

/// A variant: its name, its logs, how many shards.
type Variant = (String, Vec<Box<dyn Log>>, u16);

/// Runs the variants in turn and prints of each the median round and a quiet one (the ninth decile), with its ratio to the
/// first variant's.
fn compare(writers: usize, mut variants: Vec<Variant>) {
    let mut rounds: Vec<Vec<Figures>> = variants.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, logs, shards), rounds) in variants.iter_mut().zip(&mut rounds) {
            rounds.push(run(logs, writers, *shards));
        }
    }
    let mut first = None;
    for ((name, ..), rounds) in variants.iter().zip(&mut rounds) {
        rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let (median, quiet) = (&rounds[ROUNDS / 2], &rounds[ROUNDS * 9 / 10]);
        let ratio = quiet.per_second / *first.get_or_insert(quiet.per_second);
        let (p50, p99) = (quiet.p50.as_secs_f64() * 1e3, quiet.p99.as_secs_f64() * 1e3);
        println!(
            "{writers:>3} writers, {name:<28} median {:>7.0}/s  quiet {:>7.0}/s  p50 {p50:.2} ms  p99 {p99:.2} ms  {ratio:.2}",
            median.per_second, quiet.per_second,
        );
    }
}

fn group(root: &Path) {
    for writers in [1, 16, 64] {
        let folder = |name: &str| root.join(format!("{name}-{writers}"));
        let mut recycled = Ours::new(&folder("recycled"), 1 << 20, 2 << 20);
        while recycled.lane.tail().0 < 8 << 20 {
            (0..500).for_each(|_| recycled.append(0));
            recycled.commit();
            recycled.rest();
        }
        compare(
            writers,
            vec![
                ("floor".to_owned(), vec![Box::new(Floor::new(&folder("floor")))], 16),
                ("lane, segments used again".to_owned(), vec![Box::new(recycled)], 16),
                (
                    "lane, new segments".to_owned(),
                    vec![Box::new(Ours::new(&folder("new"), 8 << 20, u64::MAX))],
                    16,
                ),
            ],
        );
    }
}

fn lanes(root: &Path) {
    for shards in [1, 16, 256] {
        let mut counts = vec![1, 2, 4, shards];
        counts.retain(|lanes| *lanes <= shards);
        counts.dedup();
        let variants = counts.into_iter().map(|lanes| {
            let folder = root.join(format!("lanes-{shards}-{lanes}"));
            std::fs::create_dir(&folder).unwrap();
            let logs = (0..lanes).map(|lane| -> Box<dyn Log> {
                Box::new(Ours::new(&folder.join(lane.to_string()), 1 << 20, 2 << 20))
            });
            (format!("{shards} shards in {lanes} lanes"), logs.collect(), shards)
        });
        compare(64, variants.collect());
    }
}

/// One thread, bare writes and syncs of 176 bytes: what the state of the file costs.
fn files(root: &Path) {
    use thalweg_node::seam::disk::{Dir, File};
    let dir: Arc<dyn Dir> = RealDir::open(&root.join("files")).unwrap();
    let bytes = 64 << 20;
    let states = ["growing", "allocated, never written", "zeros written ahead"];
    let mut files: Vec<(Arc<dyn File>, u64, Vec<f64>)> = Vec::new();
    for state in states {
        let file = dir.create(state).unwrap();
        if state != "growing" {
            file.allocate(bytes).unwrap();
        }
        if state == "zeros written ahead" {
            (0..bytes >> 20).for_each(|piece| file.write_at(&vec![0; 1 << 20], piece << 20).unwrap());
        }
        file.sync().unwrap();
        files.push((file, 0, Vec::new()));
    }
    dir.sync().unwrap();
    for _ in 0..ROUNDS {
        for (file, at, rates) in &mut files {
            let (started, from) = (Instant::now(), *at);
            while started.elapsed() < ROUND {
                file.write_at(&[7; 176], *at * 176).unwrap();
                file.sync().unwrap();
                *at += 1;
            }
            #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
            rates.push((*at - from) as f64 / started.elapsed().as_secs_f64());
        }
    }
    for ((_, _, rates), state) in files.iter_mut().zip(states) {
        rates.sort_by(f64::total_cmp);
        let (median, quiet) = (rates[ROUNDS / 2], rates[ROUNDS * 9 / 10]);
        println!("{state:<26} median {median:>6.0} syncs/s  quiet {quiet:>6.0} syncs/s");
    }
}

/// What the log itself costs, without waiting for the device: encoding and writing a million records, and recovery.
fn work(root: &Path) {
    const RECORDS: u32 = 1_000_000;
    let folder = root.join("work");
    let mut ours = Ours::new(&folder, 8 << 20, u64::MAX);
    let started = Instant::now();
    for _ in 0..RECORDS / 50 {
        (0..50).for_each(|shard| ours.append(shard % 16));
        ours.lane.write().unwrap();
    }
    println!("append and write, batches of 50: {:?} per record", started.elapsed() / RECORDS);
    ours.lane.close(Boot(1)).unwrap();
    let started = Instant::now();
    let dir = RealDir::open(&folder).unwrap();
    let mut seen = 0;
    let (_, report) = Lane::open(&dir, LaneOptions::new(LaneId(0), [1; 16], false), |_| seen += 1).unwrap();
    assert_eq!((seen, report.records), (RECORDS, u64::from(RECORDS)));
    println!("recovery of {RECORDS} records, warm: {:?}", started.elapsed());
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("aol-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    for name in ["files", "group", "lanes", "work"] {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!("# {name}");
            match name {
                "files" => files(&root),
                "group" => group(&root),
                "lanes" => lanes(&root),
                _ => work(&root),
            }
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
