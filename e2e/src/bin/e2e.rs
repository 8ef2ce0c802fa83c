//! `e2e`: the checks that are also worth running by hand, against our node or any server.
#![expect(clippy::print_stdout, reason = "a command line tool")]

use clap::{Parser, Subcommand};
use thalweg_e2e::conformance;
use thalweg_e2e::server::{AolMode, FsyncMode, NodeOptions, ServerKind};

/// Checks of a running Thalweg node, or of a rival.
#[derive(Parser)]
#[command(name = "e2e", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the official conformance suite, all 338 tests.
    Conformance(ConformanceArguments),
}

#[derive(clap::Args)]
struct ConformanceArguments {
    /// A server that runs already, as http://HOST:PORT; without it a node is started.
    #[arg(long)]
    base_url: Option<String>,
    /// Start this rival instead of a node: official, acid or memory.
    #[arg(long)]
    rival: Option<String>,
    /// Log modes of the node, each a run.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sync")]
    aol: Vec<AolMode>,
    /// Sync mode of the node.
    #[arg(long, value_enum, default_value = "always")]
    fsync: FsyncMode,
    /// Shard counts of the node, each a run.
    #[arg(long, value_delimiter = ',', default_value = "16")]
    shards: Vec<u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Verb::Conformance(arguments) => conformance_runs(arguments).await,
    }
}

async fn conformance_runs(arguments: ConformanceArguments) -> anyhow::Result<()> {
    if let Some(url) = &arguments.base_url {
        let report = conformance::run(url, conformance::LONG_POLL_MS).await?;
        println!("{url}\n{}", report.closing.join("\n"));
        return report.check();
    }
    if let Some(name) = &arguments.rival {
        return conformance_of(&ServerKind::rival(name)?, name).await;
    }
    for &shards in &arguments.shards {
        for &aol in &arguments.aol {
            let options = NodeOptions { aol, fsync: arguments.fsync, shards, ..NodeOptions::default() };
            let title = format!("aol {}, fsync {}, {shards} shards", aol.as_str(), arguments.fsync.as_str());
            conformance_of(&ServerKind::Node(options), &title).await?;
        }
    }
    Ok(())
}

async fn conformance_of(kind: &ServerKind, title: &str) -> anyhow::Result<()> {
    println!("conformance: {title}");
    let report = conformance::of_server(kind).await?;
    println!("{}", report.closing.join("\n"));
    Ok(())
}
