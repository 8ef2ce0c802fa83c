//! The log replayed into the tables at a start, and what it says about each shard.
//!
//! Invariant: a shard opens only if its log joins its tables without a hole and with the same chain; else it refuses
//! service and its log is kept.

use std::collections::{BTreeMap, VecDeque};

use crate::codec::record::RecordKind;
use crate::codec::segment::decode_heads;
use crate::codec::voters::decode_configs;
use crate::core::replication::History;
use crate::runtime::applier::{Committed, apply, base_of, ops_of};
use crate::runtime::owner::Uncommitted;
use crate::store::aol::Record;
use crate::store::tables::Tables;
use crate::types::{Chain, Configs, LanePosition, LogIndex, ShardId};

/// Bytes of records that gather before they are applied: as many as an applier's round under load.
const BATCH_BYTES: u64 = 8 << 20;

/// How much of a log is known to be committed before its last entry is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// All of it: nobody else votes.
    All,
    /// What the tables hold, and what the log says of itself; the rest waits for a leader.
    AsTold,
}

/// One shard while its log is read.
#[derive(Debug)]
pub(crate) struct ShardReplay {
    pub(crate) tables: Tables,
    /// The shape of the log as far as it was read.
    pub(crate) history: History,
    /// The sets of voters in it: the last committed ones and those behind.
    pub(crate) voters: Vec<(LogIndex, Configs)>,
    /// Entries that may not be committed.
    pub(crate) tail: VecDeque<Uncommitted>,
    /// Why the shard cannot be served, if it cannot.
    pub(crate) damage: Option<String>,
    /// What was damaged of it, if a leader is to repair that.
    pub(crate) lacking: Option<String>,
    /// The first record that the tables' checkpoint lacks.
    pub(crate) first: Option<LanePosition>,
    /// What was found wrong is more than records that are missing behind what was read.
    unsound: bool,
    settling: Settling,
    /// What the tables held when they were opened.
    base: (History, Vec<(LogIndex, Configs)>),
    /// Up to here the tables came as a whole, from a leader: what the log says of earlier records is about other tables.
    seeded: LogIndex,
    /// The log was cut to here, below what the tables hold, and has not come back there yet.
    taken_back: Option<LogIndex>,
    /// The first record that does not continue what was read, and why: damage, unless it was cut later. A tail that was
    /// cut may be longer than what took its place in the tables.
    strange: Option<Strange>,
    pending: Vec<Committed>,
    pending_bytes: u64,
}

/// A record that does not continue what was read.
#[derive(Debug)]
struct Strange {
    from: LogIndex,
    position: LanePosition,
    reason: String,
    /// Some are missing before it; else it is of another log than what was read.
    is_gap: bool,
}

impl ShardReplay {
    pub(crate) fn new(mut tables: Tables, settling: Settling) -> Self {
        // On a full volume everything is applied all the same: what finds no room waits in memory.
        tables.bound_late(u64::MAX);
        let seeded = tables.reader().patient().seeded().map_err(|error| error.to_string());
        let found = seeded.and_then(|seeded| Ok((base_of(&tables)?, seeded)));
        let ((base, seeded), damage) = match found {
            Ok(found) => (found, None),
            Err(reason) => (((History::default(), Vec::new()), LogIndex(0)), Some(reason)),
        };
        let unsound = damage.is_some();
        Self {
            history: base.0.clone(),
            voters: base.1.clone(),
            tail: VecDeque::new(),
            seeded,
            taken_back: None,
            strange: None,
            tables,
            damage,
            lacking: None,
            first: None,
            unsound,
            settling,
            base,
            pending: Vec::new(),
            pending_bytes: 0,
        }
    }

    /// Whether all that was read is the beginning of what there was, and only what follows is missing.
    pub(crate) const fn is_sound_so_far(&self) -> bool {
        !self.unsound
    }

    /// Where the first record stands that was left out since something before it is missing.
    pub(crate) fn left_out(&self) -> Option<LanePosition> {
        self.strange.as_ref().map(|strange| strange.position)
    }

    /// What is wrong is wrong with what was read itself.
    fn condemn(&mut self, reason: String) {
        self.unsound = true;
        self.damage.get_or_insert(reason);
    }

    /// The last entry that was read.
    pub(crate) const fn last(&self) -> LogIndex {
        self.history.end()
    }

    /// Entries up to here are committed.
    pub(crate) fn committed(&self) -> LogIndex {
        self.tail.front().map_or(self.last(), |first| LogIndex(first.index.0 - 1))
    }

    /// Damage in the log took records of this shard, or may have (`to` unknown).
    pub(crate) fn suspect(&mut self, from: LogIndex, to: Option<LogIndex>) {
        let applied = self.tables.state().applied.index;
        if to.is_none_or(|to| to > applied) {
            let end = to.map_or("an unknown end".to_owned(), |to| format!("record {to}"));
            self.damage.get_or_insert(format!("damage in its log took records {from} to {end}"));
        }
    }

