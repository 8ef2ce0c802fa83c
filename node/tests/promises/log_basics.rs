//! A lane on a real disk: what was appended is read back, over rolls, restarts and release.

use std::sync::Arc;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::seam::disk::{Dir, RealDir};
use thalweg_node::store::aol::{Lane, LaneOptions, Record, RecordHead};
use thalweg_node::types::{Boot, Chain, Epoch, LaneId, LogIndex, RecordEpoch, ShardId};

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
    lane.close().unwrap();
    let (lane, records) = open(&dir);
    assert_eq!(read, records);
    for (record, index) in records.iter().zip(1..) {
        assert_eq!(record.header.index, LogIndex(index));
        assert_eq!(&record.payload[..], &payload(index)[..]);
    }
    drop(lane);
}
