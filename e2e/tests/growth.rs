//! Promise: streams, messages and subscribers cost little each, and nothing gets slower with their number. Small sizes
//! here; `e2e growth` takes any.
use thalweg_e2e::growth::{messages, streams, subscribers};
use thalweg_e2e::server::{NodeOptions, ServerKind};

fn node() -> ServerKind {
    ServerKind::Node(NodeOptions::default())
}

#[tokio::test]
async fn many_streams_are_found_again_after_restarts() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let report = streams(&node(), data.path(), 3_000).await?;
    println!("{report}");
    Ok(())
}

#[tokio::test]
async fn a_longer_stream_is_appended_to_and_read_at_both_ends() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    for at in messages(&node(), data.path(), &[1_000, 10_000, 50_000]).await? {
        println!("{at}");
    }
    Ok(())
}

#[tokio::test]
async fn every_idle_subscriber_costs_little_and_gets_the_message() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let report = subscribers(&node(), data.path(), 300).await?;
    println!("{report}");
    anyhow::ensure!(report.resident_bytes_each < 64 << 10, "{} B each", report.resident_bytes_each);
    Ok(())
}
