//! A follower: promises the leader's epoch, tells what it has, cuts to what both have, takes entries, confirms what is on
//! its disk. Invariant: it confirms only what it holds of *this* epoch's leader, and cuts nothing that is committed.

use super::super::effect::{Effect, Halt};
use super::super::image::Image;
use super::super::memory::Ticket;
use super::super::message::{Message, Records, Report};
use super::{Replica, Role};
use crate::types::{Chain, Epoch, LogIndex, ReplicaId};

/// Whom a replica follows, and how far that has come.
#[derive(Debug)]
pub(super) struct Following {
    leader: ReplicaId,
    epoch: Epoch,
    pub(super) stage: Stage,
    /// What it fetches to be seeded with.
    pub(super) image: Option<Image>,
    /// What the leader says is committed; counts once this log is the leader's, as far as it is on this disk.
    pub(super) committed: LogIndex,
    /// The leader's last round, to be echoed.
    round: u64,
    /// The leader says that it may give up what it holds.
    pub(super) is_spare: bool,
    /// Where the leader's log ended when it made something of the last report.
    pub(super) whole_at: Option<LogIndex>,
}

impl Following {
    pub(super) const fn leader(&self) -> ReplicaId {
        self.leader
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The promise is on its way to the disk.
    Promising(Ticket),
    /// It has told what it has.
    Reported,
    /// What the leader does not have is being cut.
    Cutting,
    /// All of its log is the leader's, and it takes entries.
    Taking,
    /// All of its log is the leader's, and is being replaced by an image.
    Installing,
}

impl Replica {
    /// A leader asks to be followed: its epoch is promised before anything is told.
    pub(super) fn follow(&mut self, leader: ReplicaId, epoch: Epoch, out: &mut Vec<Effect>) {
        let promised = self.kept.get().promised;
        // A halted replica keeps what it promised. A leader of the epoch of the record that this one leads or follows another in would be
        // a second one.
        let follows_another = matches!(&self.role, Role::Following(following)
            if following.epoch.record == epoch.record && following.leader != leader);
        let second = self.kept.get().led.record == epoch.record || follows_another;
        if epoch < promised || second || matches!(self.role, Role::Halted(_)) {
            let message = Message::Refused { epoch, promised };
            return out.push(Effect::Send { to: leader, message });
        }
        if epoch > promised {
            self.step_down(out);
            let ticket = self.kept.change(|memory| memory.promised = epoch);
            out.push(Effect::Save(ticket));
        }
        self.forgo(out);
        self.role = Role::Following(Following {
            leader,
            epoch,
            stage: Stage::Promising(self.kept.newest()),
            image: None,
            committed: LogIndex(0),
            round: 0,
            is_spare: false,
            whole_at: None,
        });
        self.heard_leader = self.now;
        self.follower_moved(out);
    }

    /// The leader says how far both logs are the same.
    pub(super) fn adopt(
        &mut self,
        from: ReplicaId,
        (epoch, report): (Epoch, u64),
        (common, whole_at): (LogIndex, LogIndex),
        out: &mut Vec<Effect>,
    ) {
        let (committed, end, newest) = (self.committed, self.history.end(), self.reports);
        let Some(following) = self.following(from, epoch) else { return };
        if following.stage != Stage::Reported || report != newest || common > end {
            return;
        }
        if common < committed {
            return self.halt(Halt::BelowCommit { common, committed }, out);
        }
        following.whole_at = Some(whole_at);
        if common < end {
            following.stage = Stage::Cutting;
            self.cutting = true;
            out.push(Effect::Cut { to: common });
        } else {
            following.stage = Stage::Taking;
            self.follower_moved(out);
        }
    }

    /// The leader has another history of an epoch than this replica, or remembers none that this replica has: somebody must look.
    /// Where nothing shows how far both are the same, a cut might take back what was confirmed.
    pub(super) fn differ(&mut self, from: ReplicaId, epoch: Epoch, at: Epoch, out: &mut Vec<Effect>) {
        if self.following(from, epoch).is_some_and(|following| following.stage == Stage::Reported) {
            let is_here = self.history.starts().iter().any(|start| start.epoch == at);
            self.halt(if is_here { Halt::EpochDiffers(at) } else { Halt::EpochForgotten(at) }, out);
        }
    }

