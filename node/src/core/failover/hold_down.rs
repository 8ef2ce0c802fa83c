//! How soon a shard may fail over again. Invariant: a record that crashes whoever applies it does not crash all replicas
//! in turn within seconds, and a process that plainly ended is replaced at once.

use std::time::Duration;

/// The first wait; doubled with each failover.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A shard that stood so long begins anew.
const CALM: Duration = Duration::from_secs(300);
/// How often a process that ended is replaced without any wait.
const FREE_EVERY: Duration = Duration::from_secs(60);

/// The failovers of one shard, as far as they matter for the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HoldDown {
    /// The last failover, and how many there were without calm between.
    last: Option<(Duration, u32)>,
    /// The last that needed no wait.
    free: Option<Duration>,
}

impl HoldDown {
    /// When the next failover may begin; `plain`: the leader's process has plainly ended.
    pub(super) fn earliest(&self, now: Duration, plain: bool) -> Duration {
        let free = self.free.is_none_or(|free| free + FREE_EVERY <= now);
        match self.last {
            Some((last, count)) if !(plain && free) => last + wait(count),
            _ => now,
        }
    }

    /// For how long the next failover waits after the last, and how many there were without calm between.
    pub(super) fn held(&self) -> (Duration, u32) {
        self.last.map_or((Duration::ZERO, 0), |(_, count)| (wait(count), count))
    }

    /// A failover begins.
    pub(super) fn note(&mut self, now: Duration, plain: bool) {
        if plain && self.free.is_none_or(|free| free + FREE_EVERY <= now) {
            self.free = Some(now);
        }
        let count = match self.last {
            Some((last, count)) if last + CALM > now => count.saturating_add(1),
            _ => 1,
        };
        self.last = Some((now, count));
    }
}

fn wait(count: u32) -> Duration {
    FIRST.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failover_of_a_shard_waits_longer_than_the_one_before() {
        let mut held = HoldDown::default();
        let mut now = Duration::from_secs(1000);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let earliest = held.earliest(now, false);
            waits.push((earliest - now).as_secs());
            now = earliest;
            held.note(now, false);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        now += CALM;
        assert!(held.earliest(now, false) <= now);
        held.note(now, false);
        assert_eq!(held.earliest(now, false), now + FIRST, "it stood for long: begins anew");
    }

    #[test]
    fn a_process_that_plainly_ended_is_replaced_at_once_but_not_again_and_again() {
        let mut held = HoldDown::default();
        let now = Duration::from_secs(1000);
        held.note(now, false);
        assert_eq!(held.earliest(now, true), now);
        held.note(now, true);
        assert!(held.earliest(now, true) > now);
        let later = now + FREE_EVERY;
        assert_eq!(held.earliest(later, true), later);
    }
}
