//! A lane under a random workload beside a model of what it must hold.
//!
//! The model knows every record in lane order and how many of them are acknowledged. What recovery delivers must be an
//! unbroken run of the model's records, byte for byte, that contains every acknowledged one: so nothing acknowledged is
//! lost, nothing that was cut comes back, and nothing is delivered that was never written.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::seam::disk::Dir;
use thalweg_node::seam::disk::simulated::{Faults, Random, SimulatedDisk};
use thalweg_node::store::aol::{
    Held, Lane, LaneError, LaneOptions, Operation, Record, RecordHead, RecoveryReport,
};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId};

/// The shards of the lane.
pub(crate) const SHARDS: std::ops::Range<u16> = 0..6;

pub(crate) fn options() -> LaneOptions {
    LaneOptions {
        segment_bytes: 16 << 10,
        segment_bytes_max: 64 << 10,
        free_segments_max: 2,
        ..LaneOptions::new(LaneId(0), [7; 16], true)
    }
}

pub(crate) fn lane_dir(disk: &SimulatedDisk) -> Arc<dyn Dir> {
    disk.root().subdir("lane-000").unwrap()
}

/// A record as the model remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) index: LogIndex,
    pub(crate) chain: Chain,
    pub(crate) kind: RecordKind,
    pub(crate) position: LanePosition,
    pub(crate) end: LanePosition,
    pub(crate) payload: Vec<u8>,
    pub(crate) chain_after: Chain,
}

impl Entry {
    pub(crate) fn is(&self, record: &Record) -> bool {
        let header = &record.header;
        (header.shard, header.epoch, header.index, header.chain, header.kind, header.position)
            == (self.shard, self.epoch, self.index, self.chain, self.kind, self.position)
            && record.payload[..] == self.payload[..]
    }
}

/// What the log must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) entries: Vec<Entry>,
    /// Entries before this were acknowledged: written and synced.
    pub(crate) acknowledged: usize,
    /// Entries before this were written: a killed process does not lose them.
    pub(crate) written: usize,
    /// Segments before this may be gone.
    pub(crate) released: LanePosition,
    pub(crate) boot: u64,
    pub(crate) tally: Tally,
}

/// What a test met, so that it can show that it met what it is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) images: u64,
    pub(crate) torn_tails: u64,
    pub(crate) whole_records_cut: u64,
    pub(crate) segments: u64,
    pub(crate) interrupted_recoveries: u64,
    pub(crate) refused_batches: u64,
    pub(crate) passed_over: u64,
}

impl Model {
    fn head(&self, shard: ShardId) -> (LogIndex, Chain) {
        let last = self.entries.iter().rev().find(|entry| entry.shard == shard);
        last.map_or((LogIndex(0), Chain(0)), |last| (last.index, last.chain_after))
    }

    /// Checks what recovery delivered and takes it over as the truth to go on with.
    pub(crate) fn check(&mut self, records: &[Record], report: &RecoveryReport, must_hold: usize) {
        assert!(report.gaps.is_empty() && report.damaged.is_empty(), "damage in a crash: {report:?}");
        assert!(report.start <= self.released, "unreleased segments are gone: {report:?}");
        let first = self.entries.iter().position(|entry| entry.position >= report.read_from);
        let first = first.unwrap_or(self.entries.len());
        assert_eq!(records.len() as u64, report.records);
        for (at, record) in records.iter().enumerate() {
            let entry = self.entries.get(first + at);
            let entry = entry.unwrap_or_else(|| panic!("never written: {:?}", record.header));
            assert!(entry.is(record), "another record: {:?} instead of {entry:?}", record.header);
        }
        self.tally.images += 1;
        self.tally.torn_tails += u64::from(report.cut.is_some());
        self.tally.whole_records_cut += report.cut.map_or(0, |cut| cut.records);
        let recovered = first + records.len();
        assert!(recovered >= must_hold, "lost {} acknowledged records: {report:?}", must_hold - recovered);
        self.entries.truncate(recovered);
        (self.acknowledged, self.written) = (recovered, recovered);
        self.check_chains(first);
    }

