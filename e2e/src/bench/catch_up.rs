//! Reading a stream from its start to its tail.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::load::{Phase, Tally};
use super::plan::Plan;
use super::requests::{CONTENT_TYPE, SHARED, message};
use crate::client::{Connection, OffsetText, Request};
use crate::stopwatch::Stopwatch;

/// Writers that fill the stream.
const WRITERS: usize = 32;

/// Fills the shared stream.
pub(super) async fn fill(address: SocketAddr, plan: Plan) -> anyhow::Result<()> {
    let messages = plan.stream_bytes / plan.message_bytes;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let mine = (writer..messages).step_by(WRITERS).len();
        let request = Request::append(SHARED, CONTENT_TYPE, &message(plan.message_bytes));
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for _ in 0..mine {
                let head = connection.exchange_into(&request, |_| {}).await?;
                ensure!(head.status == 204, "fill: status {}", head.status);
            }
            Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

/// Reads all of it, again and again.
pub(super) async fn read(address: SocketAddr, plan: Plan, phase: Phase) -> anyhow::Result<Tally> {
    let mut connection = Connection::open(address).await?;
    let clock = Stopwatch::start();
    let mut tally = Tally::default();
    'again: loop {
        let (start, mut bytes, mut offset) = (clock.nanoseconds(), 0u64, None::<OffsetText>);
        loop {
            if phase.is_stopped() {
                break 'again;
            }
            let request = Request::read(SHARED, offset.as_ref().map_or("-1", OffsetText::as_str));
            let mut received = 0u64;
            let head = connection.exchange_into(&request, |part| received += part.len() as u64).await?;
            ensure!(head.status == 200, "catch-up: status {}", head.status);
            bytes += received;
            if phase.is_measuring() {
                // Each answer counts when it comes, so that a slow reader's unfinished round is not lost.
                tally.bytes += received;
            }
            if head.up_to_date {
                break;
            }
            ensure!(received > 0, "an answer that is not up to date carries nothing");
            offset = head.next;
        }
        ensure!(bytes == plan.stream_bytes as u64, "read {bytes} of {} bytes", plan.stream_bytes);
        if phase.is_measuring() {
            tally.add(0, clock.nanoseconds() - start);
        }
    }
    Ok(tally)
}
