//! What a start reads of the log: what the tables lack, and hardly more.

use thalweg_node::codec::record::RecordKind;
use thalweg_node::seam::disk::simulated::{Faults, SimulatedDisk};
use thalweg_node::store::aol::{Held, Lane, LaneOptions, Record, RecordHead, RecoveryReport};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId};

use crate::log_model::lane_dir;

const SEGMENT_BYTES: u64 = 1 << 20;
const SHARD: ShardId = ShardId(3);

fn options(last_boot: u64) -> LaneOptions {
    LaneOptions {
        segment_bytes: SEGMENT_BYTES,
        segment_bytes_max: SEGMENT_BYTES,
        boot: Some(Boot(last_boot)),
        ..LaneOptions::new(LaneId(0), [7; 16], true)
    }
}

fn held(index: u64) -> Held {
    Held::from([(SHARD, LogIndex(index))])
}

/// A lane with one shard.
struct Log {
    lane: Lane,
    index: u64,
    chain: Chain,
    last: LanePosition,
}

impl Log {
    fn new(disk: &SimulatedDisk) -> Self {
        let (lane, _) = Lane::open(&lane_dir(disk), options(0), |_| {}).unwrap();
        Self { lane, index: 0, chain: Chain(0), last: LanePosition(0) }
    }

    /// Appends records of 10 kB, each in a synced group of its own.
    fn append(&mut self, records: u64) {
        for _ in 0..records {
            self.index += 1;
            let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
            let (index, chain) = (LogIndex(self.index), self.chain);
            let head = RecordHead { kind: RecordKind::Batch, shard: SHARD, epoch, index, chain };
            let appended = self.lane.append(&head, |out| out.extend_from_slice(&[7; 10_000])).unwrap();
            (self.chain, self.last) = (appended.chain, appended.position);
            self.lane.write().unwrap();
            self.lane.sync().unwrap();
            while self.lane.tend().unwrap() {}
        }
    }
}

/// Opens the log beside tables that hold everything up to `index`; also says how much was read.
fn open(disk: &SimulatedDisk, boot: u64, index: u64) -> (Lane, Vec<Record>, RecoveryReport, u64) {
    disk.set_faults(Faults::default());
    let mut records = Vec::new();
    let (lane, report) =
        Lane::open_behind(&lane_dir(disk), options(boot), &held(index), |record| records.push(record))
            .unwrap();
    (lane, records, report, disk.read_bytes())
}

#[test]
fn a_start_after_a_clean_stop_reads_next_to_nothing_of_the_log() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::new(&disk);
    log.append(750);
    log.lane.close(Boot(1)).unwrap();
    let disk = disk.after_power_cut(1);
    let (lane, records, report, read) = open(&disk, 1, 750);
    assert!(records.is_empty() && report.clean && report.cut.is_none(), "{report:?}");
    // Three windows of 256 KiB, whatever the length of the log.
    assert!(read < 768 << 10, "{read} bytes were read of a log of {}", report.tail);
    assert_eq!(report.heads, held(750));
    // The log goes on behind the close, and can still be read from its first segment.
    let mut log = Log { lane, index: 750, chain: log.chain, last: report.tail };
    log.append(10);
    drop(log);
    let (_, records, report, _) = open(&disk.after_power_cut(2), 2, 750);
    assert_eq!(
        records.iter().map(|record| record.header.index.0).collect::<Vec<_>>(),
        (751..=760).collect::<Vec<_>>()
    );
    assert!(report.damaged.is_empty() && report.gaps.is_empty(), "{report:?}");
    let (_, records, report, _) = open(&disk.after_power_cut(2), 2, 0);
    assert!(records.len() == 760 && report.damaged.is_empty() && report.gaps.is_empty(), "{report:?}");
}

