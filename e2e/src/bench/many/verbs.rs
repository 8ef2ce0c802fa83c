//! The verbs of the bench that are about several nodes, and what each prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::{Histogram, json as outcomes_json, machine_facts, markdown, sync_floor};
use super::catch_up::{self, Amount};
use super::fleet::Kind;
use super::lag::{self, Load};
use super::syncs::syncs;
use super::{armdb, cluster, cost, streaming};
use crate::server::NodeOptions;

/// What several nodes do together.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Appends that a majority has synced, at 1, 16 and 64 connections.
    Cluster(Common),
    /// What an append costs one node, and each of three: processor time, syncs, bytes.
    Cost(Common),
    /// How far followers are behind, beside nothing, a moderate load, and all that the machine can do.
    Lag(Common),
    /// How fast an empty follower gets everything, and how fast two that are level get what is written.
    CatchUp(Common),
}

/// What all of them take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Rivals: `ursula` (cluster), `armdb` (catch-up and lag), or paths of other nodes of ours (cluster, cost).
    #[arg(long, value_delimiter = ',')]
    vs: Vec<String>,
    /// Rounds of each.
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: usize,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 3.0)]
    pub(super) seconds: f64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    pub(super) client_threads: usize,
    /// Where data directories are made: the disk that is measured.
    #[arg(long, default_value = "target/bench")]
    pub(super) folder: PathBuf,
    /// Only these numbers of connections (cluster).
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Another node binary than the workspace's.
    #[arg(long)]
    node: Option<PathBuf>,
    /// More flags for our nodes, one string each.
    #[arg(long, allow_hyphen_values = true)]
    node_flag: Vec<String>,
    /// Megabytes that a follower lacks (catch-up).
    #[arg(long, default_value_t = 200)]
    megabytes: usize,
    /// Write all figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Common {
    fn options(&self) -> NodeOptions {
        NodeOptions { binary: self.node.clone(), extra: self.node_flag.clone(), ..NodeOptions::default() }
    }

    fn has(&self, rival: &str) -> bool {
        self.vs.iter().any(|name| name == rival)
    }

    /// Other nodes of ours.
    fn others(&self) -> impl Iterator<Item = NodeOptions> {
        let paths = self.vs.iter().filter(|name| name.contains('/'));
        paths.map(|path| NodeOptions { binary: Some(path.into()), ..self.options() })
    }

    fn check(&self, known: &[&str]) -> anyhow::Result<()> {
        let unknown = self.vs.iter().find(|name| !known.contains(&name.as_str()) && !name.contains('/'));
        ensure!(
            unknown.is_none(),
            "{:?} is no rival here; known: {known:?}",
            unknown.unwrap_or(&String::new())
        );
        Ok(())
    }
}

impl Verb {
    fn common(&mut self) -> &mut Common {
        match self {
            Self::Cluster(common) | Self::Cost(common) | Self::Lag(common) | Self::CatchUp(common) => common,
        }
    }

    /// Measures, and tells with `say` as soon as there is something to tell.
    pub async fn run(mut self, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
        let common = self.common();
        std::fs::create_dir_all(&common.folder)?;
        common.folder = common.folder.canonicalize()?;
        let (folder, file) = (common.folder.clone(), common.json.clone());
        say(&format!("Machine: {}.", machine_facts(&folder)));
        say(&floor(&folder)?);
        let figures = match &self {
            Self::Cluster(common) => clusters(common, &mut say).await?,
            Self::Cost(common) => costs(common, &mut say).await?,
            Self::Lag(common) => lags(common, &mut say).await?,
            Self::CatchUp(common) => catches(common, &mut say).await?,
        };
        say(&floor(&folder)?);
        if let Some(file) = file {
            let all = json!({ "machine": machine_facts(&folder), "figures": figures });
            std::fs::write(&file, serde_json::to_vec_pretty(&all)?)
                .with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}

fn floor(folder: &Path) -> anyhow::Result<String> {
    let floor = sync_floor(folder, Duration::from_secs(1))?;
    let micros = |share| floor.latency.quantile(share).as_secs_f64() * 1e6;
    Ok(format!(
        "Floor of the disk: {:.0} syncs/s, p50 {:.0} µs, p99 {:.0} µs.",
        floor.rate,
        micros(0.5),
        micros(0.99)
    ))
}

async fn clusters(common: &Common, say: &mut impl FnMut(&str)) -> anyhow::Result<Value> {
    common.check(&["ursula"])?;
    let mut kinds = vec![Kind::Ours(3, common.options())];
    kinds.extend(common.others().map(|options| Kind::Ours(3, options)));
    if common.has("ursula") {
        kinds.push(Kind::Ursula);
    }
    let mut all = Vec::new();
    for plan in cluster::plans() {
        if common.connections.is_empty() || common.connections.contains(&plan.connections) {
            let outcomes = cluster::compare(common, &kinds, plan).await.with_context(|| plan.to_string())?;
            say(&markdown(&outcomes));
            all.extend(outcomes);
        }
    }
    say(&markdown(&all));
    Ok(outcomes_json(&machine_facts(&common.folder), &[], &all))
}

async fn costs(common: &Common, say: &mut impl FnMut(&str)) -> anyhow::Result<Value> {
    common.check(&[])?;
    let mut kinds = vec![Kind::Ours(1, common.options())];
    kinds.extend(common.others().map(|options| Kind::Ours(1, options)));
    kinds.push(Kind::Ours(3, common.options()));
    let rows = cost::rows(common, &kinds).await?;
    say(&cost::table(&rows));
    Ok(json!(rows))
}

async fn lags(common: &Common, say: &mut impl FnMut(&str)) -> anyhow::Result<Value> {
    common.check(&["armdb"])?;
    let kind = Kind::Ours(3, common.options());
    let mut rows = Vec::new();
    for load in [Load::None, Load::Paced(16, 1_000), Load::Paced(16, 5_000), Load::Full(16)] {
        rows.push(lag::row(common, &kind, load).await?);
    }
    say(&lag::table(&rows));
    let folder = common.folder.clone();
    let syncs = tokio::task::spawn_blocking(move || syncs(&folder, lag::PAUSE)).await??;
    say(&syncs.to_string());
    if common.has("armdb") {
        let mut times = Histogram::default();
        armdb::lone(&common.folder, 200).await?.into_iter().for_each(|time| times.record(time));
        let at = |share| times.quantile(share).as_secs_f64() * 1e3;
        say(&format!("armdb, a lone put until its follower has it: {:.2} / {:.2} ms.", at(0.5), at(0.99)));
    }
    Ok(json!({"lag": rows, "syncs": syncs}))
}

async fn catches(common: &Common, say: &mut impl FnMut(&str)) -> anyhow::Result<Value> {
    common.check(&["armdb"])?;
    let with_armdb = common.has("armdb");
    let (mut caught, mut streamed) = (Vec::new(), Vec::new());
    // Small messages cost more of everything: a quarter of the bytes is enough of them.
    for (bytes, share) in [(1_000, 1), (100, 4)] {
        let amount = Amount { messages: common.megabytes * 1_000_000 / bytes / share, bytes };
        let rows = catch_up::rows(common, &common.options(), amount, with_armdb).await?;
        say(&catch_up::table("catch-up of an empty follower", &rows));
        caught.extend(rows);
    }
    let amount = Amount { messages: common.megabytes * 1_000_000 / 100 / 2, bytes: 100 };
    streamed.extend(streaming::rows(common, &common.options(), amount, with_armdb).await?);
    say(&catch_up::table("what is written now", &streamed));
    Ok(json!({ "catch_up": caught, "streaming": streamed }))
}
