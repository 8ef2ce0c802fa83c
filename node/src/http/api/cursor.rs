//! Cursors, by which caches tell one round of long-polls from the next: the number of 20-second intervals since
//! 2024-10-09, pushed ahead at random when a client would go round in circles.

use crate::types::UnixMillis;

/// 2024-10-09T00:00:00Z.
const EPOCH_UNIX_SECONDS: i64 = 1_728_432_000;
const INTERVAL_SECONDS: u64 = 20;
/// Upper end of the jitter.
pub(super) const JITTER_SECONDS_MAX: u64 = 3600;

/// The cursor of a response; `jitter_seconds` is drawn from `1..=3600` and used only if the client is not behind.
pub(super) fn next_cursor(now: UnixMillis, client: Option<u64>, jitter_seconds: impl FnOnce() -> u64) -> u64 {
    let interval = interval(now);
    match client {
        Some(known) if known >= interval => {
            let jitter = jitter_seconds().clamp(1, JITTER_SECONDS_MAX);
            known.saturating_add(jitter.div_ceil(INTERVAL_SECONDS))
        }
        _ => interval,
    }
}

/// The interval that `now` lies in.
pub(super) fn interval(now: UnixMillis) -> u64 {
    let seconds = now.0.div_euclid(1000).saturating_sub(EPOCH_UNIX_SECONDS);
    u64::try_from(seconds).unwrap_or(0) / INTERVAL_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = EPOCH_UNIX_SECONDS * 1000;

    #[test]
    fn cursors_count_intervals_and_never_turn_back() {
        for (now, client, jitter, cursor) in [
            (START, None, 1, 0),
            (START + 19_999, None, 1, 0),
            (START + 20_000, None, 1, 1),
            (START + 200_000, Some(9), 3600, 10),
            (START + 200_000, Some(10), 1, 11),
            (START + 200_000, Some(10), 20, 11),
            (START + 200_000, Some(10), 21, 12),
            (START + 200_000, Some(500), 3600, 680),
            (0, None, 1, 0),
        ] {
            assert_eq!(next_cursor(UnixMillis(now), client, || jitter), cursor);
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_always_greater_than_the_clients(now in START..START * 2, client in 0u64..1 << 53, jitter: u64) {
            prop_assert!(next_cursor(UnixMillis(now), Some(client), || jitter) > client);
        }
    }
}
