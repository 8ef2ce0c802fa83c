//! Promise: whatever ends the writing or the restoring of a snapshot (a power cut, an error of the device, a full volume),
//! there is the old one or the new one, never none and never half of one.

use std::io::ErrorKind;
use std::sync::Arc;

use thalweg_node::seam::disk::simulated::{Call, Faults, Random, SimulatedDisk};
use thalweg_node::store::snapshots::{SnapshotError, Snapshots, WriteOptions, file_name};
use thalweg_node::store::tables::{Tables, TablesError};
use thalweg_node::types::LogIndex;

use super::snapshot_world::{World, clock, finish, lz4, place, restored};
use super::table_model::identity;
use super::tier;

/// A world with one snapshot, and more applied since.
fn world(seed: u64) -> (World, LogIndex) {
    let mut world = World::new(seed, 40);
    world.apply(15);
    let first = world.take(lz4()).unwrap().index;
    world.apply(25);
    world.tables.checkpoint().unwrap();
    (world, first)
}

fn open(disk: &SimulatedDisk) -> Snapshots {
    Snapshots::open(&disk.root(), identity()).unwrap()
}

/// How many images of one history; each costs as much as twenty of the tables alone.
fn images() -> usize {
    tier::crash_images().div_ceil(20)
}

/// Moments to cut at, in order; the last calls, whose order matters most, more often than the others.
fn cuts(random: &mut Random, moments: usize) -> Vec<usize> {
    let mut draw = |_| {
        let span = if random.chance(60) { moments.min(10) } else { moments };
        moments - usize::try_from(random.below(span as u64 + 1)).unwrap()
    };
    let mut cuts: Vec<usize> = (0..images() / 2).map(&mut draw).chain([0, moments]).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn after_any_crash_of_its_writing_there_is_the_old_snapshot_or_the_new_one() {
    for seed in [tier::seed() + 30, tier::seed() + 31] {
        let (world, first) = world(seed);
        // The older one goes only behind the new one: nothing else is ever kept.
        let options = WriteOptions { keep: 1, ..lz4() };
        let (history, (second, done)) = world.disk.record(|| {
            let taken = world.take(options).unwrap();
            (taken.index, world.disk.moment())
        });
        let mut random = Random::new(seed);
        let moments = history.moments();
        let cuts = cuts(&mut random, moments);
        let (mut replay, mut seen) = (history.replay(), [0, 0]);
        for cut in cuts {
            replay.advance(cut);
            let disk = replay.disk().after_power_cut(random.next());
            let what = format!("seed {seed}, cut behind {cut} of {moments}");
            let left = open(&disk);
            assert!(left.directory().list().unwrap().iter().all(|name| !name.ends_with(".tmp")), "{what}");
            let back = world.expect_restored(&disk, "restored", &what);
            let index = back.state.applied.index;
            assert!(index == second || (index == first && cut < done), "{what}: {index}");
            assert!(back.damaged.is_empty(), "{what}: {:?}", back.damaged);
            seen[usize::from(index == second)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    }
}

#[test]
fn after_any_crash_of_a_restore_the_shard_has_no_file_or_a_whole_one() {
    for seed in [tier::seed() + 40, tier::seed() + 41] {
        let (world, _) = world(seed);
        let second = world.take(lz4()).unwrap().index;
        let (history, state) = world.disk.record(|| restored(&world.disk, "restored").unwrap().state);
        assert_eq!(state.applied.index, second);
        let mut random = Random::new(seed);
        let moments = history.moments();
        let cuts = cuts(&mut random, moments);
        let (mut replay, mut seen) = (history.replay(), [0, 0]);
        for cut in cuts {
            replay.advance(cut);
            let disk = replay.disk().after_power_cut(random.next());
            let what = format!("seed {seed}, cut behind {cut} of {moments}");
            match Tables::open_at(&place(&disk, "restored")) {
                Ok(tables) => {
                    assert_eq!(tables.state(), &state, "{what}");
                    seen[1] += 1;
                }
                Err(TablesError::Missing { .. }) => {
                    assert!(cut < moments, "{what}");
                    restored(&disk, "restored").unwrap_or_else(|error| panic!("{what}: {error}"));
                    seen[0] += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
            world.expect_tables(&disk, "restored", &what);
        }
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    }
}

#[test]
fn what_a_killed_writing_left_is_removed_at_the_next_start() {
    let (world, first) = world(50);
    let snapshots = world.snapshots();
    let mut writing = snapshots.begin(&world.tables.reader(), &clock(), lz4(), &Arc::default()).unwrap();
    writing.step().unwrap();
    let killed = world.disk.after_kill(1);
    let name = format!("{}.tmp", file_name(world.index()));
    let folder = killed.root().subdir("snapshots").unwrap().subdir("shard-003").unwrap();
    assert!(folder.list().unwrap().contains(&name));
    assert_eq!(open(&killed).list().unwrap(), [first]);
    assert_eq!(folder.list().unwrap(), [file_name(first)]);
    drop(writing);
    assert_eq!(snapshots.directory().list().unwrap(), [file_name(first)], "given up in order, too");
}

/// Each kind of call fails once at each place, for `act`; what is left is given to `check` together with the error.
fn each_failure(
    world: &mut World,
    act: impl Fn(&World) -> Result<(), SnapshotError>,
    check: impl Fn(&mut World, Option<&SnapshotError>, &str),
) -> u32 {
    let mut failures = 0;
    for call in Call::ALL {
        world.disk.set_faults(Faults::default());
        act(world).unwrap();
        let calls = world.disk.calls(call);
        check(world, None, "without a failure");
        // Long runs of equal calls are looked at from both ends and in between.
        for nth in (1..=calls).filter(|nth| *nth <= 12 || calls - nth <= 12 || nth % 37 == 0) {
            for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
                world.disk.set_faults(Faults::fail(call, nth, kind));
                let ended = act(world);
                world.disk.set_faults(Faults::default());
                let what = format!("{kind:?} at {call:?} {nth} of {calls}");
                check(world, ended.as_ref().err(), &what);
                failures += u32::from(ended.is_err());
            }
        }
    }
    failures
}

#[test]
fn an_error_of_the_device_at_any_call_of_its_writing_leaves_the_old_snapshot_and_no_litter() {
    let (mut world, first) = world(60);
    let second = world.index();
    let write = |world: &World| {
        let snapshots = Snapshots::open(&world.disk.root(), identity())?;
        let options = WriteOptions { keep: 9, free_bytes_min: 1, ..lz4() };
        let (reader, clock) = (world.tables.reader(), clock());
        finish(snapshots.begin(&reader, &clock, options, &Arc::default())?).map(drop)
    };
    let failures = each_failure(&mut world, write, |world, error, what| {
        if world.tables.damage().is_some() {
            // Only a failed read is the tables' own: they are opened again, as after any other read.
            assert!(what.contains("Read"), "{what}");
            world.tables.reopen().unwrap();
            world.tables.readmit();
        }
        let snapshots = open(&world.disk);
        let found = snapshots.list().unwrap();
        assert!(found.contains(&first), "{what}: {found:?}");
        assert!(error.is_some() || found.contains(&second), "{what}");
        // What a failed removal left is gone with the opening.
        let names = snapshots.directory().list().unwrap();
        assert_eq!(names.len(), found.len(), "{what}: {names:?}");
        if found.contains(&second) {
            snapshots.directory().remove(&file_name(second)).unwrap();
        }
    });
    assert!(failures > 40, "{failures}");
}

#[test]
fn an_error_of_the_device_at_any_call_of_a_restore_leaves_no_file_or_a_whole_one() {
    let (mut world, _) = world(61);
    world.take(lz4()).unwrap();
    let state = world.tables.state().clone();
    let name = thalweg_node::store::tables::file_name(identity().shard);
    let restore = |world: &World| restored(&world.disk, "restored").map(drop);
    let failures = each_failure(&mut world, restore, |world, error, what| {
        let place = place(&world.disk, "restored");
        match Tables::open_at(&place) {
            Ok(tables) => {
                // If the newest snapshot could not be read, an older one was restored, whole.
                let index = tables.state().applied.index;
                assert!(index < state.applied.index || tables.state() == &state, "{what}");
                drop(tables);
                world.expect_tables(&world.disk, "restored", what);
                place.directory.remove(&name).unwrap();
            }
            Err(TablesError::Missing { .. }) => assert!(error.is_some(), "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
        let litter = place.directory.list().unwrap();
        assert!(litter.is_empty() || what.contains("Remove"), "{what}: {litter:?}");
    });
    assert!(failures > 80, "{failures}");
}

#[test]
fn a_full_volume_leaves_the_old_snapshot_and_no_litter() {
    let (world, first) = world(70);
    let used = world.disk.used();
    let bytes = {
        let taken = world.take(WriteOptions { keep: 9, ..WriteOptions::default() }).unwrap();
        world.snapshots().directory().remove(&taken.file).unwrap();
        taken.bytes
    };
    assert_eq!(world.disk.used(), used);
    for part in [0, 1, 2, 3, 4, 5, 6, 7] {
        world.disk.set_capacity(used + bytes * part / 8);
        let error = world.take(WriteOptions::default()).unwrap_err();
        assert!(matches!(error, SnapshotError::Full), "{error}");
        assert_eq!(world.disk.used(), used, "litter");
        assert_eq!(world.snapshots().list().unwrap(), [first]);
    }
    // What is asked to stay free stays free.
    world.disk.set_capacity(used + bytes + (6 << 20));
    let careful = WriteOptions { free_bytes_min: 4 << 20, keep: 9, ..WriteOptions::default() };
    assert!(matches!(world.take(careful), Err(SnapshotError::Full)));
    assert_eq!(world.disk.used(), used);
    // A restore without room is refused likewise.
    world.disk.set_capacity(used + bytes / 2);
    assert!(matches!(restored(&world.disk, "restored"), Err(SnapshotError::Full)));
    assert_eq!(world.disk.used(), used, "litter");
    world.disk.set_capacity(u64::MAX);
    world.take(careful).unwrap();
    world.expect_restored(&world.disk, "restored", "with room");
}
