//! Promise: a write that failed is never visible, to no reader and in no later checkpoint; one of which nobody knows
//! whether it happened is either there for good or never, and whoever saw it sees it for ever.
//!
//! Each write, sync and allocation of a running engine fails once, while readers follow: some come before, some during,
//! some after. Then the power goes or the process is killed, the engine starts again, checkpoints, and starts once more.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, EngineError, ReadFrom, TailEvent, Tailer};
use thalweg_node::seam::disk::simulated::{Call, Faults, SimulatedDisk};
use thalweg_node::types::{ContentType, Messages};

use super::engine_model::name;
use super::engine_world::{BEGINNING, World, block_on, config};

const STREAMS: [&str; 3] = ["a", "b", "c"];
/// Messages of one run, written to the streams in turn.
const WRITES: u64 = 18;
const BODY_BYTES: usize = 3000;

/// What was answered and what was seen; a message is its number.
#[derive(Debug, Default, Clone)]
struct Record {
    done: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
    seen: BTreeSet<u64>,
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

fn stream_of(number: u64) -> &'static str {
    STREAMS[usize::try_from(number % STREAMS.len() as u64).unwrap()]
}

async fn create(engine: &Engine, stream: &str) {
    let create = Create::empty(name(stream), plain());
    engine.create(create, None).await.unwrap();
}

async fn append(engine: &Engine, number: u64, record: &mut Record) {
    let mut body = vec![b'.'; BODY_BYTES];
    body[..8].copy_from_slice(&number.to_be_bytes());
    let append = Append::plain(name(stream_of(number)), plain(), Messages::single(Bytes::from(body)));
    let fate = match engine.append(append).await {
        Ok(_) => &mut record.done,
        Err(EngineError::Failure(failure)) if !failure.refused() => &mut record.unknown,
        Err(_) => &mut record.refused,
    };
    fate.insert(number);
}

fn numbers(batch: &thalweg_node::runtime::ReadBatch) -> Vec<u64> {
    let mut found = Vec::new();
    for segment in &batch.segments {
        for body in segment.messages.wire().chunks(BODY_BYTES) {
            found.push(u64::from_be_bytes(body[..8].try_into().unwrap()));
        }
    }
    found
}

/// Everything that a reader gets from the beginning on; what cannot be read now shows nothing.
async fn catch_up(engine: &Engine) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for stream in STREAMS {
        let mut from = ReadFrom::Start;
        while let Ok(batch) = engine.read(&name(stream), from, 10_000).await {
            found.extend(numbers(&batch));
            from = ReadFrom::At(batch.next);
            if batch.up_to_date() {
                break;
            }
        }
    }
    found
}

/// What a reader that waits at the tail has got meanwhile.
async fn follow(tailers: &mut [Tailer]) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for tailer in tailers {
        while let TailEvent::Batch(batch) = tailer.next(10_000, Duration::ZERO).await {
            found.extend(numbers(&batch));
        }
    }
    found
}

async fn followers(engine: &Engine) -> Vec<Tailer> {
    let mut found = Vec::new();
    for stream in STREAMS {
        found.extend(engine.tail(&name(stream), ReadFrom::Now).await);
    }
    found
}

/// Writes under a fault, with readers before, during and after; then looks at everything that may come of it.
fn live(faults: Faults, what: &str, tally: &mut Record) {
    let disk = SimulatedDisk::new(3).with_whole_sectors();
    let world = World::new(disk, BEGINNING, config(1, 2, 1));
    let running = world.start().unwrap();
    let engine = &running.engine;
    let mut record = Record::default();
    block_on(async {
        for stream in STREAMS {
            create(engine, stream).await;
        }
        for number in 0..6 {
            append(engine, number, &mut record).await;
        }
        assert_eq!(record.done.len(), 6, "{what}");
        let mut early = followers(engine).await;
        world.disk.set_faults(faults);
        for number in 6..WRITES {
            let mut late = followers(engine).await;
            // A follower that looks while the write is on its way, over and over.
            let done = std::cell::Cell::new(false);
            let watch = async {
                let mut seen = BTreeSet::new();
                while !done.get() {
                    seen.extend(follow(&mut late).await);
                    seen.extend(catch_up(engine).await);
                    tokio::task::yield_now().await;
                }
                seen
            };
            let write = async {
                append(engine, number, &mut record).await;
                done.set(true);
            };
            let (seen, ()) = futures::join!(watch, write);
            record.seen.extend(seen);
            record.seen.extend(follow(&mut early).await);
        }
        record.seen.extend(catch_up(engine).await);
    });
    let image = world.disk.after_power_cut(1);
    record.seen.extend(block_on(catch_up(engine)));
    running.stop();
    for image in [image, world.disk.after_power_cut(2), world.disk.after_kill(3)] {
        look_at(&world, image, &record, what);
    }
    tally.refused.extend(&record.refused);
    tally.unknown.extend(&record.unknown);
    tally.done.extend(&record.done);
}

/// Starts what is left of it, twice: once from the log, once from a checkpoint.
fn look_at(before: &World, disk: SimulatedDisk, record: &Record, what: &str) {
    let world = World::new(disk, before.now(), before.config.clone());
    let mut settled: Option<BTreeSet<u64>> = None;
    for start in ["started again", "started from the checkpoint"] {
        let running = world.start().unwrap_or_else(|error| panic!("{what}, {start}: {error:#}"));
        let found = block_on(catch_up(&running.engine));
        let visible: Vec<_> = record.refused.intersection(&found).collect();
        assert!(visible.is_empty(), "{what}, {start}: {visible:?} were refused and are there");
        let lost: Vec<_> = record.done.union(&record.seen).filter(|number| !found.contains(number)).collect();
        assert!(lost.is_empty(), "{what}, {start}: {lost:?} were acknowledged or seen and are gone");
        assert!(settled.is_none_or(|settled| settled == found), "{what}, {start}: it changed again");
        settled = Some(found);
        running.stop();
    }
    let shown: Vec<_> = record.refused.intersection(&record.seen).collect();
    assert!(shown.is_empty(), "{what}: {shown:?} were refused and somebody saw them");
}

#[test]
fn a_write_that_failed_is_never_seen_by_any_reader_and_not_after_a_restart_either() {
    let kinds = [Call::Write, Call::Sync, Call::Allocate, Call::Create, Call::Rename, Call::SetLength];
    for error in [ErrorKind::Other, ErrorKind::StorageFull] {
        let mut tally = Record::default();
        for kind in kinds {
            // Background work makes the number of calls vary a little; beyond the last one nothing fails.
            let most = if matches!(kind, Call::Write | Call::Sync) { 50 } else { 5 };
            for nth in 1..=most {
                let what = format!("{error:?} at {kind:?} {nth}");
                live(Faults::fail(kind, nth, error), &what, &mut tally);
            }
        }
        let (refused, unknown) = (tally.refused.len(), tally.unknown.len());
        println!("{error:?}: of {WRITES} writes {refused} were refused at some time, {unknown} unknown");
        assert!(tally.refused.len() > 5 && tally.unknown.len() > 5, "{error:?}: {tally:?}");
    }
}
