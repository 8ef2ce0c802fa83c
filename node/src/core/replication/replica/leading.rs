//! What a leader knows: its epoch, its voters, its followers; how it begins, asks to be followed, and sees who is still there.
//! What it does with that is in `committing`, `configuring` and `reading`. Invariant: it writes nothing before its epoch is
//! on the disk.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::effect::{Answer, Effect};
use super::super::input::Ask;
use super::super::memory::Ticket;
use super::super::message::Message;
use super::super::quorum::{confirms, quorum_index};
use super::handing_over::HandingOver;
use super::{Replica, Role};
use crate::codec::record::RecordKind;
use crate::types::{Boot, Config, Configs, Epoch, LogIndex, ReplicaId};

/// A voter that says nothing for so long is not counted on: ten heartbeats.
const CONTACT_MAX: Duration = Duration::from_secs(1);
/// A follower that was asked and is not served after so long is asked again, each time after twice as long: an answer on
/// a slow way must not be made void by the next question.
pub(super) const ASK_AGAIN_MIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(32);

/// What a leader keeps in memory.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) me: ReplicaId,
    pub(super) epoch: Epoch,
    pub(super) stage: Stage,
    /// Who wants to hear that it leads.
    pub(super) ask: Option<Ask>,
    /// The sets that it goes by; all of them are on the disk.
    pub(super) configs: Configs,
    /// Newer ones, on the way to the disk.
    pub(super) told: Option<Told>,
    pub(super) peers: BTreeMap<ReplicaId, Peer>,
    pub(super) learners: Vec<ReplicaId>,
    pub(super) suspended: bool,
    pub(super) handing_over: Option<HandingOver>,
    pub(super) rounds: Rounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The epoch is on its way to the disk.
    Saving(Ticket),
    /// Its first entry is not committed yet.
    Barrier(LogIndex),
    /// It is.
    Open(LogIndex),
}

#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) ticket: Ticket,
    pub(super) asks: Vec<Ask>,
    pub(super) configs: Configs,
    pub(super) learners: Vec<ReplicaId>,
}

/// A follower, as its leader knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// It holds the leader's log up to here on its disk.
    pub(super) held: LogIndex,
    /// It has entries of this epoch up to here, and nothing has shown yet that they are the leader's.
    pub(super) unproven: Option<LogIndex>,
    pub(super) link: Link,
    /// When it last answered in this epoch.
    pub(super) heard: Option<Duration>,
    /// It lost something that it may have confirmed: what it holds counts for nothing.
    pub(super) damaged: bool,
    /// The newest start of it that has reported.
    pub(super) boot: Boot,
    /// The newest report of that start.
    pub(super) report: u64,
    /// The last round that it echoed.
    pub(super) round: u64,
    /// When it is asked again.
    pub(super) again: Duration,
    pub(super) patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Link {
    /// It was asked to follow, or nothing goes through.
    #[default]
    Asked,
    /// It makes its log the same up to here.
    Adopting(LogIndex),
    /// It gets entries.
    Shipping,
    /// The log no longer has the entries that it lacks: it gets an image.
    Seeding,
}

impl Link {
    /// Its log is this leader's as far as it goes.
    pub(super) const fn is_served(self) -> bool {
        matches!(self, Self::Shipping | Self::Seeding)
    }
}

/// Rounds of heartbeats that prove leadership to reads.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last that began.
    pub(super) begun: u64,
    /// What was committed then; `None` when it is over.
    pub(super) open: Option<LogIndex>,
    /// Reads wait for the next.
    pub(super) wanted: bool,
}

impl Leading {
    pub(super) fn new(
        epoch: Epoch,
        me: ReplicaId,
        configs: Configs,
        learners: Vec<ReplicaId>,
        ask: Option<Ask>,
    ) -> Self {
        let mut leading = Self {
            me,
            epoch,
            stage: Stage::Saving(Ticket(0)),
            ask,
            configs,
            told: None,
            peers: BTreeMap::new(),
            learners,
            suspended: false,
            handing_over: None,
            rounds: Rounds::default(),
        };
        leading.find_peers(&mut Vec::new());
        leading
    }

    pub(super) fn wait_for(&mut self, ticket: Ticket) {
        self.stage = Stage::Saving(ticket);
    }

    pub(super) const fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The epoch, once entries of it may be written.
    pub(super) fn writes(&self) -> Option<Epoch> {
        (!matches!(self.stage, Stage::Saving(_))).then_some(self.epoch)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    pub(super) const fn takes_writes(&self) -> bool {
        self.is_open() && !self.suspended && !self.is_handing_over()
    }

    /// Messages to a peer go through again.
    pub(super) fn connected(&mut self, to: ReplicaId, out: &mut Vec<Effect>) {
        let Some(epoch) = self.writes() else { return };
        if let Some(peer) = self.peers.get_mut(&to) {
            if peer.link.is_served() {
                out.push(Effect::Unship(to));
                peer.patience = ASK_AGAIN_MIN;
            }
            peer.link = Link::Asked;
            out.push(Effect::Send { to, message: Message::Follow(epoch) });
        }
    }

    /// Asks those again that should have been served by now.
    pub(super) fn ask_again(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let mut due = Vec::new();
        for (id, peer) in
            self.peers.iter_mut().filter(|(_, peer)| !peer.link.is_served() && peer.again <= now)
        {
            peer.patience = (peer.patience * 2).clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX);
            peer.again = now + peer.patience;
            due.push(*id);
        }
        due.into_iter().for_each(|id| self.connected(id, out));
    }

