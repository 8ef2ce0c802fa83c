//! A leader: brings followers to its log, counts who holds what, commits, confirms sets of voters, proves that it still
//! leads. Invariant: it commits nothing before an entry of its own epoch, and by the sets of voters that are on its disk.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::effect::{Answer, Effect, Refusal};
use super::super::history::Common;
use super::super::input::Ask;
use super::super::memory::Ticket;
use super::super::message::{Message, Report};
use super::super::quorum::{confirms, quorum_index};
use super::sealing::refuse;
use super::{Replica, Role};
use crate::codec::record::RecordKind;
use crate::types::{Config, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId};

/// A voter that says nothing for so long is not counted on: ten heartbeats.
const CONTACT_MAX: Duration = Duration::from_secs(1);
/// A follower that was asked and is not served after so long is asked again, each time after twice as long: an answer on
/// a slow way must not be made void by the next question.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(32);

/// What a leader keeps in memory.
#[derive(Debug)]
pub(super) struct Leading {
    me: ReplicaId,
    epoch: Epoch,
    stage: Stage,
    /// Who wants to hear that it leads.
    ask: Option<Ask>,
    /// The sets that it goes by; all of them are on the disk.
    configs: Configs,
    /// Newer ones, on the way to the disk.
    told: Option<Told>,
    peers: BTreeMap<ReplicaId, Peer>,
    learners: Vec<ReplicaId>,
    suspended: bool,
    rounds: Rounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The epoch is on its way to the disk.
    Saving(Ticket),
    /// Its first entry is not committed yet.
    Barrier(LogIndex),
    /// It is.
    Open(LogIndex),
}

#[derive(Debug, Clone)]
struct Told {
    ticket: Ticket,
    asks: Vec<Ask>,
    configs: Configs,
    learners: Vec<ReplicaId>,
}

/// A follower, as its leader knows it.
#[derive(Debug, Clone, Default)]
struct Peer {
    /// It holds the leader's log up to here on its disk.
    held: LogIndex,
    link: Link,
    /// When it last answered in this epoch.
    heard: Option<Duration>,
    /// The last round that it echoed.
    round: u64,
    /// When it is asked again.
    again: Duration,
    patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Link {
    /// It was asked to follow, or nothing goes through.
    #[default]
    Asked,
    /// It makes its log the same up to here.
    Adopting(LogIndex),
    /// It gets entries.
    Shipping,
}

/// Rounds of heartbeats that prove leadership to reads.
#[derive(Debug, Default)]
struct Rounds {
    /// The last that began.
    begun: u64,
    /// What was committed then; `None` when it is over.
    open: Option<LogIndex>,
    /// Reads wait for the next.
    wanted: bool,
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
        self.is_open() && !self.suspended
    }

    /// Messages to a peer go through again.
    pub(super) fn connected(&mut self, to: ReplicaId, out: &mut Vec<Effect>) {
        let Some(epoch) = self.writes() else { return };
        if let Some(peer) = self.peers.get_mut(&to) {
            if peer.link == Link::Shipping {
                out.push(Effect::Unship(to));
                peer.patience = ASK_AGAIN_MIN;
            }
            peer.link = Link::Asked;
            out.push(Effect::Send { to, message: Message::Follow(epoch) });
        }
    }

