//! Which troubles with peers are worth a line in the log: each at most once a minute, however often it happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the same trouble with the same peer is not told again.
const PAUSE: Duration = Duration::from_secs(60);
/// Troubles that are remembered: a flood of different ones shall cost neither memory nor disk.
const REMEMBERED_MAX: usize = 256;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<(String, String), Duration>>);

impl Complaints {
    /// Whether to tell it now.
    pub(super) fn is_due(&self, who: &str, what: &str, now: Duration) -> bool {
        // A panic in between leaves a map that is whole.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (who.to_owned(), what.to_owned());
        if let Some(at) = told.get(&key)
            && now.saturating_sub(*at) < PAUSE
        {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.retain(|_, at| now.saturating_sub(*at) < PAUSE);
        }
        if told.len() >= REMEMBERED_MAX {
            return false;
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_a_minute_and_a_flood_of_them_not_at_all() {
        let complaints = Complaints::default();
        let due = |who: &str, what: &str, at| complaints.is_due(who, what, Duration::from_secs(at));
        assert!(due("a", "x", 0) && !due("a", "x", 59) && due("a", "y", 1) && due("b", "x", 1));
        assert!(due("a", "x", 60));
        assert_eq!((0..1000).filter(|n| due("flood", &n.to_string(), 60)).count(), REMEMBERED_MAX - 3);
        assert!(due("flood", "later", 121));
    }
}
