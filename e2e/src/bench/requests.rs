//! Work loads of one request after the other: append, create, head, and a bare route.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;

use super::load::{Phase, Tally};
use super::plan::{Plan, Work};
use crate::client::{Connection, Request};
use crate::stopwatch::Stopwatch;

/// Streams of a connection that writes to many.
const STREAMS_PER_CONNECTION: usize = 16;
/// The type of every stream that the bench appends to; text, so that subscribers see it as it is.
pub(super) const CONTENT_TYPE: &str = "text/plain";
/// The stream that everybody shares.
pub(super) const SHARED: &str = "bench/shared";

/// Creates what the work needs.
pub(super) async fn prepare(address: SocketAddr, plan: Plan) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut names = vec![SHARED.to_owned()];
    if plan.work == Work::AppendMany {
        names.extend((0..plan.connections).flat_map(own_streams));
    }
    for name in names {
        let head = connection.exchange(&Request::create(&name, CONTENT_TYPE)).await?.head;
        ensure!(head.status == 201, "PUT {name}: {}", head.status);
    }
    Ok(())
}

fn own_streams(connection: usize) -> Vec<String> {
    (0..STREAMS_PER_CONNECTION).map(|stream| format!("bench/{connection}-{stream}")).collect()
}

/// A message that ends its line: `length` bytes of text.
pub(super) fn message(length: usize) -> Vec<u8> {
    let mut text = vec![b'x'; length];
    if let Some(last) = text.last_mut() {
        *last = b'\n';
    }
    text
}

/// The requests that one connection sends in turn, and the status that each must get.
fn requests(plan: Plan, connection: usize) -> (Vec<Request>, u16) {
    let body = message(plan.message_bytes);
    match plan.work {
        Work::AppendMany => {
            let names = own_streams(connection);
            (names.iter().map(|name| Request::append(name, CONTENT_TYPE, &body)).collect(), 204)
        }
        Work::Head => (vec![Request::head(SHARED)], 200),
        Work::Health => (vec![Request::draft("GET", "/healthz").end()], 200),
        _ => (vec![Request::append(SHARED, CONTENT_TYPE, &body)], 204),
    }
}

/// Sends requests until the phase ends it.
pub(super) async fn repeat(
    address: SocketAddr,
    plan: Plan,
    number: usize,
    phase: Phase,
) -> anyhow::Result<Tally> {
    if plan.work == Work::Create {
        return create(address, phase).await;
    }
    let (requests, expected) = requests(plan, number);
    let mut connection = Connection::open(address).await?;
    let clock = Stopwatch::start();
    let mut tally = Tally::default();
    for request in requests.iter().cycle() {
        if phase.is_stopped() {
            break;
        }
        let sent = clock.nanoseconds();
        let head = connection.exchange_into(request, |_| {}).await?;
        ensure!(head.status == expected, "{}: status {}", plan, head.status);
        if phase.is_measuring() {
            tally.add(plan.message_bytes as u64, clock.nanoseconds() - sent);
        }
    }
    Ok(tally)
}

async fn create(address: SocketAddr, phase: Phase) -> anyhow::Result<Tally> {
    // Rounds meet the same server again, so names go on.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut connection = Connection::open(address).await?;
    let clock = Stopwatch::start();
    let mut tally = Tally::default();
    while !phase.is_stopped() {
        let name = format!("bench/created-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let sent = clock.nanoseconds();
        let head = connection.exchange_into(&Request::create(&name, CONTENT_TYPE), |_| {}).await?;
        ensure!(head.status == 201, "create: status {}", head.status);
        if phase.is_measuring() {
            tally.add(0, clock.nanoseconds() - sent);
        }
    }
    Ok(tally)
}
