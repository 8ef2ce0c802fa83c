//! `e2e`: the checks that are also worth running by hand, against our node or any server.
#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::time::Duration;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use thalweg_e2e::cluster::{Line, Show, show};
use thalweg_e2e::conformance;
use thalweg_e2e::cycles::Cycles;
use thalweg_e2e::driver::{News, RecordFile, Wish, price, wish};
use thalweg_e2e::growth;
use thalweg_e2e::model::{Epochs, Plant, Progress, Report, Scope};
use thalweg_e2e::server::{AolMode, FsyncMode, NodeOptions, ServerKind};
use thalweg_e2e::sim;
use thalweg_e2e::stopwatch::Stopwatch;
use thalweg_node::types::{RecordEpoch, ShardId, VolumeIncarnation};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Starts a cluster on this machine, and tells who leads what and every failover, until Ctrl-C.
    Cluster(ClusterArguments),
    /// Lets a shard whose quorum is gone for good go on with what one replica has. What others hold alone is lost.
    Unclean(UncleanArguments),
    /// Kills, pauses and stops a server under load, and checks every answer that it gave.
    Cycles(CyclesArguments),
    /// What streams, messages and subscribers cost as they grow in number.
    Growth(GrowthArguments),
    /// Walks through every state of the model of epochs within a scope.
    Model(ModelArguments),
    /// Simulates replicated shards, one world per seed, in virtual time.
    Sim(SimArguments),
    /// Simulates for as long as you like, in pieces: each goes on where the last one ended.
    Long(LongArguments),
}

const SIM_EXAMPLES: &str = "\
Examples:
  e2e sim --seeds 1500                        fresh worlds, one line of figures
  e2e sim --seed 42                           one world with an event log that a person can follow
  e2e sim --plant PrefersLength --seed 55     the same with a bug
  e2e sim --plant all --seeds 2000 --from 5000  the first seed that shows each planted bug";

const LONG_EXAMPLES: &str = "\
Examples:
  e2e long --seeds 1000                       the next thousand seeds, kept in target/long/sim
  e2e long --minutes 60                       for an hour
  e2e long --seeds 100 --plants               and looks for each planted bug in fresh seeds
The last line is one for docs/promises.md: all that was simulated so far, and the date.";

#[derive(clap::Args)]
#[command(after_help = LONG_EXAMPLES)]
struct LongArguments {
    /// So many seeds more.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// At most so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// What was simulated so far is kept here.
    #[arg(long, default_value = "target/long/sim")]
    state: std::path::PathBuf,
    /// Looks for each planted bug, too, within 2,000 seeds that nobody has seen.
    #[arg(long)]
    plants: bool,
}

#[derive(clap::Args)]
#[command(after_help = SIM_EXAMPLES)]
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
    /// Plants this bug in the driver and stops at the first seed that shows it; `all` plants one after the other.
    #[arg(long)]
    plant: Option<String>,
    /// Shows no event log for a single seed.
    #[arg(long)]
    quiet: bool,
}

const CLUSTER_EXAMPLES: &str = "\
Examples:
  e2e cluster                                 three nodes, clients on ports 4437 to 4439, data in ./data
  e2e cluster --nodes 5 --shards 64
  e2e cluster --json                          an object per line: {\"event\":\"moved\",\"shard\":3,…}
  e2e cluster --data /tmp/try --client-port 5000 --node-flag=--log-level=debug
While it runs:
  curl -X PUT -H 'Content-Type: text/plain' -d hello http://127.0.0.1:4437/v1/stream/greeting
  curl http://127.0.0.1:4439/v1/stream/greeting
  kill -9 $(pgrep -f 'node-name node-1')      its shards move within a second; it comes back by itself";

#[derive(clap::Args)]
#[command(after_help = CLUSTER_EXAMPLES)]
struct ClusterArguments {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=8))]
    nodes: u16,
    /// Where their data lies, and the record of who leads.
    #[arg(long, default_value = "data")]
    data: std::path::PathBuf,
    /// Shards of a fresh cluster.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// The first node's port for clients; the others have the next ones.
    #[arg(long, default_value_t = 4437)]
    client_port: u16,
    /// The same for peers.
    #[arg(long, default_value_t = 4537)]
    peer_port: u16,
    /// The same for the admin interface.
    #[arg(long, default_value_t = 4637)]
    admin_port: u16,
    /// Flags for every node, one string each.
    #[arg(long, allow_hyphen_values = true)]
    node_flag: Vec<String>,
    /// Prints an object per line.
    #[arg(long)]
    json: bool,
}

