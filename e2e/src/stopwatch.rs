//! Real time for tests and measurements: the one place of this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock that started when it was made; the times of one history come from one stopwatch.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this crate measures real processes in real time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds since the start; 584 years fit.
    #[must_use]
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The wall clock, for headers that name a moment: milliseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this crate measures real processes in real time")]
pub fn wall_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
