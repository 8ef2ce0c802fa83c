//! How far a start is, for whoever asks meanwhile; and the wish that it ends before it is complete.
//!
//! Invariant: the numbers only grow. A start that is given up ends between two steps, and leaves what a crash there would
//! leave at worst.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use serde::Serialize;

/// What a start is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartPhase {
    /// Locks the data directory and reads what it says of itself.
    Directory,
    /// Opens the tables of one shard after the other.
    Tables,
    /// Reads the log and applies what the tables lack.
    Log,
    /// Begins this start's epoch, loads what is kept in memory, starts the threads.
    Owners,
}

/// How far a start is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StartStage {
    /// What it is doing.
    pub phase: StartPhase,
    /// Shards whose tables were opened.
    pub shards_opened: u64,
    /// All shards.
    pub shards: u64,
    /// Bytes of records that were read.
    pub log_bytes_read: u64,
    /// Bytes that the log takes: there may be fewer to read, since a segment need not be full.
    pub log_bytes: u64,
    /// Records that were read.
    pub log_records_read: u64,
}

/// The same while it goes on.
#[derive(Debug, Default)]
pub struct StartProgress {
    phase: AtomicU8,
    shards_opened: AtomicU64,
    shards: AtomicU64,
    log_bytes_read: AtomicU64,
    log_bytes: AtomicU64,
    log_records_read: AtomicU64,
    given_up: AtomicBool,
}

/// The start was given up.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the start was given up before it was complete; nothing is lost by that")]
pub struct GivenUp;

impl StartProgress {
    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> StartStage {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        StartStage {
            phase: match self.phase.load(Ordering::Relaxed) {
                0 => StartPhase::Directory,
                1 => StartPhase::Tables,
                2 => StartPhase::Log,
                _ => StartPhase::Owners,
            },
            shards_opened: number(&self.shards_opened),
            shards: number(&self.shards),
            log_bytes_read: number(&self.log_bytes_read),
            log_bytes: number(&self.log_bytes),
            log_records_read: number(&self.log_records_read),
        }
    }

    /// It need not be completed: it ends as soon as it may.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether it was given up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Between two steps.
    pub(super) fn go_on(&self) -> Result<(), GivenUp> {
        if self.is_given_up() { Err(GivenUp) } else { Ok(()) }
    }

    pub(super) fn open_tables(&self, shards: u64) {
        self.shards.store(shards, Ordering::Relaxed);
        self.phase.store(1, Ordering::Relaxed);
    }

    pub(super) fn tables_opened(&self) {
        self.shards_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_log(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
        self.phase.store(2, Ordering::Relaxed);
    }

    pub(super) fn record_read(&self, bytes: u64) {
        self.log_bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.log_records_read.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begin_owners(&self) {
        self.phase.store(3, Ordering::Relaxed);
    }
}

impl std::fmt::Display for StartStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.phase {
            StartPhase::Directory => f.write_str("looking at the data directory"),
            StartPhase::Tables => {
                write!(f, "opening the tables, {} of {} shards done", self.shards_opened, self.shards)
            }
            // Nothing was written yet, or nobody could say how much.
            StartPhase::Log if self.log_bytes == 0 => f.write_str("reading the log"),
            StartPhase::Log => write!(
                f,
                "reading the log, {} of at most {} bytes done, {} records",
                self.log_bytes_read, self.log_bytes, self.log_records_read
            ),
            StartPhase::Owners => f.write_str("the log is read, the shards are being opened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_with_an_empty_log_does_not_count_bytes_of_it() {
        let progress = StartProgress::default();
        progress.read_log(0);
        assert_eq!(progress.stage().to_string(), "reading the log");
        progress.read_log(20);
        progress.record_read(5);
        assert_eq!(progress.stage().to_string(), "reading the log, 5 of at most 20 bytes done, 1 records");
    }
}