    /// The cut is durable: what comes may be written behind it.
    pub(super) fn was_cut(&mut self, to: LogIndex, chain: Chain, out: &mut Vec<Effect>) {
        self.history.cut(to, chain);
        self.synced = self.synced.min(self.history.end());
        self.voters.retain(|(index, _)| *index <= to);
        self.cutting = false;
        if let Role::Following(following) = &mut self.role
            && following.stage == Stage::Cutting
        {
            following.stage = Stage::Taking;
        }
        self.disk_moved(out);
    }

    /// Entries from the leader; those that are here already are passed over.
    pub(super) fn take(&mut self, from: ReplicaId, records: Records, out: &mut Vec<Effect>) {
        let (end, chain) = (self.history.end(), self.history.chain());
        let Some(following) = self.following(from, records.epoch) else { return };
        if following.stage != Stage::Taking {
            return;
        }
        if records.after > end {
            // Something is missing in between: told again, the leader begins again where this log ends.
            following.stage = Stage::Reported;
            return self.report(out);
        }
        let known = usize::try_from(end.0 - records.after.0).unwrap_or(usize::MAX);
        if known == 0 && records.chain != chain {
            return self.halt(Halt::ChainDiffers(end), out);
        }
        following.committed = following.committed.max(records.committed);
        let mut entries = records.entries;
        entries.drain(..known.min(entries.len()));
        if !entries.is_empty() {
            out.push(Effect::Write(entries));
        }
        self.commit_as_told(out);
    }

    /// The leader is there; and it wants to know that it still leads.
    pub(super) fn beat(
        &mut self,
        from: ReplicaId,
        (epoch, committed, round): (Epoch, LogIndex, u64),
        is_spare: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(following) = self.following(from, epoch) else { return self.refuse_beat(from, epoch, out) };
        following.is_spare = is_spare;
        following.round = following.round.max(round);
        let stage = following.stage;
        if stage == Stage::Taking {
            following.committed = following.committed.max(committed);
            self.commit_as_told(out);
        }
        if matches!(stage, Stage::Taking | Stage::Installing) {
            self.confirm(out);
        }
    }

    /// Whoever halted, or promised a later epoch, says so: a leader that hears nothing gives the connection of all shards up.
    fn refuse_beat(&self, to: ReplicaId, epoch: Epoch, out: &mut Vec<Effect>) {
        let promised = self.kept.get().promised;
        if epoch < promised || matches!(self.role, Role::Halted(_)) {
            out.push(Effect::Send { to, message: Message::Refused { epoch, promised } });
        }
    }

    /// The promise is on the disk, or more of the log is. What a cut or an image takes away is not told of.
    pub(super) fn follower_moved(&mut self, out: &mut Vec<Effect>) {
        let changing = self.is_changing();
        let Role::Following(following) = &mut self.role else { return };
        match following.stage {
            Stage::Promising(ticket) if self.kept.holds(ticket) && !changing => {
                following.stage = Stage::Reported;
                self.report(out);
            }
            Stage::Taking => {
                self.commit_as_told(out);
                if !self.mend(out) {
                    self.confirm(out);
                }
            }
            Stage::Promising(_) | Stage::Reported | Stage::Cutting | Stage::Installing => {}
        }
    }

    /// Whom it follows, if that is who speaks, in that epoch; takes note that it was heard of.
    pub(super) fn following(&mut self, from: ReplicaId, epoch: Epoch) -> Option<&mut Following> {
        let now = self.now;
        let Role::Following(following) = &mut self.role else { return None };
        let meant = following.leader == from && following.epoch == epoch;
        if meant {
            self.heard_leader = now;
        }
        meant.then_some(following)
    }

    fn commit_as_told(&mut self, out: &mut Vec<Effect>) {
        let Role::Following(Following { committed, .. }) = self.role else { return };
        self.commit(committed, out);
    }

    pub(super) fn report(&mut self, out: &mut Vec<Effect>) {
        let Role::Following(Following { leader, epoch, .. }) = self.role else { return };
        self.reports += 1;
        let (boot, number, history, intact) =
            (self.boot, self.reports, self.history.clone(), self.is_intact());
        if intact {
            self.mended = None;
        }
        let report = Report { epoch, boot, number, history, committed: self.committed, intact };
        out.push(Effect::Send { to: leader, message: Message::Report(report) });
    }

    fn confirm(&self, out: &mut Vec<Effect>) {
        let Role::Following(Following { leader, epoch, round, .. }) = self.role else { return };
        let synced = self.synced;
        out.push(Effect::Send { to: leader, message: Message::Ack { epoch, synced, round } });
    }
}
