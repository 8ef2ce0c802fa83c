//! What stands beside the log on a volume: superblock, layout manifest, published files, the lock.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use thalweg_node::codec::roster::encode_roster;
use thalweg_node::codec::superblock::Superblock;
use thalweg_node::config::Config;
use thalweg_node::runtime::{Running, start_on};
use thalweg_node::seam::disk::RealDir;
use thalweg_node::seam::disk::simulated::{Call, Faults, Random, SimulatedDisk};
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::store::layout::{LAYOUT_FILE, Layout, LayoutError};
use thalweg_node::store::lock::{DirectoryLock, LockError};
use thalweg_node::store::publish::{publish, read_whole};
use thalweg_node::store::superblock::{COPIES, SuperblockStore, SuperblockStoreError};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{
    Boot, ClusterId, Member, RecordEpoch, ReplicaId, Roster, ShardCount, ShardId, VolumeIncarnation,
};

use super::engine_world::config;

fn first() -> Superblock {
    Superblock {
        cluster: ClusterId([1; 16]),
        node: "node-0".to_owned(),
        incarnation: VolumeIncarnation([2; 16]),
        volume: None,
        boot: Boot(1),
        keys: Vec::new(),
        peers: BTreeMap::new(),
        shards: BTreeMap::new(),
        roster: Vec::new(),
        put_back: None,
    }
}

fn promise(block: &mut Superblock, record: u64) {
    let memory = block.shards.entry(ShardId(3)).or_default();
    memory.promised.record = RecordEpoch(record);
    // The length changes, so that a torn copy mixes contents of different lengths.
    memory.config = vec![7; usize::try_from(record * 97 % 1500).unwrap()];
}

fn promised(block: &Superblock) -> u64 {
    block.shards.get(&ShardId(3)).map_or(0, |memory| memory.promised.record.0)
}

#[test]
fn a_promise_once_given_survives_any_crash_and_never_goes_back() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let mut disk = SimulatedDisk::new(seed);
        let mut given = 0;
        drop(SuperblockStore::create(disk.root().as_ref(), first()).unwrap());
        for _ in 0..4 {
            let mut store = SuperblockStore::open(disk.root().as_ref()).unwrap().unwrap();
            let found = promised(store.get());
            assert!(found >= given, "seed {seed}: promised {given}, remembers {found}");
            given = found;
            disk.set_faults(Faults::power_off_after(random.below(30)));
            while store.update(|block| promise(block, found.max(given) + 1)).is_ok() {
                given += 1;
            }
            assert!(matches!(store.update(|_| {}), Err(SuperblockStoreError::Poisoned)));
            disk = disk.after_power_cut(random.next());
        }
    }
}

#[test]
fn damage_of_either_copy_forgets_nothing_and_of_both_is_refused() {
    let disk = SimulatedDisk::new(1);
    let mut store = SuperblockStore::create(disk.root().as_ref(), first()).unwrap();
    for record in 1..=3 {
        store.update(|block| promise(block, record)).unwrap();
    }
    let copy = read_whole(disk.root().as_ref(), COPIES[0], 1 << 20).unwrap().unwrap();
    let length = (32 + u32::from_le_bytes(copy[12..16].try_into().unwrap())) * 8;
    for name in COPIES {
        for bit in 0..u64::from(length) {
            let disk = disk.after_kill(2);
            assert!(disk.flip(name, bit));
            let store = SuperblockStore::open(disk.root().as_ref()).unwrap().unwrap();
            assert_eq!(promised(store.get()), 3, "{name}, bit {bit}");
        }
    }
    COPIES.iter().for_each(|name| assert!(disk.flip(name, 77)));
    assert!(matches!(SuperblockStore::open(disk.root().as_ref()), Err(SuperblockStoreError::Unreadable)));
}

#[test]
fn an_error_of_the_device_at_any_call_of_the_superblock_takes_no_promise_back() {
    for call in Call::ALL {
        for nth in 1..40 {
            let disk = SimulatedDisk::new(nth);
            let mut store = SuperblockStore::create(disk.root().as_ref(), first()).unwrap();
            disk.set_faults(Faults::fail(call, nth, ErrorKind::Other));
            let mut given = 0;
            while given < 15 && store.update(|block| promise(block, given + 1)).is_ok() {
                given += 1;
            }
            let disk = disk.after_power_cut(nth);
            let store = SuperblockStore::open(disk.root().as_ref()).unwrap().unwrap();
            assert!(promised(store.get()) >= given, "{call:?} {nth}");
        }
    }
}

