//! The page of `/metrics` tells what happened: known traffic, and each counter of the engine moved as it must.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::config::Config;
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, ReadFrom, start};
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    ContentType, Lifetime, Messages, ProducerId, ProducerStamp, ProducerState, Retention, ShardCount,
    StreamConfig, StreamName, UnixMillis,
};

fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

async fn create(engine: &Engine, stream: &str, lifetime: Lifetime, messages: Option<u64>) {
    let retention = Retention { messages, ..Retention::default() };
    let create = Create {
        config: StreamConfig { content_type: plain(), lifetime, retention, fork: None },
        ..Create::empty(name(stream), plain())
    };
    engine.create(create, None).await.unwrap();
}

async fn append(engine: &Engine, stream: &str, body: &'static str, seq: Option<u64>) {
    let producer = seq.map(|seq| ProducerStamp {
        id: ProducerId(Bytes::from_static(b"p")),
        state: ProducerState { epoch: 0, seq },
    });
    let append =
        Append { producer, ..Append::plain(name(stream), plain(), Messages::single(Bytes::from(body))) };
    engine.append(append).await.unwrap();
}

/// The page as a scraper reads it: samples of one name added up.
fn scrape(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in metrics.page().lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap().trim_start_matches("thalweg_");
        *samples.entry(name.to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap();
    }
    samples
}

/// Waits until the page says so; what happens behind the answers takes a moment.
async fn until(metrics: &Metrics, what: &str, says: impl Fn(&BTreeMap<String, f64>) -> bool) {
    for _ in 0..2000 {
        if says(&scrape(metrics)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} never came:\n{:#?}", scrape(metrics));
}

#[tokio::test]
async fn each_counter_of_the_engine_moves_as_the_traffic_says() {
    let (directory, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::new(1)));
    let clock = Arc::new(ManualClock::default());
    clock.set(UnixMillis(1_000_000));
    let config = Config {
        data: directory.path().to_owned(),
        shards: ShardCount::new(1).unwrap(),
        sweep_interval: Duration::from_millis(20),
        checkpoint_interval: Duration::from_millis(100),
        ..Config::default()
    };
    let running = start(&config, &(Arc::clone(&clock) as Arc<dyn Clock>), Arc::clone(&metrics)).unwrap();
    let engine = running.engine.clone();

    create(&engine, "trimmed", Lifetime::Forever, Some(1)).await;
    create(&engine, "kept", Lifetime::Forever, None).await;
    create(&engine, "ending", Lifetime::Sliding(10), None).await;
    append(&engine, "kept", "hello", Some(0)).await;
    append(&engine, "kept", "hello", Some(0)).await;
    append(&engine, "kept", "world!", Some(1)).await;
    for _ in 0..3 {
        append(&engine, "trimmed", "12345", None).await;
    }
    engine.read(&name("kept"), ReadFrom::Start, 1 << 20).await.unwrap();
    let page = scrape(&metrics);
    for (counter, expected) in [
        ("stream_creates_total", 3.0),
        ("appends_total", 5.0),
        ("append_duplicates_total", 1.0),
        ("appended_messages_total", 5.0),
        ("appended_bytes_total", 26.0),
        ("reads_total", 1.0),
        ("read_bytes_total", 11.0),
        ("table_reads_total", 0.0),
        ("stream_deletes_total", 0.0),
        ("expired_streams_total", 0.0),
        ("checkpoint_failures_total", 0.0),
        ("corrupt_reads_total", 0.0),
    ] {
        assert_eq!(page.get(counter), Some(&expected), "{counter}");
    }
    let records = page.get("log_records_total").unwrap();
    assert!(*records >= 8.0 && page["log_fsyncs_total"] >= 1.0 && page["log_written_bytes_total"] > 0.0);

    until(&metrics, "the trim", |page| page["trimmed_bytes_total"] > 0.0).await;
    let earliest = engine.head(&name("trimmed")).await.unwrap().earliest;
    assert_eq!(scrape(&metrics)["trimmed_bytes_total"], 10.0, "two messages of three");
    assert_eq!(earliest.bytes, 10);

    until(&metrics, "the tables", |page| page["unapplied_bytes"] == 0.0 && page["stored_bytes"] > 0.0).await;
    engine.read(&name("kept"), ReadFrom::Start, 1 << 20).await.unwrap();
    assert_eq!(scrape(&metrics)["table_reads_total"], 1.0);
    engine.read(&name("kept"), ReadFrom::Start, 1 << 20).await.unwrap();
    let page = scrape(&metrics);
    assert_eq!((page["table_reads_total"], page["reads_total"], page["read_bytes_total"]), (1.0, 3.0, 33.0));
    assert!(page["segment_cache_bytes"] >= 0.0 && page["streams_resident"] >= 3.0);

    endings(&engine, &clock, &metrics).await;
    drop(engine);
    running.stop();

    let metrics = Arc::new(Metrics::new(1));
    let running = start(&config, &(Arc::clone(&clock) as Arc<dyn Clock>), Arc::clone(&metrics)).unwrap();
    let page = scrape(&metrics);
    assert_eq!(running.report.damaged, [], "nothing is damaged");
    assert_eq!((page["damaged_shards"], page["recovery_microseconds"]), (0.0, 0.0), "the clock stands still");
    running.stop();
}

/// Streams end, by their time and by request; then a checkpoint is due.
async fn endings(engine: &Engine, clock: &ManualClock, metrics: &Metrics) {
    clock.set(UnixMillis(1_011_000));
    until(metrics, "the expiry", |page| page["expired_streams_total"] == 1.0).await;
    assert_eq!(scrape(metrics)["stream_deletes_total"], 1.0, "an expired stream counts as deleted");
    engine.delete(name("kept")).await.unwrap();
    let page = scrape(metrics);
    assert_eq!((page["stream_deletes_total"], page["expired_streams_total"]), (2.0, 1.0));
    clock.set(UnixMillis(1_020_000));
    until(metrics, "a checkpoint", |page| page["checkpoints_total"] >= 1.0).await;
    until(metrics, "the count", |page| page["streams"] == 1.0).await;
}
