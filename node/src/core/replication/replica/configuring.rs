//! The sets of voters that a leader goes by. Invariant: each is on its disk before it counts, and an older one counts until
//! the newer one holds all that is committed.

use super::super::effect::{Answer, Effect, Refusal};
use super::super::input::Ask;
use super::leading::Told;
use super::sealing::refuse;
use super::{Replica, Role};
use crate::codec::record::RecordKind;
use crate::types::{Configs, RecordEpoch, ReplicaId};

impl Replica {
    /// The record says who votes: first it goes to the disk.
    pub(super) fn configure(
        &mut self,
        ask: Ask,
        epoch: RecordEpoch,
        configs: &Configs,
        learners: Vec<ReplicaId>,
        out: &mut Vec<Effect>,
    ) {
        let Role::Leading(leading) = &mut self.role else {
            return refuse(ask, Refusal::NotLeading, out);
        };
        if leading.epoch.record != epoch {
            return refuse(ask, Refusal::NotLeading, out);
        }
        // What is on its way already is built upon, so that no answer to it is forgotten.
        let base = leading.told.as_ref().map_or(&leading.configs, |told| &told.configs);
        // Sets that do not follow from these may have no voter in common with what has committed until now.
        if !base.leads_to(configs) {
            return refuse(ask, Refusal::NoStep(base.last().version), out);
        }
        let configs = base.hearing(configs);
        let mut asks = leading.told.take().map(|told| told.asks).unwrap_or_default();
        asks.push(ask);
        let ticket = self.kept.change(|memory| memory.configs = Some(configs.clone()));
        out.push(Effect::Save(ticket));
        leading.told = Some(Told { ticket, asks, configs, learners });
        self.leader_moved(out);
    }

    /// What the record says is on the disk: from here on it counts.
    pub(super) fn go_by_told(&mut self, out: &mut Vec<Effect>) {
        let kept = &self.kept;
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.writes().is_none() {
            return;
        }
        let Some(told) = leading.told.take_if(|told| kept.holds(told.ticket)) else { return };
        // A set that was confirmed meanwhile does not come back.
        let configs = told.configs.confirmed(leading.configs.oldest().version);
        if configs != leading.configs {
            out.push(Effect::Append { kind: RecordKind::Config, configs: Some(configs.clone()) });
        }
        (leading.configs, leading.learners) = (configs.clone(), told.learners);
        leading.find_peers(out);
        let version = leading.configs.last().version;
        if configs != told.configs {
            // What was saved still has that set: whoever asks would hear for ever that it counts.
            let ticket = self.kept.change(|memory| memory.configs = Some(configs));
            out.push(Effect::Save(ticket));
        }
        let answers =
            told.asks.into_iter().map(|ask| Effect::Answer { ask, answer: Answer::Configured(version) });
        out.extend(answers);
    }

    /// A set of voters holds all that is committed: older ones no longer count.
    pub(super) fn confirm_sets(&mut self, out: &mut Vec<Effect>) {
        let (own, committed) = (self.synced, self.committed);
        let Role::Leading(leading) = &mut self.role else { return };
        let Some(config) = leading.confirmable(committed, own) else { return };
        leading.configs = leading.configs.confirmed(config.version);
        let configs = leading.configs.clone();
        out.push(Effect::Append { kind: RecordKind::Config, configs: Some(configs.clone()) });
        out.push(Effect::Confirmed { epoch: leading.epoch.record, version: config.version });
        leading.find_peers(out);
        // What is on its way to the disk is newer than this.
        if leading.told.is_none() {
            let ticket = self.kept.change(|memory| memory.configs = Some(configs));
            out.push(Effect::Save(ticket));
        }
    }
}