const UNCLEAN_EXAMPLES: &str = "\
Examples:
  e2e unclean --record data/record --shard 3 --epoch 7 --replica 0101…01
The driver says `FailoverBlocked` of such a shard. Its epoch and the volumes of its voters stand in record.json; GET /admin/shards of the
node says how much its replica has. All three have to be said, and hold for this epoch only: whatever happens meanwhile makes it void.";

#[derive(clap::Args)]
#[command(after_help = UNCLEAN_EXAMPLES)]
struct UncleanArguments {
    /// The directory of the record.
    #[arg(long)]
    record: std::path::PathBuf,
    /// The shard.
    #[arg(long)]
    shard: u16,
    /// The epoch in which the record has it now.
    #[arg(long)]
    epoch: u64,
    /// The volume of the voter with which it goes on: its incarnation.
    #[arg(long)]
    replica: VolumeIncarnation,
}

const MODEL_EXAMPLES: &str = "\
Examples:
  e2e model                                   every small scope, seconds
  e2e model --scope large                     every large one: minutes; vast: hours, a few GiB
  e2e model --scope 'wiped out and in'        one by its name; --list shows them all
  e2e model --plant all                       takes out one rule after the other and tells how something is lost
  e2e model --plant PrefersLength             the same for one rule, in the smallest scope that shows it
  e2e model --bounds 3,3,2,1,1,0,0,0,1        bounds of your own
  e2e model --scope large --json              an object per walk, one per line";

#[derive(clap::Args)]
#[command(after_help = MODEL_EXAMPLES)]
struct ModelArguments {
    /// The small scopes (seconds), the large ones (minutes) or the vast ones (hours), or one by its name.
    #[arg(long, default_value = "small")]
    scope: String,
    /// Takes this rule out and tells how something is lost; `all` takes out one after the other.
    #[arg(long)]
    plant: Option<String>,
    /// Bounds instead of a named scope: replicas,voters,epochs,writes,crashes,changes,withdrawals,wipes,reads.
    #[arg(long, value_delimiter = ',')]
    bounds: Vec<u8>,
    /// Threads; with more than one the way to a loss may not be the shortest.
    #[arg(long)]
    threads: Option<usize>,
    /// Prints an object per walk, and no progress.
    #[arg(long)]
    json: bool,
    /// Lists the scopes and the rules, and walks nowhere.
    #[arg(long)]
    list: bool,
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
        Verb::Cluster(arguments) => show_cluster(arguments).await,
        Verb::Unclean(arguments) => go_on_unclean(&arguments).await,
        Verb::Cycles(arguments) => cycles(arguments).await,
        Verb::Growth(arguments) => growth_runs(arguments).await,
        Verb::Model(arguments) => model_walks(&arguments),
        Verb::Sim(arguments) => simulations(&arguments),
        Verb::Long(arguments) => long(&arguments),
    }
}

async fn show_cluster(arguments: ClusterArguments) -> anyhow::Result<()> {
    let ClusterArguments { nodes, data, shards, client_port, peer_port, admin_port, node_flag, json } =
        arguments;
    let ports = [client_port, peer_port, admin_port];
    let wanted = Show { nodes: nodes.into(), data, shards, ports, flags: node_flag };
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut ends = signal(SignalKind::terminate())?;
    let enough = async {
        tokio::select! { _ = interrupts.recv() => {}, _ = ends.recv() => {} }
    };
    let say = |lines: &[Line]| match json {
        true => lines.iter().filter_map(|line| line.json().ok()).for_each(|object| println!("{object}")),
        false => Line::for_people(lines).iter().for_each(|line| println!("{line}")),
    };
    show(wanted, say, enough).await
}

async fn go_on_unclean(arguments: &UncleanArguments) -> anyhow::Result<()> {
    let UncleanArguments { record, shard, epoch, replica } = arguments;
    let path = record.join("record.json");
    ensure!(
        path.exists(),
        "there is no record in {}: name the directory that has record.json",
        record.display()
    );
    let record = RecordFile::at(record)?;
    let (shard, epoch) = (ShardId(*shard), RecordEpoch(*epoch));
    let wished = Wish { shard, epoch, incarnation: *replica, refused: None };
    println!("{}", price(&record.read()?.1, &wished)?);
    println!("asking the driver that runs over this record …");
    let given_up = wish(&record, shard, epoch, *replica).await?;
    println!("{}", News::GivenUp(given_up));
    Ok(())
}

