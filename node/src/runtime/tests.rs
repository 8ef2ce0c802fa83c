//! What the running engine keeps in memory: looked at from inside, since no client can see it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::sweeper::{SweepPace, Sweeper};
use super::*;
use crate::config::Config;
use crate::core::{Append, Create};
use crate::seam::{Clock, ManualClock, SystemClock};
use crate::telemetry::Metrics;
use crate::types::{
    ContentType, Lifetime, Messages, Offset, PinId, PinOp, ShardCount, ShardId, StreamConfig, StreamId,
    StreamName, UnixMillis,
};

mod cluster;
mod mending;
mod rotting;
mod seeding;

const RESIDENT_MAX: u32 = 16;

/// A node with one shard that keeps few streams resident.
fn small(data: &Path, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Running {
    let config = Config {
        data: data.to_owned(),
        shards: ShardCount::new(1).unwrap(),
        heads_max: RESIDENT_MAX,
        sweep_interval: Duration::from_millis(20),
        ..Config::default()
    };
    start(&config, clock, Arc::clone(metrics)).unwrap()
}

fn name(number: usize) -> StreamName {
    StreamName::from_bytes(format!("stream-{number:04}").as_bytes()).unwrap()
}

async fn create(engine: &Engine, number: usize, lifetime: Lifetime) {
    let content_type = ContentType::parse("text/plain").unwrap();
    let create = Create {
        config: StreamConfig { content_type: content_type.clone(), lifetime, ..StreamConfig::default() },
        ..Create::empty(name(number), content_type.clone())
    };
    engine.create(create, None).await.unwrap();
    let append = Append::plain(name(number), content_type, Messages::single(Bytes::from_static(b"x")));
    engine.append(append).await.unwrap();
}

fn resident(engine: &Engine) -> usize {
    engine.shared.open_shards().map(|shard| shard.views.resident()).sum()
}

#[tokio::test]
async fn a_listing_makes_no_stream_resident() {
    let system: Arc<dyn Clock> = Arc::new(SystemClock);
    let (directory, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::new(1)));
    let running = small(directory.path(), &system, &metrics);
    for number in 0..40 {
        create(&running.engine, number, Lifetime::Forever).await;
    }
    running.stop();
    let running = small(directory.path(), &system, &metrics);
    let before = resident(&running.engine);
    let page = running.engine.list("stream-", None, 100).await.unwrap();
    assert_eq!(page.len(), 40);
    assert_eq!(page.first().unwrap().state.tail.bytes, 1);
    assert_eq!(resident(&running.engine), before, "a listing drives out nobody");
    let state = running.engine.head(&name(0)).await.unwrap();
    assert_eq!(page.first().unwrap().state.incarnation, state.incarnation);
    running.stop();
}

#[tokio::test]
async fn looking_for_the_fork_of_a_pin_makes_no_stream_resident() {
    let system: Arc<dyn Clock> = Arc::new(SystemClock);
    let (directory, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::new(1)));
    let running = small(directory.path(), &system, &metrics);
    create(&running.engine, 0, Lifetime::Forever).await;
    running.stop();
    let running = small(directory.path(), &system, &metrics);
    let shared = &running.engine.shared;
    let pace =
        SweepPace { interval: Duration::MAX, streams_max: 1, scrub_period: Duration::MAX, scrub_rate: 1 };
    let sweeper = Sweeper::new(Arc::clone(shared), Arc::clone(&system), Arc::clone(&metrics), pace);
    let pin = |number| PinOp {
        stream: StreamId(1000),
        pin: PinId(1000),
        fork: name(number),
        upto: Offset::ZERO,
        at: UnixMillis(0),
    };
    let before = resident(&running.engine);
    assert!(sweeper.orphaned(ShardId(0), &pin(0)), "a stream of this name that reads from elsewhere");
    assert!(sweeper.orphaned(ShardId(0), &pin(1)), "no stream of this name");
    assert_eq!(resident(&running.engine), before, "a look drives out nobody");
    assert_eq!(shared.glimpse(&name(0)).unwrap().unwrap().state.tail.messages, 1);
    running.stop();
}

#[tokio::test]
async fn reading_streams_with_a_sliding_window_syncs_nothing_and_keeps_few_resident_and_none_ends_early() {
    let (directory, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::new(1)));
    let clock = Arc::new(ManualClock::default());
    clock.set(UnixMillis(1_000_000));
    let running = small(directory.path(), &(Arc::clone(&clock) as Arc<dyn Clock>), &metrics);
    let count = 60;
    for number in 0..count {
        create(&running.engine, number, Lifetime::Sliding(100)).await;
    }
    running.stop();
    let running = small(directory.path(), &(Arc::clone(&clock) as Arc<dyn Clock>), &metrics);
    let engine = running.engine.clone();
    let lane = metrics.lane(0).unwrap();
    let syncs = lane.fsyncs.get();
    clock.set(UnixMillis(1_090_000));
    for number in 0..count {
        engine.read(&name(number), ReadFrom::Start, 1 << 20).await.unwrap();
    }
    assert!(resident(&engine) <= 20, "{} are resident", resident(&engine));
    // A read here and there records others' times at the next sweep, with the group that comes by; never one sync each.
    assert!(lane.fsyncs.get() - syncs <= 3, "{} syncs for {count} reads", lane.fsyncs.get() - syncs);
    clock.set(UnixMillis(1_189_000));
    for number in 0..count {
        engine.head(&name(number)).await.unwrap();
    }
    clock.set(UnixMillis(1_190_000));
    for number in 0..count {
        let ended = engine.head(&name(number)).await;
        assert!(matches!(ended, Err(ReadError::NotFound)), "{number}: {ended:?}");
    }
    running.stop();
}

/// With a body and a closure, creation is one step: nobody may see the stream open or empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_with_content_is_never_seen_without_it() {
    let system: Arc<dyn Clock> = Arc::new(SystemClock);
    let (directory, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::new(1)));
    let running = small(directory.path(), &system, &metrics);
    let (mut torn, rounds) = (0, 500);
    for number in 0..rounds {
        let engine = running.engine.clone();
        let reader = std::thread::spawn(move || {
            loop {
                if let Ok((_, snapshot)) = engine.shared.living(&name(number)) {
                    return snapshot.state.closed && snapshot.state.tail.bytes == 1;
                }
            }
        });
        let create = Create {
            name: name(number),
            config: StreamConfig::default(),
            content_type_given: false,
            fork_offset_given: false,
            closed: true,
            body: Ok(Messages::single(Bytes::from_static(b"x"))),
            fork: None,
        };
        running.engine.create(create, None).await.unwrap();
        torn += usize::from(!reader.join().unwrap());
    }
    running.stop();
    assert_eq!(torn, 0, "of {rounds} PUTs with content, so many were seen open and empty");
}