    /// Asks those again that should have been served by now.
    fn ask_again(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let mut due = Vec::new();
        for (id, peer) in
            self.peers.iter_mut().filter(|(_, peer)| peer.link != Link::Shipping && peer.again <= now)
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
    fn find_peers(&mut self, out: &mut Vec<Effect>) {
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

    /// How much of its log a replica holds, as far as it has said so in this epoch.
    fn held(&self, id: ReplicaId, own: LogIndex) -> LogIndex {
        if id == self.me { own } else { self.peers.get(&id).map_or(LogIndex(0), |peer| peer.held) }
    }

    /// Whether enough voters of every set are heard of, itself included, by this measure.
    fn enough(&self, counts: impl Fn(&Peer) -> bool) -> bool {
        let here = |id: ReplicaId| id == self.me || self.peers.get(&id).is_some_and(&counts);
        quorum_index(self.configs.as_slice(), LogIndex(1), |id| LogIndex(u64::from(here(id)))) == LogIndex(1)
    }

    /// Sets that may stand alone now, the newest of them.
    fn confirmable(&self, committed: LogIndex, own: LogIndex) -> Option<Config> {
        let Stage::Open(start) = self.stage else { return None };
        let behind = self.configs.as_slice().iter().skip(1).rev().copied();
        behind.into_iter().find(|config| confirms(*config, start, committed, own, |id| self.held(id, own)))
    }
}

impl Replica {
    fn leading(&mut self, epoch: Epoch) -> Option<&mut Leading> {
        match &mut self.role {
            Role::Leading(leading) if leading.epoch == epoch => Some(leading),
            _ => None,
        }
    }

    /// A follower tells what it has.
    pub(super) fn reported(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let common = self.history.common(&report.history);
        let (now, epoch) = (self.now, report.epoch);
        let Some(peer) = self.leading(epoch).and_then(|leading| leading.peers.get_mut(&from)) else { return };
        let common = match common {
            Common::Upto(common) => common,
            Common::Impossible(at) => {
                return out.push(Effect::Send { to: from, message: Message::Differs { epoch, at } });
            }
        };
        peer.heard = Some(now);
        if peer.link == Link::Shipping {
            out.push(Effect::Unship(from));
        }
        peer.link = Link::Adopting(common);
        out.push(Effect::Send { to: from, message: Message::Adopt { epoch, report: report.number, common } });
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
        peer.held = peer.held.max(synced.min(end));
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
    }

    /// The epoch is on the disk: its first entry is written, and everybody is asked to follow.
    fn begin_epoch(&mut self, out: &mut Vec<Effect>) {
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
    fn open(&mut self, start: LogIndex, out: &mut Vec<Effect>) {
        let committed = self.committed;
        let Role::Leading(leading) = &mut self.role else { return };
        if matches!(leading.stage, Stage::Barrier(_)) && committed >= start {
            leading.stage = Stage::Open(start);
            out.push(Effect::Opened(leading.epoch));
            self.begin_round(out);
        }
    }

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
        let configs = base.hearing(configs);
        let mut asks = leading.told.take().map(|told| told.asks).unwrap_or_default();
        asks.push(ask);
        let ticket = self.kept.change(|memory| memory.configs = Some(configs.clone()));
        out.push(Effect::Save(ticket));
        leading.told = Some(Told { ticket, asks, configs, learners });
        self.leader_moved(out);
    }

    /// What the record says is on the disk: from here on it counts.
    fn go_by_told(&mut self, out: &mut Vec<Effect>) {
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
        (leading.configs, leading.learners) = (configs, told.learners);
        leading.find_peers(out);
        let version = leading.configs.last().version;
        let answers =
            told.asks.into_iter().map(|ask| Effect::Answer { ask, answer: Answer::Configured(version) });
        out.extend(answers);
    }

    /// A set of voters holds all that is committed: older ones no longer count.
    fn confirm_sets(&mut self, out: &mut Vec<Effect>) {
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

    /// A read wants proof that this replica leads: one round for all that ask before it begins.
    pub(super) fn read(&mut self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.rounds.wanted = true;
        if leading.rounds.open.is_none() {
            self.begin_round(out);
        }
    }

    fn begin_round(&mut self, out: &mut Vec<Effect>) {
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

    fn end_round(&mut self, out: &mut Vec<Effect>) {
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
    fn tell_followers(&self, out: &mut Vec<Effect>) {
        let Role::Leading(leading) = &self.role else { return };
        let (epoch, committed, round) = (leading.epoch, self.committed, leading.rounds.begun);
        let shipping = leading.peers.iter().filter(|(_, peer)| peer.link == Link::Shipping);
        let beats = shipping
            .map(|(to, _)| Effect::Send { to: *to, message: Message::Beat { epoch, committed, round } });
        out.extend(beats);
    }

    /// Time for a heartbeat; and to see who is still there.
    pub(super) fn tick(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.writes().is_none() {
            return;
        }
        let recent = |peer: &Peer| peer.heard.is_some_and(|heard| heard + CONTACT_MAX >= now);
        let suspended = !leading.enough(recent);
        if leading.is_open() && suspended != leading.suspended {
            leading.suspended = suspended;
            out.push(if suspended { Effect::Suspended } else { Effect::Resumed });
        }
        leading.ask_again(now, out);
        self.tell_followers(out);
    }
}
