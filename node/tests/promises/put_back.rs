//! A volume that was put back begins anew (I8): what it held lies aside, whole, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use thalweg_node::codec::superblock::Superblock;
use thalweg_node::seam::disk::simulated::{Call, Faults, SimulatedDisk};
use thalweg_node::seam::disk::{Dir, EntryKind};
use thalweg_node::store::begin_anew::{NotAnew, SET_ASIDE_FOLDERS_MAX, SetAside, begin_anew, is_set_aside};
use thalweg_node::store::layout::{LAYOUT_FILE, Layout};
use thalweg_node::store::publish::read_whole;
use thalweg_node::store::superblock::SuperblockStore;
use thalweg_node::types::{Boot, ClusterId, ShardCount, StartKey, VolumeIncarnation};

const OLD: VolumeIncarnation = VolumeIncarnation([2; 16]);
const NEW: VolumeIncarnation = VolumeIncarnation([3; 16]);
/// Names of what a volume holds, in folders of folders too.
const DATA: [&str; 7] = [
    "lane-000/0000000001.aol",
    "lane-000/quarantine/kept.bin",
    "lane-001/0000000001.aol",
    "tables/shard-000.redb",
    "snapshots/shard-000/00000000000000000042.snapshot",
    "seeding/shard-000.part",
    "shard-000.redb",
];
/// What each of them takes.
const DATA_BYTES: usize = 3_000;

fn layout() -> Layout {
    Layout { shards: ShardCount::new(2).unwrap(), lanes: 2 }
}

fn superblock(incarnation: VolumeIncarnation, boot: u64, key: u64) -> Superblock {
    Superblock {
        cluster: ClusterId([1; 16]),
        node: "node-0".to_owned(),
        incarnation,
        volume: None,
        boot: Boot(boot),
        keys: (boot > 0).then_some(StartKey(key)).into_iter().collect(),
        peers: BTreeMap::new(),
        shards: BTreeMap::new(),
        roster: Vec::new(),
        put_back: (boot > 0).then_some(Boot(boot + 1)),
    }
}

fn first() -> Superblock {
    superblock(NEW, 0, 0)
}

fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(DATA_BYTES).collect()
}

/// Writes a file and makes it durable, with the folders above it.
fn put(root: &Arc<dyn Dir>, path: &str) {
    let mut folder = Arc::clone(root);
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = folder.subdir(part).unwrap();
    }
    let file = folder.create(name).unwrap();
    file.write_at(&content(path), 0).unwrap();
    file.sync().unwrap();
    folder.sync().unwrap();
}

/// A volume that says that it was put back, with data.
fn volume(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let root = disk.root();
    assert!(Layout::open(root.as_ref(), layout()).unwrap());
    drop(SuperblockStore::create(root.as_ref(), superblock(OLD, 7, 77)).unwrap());
    ["lock", "reserve"].iter().for_each(|name| put(&root, name));
    DATA.iter().for_each(|path| put(&root, path));
    disk
}

fn set_aside(disk: &SimulatedDisk) -> Result<SetAside, NotAnew> {
    let root = disk.root();
    let mut store = SuperblockStore::open(root.as_ref())?.unwrap();
    begin_anew(&root, layout(), &mut store, first())
}

/// All files of a directory, by their paths.
fn files(folder: &dyn Dir, above: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for (name, kind) in folder.entries().unwrap() {
        let path = format!("{above}{name}");
        if kind == EntryKind::Directory {
            files(folder.subdir(&name).unwrap().as_ref(), &format!("{path}/"), found);
        } else {
            found.insert(path, read_whole(folder, &name, 1 << 20).unwrap().unwrap());
        }
    }
}

/// Goes on from whatever a start finds, and checks what comes of it.
fn finish(disk: &SimulatedDisk, why: &str) {
    let root = disk.root();
    assert!(!Layout::check(root.as_ref(), layout()).unwrap(), "{why}");
    let found = SuperblockStore::open(root.as_ref()).unwrap().unwrap().get().clone();
    if found.put_back.is_some() {
        assert_eq!(found, superblock(OLD, 7, 77), "{why}");
        set_aside(disk).unwrap();
    }
    check(disk, why);
}

