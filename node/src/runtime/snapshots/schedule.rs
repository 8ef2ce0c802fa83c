//! Which shard's snapshot is due. A decision: time and growth come in as values.
//!
//! Invariants: a shard that has not changed since its last snapshot gets none; after a failure there is a pause that grows;
//! shards take turns, so that one that grows all the time does not keep the others from theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desk::Newest;
use crate::types::{LogIndex, ShardId, UnixMillis};

/// The pause after a failure, and the longest one after many.
const RETRY_FIRST: Duration = Duration::from_mins(1);
const RETRY_LONGEST: Duration = Duration::from_hours(1);

/// What makes a snapshot due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Triggers {
    /// So much time since the last one.
    pub(crate) interval: Option<Duration>,
    /// So many bytes of records since the last one.
    pub(crate) log_bytes: Option<u64>,
}

impl Triggers {
    /// Whether there is any.
    pub(crate) const fn any(self) -> bool {
        self.interval.is_some() || self.log_bytes.is_some()
    }
}

/// How a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// What its tables hold.
    pub(super) applied: LogIndex,
    /// Bytes of records that went into them since the start.
    pub(super) logged: u64,
}

/// What is remembered of a shard.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its last snapshot.
    last: Option<LogIndex>,
    /// When the next one is due by time.
    next: Duration,
    /// Bytes of records when the last one was taken.
    logged: u64,
    /// Not before this, and the pause that led to it.
    rests_until: Duration,
    rest: Duration,
}

/// When each shard's snapshot is due.
#[derive(Debug)]
pub(super) struct Schedule {
    triggers: Triggers,
    places: BTreeMap<ShardId, Place>,
    /// Whose turn was last.
    turn: Option<ShardId>,
}

impl Schedule {
    /// None of these shards has a snapshot, as far as is known.
    pub(super) fn new(triggers: Triggers, shards: impl Iterator<Item = ShardId>, now: Duration) -> Self {
        let place =
            Place { last: None, next: now, logged: 0, rests_until: Duration::ZERO, rest: Duration::ZERO };
        Self { triggers, places: shards.map(|shard| (shard, place)).collect(), turn: None }
    }

    /// A snapshot was there already. The wall clock says how old it is; a clock that went back makes it new.
    pub(super) fn found(&mut self, shard: ShardId, newest: Newest, at: UnixMillis, now: Duration) {
        let Some(place) = self.places.get_mut(&shard) else { return };
        let age = u64::try_from(at.0.saturating_sub(newest.taken_at.0)).unwrap_or(0);
        let rest = self.triggers.interval.unwrap_or_default().saturating_sub(Duration::from_millis(age));
        (place.last, place.next) = (Some(newest.index), now.saturating_add(rest));
    }

    /// One was taken.
    pub(super) fn taken(&mut self, shard: ShardId, index: LogIndex, logged: u64, now: Duration) {
        let interval = self.triggers.interval.unwrap_or_default();
        if let Some(place) = self.places.get_mut(&shard) {
            let next = now.saturating_add(interval);
            *place = Place { last: Some(index), next, logged, rests_until: now, rest: Duration::ZERO };
        }
        self.turn = Some(shard);
    }

    /// One was not taken.
    pub(super) fn failed(&mut self, shard: ShardId, now: Duration) {
        if let Some(place) = self.places.get_mut(&shard) {
            place.rest = (place.rest * 2).clamp(RETRY_FIRST, RETRY_LONGEST);
            place.rests_until = now.saturating_add(place.rest);
        }
        self.turn = Some(shard);
    }

