//! Rounds of heartbeats: they prove to reads that this replica still leads, and tell followers what is committed. Invariant: a
//! round proves it to the reads that asked before it began.

use super::super::effect::Effect;
use super::super::message::Message;
use super::{Replica, Role};

impl Replica {
    /// A read wants proof that this replica leads: one round for all that ask before it begins.
    pub(super) fn read(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.rounds.wanted = true;
        if leading.rounds.open.is_none() {
            self.begin_round(out);
        }
    }

    pub(super) fn begin_round(&mut self, out: &mut Vec<Effect>) {
        let committed = self.committed;
        let Role::Leading(leading) = &mut self.role else { return };
        if !leading.is_open() || !std::mem::take(&mut leading.rounds.wanted) {
            return;
        }
        leading.rounds.begun += 1;
        leading.rounds.open = Some(committed);
        out.push(Effect::RoundBegun(leading.rounds.begun));
        self.tell_followers(out);
        self.end_round(out);
    }

    pub(super) fn end_round(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else { return };
        let round = leading.rounds.begun;
        let Some(upto) = leading.rounds.open.filter(|_| leading.enough(|peer| peer.round >= round)) else {
            return;
        };
        leading.rounds.open = None;
        out.push(Effect::Readable { round, upto });
        self.begin_round(out);
    }

    /// What is committed, and which round is under way.
    pub(super) fn tell_followers(&self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &self.role else { return };
        let (epoch, committed, round) = (leading.epoch, self.committed, leading.rounds.begun);
        let spared = self.spared(leading);
        let shipping = leading.peers.iter().filter(|(_, peer)| peer.link.is_served());
        let beats = shipping.map(|(to, _)| {
            let is_spare = spared == Some(*to);
            Effect::Send { to: *to, message: Message::Beat { epoch, committed, round, is_spare } }
        });
        out.extend(beats);
    }
}
