//! A turn of a lane: save, write, sync, let the replicas say what is committed by that, hand it on; and the end of a lane.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::group::{Due, Group, PLACES_MAX};
use super::{Duty, GROUP_BYTES_LARGE, LaneOwner};
use crate::codec::record::RecordKind;
use crate::codec::segment::encode_heads;
use crate::core::replication::{Input, Memory, Replica};
use crate::runtime::applier::ApplyQueue;
use crate::runtime::mailbox::{Asker, Mailbox, Waiting};
use crate::runtime::owner::{Pending, Service};
use crate::store::aol::{LaneError, RecordHead};
use crate::types::{AolMode, Chain, Epoch, FsyncPolicy, LogIndex, ShardId};
use crate::wire::Shipped;

/// Log bytes between two notes that say how far it is committed: what a start keeps in memory at most, beside what was
/// under way.
const SETTLED_EVERY: u64 = 4 << 20;

/// The last record of each shard in a group.
pub(super) type Reached = BTreeMap<ShardId, LogIndex>;

impl LaneOwner {
    /// Makes durable what was decided and received, and goes on with what rests on it, until nothing is left to do. An
    /// error means that the log or the superblock failed.
    pub(crate) fn turn(&mut self) -> Result<(), LaneError> {
        loop {
            self.save()?;
            self.commit()?;
            if self.is_settled() {
                break;
            }
        }
        self.duty.holds.clear();
        self.hand_over();
        Ok(())
    }

    /// Whether nothing waits for the disk.
    fn is_settled(&self) -> bool {
        let Duty { unsaved, cuts, seeded, .. } = &self.duty;
        self.group.is_empty() && unsaved.is_empty() && cuts.is_empty() && seeded.is_empty()
    }

    /// Saves what replicas must not forget: all of it in one change of the superblock.
    fn save(&mut self) -> Result<(), LaneError> {
        if self.duty.unsaved.is_empty() {
            return Ok(());
        }
        self.wake_links();
        let tickets = std::mem::take(&mut self.duty.unsaved);
        let memory = |shard: &ShardId| Some((*shard, self.replica(*shard)?.memory().clone()));
        let memories: Vec<(ShardId, Memory)> = tickets.keys().filter_map(memory).collect();
        let is_mended =
            |(shard, memory): &&(ShardId, Memory)| !memory.damaged && self.vault.is_damaged(*shard);
        let mended: Vec<ShardId> = memories.iter().filter(is_mended).map(|(shard, _)| *shard).collect();
        if let Err(error) = self.vault.save(&memories) {
            tracing::error!(%error, "a promise could not be saved");
            return Err(LaneError::Poisoned);
        }
        mended.into_iter().for_each(|shard| self.note_repair(shard));
        for (shard, ticket) in tickets {
            self.step(shard, Input::Saved(ticket));
        }
        Ok(())
    }

    /// Makes the group as durable as the settings promise, and tells the replicas.
    fn commit(&mut self) -> Result<(), LaneError> {
        let Group { mut records, answers, bytes } = std::mem::take(&mut self.group);
        let cuts = std::mem::take(&mut self.duty.cuts);
        let seeded = std::mem::take(&mut self.duty.seeded);
        if records.is_empty() && cuts.is_empty() && seeded.is_empty() {
            self.wait_in_line(answers);
            return self.land_if_due();
        }
        self.duty.writes_much = bytes >= GROUP_BYTES_LARGE;
        self.lane_metrics.records.inc_by(records.len() as u64);
        self.lane_metrics.group_size.observe(records.len() as u64);
        match self.durability.aol {
            AolMode::Sync => {
                self.note_settled()?;
                let batch = self.log.write()?;
                self.lane_metrics.written.inc_by(bytes);
                records.iter_mut().for_each(|record| record.settle(|range| batch.slice(range)));
                self.fill_ports(&records, &batch);
                let before = self.end_flight()?;
                if self.flies(bytes) && cuts.is_empty() && seeded.is_empty() {
                    let reached = self.stand_in_line(&mut records, answers);
                    self.begin_flight(reached)?;
                    self.is_held(&before);
                } else {
                    self.is_held(&before);
                    self.make_durable()?;
                    self.is_durable(&mut records, answers);
                }
            }
            AolMode::Async => {
                // The answer goes first; the write follows at once, so that the log stays one group behind at most. The
                // views may not hold the requests' buffers, and the group's buffer is not frozen yet: copied.
                records.iter_mut().for_each(Pending::copy);
                self.is_durable(&mut records, answers);
                self.log.write()?;
                self.lane_metrics.written.inc_by(bytes);
                self.make_durable()?;
            }
            AolMode::Never => {
                let batch = self.scratch.split().freeze();
                records.iter_mut().for_each(|record| record.settle(|range| batch.slice(range)));
                self.is_durable(&mut records, answers);
            }
        }
        for (shard, (to, chain)) in cuts {
            self.step(shard, Input::Cut { to, chain });
        }
        seeded.into_iter().for_each(|(shard, installed)| self.seeded(shard, installed));
        self.group.take_over(records);
        Ok(())
    }