    /// The log says that the shard had records up to `head`; those that neither log nor tables have are missing.
    pub(crate) fn must_reach(&mut self, head: LogIndex) {
        if self.last() < head {
            let (last, next) = (self.last(), self.last().next());
            self.damage.get_or_insert(format!(
                "its tables end at record {last}, and the log, which went on to record {head}, no longer has record {next}"
            ));
        }
    }

    /// Takes one record of this shard, in lane order.
    fn take(&mut self, record: &Record) {
        let header = &record.header;
        if header.kind == RecordKind::Cut {
            return self.cut(header.index, header.chain);
        }
        if !header.kind.is_chained() || self.damage.is_some() || self.strange.is_some() {
            return;
        }
        if header.index >= self.base.0.end() {
            self.taken_back = None;
        }
        if header.index <= self.last() {
            return;
        }
        if let Some((reason, is_gap)) = self.misfit(header.index, header.chain) {
            let (from, position) = (header.index, header.position);
            self.strange = Some(Strange { from, position, reason, is_gap });
            return;
        }
        self.first.get_or_insert(header.position);
        self.hold(Uncommitted {
            index: header.index,
            epoch: header.epoch,
            chain: header.chain_after(&record.payload),
            position: header.position,
            kind: header.kind,
            payload: record.payload.clone(),
        });
    }

    /// Why a record does not continue what was read, if so, and whether that is a gap.
    fn misfit(&self, index: LogIndex, chain: Chain) -> Option<(String, bool)> {
        let next = self.last().next();
        if index != next {
            return Some((format!("its log misses the records {next} to {}", index.0 - 1), true));
        }
        (chain != self.history.chain())
            .then(|| (format!("its log does not continue its tables at record {index}"), false))
    }

    fn hold(&mut self, entry: Uncommitted) {
        if entry.epoch < self.history.last_epoch() {
            let reason = format!("record {} is of an epoch that was over", entry.index);
            let (from, position) = (entry.index, entry.position);
            self.strange = Some(Strange { from, position, reason, is_gap: false });
            return;
        }
        if entry.kind == RecordKind::Config {
            match decode_configs(&entry.payload) {
                Ok(configs) => self.voters.push((entry.index, configs)),
                Err(error) => self.condemn(format!("record {}: {error}", entry.index)),
            }
        }
        self.history.push(entry.epoch, entry.chain);
        match self.settling {
            Settling::All => self.pend(entry),
            Settling::AsTold => self.tail.push_back(entry),
        }
    }

    /// Entries up to `upto` are committed.
    fn settle(&mut self, upto: LogIndex) {
        while let Some(entry) = self.tail.pop_front_if(|entry| entry.index <= upto) {
            self.pend(entry);
        }
    }

