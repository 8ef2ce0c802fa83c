//! Promise: the node speaks the protocol exactly as the official suite demands, in every log mode and shard count.
//!
//! `TEST_CONFORMANCE=all` runs every mode (CI); otherwise one mode with 16 shards (the developer's tier).
#![expect(clippy::print_stdout, reason = "the suite's own closing lines are the evidence")]

use thalweg_e2e::conformance;
use thalweg_e2e::server::{AolMode, NodeOptions, ServerKind};

async fn all_338_pass(aol: AolMode, shards: u32) -> anyhow::Result<()> {
    let report =
        conformance::of_server(&ServerKind::Node(NodeOptions { aol, shards, ..NodeOptions::default() }))
            .await?;
    println!("aol {}, {shards} shards\n{}", aol.as_str(), report.closing.join("\n"));
    Ok(())
}

#[tokio::test]
async fn all_338_tests_of_the_official_suite_pass() -> anyhow::Result<()> {
    if std::env::var("TEST_CONFORMANCE").is_ok_and(|tier| tier == "all") {
        for shards in [1, 16] {
            for aol in [AolMode::Sync, AolMode::Async, AolMode::Never] {
                all_338_pass(aol, shards).await?;
            }
        }
        return Ok(());
    }
    all_338_pass(AolMode::Sync, 16).await
}
