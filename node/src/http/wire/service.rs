//! What the engine asks of whoever answers requests, and what it lends them meanwhile.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::listener::leave_little;
use super::registry::Membership;
use super::{Body, Grant, Interrupt, Registry, Request, ResponseHead};

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// An answer without a foreseeable end.
    type Live: Live;

    /// Whether the answer may be long in coming (a long-poll): then the engine keeps less for it meanwhile.
    fn may_wait(&self, request: &Request<'_>) -> bool {
        let _ = request;
        false
    }

    /// Writes status and headers to `out` and returns the body. The engine adds framing, date and common headers.
    fn call<'a>(
        &'a self,
        request: Request<'a>,
        exchange: &'a Exchange<'a>,
        out: &'a mut ResponseHead,
    ) -> impl Future<Output = Body<Self::Live>> + Send + 'a;
}

/// A response body that is written as it comes into being.
pub trait Live: Send + 'static {
    /// Waits for the next piece and appends it to `out`. Dropped and called again when the connection has other
    /// business, so it must be cancel-safe.
    fn next(&mut self, out: &mut Vec<u8>) -> impl Future<Output = LiveStep> + Send;

    /// The memory that was set aside for the piece just written, if any.
    fn grant(&mut self) -> Grant {
        Grant::default()
    }

    /// The server closes: appends what ends the body cleanly.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// What comes behind a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveStep {
    /// Another piece.
    More,
    /// Nothing: the body is complete.
    End,
}

/// The connection, as far as a handler may see it.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) membership: &'a Membership,
}

impl Exchange<'_> {
    /// The server that the connection belongs to.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.membership.registry
    }

    /// From here on the system takes little of an answer that it has not sent: what it takes tells how much is read.
    pub fn leave_little_with_the_system(&self) {
        leave_little(self.stream);
    }

    /// Completes when waiting on behalf of this client has become pointless. For handlers that wait long.
    pub async fn interrupted(&self) -> Interrupt {
        let mut watching = true;
        poll_fn(|cx| {
            if let Poll::Ready(interrupt) = self.membership.poll_interrupt(cx, true) {
                return Poll::Ready(interrupt);
            }
            if watching {
                let mut byte = [0u8; 1];
                match self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Interrupt::PeerGone),
                    // The next request is here already: its client is alive, and has to wait for its turn.
                    Poll::Ready(Ok(_)) => watching = false,
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}
