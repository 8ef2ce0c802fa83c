//! What a leader makes of its followers' reports and confirmations. Invariant: it commits nothing before an entry of its
//! own epoch, and by all sets of voters that it goes by.

use super::super::effect::Effect;
use super::super::history::Common;
use super::super::message::{Message, Report};
use super::super::quorum::quorum_index;
use super::leading::{ASK_AGAIN_MIN, Leading, Link, Stage};
use super::{Replica, Role};
use crate::types::{Epoch, LogIndex, ReplicaId};

impl Replica {
    pub(super) fn leading(&mut self, epoch: Epoch) -> Option<&mut Leading> {
        match &mut self.role {
            Role::Leading(leading) if leading.epoch == epoch => Some(leading),
            _ => None,
        }
    }

    /// A follower tells what it has.
    pub(super) fn reported(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let (common, end) = (self.history.common(&report.history), self.history.end());
        let (now, epoch) = (self.now, report.epoch);
        let is_of_this_epoch = report.history.last_epoch() == epoch;
        // Elsewhere the first entry behind the common point shows it. Where both logs end there, none may come for long.
        let other_content = report.intact
            && report.history.end() == end
            && report.history.last_epoch() == self.history.last_epoch()
            && report.history.chain() != self.history.chain();
        let Some(peer) = self.leading(epoch).and_then(|leading| leading.peers.get_mut(&from)) else { return };
        // Only this leader writes in its epoch: what it does not know there is of another one, and is not to be cut as if nobody had it.
        let of_another_leader = is_of_this_epoch && report.history.end() > end;
        let common = match common {
            Common::Upto(_) if other_content || of_another_leader => {
                let at = report.history.last_epoch();
                return out.push(Effect::Send { to: from, message: Message::Differs { epoch, at } });
            }
            Common::Upto(common) => common,
            Common::Impossible(at) | Common::Forgotten(at) => {
                return out.push(Effect::Send { to: from, message: Message::Differs { epoch, at } });
            }
        };
        // One that is late says what was so before it was damaged.
        if (report.boot, report.number) < (peer.boot, peer.report) {
            return;
        }
        (peer.boot, peer.report, peer.damaged) = (report.boot, report.number, !report.intact);
        if peer.damaged {
            // What it confirmed once is not there any more.
            peer.held = LogIndex(0);
        }
        peer.heard = Some(now);
        // That entries of this epoch are the same shows with the next one, which tells the chain before it; until then they count for nothing.
        peer.unproven = (is_of_this_epoch && common < end).then_some(common);
        if peer.link.is_served() {
            out.push(Effect::Unship(from));
        }
        peer.link = Link::Adopting(common);
        let message = Message::Adopt { epoch, report: report.number, common, end };
        out.push(Effect::Send { to: from, message });
    }

    /// A follower holds so much on its disk.
    pub(super) fn acknowledged(
        &mut self,
        from: ReplicaId,
        (epoch, synced, round): (Epoch, LogIndex, u64),
        out: &mut Vec<Effect>,
    ) {
        let (now, end) = (self.now, self.history.end());
        let Some(peer) = self.leading(epoch).and_then(|leading| leading.peers.get_mut(&from)) else { return };
        peer.heard = Some(now);
        peer.round = peer.round.max(round);
        if peer.unproven.is_none_or(|common| synced > common) {
            peer.unproven = None;
            peer.held = peer.held.max(synced.min(end));
        }
        if let Link::Adopting(common) = peer.link {
            (peer.link, peer.patience) = (Link::Shipping, ASK_AGAIN_MIN);
            out.push(Effect::Ship { to: from, after: common });
        }
        self.leader_moved(out);
    }

    /// Its disk, or a follower's, holds more: it begins, commits, opens, confirms, proves.
    pub(super) fn leader_moved(&mut self, out: &mut Vec<Effect>) {
        self.begin_epoch(out);
        self.go_by_told(out);
        let (own, committed) = (self.synced, self.committed);
        let Role::Leading(leading) = &mut self.role else { return };
        let (Stage::Barrier(start) | Stage::Open(start)) = leading.stage else { return };
        let upto = quorum_index(leading.configs.as_slice(), own, |id| leading.held(id, own));
        if upto >= start && upto > committed {
            self.commit(upto, out);
            self.tell_followers(out);
        }
        self.open(start, out);
        self.confirm_sets(out);
        self.end_round(out);
        self.tell_when_handed_over(out);
    }
}
