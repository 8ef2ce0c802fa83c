//! Reading a request body: size first, then room, then bytes, and no slower than the bound. Invariant: no byte is
//! buffered that was not granted by admission.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::connection::{Connection, Stop};
use super::problem::Problem;
use super::{ChunkDecoder, ChunkError, Framing, Grant, Head, Service};

/// A body of unknown size takes room in steps of this size.
const CHUNKED_GRANT_BYTES: usize = 64 * 1024;

/// A body that has arrived.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) body: Bytes,
    pub(super) grant: Grant,
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
const OVERLOADED: BodyRefusal = BodyRefusal::Problem(
    Problem::refused(503, "overloaded", "The server has as much work as it may hold").retry_after(1),
    "too many request bytes are in flight; send the request again",
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
        let grant = self.membership.registry.admission.request(length).await.ok_or(OVERLOADED)?;
        let buffered = self.buffered().get(head.length..).unwrap_or_default();
        if let Some(body) = buffered.get(..size) {
            let body = Bytes::copy_from_slice(body);
            return Ok(Incoming { body, grant, head_copy: None, occupied: head.length + size });
        }
        let mut body = BytesMut::with_capacity(size);
        body.extend_from_slice(buffered);
        // While the rest is on its way the head keeps what it needs, and the buffer goes to others.
        let head_copy = self.buffered().get(..head.length).map(<[u8]>::to_vec);
        self.consume(head.length + body.len());
        self.release_input();
        Box::pin(self.read_rest(head, &mut body, size)).await?;
        Ok(Incoming { body: body.freeze(), grant, head_copy, occupied: 0 })
    }

    async fn read_rest(&mut self, head: &Head, body: &mut BytesMut, size: usize) -> Result<(), BodyRefusal> {
        if head.expect_continue {
            self.write_continue().await?;
        }
        let started = self.membership.registry.now_millis();
        while body.len() < size {
            self.arm_body(started, body.len());
            let missing = size - body.len();
            match self.read_some(&mut body.limit(missing)).await? {
                Some(_) => {}
                None => return Err(TIMEOUT),
            }
        }
        self.membership.disarm();
        Ok(())
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
        let mut grant = Grant::default();
        let mut body = BytesMut::new();
        let mut received = 0;
        loop {
            let input = self.buffered();
            let progress = decoder.feed(input).map_err(chunk_refusal)?;
            let data = input.get(progress.data).unwrap_or_default();
            let needed = body.len() + data.len();
            if needed > grant.bytes() {
                let step =
                    (needed - grant.bytes()).max(CHUNKED_GRANT_BYTES).min(body_bytes_max - grant.bytes());
                if !self.membership.registry.admission.request_more(&mut grant, step) {
                    return Err(OVERLOADED);
                }
            }
            body.extend_from_slice(data);
            received += progress.consumed;
            self.consume(progress.consumed);
            if progress.done {
                break;
            }
            if self.buffered().is_empty() {
                self.arm_body(started, received);
                if !self.fill(false).await? {
                    return Err(TIMEOUT);
                }
            }
        }
        self.membership.disarm();
        grant.shrink(body.len());
        Ok(Incoming { body: body.freeze(), grant, head_copy, occupied: 0 })
    }

    fn arm_body(&self, started_millis: u64, received: usize) {
        let limits = self.limits();
        let earned = received as u64 * 1000 / limits.bytes_per_second_min.max(1);
        self.membership.arm_from(started_millis, limits.body_timeout + Duration::from_millis(earned));
    }
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