    fn pend(&mut self, entry: Uncommitted) {
        let Uncommitted { index, epoch, chain, position, kind, payload } = entry;
        let ops = match ops_of(kind, &payload) {
            Ok(ops) => ops,
            Err(reason) => return self.condemn(format!("record {index}: {reason}")),
        };
        let committed = Committed::new(index, (epoch, chain), position, ops);
        self.pending_bytes += committed.bytes;
        self.pending.push(committed);
        if self.pending_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// The records behind `index` were taken back. They were not committed; those that took their place may be in the
    /// tables by now.
    fn cut(&mut self, index: LogIndex, chain: Chain) {
        self.strange.take_if(|strange| index < strange.from);
        if index < self.base.0.end() {
            // What is taken back before the tables came as a whole was never a part of them.
            self.taken_back = (index >= self.seeded).then_some(index).or(self.taken_back);
            (self.history, self.voters) = self.base.clone();
            self.tail.clear();
            self.pending.clear();
            self.pending_bytes = 0;
            self.first = None;
            return;
        }
        if index < self.committed() {
            return self
                .condemn(format!("its log was cut to record {index}, behind which more is committed"));
        }
        self.tail.retain(|entry| entry.index <= index);
        self.voters.retain(|(at, _)| *at <= index);
        self.history.cut(index, chain);
    }

    /// The log was read to its end: applies what gathered.
    pub(crate) fn finish(&mut self) {
        if let Some(strange) = &self.strange {
            self.unsound |= !strange.is_gap;
            self.damage.get_or_insert(strange.reason.clone());
        }
        if let Some(reached) = self.taken_back {
            let end = self.base.0.end();
            self.condemn(format!(
                "its log was cut to record {reached}, and its tables hold records up to {end}"
            ));
        }
        let settled = self.voters.partition_point(|(index, _)| *index <= self.committed());
        self.voters.drain(..settled.saturating_sub(1));
        self.flush();
    }

    fn flush(&mut self) {
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if let Err(error) = apply(&mut self.tables, &records) {
            self.condemn(error.to_string());
        }
        if self.tables.late_bytes() > 0 {
            // Pages that this frees are used by the next records. Without room it stays in memory, and the log is kept.
            let _full = self.tables.checkpoint();
        }
    }
}

/// All shards of a node while the logs are read.
pub(crate) type Replays = BTreeMap<ShardId, ShardReplay>;

/// Hands a record to its shard.
pub(crate) fn take(replays: &mut Replays, record: &Record) {
    if record.header.kind == RecordKind::Settled {
        for (shard, upto) in decode_heads(&record.payload).unwrap_or_default() {
            if let Some(replay) = replays.get_mut(&shard) {
                replay.settle(upto);
            }
        }
    }
    if let Some(replay) = replays.get_mut(&record.header.shard) {
        replay.take(record);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::record::RecordHeader;
    use crate::store::tables::Identity;
    use crate::store::tables::tests::small_disk::SmallDisk;
    use crate::types::{Boot, Epoch, RecordEpoch, ShardCount};

    fn epoch(number: u64) -> Epoch {
        Epoch { record: RecordEpoch(number), boot: Boot(1) }
    }

    /// What a log says, in order: an entry of an epoch at an index, or a cut back to an index. The chain is the sum of
    /// index and epoch.
    #[derive(Debug, Clone, Copy)]
    enum Said {
        Entry(u64, u64, u64),
        Cut(u64, u64),
    }

    /// Tables that hold entries 1 to 10, of which the last three are of epoch 2 and so many came as a whole from a leader, and
    /// a log replayed into them.
    fn replayed(seeded: u64, log: &[Said]) -> ShardReplay {
        let identity = Identity { shard: ShardId(0), shards: ShardCount::new(1).unwrap(), layout: [7; 16] };
        let disk = SmallDisk::with_blocks(usize::MAX);
        let mut tables = Tables::create_on(disk, identity, 256 << 10).unwrap();
        let held = (1..=10).map(|index| {
            let of = if index > 7 { 2 } else { 1 };
            let place = LanePosition(index * 64);
            Committed::new(LogIndex(index), (epoch(of), Chain(index + of)), place, Vec::new())
        });
        apply(&mut tables, &held.collect::<Vec<_>>()).unwrap();
        let mut replay = ShardReplay::new(tables, Settling::AsTold);
        replay.seeded = LogIndex(seeded);
        for (place, said) in log.iter().enumerate() {
            let (kind, index, of, chain) = match *said {
                Said::Entry(index, of, before) => (RecordKind::EpochStart, index, of, before),
                Said::Cut(index, after) => (RecordKind::Cut, index, 0, after),
            };
            let header = RecordHeader {
                kind,
                shard: ShardId(0),
                payload_bytes: 0,
                payload_checksum: 0,
                position: LanePosition(place as u64 * 64),
                synced: LanePosition(0),
                epoch: epoch(of),
                index: LogIndex(index),
                chain: Chain(chain),
            };
            replay.take(&Record { header, payload: Bytes::new() });
        }
        replay.finish();
        replay
    }

    #[test]
    fn a_start_finds_its_way_behind_a_tail_that_was_cut_and_is_longer_than_what_took_its_place() {
        use Said::{Cut, Entry};
        let tail = [Entry(7, 1, 7), Entry(8, 1, 8), Entry(10, 1, 10), Entry(11, 1, 11), Entry(12, 1, 12)];
        let behind = [Cut(7, 8), Entry(8, 2, 8), Entry(9, 2, 10), Entry(10, 2, 11), Entry(11, 2, 12)];
        let sound = replayed(0, &[&tail[..], &behind].concat());
        assert_eq!((sound.damage.as_deref(), sound.last()), (None, LogIndex(11)));
        assert_eq!(sound.history.epoch_at(LogIndex(11)), Some(epoch(2)));
        assert_eq!(sound.first, Some(LanePosition(9 * 64)), "the tail that was cut is not needed");
        let partly = replayed(0, &[&tail[..], &[Cut(11, 12)]].concat());
        assert!(
            partly.damage.unwrap().contains("does not continue"),
            "what is left of the tail is strange still"
        );
        let never = replayed(0, &tail);
        assert!(never.damage.unwrap().contains("does not continue"));
        let hole = replayed(0, &[Entry(12, 2, 13)]);
        assert!(hole.damage.unwrap().contains("misses the records 11 to 11"));
    }
    #[test]
    fn what_was_taken_back_before_the_tables_came_from_a_leader_says_nothing_about_them() {
        use Said::{Cut, Entry};
        let before = [Entry(1, 1, 0), Entry(2, 1, 2), Cut(1, 2), Entry(2, 1, 2), Cut(0, 0)];
        let lost = replayed(0, &before);
        assert!(
            lost.damage.unwrap().contains("was cut to record 0"),
            "without a leader's tables it is damage"
        );
        let seeded = replayed(10, &before);
        assert_eq!((seeded.damage.as_deref(), seeded.last()), (None, LogIndex(10)));
        let on = replayed(10, &[&before[..], &[Entry(11, 2, 12), Cut(10, 12), Entry(11, 2, 12)]].concat());
        assert_eq!((on.damage.as_deref(), on.last()), (None, LogIndex(11)));
    }
}
