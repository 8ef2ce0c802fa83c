//! Where the server is at the moment, for clients that outlive it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;

/// Tells clients where the server is, or that it is down.
#[derive(Debug)]
pub struct Target(watch::Sender<Option<SocketAddr>>);

/// A client's view of it.
#[derive(Debug, Clone)]
pub struct TargetWatch {
    address: watch::Receiver<Option<SocketAddr>>,
    /// For how long a stream may be served behind its end.
    late: Duration,
}

impl Target {
    /// A server that serves there.
    #[must_use]
    pub fn new(address: SocketAddr) -> (Self, TargetWatch) {
        let (sender, receiver) = watch::channel(Some(address));
        (Self(sender), TargetWatch { address: receiver, late: Duration::ZERO })
    }

    /// It was stopped.
    pub fn down(&self) {
        self.0.send_replace(None);
    }

    /// It serves again.
    pub fn up(&self, address: SocketAddr) {
        self.0.send_replace(Some(address));
    }
}

impl TargetWatch {
    /// One of several nodes: a stream is served until a leader has written that it ended.
    #[must_use]
    pub fn ending_late(self, late: Duration) -> Self {
        Self { late, ..self }
    }

    /// For how long a stream may be served behind its end.
    #[must_use]
    pub const fn late(&self) -> Duration {
        self.late
    }

    /// Where it is; waits while it is down. `None` when it will not come back.
    pub async fn address(&mut self) -> Option<SocketAddr> {
        *self.address.wait_for(Option::is_some).await.ok()?
    }
}
