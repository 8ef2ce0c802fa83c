//! The checked workload on all nodes at once: some clients per node, which go to another one while theirs is down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::checker::Dialect;
use crate::stopwatch::Stopwatch;
use crate::workload::{Client, Findings, Stream, Target, TargetWatch};

/// Clients end by then, or a node never answers them.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// How soon it is seen that something was acknowledged.
const LOOK: Duration = Duration::from_millis(2);
const DIALECT: Dialect = Dialect::MessagesAndBytes;

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Requests that were judged.
    pub events: u64,
    /// Appends that were acknowledged.
    pub acknowledged: u64,
    /// Lives of streams that were judged.
    pub lives: u64,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Work {
    targets: Vec<Target>,
    watches: Vec<TargetWatch>,
    streams: Arc<[Arc<Stream>]>,
    findings: Arc<Findings>,
    clock: Stopwatch,
    seed: u64,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// A stream whose time is over is served until a leader has written that; troubles may leave a shard without one for so long.
const LEADERLESS_MAX: Duration = Duration::from_secs(30);

impl Work {
    /// Creates the streams and begins; client `k` works on node `k` modulo their number.
    pub async fn begin(
        nodes: &[Option<SocketAddr>],
        seed: u64,
        clients: u32,
        streams: usize,
    ) -> anyhow::Result<Self> {
        let any = nodes.iter().flatten().next().copied().context("no node runs")?;
        let target = |_| {
            let (target, watch) = Target::new(any);
            (target, watch.ending_late(LEADERLESS_MAX))
        };
        let (targets, watches): (Vec<_>, Vec<_>) = nodes.iter().map(target).unzip();
        let mut work = Self {
            targets,
            watches,
            streams: (0..streams).map(|number| Stream::new(number, DIALECT)).collect(),
            findings: Arc::default(),
            clock: Stopwatch::start(),
            seed,
            stop: Arc::default(),
            clients: JoinSet::new(),
        };
        work.route(nodes);
        work.client(0).create_all().await;
        for number in 1..=clients {
            let client = work.client(number);
            work.clients.spawn(client.run(work.stop.clone()));
        }
        Ok(work)
    }

    fn client(&self, number: u32) -> Client {
        let watch = &self.watches[number as usize % self.watches.len()];
        let (streams, findings) = (self.streams.clone(), self.findings.clone());
        Client::new(number, self.seed, watch.clone(), streams, findings, (self.clock, DIALECT))
    }

    /// These nodes run now; the clients of those that do not go to the next one that does.
    pub fn route(&self, nodes: &[Option<SocketAddr>]) {
        for (number, target) in self.targets.iter().enumerate() {
            let next = nodes.iter().cycle().skip(number).take(nodes.len()).flatten().next();
            match next {
                Some(address) => target.up(*address),
                None => target.down(),
            }
        }
    }

    /// Waits until so many more appends are acknowledged.
    pub async fn progress(&self, count: u64, longest: Duration) -> anyhow::Result<()> {
        let wanted = self.findings.answered() + count;
        let there = async {
            while self.findings.answered() < wanted {
                sleep(LOOK).await;
            }
        };
        timeout(longest, there).await.with_context(|| format!("{count} appends are not acknowledged"))
    }

    /// Lets everybody end, and judges all that was seen. Every node must be running.
    pub async fn end(mut self) -> anyhow::Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let drained = timeout(DRAIN_DEADLINE, async {
            while let Some(ended) = self.clients.join_next().await {
                ended.context("a client panicked")?;
            }
            anyhow::Ok(())
        });
        match drained.await {
            Ok(ended) => ended?,
            Err(_) => {
                self.findings.problem(format!("{} clients still wait for something", self.clients.len()))
            }
        }
        self.clients.shutdown().await;
        self.client(u32::MAX).judge_all().await;
        let findings = &self.findings;
        let outcome = Outcome {
            events: findings.events(),
            acknowledged: findings.acknowledged(),
            lives: findings.lives(),
            problems: findings.problems(),
        };
        ensure!(outcome.acknowledged > 0, "nothing was acknowledged, so nothing was shown");
        Ok(outcome)
    }
}

impl Outcome {
    /// Fails unless all that was seen can be explained.
    pub fn check(&self, seed: u64) -> anyhow::Result<()> {
        let shown = self.problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
        ensure!(self.problems.is_empty(), "seed {seed}: {} problems\n  {shown}", self.problems.len());
        Ok(())
    }
}
