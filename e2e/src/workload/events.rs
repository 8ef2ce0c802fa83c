//! A subscriber for a short while: every pair of a data and a control event is a read.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::time::timeout;

use super::payload::parse_messages;
use super::stream::Stream;
use crate::checker::Dialect;
use crate::client::{Event, EventStream};
use crate::history::{Content, Position, chain};
use crate::stopwatch::Stopwatch;

/// How long a subscriber follows; it must outlast some appends and let the life end soon.
const WATCH: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Control {
    stream_next_offset: String,
    #[serde(default)]
    up_to_date: bool,
    #[serde(default)]
    stream_closed: bool,
}

/// When it was there, where it began, what it was.
type SeenRead = (u64, Position, Content);

/// Follows from an offset. A connection that breaks ends it; what was seen until then counts.
pub(super) async fn follow(
    address: SocketAddr,
    stream: &Stream,
    from: Position,
    dialect: Dialect,
    clock: Stopwatch,
) -> Vec<anyhow::Result<SeenRead>> {
    let mut seen = Vec::new();
    let opened = timeout(WATCH, EventStream::open(address, &stream.name, &dialect.format(from))).await;
    let Ok(Ok(mut events)) = opened else { return seen };
    if events.head().status != 200 {
        return seen;
    }
    let end = clock.elapsed() + WATCH;
    let mut reader = Reader { stream, dialect, from, data: None };
    while let Some(left) = end.checked_sub(clock.elapsed()) {
        let Ok(Ok(Some(event))) = timeout(left, events.next()).await else { break };
        match reader.take(event) {
            Ok(None) => {}
            Ok(Some((from, content))) => seen.push(Ok((clock.nanoseconds(), from, content))),
            Err(error) => {
                seen.push(Err(error.context("by SSE")));
                break;
            }
        }
    }
    seen
}

struct Reader<'a> {
    stream: &'a Stream,
    dialect: Dialect,
    from: Position,
    data: Option<String>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event) -> anyhow::Result<Option<(Position, Content)>> {
        if event.kind == "data" {
            anyhow::ensure!(
                self.data.replace(event.data).is_none(),
                "two data events without control between"
            );
            return Ok(None);
        }
        let control: Control = serde_json::from_str(&event.data).context("control event")?;
        let data = self.data.take();
        let messages = match &data {
            Some(text) => parse_messages(self.stream.format, text.as_bytes())?,
            None => Vec::new(),
        };
        let next = self.dialect.parse(&control.stream_next_offset).context("streamNextOffset")?;
        let from = std::mem::replace(&mut self.from, next);
        let hash = messages.iter().fold(0, |hash, message| chain(hash, message.id));
        let count = messages.len() as u64;
        let (up_to_date, closed) = (control.up_to_date, control.stream_closed);
        Ok(Some((from, Content { next, up_to_date, closed, count, hash })))
    }
}
