//! A leader that seeds followers: it offers a snapshot that its log goes on from (one that is there, or else one taken for the
//! purpose) and keeps the log from there on until the follower has been fed from it. Owned by the lane's thread.
//!
//! Invariants: a peer is seeded with one shard of a lane at a time; what is kept of the log for it is bounded, and nothing is
//! kept once the volume is full. At the bound the log goes all the same: the follower that it leaves behind is offered another
//! snapshot, of a later entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::LaneOwner;
use crate::core::replication::{FollowerSeen, Image, Input, Message};
use crate::runtime::seeding::{SeedingReport, image_of};
use crate::runtime::snapshots::{Continued, NoSnapshot};
use crate::seam::disk::File;
use crate::store::snapshots::Pinned;
use crate::types::{LanePosition, LogIndex, ReplicaId, ShardId};
use crate::wire::Parcel;

/// How much more of the log is kept for a follower that is being seeded than for one that lags, in multiples of
/// `follower-log-max`: what is written while a snapshot is taken, fetched and installed, all of which wait for a disk.
const LOG_FACTOR: u64 = 8;
/// A snapshot that is there is used again while no more of the log follows it than so many multiples of `follower-log-max`: half of
/// what may be kept, so that the other half is left for what is written meanwhile.
const REUSE_FACTOR: u64 = LOG_FACTOR / 2;
/// A follower of which nothing is heard for so long is seeded anew when it comes back: a machine that restarts takes less.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// After a snapshot could not be taken, the next attempt waits so long.
const PAUSE: Duration = Duration::from_secs(5);

/// What a lane has to do for followers that it seeds.
#[derive(Debug, Default)]
pub(crate) struct Seeds {
    shards: BTreeMap<ShardId, Seed>,
    /// Peers that wait for the one before.
    waiting: BTreeSet<(ReplicaId, ShardId)>,
    /// What each peer is being seeded with.
    active: BTreeMap<ReplicaId, ShardId>,
}

/// The snapshot of one shard.
#[derive(Debug)]
struct Seed {
    /// What follows the snapshot stands behind this place.
    from: LanePosition,
    /// The log is kept from here on.
    position: LanePosition,
    stage: Stage,
    /// For whom, and how far it was sent to each.
    peers: BTreeMap<ReplicaId, Arc<AtomicU64>>,
}

#[derive(Debug)]
enum Stage {
    Ordered(Receiver<Result<Pinned, NoSnapshot>>),
    /// It failed, and is ordered again then.
    Failed(Duration),
    Taken(Taken),
    /// The log went on without it: whoever lacks something gets a later one.
    Outrun,
}

/// A snapshot that was taken; its file stays for as long as this lives.
#[derive(Debug)]
struct Taken {
    image: Image,
    file: Arc<dyn File>,
    _pinned: Pinned,
}

impl Seed {
    /// The log goes on without it. One that nobody was offered yet is ordered anew: nothing else would bring its followers back.
    fn outrun(&mut self, tail: LanePosition) {
        self.position = tail;
        let was_offered = matches!(self.stage, Stage::Taken(_));
        self.stage = if was_offered { Stage::Outrun } else { Stage::Failed(Duration::ZERO) };
    }
}

impl Taken {
    fn of(pinned: Pinned) -> Result<Self, String> {
        let file = pinned.open().map_err(|error| error.to_string())?;
        let image = image_of(&file).ok_or("its epochs do not grow")?;
        Ok(Self { image, file: Arc::clone(file.file()), _pinned: pinned })
    }
}

impl Seeds {
    /// From where on the log is kept, at most so many bytes before its end.
    pub(super) fn floor(&mut self, tail: LanePosition, follower_log_max: u64) -> Option<LanePosition> {
        let most = LanePosition(tail.0.saturating_sub(follower_log_max.saturating_mul(LOG_FACTOR)));
        for (shard, seed) in &mut self.shards {
            if seed.position < most && !matches!(seed.stage, Stage::Outrun) {
                tracing::warn!(
                    shard = shard.0,
                    kept = tail.0 - seed.position.0,
                    "a follower is seeded too slowly: the log goes on without it, and it will need another snapshot"
                );
                seed.outrun(tail);
            }
        }
        let held = self.shards.values().filter(|seed| !matches!(seed.stage, Stage::Outrun));
        held.map(|seed| seed.position).min()
    }

    /// How far a peer is being seeded with a shard, if it is.
    pub(super) fn report(&self, shard: ShardId, peer: ReplicaId) -> Option<SeedingReport> {
        let seed = self.shards.get(&shard)?;
        let (sent, Stage::Taken(taken)) = (seed.peers.get(&peer)?, &seed.stage) else { return None };
        let done = sent.load(Ordering::Relaxed);
        Some(SeedingReport { index: taken.image.history.end(), bytes: taken.image.bytes, done })
    }

