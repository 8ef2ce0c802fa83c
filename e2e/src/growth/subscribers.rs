//! Very many idle subscribers of one stream.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bytes_each;
use crate::client::{Connection, EventStream, Request};
use crate::server::{Server, ServerKind, allow_descriptors};
use crate::stopwatch::Stopwatch;

/// The stream.
const NAME: &str = "growth/followed";
/// Until the last subscriber has the message.
const DEADLINE: Duration = Duration::from_secs(60);

/// What they cost.
#[derive(Debug, Clone)]
pub struct SubscribersReport {
    /// How many.
    pub count: u64,
    /// Resident bytes of the server for each.
    pub resident_bytes_each: u64,
    /// How long it took to connect them.
    pub connected: Duration,
    /// From an append to its arrival at the last of them.
    pub delivered: Duration,
}

impl fmt::Display for SubscribersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} idle subscribers: {:.1} KiB each, connected in {:?}, one message at all of them after {:?}",
            self.count,
            f64::from(u32::try_from(self.resident_bytes_each).unwrap_or(u32::MAX)) / 1024.0,
            self.connected,
            self.delivered
        )
    }
}

/// Connects `count` subscribers, measures, appends once, waits until all have it.
pub async fn subscribers(kind: &ServerKind, data: &Path, count: u64) -> anyhow::Result<SubscribersReport> {
    allow_descriptors(count)?;
    let server = Server::start(kind, data, 0, 2_000).await?;
    let mut link = Connection::open(server.address()).await?;
    let head = link.exchange(&Request::create(NAME, "text/plain")).await?.head;
    ensure!(head.status == 201, "create: {}", head.status);
    let before = server.cost()?.resident_bytes;
    let clock = Stopwatch::start();
    let mut all = Vec::new();
    for _ in 0..count {
        let mut events = EventStream::open(server.address(), NAME, "now").await?;
        ensure!(events.head().status == 200, "SSE: {}", events.head().status);
        // The first control event: from here on it is idle.
        events.next().await?.context("ended at once")?;
        all.push(events);
    }
    let connected = clock.elapsed();
    let resident_bytes_each = bytes_each(before, server.cost()?.resident_bytes, count);
    let mut waiting = JoinSet::new();
    for mut events in all {
        waiting.spawn(async move {
            while let Some(event) = events.next().await? {
                if event.kind == "data" {
                    ensure!(event.data.starts_with("hello"), "{event:?}");
                    // The connection stays open until all have it.
                    return Ok(events);
                }
            }
            anyhow::bail!("ended before the message came")
        });
    }
    let clock = Stopwatch::start();
    let done = link.exchange(&Request::append(NAME, "text/plain", b"hello\n")).await?.head;
    ensure!(done.status == 204, "append: {}", done.status);
    let mut served = Vec::new();
    while let Some(result) = timeout(DEADLINE, waiting.join_next()).await.context("one got nothing")? {
        served.push(result??);
    }
    let delivered = clock.elapsed();
    drop(served);
    server.kill().await?;
    Ok(SubscribersReport { count, resident_bytes_each, connected, delivered })
}
