//! A proxy between two programs on this machine that does to connections what networks do: slows them, holds them up, cuts
//! them amid a frame, leaves them half open, lets them overtake each other.
//!
//! What it cannot do, because TCP does not either: reorder, double or drop bytes within a connection that goes on. Bytes
//! that are swallowed are therefore followed by a reset. What can overtake or come twice is a whole connection.
//! Invariant: bytes come out in the order in which they came in, or not at all.

mod line;
mod link;
mod rules;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use rules::{Accept, Flow, Line, Rules};

use self::link::Link;
use crate::dice::Dice;

/// Bytes of a connection's beginning that are kept to be sent again.
const KEPT_BYTES: usize = 256 << 10;

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    rules: watch::Sender<Rules>,
    /// Sent whenever all connections are to end.
    resets: watch::Sender<()>,
    kept: Kept,
    _tasks: JoinSet<()>,
}

/// The beginning of the last connection, as its opener sent it.
type Kept = Arc<Mutex<Bytes>>;

impl Proxy {
    /// A proxy to `target` on a port of its own, that does no harm yet.
    pub async fn to(target: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let ((rules, seen), (resets, ends)) = (watch::channel(Rules::default()), watch::channel(()));
        let kept = Kept::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, (seen, ends), kept.clone(), Dice::new(seed)));
        Ok(Self { address, target, rules, resets, kept, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for new and old connections.
    pub fn set(&self, rules: Rules) {
        self.rules.send_replace(rules);
    }

    /// Changes some of the rules.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.rules.send_modify(change);
    }

    /// Nothing goes through in either direction, and nobody is told: what is sent meanwhile arrives afterwards.
    pub fn block(&self) {
        self.change(|rules| (rules.there.line, rules.back.line) = (Line::Stopped, Line::Stopped));
    }

    /// No harm any more. Connections that stood still go on.
    pub fn heal(&self) {
        self.set(Rules::default());
    }

    /// All connections end at once with a reset, whatever is under way in them: amid a frame, if there is one.
    pub fn reset(&self) {
        self.resets.send_replace(());
    }

    /// Sends what the last connection began with once more, on a connection of its own, as if it came late.
    pub async fn replay(&self) -> anyhow::Result<usize> {
        let bytes = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = TcpStream::connect(self.target).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        // Whatever is answered goes to nobody; it is read so that the other end can send it.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        Ok(bytes.len())
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    (rules, mut ends): (watch::Receiver<Rules>, watch::Receiver<()>),
    kept: Kept,
    mut dice: Dice,
) {
    let mut links = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while links.try_join_next().is_some() {}
        // Of resets, only later ones are meant for it.
        ends.mark_unchanged();
        let (rules, resets, kept, seed) = (rules.clone(), ends.clone(), kept.clone(), dice.draw());
        let hold = hold(rules.borrow().hold, &mut dice);
        links.spawn(async move {
            // A connection that is held longer is overtaken by those that come after it.
            sleep(hold).await;
            Link { stream, target, rules, resets, kept, seed }.run().await;
        });
    }
}

fn hold(longest: Duration, dice: &mut Dice) -> Duration {
    Duration::from_micros(dice.below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