    /// The shard whose turn it is, if one is due. A shard that is not `seen` is not served.
    pub(super) fn due(&self, now: Duration, seen: impl Fn(ShardId) -> Option<Seen>) -> Option<ShardId> {
        let behind = self.places.iter().filter(|(shard, _)| self.turn.is_none_or(|turn| **shard > turn));
        let before = self.places.iter().filter(|(shard, _)| self.turn.is_some_and(|turn| **shard <= turn));
        let is_due = |place: &Place, seen: Seen| {
            let Some(last) = place.last else { return self.triggers.any() };
            let by_time = self.triggers.interval.is_some() && now >= place.next;
            let grown = seen.logged.saturating_sub(place.logged);
            let by_size = self.triggers.log_bytes.is_some_and(|bytes| grown >= bytes);
            seen.applied > last && (by_time || by_size)
        };
        behind
            .chain(before)
            .filter(|(_, place)| now >= place.rests_until)
            .find(|(shard, place)| seen(**shard).is_some_and(|seen| is_due(place, seen)))
            .map(|(shard, _)| *shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn seen(applied: u64, logged: u64) -> impl Fn(ShardId) -> Option<Seen> {
        move |_| Some(Seen { applied: LogIndex(applied), logged })
    }

    fn schedule(interval: Option<u64>, log_bytes: Option<u64>) -> Schedule {
        let triggers = Triggers { interval: interval.map(at), log_bytes };
        Schedule::new(triggers, [A, B].into_iter(), at(100))
    }

    #[test]
    fn a_snapshot_is_due_by_time_or_by_bytes_and_never_of_what_has_not_changed() {
        let mut schedule = schedule(Some(60), Some(1000));
        for shard in [A, B] {
            assert_eq!(schedule.due(at(100), seen(5, 0)), Some(shard), "there is none yet");
            schedule.taken(shard, LogIndex(5), 0, at(100));
        }
        assert_eq!(schedule.due(at(159), seen(6, 999)), None);
        assert_eq!(schedule.due(at(160), seen(6, 0)), Some(A));
        assert_eq!(schedule.due(at(101), seen(6, 1000)), Some(A));
        assert_eq!(schedule.due(at(900), seen(5, 0)), None, "nothing has changed");
        assert_eq!(schedule.due(at(900), |_| None), None, "it is not served");
        schedule.taken(A, LogIndex(6), 1000, at(160));
        assert_eq!(schedule.due(at(160), seen(7, 1999)), Some(B));
        schedule.taken(B, LogIndex(7), 1999, at(160));
        assert_eq!(schedule.due(at(161), seen(8, 1999)), None);
        assert_eq!(schedule.due(at(161), seen(8, 2000)), Some(A));
    }

    #[test]
    fn without_a_trigger_nothing_is_ever_due() {
        let schedule = schedule(None, None);
        assert_eq!(schedule.due(at(1_000_000), seen(9, u64::MAX)), None);
    }

    #[test]
    fn shards_take_turns_even_if_one_grows_all_the_time() {
        let mut schedule = schedule(None, Some(1));
        let mut logged = 0;
        let turns: Vec<ShardId> = std::iter::repeat_with(|| {
            logged += 1;
            let shard = schedule.due(at(100), seen(logged, logged)).unwrap();
            schedule.taken(shard, LogIndex(logged - 1), logged - 1, at(100));
            shard
        })
        .take(4)
        .collect();
        assert_eq!(turns, [A, B, A, B]);
    }

    #[test]
    fn after_a_failure_there_is_a_pause_that_grows_up_to_its_bound() {
        let mut schedule = schedule(Some(60), None);
        let mut now = at(100);
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            schedule.failed(A, now);
            schedule.failed(B, now);
            assert_eq!(schedule.due(now + at(pause - 1), seen(1, 0)), None, "{pause}");
            now += at(pause);
            assert_eq!(schedule.due(now, seen(1, 0)), Some(A), "{pause}");
        }
        schedule.taken(A, LogIndex(1), 0, now);
        schedule.failed(A, now + at(60));
        assert_eq!(
            schedule
                .due(now + at(120), |shard| (shard == A).then_some(Seen { applied: LogIndex(2), logged: 0 })),
            Some(A)
        );
    }

    #[test]
    fn a_snapshot_that_was_there_counts_by_its_age_and_a_clock_that_went_back_does_no_harm() {
        let found = |taken_at, now| {
            let mut schedule = schedule(Some(60), None);
            for shard in [A, B] {
                let newest = Newest { index: LogIndex(5), taken_at: UnixMillis(taken_at), bytes: 1 };
                schedule.found(shard, newest, UnixMillis(1_000_000), at(100));
            }
            schedule.due(at(now), seen(6, 0))
        };
        assert_eq!(found(1_000_000 - 50_000, 109), None);
        assert_eq!(found(1_000_000 - 50_000, 110), Some(A));
        assert_eq!(found(0, 100), Some(A));
        assert_eq!(found(9_000_000, 159), None);
        assert_eq!(found(9_000_000, 160), Some(A));
    }
}
