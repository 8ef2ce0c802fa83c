//! How far a follower is behind what clients hear: a message with the time in it is appended at the leader, and readers that follow the
//! stream by events on every node say when they had it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::Histogram;
use super::super::requests::{CONTENT_TYPE, message};
use super::append::Client;
use super::fleet::{Fleet, Kind};
use super::verbs::Common;
use crate::client::{Connection, EventStream, Request};
use crate::stopwatch::Stopwatch;

/// Between two stamped messages.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// Digits of a time.
const STAMP_BYTES: usize = 20;
/// Bytes of every message.
const BYTES: usize = 100;
/// A message that is not there after this time is lost.
const LOST: Duration = Duration::from_secs(10);
/// Streams to which the load goes, so that all nodes lead some.
const STREAMS: usize = 64;

/// What else the cluster does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) enum Load {
    /// Nothing.
    None,
    /// So many clients, and so many appends a second by all of them.
    Paced(usize, u32),
    /// So many clients, as fast as they are answered.
    Full(usize),
}

/// A row.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Row {
    load: Load,
    /// Appends a second that were answered beside the stamped ones.
    rate: f64,
    acknowledged: Times,
    at_leader: Times,
    at_followers: Times,
    /// From the acknowledgement until a follower's reader has it.
    behind: Times,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    p999: f64,
}

impl From<&Histogram> for Times {
    fn from(times: &Histogram) -> Self {
        let at = |share| times.quantile(share).as_secs_f64() * 1e3;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

/// Follows a stream on one node, and tells when each message came.
async fn follow(
    at: SocketAddr,
    stream: String,
    to: mpsc::UnboundedSender<u64>,
    clock: Stopwatch,
) -> anyhow::Result<()> {
    let mut events = EventStream::open(at, &stream, "-1").await?;
    ensure!(events.head().status == 200, "SSE: status {}", events.head().status);
    while let Some(event) = events.next().await? {
        let now = clock.nanoseconds();
        for line in event.data.lines().filter(|line| line.len() >= STAMP_BYTES) {
            if line[..STAMP_BYTES].parse::<u64>().is_ok_and(|sent| sent > 0) && to.send(now).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Appends until it is dropped; counts what was answered.
async fn press(
    fleet: &Fleet,
    load: Load,
    answered: mpsc::UnboundedSender<()>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let (clients, pace) = match load {
        Load::None => return Ok(JoinSet::new()),
        Load::Paced(clients, rate) => {
            (clients, Some(Duration::from_secs(1) * u32::try_from(clients)? / rate))
        }
        Load::Full(clients) => (clients, None),
    };
    let body = message(BYTES);
    let streams = super::append::streams(fleet, STREAMS).await?;
    let script: Vec<(SocketAddr, Request)> =
        streams.iter().map(|(at, name)| (*at, fleet.append(name, &body))).collect();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let mut script = script.clone();
        script.rotate_left(client * STREAMS / clients);
        let answered = answered.clone();
        tasks.spawn(async move {
            let mut connections = Client::default();
            let mut ticks = pace.map(interval);
            for (at, request) in script.iter().cycle() {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                connections.append(*at, request).await?;
                let _ended = answered.send(());
            }
            Ok(())
        });
    }
    Ok(tasks)
}

/// Measures with one load.
pub(super) async fn row(common: &Common, kind: &Kind, load: Load) -> anyhow::Result<Row> {
    let fleet = Fleet::start(kind, &common.folder).await?;
    let leader = fleet.create("stamped").await?;
    let clock = Stopwatch::start();
    let mut tasks = JoinSet::new();
    let (mut at_leader, mut at_followers) = (Vec::new(), Vec::new());
    for address in fleet.servers().iter().map(|server| server.address()) {
        let (to, arrivals) = mpsc::unbounded_channel();
        tasks.spawn(follow(address, "stamped".into(), to, clock));
        if address == leader { at_leader.push(arrivals) } else { at_followers.push(arrivals) }
    }
    let (answered, mut answers) = mpsc::unbounded_channel();
    let mut pressing = press(&fleet, load, answered).await?;
    let count = (common.seconds / PAUSE.as_secs_f64()).max(50.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of messages")]
    let count = count as usize;
    let mut request = Request::append("stamped", CONTENT_TYPE, &message(BYTES));
    let stamp = request.as_bytes().len() - BYTES;
    let mut connection = Connection::open(leader).await?;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut row = [(); 4].map(|()| Histogram::default());
    let mut rate = 0.0;
    let warm_up = count / 5;
    let mut began = clock.elapsed();
    for number in 0..warm_up + count {
        if number == warm_up {
            while answers.try_recv().is_ok() {}
            began = clock.elapsed();
        }
        ticks.tick().await;
        let sent = clock.nanoseconds();
        request.as_mut_bytes()[stamp..stamp + STAMP_BYTES].copy_from_slice(format!("{sent:020}").as_bytes());
        let head = connection.exchange_into(&request, |_| {}).await?;
        ensure!(head.status == 204, "append: status {}", head.status);
        let acknowledged = clock.nanoseconds();
        let mut times = vec![(0, acknowledged - sent)];
        for arrivals in &mut at_leader {
            times.push((1, arrival(arrivals).await?.saturating_sub(sent)));
        }
        for arrivals in &mut at_followers {
            let came = arrival(arrivals).await?;
            times.push((2, came.saturating_sub(sent)));
            times.push((3, came.saturating_sub(acknowledged)));
        }
        if number >= warm_up {
            times.into_iter().for_each(|(kind, time)| row[kind].record(time));
        }
    }
    if load != Load::None {
        let mut count = 0_u32;
        while answers.try_recv().is_ok() {
            count += 1;
        }
        rate = f64::from(count) / (clock.elapsed() - began).as_secs_f64();
    }
    while let Some(failed) = pressing.try_join_next() {
        failed??;
    }
    drop((pressing, tasks));
    fleet.end().await?;
    let [acknowledged, leader, followers, behind] = row.each_ref().map(Times::from);
    Ok(Row { load, rate, acknowledged, at_leader: leader, at_followers: followers, behind })
}

async fn arrival(arrivals: &mut mpsc::UnboundedReceiver<u64>) -> anyhow::Result<u64> {
    timeout(LOST, arrivals.recv()).await.context("a message did not come")?.context("a reader ended")
}

/// The table.
pub(super) fn table(rows: &[Row]) -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "| beside a message of 100 B every 5 ms | appends beside it | acknowledged, ms | at the leader's reader | at a follower's reader | behind the \
         acknowledgement |\n|---|--:|--:|--:|--:|--:|\n",
    );
    let times = |times: Times| format!("{:.2} / {:.2} / {:.2}", times.p50, times.p99, times.p999);
    for row in rows {
        let load = match row.load {
            Load::None => "nothing".to_owned(),
            Load::Paced(clients, rate) => format!("{clients} clients, {rate}/s"),
            Load::Full(clients) => format!("{clients} clients, as fast as they can"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {load} | {:.0}/s | {} | {} | {} | {} |",
            row.rate,
            times(row.acknowledged),
            times(row.at_leader),
            times(row.at_followers),
            times(row.behind),
        );
    }
    text.push_str("\nTimes are p50 / p99 / p99.9 from the moment of sending; *behind* counts from the acknowledgement.\n");
    text
}
