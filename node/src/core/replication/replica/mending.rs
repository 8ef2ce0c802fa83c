//! A replica whose start found damage: what it once confirmed may be missing. It gets it back as a follower that lags, from the
//! log or from an image.
//!
//! Invariant: its promises stand, and nothing else of it counts, in no commit and in no election, until it durably holds all
//! that a leader of its epoch held when it was told of the damage. That leader has every commit of earlier epochs, and in its own
//! none that it would not have had then: from the report on it has counted nothing that the damaged one confirmed.

use super::super::effect::Effect;
use super::following::Stage;
use super::{Replica, Role};

impl Replica {
    /// Whether all is there that it ever confirmed, and the disk says so.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        !self.kept.get().damaged && self.mended.is_none_or(|ticket| self.kept.holds(ticket))
    }

    /// A follower may be whole again: that is remembered first, and then reported. Says whether it was.
    pub(super) fn mend(&mut self, out: &mut Vec<Effect>) -> bool {
        let is_intact = self.is_intact();
        let Role::Following(following) = &mut self.role else { return false };
        if self.mended.is_some() {
            if is_intact {
                following.stage = Stage::Reported;
                self.report(out);
            }
            return is_intact;
        }
        let holds_all = following.whole_at.is_some_and(|end| self.synced >= end);
        if self.kept.get().damaged && holds_all {
            let ticket = self.kept.change(|memory| memory.damaged = false);
            self.mended = Some(ticket);
            out.push(Effect::Save(ticket));
        }
        false
    }
}
