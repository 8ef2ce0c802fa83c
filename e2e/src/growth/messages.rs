//! A very long stream: as fast at every length as at the start.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::{per_second, spread};
use crate::bench::Histogram;
use crate::client::{Connection, OffsetText, Request};
use crate::server::{Server, ServerKind};
use crate::stopwatch::Stopwatch;

/// The stream.
const NAME: &str = "growth/long";
/// Messages of one request while the stream is filled.
const BATCH: u64 = 1_000;
/// Connections and requests of each while appends are measured.
const CONNECTIONS: u64 = 16;
const APPENDS: u64 = 200;
/// Reads that are measured at each end.
const READS: u64 = 200;

/// What it costs at one length.
#[derive(Debug, Clone)]
pub struct MessagesAt {
    /// Messages in the stream.
    pub count: u64,
    /// Single appends per second from 16 connections.
    pub appends_per_second: f64,
    /// One answer from the start, up to the server's bound.
    pub read_start: Histogram,
    /// The last batch, from an offset close to the tail.
    pub read_end: Histogram,
    /// Resident bytes of the server.
    pub resident_bytes: u64,
}

impl fmt::Display for MessagesAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9} messages: {:.0} appends/s · read at the start {} · read at the end {} · {} MiB resident",
            self.count,
            self.appends_per_second,
            spread(&self.read_start),
            spread(&self.read_end),
            self.resident_bytes >> 20
        )
    }
}

/// Fills a stream to each of `lengths`, rising, and measures there.
pub async fn messages(kind: &ServerKind, data: &Path, lengths: &[u64]) -> anyhow::Result<Vec<MessagesAt>> {
    let server = Server::start(kind, data, 0, 2_000).await?;
    let address = server.address();
    let mut link = Connection::open(address).await?;
    let head = link.exchange(&Request::create(NAME, "application/json")).await?.head;
    ensure!(head.status == 201, "create: {}", head.status);
    let (mut count, mut found) = (0, Vec::new());
    for &length in lengths {
        let mut near_end = head.next.context("no offset")?;
        while count < length {
            let batch = BATCH.min(length - count);
            let texts: Vec<String> =
                (count..count + batch).map(|n| format!("{{\"n\":{n:020}}}").replace(":0", ":1")).collect();
            let body = format!("[{}]", texts.join(","));
            let before = link.exchange_into(&Request::head(NAME), |_| {}).await?;
            near_end = before.next.context("no offset")?;
            let done = link
                .exchange_into(&Request::append(NAME, "application/json", body.as_bytes()), |_| {})
                .await?;
            ensure!(done.status == 204, "append: {}", done.status);
            count += batch;
        }
        let start = OffsetText::new(b"-1").context("an offset")?;
        let read_start = read(&mut link, start).await?;
        let read_end = read(&mut link, near_end).await?;
        let appends_per_second = append(address).await?;
        count += CONNECTIONS * APPENDS;
        let resident_bytes = server.cost()?.resident_bytes;
        found.push(MessagesAt { count: length, appends_per_second, read_start, read_end, resident_bytes });
    }
    server.stop(Duration::from_secs(120)).await?;
    Ok(found)
}

async fn read(link: &mut Connection, from: OffsetText) -> anyhow::Result<Histogram> {
    let request = Request::read(NAME, from.as_str());
    let mut latency = Histogram::default();
    let clock = Stopwatch::start();
    for _ in 0..READS {
        let sent = clock.nanoseconds();
        let head = link.exchange_into(&request, |_| {}).await?;
        latency.record(clock.nanoseconds() - sent);
        ensure!(head.status == 200, "read: {}", head.status);
    }
    Ok(latency)
}

async fn append(address: SocketAddr) -> anyhow::Result<f64> {
    let clock = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let mut link = Connection::open(address).await?;
            let request =
                Request::append(NAME, "application/json", b"{\"single\":\"a message of some bytes\"}");
            for _ in 0..APPENDS {
                let head = link.exchange_into(&request, |_| {}).await?;
                ensure!(head.status == 204, "append: {}", head.status);
            }
            Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(per_second(CONNECTIONS * APPENDS, clock.elapsed()))
}
