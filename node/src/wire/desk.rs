//! What all threads of the links share: the node, the bounds, who is wanted, what was counted and told.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::Host;
use super::accounts::{Accounts, Direction};
use super::complaints::Complaints;
use super::handshake::{Handshake, Shaken, Unshaken};
use super::line::{Ended, Line};
use super::options::LinkOptions;
use super::registry::Registry;

/// A peer whose machine vanished is noticed in about nine seconds, even when nothing is to be said to it.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(1), 4);

/// What the links are told to do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Wish {
    /// End.
    pub(super) stop: bool,
    /// Counts the calls to look anew.
    pub(super) looks: u64,
}

/// What all threads of the links share.
pub(super) struct Desk {
    pub(super) host: Arc<dyn Host>,
    pub(super) options: Arc<LinkOptions>,
    pub(super) accounts: Accounts,
    pub(super) registry: Registry,
    complaints: Complaints,
    connections: AtomicU64,
    wish: Mutex<Wish>,
    wished: Condvar,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new(host: Arc<dyn Host>, options: LinkOptions) -> Self {
        Self {
            host,
            options: Arc::new(options),
            accounts: Accounts::default(),
            registry: Registry::default(),
            complaints: Complaints::default(),
            connections: AtomicU64::new(1),
            wish: Mutex::default(),
            wished: Condvar::new(),
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wished now.
    pub(super) fn wish(&self) -> Wish {
        *self.wishes()
    }

    /// Wishes something else, and wakes everybody who waits.
    pub(super) fn wish_for(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wishes());
        self.wished.notify_all();
    }

    /// Waits for a time, or until something else is wished than was `seen`.
    pub(super) fn pause(&self, seen: Wish, at_most: Duration) {
        let same = |wish: &mut Wish| !wish.stop && wish.looks == seen.looks;
        // Whatever the outcome, the caller looks again.
        drop(self.wished.wait_timeout_while(self.wishes(), at_most, same));
    }

    /// A number for a connection of this start, never given twice.
    pub(super) fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a socket ready: small messages go at once, and nothing waits for ever.
    pub(super) fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(self.options.write_timeout))?;
        let (idle, every, times) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(every).with_retries(times);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    /// A handshake on a socket.
    pub(super) fn handshake<'a>(&'a self, stream: &'a TcpStream, number: u64) -> Handshake<'a> {
        let time = (&*self.options.clock, self.options.handshake_timeout);
        Handshake::new(stream, time, &self.host, (self.options.shards, number))
    }

    /// The connection on which hands were shaken.
    pub(super) fn line(&self, shaken: &Shaken, stream: TcpStream, direction: Direction) -> Arc<Line> {
        let account = self.accounts.of(shaken.peer.id, direction);
        Arc::new(Line::new(shaken, stream, account, self.options.outbox_bytes))
    }

    /// A connection counts from now on.
    pub(super) fn began(&self, line: &Arc<Line>, direction: Direction) {
        line.account.set_line(Some(line));
        // Whoever stops or looks closes what it finds in the accounts: it may have looked just before.
        if self.wish().stop {
            line.close(Ended::Stopped);
        } else if !self.is_wanted(line) {
            line.close(Ended::Left);
        }
        tracing::debug!(peer = line.peer.id.0, ?direction, "linked with a peer");
    }

    /// A connection is over, and its threads are done.
    pub(super) fn ended(&self, line: &Line, direction: Direction) {
        line.account.set_line(None);
        let why = line.why().map(ToString::to_string).unwrap_or_default();
        if !self.wish().stop && self.is_due(&line.peer.id.to_string(), &why) {
            tracing::info!(peer = line.peer.id.0, ?direction, why, "the link with a peer ended");
        }
    }

    /// Whether whoever is at the other end is still the member that it was.
    pub(super) fn is_wanted(&self, line: &Line) -> bool {
        let roster = self.host.roster();
        let member = roster.members.get(&line.peer.id);
        let fits = |known| known == line.peer.incarnation;
        member.is_some_and(|member| member.incarnation.is_none_or(fits)) && self.host.is_current(line.peer)
    }

    /// Tells that a peer could not be dialled or was not let in: mistakes of configuration aloud, the rest quietly.
    pub(super) fn complain(&self, who: &str, error: &Unshaken) {
        if self.wish().stop || !self.is_due(who, &error.to_string()) {
            return;
        }
        match error {
            Unshaken::Io(error) => tracing::info!(who, %error, "a peer cannot be reached"),
            error => tracing::warn!(who, %error, "no hands were shaken with a peer"),
        }
    }

    fn is_due(&self, who: &str, what: &str) -> bool {
        self.complaints.is_due(who, what, self.options.clock.elapsed())
    }
}
