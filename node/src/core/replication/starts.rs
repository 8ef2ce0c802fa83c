//! Disks that were put back (I8). Members remember the last start of each other's volumes that they have met or heard of;
//! whoever comes with a disk that does not know that start has lost what it promised and confirmed since.
//!
//! Invariant: what is remembered of a volume never goes back to an earlier start.

use crate::types::{Boot, Met, Start, StartKey, Trail};

/// A volume does not know a start of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its disk was put back to an older copy: start {} was seen of it, and its start {found} does not know that one",
    .known.boot
)]
pub struct PutBack {
    /// The start that it makes now.
    pub found: Boot,
    /// The one that was seen.
    pub known: Met,
}

/// Judges a volume by its trail. A start that lies before all of the trail cannot be looked up: the volume has been started so
/// often since that this is taken for the truth (`failover.md`, known limits).
pub fn recognise(known: Option<Met>, trail: &Trail) -> Result<(), PutBack> {
    let Some(known) = known else { return Ok(()) };
    let found = trail.newest();
    let is_other = |key: StartKey| trail.key_of(known.boot).is_some_and(|drawn| drawn != key);
    if known.boot > found || known.key.is_some_and(is_other) { Err(PutBack { found, known }) } else { Ok(()) }
}

/// Whether what a member tells of a third one's start is newer than what is remembered of it. Of two starts with one boot the
/// one that was heard of first stays: whoever remembers the other one judges for itself.
#[must_use]
pub fn is_news(known: Option<Met>, told: Start) -> bool {
    known.is_none_or(|known| known.boot < told.boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(boot: u64, key: u64) -> Start {
        Start { boot: Boot(boot), key: StartKey(key) }
    }

    /// Starts that drew these keys, the first one being boot 1.
    fn trail(keys: &[u64]) -> Trail {
        let none = Trail::new(Boot(0), &[]).unwrap();
        keys.iter().fold(none, |trail, key| trail.followed_by(StartKey(*key)))
    }

    #[test]
    fn a_disk_that_does_not_know_a_start_which_was_met_was_put_back() {
        // What was met; the keys of the disk's starts; whether it is the same disk.
        let cases: [(Start, &[u64], bool, &str); 8] = [
            (start(3, 13), &[11, 12, 13], true, "still in that start"),
            (start(3, 13), &[11, 12, 13, 14, 15], true, "started again"),
            (start(3, 13), &[11, 12], false, "put back, not started again"),
            (start(3, 13), &[11, 12, 23], false, "put back by one start: its boot is the same again"),
            (start(3, 13), &[11, 22, 23, 24], false, "put back and started as often, unmet, and once more"),
            (start(1, 11), &[21], false, "put back to before its first start"),
            (start(1, 11), &[11], true, "its first start"),
            (start(5, 15), &[11, 12, 13], false, "put back by two"),
        ];
        for (met, keys, same, why) in cases {
            assert_eq!(recognise(Some(met.into()), &trail(keys)).is_ok(), same, "{why}");
        }
        assert_eq!(recognise(None, &trail(&[1])), Ok(()), "never met");
    }

    #[test]
    fn a_start_before_the_whole_trail_or_without_a_key_is_judged_by_its_boot_alone() {
        let keys: Vec<u64> = (1..=40).collect();
        assert!(recognise(Some(start(8, 99).into()), &trail(&keys)).is_ok(), "too long ago to be known");
        assert!(recognise(Some(start(9, 99).into()), &trail(&keys)).is_err());
        let met = |boot| Some(Met { boot: Boot(boot), key: None });
        assert!(recognise(met(2), &trail(&[1, 2])).is_ok() && recognise(met(3), &trail(&[1, 2])).is_err());
    }

    #[test]
    fn only_a_later_start_is_news() {
        assert!(is_news(None, start(1, 1)) && is_news(Some(start(1, 1).into()), start(2, 7)));
        assert!(
            !is_news(Some(start(2, 1).into()), start(2, 7))
                && !is_news(Some(start(2, 1).into()), start(1, 1))
        );
    }
}