    /// Whoever promised a later epoch is nobody that this leader hears of.
    pub(super) fn refused(&mut self, from: ReplicaId, epoch: Epoch, promised: Epoch) {
        if let Some(peer) = self.peers.get_mut(&from)
            && epoch == self.epoch
            && promised > epoch
        {
            peer.heard = None;
        }
    }

    /// Makes the peers those of the sets and the learners.
    pub(super) fn find_peers(&mut self, out: &mut Vec<Effect>) {
        let mut wanted = self.configs.everybody();
        wanted.extend(&self.learners);
        wanted.retain(|id| *id != self.me);
        self.peers.retain(|id, _| {
            let kept = wanted.contains(id);
            if !kept {
                out.push(Effect::Unship(*id));
            }
            kept
        });
        wanted.retain(|id| !self.peers.contains_key(id));
        for id in wanted {
            self.peers.insert(id, Peer::default());
            self.connected(id, out);
        }
    }

    /// How much of its log a replica holds that counts, as far as it has said so in this epoch.
    pub(super) fn held(&self, id: ReplicaId, own: LogIndex) -> LogIndex {
        let intact = self.peers.get(&id).filter(|peer| !peer.damaged);
        if id == self.me { own } else { intact.map_or(LogIndex(0), |peer| peer.held) }
    }

    /// Whether enough voters of every set are heard of, itself included, by this measure.
    pub(super) fn enough(&self, counts: impl Fn(&Peer) -> bool) -> bool {
        let here = |id: ReplicaId| id == self.me || self.peers.get(&id).is_some_and(&counts);
        quorum_index(self.configs.as_slice(), LogIndex(1), |id| LogIndex(u64::from(here(id)))) == LogIndex(1)
    }

    /// Sets that may stand alone now, the newest of them.
    pub(super) fn confirmable(&self, committed: LogIndex, own: LogIndex) -> Option<Config> {
        let Stage::Open(start) = self.stage else { return None };
        let behind = self.configs.as_slice().iter().skip(1).rev().copied();
        behind.into_iter().find(|config| confirms(*config, start, committed, own, |id| self.held(id, own)))
    }
}

impl Replica {
    /// The epoch is on the disk: its first entry is written, and everybody is asked to follow.
    pub(super) fn begin_epoch(&mut self, out: &mut Vec<Effect>) {
        let start = self.history.end().next();
        let known = self.voters.last().map(|(_, configs)| configs.clone());
        let Role::Leading(leading) = &mut self.role else { return };
        let Stage::Saving(ticket) = leading.stage else { return };
        if !self.kept.holds(ticket) {
            return;
        }
        leading.stage = Stage::Barrier(start);
        out.push(Effect::Append { kind: RecordKind::EpochStart, configs: None });
        if known.as_ref() != Some(&leading.configs) {
            out.push(Effect::Append { kind: RecordKind::Config, configs: Some(leading.configs.clone()) });
        }
        if let Some(ask) = leading.ask.take() {
            let answer = Answer::Leads { epoch: leading.epoch, open: false };
            out.push(Effect::Answer { ask, answer });
        }
        let peers: Vec<ReplicaId> = leading.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| leading.connected(peer, out));
    }

    /// An entry of its epoch is committed: it may take writes.
    pub(super) fn open(&mut self, start: LogIndex, out: &mut Vec<Effect>) {
        let committed = self.committed;
        let Role::Leading(leading) = &mut self.role else { return };
        if matches!(leading.stage, Stage::Barrier(_)) && committed >= start {
            leading.stage = Stage::Open(start);
            out.push(Effect::Opened(leading.epoch));
            self.begin_round(out);
        }
    }

    /// Time for a heartbeat; and to see who is still there.
    pub(super) fn tick(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.writes().is_none() {
            return;
        }
        // Whoever is being seeded is there, but confirms nothing new for long, and whoever is damaged nothing that counts:
        // writes would wait for it.
        let confirms = |peer: &Peer| peer.link != Link::Seeding && !peer.damaged;
        let recent =
            |peer: &Peer| confirms(peer) && peer.heard.is_some_and(|heard| heard + CONTACT_MAX >= now);
        let suspended = !leading.enough(recent);
        if leading.is_open() && suspended != leading.suspended {
            leading.suspended = suspended;
            out.push(if suspended { Effect::Suspended } else { Effect::Resumed });
        }
        leading.ask_again(now, out);
        self.end_hand_over(out);
        self.tell_followers(out);
    }
}
