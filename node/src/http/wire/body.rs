//! Reading a request body: size first, then room, then bytes, and no slower than the bound. A body that has arrived
//! whole with its head takes room once; others as they come (`arriving`). Invariant: no byte of a body is buffered
//! that was not granted by admission.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::arriving::Arriving;
use super::connection::{Connection, Stop, guarded};
use super::problem::Problem;
use super::transfers::CutMark;
use super::{ChunkDecoder, ChunkError, Framing, Grant, Head, Service};

/// A body that has arrived.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) body: Bytes,
    pub(super) grant: Grant,
    /// Room for what the connection keeps of the head, if that is much.
    pub(super) head_grant: Option<Box<Grant>>,
    /// The head, when the read buffer was needed for the body.
    pub(super) head_copy: Option<Vec<u8>>,
    /// What the request occupies in the read buffer.
    pub(super) occupied: usize,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyRefusal {
    /// Tell the client, then close.
    Problem(Problem, &'static str),
    /// Nobody to tell.
    Stop,
}

impl From<Stop> for BodyRefusal {
    fn from(_: Stop) -> Self {
        Self::Stop
    }
}

const TOO_LARGE: BodyRefusal = BodyRefusal::Problem(
    Problem::refused(413, "body_too_large", "The request body is too large"),
    "the body is larger than this server accepts in one request; split it",
);
pub(super) const OVERLOADED: BodyRefusal = BodyRefusal::Problem(
    Problem::refused(503, "overloaded", "The server has as much work as it may hold").retry_after(1),
    "too many request bytes are in flight; send the request again",
);
const OVERTAKEN: BodyRefusal = BodyRefusal::Problem(
    Problem::refused(503, "overloaded", "The server has as much work as it may hold").retry_after(1),
    "memory is short, and this body came more slowly than others; send the request again",
);
const TIMEOUT: BodyRefusal = BodyRefusal::Problem(
    Problem::refused(408, "request_timeout", "The request came too slowly"),
    "the body did not arrive in time",
);

impl<S: Service> Connection<S> {
    pub(super) async fn read_body(&mut self, head: &Head) -> Result<Incoming, BodyRefusal> {
        match head.framing {
            Framing::Length(0) => Ok(Incoming { occupied: head.length, ..Incoming::default() }),
            Framing::Length(length) => self.read_sized(head, length).await,
            Framing::Chunked => Box::pin(self.read_chunked(head)).await,
        }
    }

    async fn read_sized(&mut self, head: &Head, length: u64) -> Result<Incoming, BodyRefusal> {
        let size = match usize::try_from(length) {
            Ok(size) if size <= self.limits().body_bytes_max => size,
            _ => return Err(TOO_LARGE),
        };
        if self.buffered().len() < head.length + size {
            return Box::pin(self.read_arriving(head, size)).await;
        }
        let (grant, _) = self.membership.registry.admission.request(size, size).await.ok_or(OVERLOADED)?;
        let body = self.buffered().get(head.length..head.length + size).unwrap_or_default();
        let body = Bytes::copy_from_slice(body);
        Ok(Incoming { body, grant, occupied: head.length + size, ..Incoming::default() })
    }

    async fn read_arriving(&mut self, head: &Head, size: usize) -> Result<Incoming, BodyRefusal> {
        let mut body = Arriving::new(&self.membership, Some(size), size);
        let beginning = self.buffered().get(head.length..).unwrap_or_default();
        if !body.make_room(beginning.len().max(1)).await {
            return Err(OVERLOADED);
        }
        body.push(beginning);
        // While the rest is on its way the head keeps what it needs, and the buffer goes to others.
        let head_copy = self.buffered().get(..head.length).map(<[u8]>::to_vec);
        self.consume(head.length + body.len());
        self.release_input();
        if head.expect_continue {
            self.write_continue().await?;
        }
        let started = self.membership.registry.now_millis();
        while body.len() < size {
            if !body.make_room(1).await {
                return Err(no_room(&body));
            }
            self.arm_body(started, body.len(), &body);
            let Self { stream, membership, .. } = self;
            let cut = body.cut();
            let read = guarded(membership, stream.read_buf(&mut body.room()), || {
                cut.as_ref().is_some_and(CutMark::is_cut)
            })
            .await;
            body.note();
            match read {
                _ if body.is_cut() => return Err(OVERTAKEN),
                Some(Ok(read)) if read > 0 => {}
                Some(_) => return Err(BodyRefusal::Stop),
                None => return Err(TIMEOUT),
            }
        }
        self.membership.disarm();
        let (body, grant) = body.finish();
        Ok(Incoming { body, grant, head_copy, ..Incoming::default() })
    }

    async fn read_chunked(&mut self, head: &Head) -> Result<Incoming, BodyRefusal> {
        let head_copy = self.buffered().get(..head.length).map(<[u8]>::to_vec);
        self.consume(head.length);
        if head.expect_continue && self.buffered().is_empty() {
            self.write_continue().await?;
        }
        let started = self.membership.registry.now_millis();
        let body_bytes_max = self.limits().body_bytes_max;
        let mut decoder = ChunkDecoder::new(body_bytes_max);
        let mut body = Arriving::new(&self.membership, None, body_bytes_max);
        let mut received = 0;
        loop {
            let progress = decoder.feed(self.buffered()).map_err(chunk_refusal)?;
            if !body.make_room(progress.data.len()).await {
                return Err(no_room(&body));
            }
            body.push(self.buffered().get(progress.data).unwrap_or_default());
            received += progress.consumed;
            self.consume(progress.consumed);
            if progress.done {
                break;
            }
            if self.buffered().is_empty() {
                body.note();
                self.arm_body(started, received, &body);
                match self.wait_readable(false, || body.is_cut()).await? {
                    true => {}
                    false if body.is_cut() => return Err(OVERTAKEN),
                    false => return Err(TIMEOUT),
                }
                match self.fill(false, || body.is_cut()).await? {
                    true => {}
                    false if body.is_cut() => return Err(OVERTAKEN),
                    false => return Err(TIMEOUT),
                }
            }
        }
        self.membership.disarm();
        let (body, grant) = body.finish();
        Ok(Incoming { body, grant, head_copy, ..Incoming::default() })
    }

    fn arm_body(&self, started_millis: u64, received: usize, body: &Arriving) {
        let limits = self.limits();
        let earned = received as u64 * 1000 / limits.bytes_per_second_min.max(1);
        let allowed = limits.body_timeout + Duration::from_millis(earned) + body.waited();
        self.membership.arm_from(started_millis, allowed);
    }
}

fn no_room(body: &Arriving) -> BodyRefusal {
    if body.is_cut() { OVERTAKEN } else { OVERLOADED }
}

fn chunk_refusal(error: ChunkError) -> BodyRefusal {
    const MALFORMED: Problem = Problem::refused(400, "malformed_request", "The request is malformed");
    match error {
        ChunkError::TooLarge => TOO_LARGE,
        ChunkError::Malformed => BodyRefusal::Problem(MALFORMED, "the chunked body is malformed"),
        ChunkError::Overhead => {
            BodyRefusal::Problem(MALFORMED, "the chunk extensions or trailers are too large")
        }
    }
}
