//! What was acknowledged is there after a restart, with the same offsets, producers and closures.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use thalweg_node::config::Config;
use thalweg_node::core::{Append, Create};
use thalweg_node::runtime::{Engine, ReadFrom, Running, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    ContentType, Messages, Offset, ProducerId, ProducerStamp, ProducerState, StreamName,
};

fn run(data: &Path) -> Running {
    let config = Config { data: data.to_owned(), ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    start(&config, &clock, Arc::new(Metrics::new(config.lanes))).unwrap()
}

fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

async fn create(engine: &Engine, stream: &str) {
    let create = Create::empty(name(stream), plain());
    engine.create(create, None).await.unwrap();
}

fn append(stream: &str, body: &str, producer: Option<(u64, u64)>, close: bool) -> Append {
    Append {
        name: name(stream),
        content_type: Some(plain()),
        body: Ok(Messages::single(Bytes::from(body.to_owned()))),
        close,
        producer: producer.map(|(epoch, seq)| ProducerStamp {
            id: ProducerId(Bytes::from_static(b"p")),
            state: ProducerState { epoch, seq },
        }),
        seq: None,
        if_match: None,
    }
}

async fn content(engine: &Engine, stream: &str) -> (String, Offset, bool) {
    let batch = engine.read(&name(stream), ReadFrom::Start, 1 << 20).await.unwrap();
    let text = batch
        .segments
        .iter()
        .map(|part| String::from_utf8_lossy(part.messages.wire()).into_owned())
        .collect();
    (text, batch.next, batch.state.closed)
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_clean_restart() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    assert!(running.report.created);
    let engine = running.engine.clone();
    for stream in ["a", "b", "c/d"] {
        create(&engine, stream).await;
        for seq in 0..10 {
            let done = engine
                .append(append(stream, &format!("{stream}{seq} "), Some((0, seq)), seq == 9))
                .await
                .unwrap();
            assert!(!done.duplicate);
        }
    }
    let before = content(&engine, "c/d").await;
    assert_eq!(before.0, (0..10).map(|seq| format!("c/d{seq} ")).collect::<String>());
    drop(engine);
    running.stop();

    let running = run(directory.path());
    assert!(!running.report.created && running.report.damaged.is_empty(), "{:?}", running.report);
    assert_eq!(content(&running.engine, "c/d").await, before);
    assert!(before.2, "closed");
    let again = running.engine.append(append("a", "a9 ", Some((0, 9)), true)).await.unwrap();
    assert!(again.duplicate, "the closing tuple is known after the restart");
    running.stop();
}

#[tokio::test]
async fn a_reader_at_the_tail_is_woken_by_the_next_append() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    let engine = running.engine.clone();
    create(&engine, "live").await;
    let mut tailer = engine.tail(&name("live"), ReadFrom::Now).await.unwrap();
    let waiting = tokio::spawn(async move { tailer.next(1 << 20, std::time::Duration::from_secs(30)).await });
    tokio::task::yield_now().await;
    engine.append(append("live", "now", None, false)).await.unwrap();
    let event = waiting.await.unwrap();
    assert!(
        matches!(&event, thalweg_node::runtime::TailEvent::Batch(batch) if batch.segments[0].messages.wire().as_ref() == b"now"),
        "{event:?}"
    );
    drop(engine);
    running.stop();
}

#[tokio::test]
async fn a_second_node_on_one_directory_is_refused_while_the_first_runs() {
    let directory = tempfile::tempdir().unwrap();
    let first = run(directory.path());
    let config = Config { data: directory.path().to_owned(), ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let second = start(&config, &clock, Arc::new(Metrics::new(config.lanes)));
    let reason = format!("{:#}", second.err().unwrap());
    assert!(reason.contains("another process"), "{reason}");
    create(&first.engine, "still-served").await;
    first.stop();
    run(directory.path()).stop();
}

/// Creation, append and deletion of a name may fall into one group commit: readers see what was acknowledged, no less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_in_the_group_that_creates_its_stream_is_seen_by_readers() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    let engine = running.engine.clone();
    let mut together = 0;
    for round in 0..300 {
        let stream = format!("s{round}");
        let (one, two, text) = (engine.clone(), engine.clone(), stream.clone());
        let creating = tokio::spawn(async move { create(&one, &text).await });
        let text = stream.clone();
        let appending = tokio::spawn(async move { two.append(append(&text, "abc", None, false)).await });
        creating.await.unwrap();
        let Ok(done) = appending.await.unwrap() else { continue };
        together += 1;
        assert_eq!(content(&engine, &stream).await, ("abc".to_owned(), done.tail, false), "{stream}");
    }
    assert!(together > 0, "no append ever met its stream");
    drop(engine);
    running.stop();
}

/// A shard that cannot be opened keeps its part of the log, however much the others write and checkpoint meanwhile.
#[tokio::test]
async fn a_shard_that_does_not_open_loses_nothing_of_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let streams: Vec<String> = (0..32).map(|number| format!("kept-{number}")).collect();
    let running = run(directory.path());
    for stream in &streams {
        create(&running.engine, stream).await;
        running.engine.append(append(stream, "before", None, false)).await.unwrap();
    }
    running.stop();
    let table = directory.path().join("tables/shard-003.redb");
    let older = std::fs::read(&table).unwrap();
    let running = run(directory.path());
    for stream in &streams {
        running.engine.append(append(stream, " between", None, false)).await.unwrap();
    }
    running.stop();
    // The shard's file goes back to before those appends: the log must still have them, or the shard must refuse.
    std::fs::remove_file(&table).unwrap();
    let running = run(directory.path());
    assert_eq!(running.report.damaged.len(), 1, "{:?}", running.report.damaged);
    let mut refused = 0;
    for stream in &streams {
        match running.engine.append(append(stream, " while one is missing", None, false)).await {
            Ok(_) => {}
            Err(error) => {
                assert!(error.to_string().contains("damaged"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && refused < streams.len(), "{refused}");
    assert!(running.engine.list("", None, 100).await.is_err(), "a page without the shard would be a lie");
    running.stop();
    std::fs::write(&table, &older).unwrap();
    let running = run(directory.path());
    for stream in &streams {
        match running.engine.read(&name(stream), ReadFrom::Start, 1 << 20).await {
            Ok(_) => {
                assert!(content(&running.engine, stream).await.0.starts_with("before between"), "{stream}")
            }
            Err(error) => assert!(error.to_string().contains("damaged"), "{stream}: {error}"),
        }
    }
    running.stop();
}
