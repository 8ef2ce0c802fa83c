//! GET, catch-up: a bounded run of messages in wire form, with what a cache may do with it.

use bytes::{BufMut, Bytes, BytesMut};

use super::errors::{NO_ROOM_FOR_ANSWER, OVERLOADED, write_read_error};
use super::etag::Etag;
use super::query::ReadQuery;
use super::state::{write_closed, write_content_type, write_earliest, write_incarnation, write_next_offset};
use super::{Api, Sse};
use crate::http::wire::{Body, Exchange, Field, Grant, Request, ResponseHead, SMALL_ANSWER_BYTES_MAX};
use crate::runtime::{ReadBatch, ReadFrom, Segment};
use crate::types::{Framing, Lifetime, Retention, StreamConfig, StreamName};

/// Parts below this size are copied together: a slice of its own costs more than the copy.
const SMALL_BYTES_MAX: usize = 4 * 1024;

pub(super) async fn read(
    api: &Api,
    name: &StreamName,
    query: ReadQuery,
    request: &Request<'_>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let admission = &exchange.registry().admission;
    let from = query.from.unwrap_or(ReadFrom::Start);
    // At the tail there are no messages to hold; elsewhere a small answer is given when there is no room for a larger one.
    let mut grant = match from {
        ReadFrom::Now => Grant::default(),
        _ => admission.response(api.settings().read_bytes_max).unwrap_or_default(),
    };
    loop {
        let bytes_max = grant.bytes().max(SMALL_ANSWER_BYTES_MAX);
        let batch = match api.engine().read(name, from, bytes_max).await {
            Ok(batch) => batch,
            Err(error) => return write_read_error(out, &error),
        };
        // A single message may be larger than an answer should be.
        let bytes = batch.wire_bytes();
        if bytes > bytes_max && !admission.is_whole_response(&grant) {
            drop(std::mem::take(&mut grant));
            match admission.response_of_now(bytes) {
                Some(larger) => grant = larger,
                None => {
                    // Not held while it waits for room.
                    drop(batch);
                    match Box::pin(admission.response_of(bytes)).await {
                        Some(larger) => grant = larger,
                        None => {
                            return Body::Full(OVERLOADED.write(out, NO_ROOM_FOR_ANSWER));
                        }
                    }
                    continue;
                }
            }
        }
        return write_batch(out, batch, from, request.field(Field::IfNoneMatch), grant);
    }
}

fn write_batch(
    out: &mut ResponseHead,
    batch: ReadBatch,
    from: ReadFrom,
    if_none_match: Option<&[u8]>,
    grant: Grant,
) -> Body<Sse> {
    if from == ReadFrom::Now {
        write_head(out, 200, &batch);
        write_uncached(out);
        return compose(framing(&batch), batch.segments, grant);
    }
    let etag = Etag::new(batch.state.incarnation, batch.start, batch.next, batch.finished());
    let unchanged = if_none_match.is_some_and(|header| etag.matches(header));
    write_head(out, if unchanged { 304 } else { 200 }, &batch);
    write_cached(out, &batch, &etag);
    if unchanged { Body::Absent } else { compose(framing(&batch), batch.segments, grant) }
}

/// Status and the headers that every answer with a batch has.
pub(super) fn write_head(out: &mut ResponseHead, status: u16, batch: &ReadBatch) {
    out.begin(status);
    write_content_type(out, &batch.state.config);
    write_next_offset(out, batch.next);
    if batch.up_to_date() {
        out.lines("Stream-Up-To-Date: true\r\n");
    }
    write_closed(out, batch.finished());
    write_earliest(out, &batch.state);
    write_incarnation(out, batch.state.incarnation);
}

/// What a cache may do with an answer that begins at a named offset.
pub(super) fn write_cached(out: &mut ResponseHead, batch: &ReadBatch, etag: &Etag) {
    out.lines(cache_control(batch));
    out.header("ETag", etag.as_bytes());
}

/// `now` is elsewhere for whoever asks next, and so is silence: no cache may keep what one reader met.
pub(super) fn write_uncached(out: &mut ResponseHead) {
    out.lines("Cache-Control: no-store\r\n");
}

/// What a shared cache may do. An answer that ends before the tail, or at the end of a closed stream, says the same
/// for as long as the stream lives; unless the stream may end or shrink by itself, it may be kept for an hour.
fn cache_control(batch: &ReadBatch) -> &'static str {
    let immutable = !batch.up_to_date() || batch.finished();
    if immutable && lives_on(&batch.state.config) {
        "Cache-Control: public, max-age=3600, stale-while-revalidate=86400\r\n"
    } else {
        "Cache-Control: public, max-age=60, stale-while-revalidate=300\r\n"
    }
}

fn lives_on(config: &StreamConfig) -> bool {
    config.lifetime == Lifetime::Forever && config.retention == Retention::default()
}

pub(super) fn framing(batch: &ReadBatch) -> Framing {
    if batch.state.config.content_type.is_json() { Framing::Json } else { Framing::Plain }
}

/// Joins segments into a body: JSON becomes one array, small parts become one part, large ones stay where they are.
pub(super) fn compose(framing: Framing, segments: Vec<Segment>, mut grant: Grant) -> Body<Sse> {
    let mut composer = Composer::default();
    if framing == Framing::Json {
        composer.push_small(b"[");
    }
    let mut first = true;
    for segment in segments.into_iter().filter(|segment| !segment.messages.is_empty()) {
        if framing == Framing::Json && !first {
            composer.push_small(b",");
        }
        first = false;
        composer.push(segment.messages.wire());
    }
    if framing == Framing::Json {
        composer.push_small(b"]");
    }
    let mut parts = composer.finish();
    match parts.len() {
        0 => Body::empty(),
        1 if parts.first().is_some_and(|part| part.len() <= SMALL_BYTES_MAX) => {
            Body::Full(parts.pop().unwrap_or_default())
        }
        _ => {
            grant.shrink(parts.iter().map(Bytes::len).sum());
            Body::Parts { parts, grant }
        }
    }
}

#[derive(Default)]
struct Composer {
    parts: Vec<Bytes>,
    small: BytesMut,
}

impl Composer {
    fn push_small(&mut self, bytes: &[u8]) {
        self.small.put_slice(bytes);
    }

    fn push(&mut self, wire: &Bytes) {
        if wire.len() < SMALL_BYTES_MAX {
            self.push_small(wire);
        } else {
            self.flush();
            self.parts.push(wire.clone());
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.parts
    }
}

#[cfg(test)]
pub(super) mod tests;