    /// Followers get what was just written while this disk syncs it.
    fn fill_ports(&mut self, records: &[Pending], batch: &Bytes) {
        if self.duty.ports.is_empty() {
            return self.wake_links();
        }
        for record in records {
            let Some(replica) = self.shards.get(&record.shard).and_then(|owner| owner.replica.as_ref())
            else {
                continue;
            };
            let Some(leading) = replica.leads() else { continue };
            let shipped = Shipped {
                leading,
                epoch: record.epoch,
                index: record.index,
                chain: record.before,
                chain_after: record.chain,
                kind: record.kind,
                end: record.end,
                committed: replica.committed(),
                payload: batch.slice(record.payload.clone()),
            };
            self.duty.ports.values_mut().for_each(|port| port.fill(record.shard, &shipped));
        }
        self.wake_links();
    }

    /// What was said to peers goes: before each wait for the disk, and at the end of a turn; in between it gathers, for one wake-up and
    /// one call of the system.
    fn wake_links(&mut self) {
        self.duty.ports.values_mut().for_each(crate::wire::Port::wake);
        for leader in std::mem::take(&mut self.duty.spoken_to) {
            if let Some(door) = self.duty.doors.get(&leader) {
                door.wake();
            }
        }
    }

    fn make_durable(&mut self) -> Result<(), LaneError> {
        if self.durability.fsync == FsyncPolicy::Always {
            return self.sync();
        }
        self.unsynced_since.get_or_insert(self.clock.elapsed());
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), LaneError> {
        let before = self.clock.elapsed();
        self.log.sync()?;
        self.unsynced_since = None;
        self.lane_metrics.fsyncs.inc();
        self.lane_metrics.fsync_time.observe(self.clock.elapsed().saturating_sub(before));
        Ok(())
    }

    /// With `fsync: interval`, syncs what has waited that long.
    pub(crate) fn sync_if_due(&mut self) -> Result<(), LaneError> {
        match (self.durability.fsync, self.unsynced_since) {
            (FsyncPolicy::Interval(interval), Some(since)) if since + interval <= self.clock.elapsed() => {
                self.sync()
            }
            _ => Ok(()),
        }
    }

    /// The group is as durable as it should be: its answers wait until it is committed, too, which may be now.
    fn is_durable(&mut self, records: &mut Vec<Pending>, answers: Vec<Due>) {
        let reached = self.stand_in_line(records, answers);
        self.is_held(&reached);
    }

    /// Records and answers wait until they are committed; how far the records reach.
    fn stand_in_line(&mut self, records: &mut Vec<Pending>, answers: Vec<Due>) -> Reached {
        let mut reached = Reached::new();
        let mut coming = records.drain(..).peekable();
        // Those of a shard come in runs: it is looked for once for each.
        while let Some(&Pending { shard, mut index, .. }) = coming.peek() {
            let mut line = self.shards.get_mut(&shard).map(|owner| &mut owner.line);
            while let Some(record) = coming.next_if(|record| record.shard == shard) {
                index = record.index;
                if let Some(line) = &mut line {
                    line.push(record);
                }
            }
            reached.insert(shard, index);
        }
        drop(coming);
        self.wait_in_line(answers);
        reached
    }

    /// So much is as durable as it should be.
    pub(super) fn is_held(&mut self, reached: &Reached) {
        let now = self.clock.elapsed();
        for (&shard, &upto) in reached {
            if let Some(owner) = self.shards.get_mut(&shard) {
                owner.line.note_time(upto, now);
            }
            self.step(shard, Input::Synced(upto));
            if self.acks_alone {
                self.give_answers(shard, upto);
            }
        }
    }

