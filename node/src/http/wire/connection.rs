//! One connection: head, body, call, answer, again. Requests are answered in the order in which they came, one at a
//! time. Invariant: every wait for the peer has a deadline, and a connection in doubt is closed, never resynchronised.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::{BodyRefusal, Incoming};
use super::ending::head_problem;
use super::problem::Problem;
use super::registry::Membership;
use super::transfers::Entered;
use super::{
    Body, Exchange, Grant, Head, Interrupt, Limits, Method, Parsed, Request, ResponseHead, Service, buffers,
    parse_head,
};

/// Attempts to parse a head that comes in tiny pieces; behind that only a line end is worth another.
const EAGER_PARSES_MAX: u32 = 16;
/// Smallest buffer for the beginning of a head.
const HEAD_ROOM_BYTES_MIN: usize = 512;
/// What a connection may keep of a head, or of the next request, while it waits. More takes permits.
const KEPT_BYTES_MAX: usize = 2 * 1024;
/// With more connections than this, requests under way give up their read buffers: 16 MiB of them are enough.
const BUFFERED_CONNECTIONS_MAX: i64 = 1024;

/// The connection is over and there is nobody to tell.
#[derive(Debug)]
pub(super) struct Stop;

pub(super) struct Connection<S> {
    pub(super) stream: TcpStream,
    pub(super) service: Arc<S>,
    pub(super) membership: Membership,
    input: Vec<u8>,
    start: usize,
    end: usize,
}

impl<S: Service> Connection<S> {
    pub(super) fn new(stream: TcpStream, service: Arc<S>, membership: Membership) -> Self {
        Self { stream, service, membership, input: Vec::new(), start: 0, end: 0 }
    }

    /// Serves requests until either side has had enough.
    pub(super) async fn run(mut self) {
        while let Ok(head) = self.next_head().await {
            if self.exchange(&head).await.is_err() {
                break;
            }
        }
        self.release_input();
    }

    /// Gives the read buffer back when nothing in it is needed.
    pub(super) fn release_input(&mut self) {
        if self.start == self.end {
            let input = std::mem::take(&mut self.input);
            if input.len() == self.limits().input_bytes() {
                buffers::give_input(input);
            }
            self.start = 0;
            self.end = 0;
        }
    }

    /// The beginning of a head moves into a buffer of its size: whoever sends the rest late, or never, holds no more.
    fn tighten_input(&mut self) {
        let input_bytes = self.limits().input_bytes();
        let room = self.buffered().len().saturating_mul(2).max(HEAD_ROOM_BYTES_MIN);
        if self.input.len() < input_bytes || room >= input_bytes / 2 || self.buffered().is_empty() {
            return;
        }
        let mut tight = self.buffered().to_vec();
        let length = tight.len();
        tight.resize(room, 0);
        self.start = self.end;
        self.release_input();
        self.input = tight;
        self.end = length;
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.membership.registry.limits
    }

