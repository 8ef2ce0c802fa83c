//! Bytes that changed on the device: never delivered, never taken for the end of the log, always reported.

use thalweg_node::codec::record::{HEADER_BYTES, RecordKind};
use thalweg_node::seam::disk::simulated::{Random, SimulatedDisk};
use thalweg_node::store::aol::{Lane, LaneError, LaneOptions, Record, RecordHead, RecoveryReport};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId};

use super::tier::{self, bit_flips};
use crate::log_model::lane_dir;

const BLOCK: u64 = 4096;

fn options() -> LaneOptions {
    LaneOptions {
        segment_bytes: 8 << 10,
        segment_bytes_max: 8 << 10,
        ..LaneOptions::new(LaneId(0), [9; 16], true)
    }
}

/// Writes records of three shards over a few segments, one synced group each, and ends cleanly.
fn written(records: u64, clean: bool) -> (SimulatedDisk, Vec<Record>) {
    let disk = SimulatedDisk::new(1);
    let (mut lane, _) = Lane::open(&lane_dir(&disk), options(), |_| {}).unwrap();
    let mut heads = [(0, Chain(0)); 3];
    for number in 0..records {
        let (index, chain) = &mut heads[usize::try_from(number % 3).unwrap()];
        *index += 1;
        let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
        let shard = ShardId(u16::try_from(number % 3).unwrap());
        let head =
            RecordHead { kind: RecordKind::Batch, shard, epoch, index: LogIndex(*index), chain: *chain };
        let payload = vec![u8::try_from(number).unwrap(); usize::try_from(number * 41 % 500).unwrap()];
        *chain = lane.append(&head, |out| out.extend_from_slice(&payload)).unwrap().chain;
        lane.write().unwrap();
        lane.sync().unwrap();
    }
    let all = lane.reader().read_from(LanePosition(0)).map(Result::unwrap).collect();
    if clean {
        lane.close(Boot(0)).unwrap();
    }
    (disk.after_kill(2), all)
}

fn reopen(disk: &SimulatedDisk) -> Result<(Vec<Record>, RecoveryReport), LaneError> {
    let mut records = Vec::new();
    let options = LaneOptions { may_create: false, ..options() };
    let (_, report) = Lane::open(&lane_dir(disk), options, |record| records.push(record))?;
    Ok((records, report))
}

/// Every record is delivered as it was written, or the report says that its shard misses it.
fn check(all: &[Record], records: &[Record], report: &RecoveryReport) {
    for record in records {
        assert!(all.contains(record), "delivered what was never written: {:?}", record.header);
    }
    for missing in all.iter().filter(|record| !records.contains(record)) {
        let (shard, index) = (missing.header.shard, missing.header.index);
        let gap = report
            .gaps
            .iter()
            .any(|gap| gap.shard == shard && gap.from <= index && gap.to.is_none_or(|to| index <= to));
        // Damage of the mark and of the last group before it looks like a torn tail; it is said, too.
        let cut = report.cut.is_some_and(|cut| missing.header.position >= cut.at);
        // What the log begins with is compared with the checkpoints by whoever opens it.
        let before = missing.header.position < report.start;
        assert!(
            gap || cut || before || report.unseen_shards_suspect,
            "{shard}/{index} is gone without a word: {report:?}"
        );
    }
}

fn file_of(position: LanePosition) -> (String, u64) {
    let segment = position.0 / (8 << 10);
    (format!("lane-000/{:010}.aol", segment + 1), BLOCK + position.0 % (8 << 10))
}

fn flip_at(disk: &SimulatedDisk, position: LanePosition, byte: u64, bit: u64) {
    let (path, offset) = file_of(position);
    assert!(disk.flip(&path, (offset + byte) * 8 + bit));
}

#[test]
fn no_flipped_bit_anywhere_in_a_log_is_delivered_or_loses_a_record_silently() {
    let (disk, all) = written(120, true);
    let names = lane_dir(&disk).list().unwrap();
    let mut random = Random::new(tier::seed() + 11);
    let mut met = 0;
    for _ in 0..bit_flips() {
        let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
        let flipped = disk.after_kill(3);
        // Half of the flips hit the header block's first bytes or the first records, where most is at stake.
        let bits = if random.chance(20) { 64 * 8 } else { (BLOCK + (8 << 10)) * 8 };
        assert!(flipped.flip(&format!("lane-000/{name}"), random.below(bits)));
        match reopen(&flipped) {
            Ok((records, report)) => {
                check(&all, &records, &report);
                met += u64::from(!report.damaged.is_empty());
                // What was reported once is reported again: a restart does not make damage go away.
                let (again, second) = reopen(&flipped).unwrap();
                assert_eq!((again, second.damaged), (records, report.damaged));
                assert_eq!(
                    (second.gaps, second.unseen_shards_suspect),
                    (report.gaps, report.unseen_shards_suspect)
                );
            }
            Err(error) => panic!("one flipped bit takes the whole log: {error}"),
        }
    }
    assert!(met * 10 > bit_flips(), "only {met} flips hit a record");
}

