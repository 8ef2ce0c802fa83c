//! A lane on a real disk: what was appended is read back, over rolls, restarts and release.

use std::sync::Arc;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::seam::disk::{Dir, RealDir};
use thalweg_node::store::aol::{Lane, LaneError, LaneOptions, Record, RecordHead};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LanePosition, LogIndex, RecordEpoch, ShardId};

fn options() -> LaneOptions {
    LaneOptions {
        segment_bytes: 64 << 10,
        segment_bytes_max: 256 << 10,
        ..LaneOptions::new(LaneId(0), [7; 16], true)
    }
}

fn head(index: u64, chain: Chain) -> RecordHead {
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
    RecordHead { kind: RecordKind::Batch, shard: ShardId(3), epoch, index: LogIndex(index), chain }
}

fn payload(index: u64) -> Vec<u8> {
    let length = usize::try_from(index * 37 % 900).unwrap();
    vec![u8::try_from(index % 251).unwrap(); length]
}

fn open(dir: &Arc<dyn Dir>) -> (Lane, Vec<Record>) {
    let mut records = Vec::new();
    let (lane, report) = Lane::open(dir, options(), |record| records.push(record)).unwrap();
    assert!(report.gaps.is_empty() && report.damaged.is_empty() && report.cut.is_none(), "{report:?}");
    (lane, records)
}

#[test]
fn what_was_synced_is_read_back_in_order_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let (mut lane, none) = open(&dir);
    assert!(none.is_empty());
    let mut chain = Chain(0);
    for index in 1..=2000 {
        let appended =
            lane.append(&head(index, chain), |out| out.extend_from_slice(&payload(index))).unwrap();
        chain = appended.chain;
        let batch = lane.write().unwrap();
        assert_eq!(&batch[appended.payload], &payload(index)[..]);
        if index % 50 == 0 {
            assert_eq!(lane.sync().unwrap(), appended.end);
        }
        lane.tend().unwrap();
    }
    lane.sync().unwrap();
    let read: Vec<Record> =
        lane.reader().read_from(lane.reader().start()).map(|read| read.unwrap()).collect();
    assert_eq!(read.len(), 2000);
    lane.close(Boot(0)).unwrap();
    let (lane, records) = open(&dir);
    assert_eq!(read, records);
    for (record, index) in records.iter().zip(1..) {
        assert_eq!(record.header.index, LogIndex(index));
        assert_eq!(&record.payload[..], &payload(index)[..]);
    }
    drop(lane);
}

/// Appends and syncs records from `from` on; returns the position of the first.
fn fill(lane: &mut Lane, chain: &mut Chain, indices: std::ops::RangeInclusive<u64>) -> LanePosition {
    let mut first = None;
    for index in indices {
        let appended =
            lane.append(&head(index, *chain), |out| out.extend_from_slice(&payload(index))).unwrap();
        *chain = appended.chain;
        first.get_or_insert(appended.position);
        lane.write().unwrap();
    }
    lane.sync().unwrap();
    first.unwrap()
}

#[test]
fn a_reader_goes_on_where_it_was_and_is_told_when_its_records_are_released() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let (mut lane, _) = open(&dir);
    let mut chain = Chain(0);
    let first = fill(&mut lane, &mut chain, 1..=10);
    let reader = lane.reader();
    let mut records = reader.read_from(first);
    assert_eq!(
        records.by_ref().map(|record| record.unwrap().header.index.0).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    assert!(records.next().is_none());
    fill(&mut lane, &mut chain, 11..=600);
    assert_eq!(records.next().unwrap().unwrap().header.index, LogIndex(11));
    let mut slow = reader.read_from(records.position());
    lane.release(lane.synced()).unwrap();
    fill(&mut lane, &mut chain, 601..=3000);
    for late in [&mut records, &mut slow, &mut reader.read_from(first)] {
        let refusal = late.find_map(Result::err);
        assert!(
            matches!(refusal, Some(LaneError::Released { start }) if start == reader.start()),
            "{refusal:?}"
        );
    }
    assert_eq!(reader.read_from(reader.start()).last().unwrap().unwrap().header.index, LogIndex(3000));
}

