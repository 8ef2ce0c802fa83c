//! `e2e`: the checks that are also worth running by hand, against our node or any server.
#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use thalweg_e2e::conformance;
use thalweg_e2e::cycles::Cycles;
use thalweg_e2e::growth;
use thalweg_e2e::model::{Epochs, Plant, Scope};
use thalweg_e2e::server::{AolMode, FsyncMode, NodeOptions, ServerKind};
use thalweg_e2e::sim;
use thalweg_e2e::stopwatch::Stopwatch;

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
    /// Kills, pauses and stops a server under load, and checks every answer that it gave.
    Cycles(CyclesArguments),
    /// What streams, messages and subscribers cost as they grow in number.
    Growth(GrowthArguments),
    /// Walks through every state of the model of epochs within a scope.
    Model(ModelArguments),
    /// Simulates replicated shards, one world per seed, in virtual time.
    Sim(SimArguments),
}

#[derive(clap::Args)]
struct SimArguments {
    /// One seed, with an event log.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// So many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Virtual seconds of each.
    #[arg(long, default_value_t = 600)]
    virtual_s: u64,
    /// Plants this bug in the driver.
    #[arg(long)]
    plant: Option<String>,
    /// Shows no event log for a single seed.
    #[arg(long)]
    quiet: bool,
}

#[derive(clap::Args)]
struct ModelArguments {
    /// The small scopes (seconds) or the large ones (hours), or one by its name.
    #[arg(long, default_value = "small")]
    scope: String,
    /// Takes this rule out and shows how something is lost; `all` takes out one after the other.
    #[arg(long)]
    plant: Option<String>,
    /// Bounds instead of a named scope: replicas,epochs,writes,crashes,changes,withdrawals,wipes.
    #[arg(long, value_delimiter = ',')]
    bounds: Vec<u8>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(clap::Args)]
struct GrowthArguments {
    /// So many streams, for instance 1000000.
    #[arg(long)]
    streams: Option<u64>,
    /// A stream of so many messages, for instance 1000,10000,100000,1000000,10000000.
    #[arg(long, value_delimiter = ',')]
    messages: Vec<u64>,
    /// So many idle subscribers, for instance 10000.
    #[arg(long)]
    subscribers: Option<u64>,
    /// This rival instead of a node: official, acid or memory.
    #[arg(long)]
    rival: Option<String>,
    /// Flags for the node, one string each.
    #[arg(long, allow_hyphen_values = true)]
    node_flag: Vec<String>,
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

#[derive(clap::Args)]
struct CyclesArguments {
    /// How often the server is disturbed.
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// Seed of the work and of the disturbances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients.
    #[arg(long, default_value_t = 16)]
    clients: u32,
    /// Streams.
    #[arg(long, default_value_t = 12)]
    streams: usize,
    /// Longest time between two disturbances, in milliseconds.
    #[arg(long, default_value_t = 1_200)]
    calm_ms: u64,
    /// This rival instead of a node: official, acid or memory.
    #[arg(long)]
    rival: Option<String>,
    /// Shards of the node.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Log mode of the node; only `sync` is meant to survive.
    #[arg(long, value_enum, default_value = "sync")]
    aol: AolMode,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Verb::Conformance(arguments) => conformance_runs(arguments).await,
        Verb::Cycles(arguments) => cycles(arguments).await,
        Verb::Growth(arguments) => growth_runs(arguments).await,
        Verb::Model(arguments) => model_walks(&arguments),
        Verb::Sim(arguments) => simulations(&arguments),
    }
}

fn model_walks(arguments: &ModelArguments) -> anyhow::Result<()> {
    let scopes: Vec<Scope> = match (arguments.bounds.as_slice(), arguments.scope.as_str()) {
        (&[replicas, epochs, writes, crashes, changes, withdrawals, wipes], _) => {
            vec![Scope { name: "as asked", replicas, epochs, writes, crashes, changes, withdrawals, wipes }]
        }
        (_, "small") => Scope::SMALL.to_vec(),
        (_, "large") => Scope::LARGE.to_vec(),
        (_, name) => {
            Scope::SMALL.into_iter().chain(Scope::LARGE).filter(|scope| scope.name == name).collect()
        }
    };
    ensure!(!scopes.is_empty(), "no scope is called {}", arguments.scope);
    let plants: Vec<Option<Plant>> = match arguments.plant.as_deref() {
        None => vec![None],
        Some("all") => Plant::ALL.into_iter().map(Some).collect(),
        Some(name) => {
            let found = Plant::ALL.into_iter().find(|plant| format!("{plant:?}") == name);
            vec![Some(
                found.with_context(|| format!("no rule is called {name}; there are {:?}", Plant::ALL))?,
            )]
        }
    };
    for plant in plants {
        for scope in &scopes {
            let started = Stopwatch::start();
            let walk = Epochs { scope: *scope, plant }.walk(arguments.threads);
            let without = plant.map_or(String::new(), |plant| format!(" without {plant:?}"));
            println!(
                "{}{without}: {} states, depth {}, {:.1} s, the last epoch commits: {}",
                scope.name,
                walk.states,
                walk.depth,
                started.elapsed().as_secs_f64(),
                walk.reached_the_end
            );
            if let Some((steps, lost)) = &walk.loss {
                println!("  {lost} after {} steps", steps.len());
                steps.iter().for_each(|step| println!("    {step}"));
            }
            ensure!(plant.is_some() || walk.loss.is_none(), "something was lost");
        }
    }
    Ok(())
}

