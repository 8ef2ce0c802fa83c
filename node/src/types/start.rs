//! The starts of a volume. A boot only counts them: two copies of one volume count alike. So each start draws a key as
//! well, and keeps the keys of those before it: whoever remembers one start of a volume can tell whether this is the
//! volume that made it. Invariant: a trail has no hole, so the place of a key says its boot.

use std::fmt;

use super::Boot;

/// Starts whose keys a volume keeps.
///
/// A member that was away for all of them cannot tell any more whether the volume is the one that it knew. A process that ends
/// again and again is started every five minutes in the end: these are more than two hours of that. Eight bytes each, they
/// fit a greeting and cost the superblock nothing.
pub const TRAIL_STARTS_MAX: usize = 32;

/// Drawn at random at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StartKey(pub u64);

/// One start of a volume, like no other one, also not of a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Start {
    /// Which start it is.
    pub boot: Boot,
    /// What it drew.
    pub key: StartKey,
}

/// The last start of another volume that was met or heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Met {
    /// Which start it was.
    pub boot: Boot,
    /// What it drew; `None`: nothing, it was met by a release whose starts drew nothing.
    pub key: Option<StartKey>,
}

impl From<Start> for Met {
    fn from(Start { boot, key }: Start) -> Self {
        Self { boot, key: Some(key) }
    }
}

/// The last starts of a volume, as the volume knows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    newest: Boot,
    /// Newest first.
    keys: [StartKey; TRAIL_STARTS_MAX],
    count: usize,
}

impl Trail {
    /// The trail of a volume that was started so often, and drew these keys last, the newest first. `None`: more keys than
    /// starts, or than are kept.
    #[must_use]
    pub fn new(newest: Boot, keys: &[StartKey]) -> Option<Self> {
        let mut kept = [StartKey::default(); TRAIL_STARTS_MAX];
        kept.get_mut(..keys.len())?.copy_from_slice(keys);
        let counted = u64::try_from(keys.len()).is_ok_and(|count| count <= newest.0);
        counted.then_some(Self { newest, keys: kept, count: keys.len() })
    }

    /// The trail of a volume whose starts drew nothing.
    #[must_use]
    pub const fn without_keys(newest: Boot) -> Self {
        Self { newest, keys: [StartKey(0); TRAIL_STARTS_MAX], count: 0 }
    }

    /// The next start draws a key.
    #[must_use]
    pub fn followed_by(mut self, key: StartKey) -> Self {
        self.keys.rotate_right(1);
        if let Some(first) = self.keys.first_mut() {
            *first = key;
        }
        self.newest = Boot(self.newest.0.saturating_add(1));
        self.count = (self.count + 1).min(TRAIL_STARTS_MAX);
        self
    }

    /// How often the volume was started.
    #[must_use]
    pub const fn newest(&self) -> Boot {
        self.newest
    }

    /// The last start, if it drew a key.
    #[must_use]
    pub fn last(&self) -> Option<Start> {
        self.keys().first().map(|key| Start { boot: self.newest, key: *key })
    }

    /// The keys, the newest first.
    #[must_use]
    pub fn keys(&self) -> &[StartKey] {
        self.keys.get(..self.count).unwrap_or_default()
    }

    /// What that start drew, if the trail goes back so far.
    #[must_use]
    pub fn key_of(&self, boot: Boot) -> Option<StartKey> {
        let back = usize::try_from(self.newest.0.checked_sub(boot.0)?).ok()?;
        self.keys().get(back).copied()
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("newest", &self.newest).field("keys", &self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_knows_its_last_starts_by_their_boots_and_forgets_older_ones() {
        let mut trail = Trail::new(Boot(0), &[]).unwrap();
        assert_eq!((trail.last(), trail.key_of(Boot(0))), (None, None));
        for key in 1..=40 {
            trail = trail.followed_by(StartKey(key));
        }
        assert_eq!(trail.last(), Some(Start { boot: Boot(40), key: StartKey(40) }));
        assert_eq!(trail.key_of(Boot(9)), Some(StartKey(9)), "32 starts back");
        assert_eq!((trail.key_of(Boot(8)), trail.key_of(Boot(41))), (None, None));
        assert_eq!(Trail::new(Boot(40), trail.keys()), Some(trail));
    }

    #[test]
    fn a_volume_that_was_started_before_keys_were_drawn_has_a_shorter_trail() {
        let trail = Trail::new(Boot(7), &[]).unwrap().followed_by(StartKey(3));
        assert_eq!((trail.key_of(Boot(8)), trail.key_of(Boot(7))), (Some(StartKey(3)), None));
    }

    #[test]
    fn more_keys_than_starts_are_no_trail() {
        assert_eq!(Trail::new(Boot(1), &[StartKey(1), StartKey(2)]), None);
        assert_eq!(Trail::new(Boot(99), &[StartKey(1); TRAIL_STARTS_MAX + 1]), None);
    }
}