    /// What tables may hold: everything acknowledged that is never cut back, or a part of it.
    fn held(&self) -> Held {
        let part =
            self.acknowledged - self.acknowledged / 8 * usize::try_from(self.tally.images % 4).unwrap();
        let mut held: Held = SHARDS.map(|shard| (ShardId(shard), LogIndex(0))).collect();
        for (at, entry) in self.entries.iter().enumerate() {
            let index = held.entry(entry.shard).or_default();
            *index = if at < part { entry.index } else { entry.index.min(*index) };
        }
        held
    }

    /// Nothing was passed over that tables may lack.
    fn check_passed(&self, held: &Held, report: &RecoveryReport) {
        for shard in SHARDS.map(ShardId) {
            let mine = self.entries.iter().filter(|entry| entry.shard == shard);
            let passed = mine.take_while(|entry| entry.position < report.read_from).last();
            assert!(
                report.read_from == report.start || passed.is_none_or(|last| last.index <= held[&shard]),
                "passed over {passed:?}, the tables hold {held:?}: {report:?}"
            );
        }
    }

    fn check_chains(&self, first: usize) {
        let mut heads: BTreeMap<ShardId, (LogIndex, Chain)> = BTreeMap::new();
        for entry in &self.entries[first..] {
            let head = heads.insert(entry.shard, (entry.index, entry.chain_after));
            // A cut goes back to an index that was there, and the chain goes on from it.
            assert!(
                entry.kind == RecordKind::Cut
                    || head.is_none_or(|(index, chain)| index.next() == entry.index && chain == entry.chain)
            );
        }
    }
}

/// Opens the lane, checks it against the model, and begins a new boot.
pub(crate) fn open_checked(
    disk: &SimulatedDisk,
    model: &mut Model,
    must_hold: usize,
) -> Result<Lane, LaneError> {
    let mut records = Vec::new();
    let opened = disk.root().subdir("lane-000");
    let dir = opened.map_err(|cause| LaneError::Io { operation: Operation::Open, cause })?;
    // Every other time it is opened beside tables.
    let held = if model.tally.images.is_multiple_of(2) { Held::new() } else { model.held() };
    let options = LaneOptions { boot: Some(Boot(model.boot)), ..options() };
    let (lane, report) = Lane::open_behind(&dir, options, &held, |record| records.push(record))?;
    model.check_passed(&held, &report);
    model.tally.passed_over += u64::from(report.read_from > report.start);
    model.check(&records, &report, must_hold);
    model.boot += 1;
    Ok(lane)
}

/// How the workload of a test behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) sync_percent: u64,
    pub(crate) write_back_percent: u64,
    /// Records so small and so alike in size that old and new ones often begin at the same position.
    pub(crate) small_records: bool,
    /// A planted bug: acknowledge without a sync.
    pub(crate) acknowledge_unsynced: bool,
}

pub(crate) const MIX: Mix =
    Mix { sync_percent: 60, write_back_percent: 10, small_records: false, acknowledge_unsynced: false };

fn append_one(lane: &mut Lane, model: &mut Model, random: &mut Random, mix: Mix) -> Result<(), LaneError> {
    let shard = ShardId(u16::try_from(random.below(u64::from(SHARDS.end))).unwrap());
    let (index, chain) = model.head(shard);
    if random.chance(2) && index.0 > 0 {
        return cut_one(lane, model, random, shard);
    }
    let kind = if random.chance(3) { RecordKind::EpochStart } else { RecordKind::Batch };
    let length = match random.below(40) {
        _ if mix.small_records => 8 * random.below(4),
        0 => random.below(30_000),
        1..8 => random.below(3_000),
        _ => random.below(300),
    };
    // Payloads that hold whole copies of earlier headers and zeros are the hardest for a search.
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    payload
        .iter_mut()
        .for_each(|byte| *byte = if random.chance(20) { 0 } else { random.next().to_le_bytes()[0] });
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(model.boot) };
    let head = RecordHead { kind, shard, epoch, index: index.next(), chain };
    let appended = lane.append(&head, |out| out.extend_from_slice(&payload))?;
    model.entries.push(Entry {
        shard,
        epoch,
        index: head.index,
        chain,
        kind,
        position: appended.position,
        end: appended.end,
        payload,
        chain_after: appended.chain,
    });
    Ok(())
}

