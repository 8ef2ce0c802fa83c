//! How a connection ends: with a refusal that the client can still read. Invariant: what a client sends into a connection
//! that ends is bounded in bytes and time, and holds no buffer while it is awaited.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::connection::{Connection, Stop};
use super::problem::Problem;
use super::registry::Membership;
use super::{Body, HeadError, ResponseHead, Service};
use crate::telemetry::Route;

/// Bytes of an unwanted request that are read and thrown away, so that the client sees the answer instead of a reset:
/// common clients write their whole body before they look.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// How long a client may send nothing before it is taken to have noticed that the connection ends.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all of that may take: a body of 4 MiB at 300 KB/s, the answer to which says that it did not happen.
const LINGER_ALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The same while the server closes: shutdown does not wait for clients that forget to hang up.
const LINGER_CLOSING_TIMEOUT: Duration = Duration::from_millis(200);

impl<S: Service> Connection<S> {
    /// Too many hold too much; the head of this request is part of that.
    pub(super) async fn refuse_overload(&mut self) -> Stop {
        let problem = Problem::refused(503, "overloaded", "The server has as much work as it may hold");
        self.refuse(problem.retry_after(1), "too many bytes of request heads are in flight; send it again")
            .await
    }

    /// Answers a request that never reached the service, and ends.
    pub(super) async fn refuse(&mut self, problem: Problem, detail: &str) -> Stop {
        let mut out = ResponseHead::new();
        let body: Body<S::Live> = Body::Full(problem.write(&mut out, detail));
        self.membership.registry.metrics.requests.count(Route::Other, problem.status);
        self.count(&out, 0);
        let head_only = self.buffered().starts_with(b"HEAD ");
        match Box::pin(self.respond_refusal(head_only, out, body)).await {
            Ok(()) => self.linger().await,
            Err(stop) => stop,
        }
    }

    /// Closes our half and reads a little of what still comes: closing at once would reset the connection and could
    /// take the answer with it.
    pub(super) async fn linger(&mut self) -> Stop {
        let started = self.membership.registry.now_millis();
        let arm = |membership: &Membership| match membership.registry.is_closing() {
            true => membership.arm(LINGER_CLOSING_TIMEOUT),
            false => {
                let passed = Duration::from_millis(membership.registry.now_millis().saturating_sub(started));
                membership.arm(LINGER_TIMEOUT.min(LINGER_ALL_TIMEOUT.saturating_sub(passed)));
            }
        };
        arm(&self.membership);
        if self.stream.shutdown().await.is_err() {
            return Stop;
        }
        let mut unwanted = 0;
        while unwanted < LINGER_BYTES_MAX {
            self.consume(usize::MAX);
            match self.wait_readable(false, || false).await {
                Ok(true) => {}
                _ => break,
            }
            match self.fill(false, || false).await {
                Ok(true) => unwanted += self.buffered().len(),
                _ => break,
            }
            arm(&self.membership);
        }
        Stop
    }
}

pub(super) fn head_problem(error: HeadError) -> Problem {
    match error {
        HeadError::Malformed(_) => Problem::refused(400, "malformed_request", "The request is malformed"),
        HeadError::TargetTooLong => {
            Problem::refused(414, "target_too_long", "The request target is too long")
        }
        HeadError::TooLarge | HeadError::TooManyHeaders => {
            Problem::refused(431, "head_too_large", "The request head is too large")
        }
        HeadError::Expectation => {
            Problem::refused(417, "unknown_expectation", "The expectation is not known")
        }
        HeadError::UnknownCoding => {
            Problem::refused(501, "unknown_transfer_coding", "The transfer coding is not known")
        }
        HeadError::Version => Problem::refused(505, "http_version", "The HTTP version is not spoken here"),
    }
}
