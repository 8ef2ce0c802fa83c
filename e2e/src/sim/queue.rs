//! What is going to happen: events in the order of their time, those of one time in the order in which they were put in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::event::Event;

/// Virtual time since the run began, in microseconds.
pub type Micros = u64;

/// One second of virtual time.
pub(super) const SECOND: Micros = 1_000_000;
/// One millisecond of virtual time.
pub(super) const MILLI: Micros = 1_000;

/// Events that are due, the next one first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Due>,
    now: Micros,
    issued: u64,
}

#[derive(Debug)]
struct Due {
    at: Micros,
    sequence: u64,
    event: Event,
}

impl Due {
    const fn key(&self) -> (Micros, u64) {
        (self.at, self.sequence)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// Reversed, since the heap gives the largest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl Queue {
    /// The time of the event that happens now.
    pub(super) const fn now(&self) -> Micros {
        self.now
    }

    /// Lets something happen `delay` from now.
    pub(super) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Lets something happen at a time, or now if that is over.
    pub(super) fn at(&mut self, at: Micros, event: Event) {
        self.issued += 1;
        self.heap.push(Due { at: at.max(self.now), sequence: self.issued, event });
    }

    /// The next event, unless it lies behind `end`.
    pub(super) fn next(&mut self, end: Micros) -> Option<Event> {
        if self.heap.peek()?.at > end {
            return None;
        }
        let due = self.heap.pop()?;
        self.now = due.at;
        Some(due.event)
    }
}