#[test]
fn however_much_is_damaged_nothing_wrong_is_delivered_and_nothing_is_missing_without_a_word() {
    let (disk, all) = written(120, true);
    let names = lane_dir(&disk).list().unwrap();
    let mut short = 0;
    for seed in tier::seed()..tier::seed() + bit_flips() {
        let mut random = Random::new(seed);
        let disk = disk.after_kill(seed);
        let dir = lane_dir(&disk);
        for _ in 0..=random.below(6) {
            let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
            let Ok(file) = dir.open(name) else { continue };
            let at = random.below((BLOCK + (8 << 10)) / 512) * 512;
            match random.below(8) {
                // A sector that reads as zeros, or as something else.
                0..3 => file.write_at(&[0; 512], at).unwrap(),
                3 => file.write_at(&[0xa7; 512], at).unwrap(),
                // A write that went to the wrong place: a piece of one segment over a piece of another.
                4 => {
                    let mut piece = [0; 2048];
                    let from = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
                    let Ok(from) = dir.open(from) else { continue };
                    let got = from.read_at(&mut piece, BLOCK + random.below(12) * 512).unwrap();
                    file.write_at(&piece[..got], at).unwrap();
                }
                5 if random.chance(30) => dir.remove(name).unwrap(),
                _ => {
                    disk.flip(&format!("lane-000/{name}"), random.below((BLOCK + (8 << 10)) * 8));
                }
            }
        }
        match reopen(&disk) {
            Ok((records, report)) => {
                // Damage of everything behind a point, the marks included, is the end of the log to whoever reads it:
                // no byte is left that says otherwise.
                let upto: Vec<Record> =
                    all.iter().filter(|record| record.header.position < report.tail).cloned().collect();
                check(&upto, &records, &report);
                let (again, second) = reopen(&disk).unwrap();
                assert_eq!(again, records);
                check(&upto, &again, &second);
                short += u64::from(upto.len() < all.len());
            }
            Err(LaneError::Missing | LaneError::Foreign { .. }) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(short * 20 < bit_flips(), "{short} logs seem to end early");
}

#[test]
fn damage_before_synced_records_is_reported_kept_and_never_cut() {
    let (disk, all) = written(60, false);
    let victim = &all[20];
    for (byte, what) in [(8, "length"), (40, "index"), (HEADER_BYTES as u64, "payload")] {
        let disk = disk.after_kill(4);
        flip_at(&disk, victim.header.position, byte, 5);
        let (records, report) = reopen(&disk).unwrap();
        assert_eq!(records.len(), all.len() - 1, "{what}");
        assert_eq!((report.cut, report.damaged.len()), (None, 1), "{what}");
        assert_eq!(
            (report.damaged[0].from, report.damaged[0].kept),
            (victim.header.position, true),
            "{what}"
        );
        let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.shard, gap.from, gap.to)).collect();
        let index = victim.header.index;
        assert_eq!(gaps, [(victim.header.shard, index, Some(index))], "{what}");
        let kept = lane_dir(&disk).subdir("quarantine").unwrap().list().unwrap();
        assert_eq!(kept.len(), 1, "{what}: {kept:?}");
    }
}

#[test]
fn damage_behind_which_nothing_tells_how_much_is_missing_makes_every_shard_suspect() {
    let (disk, all) = written(60, false);
    // The last record but one of the log: the last one proves only its own shard.
    let victim = &all[58];
    flip_at(&disk, victim.header.position, 8, 5);
    let (records, report) = reopen(&disk).unwrap();
    check(&all, &records, &report);
    let open_ended: Vec<_> = report.gaps.iter().filter(|gap| gap.to.is_none()).map(|gap| gap.shard).collect();
    assert!(open_ended.contains(&victim.header.shard) && open_ended.len() == 2, "{report:?}");
    assert!(report.unseen_shards_suspect);
    // A start does not clear a suspicion; only records that go on where the shard was known to be do.
    let (_, again) = reopen(&disk).unwrap();
    assert_eq!((again.gaps, again.unseen_shards_suspect), (report.gaps, true));
}