#[test]
fn a_promise_fits_on_a_full_volume() {
    let disk = SimulatedDisk::new(1);
    let mut store = SuperblockStore::create(disk.root().as_ref(), first()).unwrap();
    disk.set_capacity(disk.used());
    store.update(|block| promise(block, 15)).unwrap();
}

#[test]
fn a_published_file_is_the_old_or_the_new_one_after_any_crash() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let disk = SimulatedDisk::new(seed);
        publish(disk.root().as_ref(), "file", &[1; 3000]).unwrap();
        disk.set_faults(Faults::power_off_after(random.below(8)));
        let published = publish(disk.root().as_ref(), "file", &[2; 5000]).is_ok();
        let disk = disk.after_power_cut(random.next());
        let bytes = read_whole(disk.root().as_ref(), "file", 1 << 20).unwrap().unwrap();
        let old = bytes == [1; 3000] && !published;
        assert!(old || bytes == [2; 5000], "seed {seed}: {} bytes", bytes.len());
        publish(disk.root().as_ref(), "file", &[3; 10])
            .expect("what the crash left does not stand in the way");
    }
}

fn acquire(folder: &std::path::Path) -> Result<DirectoryLock, LockError> {
    DirectoryLock::acquire(RealDir::open(folder).unwrap().as_ref())
}

fn layout(shards: u64) -> Layout {
    Layout { shards: ShardCount::new(shards).unwrap(), lanes: 1 }
}

#[test]
fn a_data_directory_opens_only_as_it_was_laid_out() {
    let disk = SimulatedDisk::new(1);
    let root = disk.root();
    assert!(Layout::open(root.as_ref(), layout(16)).unwrap());
    assert!(!Layout::open(root.as_ref(), layout(16)).unwrap());
    let refusal = Layout::open(root.as_ref(), layout(8)).unwrap_err();
    assert!(matches!(refusal, LayoutError::Differs { what: "shards", found: 16, wanted: 8 }));
    assert!(refusal.to_string().contains("configure 16"), "{refusal}");
    let two_lanes = Layout { lanes: 2, ..layout(16) };
    assert!(matches!(
        Layout::open(root.as_ref(), two_lanes),
        Err(LayoutError::Differs { what: "lanes", .. })
    ));
    root.subdir("lane-000").unwrap();
    root.create("shard-000.redb").unwrap();
    assert!(!Layout::open(root.as_ref(), layout(16)).unwrap(), "the engine's own files are foreign to it");
}

fn manifest_of(format: u32, policy: &str) -> String {
    let head = "# How this data directory is laid out. Fixed for life: do not edit.\n";
    let body = format!("{head}format = {format}\nhash = \"{policy}\"\nshards = 16\nlanes = 1\nzones = 3\n");
    format!("{body}checksum = \"{:08x}\"\n", crc32c::crc32c(body.as_bytes()))
}

#[test]
fn a_newer_an_unreadable_and_a_missing_manifest_are_told_apart_and_nothing_is_overwritten() {
    let open = |text: &[u8]| {
        let disk = SimulatedDisk::new(1);
        publish(disk.root().as_ref(), LAYOUT_FILE, text).unwrap();
        let refusal = Layout::open(disk.root().as_ref(), layout(16)).unwrap_err();
        let after = read_whole(disk.root().as_ref(), LAYOUT_FILE, 1 << 20).unwrap().unwrap();
        assert_eq!(after, text);
        refusal
    };
    assert!(matches!(open(manifest_of(2, "seahash-v1").as_bytes()), LayoutError::Newer { format: 2, .. }));
    assert!(matches!(open(manifest_of(1, "xxh3").as_bytes()), LayoutError::Newer { .. }));
    assert!(matches!(open(manifest_of(1, "seahash-v1").as_bytes()), LayoutError::Unreadable { .. }));
    let torn = manifest_of(1, "seahash-v1").replace("lanes", "lames");
    assert!(matches!(open(torn.as_bytes()), LayoutError::Unreadable { .. }));
    for foreign in [&b""[..], &[0xff; 200], b"[layout]\ncolumns = 2\n"] {
        let refusal = open(foreign);
        assert!(matches!(refusal, LayoutError::NotOurs));
        let advice = refusal.to_string();
        assert!(advice.contains("--data") && advice.contains("move the file away"), "{advice}");
    }
    let disk = SimulatedDisk::new(1);
    disk.root().subdir("lane-000").unwrap();
    let refusal = Layout::open(disk.root().as_ref(), layout(16)).unwrap_err();
    assert!(matches!(refusal, LayoutError::Lost { found } if found == "lane-000"));
    assert!(disk.root().list().unwrap().is_empty());
}

