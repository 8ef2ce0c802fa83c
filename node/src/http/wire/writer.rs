//! Writing answers: head and body in one system call where they fit, live bodies chunk by chunk. Invariant: a client
//! that does not read is dropped, early if others want the memory, and what is written is either a whole answer or cut off
//! by the end of the connection.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Connection, Stop, is_head_only};
use super::registry::Membership;
use super::response::Delimiter;
use super::{Body, Exchange, Grant, Head, Interrupt, Live, LiveStep, ResponseHead, Service, buffers, bulk};

/// Bodies up to this size are copied behind the head: one short copy is cheaper than a vector of slices.
const JOINED_BYTES_MAX: usize = 4 * 1024;
/// Slices per system call; Linux takes 1024.
const SLICES_MAX: usize = 64;
/// Room for the size line of a live chunk: eight hexadecimal digits, CR LF.
const SIZE_LINE: &[u8; 10] = b"00000000\r\n";

impl<S: Service> Connection<S> {
    pub(super) async fn respond(
        &mut self,
        head: &Head,
        mut out: ResponseHead,
        body: Body<S::Live>,
        keep_alive: bool,
    ) -> Result<(), Stop> {
        let connection = match (keep_alive, head.http_10) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        let date = self.membership.registry.date.text();
        let bodiless = is_head_only(head) || matches!(out.status(), 204 | 304);
        match body {
            Body::Absent => {
                out.end(Delimiter::None, connection, &date, self.common());
                self.write(out.into_bytes(), &[], Grant::default()).await
            }
            Body::Full(bytes) => {
                let delimiter = length_of(out.status(), bytes.len());
                out.end(delimiter, connection, &date, self.common());
                let parts = if bodiless { &[][..] } else { std::slice::from_ref(&bytes) };
                self.write(out.into_bytes(), parts, Grant::default()).await
            }
            Body::Parts { parts, grant } => {
                let delimiter = length_of(out.status(), parts.iter().map(Bytes::len).sum());
                out.end(delimiter, connection, &date, self.common());
                let sent = if bodiless { &[][..] } else { parts.as_slice() };
                self.write(out.into_bytes(), sent, grant).await
            }
            Body::Live(live) => {
                let chunked = !head.http_10;
                let delimiter = if chunked { Delimiter::Chunked } else { Delimiter::Close };
                let connection = if chunked { connection } else { Some("close") };
                out.end(delimiter, connection, &date, self.common());
                self.write(out.into_bytes(), &[], Grant::default()).await?;
                Box::pin(self.write_live(live, chunked)).await?;
                if chunked { Ok(()) } else { Err(Stop) }
            }
        }
    }

    /// The lines on every response.
    fn common(&self) -> &[u8] {
        &self.membership.registry.limits.common_headers
    }

    pub(super) async fn respond_refusal(
        &mut self,
        head_only: bool,
        mut out: ResponseHead,
        body: Body<S::Live>,
    ) -> Result<(), Stop> {
        let Body::Full(bytes) = body else { return Err(Stop) };
        let date = self.membership.registry.date.text();
        out.end(Delimiter::Length(bytes.len() as u64), Some("close"), &date, self.common());
        let parts = if head_only { &[][..] } else { std::slice::from_ref(&bytes) };
        self.write(out.into_bytes(), parts, Grant::default()).await
    }

    /// Writes `head` and `parts`, and gives the head's buffer back, and `grant` when all is sent.
    async fn write(&mut self, mut head: Vec<u8>, parts: &[Bytes], grant: Grant) -> Result<(), Stop> {
        let length: usize = parts.iter().map(Bytes::len).sum();
        if length > 0 {
            self.membership.registry.metrics.http.sent.inc_by(length as u64);
        }
        let written = if length <= JOINED_BYTES_MAX {
            for part in parts {
                head.extend_from_slice(part);
            }
            self.write_slices(&head, &[], grant).await
        } else {
            self.write_slices(&head, parts, grant).await
        };
        buffers::give_output(head);
        written
    }

    async fn write_slices(&mut self, head: &[u8], parts: &[Bytes], grant: Grant) -> Result<(), Stop> {
        let mut message = Message { head, parts, written: 0 };
        let stream = &mut self.stream;
        if poll_fn(|cx| Poll::Ready(message.push(stream, cx))).await? {
            return Ok(());
        }
        Box::pin(self.write_slowly(message, grant)).await
    }

