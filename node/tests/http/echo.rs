//! A service that answers with what it was asked, and a client that speaks raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::http::wire::{
    Body, Exchange, Interrupt, Limits, Live, LiveStep, Registry, Request, ResponseHead, Served, Service,
    serve,
};
use thalweg_node::seam::ManualClock;
use thalweg_node::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Size of the answer to `/big`.
pub(crate) const BIG_BYTES: usize = 64 << 20;

/// `/echo` repeats method, path and body; `/wait` answers when the client is gone or the server closes; `/held` when
/// released; `/live` never ends by itself; `/big` is larger than any socket buffer; `/large` waits for a MiB of room.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    pub(crate) entered: Arc<Notify>,
    pub(crate) release: Arc<Notify>,
    pub(crate) interrupted: Arc<Notify>,
}

/// Says hello, then waits for ever.
#[derive(Debug)]
pub(crate) struct Greeting {
    greeted: bool,
    ended: Arc<Notify>,
}

impl Live for Greeting {
    async fn next(&mut self, out: &mut Vec<u8>) -> LiveStep {
        if self.greeted {
            std::future::pending::<()>().await;
        }
        self.greeted = true;
        out.extend_from_slice(b"hello");
        LiveStep::More
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"bye");
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

impl Service for Echo {
    type Live = Greeting;

    async fn call<'a>(
        &'a self,
        request: Request<'a>,
        exchange: &'a Exchange<'a>,
        out: &'a mut ResponseHead,
    ) -> Body<Greeting> {
        self.entered.notify_one();
        out.begin(200);
        match request.path() {
            b"/wait" => {
                let interrupt = exchange.interrupted().await;
                self.interrupted.notify_one();
                assert_ne!(interrupt, Interrupt::Expired);
                out.begin(204);
                Body::Absent
            }
            b"/held" => {
                self.release.notified().await;
                Body::Full(Bytes::from_static(b"released"))
            }
            b"/live" => Body::Live(Greeting { greeted: false, ended: self.interrupted.clone() }),
            b"/big" => {
                let parts = vec![Bytes::from(vec![b'x'; BIG_BYTES / 4]); 4];
                let grant = exchange.registry().admission.response(1 << 20).unwrap_or_default();
                Body::Parts { parts, grant }
            }
            b"/large" => match exchange.registry().admission.response_of(1 << 20).await {
                Some(grant) => Body::Parts { parts: vec![Bytes::from(vec![b'x'; 1 << 20])], grant },
                None => {
                    out.begin(503);
                    Body::Absent
                }
            },
            path => {
                let mut text =
                    format!("{:?} {} ", request.head.method, String::from_utf8_lossy(path)).into_bytes();
                text.extend_from_slice(&request.body);
                Body::Full(text.into())
            }
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) echo: Arc<Echo>,
    pub(crate) registry: Arc<Registry>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Served>>,
}

impl Server {
    pub(crate) async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = Arc::new(Echo::default());
        let registry = Registry::new(limits, Arc::new(ManualClock::default()), Arc::new(Metrics::new(1)));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, echo.clone(), registry.clone(), shutdown));
        Self { address, echo, registry, stop: Some(stop), task: Some(task) }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `raw` on a connection of its own and reads until the server closes it.
    pub(crate) async fn until_close(&self, raw: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(raw).await.unwrap();
        rest(&mut stream).await
    }

    pub(crate) fn begin_shutdown(&mut self) -> JoinHandle<Served> {
        drop(self.stop.take());
        self.task.take().unwrap()
    }
}

/// All that still comes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer with a `Content-Length` (or none: 204), head and body.
pub(crate) async fn answer(stream: &mut TcpStream) -> String {
    let mut text = until(stream, "\r\n\r\n").await;
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    within(stream.read_exact(&mut body)).await.unwrap();
    text.push_str(&String::from_utf8_lossy(&body));
    text
}

/// Reads up to and including `end`.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = within(stream.read_u8()).await.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(char::from(byte));
    }
    text
}

/// No test waits longer than this for anything.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

/// Timers short enough for tests.
pub(crate) fn short() -> Limits {
    let brief = Duration::from_millis(150);
    Limits {
        head_timeout: brief,
        idle_timeout: Duration::from_secs(60),
        body_timeout: brief,
        write_timeout: brief,
        shutdown_timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}
