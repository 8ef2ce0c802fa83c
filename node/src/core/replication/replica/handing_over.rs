//! The soft part of a switchover: a leader takes no new writes for a moment, so that another voter can hold all that it has.
//! Invariant: it ends by itself, and then nothing has changed.

use std::time::Duration;

use super::super::effect::{Answer, Effect, Refusal};
use super::super::input::{Ask, HandOver};
use super::leading::{Leading, Link};
use super::sealing::refuse;
use super::{Replica, Role};
use crate::types::{LogIndex, ReplicaId};

/// Longest hold, whatever is asked for: writers wait for it.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// A hold on new writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandingOver {
    to: ReplicaId,
    until: Duration,
    /// Who waits to hear that the voter holds everything.
    ask: Option<Ask>,
}

impl Leading {
    /// Whether new writes wait.
    pub(super) const fn is_handing_over(&self) -> bool {
        self.handing_over.is_some()
    }
}

impl Replica {
    /// Whether new writes are to wait: another voter is being given all that there is, and may lead next.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.is_handing_over())
    }

    /// Takes no new writes until another epoch begins or patience ends, and says when `to` holds everything. A repeated order
    /// does not make the hold longer.
    pub(super) fn hand_over(&mut self, order: HandOver, out: &mut Vec<Effect>) {
        let HandOver { ask, epoch, to, patience } = order;
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else {
            return refuse(ask, Refusal::NotLeading, out);
        };
        if leading.epoch.record != epoch || !leading.is_open() || leading.suspended {
            return refuse(ask, Refusal::NotLeading, out);
        }
        let votes = leading.configs.last().voters.contains(to);
        let held = match leading.peers.get(&to) {
            Some(peer) if votes && !peer.damaged && peer.link == Link::Shipping => peer.held,
            Some(peer) => return refuse(ask, Refusal::Behind(peer.held), out),
            None => return refuse(ask, Refusal::Behind(LogIndex(0)), out),
        };
        let until = match leading.handing_over {
            Some(HandingOver { ask: earlier, until, .. }) => {
                earlier.into_iter().for_each(|ask| refuse(ask, Refusal::Behind(held), out));
                until
            }
            None => now + patience.min(PATIENCE_MAX),
        };
        leading.handing_over = Some(HandingOver { to, until, ask: Some(ask) });
        self.tell_when_handed_over(out);
    }

    /// Says so once the voter holds everything, and all of it is committed.
    pub(super) fn tell_when_handed_over(&mut self, out: &mut Vec<Effect>) {
        let (end, committed) = (self.history.end(), self.committed);
        let Role::Leading(leading) = &mut self.role else { return };
        let held = |to: ReplicaId| leading.peers.get(&to).map_or(LogIndex(0), |peer| peer.held);
        let Some(HandingOver { to, ask, .. }) = leading.handing_over else { return };
        if committed < end || held(to) < end {
            return;
        }
        if let Some(HandingOver { ask: told, .. }) = &mut leading.handing_over {
            *told = None;
        }
        out.extend(ask.map(|ask| Effect::Answer { ask, answer: Answer::CaughtUp(end) }));
    }

    /// Writes are taken again when no other epoch has begun in time.
    pub(super) fn end_hand_over(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else { return };
        let Some(HandingOver { to, ask, .. }) = leading.handing_over.take_if(|hold| hold.until <= now) else {
            return;
        };
        let held = leading.peers.get(&to).map_or(LogIndex(0), |peer| peer.held);
        ask.into_iter().for_each(|ask| refuse(ask, Refusal::Behind(held), out));
    }
}
