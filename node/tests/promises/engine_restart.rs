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
    ContentType, Messages, Offset, ProducerId, ProducerStamp, ProducerState, StreamConfig, StreamName,
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
    let create = Create {
        name: name(stream),
        config: StreamConfig { content_type: plain(), ..StreamConfig::default() },
        content_type_given: true,
        fork_offset_given: false,
        closed: false,
        body: Ok(None),
        fork: None,
    };
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
