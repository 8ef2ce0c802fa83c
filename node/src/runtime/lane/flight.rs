//! The sync of a large group on a thread of its own: its lane encodes and writes the next one meanwhile, and publishes the one before.
//!
//! Invariants: one is under way at a time; what it makes durable counts once the lane has ended it; and nothing of the log is taken
//! back, replaced or closed while it is under way, so that an index that it reaches is still the entry that it synced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::commit::Reached;
use super::{Duty, GROUP_BYTES_LARGE, GROUP_BYTES_MAX, LaneOwner};
use crate::runtime::mailbox::{Hold, Job, Mailbox};
use crate::seam::Clock;
use crate::store::aol::LaneError;
use crate::types::{AolMode, FsyncPolicy, LaneId};

/// How long a lane goes on beside a sync: many times what a sound disk takes for a group of the largest size, and little beside the two
/// seconds after which a node that is silent is suspected.
const PATIENCE: Duration = Duration::from_millis(250);

/// A sync that is to be made.
type Order = Box<dyn FnOnce() -> Result<(), LaneError> + Send>;

/// What became of it, and how long it took.
type Outcome = (Result<(), LaneError>, Duration);

/// The syncs of one lane that it does not wait for.
#[derive(Debug)]
pub(crate) struct Flights {
    lane: LaneId,
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
    /// Begun with the first that is needed: most lanes of small messages need none.
    thread: Option<Thread>,
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Thread {
    orders: Option<SyncSender<Order>>,
    outcomes: Receiver<Outcome>,
    handle: Option<JoinHandle<()>>,
}

/// The one under way.
#[derive(Debug)]
struct Flight {
    begun: Duration,
    reached: Reached,
    /// Places of the messages whose entries it syncs: what may wait for the lane is bounded with them.
    _holds: Vec<Hold>,
    outcome: Option<Outcome>,
}

impl Flights {
    /// None is under way.
    pub(in crate::runtime) const fn new(lane: LaneId, mailbox: Arc<Mailbox>, clock: Arc<dyn Clock>) -> Self {
        Self { lane, mailbox, clock, thread: None, flight: None }
    }

    /// Whether one is under way, or was not ended.
    pub(super) const fn has_begun(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether it has been under way for that long: a disk that hangs is to hold up its lane, so that the node says that it is sick, and
    /// leads no longer than it did before.
    fn is_late(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.begun + PATIENCE < self.clock.elapsed())
    }

    /// Whether there is nothing to wait for any more.
    fn is_over(&mut self) -> bool {
        let (Some(flight), Some(thread)) = (&mut self.flight, &self.thread) else { return true };
        if flight.outcome.is_none() {
            flight.outcome = match thread.outcomes.try_recv() {
                Ok(outcome) => Some(outcome),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some((Err(LaneError::Poisoned), Duration::ZERO)),
            };
        }
        flight.outcome.is_some()
    }

    /// Whether the lane may go on beside it.
    fn leaves_time(&mut self) -> bool {
        !self.is_over() && !self.is_late()
    }

    /// Hands over what is to be synced; how far that reaches is given back if nobody can be found to do it.
    fn begin(&mut self, order: Order, reached: Reached, holds: &mut Vec<Hold>) -> Result<(), Reached> {
        debug_assert!(self.flight.is_none(), "one at a time");
        if self.thread.is_none() {
            self.thread = self.spawn().ok();
        }
        let orders = self.thread.as_ref().and_then(|thread| thread.orders.as_ref());
        if orders.is_none_or(|orders| orders.send(order).is_err()) {
            return Err(reached);
        }
        self.flight = Some(Flight {
            begun: self.clock.elapsed(),
            reached,
            _holds: std::mem::take(holds),
            outcome: None,
        });
        Ok(())
    }

    fn spawn(&self) -> std::io::Result<Thread> {
        let (orders, todo) = sync_channel(1);
        let (done, outcomes) = channel();
        let (mailbox, clock) = (Arc::clone(&self.mailbox), Arc::clone(&self.clock));
        let body = move || {
            follow(&todo, clock.as_ref(), |outcome| {
                // A lane that has ended asks no more.
                if done.send(outcome).is_ok() {
                    let _ended = mailbox.send(Job::Synced);
                }
            })
        };
        let name = format!("sync-{}", self.lane.0);
        let handle = std::thread::Builder::new().name(name).spawn(body)?;
        Ok(Thread { orders: Some(orders), outcomes, handle: Some(handle) })
    }

    /// Waits for the one under way.
    fn end(&mut self) -> Option<(Reached, Outcome)> {
        let Flight { reached, outcome, .. } = self.flight.take()?;
        let waited = || self.thread.as_ref().and_then(|thread| thread.outcomes.recv().ok());
        Some((reached, outcome.or_else(waited).unwrap_or((Err(LaneError::Poisoned), Duration::ZERO))))
    }
}

fn follow(todo: &Receiver<Order>, clock: &dyn Clock, told: impl Fn(Outcome)) {
    while let Ok(order) = todo.recv() {
        let before = clock.elapsed();
        let made = order();
        told((made, clock.elapsed().saturating_sub(before)));
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        if let Some(Thread { orders, handle, .. }) = &mut self.thread {
            *orders = None;
            // It cannot panic but inside of the disk; then the lane was told by its silence.
            let _ended = handle.take().map(JoinHandle::join);
        }
    }
}

impl LaneOwner {
    /// Whether a group of so many bytes is synced by the other thread.
    pub(super) fn flies(&self, bytes: u64) -> bool {
        let always = self.durability.aol == AolMode::Sync && self.durability.fsync == FsyncPolicy::Always;
        always && bytes >= GROUP_BYTES_LARGE
    }

