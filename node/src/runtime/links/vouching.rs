//! Starts of members (I8): this node remembers those of the others, and learns from them whether its own disk is the newest
//! one. Invariant: a start is remembered durably before the member that made it hears of that, so whoever was vouched for
//! is known here for as long as this volume lives.

use std::sync::{MutexGuard, PoisonError, Weak};

use super::Cluster;
use crate::codec::superblock::Superblock;
use crate::core::replication::{is_news, recognise};
use crate::runtime::mailbox::Job;
use crate::types::{Boot, ReplicaId, Start, Trail};
use crate::wire::{Host, KnownStart, Peer, Stranger};

/// What is done about it by a node that anybody elects.
const BEGINS_ANEW: &str =
    "nothing; started again, the node sets its data aside and begins anew, if there is room for that";
/// What there is to know about it where a file says who the members are.
const REMEDY: &str = "nothing in it was erased, and the others go on without this node: the members of a cluster file are fixed, and no \
     other volume takes the place of one; to have as many again, restore snapshots into a new cluster";

/// How this start stands with the other members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// None of them has met it yet.
    Unmet,
    /// One of them remembers it, or there is none.
    Vouched,
    /// Its disk is an older one: that start of it was met.
    PutBack(Boot),
}

impl Standing {
    /// What is known before anybody was met.
    pub(super) fn found(superblock: &Superblock, alone: bool, begins_anew: bool) -> Self {
        match superblock.put_back {
            Some(met) => {
                tell(met, begins_anew);
                Self::PutBack(met)
            }
            None if alone => Self::Vouched,
            None => Self::Unmet,
        }
    }
}

fn tell(met: Boot, begins_anew: bool) {
    tracing::error!(
        start = met.0,
        remedy = if begins_anew { BEGINS_ANEW } else { REMEDY },
        "this volume was put back to an older copy of itself, as a start shows that others have met and of which it knows \
         nothing; it takes no part any more"
    );
}

impl Cluster {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Each change is one assignment.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another member remembers this start, or there is none.
    pub(crate) fn is_vouched(&self) -> bool {
        *self.standing() == Standing::Vouched
    }

    /// The start that others have met and of which this volume knows nothing.
    pub(crate) fn put_back_before(&self) -> Option<Boot> {
        match *self.standing() {
            Standing::PutBack(met) => Some(met),
            Standing::Unmet | Standing::Vouched => None,
        }
    }

    /// Resolves when this volume says that it was put back, and a start would make it another one. Not for what an earlier start
    /// found: this one has tried already.
    pub(crate) async fn anew_wanted(&self) {
        self.anew_wanted.notified().await;
    }

    /// Nobody is there to vouch, or somebody has: replicas take part from now on.
    pub(super) fn vouched_by(&self, member: Option<ReplicaId>) {
        let was = {
            let mut standing = self.standing();
            let was = *standing;
            if was == Standing::Unmet {
                *standing = Standing::Vouched;
            }
            was
        };
        if was == Standing::Unmet {
            tracing::info!(
                peer = member.map(|member| member.0),
                "this start is known in the cluster: taking part"
            );
            for (mailbox, _) in &self.lanes {
                let _ended = mailbox.send(Job::Vouched);
            }
        }
    }

    /// Checks a peer by its trail; what is new is remembered before this returns, and told to all.
    pub(super) fn check_start(&self, peer: Peer, trail: &Trail) -> Result<(), Stranger> {
        if self.put_back_before().is_some() {
            return Err(Stranger::OutOfPart);
        }
        let volume = peer.incarnation;
        let judge = |superblock: &Superblock| {
            recognise(superblock.peers.get(&volume).copied(), trail)
                .map_err(|why| Stranger::PutBack { peer: peer.id, why })
        };
        // A start that drew nothing cannot be remembered.
        let start = trail.last().ok_or(Stranger::Unremembered)?;
        let known = self.vault.look(|superblock| {
            judge(superblock).map(|()| superblock.peers.get(&volume) == Some(&start.into()))
        })?;
        if known {
            return Ok(());
        }
        let mut judged = Ok(());
        let remember = |superblock: &mut Superblock| {
            // Another connection may have brought a later start meanwhile.
            judged = judge(superblock);
            if judged.is_ok() {
                superblock.remember(volume, start);
            }
        };
        self.vault.update(remember).map_err(|_| Stranger::Unremembered)?;
        judged?;
        self.tell_starts(&[(volume, start)]);
        Ok(())
    }

    /// A member tells what it has met or heard of. What is news here is remembered and told on, so it reaches everybody; and
    /// whoever is still spoken to in an earlier start has to show that it knows the later one.
    pub(super) fn hear_of_starts(&self, from: ReplicaId, starts: &[KnownStart]) {
        let (me, roster) = (self.identity.incarnation, self.roster());
        if let Some((_, met)) = starts.iter().find(|(volume, _)| *volume == me) {
            self.learn_put_back(from, *met);
        }
        let is_news = |superblock: &Superblock, (volume, start): &KnownStart| {
            let member = *volume != me && roster.find(*volume).is_some();
            member && is_news(superblock.peers.get(volume).copied(), *start)
        };
        let new = |superblock: &Superblock| {
            starts.iter().filter(|told| is_news(superblock, told)).copied().collect::<Vec<_>>()
        };
        if self.vault.look(new).is_empty() {
            return;
        }
        let mut news = Vec::new();
        let remember = |superblock: &mut Superblock| {
            news = new(superblock);
            news.iter().for_each(|(volume, start)| superblock.remember(*volume, *start));
        };
        if let Err(error) = self.vault.update(remember) {
            tracing::error!(%error, "starts of other members cannot be remembered");
            return;
        }
        self.tell_starts(&news);
        if let Some(links) = self.links.get().and_then(Weak::upgrade) {
            links.look();
        }
    }

    /// All that this node knows of the starts of members.
    pub(super) fn known_starts(&self) -> Vec<KnownStart> {
        let roster = self.roster();
        let known = |superblock: &Superblock| {
            let members = superblock.peers.iter().filter(|(volume, _)| roster.find(**volume).is_some());
            let keyed =
                members.filter_map(|(volume, met)| Some((*volume, Start { boot: met.boot, key: met.key? })));
            keyed.collect()
        };
        self.vault.look(known)
    }

    fn tell_starts(&self, starts: &[KnownStart]) {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        doors.values().filter(|_| !starts.is_empty()).for_each(|door| door.tell_starts(starts.to_vec()));
    }

    /// A member has met this start of this volume. If the volume knows nothing of it, it is an older copy, for good.
    pub(super) fn learn_put_back(&self, by: ReplicaId, met: Start) {
        let of_another = recognise(Some(met.into()), &self.identity.trail).is_err();
        if !of_another || self.put_back_before().is_some() {
            return;
        }
        *self.standing() = Standing::PutBack(met.boot);
        tracing::error!(peer = by.0, "a member does not take this volume for the one that it knew");
        tell(met.boot, self.begins_anew);
        for (mailbox, _) in &self.lanes {
            let _ended = mailbox.send(Job::PutBack(met.boot));
        }
        if let Err(error) = self.vault.update(|superblock| superblock.put_back = Some(met.boot)) {
            tracing::error!(%error, "that this volume was put back cannot be remembered");
        } else if self.begins_anew {
            self.anew_wanted.notify_one();
        }
    }
}
