//! What a crash leaves half done, the next start finishes; the index agrees with counting everything anew.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::subscription::{link_bytes, link_key};
use crate::config::Config;
use crate::core::{Create, SubscriptionAsk as Ask};
use crate::runtime::{Running, start};
use crate::seam::{Clock, SystemClock};
use crate::types::{
    AppendOp, Definition, Delivery, Framing, Glob, Link, Messages, Offset, Op, Space, Stage, StreamConfig,
    StreamId, StreamName, SubscriptionUid, UnixMillis,
};

mod trouble;

const UID: SubscriptionUid = SubscriptionUid(1);

fn run(data: &Path) -> Running {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    run_with(&Config { data: data.to_owned(), ..Config::default() }, &clock)
}

fn run_with(config: &Config, clock: &Arc<dyn Clock>) -> Running {
    start(config, clock, Arc::new(Metrics::new(config.lanes))).unwrap()
}

async fn open(running: &Running) -> Subscriptions {
    open_with(running, Arc::new(SystemResolver)).await
}

async fn open_with(running: &Running, resolver: Arc<dyn Resolver>) -> Subscriptions {
    let settings = WebhookSettings { loopback: true, timeout: Duration::from_secs(10), in_flight_max: 1 };
    let metrics = Arc::new(Metrics::new(1));
    Subscriptions::start(running.engine.clone(), &settings, resolver, metrics).await.unwrap()
}

fn id() -> SubscriptionId {
    SubscriptionId::parse("s").unwrap()
}

fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn definition() -> Definition {
    Definition {
        delivery: Delivery::Pull { wake_stream: name("wakes") },
        pattern: Some(Glob::parse("events/*").unwrap()),
        streams: BTreeSet::from([name("other")]),
        lease_ms: 1000,
        description: None,
        base: String::new(),
    }
}

async fn create(engine: &Engine, text: &str) {
    let create = Create {
        name: name(text),
        config: StreamConfig::default(),
        content_type_given: true,
        fork_offset_given: false,
        closed: false,
        body: Ok(Messages::single(Bytes::from_static(b"x"))),
        fork: None,
    };
    engine.create(create, None).await.unwrap();
}

/// Asks without a hub: what a process says just before it dies.
async fn decide(engine: &Engine, ask: Ask) {
    let home = id().home(engine.shared.count);
    let command = Command::Subscription(Box::new(SubscriptionCommand { id: id(), ask }));
    assert!(matches!(engine.submit(home, command).await, Ok(Reply::Subscription(Ok(_)))));
}

async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it takes far too long");
}

async fn end(running: Running, subscriptions: Option<Subscriptions>) {
    running.engine.close();
    if let Some(subscriptions) = subscriptions {
        subscriptions.stop().await;
    }
    running.stop();
}

#[tokio::test]
async fn a_definition_that_a_crash_cut_short_reaches_all_shards_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    for number in 0..40 {
        create(&running.engine, &format!("events/{number}")).await;
    }
    create(&running.engine, "other").await;
    let definition = Box::new(definition());
    decide(&running.engine, Ask::Define { definition, config_hash: [1; 32], uid: UID }).await;
    end(running, None).await;

    let running = run(directory.path());
    let subscriptions = open(&running).await;
    eventually(|| subscriptions.index().get(&id()).unwrap().stage == Stage::Serving).await;
    let shown = subscriptions.shown(&id()).unwrap();
    assert_eq!(shown.streams_total, 41);
    assert!(shown.streams.iter().all(|stream| stream.acked == stream.tail && !stream.pending), "no replay");
    create(&running.engine, "events/new").await;
    assert!(subscriptions.index().pending(&id()));
    end(running, Some(subscriptions)).await;
}

