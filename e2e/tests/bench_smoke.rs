//! Promise: the load generator runs every kind of work against the node, and the node answers all of it as expected.

use std::time::Duration;

use anyhow::ensure;
use thalweg_e2e::bench::{Settings, markdown, quick_plans, run};
use thalweg_e2e::server::{NodeOptions, ServerKind};

#[tokio::test]
async fn every_kind_of_work_runs() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        servers: vec![ServerKind::Node(NodeOptions::default())],
        rounds: 1,
        measured: Duration::from_millis(200),
        warm_up: Duration::from_millis(50),
        threads: 1,
        folder: folder.path().to_path_buf(),
    };
    let mut outcomes = Vec::new();
    for plan in quick_plans() {
        outcomes.extend(run(&settings, plan).await?);
    }
    println!("{}", markdown(&outcomes));
    ensure!(outcomes.len() == quick_plans().len());
    ensure!(outcomes.iter().all(|outcome| outcome.samples.iter().all(|sample| sample.operations > 0)));
    Ok(())
}
