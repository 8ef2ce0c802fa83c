//! Promise: the official JavaScript client writes, tails and survives kill -9 and restart of the node, with nothing lost
//! and nothing doubled.
#![expect(clippy::print_stdout, reason = "the client's own summary is the evidence")]

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use thalweg_e2e::conformance;
use thalweg_e2e::server::{NodeOptions, Server, ServerKind, complaints};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Messages that the client writes, and after how many the node is killed, again and again.
const COUNT: u32 = 600;
const KILL_EVERY: u32 = 150;
/// The client's own back-off is what takes long.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    written: u32,
    done: bool,
    read: bool,
    tailed: bool,
    read_count: u32,
    tailed_count: u32,
    retries: u32,
    sessions: u32,
    problems: Vec<String>,
}

async fn writes_and_tails_through_kills(mode: &str) -> anyhow::Result<()> {
    conformance::install().await?;
    let data = tempfile::tempdir()?;
    let kind = ServerKind::Node(NodeOptions::default());
    let mut server = Server::start(&kind, data.path(), 0, 2_000).await?;
    // The client knows one address only, so the node comes back on the same port.
    let port = server.address().port();
    let mut client = Command::new("node")
        .args(["client.js", &server.base_url(), mode, &COUNT.to_string()])
        .current_dir(conformance::folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(client.stdout.take().context("no output")?).lines();
    let (mut kills, mut last) = (0, Line::default());
    while let Some(text) = timeout(DEADLINE, lines.next_line()).await.context("the client hangs")?? {
        last = serde_json::from_str(&text).with_context(|| text.clone())?;
        if last.written >= KILL_EVERY * (kills + 1) && last.written < COUNT {
            kills += 1;
            let log = server.kill().await?;
            ensure!(complaints(&log, &[]).is_empty(), "{log:?}");
            server = Server::start(&kind, data.path(), port, 2_000).await?;
        }
    }
    println!("{mode}: {kills} kills, {last:?}");
    ensure!(last.retries + last.sessions > 1, "the kills went unnoticed");
    ensure!(kills >= 3 && last.done && last.problems.is_empty());
    ensure!(
        last.read && last.read_count == COUNT,
        "what was read is not what was written, once each and in order"
    );
    ensure!(last.tailed && last.tailed_count == COUNT, "what was tailed is not what was written");
    server.kill().await?;
    Ok(())
}

#[tokio::test]
async fn the_official_client_survives_kills_while_it_follows_by_sse() -> anyhow::Result<()> {
    writes_and_tails_through_kills("sse").await
}

#[tokio::test]
async fn the_official_client_survives_kills_while_it_follows_by_long_poll() -> anyhow::Result<()> {
    writes_and_tails_through_kills("long-poll").await
}
