//! A node with subscriptions on a directory of its own, requests to it, and workers on loopback that receive webhooks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use thalweg_node::config::Config;
use thalweg_node::core::{Append, Create};
use thalweg_node::http::subscriptions::router;
use thalweg_node::runtime::subscriptions::{Resolver, Subscriptions, SystemResolver, WebhookSettings};
use thalweg_node::runtime::{Engine, ReadFrom, Running, start};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{ContentType, Messages, StreamName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower_service::Service as _;

/// Longer than anything takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    running: Running,
    subscriptions: Subscriptions,
}

impl Node {
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_with(data, Arc::new(SystemResolver)).await
    }

    pub(crate) async fn start_with(data: &Path, resolver: Arc<dyn Resolver>) -> Self {
        let config = Config { data: data.to_owned(), ..Config::default() };
        let metrics = Arc::new(Metrics::new(config.lanes));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let running = start(&config, &clock, Arc::clone(&metrics)).unwrap();
        let settings = WebhookSettings { loopback: true, timeout: PATIENCE, in_flight_max: 4 };
        let engine = running.engine.clone();
        let subscriptions =
            Subscriptions::start(engine.clone(), &settings, resolver, Arc::clone(&metrics)).await.unwrap();
        Self { engine, metrics, running, subscriptions }
    }

    pub(crate) async fn stop(self) {
        self.engine.close();
        self.subscriptions.stop().await;
        self.running.stop();
    }

    /// Status and body of a request below `__ds`.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("/v1/stream/__ds/{path}"))
            .header("host", "node:4437");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(self.subscriptions.clone()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn put(&self, id: &str, body: &Value) -> (u16, Value) {
        self.ask("PUT", &format!("subscriptions/{id}"), None, &body.to_string()).await
    }

    pub(crate) async fn get(&self, id: &str) -> (u16, Value) {
        self.ask("GET", &format!("subscriptions/{id}"), None, "").await
    }

    /// `claim`, `ack`, `callback` or `release`.
    pub(crate) async fn post(&self, id: &str, verb: &str, token: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", &format!("subscriptions/{id}/{verb}"), Some(token), &body.to_string()).await
    }

    pub(crate) async fn create(&self, stream: &str) {
        let create = Create::empty(name(stream), plain());
        self.engine.create(create, None).await.unwrap();
    }

    /// Appends and gives the tail.
    pub(crate) async fn append(&self, stream: &str, text: &str) -> String {
        let append = Append::plain(name(stream), plain(), Messages::single(Bytes::from(text.to_owned())));
        self.engine.append(append).await.unwrap().tail.to_string()
    }

    /// The next wake in a stream that announces them, behind `seen` others.
    pub(crate) async fn announced(&self, stream: &str, seen: usize) -> Value {
        let found = async {
            let mut tailer = self.engine.tail(&name(stream), ReadFrom::Start).await.unwrap();
            let mut events = Vec::new();
            while events.len() <= seen {
                let event = tailer.next(1 << 20, PATIENCE).await;
                let thalweg_node::runtime::TailEvent::Batch(batch) = event else { panic!("{event:?}") };
                for segment in &batch.segments {
                    for at in 0..segment.messages.lengths().len() {
                        let message = segment.messages.slice(at, at + 1);
                        events.push(serde_json::from_slice::<Value>(message.wire()).unwrap());
                    }
                }
            }
            events.swap_remove(seen)
        };
        within(found).await
    }

    /// Until the subscription shows what is wanted.
    pub(crate) async fn eventually(&self, id: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let seen = async {
            loop {
                let (status, shown) = self.get(id).await;
                if wanted(status, &shown) {
                    return shown;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        within(seen).await
    }
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes far too long")
}

pub(crate) fn webhook(url: &str) -> Value {
    json!({ "type": "webhook", "pattern": "events/*", "webhook": { "url": url }, "lease_ttl_ms": 1000 })
}

pub(crate) fn pull() -> Value {
    json!({ "type": "pull-wake", "pattern": "events/*", "wake_stream": "wakes", "lease_ttl_ms": 600_000 })
}

/// What a worker received; its answer is due.
pub(crate) struct Call {
    pub(crate) signature: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) body: Value,
    stream: TcpStream,
}

impl Call {
    pub(crate) async fn answer(mut self, status: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        // A caller that has given up does not care.
        let _gone = self.stream.write_all(text.as_bytes()).await;
    }

    pub(crate) fn stream(&self, path: &str) -> &Value {
        self.body["streams"].as_array().unwrap().iter().find(|stream| stream["path"] == path).unwrap()
    }

    /// What an acknowledgement of this wake says.
    pub(crate) fn ack(&self, path: &str, offset: &str, done: bool) -> Value {
        json!({
            "wake_id": self.body["wake_id"], "generation": self.body["generation"],
            "acks": [{ "stream": path, "offset": offset }], "done": done,
        })
    }
}

/// A worker that listens on loopback.
pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    calls: mpsc::Receiver<Call>,
}

impl Worker {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(receive(stream).await).await.is_err() {
                    return;
                }
            }
        });
        Self { address, calls }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    pub(crate) async fn called(&mut self) -> Call {
        within(self.calls.recv()).await.unwrap()
    }

    pub(crate) fn was_called(&mut self) -> bool {
        self.calls.try_recv().is_ok()
    }
}

async fn receive(mut stream: TcpStream) -> Call {
    let mut raw = Vec::new();
    let (head, start) = loop {
        assert!(stream.read_buf(&mut raw).await.unwrap() > 0, "the request ends in its head");
        if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8(raw[..at].to_vec()).unwrap(), at + 4);
        }
    };
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
    let field = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned()).unwrap()
    };
    assert_eq!(field("content-type"), "application/json");
    let length: usize = field("content-length").parse().unwrap();
    while raw.len() < start + length {
        assert!(stream.read_buf(&mut raw).await.unwrap() > 0, "the request ends in its body");
    }
    let signature = field("webhook-signature");
    let raw = raw.split_off(start);
    let body = serde_json::from_slice(&raw).unwrap();
    Call { signature, raw, body, stream }
}
