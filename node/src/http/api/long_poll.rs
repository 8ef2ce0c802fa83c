//! GET with `live=long-poll`: data at once if there is some, else wait for it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::errors::{OVERLOADED, write_read_error};
use super::etag::Etag;
use super::query::ReadQuery;
use super::read::{cache_control, compose, framing, write_head};
use super::state::{write_closed, write_incarnation, write_next_offset};
use super::{Api, Sse};
use crate::http::wire::{Body, Exchange, Grant, ResponseHead};
use crate::runtime::{ReadBatch, ReadFrom, StreamState, TailEvent};
use crate::telemetry::Held;
use crate::types::{Offset, StreamName};

pub(super) async fn long_poll(
    api: &Api,
    name: &StreamName,
    query: ReadQuery,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    out.waits();
    let _counted = Held::new(&exchange.registry().metrics.http.long_poll_readers);
    let from = query.from.unwrap_or(ReadFrom::Start);
    let mut tailer = match api.engine().tail(name, from).await {
        Ok(tailer) => tailer,
        Err(error) => return write_read_error(out, &error),
    };
    let event = {
        let settings = api.settings();
        let mut next = pin!(tailer.next(settings.read_bytes_max, settings.long_poll_timeout));
        let mut interrupted = pin!(exchange.interrupted());
        std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => interrupted.as_mut().poll(cx).map(|_| None),
        })
        .await
    };
    let cursor = api.cursor(query.cursor);
    match event {
        Some(TailEvent::Batch(batch)) => {
            match exchange.registry().admission.response_of(batch.wire_bytes()) {
                Some(grant) => write_news(out, batch, cursor, grant),
                None => Body::Full(OVERLOADED.write(out, "too many response bytes are in flight")),
            }
        }
        Some(TailEvent::TimedOut(state) | TailEvent::ShuttingDown(state)) => {
            write_incarnation_after(write_nothing(out, state.tail, cursor, false), out, &state)
        }
        Some(TailEvent::Ended(error)) => write_read_error(out, &error),
        // The server closes, or nobody listens any more.
        None => write_nothing(out, tailer.position(), cursor, false),
    }
}

fn write_incarnation_after(body: Body<Sse>, out: &mut ResponseHead, state: &StreamState) -> Body<Sse> {
    write_incarnation(out, state.incarnation);
    body
}

fn write_news(out: &mut ResponseHead, batch: ReadBatch, cursor: u64, grant: Grant) -> Body<Sse> {
    if batch.segments.is_empty() {
        return write_nothing(out, batch.next, cursor, batch.finished());
    }
    write_head(out, 200, &batch);
    out.lines(cache_control(&batch));
    out.number("Stream-Cursor", cursor);
    let etag = Etag::new(batch.state.incarnation, batch.start, batch.next, batch.finished());
    out.header("ETag", etag.as_bytes());
    compose(framing(&batch), batch.segments, grant)
}

fn write_nothing(out: &mut ResponseHead, tail: Offset, cursor: u64, closed: bool) -> Body<Sse> {
    out.begin(204);
    write_next_offset(out, tail);
    out.lines("Stream-Up-To-Date: true\r\n");
    write_closed(out, closed);
    out.number("Stream-Cursor", cursor);
    out.lines("Cache-Control: no-store\r\n");
    Body::Absent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_204_with_tail_and_cursor() {
        let mut out = ResponseHead::for_test();
        write_nothing(&mut out, Offset::ZERO, 7, true);
        assert_eq!(
            out.text(),
            "HTTP/1.1 204 No Content\r\nStream-Next-Offset: 0000000000000000_0000000000000000\r\n\
             Stream-Up-To-Date: true\r\nStream-Closed: true\r\nStream-Cursor: 7\r\nCache-Control: no-store\r\n"
        );
    }
}
