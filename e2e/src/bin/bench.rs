//! `bench`: our node and its rivals under the same load, side by side in one run.
#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use thalweg_e2e::bench::{self, Floor, Outcome, Plan, Settings, Work};
use thalweg_e2e::server::{AolMode, FsyncMode, NodeOptions, ServerKind};

/// Measures a Thalweg node, and rivals beside it.
#[derive(Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<bench::Verb>,
    /// A smoke run: one small plan of each kind, a fraction of a second each.
    #[arg(long)]
    quick: bool,
    /// Rivals to run beside ours: official, acid, memory (installed from the registry when missing), or paths of other nodes of ours.
    #[arg(long, value_delimiter = ',')]
    vs: Vec<String>,
    /// Leave ours out.
    #[arg(long)]
    without_node: bool,
    /// Only these kinds of work.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Work>,
    /// Only these numbers of connections.
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Only these message sizes, in bytes.
    #[arg(long, value_delimiter = ',')]
    bytes: Vec<usize>,
    /// Rounds per plan and server.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    client_threads: usize,
    /// Where data directories are made: the disk that is measured.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Log mode of the node.
    #[arg(long, value_enum, default_value = "sync")]
    aol: AolMode,
    /// Sync mode of the node.
    #[arg(long, value_enum, default_value = "always")]
    fsync: FsyncMode,
    /// Shards of the node.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Another node binary than the workspace's.
    #[arg(long)]
    node: Option<PathBuf>,
    /// More flags for the node, one string each.
    #[arg(long, allow_hyphen_values = true)]
    node_flag: Vec<String>,
    /// Write every sample as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the page to this file.
    #[arg(long)]
    write: Option<PathBuf>,
}

impl Arguments {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut servers = Vec::new();
        if !self.without_node {
            servers.push(ServerKind::Node(NodeOptions {
                aol: self.aol,
                fsync: self.fsync,
                shards: self.shards,
                extra: self.node_flag.clone(),
                binary: self.node.clone(),
                home: None,
            }));
        }
        for name in &self.vs {
            servers.push(ServerKind::rival(name)?);
        }
        std::fs::create_dir_all(&self.folder)?;
        let folder = self.folder.canonicalize()?;
        let (rounds, seconds) = if self.quick { (1, 0.2) } else { (self.rounds, self.seconds) };
        let measured = Duration::try_from_secs_f64(seconds).context("--seconds")?;
        Ok(Settings {
            servers,
            rounds,
            measured,
            warm_up: measured / 5,
            threads: self.client_threads,
            folder,
        })
    }

    fn plans(&self) -> Vec<Plan> {
        let mut plans = if self.quick { bench::quick_plans() } else { bench::full_plans() };
        plans.retain(|plan| {
            (self.only.is_empty() || self.only.contains(&plan.work))
                && (self.connections.is_empty() || self.connections.contains(&plan.connections))
                && (self.bytes.is_empty() || self.bytes.contains(&plan.message_bytes))
        });
        plans
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(verb) = arguments.verb {
        return verb.run(|text| println!("{text}\n")).await;
    }
    let settings = arguments.settings()?;
    let floor_time = settings.measured.min(Duration::from_secs(2));
    let mut floors = vec![bench::sync_floor(&settings.folder, floor_time)?];
    let mut outcomes: Vec<Outcome> = Vec::new();
    for plan in arguments.plans() {
        let found = bench::run(&settings, plan).await.with_context(|| plan.to_string())?;
        println!("{}", bench::markdown(&found));
        outcomes.extend(found);
    }
    // Once more at the end: a disk that has changed meanwhile makes every figure between doubtful.
    floors.push(bench::sync_floor(&settings.folder, floor_time)?);
    finish(&arguments, &settings, &floors, &outcomes)
}

fn finish(
    arguments: &Arguments,
    settings: &Settings,
    floors: &[Floor],
    outcomes: &[Outcome],
) -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -p thalweg-e2e --bin bench -- {}", words.join(" "));
    let machine = bench::machine_facts(&settings.folder);
    let page = bench::page(command.trim(), &machine, floors, outcomes, settings.rounds);
    println!("{page}");
    if let Some(path) = &arguments.write {
        std::fs::write(path, &page)?;
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&bench::json(&machine, floors, outcomes))?)?;
    }
    Ok(())
}
