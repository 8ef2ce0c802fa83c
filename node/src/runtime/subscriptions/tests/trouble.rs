//! What goes wrong beside the subscriptions, or in them, and goes on by itself: a shard that is damaged, a task that
//! panics, a bound that is reached.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::runtime::EngineError;
use crate::seam::ManualClock;

/// A shard that holds streams of the pattern, and neither the keys, the home nor the stream of wakes.
fn shard_to_damage(running: &Running) -> ShardId {
    let count = running.engine.shared.count;
    let spared = [ShardId(0), id().home(count), name("wakes").shard(count), name("other").shard(count)];
    let mut shards = (0..40).map(|number| name(&format!("events/{number}")).shard(count));
    shards.find(|shard| !spared.contains(shard)).unwrap()
}

/// A node with forty streams, of which one shard's tables are put aside; gives the shard and where they are.
async fn with_a_damaged_shard(data: &Path, define: bool) -> (ShardId, Vec<u8>, std::path::PathBuf) {
    let running = run(data);
    let subscriptions = open(&running).await;
    for text in (0..40).map(|number| format!("events/{number}")).chain(["other".into(), "wakes".into()]) {
        create(&running.engine, &text).await;
    }
    if define {
        assert!(subscriptions.define(&id(), definition()).await.unwrap().new);
    }
    let shard = shard_to_damage(&running);
    end(running, Some(subscriptions)).await;
    let file = data.join("tables").join(format!("shard-{:03}.redb", shard.0));
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    (shard, kept, file)
}

fn in_shard(running: &Running, shard: ShardId) -> String {
    let count = running.engine.shared.count;
    let mut names = (100..).map(|number| format!("events/{number}"));
    names.find(|text| name(text).shard(count) == shard).unwrap()
}

#[tokio::test]
async fn a_definition_made_while_a_shard_is_damaged_reaches_it_when_it_is_served_again() {
    let directory = tempfile::tempdir().unwrap();
    let (shard, kept, file) = with_a_damaged_shard(directory.path(), false).await;
    let running = run(directory.path());
    assert_eq!(running.report.damaged.len(), 1);
    let subscriptions = open(&running).await;
    let defined = subscriptions.define(&id(), definition()).await.unwrap();
    assert!(defined.new && defined.shown.streams_total < 41, "the links of the damaged shard wait");
    assert!(running.engine.readiness().is_err(), "the damage is told");
    end(running, Some(subscriptions)).await;

    std::fs::write(&file, kept).unwrap();
    let running = run(directory.path());
    assert_eq!(running.report.damaged, []);
    let subscriptions = open(&running).await;
    eventually(|| subscriptions.shown(&id()).unwrap().streams_total == 41).await;
    let shown = subscriptions.shown(&id()).unwrap();
    assert!(shown.streams.iter().all(|stream| !stream.pending), "linked at the tail, as by the definition");
    eventually(|| !subscriptions.index().is_unheard(&id())).await;
    create(&running.engine, &in_shard(&running, shard)).await;
    assert!(subscriptions.index().pending(&id()), "the shard links new streams");
    end(running, Some(subscriptions)).await;
}

#[tokio::test]
async fn a_deletion_made_while_a_shard_is_damaged_leaves_nothing_there_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (_, kept, file) = with_a_damaged_shard(directory.path(), true).await;
    let running = run(directory.path());
    let subscriptions = open(&running).await;
    subscriptions.remove(&id()).await.unwrap();
    end(running, Some(subscriptions)).await;

    std::fs::write(&file, kept).unwrap();
    let running = run(directory.path());
    assert!(running.engine.shared.subscriptions.link_count() > 0, "the shard still has its links");
    let subscriptions = open(&running).await;
    eventually(|| subscriptions.index().link_count() == 0).await;
    end(running, Some(subscriptions)).await;
    let running = run(directory.path());
    for shard in running.engine.shared.open_shards() {
        for space in [Space::Pattern, Space::Link] {
            assert!(shard.tables.facts(space).unwrap().is_empty(), "{space:?} of {}", shard.id);
        }
    }
    end(running, None).await;
}

#[tokio::test]
async fn a_subscription_whose_home_is_damaged_keeps_its_links() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(directory.path());
    let subscriptions = open(&running).await;
    // The keys lie in shard 0; this one's home lies elsewhere.
    let home = id().home(running.engine.shared.count);
    assert_ne!(home, ShardId(0));
    for number in 0..40 {
        create(&running.engine, &format!("events/{number}")).await;
    }
    subscriptions.define(&id(), definition()).await.unwrap();
    end(running, Some(subscriptions)).await;
    let file = directory.path().join("tables").join(format!("shard-{:03}.redb", home.0));
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let running = run(directory.path());
    let subscriptions = open(&running).await;
    let links = subscriptions.index().link_count();
    assert!(links > 0);
    // Whoever would sweep them would do so with the first thing that happens.
    eventually(|| subscriptions.index().link_count() == links && running.engine.readiness().is_err()).await;
    create(&running.engine, "unrelated").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(subscriptions.index().link_count(), links);
    end(running, Some(subscriptions)).await;
    std::fs::write(&file, kept).unwrap();
    let running = run(directory.path());
    let subscriptions = open(&running).await;
    assert_eq!(
        subscriptions.shown(&id()).unwrap().streams_total,
        41,
        "40 linked, and one that is named only"
    );
    end(running, Some(subscriptions)).await;
}

