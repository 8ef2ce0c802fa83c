//! Very many streams in one server.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::{bytes_each, per_second, spread};
use crate::bench::Histogram;
use crate::client::{Connection, Request};
use crate::dice::Dice;
use crate::server::{Server, ServerKind};
use crate::stopwatch::Stopwatch;

/// Connections that create.
const CONNECTIONS: u64 = 16;
/// Streams that are read first after the restart.
const OPENED: u64 = 1_000;

/// What it cost.
#[derive(Debug, Clone)]
pub struct StreamsReport {
    /// How many.
    pub count: u64,
    /// Creations per second.
    pub creates_per_second: f64,
    /// Resident bytes for each, after all were created and written to once.
    pub resident_bytes_each: u64,
    /// The same after a restart.
    pub resident_bytes_each_restarted: u64,
    /// Bytes of disk for each.
    pub disk_bytes_each: u64,
    /// From the start to the moment at which it served, after SIGTERM and after SIGKILL.
    pub restart: Duration,
    /// After SIGKILL.
    pub restart_killed: Duration,
    /// First read of a stream after the restart.
    pub open: Histogram,
}

impl fmt::Display for StreamsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} streams, one message each", self.count)?;
        writeln!(f, "  creates and appends: {:.0} pairs/s", self.creates_per_second)?;
        writeln!(
            f,
            "  memory: {} B each, {} B each after a restart",
            self.resident_bytes_each, self.resident_bytes_each_restarted
        )?;
        writeln!(f, "  disk: {} B each", self.disk_bytes_each)?;
        writeln!(f, "  restart: {:?} after SIGTERM, {:?} after SIGKILL", self.restart, self.restart_killed)?;
        write!(f, "  first read after it: {}", spread(&self.open))
    }
}

/// Creates `count` streams with one message each, restarts twice, reads some.
pub async fn streams(kind: &ServerKind, data: &Path, count: u64) -> anyhow::Result<StreamsReport> {
    let server = Server::start(kind, data, 0, 2_000).await?;
    let empty = server.cost()?.resident_bytes;
    let clock = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        tasks.spawn(create(server.address(), connection, count));
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let creates_per_second = per_second(count, clock.elapsed());
    let resident_bytes_each = bytes_each(empty, server.cost()?.resident_bytes, count);
    server.kill().await?;
    let clock = Stopwatch::start();
    let server = Server::start(kind, data, 0, 2_000).await?;
    let restart_killed = clock.elapsed();
    server.stop(Duration::from_secs(120)).await?;
    let clock = Stopwatch::start();
    let server = Server::start(kind, data, 0, 2_000).await?;
    let restart = clock.elapsed();
    let open = first_reads(server.address(), count).await?;
    let resident_bytes_each_restarted = bytes_each(empty, server.cost()?.resident_bytes, count);
    server.kill().await?;
    let disk_bytes_each = disk_bytes(data)? / count.max(1);
    Ok(StreamsReport {
        count,
        creates_per_second,
        resident_bytes_each,
        resident_bytes_each_restarted,
        disk_bytes_each,
        restart,
        restart_killed,
        open,
    })
}

async fn create(address: SocketAddr, connection: u64, count: u64) -> anyhow::Result<()> {
    let mut link = Connection::open(address).await?;
    for number in (connection..count).step_by(usize::try_from(CONNECTIONS)?) {
        let name = format!("growth/{number}");
        let head = link.exchange_into(&Request::create(&name, "text/plain"), |_| {}).await?;
        ensure!(head.status == 201, "create {name}: {}", head.status);
        let head = link.exchange_into(&Request::append(&name, "text/plain", name.as_bytes()), |_| {}).await?;
        ensure!(head.status == 204, "append {name}: {}", head.status);
    }
    Ok(())
}

async fn first_reads(address: SocketAddr, count: u64) -> anyhow::Result<Histogram> {
    let mut link = Connection::open(address).await?;
    let mut latency = Histogram::default();
    let mut dice = Dice::new(count);
    let clock = Stopwatch::start();
    for _ in 0..OPENED.min(count) {
        let name = format!("growth/{}", dice.below(count));
        let sent = clock.nanoseconds();
        let answer = link.exchange(&Request::read(&name, "-1")).await?;
        latency.record(clock.nanoseconds() - sent);
        ensure!(answer.head.status == 200 && answer.body == name.as_bytes(), "{name}: {answer:?}");
    }
    Ok(latency)
}

/// Blocks that the files below a folder occupy.
fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(total)
}
