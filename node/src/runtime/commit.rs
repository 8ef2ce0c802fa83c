//! The end of a group: write, sync, publish, hand to the applier, answer; and the end of a lane.

use super::Failure;
use super::apply_queue::{Committed, record_bytes};
use super::lane::{LaneOwner, Pending};
use super::mailbox::Answered;
use crate::store::aol::LaneError;
use crate::types::{AolMode, FsyncPolicy, Op};

impl LaneOwner {
    /// Makes the group as durable as the settings promise, publishes it and answers. An error means that the log failed.
    pub(crate) fn commit(&mut self) -> Result<(), LaneError> {
        let group = std::mem::take(&mut self.group);
        if group.records.is_empty() {
            self.answer(group.answers);
            return Ok(());
        }
        self.lane_metrics.records.inc_by(group.records.len() as u64);
        self.lane_metrics.group_size.observe(group.records.len() as u64);
        match self.durability.aol {
            AolMode::Sync => {
                let written = self.write(group.bytes);
                if let Err(error) = written {
                    for (answer, _) in group.answers {
                        let _gone = answer.map(|answer| answer.send(Err(Failure::LogFailed)));
                    }
                    return Err(error);
                }
                self.publish(group.records);
                self.answer(group.answers);
            }
            AolMode::Async => {
                // The answer goes first; the write follows at once, so that the log stays one group behind at most.
                self.publish(group.records);
                self.answer(group.answers);
                self.write(group.bytes)?;
            }
            AolMode::Never => {
                self.log.discard();
                self.publish(group.records);
                self.answer(group.answers);
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: u64) -> Result<(), LaneError> {
        self.log.write()?;
        self.lane_metrics.written.inc_by(bytes);
        if self.durability.fsync == FsyncPolicy::Always {
            return self.sync();
        }
        self.unsynced_since.get_or_insert(self.clock.elapsed());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LaneError> {
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
            (FsyncPolicy::Interval(interval), Some(since)) if since + interval <= self.clock.elapsed() => self.sync(),
            _ => Ok(()),
        }
    }

    /// Lets readers see the records and hands them to the applier.
    fn publish(&mut self, records: Vec<Pending>) {
        let mut bytes = 0;
        for record in &records {
            bytes += record_bytes(&record.ops);
            let Some(owner) = self.shards.get(&record.shard) else { continue };
            let Ok(shard) = owner.shared.shard(record.shard) else { continue };
            for op in &record.ops {
                shard.views.publish(op, record.index, record.view.as_deref());
                if let Op::Append(append) = op {
                    let metrics = &self.metrics.engine;
                    metrics.messages.inc_by(append.messages.count());
                    metrics.appended.inc_by(append.messages.payload_bytes());
                }
            }
        }
        let epochs: Vec<_> = records.iter().map(|record| self.shards.get(&record.shard).map(|owner| owner.epoch)).collect();
        let committed = records.into_iter().zip(epochs).filter_map(|(record, epoch)| {
            let Pending { shard, index, chain, position, ops, .. } = record;
            Some((shard, Committed { index, epoch: epoch?, chain, position, ops }))
        });
        self.apply.push(committed, bytes);
    }

    fn answer(&self, answers: Vec<(Option<tokio::sync::oneshot::Sender<super::mailbox::Answer>>, super::mailbox::Answer)>) {
        for (sender, answer) in answers {
            match sender {
                // A client that went away does not care.
                Some(sender) => drop(sender.send(answer)),
                None => self.unheard(answer),
            }
        }
    }

    /// Nobody waits for this answer, but what it releases must go on.
    fn unheard(&self, answer: super::mailbox::Answer) {
        if let Ok(Answered { released: Some(parent), .. }) = answer {
            self.release(parent);
        }
    }

    /// The log failed: nothing more is answered, the process must end and recover from the disk.
    pub(crate) fn fail(mut self) {
        self.fatal.report("the log could not be written or synced; what was not answered may or may not have happened");
        self.end();
    }

    /// Told to stop: everything taken is answered; mark the log as cleanly closed.
    pub(crate) fn finish(mut self) {
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "the log was not closed cleanly; the next start reads it to its end");
        }
        self.end();
    }

    fn end(&mut self) {
        // Dropping the senders of what is left tells their waiters.
        drop(self.mailbox.end());
        self.apply.lane_ended();
    }
}
