//! What replication costs: the same appends on one node and on three, in processor time, bytes and syncs for each append.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::super::sample::median;
use super::append::{exactly, to_one};
use super::fleet::{Fleet, Kind};
use super::verbs::Common;
use crate::client::{Connection, Request};
use crate::server::Server;
use crate::stopwatch::Stopwatch;

/// Bytes of a message.
const BYTES: usize = 100;

/// What a node has spent so far.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    cpu: Duration,
    /// Bytes that the process gave to its disk.
    written: u64,
    /// Of them, into the log.
    logged: u64,
    syncs: u64,
    /// Bytes that it sent to its peers.
    linked: u64,
}

/// A row: what each append costs the leader, and each follower on average.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Row {
    fleet: String,
    clients: usize,
    rounds: Vec<Round>,
}

/// What one round found.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Round {
    rate: f64,
    leader: Share,
    follower: Share,
    all: Share,
}

/// For each append.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
struct Share {
    cpu_us: f64,
    written_bytes: f64,
    log_bytes: f64,
    syncs: f64,
    link_bytes: f64,
}

async fn spent(server: &Server) -> anyhow::Result<Spent> {
    let page =
        Connection::open(server.address()).await?.exchange(&Request::draft("GET", "/metrics").end()).await?;
    ensure!(page.head.status == 200, "/metrics: status {}", page.head.status);
    let page = std::str::from_utf8(&page.body)?;
    let sum = |name: &str| -> u64 {
        let lines = page.lines().filter_map(|line| line.strip_prefix(name));
        let values =
            lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| rest.rsplit(' ').next());
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    Ok(Spent {
        cpu: server.cost()?.cpu,
        written: server.stored()?,
        logged: sum("thalweg_log_written_bytes_total"),
        syncs: sum("thalweg_log_fsyncs_total"),
        linked: sum("thalweg_link_sent_bytes_total"),
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn share(before: Spent, after: Spent, appends: f64) -> Share {
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / appends;
    Share {
        cpu_us: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / appends,
        written_bytes: each(before.written, after.written),
        log_bytes: each(before.logged, after.logged),
        syncs: each(before.syncs, after.syncs),
        link_bytes: each(before.linked, after.linked),
    }
}

/// One round: so many appends to one stream.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn round(common: &Common, kind: &Kind, clients: usize, appends: usize) -> anyhow::Result<Round> {
    let fleet = Fleet::start(kind, &common.folder).await?;
    let scripts = to_one(&fleet, clients, BYTES).await?;
    let leader = scripts.first().and_then(|script| script.first()).context("a client")?.0;
    exactly(scripts.clone(), appends / 5).await?;
    let mut before = Vec::new();
    for server in fleet.servers() {
        before.push(spent(server).await?);
    }
    let clock = Stopwatch::start();
    exactly(scripts, appends).await?;
    let rate = appends as f64 / clock.elapsed().as_secs_f64();
    let mut round =
        Round { rate, leader: Share::default(), follower: Share::default(), all: Share::default() };
    let servers = fleet.servers();
    let followers = servers.len().saturating_sub(1).max(1) as f64;
    for (server, before) in servers.iter().zip(before) {
        let share = share(before, spent(server).await?, appends as f64);
        round.all.add(share, 1.0);
        if server.address() == leader {
            round.leader.add(share, 1.0);
        } else {
            round.follower.add(share, 1.0 / followers);
        }
    }
    fleet.end().await?;
    Ok(round)
}

impl Share {
    fn add(&mut self, other: Self, weight: f64) {
        self.cpu_us += other.cpu_us * weight;
        self.written_bytes += other.written_bytes * weight;
        self.log_bytes += other.log_bytes * weight;
        self.syncs += other.syncs * weight;
        self.link_bytes += other.link_bytes * weight;
    }
}

/// All rows: each number of clients, each fleet in turn.
pub(super) async fn rows(common: &Common, kinds: &[Kind]) -> anyhow::Result<Vec<Row>> {
    let mut all = Vec::new();
    for (clients, appends) in [(1, 8_000), (16, 80_000), (64, 160_000)] {
        let row = |kind: &Kind| Row { fleet: kind.to_string(), clients, rounds: Vec::new() };
        let mut rows: Vec<Row> = kinds.iter().map(row).collect();
        for _ in 0..common.rounds {
            for (kind, row) in kinds.iter().zip(&mut rows) {
                row.rounds.push(round(common, kind, clients, appends).await?);
            }
        }
        all.extend(rows);
    }
    Ok(all)
}

/// The table.
pub(super) fn table(rows: &[Row]) -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "| append 100 B, one stream | fleet | rate | CPU µs: all / leader / a follower | syncs: leader / a follower | log bytes each | \
         written bytes: all | link bytes: leader / a follower |\n|---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Row { fleet, clients, rounds } in rows {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {clients} clients | {fleet} | {:.0}/s | {:.1} / {:.1} / {:.1} | {:.3} / {:.3} | {:.0} | {:.0} | {:.0} / {:.0} |",
            of(|round| round.rate),
            of(|round| round.all.cpu_us),
            of(|round| round.leader.cpu_us),
            of(|round| round.follower.cpu_us),
            of(|round| round.leader.syncs),
            of(|round| round.follower.syncs),
            of(|round| round.leader.log_bytes),
            of(|round| round.all.written_bytes),
            of(|round| round.leader.link_bytes),
            of(|round| round.follower.link_bytes),
        );
    }
    text
}