#[test]
fn foreign_files_folders_and_links_in_the_data_directory_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Layout::open(RealDir::open(folder.path()).unwrap().as_ref(), layout(16));
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("photo.jpg"), b"x").unwrap();
    assert!(matches!(open(), Err(LayoutError::Foreign { name, .. }) if name == "photo.jpg"));
    std::fs::remove_file(path("photo.jpg")).unwrap();
    std::fs::create_dir(path("music")).unwrap();
    assert!(matches!(open(), Err(LayoutError::Foreign { name, .. }) if name == "music"));
    std::fs::remove_dir(path("music")).unwrap();
    std::os::unix::fs::symlink("/etc", path("lane-000")).unwrap();
    assert!(matches!(open(), Err(LayoutError::Foreign { name, .. }) if name == "lane-000"));
    std::fs::remove_file(path("lane-000")).unwrap();
    let lock = acquire(folder.path()).unwrap();
    assert!(open().unwrap(), "the lock and an empty directory are what a first start finds");
    drop(lock);
}

#[test]
fn a_second_holder_of_the_directory_is_refused_and_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let lock = acquire(folder.path()).unwrap();
    let Err(LockError::Held { holder }) = acquire(folder.path()) else { panic!("two holders") };
    assert_eq!(holder, format!("pid {}", std::process::id()));
    drop(lock);
    acquire(folder.path()).unwrap();
}

/// Starts a node on the disk and ends it; gives why it did not start.
fn start_as_member(disk: &SimulatedDisk, cluster: Option<ClusterId>) -> Result<(), String> {
    let config = Config { cluster_id: cluster, ..config(1, 2, 1) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let started = start_on(disk.root(), &config, &clock, Arc::new(Metrics::new(config.lanes)));
    started.map(Running::stop).map_err(|error| format!("{error:#}"))
}

fn superblocks(disk: &SimulatedDisk) -> Vec<Option<Vec<u8>>> {
    COPIES.iter().map(|name| read_whole(disk.root().as_ref(), name, 1 << 20).unwrap()).collect()
}

#[test]
fn a_volume_belongs_to_one_cluster_for_good() {
    let disk = SimulatedDisk::new(1);
    let (ours, theirs) = (ClusterId([7; 16]), ClusterId([9; 16]));
    start_as_member(&disk, Some(ours)).unwrap();
    assert_eq!(SuperblockStore::peek(disk.root().as_ref()).unwrap().unwrap().cluster, ours);
    let before = superblocks(&disk);
    let refusal = start_as_member(&disk, Some(theirs)).unwrap_err();
    assert!(refusal.contains(&format!("belongs to cluster {ours}, not to {theirs}")), "{refusal}");
    assert!(refusal.contains(&format!("--cluster-id {ours}")) && refusal.contains("--data"), "{refusal}");
    assert_eq!(superblocks(&disk), before, "a refusal changes nothing");
    start_as_member(&disk, Some(ours)).unwrap();
    assert_ne!(superblocks(&disk), before, "a start is counted");
}

#[test]
fn a_volume_of_a_node_on_its_own_is_of_a_cluster_of_its_own() {
    let disk = SimulatedDisk::new(1);
    start_as_member(&disk, None).unwrap();
    let own = SuperblockStore::peek(disk.root().as_ref()).unwrap().unwrap().cluster;
    assert!(start_as_member(&disk, Some(ClusterId([9; 16]))).unwrap_err().contains(&own.to_string()));
    // Not even of that one does it become a member: nobody else votes by its log.
    assert!(start_as_member(&disk, Some(own)).unwrap_err().contains("served on its own"));
    start_as_member(&disk, None).unwrap();
}

#[test]
fn a_member_does_not_go_on_by_itself() {
    let disk = SimulatedDisk::new(1);
    let cluster = ClusterId([7; 16]);
    start_as_member(&disk, Some(cluster)).unwrap();
    let mut store = SuperblockStore::open(disk.root().as_ref()).unwrap().unwrap();
    let incarnation = Some(store.get().incarnation);
    let (peer, client) = ("n0:4537".to_owned(), "n0:4437".to_owned());
    let member = Member { node: "n0".to_owned(), incarnation, peer, client };
    let roster = Roster { members: BTreeMap::from([(ReplicaId(0), member)]) };
    store.update(|block| encode_roster(&roster, &mut block.roster)).unwrap();
    let refusal = start_as_member(&disk, None).unwrap_err();
    assert!(
        refusal.contains(&format!("a member of cluster {cluster}; start with --cluster-id")),
        "{refusal}"
    );
    assert!(refusal.contains("or with --cluster-file and --node-name"), "{refusal}");
}