#[test]
fn a_reader_on_another_thread_sees_every_record_once_while_the_lane_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let (mut lane, _) = open(&dir);
    let reader = lane.reader();
    let follower = std::thread::spawn(move || {
        let mut records = reader.read_from(LanePosition(0));
        let mut index = 0;
        while index < 3000 {
            match records.next() {
                Some(record) => {
                    let record = record.unwrap();
                    index += 1;
                    assert_eq!(record.header.index, LogIndex(index));
                    assert_eq!(&record.payload[..], &payload(index)[..]);
                }
                None => std::thread::yield_now(),
            }
        }
    });
    fill(&mut lane, &mut Chain(0), 1..=3000);
    follower.join().unwrap();
}

#[test]
fn segments_go_without_copying_and_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lane");
    let dir = RealDir::open(&path).unwrap();
    let (mut lane, _) = open(&dir);
    let mut chain = Chain(0);
    for round in 0..40 {
        fill(&mut lane, &mut chain, round * 100 + 1..=round * 100 + 100);
        lane.release(lane.synced()).unwrap();
    }
    // Two megabytes went through: the active segment, the next one and the released ones are all there is.
    let bytes: u64 =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(lane.tail().0 > 1 << 20 && bytes < 800 << 10, "{bytes} bytes for a log of nothing");
    let mut delivered = Vec::new();
    drop(lane);
    let (_, report) = Lane::open(&dir, options(), |record| delivered.push(record.header.index.0)).unwrap();
    assert_eq!(delivered.last(), Some(&4000));
    assert!(report.gaps.is_empty() && report.damaged.is_empty());
}

#[test]
fn a_record_longer_than_any_segment_gets_a_segment_of_its_own_and_a_longer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let (mut lane, _) = open(&dir);
    let chain = lane.append(&head(1, Chain(0)), |out| out.resize(out.len() + (5 << 20), 8)).unwrap().chain;
    let refused = lane.append(&head(2, chain), |out| out.resize(out.len() + (66 << 20), 8));
    assert!(matches!(refused, Err(LaneError::TooLong { .. })));
    fill(&mut lane, &mut chain.clone(), 2..=3);
    drop(lane);
    let (_, records) = open(&dir);
    assert_eq!(records.iter().map(|record| record.payload.len()).collect::<Vec<_>>(), [5 << 20, 74, 111]);
}

#[test]
fn only_a_clean_stop_is_called_clean() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let reopen = || Lane::open(&dir, options(), |_| {}).unwrap();
    let (lane, first) = reopen();
    assert!(first.created && !first.clean);
    lane.close(Boot(0)).unwrap();
    let (lane, second) = reopen();
    assert!(second.clean && !second.created);
    drop(lane);
    assert!(!reopen().1.clean);
}

#[test]
fn what_a_shard_takes_back_is_kept_and_the_newest_of_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RealDir::open(&folder.path().join("lane")).unwrap();
    let (mut lane, _) = open(&dir);
    let (mut chain, mut ranges) = (Chain(0), Vec::new());
    for index in 1..=20 {
        let appended =
            lane.append(&head(index, chain), |out| out.extend_from_slice(&payload(index))).unwrap();
        chain = appended.chain;
        ranges.push((ShardId(u16::from(index % 2 == 0)), appended.position, appended.end));
    }
    let (shard, from, to) = ranges[0];
    assert!(lane.keep_taken_back(shard, from, to), "nothing of it was written yet");
    assert!(dir.subdir("quarantine").unwrap().list().unwrap().is_empty());
    lane.write().unwrap();
    for (shard, from, to) in &ranges {
        assert!(lane.keep_taken_back(*shard, *from, *to));
    }
    let names = dir.subdir("quarantine").unwrap().list().unwrap();
    assert_eq!(names.len(), 16, "{names:?}");
    for (number, (shard, from, to)) in ranges.iter().enumerate() {
        let name = format!("taken-back-{:03}-{:020}-{:020}.bin", shard.0, from.0, to.0);
        assert_eq!(names.contains(&name), number >= 4, "{name}");
    }
    let (_, from, to) = ranges[19];
    let kept = dir.subdir("quarantine").unwrap().open(names.last().unwrap()).unwrap();
    assert_eq!(kept.len().unwrap(), to.0 - from.0);
    let mut bytes = vec![0; payload(20).len()];
    assert_eq!(kept.read_at(&mut bytes, 72).unwrap(), bytes.len());
    assert_eq!(bytes, payload(20));
}