    /// Answers that rest on what is committed already are given at once, unless they only show how things stand.
    fn wait_in_line(&mut self, answers: Vec<Due>) {
        // With `acks: leader` a disk is enough for an answer, and proof of nothing else is asked for.
        let is_proven = self.acks_alone || self.shared.cluster.get().is_none();
        for Due { shard, basis, only_shows, waiter, answer } in answers {
            let waiting = Waiting { basis, waiter, answer };
            if only_shows && !is_proven {
                self.read(shard, Asker::Answer(waiting));
            } else {
                self.wait_for_commit(shard, waiting);
            }
        }
    }

    pub(super) fn wait_for_commit(&mut self, shard: ShardId, waiting: Waiting) {
        let Some(owner) = self.shards.get_mut(&shard) else {
            return self.answer(shard, waiting.waiter, waiting.answer);
        };
        owner.line.wait(waiting);
        // Where the leader's disk is enough for an answer, it is for one that rests on an earlier write, too.
        let synced = owner.replica.as_ref().filter(|_| self.acks_alone).map(Replica::synced);
        let reached = owner.line.committed().max(synced.unwrap_or_default());
        self.give_answers(shard, reached);
    }

    /// Now and then the log says how far it is committed, so that a start need not keep more of it in memory.
    fn note_settled(&mut self) -> Result<(), LaneError> {
        let due = self.log.tail().0 >= self.duty.settled_at.0 + SETTLED_EVERY;
        if !due || self.shared.cluster.get().is_none() {
            return Ok(());
        }
        self.duty.settled_at = self.log.tail();
        match self.append_settled() {
            Err(LaneError::Full) => Ok(()),
            done => done,
        }
    }

    fn append_settled(&mut self) -> Result<(), LaneError> {
        let rows: Vec<_> =
            self.shards.iter().map(|(shard, owner)| (*shard, owner.line.committed())).collect();
        let head = RecordHead {
            kind: RecordKind::Settled,
            shard: crate::codec::record::LANE_ITSELF,
            epoch: Epoch::default(),
            index: LogIndex(0),
            chain: Chain(0),
        };
        self.log.append(&head, |out| encode_heads(rows.into_iter(), out)).map(drop)
    }

    /// What is committed goes to the applier, what was said to its peer.
    pub(super) fn hand_over(&mut self) {
        self.duty.uncommitted = self.shards.values().map(|owner| owner.line.bytes()).sum();
        self.wake_links();
        let handed = &mut self.duty.handed;
        let Some(last) = handed.records.iter().map(|(_, record)| record.position).max() else { return };
        // The lane's end lies behind the last record; what matters is that nothing before it is missing here.
        let uncommitted = self.shards.values().filter_map(|owner| owner.line.first_position()).min();
        let end = uncommitted.map_or(last, |first| last.min(first));
        self.apply.push(self.lane, end, handed.records.drain(..), std::mem::take(&mut handed.bytes));
        // A burst leaves no memory behind.
        handed.records.shrink_to(PLACES_MAX);
        if self.shards.values().any(|owner| owner.service == Service::Opening) {
            self.apply.hurry();
        }
    }

    /// The log failed: nothing more is answered, the process must end and recover from the disk.
    pub(crate) fn fail(self) {
        self.fatal.report(
            "the log could not be written or synced; what was not answered may or may not have happened",
        );
        end(&self.mailbox, &self.apply);
    }

    /// Told to stop: everything taken is answered, and the log is marked as cleanly closed.
    pub(crate) fn finish(mut self) {
        // What still waits for a majority hears that its outcome is open.
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.close(shard));
        if self.shared.cluster.get().is_some()
            && let Err(error) = self.append_settled()
        {
            tracing::warn!(%error, "the next start asks a leader how far the log is committed");
        }
        let Self { log, boot, mailbox, apply, .. } = self;
        if let Err(error) = log.close(boot) {
            tracing::warn!(%error, "the log was not closed cleanly; the next start reads it to its end");
        }
        end(&mailbox, &apply);
    }
}

fn end(mailbox: &Mailbox, apply: &ApplyQueue) {
    // Dropping the senders of what is left tells their waiters.
    drop(mailbox.end());
    apply.lane_ended();
}
