//! Connections to leaders. Invariant: to one leader there are never more than the bound, idle ones included, and one that
//! idles for long is closed, whether requests come or not.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

/// All of them.
#[derive(Debug)]
pub(super) struct Pool {
    connections_max: usize,
    idle_timeout: Duration,
    known: Mutex<Known>,
}

/// While there is a leader, a task looks after what idles.
#[derive(Debug, Default)]
struct Known {
    leaders: HashMap<Box<str>, Arc<Leader>>,
    swept: bool,
}

#[derive(Debug)]
struct Leader {
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    stream: TcpStream,
}

/// The right to one connection to a leader.
#[derive(Debug)]
pub(super) struct Place {
    leader: Arc<Leader>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(connections_max: usize, idle_timeout: Duration) -> Self {
        Self { connections_max, idle_timeout, known: Mutex::default() }
    }

    /// A place among those who talk to a leader; `None` when there is none until `deadline`.
    pub(super) async fn enter(self: &Arc<Self>, leader: &str, deadline: Instant) -> Option<Place> {
        let leader = self.leader(leader);
        let permit = timeout_at(deadline, Arc::clone(&leader.places).acquire_owned()).await.ok()?.ok()?;
        Some(Place { leader, _permit: permit })
    }

    fn leader(self: &Arc<Self>, address: &str) -> Arc<Leader> {
        let mut known = self.known();
        if !std::mem::replace(&mut known.swept, true) {
            let (pool, interval) = (Arc::downgrade(self), self.idle_timeout / 2);
            tokio::spawn(async move {
                loop {
                    sleep(interval).await;
                    match pool.upgrade() {
                        Some(pool) if pool.sweep() => {}
                        _ => return,
                    }
                }
            });
        }
        if let Some(leader) = known.leaders.get(address) {
            return Arc::clone(leader);
        }
        let places = Arc::new(Semaphore::new(self.connections_max));
        let leader = Arc::new(Leader { places, idle: Mutex::default() });
        known.leaders.insert(address.into(), Arc::clone(&leader));
        leader
    }

    /// Closes what has idled for long, and forgets leaders that nobody talks to; false when none is left.
    fn sweep(&self) -> bool {
        let mut known = self.known();
        known.leaders.retain(|_, leader| {
            let mut idle = leader.idle();
            idle.retain(|idle| idle.since.elapsed() < self.idle_timeout);
            !idle.is_empty() || Arc::strong_count(leader) > 1
        });
        known.swept = !known.leaders.is_empty();
        known.swept
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A connection that was kept and is still there, the one that was used last.
    pub(super) fn kept(&self) -> Option<TcpStream> {
        let mut idle = self.leader.idle();
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.stream).find(is_quiet)
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(self, stream: TcpStream) {
        self.leader.idle().push(Idle { since: Instant::now(), stream });
    }
}

/// Nothing has come on it: neither its end, nor words that nobody asked for.
fn is_quiet(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
