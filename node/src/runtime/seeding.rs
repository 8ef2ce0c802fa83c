//! A follower that is seeded: one thread, which fetches snapshots from leaders, one at a time, checks them, and makes of each
//! a file of tables beside that of its shard. What becomes of that file is the lane's and the applier's.
//!
//! Invariants: nothing of a shard changes by a fetch; no more of a snapshot is in memory than was asked for, and no more is
//! asked for than [`WINDOW_BYTES`]; a fetch that was interrupted goes on where it was, in this start or a later one.

mod part;
mod workshop;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use part::{Part, remove_part};
use workshop::build;
pub(crate) use workshop::{Workshop, image_of};

use super::mailbox::Job;
use super::shared::Shared;
use crate::core::replication::Image;
use crate::store::snapshots::Progress;
use crate::types::{LogIndex, ReplicaId, ShardId};
use crate::wire::{Piece, PieceAsk};

/// Bytes that may be asked for and not written: what a line of 1 Gbit/s and a disk that takes 30 ms for a write need to stay
/// busy. This is the memory of a fetch.
const WINDOW_BYTES: u64 = 4 << 20;
/// A leader that sends nothing for so long has other things to do, or is gone: whoever leads then is told anew what is here.
const PATIENCE: Duration = Duration::from_secs(10);
/// A leader that no longer has what it offered is told anew what is here after so long, unless it speaks first.
const ORDER_MAX: Duration = Duration::from_millis(500);
/// After a failure of this node's own, the next attempt for the same shard waits so long, and twice as long each time, up to a minute: a volume
/// without room is not written full again and again, and no leader looks through its log for nothing. Other shards do not wait for it.
const PAUSE: Duration = Duration::from_secs(2);
const DOUBLINGS_MAX: u32 = 5;

/// How far a shard is being seeded; for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedingReport {
    /// The last entry of the snapshot.
    pub index: LogIndex,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of that which are here, or were sent.
    pub done: u64,
}

/// What is to be fetched, and what arrives.
#[derive(Debug, Default)]
pub(crate) struct Seeding {
    state: Mutex<State>,
    moved: Condvar,
    /// Of the tables that are being made; given up when the node ends.
    making: Progress,
}

#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<ShardId, Wanted>,
    /// What is being fetched.
    under_way: Option<(ShardId, u32)>,
    /// What arrived of it and is not written.
    pieces: VecDeque<Piece>,
    /// What was fetched for these shards is of no use any more.
    settled: BTreeSet<ShardId>,
    /// These failed: their next attempt waits a while.
    failed: BTreeMap<ShardId, Failures>,
    /// Counts the times that something was wanted.
    orders: u64,
    ended: bool,
}

#[derive(Debug, Clone)]
struct Wanted {
    from: ReplicaId,
    image: Image,
    order: u64,
    /// The lane was told that it is here.
    is_told: bool,
    done: Arc<AtomicU64>,
}

/// Attempts for one shard that failed one after the other, and until when the next one waits.
#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    until: Duration,
}

impl State {
    fn fail(&mut self, shard: ShardId, now: Duration) {
        let failures = self.failed.entry(shard).or_default();
        failures.until = now + PAUSE * (1 << failures.count.min(DOUBLINGS_MAX));
        failures.count = failures.count.saturating_add(1);
    }

    /// What is to be fetched next, or when: the first that need not wait, or the end of the shortest wait.
    fn due(&self, now: Duration) -> Result<(ShardId, Wanted), Option<Duration>> {
        let until =
            |shard: &ShardId| self.failed.get(shard).map_or(Duration::ZERO, |failures| failures.until);
        let mut wanted = self.wanted.iter().filter(|(_, wanted)| !wanted.is_told);
        match wanted.clone().find(|(shard, _)| until(shard) <= now) {
            Some((shard, wanted)) => Ok((*shard, wanted.clone())),
            None => Err(wanted.by_ref().map(|(shard, _)| until(shard) - now).min()),
        }
    }
}