    /// It leads the shard no more.
    pub(super) fn drop_shard(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
        self.waiting.retain(|(_, other)| *other != shard);
        self.active.retain(|_, other| *other != shard);
    }
}

impl LaneOwner {
    /// A follower needs an image.
    pub(super) fn seed(&mut self, shard: ShardId, to: ReplicaId) {
        let seeds = &mut self.duty.seeds;
        seeds.waiting.insert((to, shard));
        // It begins anew: what was on its way went with its connection.
        seeds.active.retain(|peer, other| *peer != to || *other != shard);
        self.seed_next();
    }

    /// Looks whom to seed next, what was taken, and whom the log has fed.
    pub(super) fn tend_seeds(&mut self, now: Duration) {
        let shards: Vec<ShardId> = self.duty.seeds.shards.keys().copied().collect();
        for shard in shards {
            self.collect_seed(shard, now);
            self.let_go_of_fed(shard);
        }
        let seen = |lane: &Self, shard, peer| lane.follower_seen(shard, peer);
        let over: Vec<ReplicaId> = self
            .duty
            .seeds
            .active
            .iter()
            .filter(|(peer, shard)| !seen(self, **shard, **peer).is_some_and(|seen| seen.is_seeded))
            .map(|(peer, _)| *peer)
            .collect();
        self.duty.seeds.active.retain(|peer, _| !over.contains(peer));
        self.seed_next();
    }

    fn follower_seen(&self, shard: ShardId, peer: ReplicaId) -> Option<FollowerSeen> {
        self.replica(shard)?.followers().find(|seen| seen.id == peer)
    }

    fn seed_next(&mut self) {
        let waiting = self.duty.seeds.waiting.clone();
        for (peer, shard) in waiting {
            if !self.duty.seeds.active.contains_key(&peer) {
                self.duty.seeds.waiting.remove(&(peer, shard));
                self.duty.seeds.active.insert(peer, shard);
                self.begin_seed(shard, peer);
            }
        }
    }

    /// Offers the snapshot that others are seeded with, if the log goes on from it; else orders one.
    fn begin_seed(&mut self, shard: ShardId, peer: ReplicaId) {
        // A full volume keeps nothing.
        let start = self.log.reader().start();
        // Whoever holds all of a snapshot and lacks something all the same is not helped by it: behind it the log is damaged.
        let held = self.follower_seen(shard, peer).map_or(LogIndex(0), |seen| seen.held);
        let goes_on = |seed: &&mut Seed| {
            let gains = match &seed.stage {
                Stage::Taken(taken) => taken.image.history.end() > held,
                Stage::Ordered(_) | Stage::Failed(_) => true,
                Stage::Outrun => false,
            };
            seed.from >= start && gains
        };
        if let Some(seed) = self.duty.seeds.shards.get_mut(&shard).filter(goes_on) {
            seed.peers.insert(peer, Arc::default());
            // The others may be further by now.
            seed.position = seed.from;
            if let Stage::Taken(taken) = &seed.stage {
                let image = taken.image.clone();
                self.step(shard, Input::Imaged { to: peer, image });
            }
            return;
        }
        let log = self.goes_on_from_newest(shard, peer);
        let from = log.as_ref().map_or_else(|| self.applied_place(shard), |log| log.from);
        let stage = Stage::Ordered(self.shared.snapshots.order_for(shard, log));
        let mut peers = BTreeMap::from([(peer, Arc::default())]);
        let mut position = from;
        // Whoever is being fed behind the one before goes on.
        if let Some(before) = self.duty.seeds.shards.remove(&shard) {
            position = position.min(before.position);
            for (peer, sent) in before.peers {
                peers.entry(peer).or_insert(sent);
            }
        }
        self.duty.seeds.shards.insert(shard, Seed { from, position, stage, peers });
    }

    /// Behind here stands what a snapshot taken now does not hold: what is applied by now is in it.
    fn applied_place(&self, shard: ShardId) -> LanePosition {
        let start = self.log.reader().start();
        let applied = self.shards.get(&shard).and_then(|owner| owner.mark(owner.applied));
        applied.unwrap_or(start).max(start)
    }

    /// The log, if it goes on from the newest snapshot that is there, as far as places are remembered, and a follower gains by that
    /// snapshot.
    fn goes_on_from_newest(&self, shard: ShardId, peer: ReplicaId) -> Option<Continued> {
        let newest = self.shared.snapshots.newest(shard)?;
        let history = self.replica(shard)?.history().clone();
        let held = self.follower_seen(shard, peer)?.held;
        let (start, tail) = (self.log.reader().start(), self.log.tail());
        // Where nothing follows it, everything will.
        let from = if newest == history.end() { tail } else { self.shards.get(&shard)?.mark(newest)? };
        let near = tail.0.saturating_sub(self.follower_log_max.saturating_mul(REUSE_FACTOR));
        let goes_on = from >= start && from.0 >= near && newest > held;
        goes_on.then_some(Continued { least: newest, history, from })
    }