fn model_walks(arguments: &ModelArguments) -> anyhow::Result<()> {
    if arguments.list {
        Scope::SMALL.iter().chain(&Scope::LARGE).chain(&Scope::VAST).for_each(|scope| println!("{scope:?}"));
        Plant::ALL.iter().for_each(|plant| println!("{plant:?}: {:?}", plant.scope()));
        return Ok(());
    }
    let mut complaints = Vec::new();
    for model in models(arguments)? {
        let scope = model.scope;
        ensure!(scope.too_large().is_none(), "{}: {}", scope.name, scope.too_large().unwrap_or_default());
        // A shortest way to a loss is worth more than a short walk.
        let threads = arguments.threads.unwrap_or(if model.plant.is_some() { 1 } else { 2 });
        let walk = model.walk_and_tell(threads, |Progress { states, depth, time }| {
            if !arguments.json {
                println!("  {}: {states} states, depth {depth}, {} s", scope.name, time.as_secs());
            }
        });
        let report = Report { model, walk: &walk };
        println!("{}", if arguments.json { report.json() } else { report.text() });
        complaints.extend(report.complaint());
    }
    ensure!(complaints.is_empty(), complaints.join("; "));
    Ok(())
}

/// What is to be walked: scopes with every rule in place, or rules taken out.
fn models(arguments: &ModelArguments) -> anyhow::Result<Vec<Epochs>> {
    let asked = match *arguments.bounds.as_slice() {
        [] => None,
        [replicas, voters, epochs, writes, crashes, changes, withdrawals, wipes, reads] => {
            let name = "as asked";
            Some(Scope {
                name,
                replicas,
                voters,
                epochs,
                writes,
                crashes,
                changes,
                withdrawals,
                wipes,
                reads,
            })
        }
        _ => anyhow::bail!("--bounds takes nine numbers; see e2e model --help"),
    };
    let Some(plant) = arguments.plant.as_deref() else {
        let scopes = asked.map_or_else(|| scopes(&arguments.scope), |scope| Ok(vec![scope]))?;
        return Ok(scopes.into_iter().map(|scope| Epochs { scope, plant: None }).collect());
    };
    let plants: Vec<Plant> =
        Plant::ALL.into_iter().filter(|known| plant == "all" || format!("{known:?}") == plant).collect();
    ensure!(!plants.is_empty(), "no rule is called {plant}; there are {:?}", Plant::ALL);
    let of = |plant: Plant| Epochs { scope: asked.unwrap_or(plant.scope()), plant: Some(plant) };
    Ok(plants.into_iter().map(of).collect())
}

fn scopes(name: &str) -> anyhow::Result<Vec<Scope>> {
    let all = || Scope::SMALL.into_iter().chain(Scope::LARGE).chain(Scope::VAST);
    let named = match name {
        "small" => Scope::SMALL.to_vec(),
        "large" => Scope::LARGE.to_vec(),
        "vast" => Scope::VAST.to_vec(),
        name => all().filter(|scope| scope.name == name).collect(),
    };
    let names: Vec<&str> = all().map(|scope| scope.name).collect();
    ensure!(
        !named.is_empty(),
        "no scope is called {name}; there are small, large, vast, {}",
        names.join("; ")
    );
    Ok(named)
}

