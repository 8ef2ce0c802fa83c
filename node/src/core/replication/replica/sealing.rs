//! Seals and orders to lead. Invariant: a seal is answered once the promise and the whole log are on the disk, and from
//! the promise on nothing of a lower epoch is confirmed; who leads is as it was when it was sealed.

use super::super::effect::{Answer, Effect, Refusal, SealAnswer};
use super::super::input::{Ask, Lead};
use super::leading::Leading;
use super::{Replica, Role, SealAsk};
use crate::types::{Boot, Configs, Epoch, RecordEpoch};

/// A promise cannot be taken back, and whoever made it follows nobody of an earlier epoch. So a number that no cluster can have reached
/// since the last promise is a mistake: at one failover a second, which nobody keeps up, it would have taken 136 years.
const LEAP_MAX: u64 = 1 << 32;

impl Replica {
    /// Promises to confirm nothing below `epoch`, and says what it has. A repeated seal changes nothing; one below what is
    /// promised is refused in its turn.
    pub(super) fn seal(&mut self, ask: Ask, epoch: RecordEpoch, out: &mut Vec<Effect>) {
        let promised = self.kept.get().promised;
        if let Some(refusal) = self.unfit() {
            return refuse(ask, refusal, out);
        }
        if let Role::Leading(leading) = &self.role
            && epoch == promised.record
        {
            let answer = Answer::Leads { epoch: promised, open: leading.is_open() };
            return out.push(Effect::Answer { ask, answer });
        }
        if epoch.0.saturating_sub(promised.record.0) > LEAP_MAX {
            return refuse(ask, Refusal::TooFar(promised), out);
        }
        if epoch > promised.record {
            self.step_down(out);
            let ticket = self.kept.change(|memory| memory.promised = Epoch { record: epoch, boot: Boot(0) });
            out.push(Effect::Save(ticket));
        }
        self.seals.push(SealAsk { ask, epoch });
        self.answer_seals(out);
    }

    /// Answers the seals once all that the answers say is on the disk: the whole log, without what is being cut or
    /// replaced, and the newest promise, which may be a later one than that of the seal.
    pub(super) fn answer_seals(&mut self, out: &mut Vec<Effect>) {
        if !self.kept.holds(self.kept.newest()) || self.synced < self.history.end() || self.is_changing() {
            return;
        }
        let promised = self.kept.get().promised;
        for SealAsk { ask, epoch } in std::mem::take(&mut self.seals) {
            if epoch < promised.record {
                refuse(ask, Refusal::Promised(promised), out);
                continue;
            }
            let answer = SealAnswer {
                promised,
                standing: self.standing(),
                committed: self.committed,
                history: self.history.clone(),
                configs: self.voters.last().map(|(_, configs)| configs.clone()),
                intact: self.is_intact(),
            };
            out.push(Effect::Answer { ask, answer: Answer::Sealed(Box::new(answer)) });
        }
    }

    /// Leads the epoch of the order, if it is as the order says; an order that came before is answered with what is.
    pub(super) fn lead(&mut self, order: Lead, out: &mut Vec<Effect>) {
        let Lead { ask, epoch: record, configs, learners, expected } = order;
        let (promised, led) = (self.kept.get().promised, self.kept.get().led);
        if let Some(refusal) = self.unfit() {
            return refuse(ask, refusal, out);
        }
        if !self.is_intact() {
            return refuse(ask, Refusal::Damaged, out);
        }
        if record != promised.record {
            return refuse(ask, Refusal::Promised(promised), out);
        }
        if let Role::Leading(leading) = &self.role
            && led.record == record
        {
            let answer = Answer::Leads { epoch: led, open: leading.is_open() };
            out.push(Effect::Answer { ask, answer });
            return;
        }
        let standing = self.standing();
        // One epoch has one leader: whoever promised this one to somebody who leads it is not meant.
        let taken = promised.boot > Boot(0);
        if standing != expected || self.synced != standing.end || self.is_changing() || taken {
            return refuse(ask, Refusal::Changed(standing), out);
        }
        let epoch = Epoch { record, boot: self.boot };
        self.begin_to_lead(epoch, Leading::new(epoch, self.me, configs, learners, Some(ask)), out);
    }

    /// A leader that starts again goes on by itself, unless a later epoch was promised meanwhile.
    pub(super) fn resume(&mut self, out: &mut Vec<Effect>) {
        let memory = self.kept.get();
        let led = memory.led;
        let goes_on = led.record == memory.promised.record
            && led.boot < self.boot
            && !memory.retired
            && !memory.damaged;
        if let Some(configs) = memory.configs.clone().filter(|_| goes_on) {
            let epoch = Epoch { record: led.record, boot: self.boot };
            self.begin_to_lead(epoch, Leading::new(epoch, self.me, configs, Vec::new(), None), out);
        }
    }

    fn begin_to_lead(&mut self, epoch: Epoch, mut leading: Leading, out: &mut Vec<Effect>) {
        let configs = leading.configs().clone();
        let ticket = self.kept.change(|memory| {
            (memory.promised, memory.led, memory.configs) = (epoch, epoch, Some(configs));
        });
        out.push(Effect::Save(ticket));
        leading.wait_for(ticket);
        self.role = Role::Leading(Box::new(leading));
        self.leader_moved(out);
    }

    /// Why it takes part in no election, if so. A removed replica that votes again counts from the entry on that says
    /// so: its leader may have confirmed the set with its help.
    fn unfit(&self) -> Option<Refusal> {
        let votes = |(_, configs): &(_, Configs)| configs.everybody().contains(&self.me);
        match self.role {
            Role::Halted(halt) => Some(Refusal::Halted(halt)),
            _ if !self.vouched => Some(Refusal::Unvouched),
            _ if self.voters.last().is_some_and(votes) => None,
            _ => self.kept.get().retired.then_some(Refusal::Retired),
        }
    }
}

pub(super) fn refuse(ask: Ask, refusal: Refusal, out: &mut Vec<Effect>) {
    out.push(Effect::Answer { ask, answer: Answer::Refused(refusal) });
}
