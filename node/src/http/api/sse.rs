//! GET with `live=sse`: an event of data, an event of control, and again. Invariant: no payload can forge an event, and
//! every data event is followed by its own control event.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::Api;
use super::errors::write_read_error;
use super::query::ReadQuery;
use super::state::{write_closed, write_incarnation};
use crate::http::wire::{
    Body, EventRoom, Exchange, Grant, Live, LiveStep, Registry, ResponseHead, SMALL_ANSWER_BYTES_MAX,
};
use crate::runtime::{ReadBatch, ReadFrom, Segment, TailEvent, Tailer};
use crate::telemetry::Held;
use crate::types::{ContentType, Offset, StreamName};

/// Bytes of one base64 line: a multiple of 3, so that the lines joined are the encoding of the whole.
const BASE64_CHUNK_BYTES: usize = 3 * 1024;

/// An event is held beside its messages until it is framed, and is longer than they by what frames them.
const COPIES_OF_AN_EVENT: usize = 2;

/// A peer that reads nothing takes some 200 KiB all the same: 128 KiB are left with our system, and its own takes a window
/// of 64 KiB unless it was told otherwise.
const PROOF_BYTES: u64 = 512 * 1024;

/// How payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// One array.
    Json,
    /// Lines.
    Text,
    /// Bytes that are no text.
    Base64,
}

impl Payload {
    /// That of a content type.
    #[must_use]
    pub fn of(content_type: &ContentType) -> Self {
        match (content_type.is_json(), content_type.is_text()) {
            (true, _) => Self::Json,
            (false, true) => Self::Text,
            (false, false) => Self::Base64,
        }
    }
}

/// A running answer.
#[derive(Debug)]
pub struct Sse {
    api: Api,
    tailer: Tailer,
    payload: Payload,
    cursor: u64,
    ends_at: Instant,
    greeted: bool,
    registry: Arc<Registry>,
    /// The memory of the event that is being sent.
    sending: Grant,
    /// It waits for the memory of an event of so many bytes, and keeps its place in the line while it says nothing.
    waiting: Option<Waiting>,
    /// Bytes of events that the socket has taken.
    taken: u64,
    /// What it holds of the newcomers' room while it is sent an event.
    newcomer: Option<Grant>,
    _counted: Held,
}

/// A place in the line of those who wait for memory.
struct Waiting {
    room: Pin<Box<dyn Future<Output = EventRoom> + Send>>,
    bytes: usize,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {} bytes", self.bytes)
    }
}

pub(super) async fn sse(
    api: &Api,
    name: &StreamName,
    query: ReadQuery,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let from = query.from.unwrap_or(ReadFrom::Start);
    let tailer = match api.engine().tail(name, from).await {
        Ok(tailer) => tailer,
        Err(error) => return write_read_error(out, &error),
    };
    exchange.leave_little_with_the_system();
    let state = tailer.began();
    let payload = Payload::of(&state.config.content_type);
    out.begin(200);
    out.lines("Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    if payload == Payload::Base64 {
        out.lines("Stream-SSE-Data-Encoding: base64\r\n");
    }
    write_closed(out, false);
    write_incarnation(out, state.incarnation);
    Body::Live(Sse {
        api: api.clone(),
        tailer,
        payload,
        cursor: api.cursor(query.cursor),
        ends_at: Instant::now() + api.settings().sse_lifetime,
        greeted: false,
        registry: Arc::clone(exchange.registry()),
        sending: Grant::default(),
        waiting: None,
        taken: 0,
        newcomer: None,
        _counted: Held::new(&exchange.registry().metrics.http.sse_readers),
    })
}

impl Live for Sse {
    async fn next(&mut self, out: &mut Vec<u8>) -> LiveStep {
        let settings = self.api.settings();
        let left = self.ends_at.saturating_duration_since(Instant::now());
        // The first event comes at once, even if it only says that there is nothing.
        let wait = if self.greeted { left.min(settings.sse_keep_alive) } else { Duration::ZERO };
        let event_bytes_max = settings.sse_event_bytes_max;
        // The event before is sent. A subscriber that waits holds no memory, and one that has news waits for its share.
        (self.newcomer, self.sending) = (None, Grant::default());
        let Ok(event) = self.event(event_bytes_max, wait, left.min(settings.sse_keep_alive)).await else {
            return self.say_nothing(out);
        };
        match event {
            TailEvent::Batch(batch) => self.write_batch(out, &batch),
            TailEvent::TimedOut(state) if !self.greeted => {
                self.write_control(out, state.tail, true, false);
                LiveStep::More
            }
            TailEvent::TimedOut(_) => self.say_nothing(out),
            TailEvent::Ended(_) => LiveStep::End,
            TailEvent::ShuttingDown(_) => {
                self.finish(out);
                LiveStep::End
            }
        }
    }

    fn grant(&mut self) -> Grant {
        std::mem::take(&mut self.sending)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let position = self.tailer.position();
        self.write_control(out, position, false, false);
    }
}

impl Sse {
    /// The next event, and the memory for it set aside; an error when there was no memory in time. Cancel-safe: nothing is
    /// consumed while it waits.
    async fn event(
        &mut self,
        bytes_max: usize,
        wait: Duration,
        patience: Duration,
    ) -> Result<TailEvent, Elapsed> {
        if self.waiting.is_some() {
            return self.event_in_time(patience).await;
        }
        let event = self.tailer.next(bytes_max, wait).await;
        let TailEvent::Batch(batch) = &event else { return Ok(event) };
        let bytes = COPIES_OF_AN_EVENT * batch.wire_bytes();
        // A small event is in the socket before anybody asks for its memory, or takes its share when the socket is full.
        if bytes <= SMALL_ANSWER_BYTES_MAX {
            return Ok(event);
        }
        if let Some(room) = self.registry.admission.event_now(bytes, self.is_proven()) {
            (self.sending, self.newcomer) = (room.grant, room.newcomer);
            return Ok(event);
        }
        self.tailer.go_back(batch.start);
        drop(event);
        let (registry, proven) = (Arc::clone(&self.registry), self.is_proven());
        let room = Box::pin(async move { registry.admission.event_in_time(bytes, proven).await });
        self.waiting = Some(Waiting { room, bytes });
        self.event_in_time(patience).await
    }

