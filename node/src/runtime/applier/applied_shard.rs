//! One shard's tables as the applier sees them: what waits to be applied, how far they are durable, and how they come back
//! after their device failed.
//!
//! Invariant: while the tables lack something that was reported as applied, the shard answers nobody. What they lost is
//! in the log, which is kept from the last checkpoint on.

use std::sync::Arc;
use std::time::Duration;

use super::apply_queue::Committed;
use super::records;
use super::trouble::{ROT_MET_MAX, State, Trouble};
use crate::codec::record::RecordKind;
use crate::runtime::mailbox::{Installed, Job, Mailbox};
use crate::runtime::shared::Shared;
use crate::store::aol::LaneReader;
use crate::store::tables::{LATE_BYTES_MAX, Tables, TablesError, Unreplaced};
use crate::types::{LaneId, LanePosition, LogIndex, Op, ShardId, StreamId};

/// Rows of deleted streams that one round removes per shard: keeps a round short when a huge stream was deleted.
const REAP_ROWS_MAX: usize = 512;
/// Bytes of records that are read from the log and applied at a time when the tables were opened again.
const BATCH_BYTES: u64 = 4 << 20;
/// Checkpoints after which the pages of removed rows can be used again: the database frees them with the next ones.
const CHECKPOINTS_TO_FREE: u8 = 3;

/// One shard's tables and how far they are.
#[derive(Debug)]
pub(crate) struct ShardApplier {
    pub(crate) shard: ShardId,
    pub(crate) tables: Tables,
    pub(crate) lane: LaneId,
    pub(crate) mailbox: Arc<Mailbox>,
    /// The log, from which what the tables lost is read again.
    pub(crate) log: LaneReader,
    /// Where the first record lies that is applied and not durable, or that could not be applied.
    pub(crate) undurable: Option<LanePosition>,
    /// Rows of deleted streams may be left.
    reaping: bool,
    /// Checkpoints still to be made until removed rows have freed their pages.
    unfreed: u8,
    /// Records that could not be applied: tried again first.
    pub(crate) stuck: Vec<Committed>,
    /// The last record that the owner and the readers were told to be applied.
    reported: LogIndex,
    /// The last attempt found no room.
    pub(crate) full: bool,
    pub(crate) trouble: Trouble,
    /// How often in a row what waits could not be applied because of damage.
    rot_met: u32,
}

impl ShardApplier {
    /// `undurable`: the first record in the log that the last checkpoint lacks.
    pub(crate) fn new(
        shard: ShardId,
        tables: Tables,
        lane: LaneId,
        mailbox: Arc<Mailbox>,
        log: LaneReader,
        undurable: Option<LanePosition>,
    ) -> Self {
        let mut tables = tables;
        tables.bound_late(LATE_BYTES_MAX);
        Self {
            shard,
            reported: tables.state().applied.index,
            tables,
            lane,
            mailbox,
            log,
            undurable,
            reaping: true,
            unfreed: 0,
            stuck: Vec::new(),
            full: false,
            trouble: Trouble::default(),
            rot_met: 0,
        }
    }

    /// Takes what was committed. The log is needed from its first record on, whatever becomes of the tables meanwhile.
    pub(crate) fn take(&mut self, records: Vec<Committed>) {
        self.undurable = self.undurable.or(records.first().map(|record| record.position));
        self.stuck.extend(records);
    }

