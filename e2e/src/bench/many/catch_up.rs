//! How fast a follower that has nothing gets all that its leaders have, beside a rival's, a bare connection, and a bare disk behind it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::super::requests::message;
use super::super::sample::median;
use super::append::{exactly, streams};
use super::armdb;
use super::bare::{self, Bare};
use super::fleet::{Fleet, Kind};
use super::level;
use super::verbs::Common;
use crate::server::NodeOptions;
use crate::stopwatch::Stopwatch;

/// Clients that fill.
const CLIENTS: usize = 64;
/// Streams that are filled, over all shards.
const STREAMS: usize = 64;

/// So many messages of one size.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Amount {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn megabytes(self) -> f64 {
        self.messages as f64 * self.bytes as f64 / 1e6
    }
}

/// Seconds for one amount, one for each round.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Row {
    pub(super) amount: Amount,
    pub(super) who: String,
    pub(super) seconds: Vec<f64>,
    /// Seconds before it that were not counted, until the first was there.
    pub(super) before: Vec<f64>,
}

impl Row {
    pub(super) fn new(amount: Amount, who: impl Into<String>) -> Self {
        Self { amount, who: who.into(), seconds: Vec::new(), before: Vec::new() }
    }
}

/// Our nodes, with a log that keeps everything, and looks that come often.
pub(super) fn ours(options: &NodeOptions) -> Kind {
    let mut options = options.clone();
    options.extra.extend(["--follower-log-max", "8GiB", "--heartbeat", "10ms"].map(str::to_owned));
    Kind::Ours(3, options)
}

/// How a follower came to be level.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// When the first of it was there, and the last.
    first: Duration,
    last: Duration,
    /// Bytes that it had given to its disk by then, log and tables.
    written: u64,
}

/// Fills two nodes of three, starts the third, and waits until it is level.
async fn round(common: &Common, kind: &Kind, amount: Amount) -> anyhow::Result<Level> {
    let mut fleet = Fleet::start(kind, &common.folder).await?;
    // Whoever leads nothing any more is followed by nobody's clients.
    fleet.world()?.kill(2, true).await?;
    let made = streams(&fleet, STREAMS).await?;
    let body = message(amount.bytes);
    let script: Vec<_> = made.iter().map(|(at, name)| (*at, fleet.append(name, &body))).collect();
    let scripts = (0..CLIENTS).map(|client| {
        let mut script = script.clone();
        script.rotate_left(client * STREAMS / CLIENTS);
        Arc::new(script)
    });
    exactly(scripts.collect(), amount.messages).await?;
    // Until the leaders say so themselves, and their tables have it, too: what comes next is not to share the disk with that.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let world = fleet.world()?;
    let ends = level::ends(world, &[0, 1]).await?;
    world.start_node(2).await?;
    let clock = Stopwatch::start();
    let (first, last) = level::reach(world, 2, &ends, &clock).await?;
    let written = world.servers().nth(2).context("the follower is gone")?.stored()?;
    fleet.end().await?;
    Ok(Level { first, last, written })
}

/// All rows for one amount: ours, the rival, the floors.
pub(super) async fn rows(
    common: &Common,
    options: &NodeOptions,
    amount: Amount,
    with_armdb: bool,
) -> anyhow::Result<Vec<Row>> {
    let mut synced = Row::new(amount, "thalweg, each group synced");
    let mut rival = Row::new(amount, "armdb, not durable");
    let mut socket = Row::new(amount, "bare loopback");
    let mut disk = Row::new(amount, "bare loopback, written and synced every 4 MiB");
    let mut floor = Row::new(amount, "the same with as many bytes as ours wrote: the least that they take");
    for _ in 0..common.rounds {
        let Level { first, last, written } =
            round(common, &ours(options), amount).await.context("thalweg")?;
        synced.before.push(first.as_secs_f64());
        synced.seconds.push((last - first).as_secs_f64());
        if with_armdb {
            rival.seconds.push(armdb::catch_up(&common.folder, amount).await.context("armdb")?);
        }
        socket.seconds.push(bare::carry(&common.folder, amount, Bare::Socket)?);
        disk.seconds.push(bare::carry(&common.folder, amount, Bare::Disk)?);
        let all_of_it = Amount { messages: usize::try_from(written)? / amount.bytes, ..amount };
        floor.seconds.push(bare::carry(&common.folder, all_of_it, Bare::Disk)?);
    }
    Ok([synced, rival, socket, disk, floor].into_iter().filter(|row| !row.seconds.is_empty()).collect())
}

/// The table; the first row of an amount is ours.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn table(title: &str, rows: &[Row]) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "| {title} | who | MB/s | messages/s | ours ÷ this | before the first, s |\n|---|---|--:|--:|--:|--:|\n"
    );
    let mut ours: Option<&Row> = None;
    for row in rows {
        if ours.is_none_or(|ours| ours.amount.bytes != row.amount.bytes) {
            ours = Some(row);
        }
        let ours = ours.unwrap_or(row);
        let ratio = median(ours.seconds.iter().zip(&row.seconds).map(|(mine, other)| other / mine));
        let seconds = median(row.seconds.iter().copied());
        let before = median(row.before.iter().copied());
        let ratio = if std::ptr::eq(ours, row) { String::new() } else { format!("{ratio:.2} ×") };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {:.0} MB of {} B | {} | {:.0} | {:.0} | {ratio} | {} |",
            row.amount.megabytes(),
            row.amount.bytes,
            row.who,
            row.amount.megabytes() / seconds,
            row.amount.messages as f64 / seconds,
            if before.is_nan() { String::new() } else { format!("{before:.2}") },
        );
    }
    text
}