    /// Whether what comes gathers: the group before is still being synced. So groups are as large as if the lane had waited for that.
    pub(super) fn gathers(&mut self) -> bool {
        let Duty { unsaved, cuts, seeded, .. } = &self.duty;
        let waits = unsaved.is_empty() && cuts.is_empty() && seeded.is_empty();
        let gathers = waits && self.group.bytes < GROUP_BYTES_MAX;
        gathers && self.flights.leaves_time()
    }

    /// Has what was written synced while the lane goes on.
    pub(super) fn begin_flight(&mut self, reached: Reached) -> Result<(), LaneError> {
        let flush = self.log.begin_sync()?;
        if let Err(reached) = self.flights.begin(Box::new(move || flush.run()), reached, &mut self.duty.holds)
        {
            self.sync()?;
            self.is_held(&reached);
        }
        Ok(())
    }

    /// Waits for the sync under way, if there is one: what is durable by it.
    pub(super) fn end_flight(&mut self) -> Result<Reached, LaneError> {
        let Some((reached, (made, took))) = self.flights.end() else { return Ok(BTreeMap::new()) };
        made?;
        self.log.end_sync()?;
        self.lane_metrics.fsyncs.inc();
        self.lane_metrics.fsync_time.observe(took);
        Ok(reached)
    }

    /// Waits for the sync under way, and goes on with what rests on it.
    pub(super) fn land(&mut self) -> Result<(), LaneError> {
        let reached = self.end_flight()?;
        self.is_held(&reached);
        Ok(())
    }

    /// The same, if there is nothing to wait for, or it has taken too long.
    pub(super) fn land_if_due(&mut self) -> Result<(), LaneError> {
        if self.flights.leaves_time() { Ok(()) } else { self.land() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::ManualClock;
    use crate::types::{LogIndex, ShardId, UnixMillis};

    /// A sync takes less on a sound disk, and a node that is held up for so long is not suspected.
    const LONGEST: Duration = Duration::from_millis(500);
    /// Longer than anything takes that does not hang.
    const LONG: Duration = Duration::from_secs(60);

    struct World {
        clock: Arc<ManualClock>,
        mailbox: Arc<Mailbox>,
        flights: Flights,
    }

    impl World {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::default());
            let mailbox = Arc::new(Mailbox::default());
            let flights = Flights::new(LaneId(0), Arc::clone(&mailbox), Arc::clone(&clock) as _);
            Self { clock, mailbox, flights }
        }

        /// Begins a sync that hangs until somebody sends what becomes of it.
        fn hang(&mut self, upto: u64) -> SyncSender<Result<(), LaneError>> {
            let (let_go, gate) = sync_channel(1);
            let order = move || gate.recv().unwrap();
            self.begin(upto, Box::new(order));
            let_go
        }

        fn begin(&mut self, upto: u64, order: Order) {
            self.flights.begin(order, reached(upto), &mut Vec::new()).unwrap();
        }

        fn is(&self, elapsed: Duration) {
            self.clock.set(UnixMillis(i64::try_from(elapsed.as_millis()).unwrap()));
        }

        /// Waits until the lane is told that it is over.
        fn hear(&self) {
            let mut jobs = Vec::new();
            self.mailbox.take(&mut jobs, LONG);
            assert!(matches!(jobs.as_slice(), [Job::Synced]), "{jobs:?}");
        }
    }

    fn reached(upto: u64) -> Reached {
        Reached::from([(ShardId(3), LogIndex(upto))])
    }

    #[test]
    fn a_lane_goes_on_beside_a_sync_until_it_is_told_that_it_is_over() {
        let mut world = World::new();
        assert!(!world.flights.leaves_time(), "there is none to wait for");
        for upto in [7, 9] {
            let let_go = world.hang(upto);
            assert!(world.flights.leaves_time() && world.flights.has_begun());
            let_go.send(Ok(())).unwrap();
            world.hear();
            assert!(!world.flights.leaves_time() && world.flights.has_begun(), "it counts once it is ended");
            let (ended, (made, _)) = world.flights.end().unwrap();
            assert!(made.is_ok() && ended == reached(upto));
            assert!(!world.flights.has_begun() && world.flights.end().is_none());
        }
    }

    #[test]
    fn a_lane_whose_sync_hangs_does_not_go_on_beside_it() {
        let mut world = World::new();
        let let_go = world.hang(7);
        world.is(PATIENCE);
        assert!(world.flights.leaves_time(), "a slow disk is not one that hangs");
        world.is(LONGEST);
        assert!(!world.flights.leaves_time() && world.flights.has_begun());
        let_go.send(Ok(())).unwrap();
        assert!(world.flights.end().is_some_and(|(ended, (made, _))| made.is_ok() && ended == reached(7)));
    }

    #[test]
    fn a_sync_that_failed_or_whose_thread_is_gone_makes_nothing_durable() {
        let mut world = World::new();
        world.hang(7).send(Err(LaneError::Poisoned)).unwrap();
        assert!(matches!(world.flights.end(), Some((_, (Err(LaneError::Poisoned), _)))));
        world.begin(9, Box::new(|| panic!("a disk that panics")));
        assert!(matches!(world.flights.end(), Some((_, (Err(LaneError::Poisoned), _)))));
        assert!(world.flights.begin(Box::new(|| Ok(())), reached(11), &mut Vec::new()).is_err());
    }
}
