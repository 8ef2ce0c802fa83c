//! A replica whose start found damage: what it once confirmed may be missing. It gets it back as a follower that lags, from the
//! log or from an image. A running one that cannot be read any more becomes such a replica: it remembers that it is damaged, and then
//! begins with nothing.
//!
//! Invariant: its promises stand, and nothing else of it counts, in no commit and in no election, until it durably holds all
//! that a leader of its epoch held when it was told of the damage. That leader has every commit of earlier epochs, and in its own
//! none that it would not have had then: from the report on it has counted nothing that the damaged one confirmed.

use std::time::Duration;

use super::super::effect::Effect;
use super::super::history::History;
use super::following::Stage;
use super::leading::Leading;
use super::{Replica, Role};
use crate::types::{LogIndex, ReplicaId};

/// For so long one follower may give up what it holds, and then the next: much longer than it takes until its leader hears of it.
const SPARED_FOR: Duration = Duration::from_secs(2);

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

    /// Something that is stored here is known to be damaged, or nothing is any more: such a leader needs what its followers hold.
    pub const fn note_rot(&mut self, rotten: bool) {
        self.rotten = rotten;
    }

    /// The follower that may give up what it holds, should it be damaged: one at a time, so that never two begin with nothing at once, and
    /// whoever has begun with nothing until it has everything.
    pub(super) fn spared(&self, leading: &Leading) -> Option<ReplicaId> {
        if self.rotten {
            return None;
        }
        let mut damaged = leading.peers.iter().filter(|(_, peer)| peer.damaged).map(|(id, _)| *id);
        match (damaged.next(), damaged.next()) {
            (None, _) => {}
            (one, None) => return one,
            _ => return None,
        }
        let turn = self.now.as_millis() / SPARED_FOR.as_millis();
        let place = usize::try_from(turn % leading.peers.len().max(1) as u128).ok()?;
        leading.peers.keys().nth(place).copied()
    }

    /// Whether it may be asked to give up all that it holds: it follows a leader that says so.
    #[must_use]
    pub const fn can_give_up(&self) -> bool {
        let Role::Following(following) = &self.role else { return false };
        following.is_spare && !self.is_changing()
    }

    /// A follower gives up all that it holds. That it is damaged is remembered first; until it is empty it confirms nothing and answers no
    /// seal. Whoever follows nobody, or a leader that needs what it holds, or whose log is being changed already, is asked again later.
    pub(super) fn give_up(&mut self, out: &mut Vec<Effect>) {
        if !self.can_give_up() {
            return;
        }
        self.forgo(out);
        let ticket = self.kept.change(|memory| memory.damaged = true);
        (self.giving_up, self.mended) = (Some(ticket), None);
        if let Role::Following(following) = &mut self.role {
            (following.stage, following.committed, following.whole_at) =
                (Stage::Promising(ticket), LogIndex(0), None);
        }
        out.push(Effect::Save(ticket));
    }

    /// The disk says that it is damaged: no start takes what is left for all that there was, so it may go.
    pub(super) fn empty_if_noted(&mut self, out: &mut Vec<Effect>) {
        if !self.giving_up.is_some_and(|ticket| self.kept.holds(ticket)) {
            return;
        }
        self.giving_up = None;
        if !matches!(self.role, Role::Halted(_)) {
            self.installing = Some(History::default());
            out.push(Effect::Empty);
        }
    }
}
