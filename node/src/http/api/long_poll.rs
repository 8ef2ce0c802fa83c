//! GET with `live=long-poll`: data at once if there is some, else wait for it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::errors::{NO_ROOM_FOR_ANSWER, OVERLOADED, write_read_error};
use super::etag::Etag;
use super::query::ReadQuery;
use super::read::{compose, framing, write_cached, write_head, write_uncached};
use super::state::{write_closed, write_incarnation, write_next_offset};
use super::{Api, Sse};
use crate::http::wire::{Body, Exchange, Grant, ResponseHead, SMALL_ANSWER_BYTES_MAX};
use crate::runtime::{ReadBatch, ReadFrom, TailEvent, Tailer};
use crate::telemetry::Held;
use crate::types::{Incarnation, Offset, StreamName};

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
        // A small answer needs no room; what is more is read again once there is room for it.
        let mut next = pin!(tailer.next(SMALL_ANSWER_BYTES_MAX, api.settings().long_poll_timeout));
        let mut interrupted = pin!(exchange.interrupted());
        std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => interrupted.as_mut().poll(cx).map(|_| None),
        })
        .await
    };
    let cursor = api.cursor(query.cursor);
    match event {
        Some(TailEvent::Batch(batch)) if is_all_of_a_little(&batch) => {
            write_news(out, batch, from, cursor, Grant::default())
        }
        Some(TailEvent::Batch(batch)) => {
            let first = batch.start;
            drop(batch);
            gather(api, &mut tailer, (from, first, cursor), exchange, out).await
        }
        Some(TailEvent::TimedOut(state) | TailEvent::ShuttingDown(state)) => {
            write_nothing(out, state.incarnation, state.tail, cursor, false)
        }
        Some(TailEvent::Ended(error)) => write_read_error(out, &error),
        // The server closes, or nobody listens any more.
        None => write_nothing(out, tailer.began().incarnation, tailer.position(), cursor, false),
    }
}

fn is_all_of_a_little(batch: &ReadBatch) -> bool {
    batch.up_to_date() && batch.wire_bytes() <= SMALL_ANSWER_BYTES_MAX
}

/// More than a little: as much as there is room for, and nothing is held while there is none.
async fn gather(
    api: &Api,
    tailer: &mut Tailer,
    (from, first, cursor): (ReadFrom, Offset, u64),
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let admission = &exchange.registry().admission;
    let mut grant = admission.response(api.settings().read_bytes_max).unwrap_or_default();
    loop {
        tailer.go_back(first);
        let bytes_max = grant.bytes().max(SMALL_ANSWER_BYTES_MAX);
        let batch = match tailer.next(bytes_max, Duration::ZERO).await {
            TailEvent::Batch(batch) => batch,
            TailEvent::Ended(error) => return write_read_error(out, &error),
            // There were messages, and messages go with their stream only.
            TailEvent::TimedOut(state) | TailEvent::ShuttingDown(state) => {
                return write_nothing(out, state.incarnation, state.tail, cursor, false);
            }
        };
        // A single message may be larger than an answer should be.
        let bytes = batch.wire_bytes();
        if bytes <= bytes_max || admission.is_whole_response(&grant) {
            return write_news(out, batch, from, cursor, grant);
        }
        drop((batch, std::mem::take(&mut grant)));
        match Box::pin(admission.response_of(bytes)).await {
            Some(larger) => grant = larger,
            None => return Body::Full(OVERLOADED.write(out, NO_ROOM_FOR_ANSWER)),
        }
    }
}

fn write_news(
    out: &mut ResponseHead,
    batch: ReadBatch,
    from: ReadFrom,
    cursor: u64,
    grant: Grant,
) -> Body<Sse> {
    if batch.segments.is_empty() {
        return write_nothing(out, batch.state.incarnation, batch.next, cursor, batch.finished());
    }
    write_head(out, 200, &batch);
    out.number("Stream-Cursor", cursor);
    if from == ReadFrom::Now {
        write_uncached(out);
    } else {
        let etag = Etag::new(batch.state.incarnation, batch.start, batch.next, batch.finished());
        write_cached(out, &batch, &etag);
    }
    compose(framing(&batch), batch.segments, grant)
}

fn write_nothing(
    out: &mut ResponseHead,
    incarnation: Incarnation,
    tail: Offset,
    cursor: u64,
    closed: bool,
) -> Body<Sse> {
    out.begin(204);
    write_next_offset(out, tail);
    out.lines("Stream-Up-To-Date: true\r\n");
    write_closed(out, closed);
    out.number("Stream-Cursor", cursor);
    write_uncached(out);
    write_incarnation(out, incarnation);
    Body::Absent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::api::read::tests::one_message;

    #[test]
    fn silence_is_204_with_tail_cursor_and_incarnation() {
        let mut out = ResponseHead::for_test();
        write_nothing(&mut out, Incarnation(1), Offset::ZERO, 7, true);
        assert_eq!(
            out.text(),
            "HTTP/1.1 204 No Content\r\nStream-Next-Offset: 0000000000000000_0000000000000000\r\n\
             Stream-Up-To-Date: true\r\nStream-Closed: true\r\nStream-Cursor: 7\r\nCache-Control: no-store\r\n\
             Stream-Incarnation: 0000000000000001\r\n"
        );
    }

    #[test]
    fn what_came_behind_now_is_never_cached() {
        let answer = |from| {
            let mut out = ResponseHead::for_test();
            let _body = write_news(&mut out, one_message(), from, 7, Grant::default());
            out.text().to_owned()
        };
        let now = answer(ReadFrom::Now);
        assert!(now.starts_with("HTTP/1.1 200 OK\r\n") && now.contains("Stream-Cursor: 7\r\n"), "{now}");
        assert!(now.contains("Cache-Control: no-store\r\n") && !now.contains("ETag"), "{now}");
        let named = answer(ReadFrom::At(Offset::ZERO));
        assert!(named.contains("Cache-Control: public") && named.contains("ETag"), "{named}");
    }
}
