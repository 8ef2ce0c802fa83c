//! The end of a group: write, sync, publish, hand to the applier, answer; and the end of a lane.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Failure;
use super::apply_queue::{ApplyQueue, Committed, record_bytes};
use super::group::{Group, Pending};
use super::lane::LaneOwner;
use super::mailbox::{Answer, Answered, Mailbox};
use super::tally;
use crate::core::{Appended, Reply};
use crate::store::aol::LaneError;
use crate::types::{AolMode, FsyncPolicy};

impl LaneOwner {
    /// Makes the group as durable as the settings promise, publishes it and answers. An error means that the log failed.
    pub(crate) fn commit(&mut self) -> Result<(), LaneError> {
        let Group { mut records, answers, bytes } = std::mem::take(&mut self.group);
        if records.is_empty() {
            self.answer(answers);
            return Ok(());
        }
        self.lane_metrics.records.inc_by(records.len() as u64);
        self.lane_metrics.group_size.observe(records.len() as u64);
        match self.durability.aol {
            AolMode::Sync => {
                match self.write(bytes) {
                    Ok(batch) => {
                        records.iter_mut().for_each(|record| record.settle(|wire| batch.slice(wire)))
                    }
                    Err(error) => {
                        answers.into_iter().filter_map(|(sender, _)| sender).for_each(|sender| {
                            let _gone = sender.send(Err(Failure::LogFailed));
                        });
                        return Err(error);
                    }
                }
                self.publish(records);
                self.answer(answers);
            }
            AolMode::Async => {
                // The answer goes first; the write follows at once, so that the log stays one group behind at most. The
                // views may not hold the requests' buffers, and the group's buffer is not frozen yet: copied.
                records.iter_mut().for_each(Pending::copy);
                self.publish(records);
                self.answer(answers);
                self.write(bytes)?;
            }
            AolMode::Never => {
                let batch = self.scratch.split().freeze();
                records.iter_mut().for_each(|record| record.settle(|wire| batch.slice(wire)));
                self.publish(records);
                self.answer(answers);
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: u64) -> Result<Bytes, LaneError> {
        let batch = self.log.write()?;
        self.lane_metrics.written.inc_by(bytes);
        if self.durability.fsync == FsyncPolicy::Always {
            self.sync()?;
        } else {
            self.unsynced_since.get_or_insert(self.clock.elapsed());
        }
        Ok(batch)
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
            (FsyncPolicy::Interval(interval), Some(since)) if since + interval <= self.clock.elapsed() => {
                self.sync()
            }
            _ => Ok(()),
        }
    }

    /// Lets readers see the records and hands them to the applier.
    fn publish(&mut self, records: Vec<Pending>) {
        let mut bytes = 0;
        for record in &records {
            bytes += record_bytes(&record.ops);
            let Some(owner) = self.shards.get(&record.shard) else { continue };
            let Some(shard) = owner.shared.open_shard(record.shard) else { continue };
            shard.views.publish(&record.ops, record.index, record.view.as_deref(), |op, let_go| {
                tally::count(&self.metrics.engine, op, record.cause, let_go);
            });
            owner.shared.subscriptions.publish(record.shard, &record.ops);
        }
        for record in &records {
            if let Some(owner) = self.shards.get_mut(&record.shard) {
                owner.unpublished.clear();
            }
        }
        let Some(last) = records.last() else { return };
        // The lane's end lies behind the last record; what matters is that nothing before it is missing here.
        let end = last.position;
        let committed = records.into_iter().map(|record| {
            let Pending { shard, index, epoch, chain, position, ops, .. } = record;
            (shard, Committed { index, epoch, chain, position, ops })
        });
        self.apply.push(self.lane, end, committed, bytes);
    }

    fn answer(&self, answers: Vec<(Option<oneshot::Sender<Answer>>, Answer)>) {
        for (sender, answer) in answers {
            if let Ok(Answered { reply: Reply::Append(Ok(Appended { duplicate: true, .. })), .. }) = &answer {
                self.metrics.engine.duplicates.inc();
            }
            match sender {
                // A client that went away does not care.
                Some(sender) => drop(sender.send(answer)),
                None => self.unheard(&answer),
            }
        }
    }

    /// Nobody waits for this answer, but what it releases must go on.
    fn unheard(&self, answer: &Answer) {
        if let Ok(Answered { released: Some(parent), .. }) = answer {
            self.release(*parent);
        }
    }

    /// The log failed: nothing more is answered, the process must end and recover from the disk.
    pub(crate) fn fail(self) {
        self.fatal.report(
            "the log could not be written or synced; what was not answered may or may not have happened",
        );
        end(&self.mailbox, &self.apply);
    }

    /// Told to stop: everything taken is answered; mark the log as cleanly closed.
    pub(crate) fn finish(self) {
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
