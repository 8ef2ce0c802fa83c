//! All open connections, their deadlines and the end of service. One task looks at the deadlines a few times a
//! second, so that a request arms no timer of its own. Invariant: a connection that waits for its peer has a deadline,
//! and is woken when the deadline has passed or the server closes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::Notify;

use super::date::DateCache;
use super::{Admission, Limits};
use crate::seam::Clock;
use crate::telemetry::{Held, Metrics};

/// No deadline: the connection does not wait for its peer.
const NEVER: u64 = u64::MAX;

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The peer let the deadline pass.
    Expired,
    /// The server is closing.
    Closing,
    /// The peer has gone.
    PeerGone,
}

/// What other tasks may touch of a connection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    deadline_millis: AtomicU64,
    waker: AtomicWaker,
}

/// All connections of a server.
#[derive(Debug)]
pub struct Registry {
    /// The server's bounds.
    pub limits: Limits,
    /// The budgets of bytes.
    pub admission: Admission,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    pub(super) date: DateCache,
    clock: Arc<dyn Clock>,
    started: tokio::time::Instant,
    now_millis: AtomicU64,
    closing: AtomicBool,
    drained: Notify,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    watches: Vec<Option<Arc<Watch>>>,
    free: Vec<usize>,
}

impl Slots {
    fn open(&self) -> usize {
        self.watches.len() - self.free.len()
    }
}

/// A connection's place in the registry; leaving it is dropping this.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) registry: Arc<Registry>,
    pub(super) watch: Arc<Watch>,
    slot: usize,
    _counted: Held,
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Arc<Self> {
        let admission = Admission::new(&limits);
        let registry = Self {
            limits,
            admission,
            metrics,
            date: DateCache::default(),
            clock,
            started: tokio::time::Instant::now(),
            now_millis: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            drained: Notify::new(),
            slots: Mutex::default(),
        };
        registry.date.set(registry.clock.now());
        Arc::new(registry)
    }

    /// Open connections.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.slots().open()
    }

    /// Whether the server is closing.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Coarse time since the start; moves with every [`Limits::tick`].
    pub(super) fn now_millis(&self) -> u64 {
        self.now_millis.load(Ordering::Relaxed)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in; `None` when there are as many as may be.
    pub(super) fn join(self: &Arc<Self>) -> Option<Membership> {
        let watch = Arc::new(Watch { deadline_millis: AtomicU64::new(NEVER), waker: AtomicWaker::new() });
        let mut slots = self.slots();
        if slots.open() >= self.limits.connections_max {
            self.metrics.http.connections_refused.inc();
            return None;
        }
        self.metrics.http.connections_accepted.inc();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None => {
                slots.watches.push(None);
                slots.watches.len() - 1
            }
        };
        if let Some(place) = slots.watches.get_mut(slot) {
            *place = Some(watch.clone());
        }
        let counted = Held::new(&self.metrics.http.connections);
        Some(Membership { registry: self.clone(), watch, slot, _counted: counted })
    }

    /// Tells every connection that the server closes: idle ones end now, the others after their request.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let watches: Vec<_> = self.slots().watches.iter().flatten().cloned().collect();
        watches.iter().for_each(|watch| watch.waker.wake());
    }

    /// Completes when no connection is open.
    pub(super) async fn drained(&self) {
        loop {
            let notified = self.drained.notified();
            if self.connections_open() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// What the budgets have come to.
    fn count(&self) {
        let http = &self.metrics.http;
        http.permits_in_use.set(self.admission.request_bytes_used());
        http.response_permits_in_use.set(self.admission.response_bytes_used());
        http.transfers_cut.inc_by(self.admission.transfers_cut().saturating_sub(http.transfers_cut.get()));
    }

    /// Moves the coarse clock and wakes those whose deadline has passed; runs until dropped.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut interval = tokio::time::interval(self.limits.tick());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = millis(self.started.elapsed());
            self.now_millis.store(now, Ordering::Relaxed);
            self.date.set(self.clock.now());
            self.count();
            let late: Vec<_> =
                self.slots().watches.iter().flatten().filter(|watch| watch.late(now)).cloned().collect();
            late.iter().for_each(|watch| watch.waker.wake());
        }
    }
}

impl Watch {
    /// Lets the connection look again at what it waits for.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    fn late(&self, now_millis: u64) -> bool {
        self.deadline_millis.load(Ordering::Relaxed) <= now_millis
    }
}

impl Membership {
    /// The wait that begins now may last this long.
    pub(super) fn arm(&self, limit: Duration) {
        let deadline = self.registry.now_millis().saturating_add(millis(limit).max(1));
        self.watch.deadline_millis.store(deadline, Ordering::Relaxed);
    }

    /// The wait that began at `started_millis` may last this long.
    pub(super) fn arm_from(&self, started_millis: u64, limit: Duration) {
        let deadline = started_millis.saturating_add(millis(limit).max(1));
        self.watch.deadline_millis.store(deadline, Ordering::Relaxed);
    }

    /// Nothing is waited for.
    pub(super) fn disarm(&self) {
        self.watch.deadline_millis.store(NEVER, Ordering::Relaxed);
    }

    /// Ready when the deadline has passed; with `closing`, also when the server closes.
    pub(super) fn poll_interrupt(&self, cx: &Context<'_>, closing: bool) -> Poll<Interrupt> {
        // Register first, look then: whoever changes something in between wakes us.
        self.watch.waker.register(cx.waker());
        if self.watch.late(self.registry.now_millis()) {
            return Poll::Ready(Interrupt::Expired);
        }
        if closing && self.registry.is_closing() {
            return Poll::Ready(Interrupt::Closing);
        }
        Poll::Pending
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut slots = self.registry.slots();
        if let Some(place) = slots.watches.get_mut(self.slot) {
            *place = None;
            slots.free.push(self.slot);
        }
        if slots.open() == 0 {
            self.registry.drained.notify_waiters();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
