//! How fast followers that are level get what is written now: two of ours at once, beside one of the rival, which takes no more.

use std::sync::Arc;

use anyhow::Context;

use super::append::{exactly, streams};
use super::armdb;
use super::catch_up::{Amount, Row, ours};
use super::fleet::Fleet;
use super::level;
use super::verbs::Common;
use crate::client::Request;
use crate::server::NodeOptions;
use crate::stopwatch::Stopwatch;

/// Clients that write.
const CLIENTS: usize = 16;
/// Messages of one append: a client that has much to say says it in one.
const BATCH: usize = 100;

/// Seconds until both followers have everything that was written.
async fn round(common: &Common, options: &NodeOptions, amount: Amount) -> anyhow::Result<f64> {
    let mut fleet = Fleet::start(&ours(options), &common.folder).await?;
    let made = streams(&fleet, CLIENTS).await?;
    // A message is a string of a JSON array: two quotation marks and a comma are not counted.
    let text = format!("\"{}\"", "x".repeat(amount.bytes.saturating_sub(2)));
    let body = format!("[{}]", vec![text; BATCH].join(","));
    let mut scripts = Vec::new();
    for (at, name) in &made {
        let json = format!("json-{name}");
        let create =
            Request::draft("PUT", &fleet.path(&json)).header("Content-Type", "application/json").body(b"");
        let head = crate::client::Connection::open(*at).await?.exchange(&create).await?.head;
        anyhow::ensure!(head.status == 201, "PUT {json}: status {}", head.status);
        let append = Request::draft("POST", &fleet.path(&json)).header("Content-Type", "application/json");
        scripts.push(Arc::new(vec![(*at, append.body(body.as_bytes()))]));
    }
    let clock = Stopwatch::start();
    exactly(scripts, amount.messages / BATCH).await?;
    let world = fleet.world()?;
    let ends = level::ends(world, &[0, 1, 2]).await?;
    for node in 0..3 {
        level::reach(world, node, &ends, &clock).await?;
    }
    let seconds = clock.elapsed().as_secs_f64();
    fleet.end().await?;
    Ok(seconds)
}

/// All rows.
pub(super) async fn rows(
    common: &Common,
    options: &NodeOptions,
    amount: Amount,
    with_armdb: bool,
) -> anyhow::Result<Vec<Row>> {
    let mut synced = Row::new(amount, "thalweg, two followers, each group synced on all");
    let mut rival = Row::new(amount, "armdb, one follower, not durable");
    for _ in 0..common.rounds {
        synced.seconds.push(round(common, options, amount).await.context("thalweg")?);
        if with_armdb {
            rival.seconds.push(armdb::streaming(&common.folder, amount).await.context("armdb")?);
        }
    }
    Ok([synced, rival].into_iter().filter(|row| !row.seconds.is_empty()).collect())
}
