//! Promise: a snapshot is the shard as of one log index, whatever is written meanwhile; a shard restored from it answers
//! everything as the original did then.

use std::sync::Arc;
use std::time::Duration;

use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::store::snapshots::{SnapshotError, Snapshots, Step as Stepped, WriteOptions};
use thalweg_node::store::tables::{Identity, Tables, TablesError};
use thalweg_node::types::{LogIndex, ShardId, UnixMillis};

use super::snapshot_world::{CACHE_BYTES, World, clock, facts, finish, lz4, place, restored};
use super::table_model::{applied, expect_same, identity};

#[test]
fn a_restored_shard_equals_the_original_and_goes_on_as_it_does() {
    for (seed, options) in [(1, WriteOptions::default()), (2, lz4()), (3, lz4())] {
        let mut world = World::new(seed, 60);
        world.apply(40);
        let taken = world.take(options).unwrap();
        assert_eq!(taken.index, world.index());
        let back = world.expect_restored(&world.disk, "restored", "fresh");
        assert_eq!(&back.state, world.tables.state(), "state, next stream, totals and epochs");
        assert!(!back.state.epochs.is_empty() && back.damaged.is_empty());
        let mut tables = Tables::open_at(&place(&world.disk, "restored")).unwrap();
        assert_eq!(tables.durable(), taken.index);
        assert_eq!(facts(&tables.reader()), facts(&world.tables.reader()));
        for batch in &world.run.batches[world.done..] {
            tables.apply(&batch.ops, applied(batch.last), &[]).unwrap();
            tables.reap(3).unwrap();
        }
        tables.checkpoint().unwrap();
        expect_same(&tables.reader(), world.run.plains.last().unwrap(), 3);
    }
}

#[test]
fn an_empty_shard_is_restored_empty() {
    let world = World::new(1, 1);
    assert_eq!(world.take(lz4()).unwrap().index, LogIndex(0));
    let back = world.expect_restored(&world.disk, "restored", "empty");
    assert_eq!(&back.state, world.tables.state());
}

/// A writer goes on between any two steps, with reaping, checkpoints and joined chunks.
#[test]
fn what_was_written_together_is_never_split_by_a_snapshot_while_writers_go_on() {
    for seed in 10..14 {
        let mut world = World::new(seed, 120);
        world.apply(30);
        let (index, state) = (world.index(), world.tables.state().clone());
        let before = facts(&world.tables.reader()).unwrap();
        let snapshots = world.snapshots();
        let mut writing = snapshots.begin(&world.tables.reader(), &clock(), lz4(), &Arc::default()).unwrap();
        let mut steps = 0;
        let taken = loop {
            match writing.step().unwrap() {
                Stepped::Done(taken) => break taken,
                _ => world.apply(4.min(120 - world.done)),
            }
            steps += 1;
        };
        assert!(steps >= 9 && world.index() > index, "nothing was written meanwhile: {steps} steps");
        assert_eq!(taken.index, index);
        let back = world.expect_restored(&world.disk, "restored", "cut");
        assert_eq!(back.state, state);
        let tables = Tables::open_at(&place(&world.disk, "restored")).unwrap();
        assert_eq!(facts(&tables.reader()).unwrap(), before);
    }
}

#[test]
fn snapshots_of_one_shard_are_taken_one_at_a_time_and_those_of_others_meanwhile() {
    let mut world = World::new(5, 10);
    world.apply(10);
    let (snapshots, reader) = (world.snapshots(), world.tables.reader());
    let begin = |snapshots| Snapshots::begin(snapshots, &reader, &clock(), lz4(), &Arc::default());
    let mut first = begin(&snapshots).unwrap();
    first.step().unwrap();
    assert!(matches!(begin(&snapshots), Err(SnapshotError::Busy)));
    // Not even through another handle: the tables give one cut at a time.
    let other = Identity { shard: ShardId(4), ..identity() };
    let elsewhere = Snapshots::open(&world.disk.root(), other).unwrap();
    assert!(matches!(begin(&elsewhere), Err(SnapshotError::Tables(TablesError::Busy))));
    let tables = Tables::create(&world.disk.root().subdir("more").unwrap(), other, CACHE_BYTES).unwrap();
    finish(elsewhere.begin(&tables.reader(), &clock(), lz4(), &Arc::default()).unwrap()).unwrap();
    finish(first).unwrap();
    assert_eq!(snapshots.list().unwrap(), [world.index()]);
    finish(begin(&snapshots).unwrap()).unwrap();
    assert_eq!(snapshots.list().unwrap(), [world.index()], "the same index again is the same file");
}