#[test]
fn a_start_reads_no_segment_that_the_tables_hold_nor_a_spare_one() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::new(&disk);
    log.append(750);
    // Released segments stay as spares, in front of the log.
    log.lane.release(log.last).unwrap();
    log.append(30);
    drop(log);
    let (_, records, report, read) = open(&disk.after_kill(1), 1, 780);
    assert!(report.start.0 < 6 * SEGMENT_BYTES, "there are no spares: {report:?}");
    assert!(records.len() <= 104, "{} records", records.len());
    assert!(read < 3 * SEGMENT_BYTES, "{read} bytes were read beside tables that hold everything");
    let (_, records, _, _) = open(&disk.after_kill(1), 1, 779);
    assert_eq!(records.last().unwrap().header.index, LogIndex(780), "what the tables lack is delivered");
}

#[test]
fn damage_behind_a_close_is_no_torn_tail_when_a_later_boot_has_written_there() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::new(&disk);
    log.append(20);
    log.lane.close(Boot(1)).unwrap();
    let (lane, _, closed, _) = open(&disk, 1, 20);
    let mut log = Log { lane, index: 20, chain: log.chain, last: closed.tail };
    log.append(30);
    drop(log);
    // More is gone than one looks for behind the close of the last boot.
    let path = "lane-000/0000000001.aol";
    for byte in closed.tail.0..closed.tail.0 + 150_000 {
        assert!(disk.flip(path, (4096 + byte) * 8));
    }
    let (_, records, report, _) = open(&disk, 2, 20);
    assert!(!report.damaged.is_empty() && !report.gaps.is_empty(), "{report:?}");
    assert_eq!(records.last().unwrap().header.index, LogIndex(50), "{report:?}");
}

/// A group rolls; then the power goes, and of all that it wrote only the end of the old segment is lost: the roll.
#[test]
fn a_start_does_not_begin_at_a_segment_of_a_group_that_was_never_synced_whole() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::new(&disk);
    while log.last.0 + 20_000 < SEGMENT_BYTES {
        log.append(1);
    }
    let (kept, end) = (log.index, log.lane.tail());
    log.index += 1;
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
    let (index, chain) = (LogIndex(log.index), log.chain);
    let head = RecordHead { kind: RecordKind::Batch, shard: SHARD, epoch, index, chain };
    let appended = log.lane.append(&head, |out| out.extend_from_slice(&[8; 20_000])).unwrap();
    assert!(appended.position.0 >= SEGMENT_BYTES && end.0 < SEGMENT_BYTES, "it did not roll");
    log.lane.write().unwrap();
    drop(log.lane);
    let roll = lane_dir(&disk).open("0000000001.aol").unwrap();
    let lost = usize::try_from(SEGMENT_BYTES - end.0).unwrap();
    roll.write_at(&vec![0; lost], 4096 + end.0).unwrap();
    // The tables hold all that was synced, so the table of heads in the new segment alone would let a start begin there.
    let (lane, records, report, _) = open(&disk, 1, kept);
    assert!(records.iter().all(|record| record.header.index.0 <= kept), "{report:?}");
    assert!(
        report.tail == end && report.cut.is_some(),
        "the log does not end where it was synced: {report:?}"
    );
    // Else a later start that reads all of the log finds the hole, and what was a crash looks like damage.
    let mut log = Log { lane, index: kept, chain, last: report.tail };
    log.append(3);
    drop(log);
    let (_, records, report, _) = open(&disk, 2, 0);
    assert!(report.damaged.is_empty() && report.gaps.is_empty(), "{report:?}");
    assert_eq!(records.last().unwrap().header.index.0, kept + 3);
}

#[test]
fn a_table_of_heads_that_lacks_a_shard_passes_over_nothing() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::new(&disk);
    log.append(250);
    log.lane.close(Boot(1)).unwrap();
    let mut two = held(250);
    two.insert(ShardId(4), LogIndex(9));
    let mut records = 0;
    Lane::open_behind(&lane_dir(&disk), options(1), &two, |_| records += 1).unwrap();
    assert_eq!(records, 250);
}
