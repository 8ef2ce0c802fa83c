//! A node as clients see it: requests go over a socket, the clock can be moved, the process can stop or crash.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg_node::config::Config;
use thalweg_node::http::api::{Api, Settings, Site};
use thalweg_node::http::wire::{Limits, Registry, serve};
use thalweg_node::runtime::{Running, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::UnixMillis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a long-poll of these nodes waits.
const LONG_POLL: Duration = Duration::from_millis(300);

/// The real clock with a hand that a test can move, backwards as well.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn move_by(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// A directory and the node that serves it.
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) config: Config,
    directory: TempDir,
    pub(crate) node: Node,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) metrics: Arc<Metrics>,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Node {
    async fn start(config: &Config, clock: &Arc<HandClock>) -> Self {
        let metrics = Arc::new(Metrics::new(config.lanes));
        let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
        let running = start(config, &clock, Arc::clone(&metrics)).unwrap();
        let settings = Settings { long_poll_timeout: LONG_POLL, ..Settings::default() };
        let api = Api::new(running.engine.clone(), Arc::clone(&clock), |_| 1, settings, Site::default());
        let registry = Registry::new(Limits::default(), clock, Arc::clone(&metrics));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let served = tokio::spawn(async move {
            let _served = serve(listener, Arc::new(api), registry, shutdown).await;
        });
        Self { running, metrics, address, stop, served }
    }

    async fn end(self) {
        self.running.engine.close();
        drop(self.stop);
        self.served.await.unwrap();
        tokio::task::spawn_blocking(move || self.running.stop()).await.unwrap();
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Checkpoints only when it stops, unless `shape` says otherwise: so everything is in the log until then.
    pub(crate) async fn with(shape: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { data: directory.path().join("data"), ..Config::default() };
        config.checkpoint_interval = Duration::from_secs(3600);
        shape(&mut config);
        let clock = Arc::default();
        let node = Node::start(&config, &clock).await;
        Self { clock, config, directory, node }
    }

    /// Stops the node in order and starts it again.
    pub(crate) async fn restart(self) -> Self {
        self.damaged(|| {}).await
    }

    /// Goes on from what the volume holds at this moment, as after a kill -9.
    pub(crate) async fn crash(self) -> Self {
        let Self { clock, mut config, directory, node } = self;
        let image = directory.path().join(format!("{}-crashed", config.data.file_name().unwrap().display()));
        copy(&config.data, &image);
        node.end().await;
        config.data = image;
        let node = Node::start(&config, &clock).await;
        Self { clock, config, directory, node }
    }

    /// Stops in order, lets something happen to the files, and starts again.
    pub(crate) async fn damaged(self, damage: impl FnOnce()) -> Self {
        let Self { clock, config, directory, node } = self;
        node.end().await;
        damage();
        let node = Node::start(&config, &clock).await;
        Self { clock, config, directory, node }
    }

    pub(crate) async fn stop(self) {
        self.node.end().await;
    }

    /// A client of its own, for tasks.
    pub(crate) fn client(&self) -> Client {
        Client(self.node.address)
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.client().ask(method, target, headers, body).await
    }

    pub(crate) async fn put(&self, stream: &str, content_type: &str, headers: &[(&str, &str)]) -> Reply {
        self.client().put(stream, content_type, headers).await
    }

    pub(crate) async fn post(&self, stream: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.client().post(stream, headers, body).await
    }

    pub(crate) async fn get(&self, stream: &str, offset: &str) -> Reply {
        self.client().get(stream, offset).await
    }

    pub(crate) async fn head(&self, stream: &str) -> Reply {
        self.ask("HEAD", stream, &[], "").await
    }
}

/// Sends requests, each on a connection of its own. A target that begins with a slash is a path, others are streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(std::net::SocketAddr);

impl Client {
    pub(crate) async fn ask(self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let path = if target.starts_with('/') { target.to_owned() } else { format!("/v1/stream/{target}") };
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        within(stream.read_to_end(&mut raw)).await.unwrap();
        Reply::parse(&raw)
    }

    pub(crate) async fn put(self, stream: &str, content_type: &str, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("Content-Type", content_type)];
        all.extend(headers);
        self.ask("PUT", stream, &all, "").await
    }

    /// Text or JSON, by how the body begins.
    pub(crate) async fn post(self, stream: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let json = body.starts_with(['[', '{']);
        let mut all = vec![("Content-Type", if json { "application/json" } else { "text/plain" })];
        all.extend(headers);
        self.ask("POST", stream, &all, body).await
    }

    pub(crate) async fn get(self, stream: &str, offset: &str) -> Reply {
        self.ask("GET", &format!("{stream}?offset={offset}"), &[], "").await
    }

    /// Everything from an offset to the tail, and the tail.
    pub(crate) async fn all(self, stream: &str, from: &str) -> (String, String) {
        let (mut text, mut offset) = (String::new(), from.to_owned());
        loop {
            let reply = self.get(stream, &offset).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            text.push_str(&reply.text());
            offset = reply.next().to_owned();
            if reply.header("stream-up-to-date").is_some() {
                return (text, offset);
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
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

    /// `Stream-Next-Offset`.
    pub(crate) fn next(&self) -> &str {
        self.header("stream-next-offset").unwrap_or_else(|| panic!("no Stream-Next-Offset in {self:?}"))
    }

    /// How many messages lie before `Stream-Next-Offset`.
    pub(crate) fn messages_before_next(&self) -> u64 {
        u64::from_str_radix(self.next().split('_').next().unwrap(), 16).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether it is closed, and the answer reaches the end.
    pub(crate) fn closed(&self) -> bool {
        self.header("stream-closed") == Some("true")
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// No test waits longer than this for anything.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Until a figure that nobody announces is what it should be.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let found = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"));
}
