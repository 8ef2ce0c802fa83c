//! Transfers that hold memory while their peers take their time, and the choice of whom to cut when memory is short.
//! Invariant: only a transfer that is *slow* is cut (given the patience that others have to show, it would not be done),
//! never one that has just begun, and the slowest first. What becomes of a cut transfer is left to its owner. Time comes
//! in as a value.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::registry::Watch;

/// A peer that moved nothing for this long makes room as soon as somebody gets less than usual; an honest one on the
/// slowest usable link moves something every few round trips.
const STALL: Duration = Duration::from_secs(1);
/// Looking through ten thousand transfers takes a fraction of a millisecond; it is not done more often than this.
const SCAN_PAUSE: Duration = Duration::from_millis(2);
/// A transfer is judged by what it moved in the last one or two of these: who was fast and then stops, or drips, is slow,
/// however little is left of it.
const WINDOW: Duration = Duration::from_secs(1);
/// A time in which nothing moves counts so many times: who waits has little time to find out.
const STILL_WEIGHT: u64 = 4;
/// With each look at least this part of the budget is set free, so that looks stay rare.
const FREED_PART: usize = 32;

/// All transfers that hold a part of one budget.
#[derive(Debug)]
pub(super) struct Transfers {
    /// What the transfers share.
    budget: usize,
    /// How long others wait for room at most.
    patience: Duration,
    scanned: Mutex<Option<Instant>>,
    cut: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Arc<Transfer>>>,
    free: Vec<usize>,
}

/// What others may know of a transfer.
#[derive(Debug)]
struct Transfer {
    watch: Arc<Watch>,
    began: Instant,
    waited_millis: AtomicU64,
    /// Since when it waits for us, in milliseconds behind its beginning: its clock stands still meanwhile.
    waits_since_millis: AtomicU64,
    moved: AtomicUsize,
    moved_at_millis: AtomicU64,
    /// The beginnings of the last window and of the present one. Only the owner of the transfer moves them on.
    windows: [Window; 2],
    left: AtomicUsize,
    held: AtomicUsize,
    cut: AtomicBool,
}

/// Where a window began.
#[derive(Debug, Default)]
struct Window {
    at_millis: AtomicU64,
    moved: AtomicUsize,
}

/// A transfer in the table; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    transfers: Arc<Transfers>,
    transfer: Arc<Transfer>,
    place: usize,
}

