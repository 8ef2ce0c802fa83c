//! Starts that nobody else remembers (I8). A disk that was put back has forgotten promises and entries that others count
//! on; only they can tell. Invariant: before another member remembers this start, the replica promises, answers, leads and
//! confirms nothing; once its disk is known for an older one, never again.

use super::super::effect::{Effect, Halt};
use super::super::message::Message;
use super::{Replica, Role};
use crate::types::{Boot, ReplicaId};

impl Replica {
    /// Another member remembers this start: the replica takes part. What it led it goes on leading; the last leader that
    /// asked meanwhile is followed.
    pub(super) fn vouched_for(&mut self, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.vouched, true) || matches!(self.role, Role::Halted(_)) {
            return;
        }
        self.resume(out);
        if let Some((leader, epoch)) = self.asked_early.take() {
            self.follow(leader, epoch, out);
        }
    }

    /// What is heard before that: of all messages only the question to follow need not be lost, the newest one.
    pub(super) fn hear_early(&mut self, from: ReplicaId, message: &Message) {
        if let Message::Follow(epoch) = *message
            && self.asked_early.is_none_or(|(_, known)| known <= epoch)
        {
            self.asked_early = Some((from, epoch));
        }
    }

    /// The disk is an older one: another member has met the start `met` of it, of which it knows nothing.
    pub(super) fn was_put_back(&mut self, met: Boot, out: &mut Vec<Effect>) {
        if !matches!(self.role, Role::Halted(_)) {
            self.halt(Halt::PutBack(met), out);
        }
    }
}
