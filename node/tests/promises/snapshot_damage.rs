//! Promise: no damage to a snapshot gives another content, or less of it. What is not right is an error that names file
//! and place, and the newest older snapshot that is intact serves instead.

use thalweg_node::codec::snapshot::Compression;
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::store::snapshots::{Part, Progress, SnapshotError, SnapshotFile, WriteOptions, file_name};
use thalweg_node::store::tables::{Identity, Place, Tables, TablesError};
use thalweg_node::types::{LogIndex, ShardCount, ShardId};

use super::snapshot_world::{CACHE_BYTES, World, clock, finish, lz4, place, restored};
use super::table_disk::Dice;
use super::table_model::{Step, applied, identity};
use super::tier;

/// A world with a small snapshot, and the bytes of it.
fn small(compression: Compression) -> (World, String, Vec<u8>) {
    let world = small_world();
    let taken = world.take(WriteOptions { compression, ..lz4() }).unwrap();
    let folder = world.snapshots();
    let mut bytes = vec![0; usize::try_from(taken.bytes).unwrap()];
    folder.directory().open(&taken.file).unwrap().read_at(&mut bytes, 0).unwrap();
    (world, taken.file, bytes)
}

/// Tables with a row of nearly every kind.
fn small_world() -> World {
    let mut world = World::new(20, 1);
    let mut plain = super::table_model::Plain::default();
    let steps = [
        Step::Create { name: 1, json: true, ttl: Some(9), base: 0 },
        Step::Append { pick: 0, sizes: vec![10, 20], close: false, producer: Some(1) },
        Step::Pin { pick: 0, pin: 1, at: 1 },
    ];
    let mut plains = vec![plain.clone()];
    for (index, step) in (1..).zip(steps) {
        let ops: Vec<_> = plain.take(&step).into_iter().map(|op| (LogIndex(index), op)).collect();
        world.tables.apply(&ops, applied(index), &[]).unwrap();
        plains.push(plain.clone());
    }
    world.run.plains = plains;
    world
}

/// Opens and reads a file of these bytes.
fn look(bytes: &[u8]) -> Result<(), SnapshotError> {
    let disk = SimulatedDisk::new(1);
    let file = disk.root().create("file").unwrap();
    file.write_at(bytes, 0).unwrap();
    let snapshot = SnapshotFile::open(disk.root().as_ref(), "file")?;
    snapshot.must_be(identity())?;
    snapshot.verify(&Progress::default()).map(drop)
}