/// The volume is another one and holds nothing; the old one stands beside it, whole.
fn check(disk: &SimulatedDisk, why: &str) {
    let root = disk.root();
    assert_eq!(SuperblockStore::open(root.as_ref()).unwrap().unwrap().get(), &first(), "{why}");
    let entries = root.entries().unwrap();
    let aside: Vec<&String> =
        entries.iter().map(|(name, _)| name).filter(|name| is_set_aside(name)).collect();
    assert_eq!(aside.len(), 1, "{why}: {aside:?}");
    let is_folder = |(_, kind): &&(String, EntryKind)| *kind == EntryKind::Directory;
    assert_eq!(entries.iter().filter(is_folder).count(), 1, "{why}: {entries:?}");
    let (aside, mut old) = (root.subdir(aside[0]).unwrap(), BTreeMap::new());
    files(aside.as_ref(), "", &mut old);
    for path in DATA {
        assert!(old.get(path) == Some(&content(path)), "{why}: {path}");
    }
    // It can be read as the data directory that it was.
    assert_eq!(Layout::read(aside.as_ref()).unwrap(), Some(layout()), "{why}");
    let of_old = SuperblockStore::peek(aside.as_ref()).unwrap();
    assert_eq!(of_old, Some(superblock(OLD, 7, 77)), "{why}");
}

#[test]
fn a_power_cut_at_any_moment_of_setting_a_volume_aside_leaves_the_old_one_whole_and_a_start_that_goes_on() {
    for seed in 0..20 {
        let disk = volume(seed);
        let (history, done) = disk.record(|| set_aside(&disk));
        let folder = done.unwrap().folder;
        assert!(is_set_aside(&folder));
        check(&disk, "undisturbed");
        let mut replay = history.replay();
        for moment in 0..=history.moments() {
            replay.advance(moment);
            let cut = replay.disk().after_power_cut(seed * 1_000 + moment as u64);
            // Again, while it goes on.
            let (again, _) = cut.record(|| finish(&cut, &format!("seed {seed}, moment {moment}")));
            let mut twice = again.replay();
            twice.advance(again.moments() / 2);
            finish(&twice.disk().after_power_cut(seed), &format!("seed {seed}, moment {moment}, twice"));
        }
    }
}

#[test]
fn an_error_of_the_device_at_any_call_of_setting_a_volume_aside_is_gone_on_with_by_the_next_start() {
    let mut failed = 0;
    for call in Call::ALL {
        for nth in 1..200 {
            let disk = volume(nth);
            disk.set_faults(Faults::fail(call, nth, ErrorKind::Other));
            let outcome = set_aside(&disk);
            if outcome.is_ok() {
                assert!(nth > 1 || disk.calls(call) == 0, "{call:?} never fails");
                break;
            }
            failed += 1;
            finish(&disk.after_power_cut(nth), &format!("{call:?} {nth}"));
        }
    }
    assert!(failed > 30, "{failed}");
}

#[test]
fn a_volume_without_room_for_both_or_with_much_set_aside_stays_as_it_is() {
    let disk = volume(1);
    let before = {
        let mut found = BTreeMap::new();
        files(disk.root().as_ref(), "", &mut found);
        found
    };
    let unchanged = |disk: &SimulatedDisk, extra: usize| {
        let mut found = BTreeMap::new();
        files(disk.root().as_ref(), "", &mut found);
        found.retain(|path, _| !is_set_aside(path));
        assert!(found == before, "{extra}");
    };
    // Tables and logs come back; snapshots and what was fetched need not.
    let held = 4 * DATA_BYTES as u64;
    disk.set_capacity(disk.used() + held - 1);
    match set_aside(&disk) {
        Err(error @ NotAnew::NoRoom { .. }) => {
            assert!(error.is_unchanged());
            assert!(error.to_string().contains(&held.to_string()), "{error}");
        }
        other => panic!("{other:?}"),
    }
    unchanged(&disk, 0);
    disk.set_capacity(u64::MAX);
    for number in 0..SET_ASIDE_FOLDERS_MAX {
        put(&disk.root(), &format!("put-back-{number}/{LAYOUT_FILE}"));
    }
    match set_aside(&disk) {
        Err(error @ NotAnew::TooMany(SET_ASIDE_FOLDERS_MAX)) => assert!(error.is_unchanged()),
        other => panic!("{other:?}"),
    }
    unchanged(&disk, SET_ASIDE_FOLDERS_MAX);
}

#[test]
fn a_copy_that_is_put_back_twice_is_set_aside_twice() {
    let disk = volume(1);
    let one = set_aside(&disk).unwrap();
    // The same copy again, over what has become of the volume; its start drew another key.
    let root = disk.root();
    let mut store = SuperblockStore::open(root.as_ref()).unwrap().unwrap();
    store.update(|found| *found = superblock(OLD, 7, 78)).unwrap();
    DATA.iter().for_each(|path| put(&root, path));
    let other = begin_anew(&root, layout(), &mut store, first()).unwrap();
    assert_ne!(one, other);
    let mut found = BTreeMap::new();
    files(root.as_ref(), "", &mut found);
    for SetAside { folder } in [one, other] {
        DATA.iter()
            .for_each(|path| assert!(found.contains_key(&format!("{folder}/{path}")), "{folder} {path}"));
    }
}