/// A clock that panics once, in whoever looks at it next, the threads of the engine aside.
#[derive(Debug, Default)]
struct Trap(AtomicBool);

impl Clock for Trap {
    fn now(&self) -> UnixMillis {
        let thread = std::thread::current();
        let engine = thread.name().is_some_and(|name| ["lane-0", "applier", "sweeper"].contains(&name));
        assert!(engine || !self.0.swap(false, Ordering::SeqCst), "planted");
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

#[tokio::test]
async fn a_hub_that_panics_is_told_of_by_readyz_and_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let trap = Arc::new(Trap::default());
    let config = Config { data: directory.path().to_owned(), ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::clone(&trap) as Arc<dyn Clock>;
    let running = run_with(&config, &clock);
    let subscriptions = open(&running).await;
    create(&running.engine, "wakes").await;
    subscriptions.define(&id(), definition()).await.unwrap();
    running.engine.readiness().unwrap();
    trap.0.store(true, Ordering::SeqCst);
    subscriptions.index().wake_hub();
    eventually(|| running.engine.readiness().is_err()).await;
    assert!(running.engine.readiness().unwrap_err().contains("subscriptions"));
    eventually(|| running.engine.readiness().is_ok()).await;
    create(&running.engine, "events/1").await;
    eventually(|| subscriptions.index().get(&id()).unwrap().grant().is_some()).await;
    end(running, Some(subscriptions)).await;
}

/// A resolver that panics the first time.
#[derive(Debug, Default)]
struct Stumbling(AtomicUsize);

impl Resolver for Stumbling {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolution<'a> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "planted");
        Box::pin(async { Err(std::io::Error::other("nowhere")) })
    }
}

#[tokio::test]
async fn work_that_panics_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    clock.set(UnixMillis(1_000_000));
    let config = Config { data: directory.path().to_owned(), ..Config::default() };
    let running = run_with(&config, &(Arc::clone(&clock) as Arc<dyn Clock>));
    let resolver = Arc::new(Stumbling::default());
    let subscriptions = open_with(&running, Arc::clone(&resolver) as Arc<dyn Resolver>).await;
    let delivery = Delivery::Webhook { url: "https://worker.example/".to_owned() };
    subscriptions.define(&id(), Definition { delivery, ..definition() }).await.unwrap();
    create(&running.engine, "events/1").await;
    eventually(|| resolver.0.load(Ordering::SeqCst) == 1).await;
    clock.set(UnixMillis(1_100_000));
    eventually(|| resolver.0.load(Ordering::SeqCst) > 1).await;
    running.engine.readiness().unwrap();
    end(running, Some(subscriptions)).await;
}

#[tokio::test]
async fn links_are_bounded_and_what_needs_more_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 16;
    let config =
        Config { data: directory.path().to_owned(), subscription_links_max: limit, ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let running = run_with(&config, &clock);
    let subscriptions = open(&running).await;
    for number in 0..10 {
        create(&running.engine, &format!("events/{number}")).await;
    }
    subscriptions.define(&id(), definition()).await.unwrap();
    for number in 10..16 {
        create(&running.engine, &format!("events/{number}")).await;
    }
    let create_one = |text: &str| Create {
        name: name(text),
        config: StreamConfig::default(),
        content_type_given: true,
        fork_offset_given: false,
        closed: false,
        body: Ok(None),
        fork: None,
    };
    let refused = running.engine.create(create_one("events/16"), None).await.unwrap_err();
    assert_eq!(refused, EngineError::Failure(Failure::LinksFull { limit: 16 }));
    running.engine.create(create_one("elsewhere"), None).await.unwrap();
    let again = subscriptions.define(&id(), definition()).await.unwrap();
    assert!(!again.new, "what is defined is confirmed");

    let second = SubscriptionId::parse("t").unwrap();
    let refused = subscriptions.define(&second, definition()).await.unwrap_err();
    assert_eq!(refused, EngineError::Refused(SubscriptionRefusal::TooManyLinks { limit: 16 }));
    assert!(subscriptions.shown(&second).is_err(), "nothing of it is left");
    assert_eq!(subscriptions.index().link_count(), 16);
    running.engine.delete(name("events/0")).await.unwrap();
    running.engine.create(create_one("events/16"), None).await.unwrap();
    end(running, Some(subscriptions)).await;
}