fn simulations(arguments: &SimArguments) -> anyhow::Result<()> {
    let plant = arguments.plant.as_deref().map(plant_of).transpose()?;
    let (from, seeds) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let lines = arguments.seed.is_some() && !arguments.quiet;
    let watch = Stopwatch::start();
    let (mut figures, mut shown) = (sim::Figures::default(), Duration::ZERO);
    for seed in from..from + seeds {
        let virtual_micros = arguments.virtual_s * 1_000_000;
        let outcome = sim::simulate(&sim::Scope { seed, virtual_micros, plant, lines });
        outcome.lines.iter().for_each(|line| println!("{line}"));
        figures.add(&outcome.figures);
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {violation}\nto see it again: {}", again(seed, arguments));
            println!("{}", told(&figures, seed - from + 1, watch.elapsed()));
            anyhow::bail!("seed {seed} shows a violation");
        }
        if watch.elapsed() >= shown + Duration::from_secs(2) {
            shown = watch.elapsed();
            println!("seed {seed}: {}", told(&figures, seed - from + 1, shown));
        }
    }
    println!("seeds {from} to {}: {}", from + seeds - 1, told(&figures, seeds, watch.elapsed()));
    Ok(())
}

/// The command that repeats a run.
fn again(seed: u64, arguments: &SimArguments) -> String {
    let plant = arguments.plant.as_ref().map_or(String::new(), |plant| format!(" --plant {plant}"));
    format!("make sim SEED={seed} ARGS=\"--virtual-s {}{plant}\"", arguments.virtual_s)
}

fn plant_of(name: &str) -> anyhow::Result<sim::Plant> {
    let found = sim::Plant::ALL.into_iter().find(|plant| format!("{plant:?}") == name);
    found.with_context(|| format!("no bug is called {name}; there are {:?}", sim::Plant::ALL))
}

fn told(figures: &sim::Figures, seeds: u64, took: Duration) -> String {
    let micros = Duration::from_micros(figures.micros).as_secs_f64();
    format!(
        "{seeds} seeds, {:.1} virtual hours in {:.1} s ({:.0} x real time); {} writes and {} reads answered, \
         {} leaders opened, {} crashes, {} disks replaced, {} partitions, {} messages, {} events",
        micros / 3600.0,
        took.as_secs_f64(),
        micros / took.as_secs_f64(),
        figures.writes,
        figures.reads,
        figures.elections,
        figures.crashes,
        figures.wipes,
        figures.partitions,
        figures.messages,
        figures.events
    )
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

async fn cycles(arguments: CyclesArguments) -> anyhow::Result<()> {
    let server = match &arguments.rival {
        Some(name) => ServerKind::rival(name)?,
        None => ServerKind::Node(NodeOptions {
            shards: arguments.shards,
            aol: arguments.aol,
            ..NodeOptions::default()
        }),
    };
    let mut cycles = Cycles::new(server, arguments.count, arguments.seed);
    (cycles.clients, cycles.streams) = (arguments.clients, arguments.streams);
    cycles.calm = Duration::from_millis(arguments.calm_ms);
    let data = tempfile::tempdir()?;
    let report = cycles.run(data.path()).await?;
    println!("{report}");
    ensure!(report.problems.is_empty(), "{} problems", report.problems.len());
    Ok(())
}

async fn growth_runs(arguments: GrowthArguments) -> anyhow::Result<()> {
    let kind = match &arguments.rival {
        Some(name) => ServerKind::rival(name)?,
        None => ServerKind::Node(NodeOptions { extra: arguments.node_flag, ..NodeOptions::default() }),
    };
    if let Some(count) = arguments.streams {
        println!("{}", growth::streams(&kind, tempfile::tempdir()?.path(), count).await?);
    }
    if !arguments.messages.is_empty() {
        for at in growth::messages(&kind, tempfile::tempdir()?.path(), &arguments.messages).await? {
            println!("{at}");
        }
    }
    if let Some(count) = arguments.subscribers {
        println!("{}", growth::subscribers(&kind, tempfile::tempdir()?.path(), count).await?);
    }
    Ok(())
}
