//! Promise: the official JavaScript client writes, tails and survives kill -9 and restart of the node, with nothing lost
//! and nothing doubled.
#![expect(clippy::print_stdout, reason = "the client's own summary is the evidence")]

use anyhow::ensure;
use thalweg_e2e::official::{OfficialClient, Said};
use thalweg_e2e::server::{NodeOptions, Server, ServerKind, complaints};

/// Messages that the client writes, and after how many the node is killed, again and again.
const COUNT: u32 = 600;
const KILL_EVERY: u32 = 150;

async fn writes_and_tails_through_kills(mode: &str) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let kind = ServerKind::Node(NodeOptions::default());
    let mut server = Server::start(&kind, data.path(), 0, 2_000).await?;
    // The client knows one address only, so the node comes back on the same port.
    let port = server.address().port();
    let mut client = OfficialClient::begin(&server.base_url(), mode, COUNT).await?;
    let (mut kills, mut last) = (0, Said::default());
    while let Some(said) = client.next().await? {
        last = said;
        if last.written >= KILL_EVERY * (kills + 1) && last.written < COUNT {
            kills += 1;
            let log = server.kill().await?;
            ensure!(complaints(&log, &[]).is_empty(), "{log:?}");
            server = Server::start(&kind, data.path(), port, 2_000).await?;
        }
    }
    println!("{mode}: {kills} kills, {last:?}");
    ensure!(kills >= 3);
    client.check(&last)?;
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
