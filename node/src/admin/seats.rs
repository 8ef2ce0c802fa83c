//! The places of connections at the admin port. Invariant: while a connection has no call under way, it keeps its place only
//! as long as nobody needs it more: when all are taken, a new one costs the one that has been idle for longest its place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All places.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    last: u64,
    /// Connections without a call: whoever has been for longest comes first.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection, free again once it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    wanted: Arc<Notify>,
    /// Under which number it is idle.
    since: AtomicU64,
    _place: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), idle: Mutex::default() })
    }

    // Each change is one step of the map.
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, which may cost somebody else theirs; waits when all have calls under way.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        if self.free.available_permits() == 0
            && let Some((_, longest)) = self.idle().waiting.pop_first()
        {
            longest.notify_one();
        }
        let place = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let (seats, wanted) = (Arc::clone(self), Arc::default());
        let seat = Seat { seats, wanted, since: AtomicU64::new(0), _place: place };
        seat.rests();
        Some(Arc::new(seat))
    }
}

impl Seat {
    /// No call is under way from now on.
    pub(super) fn rests(&self) {
        let mut idle = self.seats.idle();
        idle.last += 1;
        let number = idle.last;
        idle.waiting.insert(number, Arc::clone(&self.wanted));
        self.since.store(number, Ordering::Relaxed);
    }

    /// A call is.
    pub(super) fn works(&self) {
        self.seats.idle().waiting.remove(&self.since.load(Ordering::Relaxed));
    }

    /// Resolves when somebody else needs the place.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.works();
    }
}
