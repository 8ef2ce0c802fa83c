//! Promise: whatever kills, pauses or stops the node, nothing that it acknowledged is lost, doubled, altered or
//! reordered, nothing that it refused happened, and no reader saw what a crash took back.
//!
//! `TEST_KILL_CYCLES` says how often (10 here, 25 in CI); `TEST_SEED` repeats a run.
#![expect(clippy::print_stdout, reason = "the figures are the evidence")]

use std::time::Duration;

use anyhow::ensure;
use thalweg_e2e::client::EventStream;
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cycles::{Cycles, Mix, STOP_DEADLINE};
use thalweg_e2e::server::{AolMode, NodeOptions, Server, ServerKind, complaints};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn survives(cycles: &Cycles) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let report = cycles.run(data.path()).await?;
    println!("seed {}: {report}", cycles.seed);
    ensure!(report.problems.is_empty(), "{} problems with seed {}", report.problems.len(), cycles.seed);
    ensure!(report.acknowledged > 0, "nothing was acknowledged, so nothing was shown");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_pause_or_stop() -> anyhow::Result<()> {
    let count = u32::try_from(number("TEST_KILL_CYCLES", 10))?;
    let node = ServerKind::Node(NodeOptions::default());
    survives(&Cycles::new(node, count, number("TEST_SEED", 1))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_with_one_shard_and_kills_in_quick_succession() -> anyhow::Result<()> {
    let count = u32::try_from(number("TEST_KILL_CYCLES", 10))?;
    let node = ServerKind::Node(NodeOptions { shards: 1, ..NodeOptions::default() });
    let mut cycles = Cycles::new(node, count, number("TEST_SEED", 2));
    cycles.mix = Mix { kills: 1, pauses: 0, stops: 0 };
    cycles.calm = Duration::from_millis(300);
    survives(&cycles).await
}

/// What the others show is worth something only if a loss would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_log_is_caught_losing_writes() -> anyhow::Result<()> {
    let node = ServerKind::Node(NodeOptions { aol: AolMode::Never, ..NodeOptions::default() });
    let mut cycles = Cycles::new(node, 1, 3);
    cycles.mix = Mix { kills: 1, pauses: 0, stops: 0 };
    let data = tempfile::tempdir()?;
    let report = cycles.run(data.path()).await?;
    ensure!(!report.problems.is_empty(), "nothing was found: {report}");
    Ok(())
}

#[tokio::test]
async fn the_node_ends_within_ten_seconds_of_sigterm_with_tailers_connected() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let kind = ServerKind::Node(NodeOptions::default());
    let server = Server::start(&kind, data.path(), 0, 30_000).await?;
    let address = server.address();
    let created = Connection::open(address).await?.exchange(&Request::create("tailed", "text/plain")).await?;
    ensure!(created.head.status == 201);
    let mut subscriber = EventStream::open(address, "tailed", "-1").await?;
    ensure!(subscriber.next().await?.is_some_and(|event| event.kind == "control"));
    let mut waiting = Connection::open(address).await?;
    waiting.send(&Request::long_poll("tailed", "now", None)).await?;
    // A connection that sends half a request and one that sends nothing must not hold it up either.
    let silent = Connection::open(address).await?;
    let mut half = Connection::open(address).await?;
    half.send_raw(b"POST /v1/stream/tailed HTTP/1.1\r\nHost: x\r\nContent-Le").await?;
    let (status, log) = server.stop(STOP_DEADLINE).await?;
    ensure!(status.success(), "{status}");
    // The subscriber's answer ends properly: a last chunk, not a broken connection.
    while subscriber.next().await?.is_some() {}
    drop((silent, half, waiting));
    ensure!(complaints(&log, &[]).is_empty(), "{log:?}");
    Ok(())
}
