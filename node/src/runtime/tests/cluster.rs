//! Three nodes, each of which leads every third shard: what needs two shards works as on one node.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::config::{ClusterFile, NodeName};
use crate::core::Created;
use crate::runtime::subscriptions::{
    AckRequest, Resolver, Subscriptions, SystemResolver, TokenKind, WebhookSettings,
};
use crate::runtime::{EngineError, ForkRequest};
use crate::types::{Definition, Delivery, Glob, SubscriptionId};

mod put_back;

/// Of so many nodes each leads every third shard; a larger world has others that lead none.
const NODES: usize = 3;
/// How long something may take that must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct World {
    pub(super) nodes: Vec<Running>,
    pub(super) configs: Vec<Config>,
    _directory: tempfile::TempDir,
}

/// The settings of so many nodes below a directory.
fn configs(directory: &Path, nodes: usize) -> Vec<Config> {
    let peers: Vec<_> = (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let peers: Vec<_> = peers.into_iter().map(|socket| socket.local_addr().unwrap()).collect();
    let config = |(me, peer): (usize, &SocketAddr)| {
        // Each calls itself by the default name, and the others by others.
        let own = NodeName::standalone();
        let member = |(id, peer): (usize, &SocketAddr)| {
            let node = if id == me { own.to_string() } else { format!("n{id}") };
            let client = 4_437 + id;
            format!("  - {{id: {id}, node: {node}, peer: '{peer}', client: '127.0.0.1:{client}'}}\n")
        };
        let members: String = peers.iter().enumerate().map(member).collect();
        let cluster = "0123456789abcdef".repeat(2);
        let file = directory.join(format!("cluster-{me}.yaml"));
        let text = format!("cluster: {cluster}\nmembers:\n{members}leaders: [0, 1, 2]\n");
        std::fs::write(&file, &text).unwrap();
        Config {
            data: directory.join(format!("n{me}")),
            shards: ShardCount::new(4).unwrap(),
            cluster_id: Some(ClusterFile::parse(&text).unwrap().cluster),
            cluster_file: Some(file),
            peer_listen: *peer,
            heartbeat: Duration::from_millis(20),
            ..Config::default()
        }
    };
    peers.iter().enumerate().map(config).collect()
}

fn begin(config: &Config) -> Running {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    begin_by(config, &clock)
}

fn begin_by(config: &Config, clock: &Arc<dyn Clock>) -> Running {
    start(config, clock, Arc::new(Metrics::new(config.lanes))).unwrap()
}

/// A clock that somebody may set forwards.
#[derive(Debug, Default)]
struct SetForwards(AtomicI64);

impl Clock for SetForwards {
    fn now(&self) -> UnixMillis {
        UnixMillis(SystemClock.now().0.saturating_add(self.0.load(Ordering::SeqCst)))
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

impl World {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl Fn(&mut Config)) -> Self {
        Self::of(NODES, change)
    }

    pub(super) fn of(nodes: usize, change: impl Fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut configs = configs(directory.path(), nodes);
        configs.iter_mut().for_each(change);
        let nodes = configs.iter().map(begin).collect();
        Self { nodes, configs, _directory: directory }
    }

    /// The last node goes down, and comes up again.
    pub(super) async fn down(&mut self) {
        end(self.nodes.pop().unwrap()).await;
    }

    pub(super) fn up(&mut self) {
        self.nodes.push(begin(&self.configs[self.nodes.len()]));
    }

    pub(super) fn engine(&self, node: usize) -> &Engine {
        &self.nodes[node].engine
    }

    /// A name in a shard that this node leads first.
    pub(super) fn led_by(&self, node: usize, prefix: &str) -> StreamName {
        let count = self.engine(0).shared.count;
        let mut names =
            (0..).map(|number| StreamName::from_bytes(format!("{prefix}{number}").as_bytes()).unwrap());
        names.find(|name| usize::from(name.shard(count).0) % NODES == node).unwrap()
    }

    /// Every shard is led.
    pub(super) async fn led(&self) {
        for node in &self.nodes {
            eventually(|| {
                node.engine
                    .shared
                    .count
                    .shards()
                    .all(|shard| node.engine.shared.leaders.leader(shard).is_some())
            })
            .await;
        }
        for (node, running) in self.nodes.iter().enumerate().take(NODES) {
            eventually(|| running.engine.leader(ShardId(u16::try_from(node).unwrap())) == Whereabouts::Here)
                .await;
        }
    }

    pub(super) async fn stop(self) {
        for node in self.nodes {
            end(node).await;
        }
    }
}

pub(super) async fn end(node: Running) {
    node.engine.close();
    tokio::task::spawn_blocking(move || node.stop()).await.unwrap();
}

pub(super) async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it takes far too long");
}

pub(super) fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

fn creation(name: &StreamName, lifetime: Lifetime) -> Create {
    Create {
        config: StreamConfig { content_type: plain(), lifetime, ..StreamConfig::default() },
        ..Create::empty(name.clone(), plain())
    }
}

/// As a client does: what failed for the node's own trouble is asked again; a stream that is there by then is the one that was asked for.
pub(super) async fn make(engine: &Engine, name: &StreamName) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = engine.create(creation(name, Lifetime::Forever), None).await {
        let again = matches!(&error, EngineError::Failure(_));
        assert!(again && tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn append(engine: &Engine, name: &StreamName, text: &'static str) -> Offset {
    append_bytes(engine, name, Bytes::from_static(text.as_bytes())).await
}

/// As a client does: what was refused for the node's own trouble, on a busy machine a voter that was not heard of in time, is asked again.
pub(super) async fn append_bytes(engine: &Engine, name: &StreamName, bytes: Bytes) -> Offset {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let append = Append::plain(name.clone(), plain(), Messages::single(bytes.clone()));
        match engine.append(append).await {
            Ok(appended) => return appended.tail,
            Err(EngineError::Failure(failure)) if failure.refused() => {
                assert!(tokio::time::Instant::now() < deadline, "{failure}");
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fork(engine: &Engine, name: &StreamName, source: &StreamName) -> Created {
    let request = ForkRequest { source: source.clone(), offset: None, sub_offset: 0 };
    let lifetime = Lifetime::Forever;
    engine.create(creation(name, lifetime), Some(request)).await.unwrap()
}

pub(super) async fn text(engine: &Engine, name: &StreamName) -> String {
    let batch = engine.read(name, ReadFrom::Start, 1 << 20).await.unwrap();
    batch.segments.iter().map(|part| String::from_utf8_lossy(part.messages.wire()).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_source_another_node_leads_is_made_and_read_everywhere_and_lets_its_source_go() {
    let world = World::start();
    world.led().await;
    let (source, middle, last) =
        (world.led_by(0, "source"), world.led_by(1, "fork"), world.led_by(2, "fork"));
    make(world.engine(0), &source).await;
    append(world.engine(0), &source, "one").await;
    assert!(fork(world.engine(1), &middle, &source).await.new);
    append(world.engine(1), &middle, "two").await;
    assert!(fork(world.engine(2), &last, &middle).await.new);
    for node in 0..NODES {
        assert_eq!(text(world.engine(node), &last).await, "onetwo", "on node {node}");
    }
    // The sources end with their last fork: up the chain, over three nodes, before the answer is given.
    world.engine(0).delete(source.clone()).await.unwrap();
    world.engine(1).delete(middle.clone()).await.unwrap();
    assert_eq!(world.engine(2).head(&source).await.unwrap_err(), ReadError::Gone);
    world.engine(2).delete(last).await.unwrap();
    for node in 0..NODES {
        for name in [&source, &middle] {
            assert_eq!(world.engine(node).head(name).await.unwrap_err(), ReadError::NotFound, "{name}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_on_a_node_that_follows_renews_the_window_where_the_stream_is_led() {
    let world = World::start();
    world.led().await;
    let name = world.led_by(0, "window");
    let created = world.engine(0).create(creation(&name, Lifetime::Sliding(3600)), None).await.unwrap();
    let shared = &world.engine(0).shared;
    let views = &shared.open_shard(name.shard(shared.count)).unwrap().views;
    let before = views.last_read(created.meta.id);
    eventually(|| SystemClock.now() > before).await;
    text(world.engine(1), &name).await;
    eventually(|| views.last_read(created.meta.id) > before).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_clock_is_far_ahead_lists_and_reads_what_the_leader_has_not_ended() {
    let directory = tempfile::tempdir().unwrap();
    let configs = configs(directory.path(), NODES);
    let ahead = Arc::new(SetForwards::default());
    let clock: Arc<dyn Clock> = Arc::<SetForwards>::clone(&ahead);
    let nodes = vec![begin(&configs[0]), begin(&configs[1]), begin_by(&configs[2], &clock)];
    let world = World { nodes, configs, _directory: directory };
    world.led().await;
    let name = world.led_by(0, "lasting");
    world.engine(0).create(creation(&name, Lifetime::Sliding(3600)), None).await.unwrap();
    let follower = world.engine(2);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // As a client does: what the node cannot prove at the moment is asked again.
    let listed = loop {
        ahead.0.store(2 * 3_600_000, Ordering::SeqCst);
        let (listed, read) = (follower.list("lasting", None, 10).await, follower.head(&name).await);
        ahead.0.store(0, Ordering::SeqCst);
        match (listed, read) {
            (Ok(listed), Ok(_)) => break listed,
            (listed, read) => {
                assert!(!matches!(read, Err(ReadError::NotFound | ReadError::Gone)), "{read:?}");
                assert!(tokio::time::Instant::now() < deadline, "{listed:?} {read:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let listed: Vec<_> = listed.into_iter().map(|listed| listed.name).collect();
    assert_eq!(listed, [name]);
    world.stop().await;
}

async fn subscribe(world: &World) -> Vec<Subscriptions> {
    let settings = WebhookSettings { loopback: true, timeout: PATIENCE, in_flight_max: 4 };
    let mut all = Vec::new();
    for node in &world.nodes {
        let resolver: Arc<dyn Resolver> = Arc::new(SystemResolver);
        let metrics = Arc::new(Metrics::new(1));
        all.push(Subscriptions::start(node.engine.clone(), &settings, resolver, metrics).await.unwrap());
    }
    for subscriptions in &all {
        eventually(|| subscriptions.kid().is_ok()).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_its_home_alone_does_the_work_of_a_subscription_to_streams_that_all_nodes_lead() {
    let world = World::start();
    // Before anybody is known to lead: the key is had once the first shard is led.
    let subscriptions = subscribe(&world).await;
    world.led().await;
    assert!(subscriptions.iter().all(|other| other.kid() == subscriptions[0].kid()), "one key signs");
    let id = SubscriptionId::parse("all").unwrap();
    let home = usize::from(id.home(world.engine(0).shared.count).0) % NODES;
    let wakes = world.led_by((home + 1) % NODES, "wakes");
    make(world.engine((home + 1) % NODES), &wakes).await;
    let streams: Vec<_> = (0..NODES).map(|node| world.led_by(node, "events/a")).collect();
    make(world.engine(0), &streams[0]).await;
    let definition = Definition {
        delivery: Delivery::Pull { wake_stream: wakes.clone() },
        pattern: Some(Glob::parse("events/*").unwrap()),
        streams: BTreeSet::new(),
        lease_ms: 60_000,
        description: None,
        base: String::new(),
    };
    assert!(subscriptions[home].define(&id, definition).await.unwrap().new);
    make(world.engine(1), &streams[1]).await;
    make(world.engine(2), &streams[2]).await;
    let mut tails = Vec::new();
    for (node, stream) in streams.iter().enumerate() {
        tails.push((stream.clone(), append(world.engine(node), stream, "work").await));
    }
    let claimed = subscriptions[home].claim(&id, "w".to_owned()).await.unwrap();
    assert_eq!(claimed.shown.streams.iter().filter(|stream| stream.pending).count(), 3);
    let request = AckRequest { stated: Some(claimed.grant), acks: tails.clone(), done: true };
    let more = subscriptions[home].acknowledge(&id, TokenKind::Claim, Some(&claimed.token), request).await;
    assert_eq!(more, Ok(false), "all of it was acknowledged, wherever it is led");
    for (node, subscriptions) in subscriptions.iter().enumerate() {
        let shown = subscriptions.show(&id).await.unwrap();
        let acked: BTreeSet<_> =
            shown.streams.iter().map(|stream| (stream.name.clone(), stream.acked)).collect();
        let expected: BTreeSet<_> = tails.iter().map(|(name, tail)| (name.clone(), Some(*tail))).collect();
        assert_eq!(acked, expected, "on node {node}");
    }
    let told = text(world.engine(home), &wakes).await;
    assert!(told.lines().count() <= 1, "one node wakes: {told}");
    subscriptions[home].remove(&id).await.unwrap();
    assert!(matches!(subscriptions[(home + 1) % NODES].show(&id).await, Err(EngineError::Refused(_))));
    for (node, subscriptions) in world.nodes.iter().zip(subscriptions) {
        node.engine.close();
        subscriptions.stop().await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_source_nobody_can_reach_is_refused() {
    let mut world = World::start();
    world.led().await;
    let (source, name) = (world.led_by(0, "source"), world.led_by(1, "fork"));
    make(world.engine(0), &source).await;
    let gone = world.nodes.remove(0);
    tokio::task::spawn_blocking(move || gone.stop()).await.unwrap();
    let request = ForkRequest { source, offset: None, sub_offset: 0 };
    let refused = world.nodes[0].engine.create(creation(&name, Lifetime::Forever), Some(request)).await;
    let Err(EngineError::Failure(failure)) = refused else { panic!("{refused:?}") };
    assert!(failure.refused(), "{failure}");
    world.stop().await;
}