    /// Sees whether a snapshot was taken, and offers it.
    fn collect_seed(&mut self, shard: ShardId, now: Duration) {
        let Some(seed) = self.duty.seeds.shards.get_mut(&shard) else { return };
        let taken = match &mut seed.stage {
            Stage::Ordered(order) => match order.try_recv() {
                Ok(outcome) => outcome.map_err(|why| why.to_string()).and_then(Taken::of),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Closed) => Err(NoSnapshot::Ending.to_string()),
            },
            Stage::Failed(until) if *until <= now => return self.order_seed_again(shard),
            Stage::Failed(_) | Stage::Taken(_) | Stage::Outrun => return,
        };
        match taken {
            Ok(taken) => {
                let (image, peers) = (taken.image.clone(), seed.peers.keys().copied().collect::<Vec<_>>());
                seed.stage = Stage::Taken(taken);
                for to in peers {
                    self.step(shard, Input::Imaged { to, image: image.clone() });
                }
            }
            Err(why) => {
                tracing::warn!(shard = shard.0, why, "no snapshot for a follower; tried again");
                seed.stage = Stage::Failed(now + PAUSE);
            }
        }
    }

    /// Orders a new one: whatever is there did not do.
    fn order_seed_again(&mut self, shard: ShardId) {
        let from = self.applied_place(shard);
        let stage = Stage::Ordered(self.shared.snapshots.order(shard));
        if let Some(seed) = self.duty.seeds.shards.get_mut(&shard) {
            (seed.from, seed.position, seed.stage) = (from, seed.position.min(from), stage);
        }
    }

    /// Followers that need nothing of what is kept for them any more; once all are, nothing is kept.
    fn let_go_of_fed(&mut self, shard: ShardId) {
        let Some(seed) = self.duty.seeds.shards.get(&shard) else { return };
        let near = LanePosition(self.log.tail().0.saturating_sub(self.follower_log_max / 2));
        let index = match &seed.stage {
            Stage::Taken(taken) => taken.image.history.end(),
            _ => LogIndex(u64::MAX),
        };
        let place = |held| self.shards.get(&shard).and_then(|owner| owner.mark(held)).unwrap_or_default();
        let is_fed = |seen: &FollowerSeen| {
            let is_level = self.replica(shard).is_some_and(|replica| seen.held >= replica.history().end());
            seen.held >= index && (is_level || place(seen.held) >= near)
        };
        let is_gone = |seen: &FollowerSeen| seen.silent.is_some_and(|silent| silent > SILENCE_MAX);
        let is_done = |peer: &ReplicaId| {
            self.follower_seen(shard, *peer).is_none_or(|seen| is_fed(&seen) || is_gone(&seen))
        };
        let done: Vec<ReplicaId> = seed.peers.keys().copied().filter(is_done).collect();
        // From where on those that are left need the log.
        let needs = |peer: &ReplicaId| {
            let held = self.follower_seen(shard, *peer).map(|seen| seen.held).filter(|held| *held >= index);
            held.map(place).unwrap_or_default()
        };
        let needed = seed.peers.keys().filter(|peer| !done.contains(peer)).map(needs).min();
        let Some(seed) = self.duty.seeds.shards.get_mut(&shard) else { return };
        seed.position = needed.map_or(seed.position, |needed| needed.max(seed.position));
        done.iter().for_each(|peer| drop(seed.peers.remove(peer)));
        if seed.peers.is_empty() {
            self.duty.seeds.shards.remove(&shard);
        }
    }

    /// Offers an image to a follower, which may ask for its file from then on.
    pub(super) fn offer(&mut self, shard: ShardId, to: ReplicaId, message: &Message) {
        let Some(seed) = self.duty.seeds.shards.get(&shard) else { return };
        let (Stage::Taken(taken), Some(sent)) = (&seed.stage, seed.peers.get(&to)) else { return };
        let (key, bytes) = (taken.image.key, taken.image.bytes);
        let parcel = Parcel { key, bytes, file: Arc::clone(&taken.file), sent: Arc::clone(sent) };
        tracing::info!(
            shard = shard.0,
            to = to.0,
            index = taken.image.history.end().0,
            bytes,
            "a snapshot is offered to a follower"
        );
        if let Some(port) = self.duty.ports.get_mut(&to) {
            port.offer(shard, message, parcel);
        }
    }
}
