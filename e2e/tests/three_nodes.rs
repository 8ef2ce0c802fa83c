//! Promise: three nodes with a driver are one server. Whatever is killed, paused, cut off, slowed or emptied, nothing that
//! any of them acknowledged is lost, doubled, altered or reordered, on whichever node it is read; and a leader that dies
//! is replaced within a second, most times.
//!
//! `TEST_CLUSTER_CYCLES` says how often nodes are killed under load (10 here, 50 in CI), `TEST_CLUSTER_TROUBLES` how much else
//! befalls each world (3 here, 6 in CI), `TEST_CLUSTER_KILLS` and `TEST_CLUSTER_PAUSES` how many gaps are measured (3 and 2
//! here, 10 each in CI), `TEST_SEED` repeats a run, `TEST_CONFORMANCE=all` runs the suite through each node.
#![expect(clippy::print_stdout, reason = "the figures are the evidence")]

#[path = "three_nodes/costs.rs"]
mod costs;
#[path = "three_nodes/damage.rs"]
mod damage;
#[path = "three_nodes/disks.rs"]
mod disks;
#[path = "three_nodes/following.rs"]
mod following;
#[path = "three_nodes/gaps.rs"]
mod gaps;
#[path = "three_nodes/giving_up.rs"]
mod giving_up;
#[path = "three_nodes/official.rs"]
mod official;
#[path = "three_nodes/seeding.rs"]
mod seeding;
#[path = "three_nodes/speaking.rs"]
mod speaking;
#[path = "three_nodes/switchover.rs"]
mod switchover;
#[path = "three_nodes/troubles.rs"]
mod troubles;

use std::time::Duration;

use thalweg_e2e::cluster::{Options, World};
use thalweg_e2e::server::{NodeOptions, complaints};

/// Longest wait until what must come by itself has come.
const PATIENCE: Duration = Duration::from_secs(90);
/// What a node may say when its peers come and go.
const PEERS_COME_AND_GO: &[&str] = &[
    // A node that was not told yet, or that has just been started anew, refuses.
    "no hands were shaken with a peer",
    // A leader whose peers are gone says that it takes no writes.
    "too few voters are heard of",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Four shards: every node leads one at least, and a laptop with two cores keeps up.
fn options(seed: u64) -> Options {
    let node = NodeOptions { shards: 4, ..NodeOptions::default() };
    Options { node, seed, ..Options::default() }
}

/// Ends a world; nobody may have complained.
async fn end(world: World) -> anyhow::Result<()> {
    end_with(world, &[]).await
}

/// The same for a world in which somebody may have complained of these, too.
async fn end_with(world: World, explained: &[&str]) -> anyhow::Result<()> {
    let logs: Vec<String> = (0..world.count()).flat_map(|node| world.log(node)).collect();
    world.end().await?;
    let complaints = complaints(&logs, &[PEERS_COME_AND_GO, explained].concat());
    anyhow::ensure!(complaints.is_empty(), "unlisted log lines:\n{}", complaints.join("\n"));
    Ok(())
}
