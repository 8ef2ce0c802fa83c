//! How far the writing or reading of a snapshot is, for whoever asks meanwhile: metrics, a person at a terminal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters that one side moves and any other reads.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    rows: AtomicU64,
    rows_total: AtomicU64,
    given_up: AtomicBool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressNow {
    /// Bytes of the file that are written or read.
    pub bytes: u64,
    /// Rows that are in them.
    pub rows: u64,
    /// Of how many.
    pub rows_total: u64,
}

impl Progress {
    /// How far it is now.
    #[must_use]
    pub fn now(&self) -> ProgressNow {
        let [bytes, rows, rows_total] =
            [&self.bytes, &self.rows, &self.rows_total].map(|counter| counter.load(Ordering::Relaxed));
        ProgressNow { bytes, rows, rows_total }
    }

    /// A restore need not go on: it ends with its next block.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, rows_total: u64) {
        self.rows_total.store(rows_total, Ordering::Relaxed);
        self.reached(0, 0);
    }

    pub(super) fn reached(&self, bytes: u64, rows: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }
}
