//! A rate that is not exceeded: how long to wait before going on. Invariant: after any time, no more was done than the
//! rate allows for it, but for the last piece.

use std::time::Duration;

/// Counts from the moment when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    began: Duration,
    bytes_per_second: u64,
}

impl Pace {
    /// Begins to count now.
    #[must_use]
    pub const fn new(began: Duration, bytes_per_second: u64) -> Self {
        Self { began, bytes_per_second }
    }

    /// How long to wait at `now`, when so many bytes are done; `None`: go on.
    #[must_use]
    pub fn wait(&self, now: Duration, done: u64) -> Option<Duration> {
        let nanos = u128::from(done) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let due = self.began.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        due.checked_sub(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_never_passes_what_the_rate_allows() {
        let pace = Pace::new(Duration::from_secs(5), 1000);
        let wait = |now_ms, done| pace.wait(Duration::from_millis(now_ms), done);
        assert_eq!(wait(5000, 0), None);
        assert_eq!(wait(5000, 500), Some(Duration::from_millis(500)));
        assert_eq!(wait(5400, 500), Some(Duration::from_millis(100)));
        assert_eq!(wait(5500, 500), None);
        let unbounded = Pace::new(Duration::ZERO, u64::MAX);
        assert_eq!(unbounded.wait(Duration::ZERO, 1 << 30), None);
        assert!(Pace::new(Duration::ZERO, 0).wait(Duration::ZERO, u64::MAX).is_some());
    }
}
