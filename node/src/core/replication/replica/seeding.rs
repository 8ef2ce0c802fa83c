//! A follower below the first entry of the leader's log is seeded: it gets an image of what is committed, and the log from
//! there on. To the leader it stays a follower whose log is its own as far as it goes, and which lags.
//!
//! Invariants: an image is of committed entries only, and holds all that the follower knows to be committed; what the follower
//! promised stays promised; nothing is said that rests on an image before it is on the disk.

use super::super::effect::{Effect, Halt};
use super::super::history::{Common, History};
use super::super::image::Image;
use super::super::message::Message;
use super::following::Stage;
use super::leading::Link;
use super::{Replica, Role};
use crate::types::{Configs, Epoch, LogIndex, ReplicaId};

impl Replica {
    /// What it fetches, or installs, in the place of a log that lacks too much.
    #[must_use]
    pub const fn seeding(&self) -> Option<&Image> {
        match &self.role {
            Role::Following(following) => following.image.as_ref(),
            _ => None,
        }
    }

    /// The log that an image stands for which is being put in the place of this one.
    #[must_use]
    pub const fn installing(&self) -> Option<&History> {
        self.installing.as_ref()
    }

    /// The log is being changed on the disk: what it holds is told to nobody.
    pub(super) const fn is_changing(&self) -> bool {
        self.cutting || self.installing.is_some() || self.giving_up.is_some()
    }

    /// The leader's log no longer has what a follower lacks.
    pub(super) fn lacks(&mut self, to: ReplicaId, epoch: Epoch, out: &mut Vec<Effect>) {
        let Some(peer) = self.leading(epoch).and_then(|leading| leading.peers.get_mut(&to)) else { return };
        if peer.link == Link::Shipping {
            peer.link = Link::Seeding;
            out.push(Effect::Image(to));
        }
    }

    /// An image is there: it is offered, if it is of this log and of nothing that may still be taken back.
    pub(super) fn imaged(&mut self, to: ReplicaId, image: Image, out: &mut Vec<Effect>) {
        let end = image.history.end();
        let is_sound = self.history.common(&image.history) == Common::Upto(end) && end <= self.committed;
        let Role::Leading(leading) = &self.role else { return };
        let awaited = leading.peers.get(&to).is_some_and(|peer| peer.link == Link::Seeding);
        if let Some(epoch) = leading.writes().filter(|_| awaited && is_sound) {
            out.push(Effect::Send { to, message: Message::Offer { epoch, image } });
        }
    }

    /// The leader offers an image. It is fetched if it begins with all that is here.
    pub(super) fn offered(&mut self, from: ReplicaId, epoch: Epoch, image: Image, out: &mut Vec<Effect>) {
        let (end, committed) = (self.history.end(), self.committed);
        let common = self.history.common(&image.history);
        let Some(following) = self.following(from, epoch) else { return };
        if following.stage != Stage::Taking {
            return;
        }
        let common = match common {
            Common::Upto(common) => common,
            Common::Impossible(at) => return self.halt(Halt::EpochDiffers(at), out),
            // The leader has found how far both are the same, and forgets no epoch while it leads but for one of its own.
            Common::Forgotten(at) => return self.halt(Halt::EpochForgotten(at), out),
        };
        if common < committed.min(image.history.end()) {
            return self.halt(Halt::BelowCommit { common, committed }, out);
        }
        if common < end || image.history.end() == end {
            // It holds no more than what is here, or something else: told again, the leader begins where this log ends.
            following.stage = Stage::Reported;
            return self.report(out);
        }
        following.image = Some(image.clone());
        out.push(Effect::Fetch { from, image });
    }

    /// It is here as a whole. Until it is in its place nothing else happens to the log.
    pub(super) fn fetched(&mut self, image: Image, out: &mut Vec<Effect>) {
        let end = self.history.end();
        let Role::Following(following) = &mut self.role else { return };
        if following.stage != Stage::Taking || following.image.as_ref() != Some(&image) {
            return;
        }
        if image.history.end() <= end {
            // What it holds came as entries meanwhile.
            return self.forgo(out);
        }
        following.stage = Stage::Installing;
        self.installing = Some(image.history.clone());
        out.push(Effect::Install(image));
    }

    /// It is in its place. All that it holds is committed and on the disk; promises are as they were.
    pub(super) fn seeded(&mut self, history: History, voters: Option<Configs>, out: &mut Vec<Effect>) {
        let expected = self.installing.take();
        if expected.as_ref() != Some(&history) {
            debug_assert!(false, "another log was read back than was installed");
            return self.go_on_as_reported(out);
        }
        let end = history.end();
        self.synced = end;
        if end == LogIndex(0) {
            // It was emptied: as a start that found nothing, it knows of nothing committed.
            self.committed = end;
            self.voters.clear();
        }
        self.voters.extend(voters.map(|voters| (end, voters)));
        self.history = history;
        self.commit(end, out);
        self.go_on_as_reported(out);
    }

    /// It was not fetched, or could not be put in its place: what was here is here still.
    pub(super) fn unseeded(&mut self, out: &mut Vec<Effect>) {
        let installing = self.installing.take().is_some();
        if installing || self.seeding().is_some() {
            self.go_on_as_reported(out);
        }
    }

    /// A follower tells anew what it has, and the leader begins again from there; others do what had to wait.
    fn go_on_as_reported(&mut self, out: &mut Vec<Effect>) {
        if let Role::Following(following) = &mut self.role {
            following.image = None;
            if matches!(following.stage, Stage::Taking | Stage::Installing) {
                following.stage = Stage::Reported;
                self.report(out);
            }
        }
        self.disk_moved(out);
    }

    /// What was to be fetched is not wanted any more. An image that is on its way to its place gets there.
    pub(super) fn forgo(&mut self, out: &mut Vec<Effect>) {
        if let Role::Following(following) = &mut self.role
            && following.image.take().is_some()
        {
            out.push(Effect::Unfetch);
        }
    }
}
