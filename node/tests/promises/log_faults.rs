//! Errors of the device at every call, one at a time, and volumes that fill up.

use std::io::ErrorKind;

use thalweg_node::codec::record::RecordKind;
use thalweg_node::seam::disk::simulated::{Call, Faults, Random, SimulatedDisk};
use thalweg_node::store::aol::{Lane, LaneError, RecordHead};
use thalweg_node::types::{Boot, Chain, Epoch, LogIndex, RecordEpoch, ShardId};

use crate::log_model::{MIX, Model, lane_dir, open_checked, options, step};

/// Opens a lane twice and works on it; ends at the first error, or right behind a batch that was refused.
fn workload(disk: &SimulatedDisk, model: &mut Model, end_refused: bool) -> Result<(), LaneError> {
    let mut random = Random::new(5);
    for _ in 0..2 {
        let held = model.acknowledged;
        let mut lane = open_checked(disk, model, held)?;
        for _ in 0..30 {
            if let Err(error) = step(disk, &mut lane, model, &mut random, MIX) {
                let again = [lane.write().map(drop), lane.sync().map(drop), lane.tend().map(drop)];
                assert!(again.iter().all(|again| matches!(again, Err(LaneError::Poisoned))), "{again:?}");
                return Err(error);
            }
            if end_refused && model.tally.refused_batches > 0 {
                return Ok(());
            }
        }
        lane.close(Boot(model.boot))?;
        model.acknowledged = model.written;
    }
    Ok(())
}

fn calls_of_the_workload(call: Call) -> u64 {
    let disk = SimulatedDisk::new(1);
    drop(lane_dir(&disk));
    disk.set_faults(Faults::default());
    workload(&disk, &mut Model::default(), false).expect("without faults all goes well");
    disk.calls(call)
}

#[test]
fn an_error_of_the_device_at_any_call_stops_the_log_and_loses_nothing_acknowledged() {
    for call in Call::ALL {
        let count = calls_of_the_workload(call);
        for nth in 1..=count {
            let disk = SimulatedDisk::new(nth);
            drop(lane_dir(&disk));
            disk.set_faults(Faults::fail(call, nth, ErrorKind::Other));
            let mut model = Model::default();
            let ended = workload(&disk, &mut model, false);
            assert!(matches!(ended, Err(LaneError::Io { .. })), "{call:?} {nth} of {count}: {ended:?}");
            let (mut killed, mut cut) = (model.clone(), model.clone());
            let held = model.acknowledged;
            open_checked(&disk.after_kill(nth), &mut killed, held.max(model.written))
                .expect("opens after a kill");
            open_checked(&disk.after_power_cut(nth), &mut cut, held).expect("opens after a power cut");
        }
    }
}

#[test]
fn a_full_volume_at_any_call_refuses_and_goes_on_and_nothing_refused_is_ever_read() {
    let (mut went_on, mut refused) = (0, 0);
    for call in [Call::Create, Call::Rename, Call::Write, Call::Allocate] {
        let count = calls_of_the_workload(call);
        for (nth, end_refused) in (1..=count).flat_map(|nth| [(nth, false), (nth, true)]) {
            let disk = SimulatedDisk::new(nth);
            drop(lane_dir(&disk));
            disk.set_faults(Faults::fail(call, nth, ErrorKind::StorageFull));
            let mut model = Model::default();
            match workload(&disk, &mut model, end_refused) {
                Ok(()) => went_on += 1,
                // While opening, and for a mark, there is nobody to refuse: the node starts again when there is room.
                Err(LaneError::Full | LaneError::Io { .. }) => {}
                Err(error) => panic!("{call:?} {nth}: {error}"),
            }
            refused += model.tally.refused_batches;
            let (mut killed, mut cut) = (model.clone(), model.clone());
            open_checked(&disk.after_kill(nth), &mut killed, model.acknowledged).expect("opens after a kill");
            open_checked(&disk.after_power_cut(nth), &mut cut, model.acknowledged)
                .expect("opens after a cut");
        }
    }
    assert!(went_on > 100 && refused > 100, "went on {went_on} times, refused {refused} batches");
}

fn head(kind: RecordKind, index: u64, chain: Chain) -> RecordHead {
    let epoch = Epoch { record: RecordEpoch(1), boot: Boot(1) };
    RecordHead { kind, shard: ShardId(0), epoch, index: LogIndex(index), chain }
}

#[test]
fn on_a_full_volume_batches_are_refused_epoch_starts_are_not_and_room_sets_it_going_again() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(100 << 10);
    let (mut lane, _) = Lane::open(&lane_dir(&disk), options(), |_| {}).unwrap();
    let (mut index, mut chain) = (0, Chain(0));
    while lane.has_room(900, RecordKind::Batch).unwrap() {
        index += 1;
        chain = lane
            .append(&head(RecordKind::Batch, index, chain), |out| out.extend_from_slice(&[1; 900]))
            .unwrap()
            .chain;
        lane.write().unwrap();
        lane.sync().unwrap();
        lane.tend().unwrap();
        assert!(index < 1000, "the volume never fills");
    }
    let tail = lane.tail();
    let refused =
        lane.append(&head(RecordKind::Batch, index + 1, chain), |out| out.extend_from_slice(&[1; 900]));
    assert!(matches!(refused, Err(LaneError::Full)));
    assert_eq!(lane.tail(), tail, "a refused record leaves a trace");
    for _ in 0..10 {
        index += 1;
        chain = lane.append(&head(RecordKind::EpochStart, index, chain), |_| {}).unwrap().chain;
        lane.write().unwrap();
        lane.sync().unwrap();
    }
    let readable = lane.reader().read_from(lane.reader().start()).map(Result::unwrap).count();
    assert_eq!(readable as u64, index);
    disk.set_capacity(1 << 20);
    assert!(lane.has_room(900, RecordKind::Batch).unwrap());
    lane.append(&head(RecordKind::Batch, index + 1, chain), |out| out.extend_from_slice(&[1; 900])).unwrap();
    lane.write().unwrap();
    lane.sync().unwrap();
    let mut delivered = 0;
    Lane::open(&lane_dir(&disk.after_power_cut(3)), options(), |_| delivered += 1).unwrap();
    assert_eq!(delivered, index + 1);
}

#[test]
fn room_comes_back_through_release_alone() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(100 << 10);
    let (mut lane, _) = Lane::open(&lane_dir(&disk), options(), |_| {}).unwrap();
    let mut chain = Chain(0);
    for index in 1..5000 {
        if !lane.has_room(900, RecordKind::Batch).unwrap() {
            lane.release(lane.synced()).unwrap();
            assert!(lane.has_room(900, RecordKind::Batch).unwrap(), "released segments are not used again");
        }
        chain = lane
            .append(&head(RecordKind::Batch, index, chain), |out| out.extend_from_slice(&[1; 900]))
            .unwrap()
            .chain;
        lane.write().unwrap();
        lane.sync().unwrap();
    }
    assert!(disk.used() <= 100 << 10);
}
