//! The closed loop that every work load runs in: warm up, measure, stop.
//!
//! Client threads have a runtime of their own each, so that nothing is shared between them but the phase.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::histogram::Histogram;
use super::sample::Sample;
use crate::server::{Cost, Server};
use crate::stopwatch::Stopwatch;

/// What is happening; workers look at it before each request.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

const MEASURING: u8 = 1;
const STOPPED: u8 = 2;

impl Phase {
    pub(super) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURING
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) == STOPPED
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }
}

/// What one worker counted while it was measured.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) operations: u64,
    pub(super) bytes: u64,
    pub(super) latency: Histogram,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64, nanoseconds: u64) {
        self.operations += 1;
        self.bytes += bytes;
        self.latency.record(nanoseconds);
    }

    fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.latency.merge(&other.latency);
    }
}

/// How long a round is and who drives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    pub(super) threads: usize,
}

/// Workers end by themselves soon after the phase says so; a server that answers later than this has hung.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// What serves under load: a server, or several that are one to their clients.
pub(super) trait Serving {
    /// As the tables call it.
    fn name(&self) -> String;
    /// What it has cost so far, all of it.
    fn cost(&self) -> anyhow::Result<Cost>;
}

impl Serving for Server {
    fn name(&self) -> String {
        self.kind().to_string()
    }

    fn cost(&self) -> anyhow::Result<Cost> {
        Server::cost(self)
    }
}

/// Runs `workers` workers, numbered from zero, spread over the client's threads.
pub(super) async fn drive<Worker, Run>(
    server: &impl Serving,
    window: Window,
    workers: usize,
    worker: Worker,
) -> anyhow::Result<Sample>
where
    Worker: Fn(usize, Phase) -> Run + Clone + Send + 'static,
    Run: Future<Output = anyhow::Result<Tally>> + Send + 'static,
{
    let phase = Phase::default();
    let threads = window.threads.min(workers).max(1);
    let mut ends = Vec::new();
    for thread in 0..threads {
        let (done, end) = oneshot::channel();
        let (worker, phase) = (worker.clone(), phase.clone());
        let mine: Vec<usize> = (thread..workers).step_by(threads).collect();
        std::thread::Builder::new().name(format!("load-{thread}")).spawn(move || {
            let _ = done.send(run_thread(&mine, &worker, &phase));
        })?;
        ends.push(end);
    }
    let me = i32::try_from(std::process::id())?;
    sleep(window.warm_up).await;
    let before = (server.cost()?, Cost::of(me)?);
    let clock = Stopwatch::start();
    phase.set(MEASURING);
    sleep(window.measured).await;
    phase.set(STOPPED);
    let elapsed = clock.elapsed();
    let after = (server.cost()?, Cost::of(me)?);
    let mut total = Tally::default();
    for end in ends {
        let tally =
            timeout(DRAIN_DEADLINE, end).await.context("a worker hangs")?.context("a worker panicked")?;
        total.merge(&tally?);
    }
    if total.operations == 0 {
        bail!("{} answered nothing", server.name());
    }
    Ok(Sample {
        operations: total.operations,
        bytes: total.bytes,
        elapsed,
        latency: total.latency,
        server_cpu: after.0.cpu.saturating_sub(before.0.cpu),
        client_cpu: after.1.cpu.saturating_sub(before.1.cpu),
        resident_bytes: after.0.resident_bytes,
        resident_bytes_peak: after.0.resident_bytes_peak,
    })
}

fn run_thread<Worker, Run>(mine: &[usize], worker: &Worker, phase: &Phase) -> anyhow::Result<Tally>
where
    Worker: Fn(usize, Phase) -> Run,
    Run: Future<Output = anyhow::Result<Tally>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for &number in mine {
            tasks.spawn(worker(number, phase.clone()));
        }
        let mut total = Tally::default();
        while let Some(tally) = tasks.join_next().await {
            total.merge(&tally??);
        }
        Ok(total)
    })
}
