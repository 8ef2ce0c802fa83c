//! The accept loop, and the end of service. Invariant: connections beyond the budget are told so and closed, running
//! out of file handles slows accepting down but ends nothing, and shutdown is bounded.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::connection::Connection;
use super::listener::tune;
use super::registry::Registry;
use super::{Problem, ResponseHead, Service};

/// How long accepting rests when the system refuses another handle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Refused connections that may be told so at a time; more are just closed.
const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to read its refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);

/// How service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Connections whose requests were still running when patience ended.
    pub connections_cut: usize,
}

/// Accepts and serves connections until `shutdown` completes, then drains within the configured bound.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> Served {
    let time = tokio::spawn(registry.clone().keep_time());
    tokio::select! {
        () = accept(&listener, &service, &registry) => {}
        () = shutdown => {}
    }
    drop(listener);
    registry.close();
    let drained = tokio::time::timeout(registry.limits.shutdown_timeout, registry.drained()).await;
    time.abort();
    Served { connections_cut: if drained.is_ok() { 0 } else { registry.connections_open() } }
}

async fn accept<S: Service>(listener: &TcpListener, service: &Arc<S>, registry: &Arc<Registry>) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => welcome(stream, service, registry, &refusals),
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting connections rests for a moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection died before it was accepted; the listener is well.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn welcome<S: Service>(
    stream: TcpStream,
    service: &Arc<S>,
    registry: &Arc<Registry>,
    refusals: &Arc<Semaphore>,
) {
    if let Some(membership) = registry.join() {
        tune(&stream, registry.connections_open());
        tokio::spawn(Connection::new(stream, service.clone(), membership).run());
    } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
        let common = Arc::clone(&registry.limits.common_headers);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream, &common)).await;
            drop(permit);
        });
    }
}

async fn refuse(mut stream: TcpStream, common: &[u8]) -> io::Result<()> {
    let mut out = ResponseHead::new();
    let problem =
        Problem::refused(503, "too_many_connections", "The server has as many connections as it may hold")
            .retry_after(1);
    let body = problem.write(&mut out, "close an idle connection, or try again");
    let mut bytes = out.into_refusal(body.len(), common);
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    let mut unwanted = [0u8; 1024];
    while stream.read(&mut unwanted).await? > 0 {}
    Ok(())
}