fn simulations(arguments: &SimArguments) -> anyhow::Result<()> {
    let (from, seeds) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let virtual_micros = arguments.virtual_s * 1_000_000;
    let plants = arguments.plant.as_deref().map(plants_of).transpose()?;
    if let (Some(plants), None) = (&plants, arguments.seed) {
        return plants_are_found(plants, from..from + seeds, virtual_micros);
    }
    let plant = plants.and_then(|plants| plants.first().copied());
    let lines = arguments.seed.is_some() && !arguments.quiet;
    let watch = Stopwatch::start();
    let (mut figures, mut shown) = (sim::Figures::default(), Duration::ZERO);
    for seed in from..from + seeds {
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

/// Looks for the first seed that shows each bug.
fn plants_are_found(
    plants: &[sim::Plant],
    seeds: std::ops::Range<u64>,
    virtual_micros: u64,
) -> anyhow::Result<()> {
    let (mut most, mut missing) = (0, Vec::new());
    for plant in plants {
        let Some((seed, violation)) = sim::planted(*plant, seeds.clone(), virtual_micros) else {
            println!("{plant:?}: not found");
            missing.push(*plant);
            continue;
        };
        let place = seed - seeds.start + 1;
        most = most.max(place);
        println!("{plant:?}: seed {seed}, number {place}: {violation}");
    }
    ensure!(missing.is_empty(), "not found within {} seeds: {missing:?}", seeds.end - seeds.start);
    println!("{} of {} planted bugs are found, each within {most} seeds", plants.len(), plants.len());
    Ok(())
}

/// Fresh seeds for a planted bug.
const PLANT_SEEDS: u64 = 2000;

fn long(arguments: &LongArguments) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let mut progress = sim::Progress::read(&arguments.state)?;
    let (first, mut shown) = (progress.seeds, Duration::ZERO);
    let end = arguments.minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(60 * minutes));
    while progress.seeds < first + arguments.seeds && watch.elapsed() < end {
        if let Err(violation) = progress.advance() {
            progress.keep(&arguments.state)?;
            println!("seed {0}: {violation}\nto see it again: make sim SEED={0}", progress.next);
            anyhow::bail!("seed {} shows a violation", progress.next);
        }
        if watch.elapsed() >= shown + Duration::from_secs(10) {
            shown = watch.elapsed();
            progress.keep(&arguments.state)?;
            println!("seed {}, {} of {}", progress.next, progress.seeds - first, arguments.seeds);
        }
    }
    progress.keep(&arguments.state)?;
    if arguments.plants {
        let fresh = progress.next..progress.next + PLANT_SEEDS;
        plants_are_found(&sim::Plant::ALL, fresh.clone(), 600_000_000)?;
        progress.next = fresh.end;
        progress.keep(&arguments.state)?;
    }
    println!(
        "{} seeds so far, {:.1} virtual years, 0 violations: {}; {}",
        progress.seeds,
        Duration::from_micros(progress.figures.micros).as_secs_f64() / (365.25 * 86_400.0),
        what_happened(&progress.figures),
        today()
    );
    Ok(())
}

/// The date in UTC.
fn today() -> String {
    let days = thalweg_e2e::stopwatch::wall_milliseconds() / 86_400_000;
    // Counted in eras of 400 years that begin on the first of March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    format!("{}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

/// The command that repeats a run.
fn again(seed: u64, arguments: &SimArguments) -> String {
    let plant = arguments.plant.as_ref().map_or(String::new(), |plant| format!(" --plant {plant}"));
    format!("make sim SEED={seed} ARGS=\"--virtual-s {}{plant}\"", arguments.virtual_s)
}

fn plants_of(name: &str) -> anyhow::Result<Vec<sim::Plant>> {
    let named = |plant: &sim::Plant| name == "all" || format!("{plant:?}") == name;
    let found: Vec<sim::Plant> = sim::Plant::ALL.into_iter().filter(named).collect();
    ensure!(!found.is_empty(), "no bug is called {name}; there are all, {:?}", sim::Plant::ALL);
    Ok(found)
}

fn told(figures: &sim::Figures, seeds: u64, took: Duration) -> String {
    let micros = Duration::from_micros(figures.micros).as_secs_f64();
    format!(
        "{seeds} seeds, {:.1} virtual hours in {:.1} s ({:.0} x real time); {}",
        micros / 3600.0,
        took.as_secs_f64(),
        micros / took.as_secs_f64(),
        what_happened(figures)
    )
}

fn what_happened(figures: &sim::Figures) -> String {
    format!(
        "{} writes ({} of them again) and {} reads answered, {} leaders opened, {} crashes, {} disks replaced, \
         {} shards damaged, {} mended, {} seeded, {} writes and files misplaced, {} reads of a disk refused, \
         {} times damage found for a follower, {} starts with another version, \
         {} found to be older ones, {} syncs refused, {} partitions, {} messages, {} events",
        figures.writes,
        figures.repeated,
        figures.reads,
        figures.elections,
        figures.crashes,
        figures.wipes,
        figures.damaged,
        figures.mended,
        figures.seeded,
        figures.misplaced,
        figures.unread,
        figures.lacking,
        figures.upgraded,
        figures.rolled_back,
        figures.refused,
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
