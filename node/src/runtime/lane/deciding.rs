//! Commands become records: decided one after the other, where there is room. Invariant: room is made sure of before the decision, so that
//! none has to be taken back.

use super::group::Due;
use super::{LaneOwner, demand};
use crate::codec::record::RecordKind;
use crate::core::Command;
use crate::core::replication::Replica;
use crate::runtime::Failure;
use crate::runtime::mailbox::{Answered, Waiter};
use crate::runtime::owner::{Cause, Decided};
use crate::runtime::shared::Shard;
use crate::types::{AolMode, LogIndex, ShardId};

/// Streams of one shard that one sweep ends: a mass expiry delays no writer by more than a few milliseconds.
const EXPIRIES_PER_SWEEP_MAX: usize = 256;

/// What a command came to: its answer, what that rests on, and whether it changes nothing.
struct Outcome {
    basis: LogIndex,
    only_shows: bool,
    answered: Answered,
}

impl Outcome {
    fn due(self, shard: ShardId, waiter: Waiter) -> Due {
        let Self { basis, only_shows, answered } = self;
        // Whom nobody answers, nobody can be told how things stood before.
        let only_shows = only_shows && !matches!(waiter, Waiter::Nobody);
        Due { shard, basis, only_shows, waiter, answer: Ok(answered) }
    }
}

impl LaneOwner {
    pub(super) fn decide(&mut self, shard: ShardId, command: Command, waiter: Waiter) {
        let due = match self.command(shard, command) {
            Ok(outcome) => outcome.due(shard, waiter),
            // Nothing was decided: this rests on nothing, and shows nothing.
            Err(failure) => {
                Due { shard, basis: LogIndex(0), only_shows: false, waiter, answer: Err(failure) }
            }
        };
        self.group.answers.push(due);
    }

    /// Decides a command and encodes what it changes as one record of the group.
    fn command(&mut self, shard: ShardId, command: Command) -> Result<Outcome, Failure> {
        let owner = self.shards.get(&shard).ok_or_else(|| unknown_shard(shard))?;
        owner.check_service()?;
        let place = owner.replica.as_ref().and_then(Replica::place);
        let next = place.ok_or(Failure::NotLeader { shard })?.index;
        // Room is made sure of before the decision, so that a decision never has to be taken back.
        let kind = if command.frees_room() { RecordKind::Relief } else { RecordKind::Batch };
        if kind == RecordKind::Batch && self.is_too_far_ahead(shard) {
            return Err(Failure::Ahead { shard });
        }
        if !self.has_room(shard, &command, kind)? {
            return Err(Failure::DiskFull);
        }
        let now = self.clock.now();
        let owner = self.shards.get_mut(&shard).ok_or_else(|| unknown_shard(shard))?;
        owner.check_links(&command)?;
        if kind == RecordKind::Batch && command.adds_messages() {
            owner.shared.check_total()?;
        }
        let cause = Cause::of(&command);
        let Decided { decision, view } = owner.decide(command, now, next)?;
        let only_shows = decision.ops.is_empty();
        if !only_shows && let Err(error) = self.append(shard, kind, decision.ops.into_vec(), view, cause) {
            // The core has decided on it already: only a new start can take that back.
            tracing::error!(%error, "a decided record was not taken by the log");
            self.broken = true;
            return Err(Failure::LogFailed);
        }
        let answered = Answered { reply: decision.reply, released: decision.released };
        Ok(Outcome { basis: decision.basis, only_shows, answered })
    }

    /// Whether as much waits for a majority as may: more of it would only wait, and be held in memory meanwhile.
    fn is_too_far_ahead(&self, shard: ShardId) -> bool {
        let clustered = self.shared.cluster.get().is_some();
        clustered
            && (self.duty.uncommitted + self.group.bytes >= self.ahead_max
                || self.shared.open_shard(shard).is_some_and(Shard::is_stalled)
                    && self.shards.get(&shard).is_some_and(|owner| owner.line.waiting_since().is_some()))
    }

    fn has_room(&mut self, shard: ShardId, command: &Command, kind: RecordKind) -> Result<bool, Failure> {
        if self.durability.aol == AolMode::Never {
            return Ok(true);
        }
        let shares = self.shards.get(&shard).map_or(0, |owner| owner.core.shares());
        let group = usize::try_from(self.group.bytes).unwrap_or(usize::MAX);
        let bytes = demand::log_bytes(command, shares).saturating_add(group);
        // The tables are asked first: a refused write must not take room for the log.
        let relief = kind == RecordKind::Relief;
        if !relief && !self.apply.has_room(shard) {
            return Ok(false);
        }
        let room = self.log.has_room(bytes, kind).map_err(|_| Failure::LogFailed)?;
        if !room {
            self.apply.beg(relief);
        }
        if !relief {
            self.note_room(room);
        }
        Ok(room)
    }

    pub(super) fn note_room(&mut self, room: bool) {
        if self.full != room {
            return;
        }
        self.full = !room;
        self.lane_metrics.full.set(i64::from(!room));
        if room {
            tracing::info!("there is room for the log again, writes go on");
        } else {
            tracing::warn!(
                needed_bytes = self.log.segment_bytes(),
                "no room for the log: writes are refused, reads and deletions go on"
            );
        }
    }

    /// Ends the streams whose time is over, a bounded number at a time.
    pub(super) fn sweep(&mut self) {
        let elapsed = self.clock.elapsed();
        if elapsed < self.swept_at + self.sweep_interval {
            return;
        }
        self.swept_at = elapsed;
        let now = self.clock.now();
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in shards {
            let serving = self.shards.get_mut(&shard).filter(|owner| owner.check_service().is_ok());
            let due = serving.map(|owner| owner.due(now, EXPIRIES_PER_SWEEP_MAX));
            for stream in due.unwrap_or_default() {
                let answered = self.command(shard, Command::Expire { stream, touched_at: None });
                if let Some(owner) = self.shards.get_mut(&shard) {
                    match &answered {
                        // Renewed, or gone: then there is no deadline any more.
                        Ok(_) => owner.schedule(stream, now.plus(1000)),
                        Err(_) => owner.postpone(stream, now.plus(1000)),
                    }
                }
                // What it releases goes on behind the commit, like the answers of the group.
                if let Ok(outcome) = answered {
                    self.group.answers.push(outcome.due(shard, Waiter::Nobody));
                }
            }
        }
    }
}

fn unknown_shard(shard: ShardId) -> Failure {
    Failure::ShardDamaged { shard, reason: "it was found damaged at start".into() }
}