    /// The socket is full: what is left is held on this client's account, and it has a deadline. The usual answer costs
    /// neither, and no clock.
    async fn write_slowly(&mut self, mut message: Message<'_>, mut grant: Grant) -> Result<(), Stop> {
        let Self { stream, membership, .. } = self;
        let Membership { registry, watch, .. } = &*membership;
        let (total, started) = (message.total(), registry.now_millis());
        let first = message.written;
        let stuck = registry.admission.stuck(&mut grant, watch, total - first).ok_or(Stop)?;
        poll_fn(|cx| {
            let before = message.written;
            if message.push(stream, cx)? {
                return Poll::Ready(Ok(()));
            }
            if message.written > before {
                stuck.moved(Instant::now(), message.written - first, total - message.written);
            }
            let limits = &registry.limits;
            let earned = message.written as u64 * 1000 / limits.bytes_per_second_min.max(1);
            membership.arm_from(started, limits.write_timeout + Duration::from_millis(earned));
            match membership.poll_interrupt(cx, false) {
                Poll::Pending if !stuck.is_cut() => Poll::Pending,
                _ => Poll::Ready(Err(Stop)),
            }
        })
        .await?;
        membership.disarm();
        Ok(())
    }

    async fn write_live(&mut self, mut live: S::Live, chunked: bool) -> Result<(), Stop> {
        loop {
            let mut out = Vec::new();
            let step = self.next_piece(&mut live, &mut out).await?;
            if !out.is_empty() {
                self.write_piece(out, chunked, step, live.grant()).await?;
            } else if step == LiveStep::End && chunked {
                self.write_slices(b"0\r\n\r\n", &[], Grant::default()).await?;
            }
            if step == LiveStep::End {
                return Ok(());
            }
        }
    }

    async fn next_piece(&mut self, live: &mut S::Live, out: &mut Vec<u8>) -> Result<LiveStep, Stop> {
        let exchange = Exchange { stream: &self.stream, membership: &self.membership };
        let interrupt = {
            let mut next = pin!(live.next(out));
            let mut interrupted = pin!(exchange.interrupted());
            poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(step) => Poll::Ready(Ok(step)),
                Poll::Pending => interrupted.as_mut().poll(cx).map(Err),
            })
            .await
        };
        match interrupt {
            Ok(step) => Ok(step),
            Err(Interrupt::Closing) => {
                out.clear();
                live.finish(out);
                Ok(LiveStep::End)
            }
            Err(Interrupt::PeerGone | Interrupt::Expired) => Err(Stop),
        }
    }

    async fn write_piece(
        &mut self,
        piece: Vec<u8>,
        chunked: bool,
        step: LiveStep,
        grant: Grant,
    ) -> Result<(), Stop> {
        self.membership.registry.metrics.http.sent.inc_by(piece.len() as u64);
        if !chunked {
            return self.write_slices(&piece, &[], grant).await;
        }
        let end: &[u8] = if step == LiveStep::End { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        let mut framed = buffers::take_output();
        framed.extend_from_slice(SIZE_LINE);
        write_hex(&mut framed, piece.len());
        let written = if piece.len() <= JOINED_BYTES_MAX {
            framed.extend_from_slice(&piece);
            framed.extend_from_slice(end);
            self.write_slices(&framed, &[], grant).await
        } else {
            self.write_slices(&framed, &[Bytes::from(piece), Bytes::from_static(end)], grant).await
        };
        buffers::give_output(framed);
        written
    }
}

/// What is being sent, and how much of it the socket has taken.
struct Message<'a> {
    head: &'a [u8],
    parts: &'a [Bytes],
    written: usize,
}

impl Message<'_> {
    fn total(&self) -> usize {
        self.head.len() + self.parts.iter().map(Bytes::len).sum::<usize>()
    }

    /// Gives the socket what it takes; true when it took everything, false when it will wake us for more.
    fn push(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Result<bool, Stop> {
        let total = self.total();
        while self.written < total {
            let result = if self.parts.is_empty() {
                Pin::new(&mut *stream).poll_write(cx, self.head.get(self.written..).unwrap_or_default())
            } else {
                let (slices, count) = gather(self.head, self.parts, self.written);
                let slices = slices.get(..count).unwrap_or_default();
                bulk::write(total - self.written, || Pin::new(&mut *stream).poll_write_vectored(cx, slices))
            };
            match result {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Stop),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn length_of(status: u16, length: usize) -> Delimiter {
    if matches!(status, 204 | 304) { Delimiter::None } else { Delimiter::Length(length as u64) }
}

/// The unwritten rest as slices, as many as one system call takes.
fn gather<'a>(head: &'a [u8], parts: &'a [Bytes], written: usize) -> ([IoSlice<'a>; SLICES_MAX], usize) {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    let mut skip = written;
    for part in std::iter::once(head).chain(parts.iter().map(AsRef::as_ref)) {
        let rest = part.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(part.len());
        if rest.is_empty() {
            continue;
        }
        let Some(slot) = slices.get_mut(count) else { break };
        *slot = IoSlice::new(rest);
        count += 1;
    }
    (slices, count)
}

/// Writes `value` over the eight zeros at the start of `framed`.
fn write_hex(framed: &mut [u8], mut value: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in framed.iter_mut().take(8).rev() {
        *digit = DIGITS[value & 15];
        value >>= 4;
    }
}