    /// Bytes of the records that wait.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.stuck.iter().map(|record| record.bytes).sum()
    }

    /// So many bytes of records have left memory for the tables.
    pub(crate) fn tell_growth(&self, bytes: u64, shared: &Shared) {
        if let Some(open) = shared.open_shard(self.shard) {
            open.grown.note(self.reported, bytes);
        }
    }

    /// Whether a checkpoint would change anything.
    pub(crate) fn is_dirty(&self) -> bool {
        self.trouble.is_none()
            && (self.undurable.is_some() || self.unfreed > 0 || self.tables.late_bytes() > 0)
    }

    /// Payload that fits into free pages of its file, once removed rows have freed them.
    pub(crate) fn slack_bytes(&self) -> u64 {
        let settled = self.trouble.is_none() && !self.reaping && self.unfreed == 0;
        if settled { self.tables.slack_bytes() } else { 0 }
    }

    /// Gives free pages back to the volume.
    pub(crate) fn compact(&mut self, now: Duration, shared: &Shared) {
        let stored = self.tables.stored_bytes();
        let compacted = self.tables.compact();
        tracing::info!(
            shard = self.shard.0,
            bytes_before = stored,
            bytes_after = self.tables.stored_bytes(),
            "free pages given back to the full volume"
        );
        self.settle(compacted, now, shared);
    }

    /// Applies what waits, after opening the tables again if they failed.
    pub(crate) fn round(&mut self, now: Duration, shared: &Shared) {
        self.notice(now, shared);
        match self.trouble.state() {
            State::Condemned => self.stuck.clear(),
            State::Failed { next } if now < next => {}
            State::Failed { .. } => self.recover(now, shared),
            State::Sound => {
                let waited = !self.stuck.is_empty();
                let applied = self.apply();
                if waited {
                    let failed = applied.as_ref().err().filter(|_| !self.stuck.is_empty());
                    self.count_rot(failed);
                }
                self.settle(applied, now, shared);
            }
        }
    }

    /// Makes everything applied durable; says whether that succeeded, if there was anything to do.
    pub(crate) fn checkpoint(&mut self, now: Duration, shared: &Shared) -> Option<bool> {
        if !self.is_dirty() {
            return None;
        }
        let made = self.tables.checkpoint().map(|_| {
            self.undurable = self.stuck.first().map(|record| record.position);
            self.unfreed = self.unfreed.saturating_sub(1);
        });
        let succeeded = made.is_ok();
        self.settle(made, now, shared);
        Some(succeeded)
    }

    /// Applies what waits, and removes some rows of what was deleted.
    fn apply(&mut self) -> Result<(), TablesError> {
        if let Some(index) = self.stuck.last().map(|record| record.index) {
            records::apply(&mut self.tables, &self.stuck)?;
            let ops = || self.stuck.iter().flat_map(|record| &record.ops);
            self.reaping |=
                ops().any(|op| matches!(op, Op::Delete { .. } | Op::Trim { .. } | Op::Unpin { .. }));
            let changed = changed(ops());
            self.stuck.clear();
            self.reported = index;
            let _ended = self.mailbox.send(Job::Applied { shard: self.shard, index, changed });
        }
        if self.reaping {
            self.reaping = self.tables.reap(REAP_ROWS_MAX)? > 0;
            if self.reaping {
                self.unfreed = CHECKPOINTS_TO_FREE;
            }
        }
        Ok(())
    }

    /// What an access came to. No room: it is tried again. A failed device: opened again. Anything else, or damage that is met again
    /// and again: no further attempt will help.
    fn settle(&mut self, result: Result<(), TablesError>, now: Duration, shared: &Shared) {
        match result {
            Ok(()) => self.full = false,
            Err(TablesError::Full) => self.full = true,
            Err(TablesError::Damaged { .. }) if !self.is_beyond_help() => self.notice(now, shared),
            Err(error) => self.condemn(&error, shared),
        }
    }

    /// Looks whether the tables failed, in the applier's hands or in a reader's.
    fn notice(&mut self, now: Duration, shared: &Shared) {
        if !self.trouble.is_none() {
            return;
        }
        let Some(error) = self.tables.damage() else { return };
        self.trouble.begin(now);
        if let Some(open) = shared.open_shard(self.shard) {
            open.suspend(&error.to_string());
        }
    }

    /// Puts the file that a leader's snapshot became in the place of the tables; how many bytes of records leave memory with
    /// the old ones.
    pub(crate) fn replace(&mut self, log_is_durable: bool) -> u64 {
        let waiting = self.waiting_bytes();
        let outcome = match self.trouble.is_none() && log_is_durable {
            true => self.tables.replace(),
            false => Err(Unreplaced::Kept(TablesError::Busy)),
        };
        let installed = outcome.and_then(|()| {
            let base = records::base_of(&self.tables);
            base.map_err(|reason| Unreplaced::Unknown(TablesError::Damaged { reason: reason.into() }))
        });
        let outcome = match installed {
            Ok((history, voters)) => {
                // All of it is in the new file.
                self.stuck.clear();
                self.undurable = None;
                self.reported = history.end();
                (self.reaping, self.full) = (true, false);
                let voters = voters.into_iter().next_back().map(|(_, configs)| configs);
                Ok(Box::new(Installed { history, voters, left_out: None }))
            }
            Err(error) => {
                if matches!(error, Unreplaced::Unknown(_)) {
                    // Nobody opens it again before the next start: the lane would not know what it holds.
                    self.trouble.condemn();
                }
                Err(error)
            }
        };
        let _ended = self.mailbox.send(Job::Installed { shard: self.shard, outcome });
        waiting - self.waiting_bytes()
    }

    /// Sets the tables aside and begins with empty ones; how many bytes of records leave memory with the old ones.
    pub(crate) fn empty(&mut self, is_first: bool, shared: &Shared) -> u64 {
        let waiting = self.waiting_bytes();
        let outcome = self.tables.empty(is_first);
        match &outcome {
            Ok(()) => {
                self.stuck.clear();
                self.reported = LogIndex(0);
                (self.reaping, self.full, self.rot_met) = (false, false, 0);
                self.trouble.begin_anew();
                if let Some(open) = shared.open_shard(self.shard) {
                    open.pardon();
                }
            }
            Err(Unreplaced::Unknown(_)) => self.trouble.condemn(),
            Err(Unreplaced::Kept(_)) => {}
        }
        let outcome = outcome.map(|()| {
            // What the log has behind the file that was set aside.
            let left_out = self.undurable.take();
            Box::new(Installed { left_out, ..Installed::default() })
        });
        let _ended = self.mailbox.send(Job::Installed { shard: self.shard, outcome });
        waiting - self.waiting_bytes()
    }

    fn recover(&mut self, now: Duration, shared: &Shared) {
        self.trouble.attempt();
        self.tables.bound_late(u64::MAX);
        let back = self.tables.reopen().and_then(|()| self.repeat());
        self.tables.bound_late(LATE_BYTES_MAX);
        if let Err(error) = &back {
            self.count_rot(Some(error));
        }
        match back {
            Ok(()) => {
                self.tables.readmit();
                self.trouble.end(now);
                // Rows of what was deleted are not worth it to meet the same damage all the time.
                self.reaping = self.tables.rot().is_none();
                if let Some(open) = shared.open_shard(self.shard) {
                    open.resume();
                }
            }
            // A marker or a header found no room: the volume is full, which is no fault of the file.
            Err(TablesError::Full) => self.trouble.wait_for_room(now),
            Err(TablesError::Damaged { .. }) if !self.is_beyond_help() && self.trouble.go_on(now) => {}
            Err(error) => self.condemn(&error, shared),
        }
    }

    /// Applies again what was applied and is not durable: the records of the log up to the last one that was reported.
    fn repeat(&mut self) -> Result<(), TablesError> {
        let lost = |reason: String| TablesError::Damaged { reason: reason.into() };
        let mut reached = self.tables.state().applied.index;
        if reached >= self.reported {
            return Ok(());
        }
        let from = self.undurable.ok_or_else(|| lost("the log of what they lost was let go".to_owned()))?;
        let cuts = self.cuts_behind(from).map_err(lost)?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in self.log.read_from(from) {
            let record = record.map_err(|error| lost(error.to_string()))?;
            let header = &record.header;
            if header.shard != self.shard || !header.kind.is_chained() || header.index <= reached {
                continue;
            }
            let was_cut = |(at, to): &(LanePosition, LogIndex)| *at > header.position && *to < header.index;
            if cuts.iter().any(was_cut) {
                continue;
            }
            if header.index != reached.next() || header.index > self.reported {
                break;
            }
            reached = header.index;
            let ops = records::ops_of(header.kind, &record.payload).map_err(lost)?;
            let chain = header.chain_after(&record.payload);
            let committed = Committed::new(header.index, (header.epoch, chain), header.position, ops);
            bytes += committed.bytes;
            batch.push(committed);
            if bytes >= BATCH_BYTES {
                records::apply(&mut self.tables, &batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
        }
        records::apply(&mut self.tables, &batch)?;
        if self.tables.state().applied.index < self.reported {
            return Err(lost(format!("the log lacks what was applied behind record {reached}")));
        }
        Ok(())
    }

    /// Where the log says that records were taken back, and behind which: those were never applied.
    fn cuts_behind(&self, from: LanePosition) -> Result<Vec<(LanePosition, LogIndex)>, String> {
        let mut cuts = Vec::new();
        for record in self.log.read_from(from) {
            let header = record.map_err(|error| error.to_string())?.header;
            if header.shard == self.shard && header.kind == RecordKind::Cut {
                cuts.push((header.position, header.index));
            }
        }
        Ok(cuts)
    }

    /// What waits could be applied, or not.
    fn count_rot(&mut self, failed: Option<&TablesError>) {
        let met = matches!(failed, Some(TablesError::Damaged { .. })) && self.tables.rot().is_some();
        self.rot_met = if met { self.rot_met + 1 } else { 0 };
    }

    /// Whether the applier meets damage as often as the tables are opened again. What it cannot apply would wait in memory for ever,
    /// and hold up all shards of its lane.
    fn is_beyond_help(&self) -> bool {
        self.rot_met >= ROT_MET_MAX
    }

    /// Nothing helps. Whatever failed, the file, its device or the log of what it lost, counts as damage from now on: in a cluster the shard
    /// gets another file from its leader.
    fn condemn(&mut self, error: &TablesError, shared: &Shared) {
        self.trouble.condemn();
        self.tables.reader().note_rot(&error.to_string());
        if let Some(open) = shared.open_shard(self.shard) {
            open.condemn(&error.to_string());
        }
    }
}

/// The streams that ops change, each once.
fn changed<'a>(ops: impl Iterator<Item = &'a Op>) -> Vec<StreamId> {
    let mut streams: Vec<StreamId> = ops.filter_map(Op::stream).collect();
    streams.sort_unstable();
    streams.dedup();
    streams
}

#[cfg(test)]
mod tests;