    /// What was read and not yet used.
    pub(super) fn buffered(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    async fn next_head(&mut self) -> Result<Head, Stop> {
        self.membership.arm(self.limits().idle_timeout);
        let mut attempts = 0;
        let mut parsed_bytes = 0;
        let mut held: Option<Box<(Grant, Entered)>> = None;
        loop {
            let buffered = self.buffered();
            if buffered.is_empty() {
                if !self.wait_readable(true, || false).await? {
                    return Err(Stop);
                }
            } else if attempts < EAGER_PARSES_MAX
                || memchr::memchr(b'\n', buffered.get(parsed_bytes..).unwrap_or_default()).is_some()
                || buffered.len() >= self.limits().input_bytes()
            {
                parsed_bytes = buffered.len();
                match parse_head(buffered, self.limits()) {
                    Ok(Parsed::Complete(head)) => {
                        self.membership.disarm();
                        return Ok(head);
                    }
                    Ok(Parsed::Partial) if attempts == 0 => {
                        self.membership.arm(self.limits().head_timeout);
                        self.tighten_input();
                    }
                    Ok(Parsed::Partial) => {}
                    Err(error) => return Err(self.refuse(head_problem(error), &error.to_string()).await),
                }
                attempts += 1;
            }
            if held.is_none() && self.input.len() > KEPT_BYTES_MAX && !self.buffered().is_empty() {
                match self.hold_head() {
                    Some(room) => held = Some(room),
                    None => return Err(Box::pin(self.refuse_overload()).await),
                }
            }
            let is_cut = || held.as_ref().is_some_and(|held| held.1.is_cut());
            if !self.fill(true, is_cut).await? {
                return Err(if is_cut() {
                    Box::pin(self.refuse_overload()).await
                } else {
                    self.head_timed_out().await
                });
            }
        }
    }

    /// Room for a head of which a large part is here, while the rest is on its way.
    fn hold_head(&self) -> Option<Box<(Grant, Entered)>> {
        let Membership { registry, watch, .. } = &self.membership;
        let bytes = registry.limits.input_bytes();
        let grant = registry.admission.head(bytes)?;
        Some(Box::new((grant, registry.admission.enter_head(watch, bytes))))
    }

    async fn head_timed_out(&mut self) -> Stop {
        if self.buffered().is_empty() || self.membership.registry.is_closing() {
            return Stop;
        }
        let problem = Problem::refused(408, "request_timeout", "The request came too slowly");
        self.refuse(problem, "the request head did not arrive in time").await
    }

    /// Waits for the peer without a buffer; false when the deadline has passed, `ended` says so or (with `closing`) the
    /// server closes.
    pub(super) async fn wait_readable(
        &mut self,
        closing: bool,
        ended: impl Fn() -> bool,
    ) -> Result<bool, Stop> {
        self.release_input();
        let Self { stream, membership, .. } = self;
        poll_fn(|cx| match stream.poll_read_ready(cx) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| true).map_err(|_| Stop)),
            Poll::Pending => match membership.poll_interrupt(cx, closing) {
                Poll::Pending if !ended() => Poll::Pending,
                _ => Poll::Ready(Ok(false)),
            },
        })
        .await
    }

    /// Reads more into the buffer; false as in [`Self::wait_readable`].
    pub(super) async fn fill(&mut self, closing: bool, ended: impl Fn() -> bool) -> Result<bool, Stop> {
        let input_bytes = self.limits().input_bytes();
        if self.start == self.end && self.input.len() != input_bytes {
            self.release_input();
            self.input = buffers::take_input(input_bytes);
        }
        if self.start > 0 && self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() && self.end < input_bytes {
            self.input.resize((self.end * 2).min(input_bytes), 0);
        }
        let Self { stream, input, end, membership, .. } = self;
        let mut buffer = ReadBuf::new(input.get_mut(*end..).unwrap_or_default());
        let outcome = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => match membership.poll_interrupt(cx, closing) {
                Poll::Pending if !ended() => Poll::Pending,
                _ => Poll::Ready(None),
            },
        })
        .await;
        let read = buffer.filled().len();
        match outcome {
            Some(Ok(())) if read > 0 => {
                *end += read;
                Ok(true)
            }
            Some(_) => Err(Stop),
            None => Ok(false),
        }
    }

    pub(super) async fn write_continue(&mut self) -> Result<(), Stop> {
        self.membership.arm(self.limits().write_timeout);
        let Self { stream, membership, .. } = self;
        match guarded(membership, stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"), || false).await {
            Some(Ok(())) => Ok(()),
            _ => Err(Stop),
        }
    }

    async fn exchange(&mut self, head: &Head) -> Result<(), Stop> {
        let mut incoming = match self.read_body(head).await {
            Ok(incoming) => incoming,
            Err(BodyRefusal::Stop) => return Err(Stop),
            Err(BodyRefusal::Problem(problem, detail)) => return Err(self.refuse(problem, detail).await),
        };
        if !self.settle(head, &mut incoming) {
            return Err(Box::pin(self.refuse_overload()).await);
        }
        let mut out = ResponseHead::new();
        let bytes = match &incoming.head_copy {
            Some(copy) => copy.as_slice(),
            None => self.buffered().get(..head.length).unwrap_or_default(),
        };
        let exchange = Exchange { stream: &self.stream, membership: &self.membership };
        let request = Request { head, bytes, body: incoming.body };
        let started = Instant::now();
        let received = request.body.len() as u64;
        let body = self.service.call(request, &exchange, &mut out).await;
        drop((incoming.grant, incoming.head_grant));
        self.count(&out, received);
        self.consume(incoming.occupied);
        self.release_input();
        let keep_alive = head.keep_alive && !self.membership.registry.is_closing();
        let timed = !out.waited() && !matches!(body, Body::Live(_));
        self.respond(head, out, body, keep_alive).await?;
        if timed {
            self.membership.registry.metrics.http.request_time.observe(started.elapsed());
        }
        if keep_alive { Ok(()) } else { Err(self.linger().await) }
    }

    /// A request that may wait for long keeps its head only, not the buffer that it came in; so does every request when
    /// there are many connections. False when that is more than there is room for.
    fn settle(&mut self, head: &Head, incoming: &mut Incoming) -> bool {
        if incoming.head_copy.is_none() {
            let bytes = self.buffered().get(..head.length).unwrap_or_default();
            let registry = &self.membership.registry;
            if registry.metrics.http.connections.get() <= BUFFERED_CONNECTIONS_MAX
                && !self.service.may_wait(&Request { head, bytes, body: Bytes::new() })
            {
                return true;
            }
            incoming.head_copy = Some(bytes.to_vec());
            self.consume(std::mem::take(&mut incoming.occupied));
        }
        self.release_input();
        self.tighten_input();
        let kept = incoming.head_copy.as_ref().map_or(0, Vec::len) + self.input.len();
        if kept > KEPT_BYTES_MAX {
            let Some(grant) = self.membership.registry.admission.head(kept) else { return false };
            incoming.head_grant = Some(Box::new(grant));
        }
        true
    }

    pub(super) fn count(&self, out: &ResponseHead, received: u64) {
        let metrics = &self.membership.registry.metrics;
        if received > 0 {
            metrics.http.received.inc_by(received);
        }
        if let Some(code) = out.refusal() {
            metrics.refused(code);
        }
    }
}

/// Polls `future` until it is ready, or the deadline has passed or `ended` says so (`None`).
pub(super) async fn guarded<T>(
    membership: &Membership,
    future: impl Future<Output = io::Result<T>>,
    ended: impl Fn() -> bool,
) -> Option<io::Result<T>> {
    let mut future = pin!(future);
    poll_fn(|cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => match membership.poll_interrupt(cx, false) {
            Poll::Ready(Interrupt::Expired | Interrupt::Closing | Interrupt::PeerGone) => Poll::Ready(None),
            Poll::Pending if ended() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        },
    })
    .await
}

/// Whether an answer to this request has no body.
pub(super) fn is_head_only(head: &Head) -> bool {
    head.method == Method::Head
}

/// What a connection's task keeps while it idles, without the service's own boxes.
#[cfg(test)]
pub(crate) fn task_bytes<S: Service>() -> usize {
    fn of<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }
    of(Connection::<S>::run)
}
