//! The world of processes: a server under the checked workload that is killed, paused and stopped at random moments.
//!
//! Invariant: one history across all restarts. What the server acknowledged before a kill must be there behind it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::checker::Dialect;
use crate::dice::Dice;
use crate::server::{Server, ServerKind, complaints};
use crate::stopwatch::Stopwatch;
use crate::workload::{Client, Findings, Stream, Target};

/// A node must end by then after SIGTERM, whoever is connected.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Clients end by then, or the server never answers them.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Short, so that waiting readers do not hold up the end of a life.
const LONG_POLL_MS: u64 = 500;

/// How a run is done.
#[derive(Debug, Clone)]
pub struct Cycles {
    /// What is started.
    pub server: ServerKind,
    /// How often it is disturbed.
    pub count: u32,
    /// Clients.
    pub clients: u32,
    /// Streams.
    pub streams: usize,
    /// Seed of the work and of the disturbances.
    pub seed: u64,
    /// Longest time between two disturbances.
    pub calm: Duration,
    /// How often each disturbance is drawn.
    pub mix: Mix,
    /// Parts of WARN and ERROR lines that this run may print.
    pub expected_complaints: Vec<String>,
}

/// Parts of their sum.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// SIGKILL and a start.
    pub kills: u64,
    /// SIGSTOP, a while, SIGCONT.
    pub pauses: u64,
    /// SIGTERM and a start.
    pub stops: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests that were judged.
    pub events: u64,
    /// Appends that were acknowledged.
    pub acknowledged: u64,
    /// Lives of streams that were judged.
    pub lives: u64,
    /// SIGKILLs.
    pub kills: u32,
    /// SIGSTOPs.
    pub pauses: u32,
    /// SIGTERMs.
    pub stops: u32,
    /// From each start to the moment at which it served.
    pub starts: Vec<Duration>,
    /// From each SIGTERM to the end.
    pub ends: Vec<Duration>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        let Self { kills, pauses, stops, events, acknowledged, lives, .. } = self;
        writeln!(f, "{kills} kills, {pauses} pauses, {stops} stops")?;
        writeln!(
            f,
            "{events} requests judged, {acknowledged} acknowledged appends, {lives} lives of streams"
        )?;
        write!(f, "longest start {:?}, longest stop {:?}", longest(&self.starts), longest(&self.ends))?;
        for problem in self.problems.iter().take(20) {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl Cycles {
    /// The usual run: mostly kills.
    #[must_use]
    pub fn new(server: ServerKind, count: u32, seed: u64) -> Self {
        Self {
            server,
            count,
            clients: 16,
            streams: 12,
            seed,
            calm: Duration::from_millis(1_200),
            mix: Mix { kills: 6, pauses: 1, stops: 2 },
            expected_complaints: Vec::new(),
        }
    }

    /// Offsets as this server writes them.
    fn dialect(&self) -> Dialect {
        if self.server == ServerKind::Official { Dialect::Bytes } else { Dialect::MessagesAndBytes }
    }

    /// Runs it with the data in `data`.
    pub async fn run(&self, data: &Path) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let server = Server::start(&self.server, data, 0, LONG_POLL_MS).await?;
        let (target, watch) = Target::new(server.address());
        let streams: Arc<[Arc<Stream>]> =
            (0..self.streams).map(|number| Stream::new(number, self.dialect())).collect();
        let findings = Arc::new(Findings::default());
        let context = (Stopwatch::start(), self.dialect());
        let client = |number| {
            Client::new(number, self.seed, watch.clone(), streams.clone(), findings.clone(), context)
        };
        client(0).create_all().await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 1..=self.clients {
            clients.spawn(client(number).run(stop.clone()));
        }
        let server = self.disturb(server, data, &target, &mut report).await?;
        stop.store(true, Ordering::Relaxed);
        loop {
            match timeout(DRAIN_DEADLINE, clients.join_next()).await {
                Ok(Some(Err(error))) if !error.is_cancelled() => {
                    return Err(error).context("a client panicked");
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    findings.problem(format!("{} clients still wait for something", clients.len()));
                    clients.abort_all();
                }
            }
        }
        client(self.clients + 1).judge_all().await;
        self.finish(server, &findings, report).await
    }

    async fn disturb(
        &self,
        mut server: Server,
        data: &Path,
        target: &Target,
        report: &mut Report,
    ) -> anyhow::Result<Server> {
        let mut dice = Dice::new(self.seed ^ 0xd15_7a2b);
        let calm = u64::try_from(self.calm.as_micros())?;
        for _ in 0..self.count {
            sleep(Duration::from_micros(calm / 10 + dice.below(calm))).await;
            let Mix { kills, pauses, stops } = self.mix;
            let drawn = dice.below(kills + pauses + stops);
            if drawn < pauses {
                server.pause()?;
                sleep(Duration::from_millis(100 + dice.below(1_900))).await;
                server.resume()?;
                report.pauses += 1;
                continue;
            }
            let log = if drawn < pauses + stops {
                let clock = Stopwatch::start();
                let (status, log) = server.stop(STOP_DEADLINE).await?;
                report.ends.push(clock.elapsed());
                report.stops += 1;
                // A rival may die of the signal; ours ends properly.
                let proper = status.success() || !matches!(self.server, ServerKind::Node(_));
                ensure!(proper, "SIGTERM ended it with {status}:\n{}", log.join("\n"));
                log
            } else {
                report.kills += 1;
                server.kill().await?
            };
            target.down();
            self.judge_log(&log, report);
            let clock = Stopwatch::start();
            server = Server::start(&self.server, data, 0, LONG_POLL_MS).await?;
            report.starts.push(clock.elapsed());
            target.up(server.address());
        }
        Ok(server)
    }

    async fn finish(
        &self,
        server: Server,
        findings: &Findings,
        mut report: Report,
    ) -> anyhow::Result<Report> {
        let (_, log) = server.stop(STOP_DEADLINE).await?;
        self.judge_log(&log, &mut report);
        report.problems.extend(findings.problems());
        report.events = findings.events();
        report.acknowledged = findings.acknowledged();
        report.lives = findings.lives();
        Ok(report)
    }

    fn judge_log(&self, log: &[String], report: &mut Report) {
        let expected: Vec<&str> = self.expected_complaints.iter().map(String::as_str).collect();
        let complaints = complaints(log, &expected);
        report.problems.extend(complaints.into_iter().map(|line| format!("unlisted log line: {line}")));
    }
}
