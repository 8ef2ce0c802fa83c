//! Plan by plan, round by round, server by server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::load::{Phase, Window, drive};
use super::plan::{Plan, Work};
use super::sample::Sample;
use super::{catch_up, requests, tail};
use crate::server::{Server, ServerKind};
use crate::stopwatch::Stopwatch;

/// Attempts at one round.
const ATTEMPTS_MAX: usize = 3;

/// How a run is done.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, ours first.
    pub servers: Vec<ServerKind>,
    /// Rounds per plan and server.
    pub rounds: usize,
    /// Measured time of a round.
    pub measured: Duration,
    /// Time before it that is not counted.
    pub warm_up: Duration,
    /// Client threads.
    pub threads: usize,
    /// Where data directories are made; the disk that is measured.
    pub folder: PathBuf,
}

/// The rounds of one plan on one server.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// The server's name.
    pub server: String,
    /// One per round.
    pub samples: Vec<Sample>,
}

/// Whether that server has such a thing.
fn applies(kind: &ServerKind, plan: Plan) -> bool {
    plan.work != Work::Health || *kind != ServerKind::Official
}

/// Runs one plan on all servers.
pub async fn run(settings: &Settings, plan: Plan) -> anyhow::Result<Vec<Outcome>> {
    let mut running = Vec::new();
    for kind in settings.servers.iter().filter(|kind| applies(kind, plan)) {
        let data = tempfile::Builder::new().prefix("thalweg-bench-").tempdir_in(&settings.folder)?;
        let server = Server::start(kind, data.path(), 0, 20_000).await?;
        requests::prepare(server.address(), plan).await?;
        if plan.work == Work::CatchUp {
            catch_up::fill(server.address(), plan).await?;
        }
        let outcome = Outcome { plan, server: kind.to_string(), samples: Vec::new() };
        running.push((server, outcome, data));
    }
    for _ in 0..settings.rounds {
        for (server, outcome, _) in &mut running {
            outcome.samples.push(measured(settings, plan, server).await?);
        }
    }
    let mut outcomes = Vec::new();
    for (server, outcome, _) in running {
        server.kill().await?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// A round, measured again when a server drops a connection: what dropped it is told, and three times are no chance.
#[expect(clippy::print_stderr, reason = "whoever waits for the figures wants to know at once")]
async fn measured(settings: &Settings, plan: Plan, server: &Server) -> anyhow::Result<Sample> {
    for _ in 1..ATTEMPTS_MAX {
        match round(settings, plan, server).await {
            Ok(sample) => return Ok(sample),
            Err(error) => eprintln!("{}, {plan}: measured again: {error:#}", server.kind()),
        }
    }
    round(settings, plan, server).await.with_context(|| server.kind().to_string())
}

async fn round(settings: &Settings, plan: Plan, server: &Server) -> anyhow::Result<Sample> {
    let address = server.address();
    let window = Window { warm_up: settings.warm_up, measured: settings.measured, threads: settings.threads };
    let clock = Stopwatch::start();
    // A tail has one worker more: the writer.
    let workers = plan.connections + usize::from(plan.is_paced());
    match plan.work {
        Work::CatchUp => {
            drive(server, window, workers, move |_, phase| catch_up::read(address, plan, phase)).await
        }
        Work::TailEvents | Work::TailPoll => {
            let worker = move |number, phase| tail::follow(address, plan, number, phase, clock);
            drive(server, window, workers, worker).await
        }
        _ => {
            let worker = move |number, phase: Phase| requests::repeat(address, plan, number, phase);
            drive(server, window, workers, worker).await
        }
    }
}