/// What a follower does whose tail differs from the leader's log: takes records of one shard back.
fn cut_one(lane: &mut Lane, model: &mut Model, random: &mut Random, shard: ShardId) -> Result<(), LaneError> {
    let mine: Vec<&Entry> = model.entries.iter().filter(|entry| entry.shard == shard).collect();
    let to = mine[mine.len() - 1 - usize::try_from(random.below(mine.len().min(4) as u64)).unwrap()].clone();
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(model.boot) };
    let (kind, index, chain) = (RecordKind::Cut, to.index, to.chain_after);
    let appended = lane.append(&RecordHead { kind, shard, epoch, index, chain }, |_| {})?;
    assert_eq!(appended.chain, chain);
    let (position, end) = (appended.position, appended.end);
    let (payload, chain_after) = (Vec::new(), chain);
    model.entries.push(Entry { shard, epoch, index, chain, kind, position, end, payload, chain_after });
    Ok(())
}

fn write_some(lane: &mut Lane, model: &mut Model, random: &mut Random, mix: Mix) -> Result<(), LaneError> {
    for _ in 0..=random.below(if mix.small_records { 30 } else { 5 }) {
        match append_one(lane, model, random, mix) {
            Ok(()) => {}
            Err(LaneError::Full) => break,
            Err(error) => return Err(error),
        }
    }
    match lane.write() {
        Ok(_) => model.written = model.entries.len(),
        Err(LaneError::Full) => {
            model.tally.refused_batches += 1;
            model.entries.truncate(model.written);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A sync that another thread makes while this one writes the next group. Only what was written before it counts; and whoever syncs
/// meanwhile does not rely on it.
fn sync_behind(lane: &mut Lane, model: &mut Model, random: &mut Random, mix: Mix) -> Result<(), LaneError> {
    let (flush, due) = (lane.begin_sync()?, model.written);
    write_some(lane, model, random, mix)?;
    if random.chance(20) {
        lane.sync()?;
        model.acknowledged = model.written;
        return Ok(());
    }
    flush.run()?;
    lane.end_sync()?;
    model.acknowledged = due;
    Ok(())
}

/// One group commit, and what a runtime does between two. What is refused because the volume is full leaves no trace in
/// the model.
pub(crate) fn step(
    disk: &SimulatedDisk,
    lane: &mut Lane,
    model: &mut Model,
    random: &mut Random,
    mix: Mix,
) -> Result<(), LaneError> {
    write_some(lane, model, random, mix)?;
    if random.chance(mix.write_back_percent) {
        disk.write_back(random.below(100));
    }
    if random.chance(mix.sync_percent) {
        if !mix.acknowledge_unsynced && random.chance(40) {
            sync_behind(lane, model, random, mix)?;
        } else {
            if !mix.acknowledge_unsynced {
                lane.sync()?;
            }
            model.acknowledged = model.written;
        }
    }
    while random.chance(60) && lane.tend()? {}
    if random.chance(5) {
        match lane.mark() {
            Ok(()) => model.acknowledged = model.written,
            Err(LaneError::Full) => {}
            Err(error) => return Err(error),
        }
    }
    if random.chance(10) && model.acknowledged > 0 {
        let at = usize::try_from(random.below(model.acknowledged as u64)).unwrap();
        // Most releases are far behind the tail; some are as far as may be.
        let upto = model.entries[at].position.0.saturating_sub(random.below(2) * 40_000);
        let upto = LanePosition(upto).min(lane.synced());
        model.released = model.released.max(upto);
        lane.release(upto)?;
    }
    Ok(())
}

/// Turns the power off in the middle of things: after a random number of calls from now.
pub(crate) fn power_off_soon(disk: &SimulatedDisk, random: &mut Random, calls_max: u64) {
    disk.set_faults(Faults::power_off_after(random.below(calls_max)));
}
