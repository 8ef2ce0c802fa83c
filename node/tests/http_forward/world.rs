//! Nodes that serve over loopback and are told who leads, a leader that does what a test says, and a client of raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg_node::config::Config;
use thalweg_node::http::api::{Api, Settings, Site};
use thalweg_node::http::forward::ForwardLimits;
use thalweg_node::http::subscriptions::router;
use thalweg_node::http::wire::{Limits, Registry, serve};
use thalweg_node::runtime::subscriptions::{Subscriptions, SystemResolver, WebhookSettings};
use thalweg_node::runtime::{Running, Whereabouts, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ClusterId, Party, ReplicaId, ShardCount, ShardId, StreamName, VolumeIncarnation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Few, so that a node starts fast.
const SHARDS: u16 = 4;

/// A node that leads every shard until it is told otherwise.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    running: Running,
    subscriptions: Subscriptions,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _directory: TempDir,
}

fn config(directory: &TempDir) -> Config {
    let shards = ShardCount::new(u64::from(SHARDS)).unwrap();
    Config { data: directory.path().join("data"), shards, ..Config::default() }
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(ForwardLimits::default()).await
    }

    pub(crate) async fn with(forward: ForwardLimits) -> Self {
        Self::on(tempfile::tempdir().unwrap(), forward).await
    }

    /// A node that was there before, and has lost the tables of the shard of a stream.
    pub(crate) async fn without_tables_of(stream: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = config(&directory);
        let before = start(&config, &clock, Arc::new(Metrics::new(config.lanes))).unwrap();
        tokio::task::spawn_blocking(move || before.stop()).await.unwrap();
        let shard = StreamName::from_bytes(stream.as_bytes()).unwrap().shard(config.shards);
        std::fs::remove_file(config.data.join(format!("tables/shard-{:03}.redb", shard.0))).unwrap();
        Self::on(directory, ForwardLimits::default()).await
    }

    async fn on(directory: TempDir, forward: ForwardLimits) -> Self {
        let config = config(&directory);
        let metrics = Arc::new(Metrics::new(config.lanes));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let running = start(&config, &clock, Arc::clone(&metrics)).unwrap();
        let webhooks = WebhookSettings { loopback: true, timeout: PATIENCE, in_flight_max: 4 };
        let (engine, resolver) = (running.engine.clone(), Arc::new(SystemResolver));
        let subscriptions =
            Subscriptions::start(engine.clone(), &webhooks, resolver, Arc::clone(&metrics)).await.unwrap();
        let site = Site { rare: router(subscriptions.clone()), ..Site::default() };
        let settings = Settings { forward, ..Settings::default() };
        let api = Api::new(engine, Arc::clone(&clock), |_| 1, settings, site);
        let registry = Registry::new(Limits::default(), clock, Arc::clone(&metrics));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async move { drop(stopped.await) };
            let _served = serve(listener, Arc::new(api), registry, shutdown).await;
        });
        Self { address, metrics, running, subscriptions, stop, served, _directory: directory }
    }

    /// Where it is, for others.
    pub(crate) fn at(&self) -> Whereabouts {
        Whereabouts::There(self.address.to_string().into(), self.running.engine.party())
    }

    /// Tells it who leads all shards.
    pub(crate) fn follow(&self, whereabouts: &Whereabouts) {
        for shard in 0..SHARDS {
            self.running.engine.note_leader(ShardId(shard), whereabouts.clone());
        }
    }

    pub(crate) async fn stop(self) {
        self.running.engine.close();
        drop(self.stop);
        self.served.await.unwrap();
        self.subscriptions.stop().await;
        tokio::task::spawn_blocking(move || self.running.stop()).await.unwrap();
    }

    /// A request with some header lines.
    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Reply {
        ask(self.address, line, headers, body).await
    }

    pub(crate) async fn create(&self, stream: &str) {
        let reply = self.ask(&format!("PUT /v1/stream/{stream}"), "Content-Type: text/plain\r\n", b"").await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    /// Everything in a stream.
    pub(crate) async fn all(&self, stream: &str) -> Vec<u8> {
        let (mut all, mut offset) = (Vec::new(), "-1".to_owned());
        loop {
            let reply = self.ask(&format!("GET /v1/stream/{stream}?offset={offset}"), "", b"").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            all.extend_from_slice(&reply.body);
            if reply.header("stream-up-to-date").is_some() {
                return all;
            }
            reply.header("stream-next-offset").unwrap().clone_into(&mut offset);
        }
    }
}

/// A leader, and a node that follows it in all shards.
pub(crate) async fn pair(forward: ForwardLimits) -> (Node, Node) {
    let (leader, follower) = (Node::start().await, Node::with(forward).await);
    follower.follow(&leader.at());
    (leader, follower)
}

/// Whom nobody has seen, and an impostor is taken for.
pub(crate) const MISSING: Party = Party {
    cluster: ClusterId([0x0c; 16]),
    member: Some(ReplicaId(9)),
    volume: Some(VolumeIncarnation([0x0e; 16])),
};

pub(crate) fn at(address: SocketAddr) -> Whereabouts {
    Whereabouts::There(address.to_string().into(), MISSING)
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Sends a request on a connection of its own; a body gets its length, unless the headers frame it.
pub(crate) async fn ask(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Reply {
    let mut raw = format!("{line} HTTP/1.1\r\nHost: streams.example\r\nConnection: close\r\n{headers}");
    if !body.is_empty() && !headers.contains("Transfer-Encoding") {
        raw.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    raw.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(raw.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    Reply::parse(&answer)
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(raw: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let at = head.parse(raw).unwrap().unwrap();
        let field = |field: &httparse::Header<'_>| {
            (field.name.to_ascii_lowercase(), String::from_utf8(field.value.to_vec()).unwrap())
        };
        let headers = head.headers.iter().map(field).collect();
        Self { status: head.code.unwrap(), headers, body: raw[at..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status, code and outcome of a problem that says when to come back.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("retry-after"), Some("1"), "{self:?}");
        let body = self.json();
        let member = |name: &str| body[name].as_str().unwrap().to_owned();
        (self.status, member("code"), member("outcome"))
    }
}

/// A connection that somebody who takes this for the leader has opened.
pub(crate) struct Caller(TcpStream);

/// What takes itself for a leader.
pub(crate) struct Impostor(TcpListener);

impl Impostor {
    pub(crate) async fn listen() -> (Self, Whereabouts) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = at(listener.local_addr().unwrap());
        (Self(listener), there)
    }

    pub(crate) async fn accept(&self) -> Caller {
        Caller(within(self.0.accept()).await.unwrap().0)
    }

    /// Whether nobody has come.
    pub(crate) async fn is_alone(&self) -> bool {
        futures::future::poll_immediate(self.0.accept()).await.is_none()
    }
}

impl Caller {
    /// The head of a request, without its body.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// A whole request.
    pub(crate) async fn request(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        within(self.0.read_exact(&mut body)).await.unwrap();
        (head, body)
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits until the other side hangs up.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(within(self.0.read(&mut [0])).await.unwrap(), 0);
    }
}

/// No test waits longer than this for anything.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}