#[test]
fn a_lost_end_of_the_log_is_not_taken_for_its_end() {
    let (disk, all) = written(120, true);
    let names = lane_dir(&disk).list().unwrap();
    let last = all.last().map(|record| file_of(record.header.position).0).unwrap();
    for name in names.iter().filter(|name| format!("lane-000/{name}") >= last) {
        lane_dir(&disk).remove(name).unwrap();
    }
    for _ in 0..3 {
        let (records, report) = reopen(&disk).unwrap();
        check(&all, &records, &report);
        assert!(
            records.len() < all.len() && report.damaged.len() == 1 && report.gaps.len() == 3,
            "{report:?}"
        );
        assert!(report.unseen_shards_suspect && !report.clean);
    }
}

#[test]
fn a_damaged_or_lost_segment_header_loses_no_record() {
    let (disk, all) = written(120, true);
    for name in lane_dir(&disk).list().unwrap() {
        let disk = disk.after_kill(5);
        lane_dir(&disk).open(&name).unwrap().write_at(&[0; 4096], 0).unwrap();
        let (records, report) = reopen(&disk).unwrap();
        assert_eq!(records, all, "{name}");
        assert!(report.damaged.is_empty() && report.gaps.is_empty(), "{name}: {report:?}");
    }
}

#[test]
fn a_missing_segment_is_reported_with_what_each_shard_misses() {
    let (disk, all) = written(120, true);
    let names = lane_dir(&disk).list().unwrap();
    assert!(names.len() >= 4);
    lane_dir(&disk).remove(&names[1]).unwrap();
    let (records, report) = reopen(&disk).unwrap();
    check(&all, &records, &report);
    assert_eq!(report.damaged.len(), 1);
    assert!(report.gaps.iter().all(|gap| gap.to.is_some()), "{report:?}");
}

#[test]
fn an_empty_directory_of_a_used_volume_is_refused_not_taken_for_an_empty_log() {
    assert!(matches!(reopen(&SimulatedDisk::new(1)), Err(LaneError::Missing)));
}

#[test]
fn the_log_of_another_volume_and_foreign_files_are_refused_and_left_alone() {
    let (disk, _) = written(10, true);
    let other = LaneOptions { uuid: [1; 16], ..options() };
    assert!(matches!(Lane::open(&lane_dir(&disk), other, |_| {}), Err(LaneError::Foreign { .. })));
    lane_dir(&disk).create("notes.txt").unwrap();
    assert!(matches!(reopen(&disk), Err(LaneError::Foreign { name, .. }) if name == "notes.txt"));
}

#[test]
fn every_cut_point_of_a_record_recovers_all_of_it_or_nothing() {
    let (disk, all) = written(3, false);
    let last = &all[2];
    for cut in 0..last.header.total_bytes() {
        let disk = disk.after_kill(6);
        let (path, offset) = file_of(last.header.position);
        let file = lane_dir(&disk).open(path.strip_prefix("lane-000/").unwrap()).unwrap();
        file.write_at(&vec![0; usize::try_from(last.header.total_bytes() - cut).unwrap()], offset + cut)
            .unwrap();
        let (records, report) = reopen(&disk).unwrap();
        // The record's own padding says nothing; all else is needed.
        let whole = cut >= HEADER_BYTES as u64 + u64::from(last.header.payload_bytes);
        assert_eq!(records.len(), if whole { 3 } else { 2 }, "cut at {cut}");
        assert!(report.gaps.is_empty() && report.damaged.is_empty());
    }
}

#[test]
fn zeros_and_what_a_recycled_segment_held_before_never_parse() {
    let disk = SimulatedDisk::new(1);
    let options = LaneOptions { free_segments_max: 3, ..options() };
    let (mut lane, _) = Lane::open(&lane_dir(&disk), options, |_| {}).unwrap();
    let (mut chain, mut index) = (Chain(0), 0);
    // Records of one size on every lap: old ones stand exactly where new ones are expected.
    while lane.tail() < LanePosition(200 << 10) {
        index += 1;
        let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
        let head =
            RecordHead { kind: RecordKind::Batch, shard: ShardId(0), epoch, index: LogIndex(index), chain };
        chain = lane.append(&head, |out| out.extend_from_slice(&[3; 56])).unwrap().chain;
        lane.write().unwrap();
        lane.sync().unwrap();
        lane.release(lane.synced()).unwrap();
        while lane.tend().unwrap() {}
        if index % 7 == 0 {
            let mut records = Vec::new();
            let opened =
                Lane::open(&lane_dir(&disk.after_kill(index)), options, |record| records.push(record));
            let (_, report) = opened.unwrap();
            assert_eq!(records.last().map(|record| record.header.index), Some(LogIndex(index)));
            assert!(report.cut.is_none() && report.damaged.is_empty(), "{report:?}");
        }
    }
    assert!(lane_dir(&disk).list().unwrap().len() <= 5, "segments are not used again");
}