#[test]
fn so_many_snapshots_stay_as_were_asked_for_and_the_newest_always() {
    let mut world = World::new(6, 20);
    let mut indexes = Vec::new();
    for _ in 0..4 {
        world.apply(5);
        let taken = world.take(WriteOptions { keep: 3, ..lz4() }).unwrap();
        indexes.push(taken.index);
        assert_eq!(taken.pruned.unwrap(), usize::from(indexes.len() > 3));
    }
    assert_eq!(world.snapshots().list().unwrap(), indexes[1..]);
    assert_eq!(world.snapshots().prune(0).unwrap(), 2);
    assert_eq!(world.snapshots().list().unwrap(), indexes[3..]);
}

#[test]
fn the_rate_of_writing_is_kept_and_progress_can_be_asked() {
    let mut world = World::new(7, 40);
    world.apply(40);
    let hand = Arc::new(ManualClock::default());
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&hand);
    let options = WriteOptions { bytes_per_second: 1 << 20, ..WriteOptions::default() };
    let (snapshots, progress) = (world.snapshots(), Arc::default());
    let mut writing = snapshots.begin(&world.tables.reader(), &clock, options, &progress).unwrap();
    let (mut now, mut waited) = (Duration::ZERO, Duration::ZERO);
    let taken = loop {
        match writing.step().unwrap() {
            Stepped::Wrote => {}
            Stepped::Done(taken) => break taken,
            Stepped::Wait(wait) => {
                let done = progress.now();
                assert!(done.rows_total > 0 && done.rows <= done.rows_total);
                (now, waited) = (now + wait + Duration::from_millis(1), waited + wait);
                hand.set(UnixMillis(i64::try_from(now.as_millis()).unwrap()));
            }
        }
    };
    let least = Duration::from_secs_f64(taken.raw_bytes as f64 / f64::from(1 << 20));
    assert!(taken.raw_bytes > 1 << 18 && now >= least && waited <= least, "{now:?} {waited:?} {least:?}");
    let done = progress.now();
    assert_eq!((done.bytes, done.rows, done.rows_total), (taken.bytes, taken.rows, taken.rows));
}

#[test]
fn compacting_and_opening_again_end_a_snapshot_and_nothing_else() {
    let mut world = World::new(8, 30);
    world.apply(20);
    for again in [false, true] {
        let snapshots = world.snapshots();
        let mut writing = snapshots.begin(&world.tables.reader(), &clock(), lz4(), &Arc::default()).unwrap();
        writing.step().unwrap();
        if again {
            world.tables.checkpoint().unwrap();
            world.tables.reopen().unwrap();
            world.tables.readmit();
        } else {
            world.tables.compact().unwrap();
        }
        let ended = writing.step().unwrap_err();
        assert!(matches!(ended, SnapshotError::Tables(TablesError::Behind { .. })), "{ended}");
        drop(writing);
        assert_eq!(world.tables.damage(), None);
        assert_eq!(snapshots.list().unwrap(), [] as [LogIndex; 0]);
        assert_eq!(snapshots.directory().list().unwrap(), [] as [&str; 0], "litter");
    }
    world.apply(10);
    world.take(lz4()).unwrap();
    world.expect_restored(&world.disk, "restored", "afterwards");
}

#[test]
fn a_shard_that_has_a_file_is_not_restored_over() {
    let mut world = World::new(9, 10);
    world.apply(10);
    world.take(lz4()).unwrap();
    let refused = restored(&world.disk, "tables").unwrap_err();
    assert!(matches!(refused, SnapshotError::Tables(TablesError::Exists { .. })), "{refused}");
    let nothing = restored(&SimulatedDisk::new(1), "tables").unwrap_err();
    assert!(matches!(nothing, SnapshotError::Absent), "{nothing}");
}
