//! The admin port's own accept loop. Invariants: connections, heads, idle times and lives are bounded, so that whoever
//! elects finds a free connection whatever others do with theirs; the end waits for the calls that are under way, and no
//! longer than [`FAREWELL`].

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::governed::Governed;
use super::routes::router;
use super::seats::{Seat, Seats};

/// Connections at once; a further one takes the place of one that is idle. A few operators, a person or two, and room for
/// those that hang.
const CONNECTIONS_MAX: usize = 64;
/// Time in which a head must arrive, on an idle connection as well.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection takes calls.
const LIFE: Duration = Duration::from_secs(60);
/// After that so long its call may take: longer than any batch.
const GRACE: Duration = Duration::from_secs(8);
/// At the end of the node so long calls may take: its engine has ended, so there is nothing to wait for but the network.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of a head, and of a body that is read ahead.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How long accepting rests when the system refuses another handle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves calls until `shutdown` completes and those under way are answered.
pub async fn serve(listener: TcpListener, node: Arc<dyn Governed>, shutdown: impl Future<Output = ()>) {
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let calls = router(node);
    tokio::select! {
        () = accept(&listener, &calls, &closed, &mut connections) => {}
        () = shutdown => {}
    }
    drop((listener, closing));
    // What is not answered by then is cut off with the set.
    let _answered = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(
    listener: &TcpListener,
    calls: &Router,
    closed: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let seats = Seats::new(CONNECTIONS_MAX);
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(seat) = seats.take().await else { return };
                connections.spawn(converse(stream, calls.clone(), closed.clone(), seat));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port rests for a moment");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(stream: TcpStream, calls: Router, mut closed: watch::Receiver<()>, seat: Arc<Seat>) {
    // With a dead peer this fails, and so will reading.
    let _ = stream.set_nodelay(true);
    let place = Arc::clone(&seat);
    let call = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut calls, place) = (calls.clone(), Arc::clone(&place));
        async move {
            place.works();
            let answer = answer(&mut calls, request.map(axum::body::Body::new)).await;
            place.rests();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), call);
    tokio::pin!(connection);
    tokio::select! {
        // How it ended is the caller's business alone.
        _ = &mut connection => return,
        () = seat.wanted() => return,
        _ = closed.changed() => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(GRACE, connection).await;
}

async fn answer(calls: &mut Router, request: Request) -> axum::response::Response {
    let Ok(response) = calls.call(request).await;
    response
}