impl Transfers {
    pub(super) fn new(budget: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            budget,
            // Without any patience everybody would be too slow.
            patience: patience.max(Duration::from_millis(100)),
            scanned: Mutex::default(),
            cut: AtomicU64::new(0),
            table: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a transfer in that holds `held` bytes and has `left` to move.
    pub(super) fn enter(
        self: &Arc<Self>,
        watch: &Arc<Watch>,
        now: Instant,
        held: usize,
        left: usize,
    ) -> Entered {
        let transfer = Arc::new(Transfer {
            watch: Arc::clone(watch),
            began: now,
            waited_millis: AtomicU64::new(0),
            waits_since_millis: AtomicU64::new(u64::MAX),
            moved: AtomicUsize::new(0),
            moved_at_millis: AtomicU64::new(0),
            windows: Default::default(),
            left: AtomicUsize::new(left),
            held: AtomicUsize::new(held),
            cut: AtomicBool::new(false),
        });
        let mut table = self.table();
        let place = table.free.pop().unwrap_or(table.places.len());
        if place == table.places.len() {
            table.places.push(None);
        }
        if let Some(slot) = table.places.get_mut(place) {
            *slot = Some(Arc::clone(&transfer));
        }
        Entered { transfers: Arc::clone(self), transfer, place }
    }

    /// Somebody finds no room for `wanted` bytes: cuts the slowest that hold as much together.
    pub(super) fn cut_slow(&self, now: Instant, wanted: usize) {
        {
            let mut scanned = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
            if scanned.is_some_and(|last| now < last + SCAN_PAUSE) {
                return;
            }
            *scanned = Some(now);
        }
        self.cut_worst(wanted, |transfer| transfer.slowness(now, self.patience));
    }

    /// Somebody gets less than usual: cuts those that stand still, for as many bytes.
    pub(super) fn cut_stalled(&self, now: Instant, wanted: usize) {
        self.cut_worst(wanted, |transfer| transfer.stall(now));
    }

    /// `badness`: the larger, the sooner it is cut; `None`: not at all.
    fn cut_worst(&self, wanted: usize, badness: impl Fn(&Transfer) -> Option<u64>) {
        // What was cut before and is not gone yet makes room, too.
        let mut freed = 0;
        let mut found: Vec<(u64, Arc<Transfer>)> = Vec::new();
        for transfer in self.table().places.iter().flatten() {
            if transfer.cut.load(Ordering::Relaxed) {
                freed += transfer.held.load(Ordering::Relaxed);
            } else if let Some(badness) = badness(transfer) {
                found.push((badness, Arc::clone(transfer)));
            }
        }
        found.sort_unstable_by_key(|(badness, _)| std::cmp::Reverse(*badness));
        let wanted = wanted.max(self.budget / FREED_PART);
        for (_, transfer) in found {
            if freed >= wanted {
                return;
            }
            freed += transfer.held.load(Ordering::Relaxed);
            transfer.cut.store(true, Ordering::Release);
            transfer.watch.wake();
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were cut so far.
    pub(super) fn cut_count(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Transfer {
    /// Milliseconds since it began, those not counted in which it waited for us.
    fn age(&self, now: Instant) -> u64 {
        let passed = millis(now.duration_since(self.began));
        let waited = self.waited_millis.load(Ordering::Relaxed);
        passed.min(self.waits_since_millis.load(Ordering::Relaxed)).saturating_sub(waited)
    }

    /// Milliseconds since something moved.
    fn still(&self, now: Instant) -> u64 {
        self.age(now).saturating_sub(self.moved_at_millis.load(Ordering::Relaxed))
    }

    /// Milliseconds per MiB at the rate of late, if it would not be done in the time that others wait. Whoever stands
    /// still is never soon done.
    fn slowness(&self, now: Instant, patience: Duration) -> Option<u64> {
        let (patience, age) = (millis(patience), self.age(now));
        if age < patience / 2 {
            return None;
        }
        if let Some(still) = self.stall(now) {
            return Some(still.saturating_mul(1 << 20));
        }
        let window = &self.windows[0];
        let passed =
            age.saturating_sub(window.at_millis.load(Ordering::Relaxed)) + STILL_WEIGHT * self.still(now);
        let moved =
            self.moved.load(Ordering::Relaxed).saturating_sub(window.moved.load(Ordering::Relaxed)) as u64;
        let left = self.left.load(Ordering::Relaxed) as u64;
        let soon_done = moved.saturating_mul(patience) >= left.saturating_mul(passed);
        (!soon_done).then(|| passed.saturating_mul(1 << 20) / moved.max(1))
    }

    /// Milliseconds since something moved, if they are many.
    fn stall(&self, now: Instant) -> Option<u64> {
        let still = self.still(now);
        (still >= millis(STALL)).then_some(still)
    }
}

impl Entered {
    /// So much has been moved, so much is left.
    pub(super) fn moved(&self, now: Instant, moved: usize, left: usize) {
        let age = self.transfer.age(now);
        let [last, present] = &self.transfer.windows;
        let began = present.at_millis.load(Ordering::Relaxed);
        if age >= began + millis(WINDOW) {
            last.at_millis.store(began, Ordering::Relaxed);
            last.moved.store(present.moved.load(Ordering::Relaxed), Ordering::Relaxed);
            present.at_millis.store(age, Ordering::Relaxed);
            present.moved.store(self.transfer.moved.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.transfer.moved.store(moved, Ordering::Relaxed);
        self.transfer.left.store(left, Ordering::Relaxed);
        self.transfer.moved_at_millis.store(age, Ordering::Relaxed);
    }

    /// It holds so many bytes now.
    pub(super) fn holds(&self, bytes: usize) {
        self.transfer.held.store(bytes, Ordering::Relaxed);
    }

    /// It waits for us, which does not make its peer slower.
    pub(super) fn waits(&self, now: Instant) {
        let passed = millis(now.duration_since(self.transfer.began));
        self.transfer.waits_since_millis.store(passed, Ordering::Relaxed);
    }

    /// It goes on.
    pub(super) fn goes_on(&self, now: Instant) {
        let passed = millis(now.duration_since(self.transfer.began));
        let since = self.transfer.waits_since_millis.swap(u64::MAX, Ordering::Relaxed);
        self.transfer.waited_millis.fetch_add(passed.saturating_sub(since), Ordering::Relaxed);
    }

    /// For whoever borrows the owner of this.
    pub(super) fn mark(&self) -> CutMark {
        CutMark(Arc::clone(&self.transfer))
    }

    /// Whether its room is wanted by others: then it has to end.
    pub(super) fn is_cut(&self) -> bool {
        self.transfer.cut.load(Ordering::Acquire)
    }
}

/// Says whether a transfer was cut.
#[derive(Debug)]
pub(super) struct CutMark(Arc<Transfer>);

impl CutMark {
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut table = self.transfers.table();
        if let Some(slot) = table.places.get_mut(self.place) {
            *slot = None;
            table.free.push(self.place);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);
    const MIB: usize = 1 << 20;

    #[test]
    fn the_slowest_is_cut_first_and_no_more_than_is_wanted() {
        let (transfers, began) = (Transfers::new(MIB, PATIENCE), Instant::now());
        let watch = Arc::default();
        let open: Vec<_> = (0..4).map(|_| transfers.enter(&watch, began, MIB, 4 * MIB)).collect();
        for (moved, entered) in [3 * MIB, 1000, 2000, MIB].into_iter().zip(&open) {
            entered.moved(began, moved, 4 * MIB - moved);
        }
        transfers.cut_slow(began, 1);
        assert!(open.iter().all(|entered| !entered.is_cut()), "they have only begun");
        transfers.cut_slow(began + PATIENCE, MIB + 1);
        let cut: Vec<_> = open.iter().map(Entered::is_cut).collect();
        assert_eq!(cut, [false, true, true, false]);
        let later = began + PATIENCE * 11 / 10;
        open[0].moved(later, 3 * MIB, MIB);
        transfers.cut_slow(later, 4 * MIB);
        assert!(!open[0].is_cut(), "it is done in no time");
        assert!(open[3].is_cut(), "it is the slowest now");
        assert_eq!(transfers.cut_count(), 3);
    }

    #[test]
    fn whoever_stands_still_makes_room_before_whoever_moves() {
        let (transfers, began) = (Transfers::new(MIB, PATIENCE), Instant::now());
        let watch = Arc::default();
        let (still, slow) =
            (transfers.enter(&watch, began, MIB, MIB), transfers.enter(&watch, began, MIB, MIB));
        slow.moved(began + STALL / 2, 1, MIB);
        transfers.cut_stalled(began + STALL, 4 * MIB);
        assert!(still.is_cut() && !slow.is_cut());
    }

    #[test]
    fn whoever_was_fast_and_then_stops_or_drips_makes_room_however_little_is_left() {
        let (transfers, began) = (Transfers::new(MIB, PATIENCE), Instant::now());
        let watch = Arc::default();
        let [stops, drips, moves] = [(); 3].map(|()| transfers.enter(&watch, began, MIB, 4 * MIB));
        stops.moved(began, 4 * MIB - 1, 1);
        drips.moved(began, 4 * MIB - 100, 100);
        for tenth in 1..=40_u32 {
            let now = began + STALL * tenth / 10;
            if tenth % 4 == 0 {
                let dripped = usize::try_from(tenth / 4).unwrap();
                drips.moved(now, 4 * MIB - 100 + dripped, 100 - dripped);
            }
            moves.moved(now, MIB * usize::try_from(tenth).unwrap() / 10, 4 * MIB / 10);
        }
        transfers.cut_slow(began + STALL * 4, 9 * MIB);
        assert!(stops.is_cut() && drips.is_cut() && !moves.is_cut());
    }

    #[test]
    fn what_was_cut_and_is_not_gone_yet_counts_as_room() {
        let (transfers, began) = (Transfers::new(MIB, PATIENCE), Instant::now());
        let watch = Arc::default();
        let open = [(); 2].map(|()| transfers.enter(&watch, began, MIB, MIB));
        transfers.cut_slow(began + STALL, MIB);
        transfers.cut_slow(began + STALL * 2, MIB);
        assert_eq!(open.iter().filter(|entered| entered.is_cut()).count(), 1);
    }

    #[test]
    fn time_spent_waiting_for_us_makes_nobody_slow() {
        let (transfers, began) = (Transfers::new(MIB, PATIENCE), Instant::now());
        let entered = transfers.enter(&Arc::default(), began, MIB, MIB);
        entered.waits(began);
        transfers.cut_slow(began + 9 * PATIENCE, 1);
        entered.goes_on(began + 10 * PATIENCE);
        transfers.cut_slow(began + 10 * PATIENCE, 1);
        assert!(!entered.is_cut());
        transfers.cut_slow(began + 11 * PATIENCE, 1);
        assert!(entered.is_cut(), "now it is its own fault");
        drop(entered);
        assert_eq!(transfers.table().free.len(), 1);
    }
}