#[tokio::test]
async fn a_deletion_that_a_crash_cut_short_is_finished_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    let subscriptions = open(&running).await;
    for number in 0..40 {
        create(&running.engine, &format!("events/{number}")).await;
    }
    assert!(subscriptions.define(&id(), definition()).await.unwrap().new);
    end(running, Some(subscriptions)).await;
    let running = run(directory.path());
    decide(&running.engine, Ask::Remove).await;
    end(running, None).await;

    let running = run(directory.path());
    let shared = Arc::clone(&running.engine.shared);
    let subscriptions = open(&running).await;
    eventually(|| shared.subscriptions.get(&id()).is_none() && shared.subscriptions.link_count() == 0).await;
    drop(shared);
    end(running, Some(subscriptions)).await;
    let running = run(directory.path());
    for shard in running.engine.shared.open_shards() {
        for space in [Space::Subscription, Space::Pattern, Space::Link] {
            assert!(shard.tables.facts(space).unwrap().is_empty(), "{space:?}");
        }
    }
    end(running, None).await;
}

#[derive(Debug, Clone)]
enum Change {
    Link(u8, Option<u8>),
    Unlink(u8),
    Append(u8, u8),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..4u8, proptest::option::of(0..6u8)).prop_map(|(stream, acked)| Change::Link(stream, acked)),
        (0..4u8).prop_map(Change::Unlink),
        (0..4u8, 1..3u8).prop_map(|(stream, count)| Change::Append(stream, count)),
    ]
}

fn at(messages: u8) -> Offset {
    Offset { messages: messages.into(), bytes: messages.into() }
}

proptest! {
    #[test]
    fn what_is_pending_is_what_counting_says(changes in proptest::collection::vec(changes(), 1..60)) {
        let index = SubscriptionIndex::new(usize::MAX);
        let mut tails = [0u8; 4];
        let mut links = std::collections::BTreeMap::new();
        let shard = ShardId(0);
        for change in changes {
            let ops = match change {
                Change::Link(stream, acked) => {
                    // A link begins at the tail, as the core links; later it is acknowledged up to there at most.
                    let tail = tails[usize::from(stream)];
                    let acked = if links.contains_key(&stream) { acked.map(|acked| acked.min(tail)) } else { Some(tail) };
                    links.insert(stream, acked);
                    let link = Link { uid: UID, name: name(&stream.to_string()), acked: acked.map(at) };
                    Op::Put { space: Space::Link, key: link_key(&id(), StreamId(stream.into())), value: link_bytes(&link) }
                }
                Change::Unlink(stream) => {
                    links.remove(&stream);
                    Op::Erase { space: Space::Link, key: link_key(&id(), StreamId(stream.into())) }
                }
                Change::Append(stream, count) => {
                    let tail = &mut tails[usize::from(stream)];
                    let lengths = vec![1; usize::from(count)].into();
                    let wire = Bytes::from(vec![b'x'; usize::from(count)]);
                    let messages =
                        Messages::from_parts(Framing::Plain, crate::types::Lengths::Many(lengths), wire).unwrap();
                    let start = at(*tail);
                    *tail += count;
                    Op::Append(AppendOp {
                        stream: StreamId(stream.into()), start, messages, close: false, producer: None, seq: None,
                        at: UnixMillis(0),
                    })
                }
            };
            index.publish(shard, &[ops]);
            let expected: Vec<_> = links.iter()
                .filter(|(stream, acked)| tails[usize::from(**stream)] > acked.unwrap_or(0))
                .map(|(stream, _)| name(&stream.to_string()))
                .collect();
            prop_assert_eq!(index.first_pending(&id()), expected.first().cloned());
            prop_assert_eq!(index.pending(&id()), !expected.is_empty());
            prop_assert_eq!(index.link_count(), links.len());
            for (stream, acked) in &links {
                let (link, tail) = index.link(&id(), &name(&stream.to_string())).unwrap();
                prop_assert_eq!((link.acked, tail), (acked.map(at), at(tails[usize::from(*stream)])));
            }
        }
    }
}
