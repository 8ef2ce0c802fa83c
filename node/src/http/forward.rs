//! Requests that another node has to answer: sent to it over connections that are kept for the next ones, its answer passed
//! on.
//!
//! Invariant: a request is not sent again while it may have been done. Until its first byte was written to the leader nothing has
//! happened, and it may be tried again; behind that only the leader's own answer says what became of it, and without one nobody
//! knows. An answer that says that the node does not lead, and so has done nothing, is as good as a byte that never left.

mod answer;
mod message;
mod pool;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::wire::{Admission, Body, ResponseHead};
use answer::{Answered, Broken, Undone, exchange};
pub(super) use message::{ANSWERED, Message, STARTING, UNDONE, Wishes, target};
use pool::Pool;

/// Bounds and times of forwarding.
#[derive(Debug, Clone)]
pub struct ForwardLimits {
    /// How long a request waits for a leader that can be reached: several times what an election takes.
    pub hold: Duration,
    /// Nodes are near each other: a leader that takes longer to accept a connection is as good as gone.
    pub connect_timeout: Duration,
    /// From the first byte of the request to the last of the answer: longer than an election and the sync of a slow disk, shorter than
    /// most clients wait. Whatever lies between two nodes may take a request and lose it.
    pub answer_timeout: Duration,
    /// Shorter than a node keeps an idle connection, so that this side ends it.
    pub idle_timeout: Duration,
    /// Connections to one leader: each carries a request at a time.
    pub connections_max: usize,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            connections_max: 256,
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The leader cannot be reached; nothing was written to it.
    Unsent,
    /// It has answered that it does not lead, or is not the one that was meant: nothing was done.
    Undone,
    /// It has answered that it is starting: nothing was done.
    Starting,
    /// As many requests are under way to it as may be; nothing was written.
    Crowded,
    /// It was written, in part at least: it may or may not have happened.
    Lost,
}

/// Sends requests to leaders.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) limits: ForwardLimits,
    pool: Arc<Pool>,
}

impl Forwarder {
    pub(super) fn new(limits: ForwardLimits) -> Self {
        let pool = Pool::new(limits.connections_max, limits.idle_timeout);
        Self { limits, pool: Arc::new(pool) }
    }

    /// Sends a request to a leader and writes its answer; gives up at `deadline` while nothing was sent, and once it was when
    /// `replaced` says that this leader is none any more.
    pub(super) async fn forward<L>(
        &self,
        leader: &str,
        message: &Message,
        (deadline, replaced): (Instant, impl Future<Output = ()>),
        admission: &Admission,
        out: &mut ResponseHead,
    ) -> Result<Body<L>, Unanswered> {
        let place = self.pool.enter(leader, deadline).await.ok_or(Unanswered::Crowded)?;
        let kept = place.kept();
        let may_be_stale = kept.is_some();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect(leader, deadline).await?,
        };
        let mut replaced = pin!(replaced);
        let mut outcome = self.send(&mut stream, message, replaced.as_mut(), admission, out).await;
        if may_be_stale && matches!(outcome, Err(Unanswered::Unsent)) {
            stream = self.connect(leader, deadline).await?;
            outcome = self.send(&mut stream, message, replaced, admission, out).await;
        }
        let Answered { body, reusable, undone } = outcome?;
        if reusable {
            place.keep(stream);
        }
        match undone {
            None => Ok(body),
            Some(Undone::NotLeading) => Err(Unanswered::Undone),
            Some(Undone::Starting) => Err(Unanswered::Starting),
        }
    }

    async fn connect(&self, leader: &str, deadline: Instant) -> Result<TcpStream, Unanswered> {
        let patience = self.limits.connect_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let connected = async {
            let stream = TcpStream::connect(leader).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        timeout(patience, connected).await.unwrap_or_else(|late| Err(late.into())).map_err(|error| {
            tracing::debug!(leader, %error, "leader not reached");
            Unanswered::Unsent
        })
    }

    async fn send<L>(
        &self,
        stream: &mut TcpStream,
        message: &Message,
        replaced: impl Future<Output = ()>,
        admission: &Admission,
        out: &mut ResponseHead,
    ) -> Result<Answered<L>, Unanswered> {
        let answered = tokio::select! {
            biased;
            answered = timeout(self.limits.answer_timeout, exchange(stream, message, admission, out)) => answered,
            () = replaced => Ok(Err(Broken::Replaced)),
        };
        let broken = match answered {
            Ok(Ok(answered)) => return Ok(answered),
            Ok(Err(broken)) => broken,
            Err(_) => Broken::Late,
        };
        tracing::debug!(%broken, "no answer from the leader");
        Err(if matches!(broken, Broken::Unwritten(_)) { Unanswered::Unsent } else { Unanswered::Lost })
    }
}