#[test]
fn no_single_flipped_bit_of_a_snapshot_is_accepted() {
    for compression in [Compression::None, Compression::Lz4] {
        let (_, _, mut bytes) = small(compression);
        look(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = look(&bytes).expect_err("a flipped bit was accepted");
            assert!(error.is_damage(), "bit {bit}: {error}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_snapshot_that_ends_early_or_goes_on_is_never_a_smaller_or_larger_shard() {
    let (_, _, bytes) = small(Compression::None);
    for length in 0..bytes.len() {
        assert!(look(&bytes[..length]).expect_err("cut short").is_damage(), "{length}");
    }
    for more in [1, 119, 120, 121, 500] {
        let longer = [&bytes[..], &vec![0; more][..]].concat();
        assert!(look(&longer).expect_err("longer").is_damage(), "{more}");
    }
    // A part of the middle that is missing, with the end in its place.
    for (from, to) in [(92, 120), (200, 216), (92, bytes.len() - 120)] {
        let shorter = [&bytes[..from], &bytes[to..]].concat();
        assert!(look(&shorter).expect_err("a hole").is_damage());
    }
}

/// Larger files: random bits, sectors of noise or of zeros, and blocks that changed places.
#[test]
fn damage_anywhere_in_a_larger_snapshot_is_named_by_file_block_and_table() {
    let mut world = World::new(21, 60);
    world.apply(60);
    let taken = world.take(lz4()).unwrap();
    let mut bytes = vec![0; usize::try_from(taken.bytes).unwrap()];
    world.snapshots().directory().open(&taken.file).unwrap().read_at(&mut bytes, 0).unwrap();
    let (mut dice, mut in_blocks) = (Dice(tier::seed()), 0);
    for number in 0..tier::bit_flips() / 4 {
        let mut bad = bytes.clone();
        let at = dice.below(bad.len());
        match dice.below(8) {
            0 => bad[at / 512 * 512..].iter_mut().take(512).for_each(|byte| *byte = 0),
            1 => bad[at / 512 * 512..]
                .iter_mut()
                .take(512)
                .for_each(|byte| *byte = dice.next().to_le_bytes()[0]),
            2 => {
                let (other, length) = (dice.below(bad.len()), 512.min(bad.len() - at));
                let moved: Vec<u8> = bytes[other..].iter().copied().take(length).collect();
                bad[at..at + moved.len()].copy_from_slice(&moved);
            }
            _ => bad[at] ^= 1 << dice.below(8),
        }
        if bad == bytes {
            continue;
        }
        let error = look(&bad).expect_err("damage was accepted");
        let SnapshotError::Damaged { file, part, .. } = &error else { panic!("{number}: {error}") };
        assert_eq!(file, "file");
        in_blocks += u64::from(matches!(part, Part::Block { .. }));
    }
    assert!(in_blocks > tier::bit_flips() / 8, "{in_blocks}");
}

#[test]
fn a_damaged_snapshot_is_told_of_and_the_newest_intact_older_one_is_restored() {
    let mut world = World::new(22, 30);
    let mut taken = Vec::new();
    for _ in 0..3 {
        world.apply(10);
        taken.push(world.take(WriteOptions { keep: 9, ..lz4() }).unwrap());
    }
    let bit = |at: usize| 8 * (taken[at].bytes / 2);
    let path = |at: usize| format!("snapshots/shard-003/{}", taken[at].file);
    assert!(world.disk.flip(&path(2), bit(2)));
    let back = world.expect_restored(&world.disk, "one", "one damaged");
    assert_eq!((back.state.applied.index, back.damaged.len()), (taken[1].index, 1));
    let text = back.damaged[0].to_string();
    assert!(text.contains(&file_name(taken[2].index)) && text.contains("block"), "{text}");
    assert!(world.disk.flip(&path(1), 3));
    let back = world.expect_restored(&world.disk, "two", "two damaged");
    assert_eq!((back.state.applied.index, back.damaged.len()), (taken[0].index, 2));
    assert!(world.disk.flip(&path(0), 8 * (taken[0].bytes - 1)));
    let error = restored(&world.disk, "three").unwrap_err();
    assert!(matches!(&error, SnapshotError::NoneIntact(all) if all.len() == 3), "{error}");
    assert_eq!(place(&world.disk, "three").directory.list().unwrap(), [] as [&str; 0], "litter");
}

#[test]
fn a_snapshot_of_another_shard_or_cluster_is_refused() {
    let (world, file, _) = small(Compression::Lz4);
    let snapshot = SnapshotFile::open(world.snapshots().directory().as_ref(), &file).unwrap();
    let layout = [8; 16];
    let shards = ShardCount::new(8).unwrap();
    for wrong in [
        Identity { layout, ..identity() },
        Identity { shard: ShardId(4), ..identity() },
        Identity { shards, ..identity() },
    ] {
        assert!(matches!(snapshot.must_be(wrong), Err(SnapshotError::Foreign { .. })), "{wrong:?}");
    }
    let elsewhere = place(&world.disk, "elsewhere");
    let other = Place { identity: Identity { shard: ShardId(4), ..identity() }, ..elsewhere };
    let refused =
        thalweg_node::store::snapshots::restore(&snapshot, &other, &Progress::default()).unwrap_err();
    assert!(matches!(refused, SnapshotError::Foreign { .. }), "{refused}");
}

/// The bad bytes are not carried on under a fresh checksum, and the shard goes on.
#[test]
fn a_bad_chunk_fails_the_snapshot_and_not_the_shard() {
    let disk = super::table_disk::Disk::default();
    let mut tables = Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap();
    let mut plain = super::table_model::Plain::default();
    let steps = [
        Step::Create { name: 1, json: false, ttl: None, base: 0 },
        Step::Append { pick: 0, sizes: vec![50_000; 8], close: false, producer: None },
    ];
    for (index, step) in (1..).zip(steps) {
        let ops: Vec<_> = plain.take(&step).into_iter().map(|op| (LogIndex(index), op)).collect();
        tables.apply(&ops, applied(index), &[]).unwrap();
    }
    tables.checkpoint().unwrap();
    drop(tables);
    let mut file = disk.bytes();
    let message = &plain.streams[&1].messages[3];
    let at = file.windows(64).position(|window| window == &message[1000..1064]).unwrap();
    file[at] ^= 1;
    let tables = Tables::open_on(super::table_disk::Disk::with(file), identity(), CACHE_BYTES).unwrap();
    let world = World::new(1, 1);
    let snapshots = world.snapshots();
    let writing = snapshots
        .begin(&tables.reader(), &clock(), WriteOptions::default(), &std::sync::Arc::default())
        .unwrap();
    let error = finish(writing).unwrap_err();
    assert!(matches!(&error, SnapshotError::Tables(TablesError::Corrupt { .. })), "{error}");
    assert!(error.to_string().contains("chunks"), "{error}");
    assert_eq!(tables.damage(), None);
    assert_eq!(snapshots.directory().list().unwrap(), [] as [&str; 0], "litter");
}