/// Why a fetch ended before its end.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Another one is wanted, or none.
    #[error("it is not wanted any more")]
    Unwanted,
    /// The leader went silent, or lost it.
    #[error("{0}")]
    Leader(&'static str),
    /// The volume would be left without room.
    #[error("the volume has no room for it")]
    Room,
    /// It is not what was offered, or damaged on the way or here.
    #[error("{0}")]
    Unfit(String),
    /// The disk failed.
    #[error("{0}")]
    Disk(#[from] std::io::Error),
}

/// What happens next to a fetch.
enum Next {
    Piece(Piece),
    /// The same is wanted again, on another connection.
    Again(u64),
}

impl Seeding {
    // Each change is one step, or leaves what was there.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image is to be fetched from a leader, instead of any other one of the shard.
    pub(crate) fn want(&self, shard: ShardId, from: ReplicaId, image: Image) {
        let mut state = self.lock();
        state.orders += 1;
        let order = state.orders;
        let done = state.wanted.get(&shard).map(|wanted| Arc::clone(&wanted.done)).unwrap_or_default();
        state.wanted.insert(shard, Wanted { from, image, order, is_told: false, done });
        self.moved.notify_all();
    }

    /// Nothing need be fetched for a shard; what is here of it stays for the case that it is wanted again.
    pub(crate) fn unwant(&self, shard: ShardId) {
        self.lock().wanted.remove(&shard);
        self.moved.notify_all();
    }

    /// Whether a file of tables may be made beside that of a shard, now or soon.
    pub(crate) fn is_busy(&self, shard: ShardId) -> bool {
        let state = self.lock();
        state.wanted.contains_key(&shard) || state.under_way.is_some_and(|(under_way, _)| under_way == shard)
    }

    /// What was fetched could not be installed; the next attempt waits a while.
    pub(crate) fn hold_back(&self, shard: ShardId, now: Duration) {
        let mut state = self.lock();
        state.wanted.remove(&shard);
        state.fail(shard, now);
    }

    /// A shard was seeded: what was fetched goes.
    pub(crate) fn settle(&self, shard: ShardId) {
        let mut state = self.lock();
        state.wanted.remove(&shard);
        state.settled.insert(shard);
        state.failed.remove(&shard);
        self.moved.notify_all();
    }

    /// A piece arrived. What was not asked for is dropped.
    pub(crate) fn arrived(&self, from: ReplicaId, shard: ShardId, piece: Piece) {
        let mut state = self.lock();
        let is_wanted = state.under_way == Some((shard, piece.key))
            && state.wanted.get(&shard).is_some_and(|wanted| wanted.from == from);
        let held: u64 = state.pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
        if is_wanted && held < 2 * WINDOW_BYTES {
            state.pieces.push_back(piece);
            self.moved.notify_all();
        }
    }

    /// How far a shard is being seeded, if it is.
    pub(crate) fn report(&self, shard: ShardId) -> Option<SeedingReport> {
        let state = self.lock();
        let Wanted { image, done, .. } = state.wanted.get(&shard)?;
        let done = done.load(Ordering::Relaxed);
        Some(SeedingReport { index: image.history.end(), bytes: image.bytes, done })
    }

    /// Nothing more is fetched.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.making.give_up();
        self.moved.notify_all();
    }

    /// Fetches until the node ends.
    pub(crate) fn run(&self, shared: &Shared, workshop: &Workshop) {
        if let Err(error) = self.tidy(shared, workshop) {
            tracing::warn!(%error, "what is left of earlier seedings cannot be removed");
        }
        while let Some((shard, wanted)) = self.next_order(shared, workshop) {
            let key = wanted.image.key;
            self.lock().under_way = Some((shard, key));
            let outcome = self.fetch(shared, workshop, shard, &wanted);
            {
                let mut state = self.lock();
                state.under_way = None;
                state.pieces.clear();
            }
            let Some(open) = shared.open_shard(shard) else { continue };
            match outcome {
                Ok(()) => {
                    if let Some(wanted) = self.lock().wanted.get_mut(&shard) {
                        wanted.is_told = true;
                    }
                    let _ended = open.mailbox.send(Job::Fetched { shard, image: Box::new(wanted.image) });
                }
                Err(Failed::Unwanted) => {}
                Err(why) => {
                    shared.metrics.seeding.failed.inc();
                    let from = wanted.from.0;
                    match &why {
                        // Leaders come and go.
                        Failed::Leader(_) => {
                            tracing::info!(shard = shard.0, from, %why, "a snapshot was not fetched");
                        }
                        why => tracing::warn!(shard = shard.0, from, %why, "a snapshot was not fetched"),
                    }
                    if !matches!(why, Failed::Leader(_)) {
                        // The same is tried again after a while, unless something else is offered meanwhile.
                        self.lock().fail(shard, shared.clock.elapsed());
                        continue;
                    }
                    self.await_order(shard, wanted.order);
                    let mut state = self.lock();
                    // Unless it was wanted again meanwhile.
                    if state.wanted.get(&shard).is_some_and(|now| now.order == wanted.order) {
                        state.wanted.remove(&shard);
                        drop(state);
                        let _ended = open.mailbox.send(Job::Unfetched { shard });
                    }
                }
            }
        }
    }

    /// Waits for a leader to offer something else, which it does as soon as it is there again.
    fn await_order(&self, shard: ShardId, order: u64) {
        let same = |state: &mut State| {
            !state.ended && state.wanted.get(&shard).is_some_and(|wanted| wanted.order == order)
        };
        drop(self.moved.wait_timeout_while(self.lock(), ORDER_MAX, same));
    }

    /// Removes what earlier starts fetched and no longer need: of shards that are further by now.
    fn tidy(&self, shared: &Shared, workshop: &Workshop) -> std::io::Result<()> {
        for shard in shared.count.shards() {
            let applied = shared.open_shard(shard).and_then(|open| open.tables.patient().applied().ok());
            if let Some(applied) = applied {
                workshop.tidy(shard, applied)?;
            }
        }
        Ok(())
    }

    /// Waits for something to fetch; removes meanwhile what is of no use any more. `None`: the node ends.
    fn next_order(&self, shared: &Shared, workshop: &Workshop) -> Option<(ShardId, Wanted)> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(shard) = state.settled.pop_first() {
                drop(state);
                let removed = workshop.folder().and_then(|folder| remove_part(folder.as_ref(), shard));
                if let Err(error) = removed {
                    tracing::warn!(shard = shard.0, %error, "a fetched snapshot cannot be removed");
                }
                state = self.lock();
                continue;
            }
            state = match state.due(shared.clock.elapsed()) {
                Ok(next) => return Some(next),
                Err(None) => self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
                Err(Some(wait)) => {
                    self.moved.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn fetch(
        &self,
        shared: &Shared,
        workshop: &Workshop,
        shard: ShardId,
        wanted: &Wanted,
    ) -> Result<(), Failed> {
        let Wanted { image, from, done, .. } = wanted;
        let began = shared.clock.elapsed();
        let folder = workshop.folder()?;
        let mut part = Part::open(folder.as_ref(), shard, image)?;
        let resumed = part.length;
        // The rest of the snapshot, and a file of tables.
        let needed = (image.bytes - part.length).saturating_add(image.bytes);
        if folder.free_bytes()? < needed.saturating_add(workshop.free_bytes_min) {
            return Err(Failed::Room);
        }
        tracing::info!(
            shard = shard.0,
            from = from.0,
            index = image.history.end().0,
            bytes = image.bytes,
            there = resumed,
            "fetching a snapshot"
        );
        let (mut order, mut asked) = (wanted.order, part.length);
        done.store(part.length, Ordering::Relaxed);
        while part.length < image.bytes {
            if asked < image.bytes && asked - part.length <= WINDOW_BYTES / 2 {
                asked = (part.length + WINDOW_BYTES).min(image.bytes);
                let ask = PieceAsk { key: image.key, from: part.length, upto: asked };
                if let Some(door) = shared.cluster.get().and_then(|cluster| cluster.door(*from)) {
                    door.ask_piece(shard, ask);
                }
            }
            match self.next(shard, *from, image, order)? {
                Next::Again(newer) => (order, asked) = (newer, part.length),
                Next::Piece(piece) if piece.bytes.is_empty() => {
                    return Err(Failed::Leader("the leader no longer has it"));
                }
                Next::Piece(piece) if piece.at == part.length => {
                    let room = usize::try_from(image.bytes - part.length).unwrap_or(usize::MAX);
                    let bytes = piece.bytes.get(..room).unwrap_or(&piece.bytes);
                    part.append(bytes)?;
                    shared.metrics.seeding.received.inc_by(bytes.len() as u64);
                    done.store(part.length, Ordering::Relaxed);
                }
                // Of an earlier question.
                Next::Piece(_) => {}
            }
        }
        part.sync()?;
        drop(part);
        let made = build(folder.as_ref(), workshop, shard, image, &self.making);
        if let Err(Failed::Unfit(_)) = made {
            // Another attempt fetches all of it.
            remove_part(folder.as_ref(), shard)?;
        }
        made?;
        let took = shared.clock.elapsed().saturating_sub(began);
        tracing::info!(
            shard = shard.0,
            bytes = image.bytes - resumed,
            ?took,
            "a snapshot is here and intact"
        );
        Ok(())
    }

    /// The next piece of a fetch.
    fn next(&self, shard: ShardId, from: ReplicaId, image: &Image, order: u64) -> Result<Next, Failed> {
        let is_current = |state: &State| {
            state.wanted.get(&shard).is_some_and(|wanted| wanted.order == order) && !state.ended
        };
        let waits = |state: &mut State| state.pieces.is_empty() && is_current(state);
        let waited = self.moved.wait_timeout_while(self.lock(), PATIENCE, waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.ended {
            return Err(Failed::Unwanted);
        }
        match state.wanted.get(&shard) {
            Some(wanted) if wanted.order == order => {}
            Some(wanted) if wanted.image == *image && wanted.from == from => {
                let order = wanted.order;
                state.pieces.clear();
                return Ok(Next::Again(order));
            }
            _ => return Err(Failed::Unwanted),
        }
        state.pieces.pop_front().map(Next::Piece).ok_or(Failed::Leader("the leader sends nothing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::replication::{EpochStart, History};
    use crate::types::{Chain, Epoch};

    #[test]
    fn a_shard_whose_seeding_fails_holds_no_other_one_up_and_waits_longer_each_time() {
        let start = EpochStart { epoch: Epoch::default(), first: LogIndex(1) };
        let history = History::new(vec![start], LogIndex(9), Chain(1)).unwrap();
        let image = Image { history, bytes: 1, key: 1 };
        let (seeding, secs) = (Seeding::default(), Duration::from_secs);
        seeding.want(ShardId(1), ReplicaId(0), image.clone());
        seeding.want(ShardId(2), ReplicaId(0), image.clone());
        let due = |now| seeding.lock().due(now).map(|(shard, _)| shard.0);
        assert_eq!(due(secs(0)), Ok(1));
        seeding.lock().fail(ShardId(1), secs(0));
        assert_eq!(due(secs(0)), Ok(2));
        seeding.unwant(ShardId(2));
        assert_eq!(due(secs(0)), Err(Some(PAUSE)));
        assert_eq!(due(PAUSE), Ok(1));
        seeding.hold_back(ShardId(1), PAUSE);
        assert_eq!(due(PAUSE), Err(None), "nobody offers it");
        seeding.want(ShardId(1), ReplicaId(2), image.clone());
        assert_eq!(due(PAUSE), Err(Some(2 * PAUSE)), "whoever offers it");
        (0..40).for_each(|_| seeding.lock().fail(ShardId(1), secs(0)));
        assert_eq!(due(secs(0)), Err(Some(PAUSE * (1 << DOUBLINGS_MAX))));
        seeding.settle(ShardId(1));
        seeding.want(ShardId(1), ReplicaId(2), image);
        assert_eq!(due(secs(0)), Ok(1));
    }
}