    /// The event whose memory it waits for.
    async fn event_in_time(&mut self, patience: Duration) -> Result<TailEvent, Elapsed> {
        let Some(waiting) = &mut self.waiting else { return Ok(self.tailer.next(0, Duration::ZERO).await) };
        let room = timeout(patience, &mut waiting.room).await?;
        let bytes = waiting.bytes;
        (self.sending, self.newcomer, self.waiting) = (room.grant, room.newcomer, None);
        // What was there is there still, perhaps with more behind it.
        Ok(self.tailer.next(bytes / COPIES_OF_AN_EVENT, Duration::ZERO).await)
    }

    /// Whether it has read more than systems keep for programs that do not: then it goes before those of whom that is
    /// not known.
    fn is_proven(&self) -> bool {
        self.taken >= PROOF_BYTES
    }

    /// There is nothing to send, or no memory to send it: the connection is there still, until its time is over.
    fn say_nothing(&self, out: &mut Vec<u8>) -> LiveStep {
        if Instant::now() >= self.ends_at {
            return LiveStep::End;
        }
        out.extend_from_slice(b":\n\n");
        LiveStep::More
    }

    fn write_batch(&mut self, out: &mut Vec<u8>, batch: &ReadBatch) -> LiveStep {
        if !batch.segments.is_empty() {
            write_data(out, self.payload, &batch.segments);
        }
        self.write_control(out, batch.next, batch.up_to_date(), batch.finished());
        self.sending.shrink(out.len());
        // The next event is asked for once this one is sent.
        self.taken = self.taken.saturating_add(out.len() as u64);
        if batch.finished() { LiveStep::End } else { LiveStep::More }
    }

    fn write_control(&mut self, out: &mut Vec<u8>, next: Offset, up_to_date: bool, closed: bool) {
        self.greeted = true;
        // Within one answer cursors stand still or grow.
        self.cursor = self.cursor.max(self.api.cursor(None));
        write_control(out, next, self.cursor, up_to_date, closed);
    }
}

fn write_control(out: &mut Vec<u8>, next: Offset, cursor: u64, up_to_date: bool, closed: bool) {
    out.extend_from_slice(b"event: control\ndata:{\"streamNextOffset\":\"");
    out.extend_from_slice(&next.to_text());
    out.push(b'"');
    if closed {
        out.extend_from_slice(b",\"streamClosed\":true");
    } else {
        out.extend_from_slice(b",\"streamCursor\":\"");
        out.extend_from_slice(itoa::Buffer::new().format(cursor).as_bytes());
        out.push(b'"');
    }
    if up_to_date {
        out.extend_from_slice(b",\"upToDate\":true");
    }
    out.extend_from_slice(b"}\n\n");
}

/// One event of data.
pub fn write_data(out: &mut Vec<u8>, payload: Payload, segments: &[Segment]) {
    out.extend_from_slice(b"event: data\n");
    match payload {
        Payload::Base64 => write_base64(out, segments),
        Payload::Text => {
            let mut lines = Lines::new(out);
            segments.iter().for_each(|segment| lines.push(segment.messages.wire()));
            lines.finish();
        }
        Payload::Json => {
            let mut lines = Lines::new(out);
            lines.push(b"[");
            for (position, segment) in segments.iter().enumerate() {
                if position > 0 {
                    lines.push(b",");
                }
                lines.push(segment.messages.wire());
            }
            lines.push(b"]");
            lines.finish();
        }
    }
    out.push(b'\n');
}

/// One encoding over all segments, in lines.
fn write_base64(out: &mut Vec<u8>, segments: &[Segment]) {
    let whole: Vec<u8> =
        segments.iter().flat_map(|segment| segment.messages.wire().iter().copied()).collect();
    let mut line = String::with_capacity(BASE64_CHUNK_BYTES / 3 * 4);
    for chunk in whole.chunks(BASE64_CHUNK_BYTES) {
        line.clear();
        STANDARD.encode_string(chunk, &mut line);
        out.extend_from_slice(b"data:");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

/// Payload lines. Every CR, LF and CR LF, also one that is torn over two pushes, becomes a line of its own prefix.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    line_open: bool,
    after_cr: bool,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, line_open: false, after_cr: false }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.write(line);
            self.end_line();
            let behind = rest.get(1..).unwrap_or_default();
            if rest.first() == Some(&b'\r') {
                self.after_cr = behind.is_empty();
                bytes = behind.strip_prefix(b"\n").unwrap_or(behind);
            } else {
                bytes = behind;
            }
        }
        if !bytes.is_empty() {
            self.write(bytes);
        }
    }

    fn write(&mut self, part: &[u8]) {
        if !self.line_open {
            self.out.extend_from_slice(b"data:");
            // A reader strips one blank behind the colon; one that belongs to the payload needs another before it.
            if part.first() == Some(&b' ') {
                self.out.push(b' ');
            }
            self.line_open = true;
        }
        self.out.extend_from_slice(part);
    }

    fn end_line(&mut self) {
        self.out.push(b'\n');
        self.line_open = false;
    }

    /// A payload that ends with a line break has one more, empty line.
    fn finish(mut self) {
        if !self.line_open {
            self.write(b"");
        }
        self.end_line();
    }
}

#[cfg(test)]
mod tests;
