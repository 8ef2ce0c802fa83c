//! Following a stream: how long after an append was sent its message is in a subscriber's hands.
//!
//! Each message begins with the time at which its append was sent, twenty digits, on the clock that all share.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::load::{Phase, Tally};
use super::plan::{Plan, Work};
use super::requests::{CONTENT_TYPE, SHARED, message};
use crate::client::{Connection, EventStream, OffsetText, Request};
use crate::stopwatch::Stopwatch;

/// Appends per second while subscribers follow.
const RATE: u64 = 200;
/// Digits of a time stamp.
const STAMP_BYTES: usize = 20;
/// The writer goes on until all have stopped; silence of this length means that a subscriber was forgotten.
const SILENCE: Duration = Duration::from_secs(10);

/// Worker 0 writes, the others follow.
pub(super) async fn follow(
    address: SocketAddr,
    plan: Plan,
    number: usize,
    phase: Phase,
    clock: Stopwatch,
) -> anyhow::Result<Tally> {
    match (number, plan.work) {
        (0, _) => write(address, plan, phase, clock).await,
        (_, Work::TailEvents) => by_events(address, phase, clock).await,
        _ => by_polls(address, phase, clock).await,
    }
}

async fn write(address: SocketAddr, plan: Plan, phase: Phase, clock: Stopwatch) -> anyhow::Result<Tally> {
    let body = message(plan.message_bytes);
    ensure!(body.len() > STAMP_BYTES, "a message must have room for a time stamp");
    let mut request = Request::append(SHARED, CONTENT_TYPE, &body);
    let stamp = request.as_bytes().len() - body.len();
    let mut connection = Connection::open(address).await?;
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(RATE)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A little longer than the subscribers, who wait for one more message when they stop.
    let mut farewell = RATE / 4;
    while farewell > 0 {
        if phase.is_stopped() {
            farewell -= 1;
        }
        ticks.tick().await;
        let now = format!("{:020}", clock.nanoseconds());
        request.as_mut_bytes()[stamp..stamp + STAMP_BYTES].copy_from_slice(now.as_bytes());
        let head = connection.exchange_into(&request, |_| {}).await?;
        ensure!(head.status == 204, "append: status {}", head.status);
    }
    Ok(Tally::default())
}

/// Counts every stamped line of `text`.
fn count(text: &str, tally: &mut Tally, phase: &Phase, clock: Stopwatch) {
    let now = clock.nanoseconds();
    for line in text.lines().filter(|line| line.len() >= STAMP_BYTES) {
        if let (Ok(sent), true) = (line[..STAMP_BYTES].parse::<u64>(), phase.is_measuring()) {
            tally.add(line.len() as u64 + 1, now.saturating_sub(sent));
        }
    }
}

async fn by_events(address: SocketAddr, phase: Phase, clock: Stopwatch) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut offset = String::from("now");
    while !phase.is_stopped() {
        let mut events = EventStream::open(address, SHARED, &offset).await?;
        ensure!(events.head().status == 200, "SSE: status {}", events.head().status);
        while !phase.is_stopped() {
            let Some(event) = timeout(SILENCE, events.next()).await?? else { break };
            if event.kind == "data" {
                count(&event.data, &mut tally, &phase, clock);
            } else if let Some(next) = next_offset(&event.data) {
                offset = next;
            }
        }
    }
    Ok(tally)
}

fn next_offset(control: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(control).ok()?;
    value.get("streamNextOffset")?.as_str().map(str::to_owned)
}

async fn by_polls(address: SocketAddr, phase: Phase, clock: Stopwatch) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut connection = Connection::open(address).await?;
    let mut next: Option<OffsetText> = None;
    let mut cursor = None;
    while !phase.is_stopped() {
        let request = Request::long_poll(SHARED, next.as_ref().map_or("now", OffsetText::as_str), cursor);
        let answer = timeout(SILENCE, connection.exchange(&request)).await??;
        match answer.head.status {
            200 => count(std::str::from_utf8(&answer.body)?, &mut tally, &phase, clock),
            204 => {}
            other => bail!("long-poll: status {other}"),
        }
        (next, cursor) = (answer.head.next.or(next), answer.head.cursor);
    }
    Ok(tally)
}
