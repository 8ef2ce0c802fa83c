//! What HTTP alone costs: a route that does nothing, on the engine of this crate and on hyper, driven by the same
//! client in the same run. `cargo bench -p thalweg-node --bench http_floor [-- seconds connections]`.
//!
//! CPU is read per thread from the kernel, so the figures hold on a machine that others use as well.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot go on ends"
)]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use thalweg_node::http::wire::{
    Body, Exchange, Limits, Live, LiveStep, Method, Registry, Request, ResponseHead, Service, serve,
};
use thalweg_node::seam::SystemClock;
use thalweg_node::telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

const BODY: &[u8; 100] = &[b'x'; 100];

struct Bare;
struct Never;

impl Live for Never {
    async fn next(&mut self, _: &mut Vec<u8>) -> LiveStep {
        LiveStep::End
    }
    fn finish(&mut self, _: &mut Vec<u8>) {}
}

impl Service for Bare {
    type Live = Never;
    async fn call<'a>(
        &'a self,
        request: Request<'a>,
        _: &'a Exchange<'a>,
        out: &'a mut ResponseHead,
    ) -> Body<Never> {
        out.begin(if request.head.method == Method::Get { 200 } else { 204 });
        out.header("Stream-Next-Offset", b"0000000000000001_0000000000000064");
        if request.head.method == Method::Get { Body::Full(Bytes::from_static(BODY)) } else { Body::Absent }
    }
}

fn on_server_thread(
    start: impl FnOnce(TcpListener) -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static,
) -> SocketAddr {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("server".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                start(listener).await;
            });
        })
        .unwrap();
    receive.recv().unwrap()
}

fn start_ours() -> SocketAddr {
    on_server_thread(|listener| {
        let registry = Registry::new(Limits::default(), Arc::new(SystemClock), Arc::new(Metrics::new(1)));
        Box::pin(async move {
            serve(listener, Arc::new(Bare), registry, std::future::pending()).await;
        })
    })
}

/// hyper's idea of a socket, over tokio's.
struct Adapter(tokio::net::TcpStream);

impl hyper::rt::Read for Adapter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut scratch = [0u8; 8192];
        let room = buffer.remaining().min(scratch.len());
        let mut target = tokio::io::ReadBuf::new(&mut scratch[..room]);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut target))?;
        buffer.put_slice(target.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Adapter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn start_hyper() -> SocketAddr {
    on_server_thread(|listener| {
        Box::pin(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let service =
                    hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                        let get = request.method() == hyper::Method::GET;
                        if !get {
                            http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
                        }
                        let response = hyper::Response::builder()
                            .status(if get { 200 } else { 204 })
                            .header("Stream-Next-Offset", "0000000000000001_0000000000000064")
                            .header("X-Content-Type-Options", "nosniff")
                            .header("Cross-Origin-Resource-Policy", "cross-origin")
                            .header("Access-Control-Allow-Origin", "*")
                            .header("Access-Control-Expose-Headers", "*")
                            .body(Full::new(if get { Bytes::from_static(BODY) } else { Bytes::new() }))
                            .unwrap();
                        Ok::<_, Infallible>(response)
                    });
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(Adapter(stream), service)
                        .await;
                });
            }
        })
    })
}

/// Many connections on one thread: a request on each, then an answer from each.
fn drive(address: SocketAddr, request: &'static [u8], connections: usize, duration: Duration) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let (stop_seen, done_here) = (stop.clone(), done.clone());
    let client = std::thread::Builder::new()
        .name("client".into())
        .spawn(move || {
            let mut streams: Vec<TcpStream> =
                (0..connections).map(|_| TcpStream::connect(address).unwrap()).collect();
            for stream in &streams {
                stream.set_nodelay(true).unwrap();
            }
            let mut buffer = [0u8; 4096];
            while !stop_seen.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    stream.write_all(request).unwrap();
                }
                for stream in &mut streams {
                    assert!(stream.read(&mut buffer).unwrap() > 50);
                }
                done_here.fetch_add(connections as u64, Ordering::Relaxed);
            }
        })
        .unwrap();
    std::thread::sleep(duration);
    stop.store(true, Ordering::Relaxed);
    client.join().unwrap();
    done.load(Ordering::Relaxed)
}

/// Nanoseconds on a CPU of all threads called `server`, and how often one of them waited.
fn server_cpu() -> u64 {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == "server" {
            let stat = std::fs::read_to_string(path.join("schedstat")).unwrap();
            nanos += stat.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    nanos
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    let arguments: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let seconds = arguments.first().copied().unwrap_or(2);
    let connections = usize::try_from(arguments.get(1).copied().unwrap_or(16)).unwrap();
    let get: &[u8] = b"GET /v1/stream/bench/a?offset=-1 HTTP/1.1\r\nHost: 127.0.0.1:4437\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n";
    let head: &[u8] = b"HEAD /v1/stream/bench/a HTTP/1.1\r\nHost: 127.0.0.1:4437\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n";
    let post = [&b"POST /v1/stream/bench/a HTTP/1.1\r\nHost: 127.0.0.1:4437\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"[..], BODY].concat();
    let post: &'static [u8] = post.leak();
    println!("{:<8}{:<6}{:>12}{:>16}", "server", "verb", "requests/s", "server CPU/req");
    for (name, start) in [("ours", start_ours as fn() -> SocketAddr), ("hyper", start_hyper)] {
        if std::env::args().any(|argument| argument == "--ours") && name == "hyper" {
            continue;
        }
        let address = start();
        for (verb, request) in [("GET", get), ("HEAD", head), ("POST", post)] {
            let before = server_cpu();
            let requests = drive(address, request, connections, Duration::from_secs(seconds));
            let micros = (server_cpu() - before) as f64 / requests as f64 / 1000.0;
            println!("{name:<8}{verb:<6}{:>12.0}{micros:>13.2} us", requests as f64 / seconds as f64);
        }
    }
}
