//! What a node must never forget, in the product's own superblock on a disk of its own. Invariant: what a start remembers is what
//! is read back from there, whatever a crash left of the two copies.

use std::collections::BTreeMap;

use thalweg_node::codec::superblock::Superblock;
use thalweg_node::core::replication::Memory;
use thalweg_node::seam::disk::simulated::{Faults, SimulatedDisk};
use thalweg_node::store::superblock::{COPIES, SuperblockStore};
use thalweg_node::types::{Boot, ClusterId, Met, ReplicaId, Trail, VolumeIncarnation};

use super::record::shard_id;
use crate::dice::Dice;

/// Calls of the disk that one change makes: each copy is written and synced.
const CALLS: u64 = 2 * COPIES.len() as u64;
/// Bits at the beginning of a copy in which one may flip: the header and most of what is remembered.
const FLIP_BITS: u64 = 8 * 512;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    /// How often the node was started, and what its last starts drew.
    pub(super) trail: Trail,
    /// What was promised per shard.
    pub(super) memories: Vec<Memory>,
    /// The last start of each peer that was met or heard of.
    pub(super) met: BTreeMap<ReplicaId, Met>,
}

/// The superblock of one node.
#[derive(Debug)]
pub(super) struct Vault {
    disk: SimulatedDisk,
    store: SuperblockStore,
}

impl Vault {
    /// Formats one.
    pub(super) fn new(seed: u64, first: &Remembered) -> Result<Self, String> {
        let disk = SimulatedDisk::new(seed);
        let mut superblock = Superblock {
            cluster: ClusterId([0; 16]),
            node: format!("node-{seed}"),
            incarnation: VolumeIncarnation([0; 16]),
            volume: None,
            boot: Boot(0),
            keys: Vec::new(),
            peers: BTreeMap::new(),
            shards: BTreeMap::new(),
            roster: Vec::new(),
            put_back: None,
        };
        write(first, &mut superblock);
        let store = SuperblockStore::create(&*disk.root(), superblock).map_err(|error| error.to_string())?;
        Ok(Self { disk, store })
    }

    /// Remembers, durably.
    pub(super) fn remember(&mut self, what: &Remembered) -> Result<(), String> {
        self.store.update(|superblock| write(what, superblock)).map_err(|error| error.to_string())
    }

    /// Power fails, perhaps in the middle of a change: what the copies say then.
    pub(super) fn crash(
        &mut self,
        under_way: Option<&Remembered>,
        dice: &mut Dice,
    ) -> Result<Remembered, String> {
        if let Some(next) = under_way {
            self.disk.set_faults(Faults::power_off_after(dice.below(CALLS + 1)));
            // It was cut off somewhere, or was done and nobody heard of it.
            let _cut_off = self.remember(next);
        }
        self.reopen(self.disk.after_power_cut(dice.draw()))
    }

    /// One bit of one copy flips while nobody uses it; the other copy says the same.
    pub(super) fn flip(&mut self, dice: &mut Dice) -> Result<Remembered, String> {
        if let Some(copy) = dice.pick(&COPIES) {
            self.disk.flip(copy, dice.below(FLIP_BITS));
        }
        self.reopen(self.disk.after_kill(dice.draw()))
    }

    /// A copy of the whole as it is now.
    pub(super) fn image(&self) -> Result<Self, String> {
        let disk = self.disk.after_kill(0);
        Ok(Self { store: open(&disk)?, disk })
    }

    fn reopen(&mut self, disk: SimulatedDisk) -> Result<Remembered, String> {
        let store = open(&disk)?;
        (self.disk, self.store) = (disk, store);
        Ok(read(self.store.get()))
    }
}

fn open(disk: &SimulatedDisk) -> Result<SuperblockStore, String> {
    let found = SuperblockStore::open(&*disk.root()).map_err(|error| error.to_string())?;
    found.ok_or_else(|| "there is no superblock".to_owned())
}

fn write(what: &Remembered, superblock: &mut Superblock) {
    (superblock.boot, superblock.keys) = (what.trail.newest(), what.trail.keys().to_vec());
    superblock.peers = what.met.iter().map(|(id, met)| (volume_of(*id), *met)).collect();
    for (shard, memory) in what.memories.iter().enumerate() {
        memory.keep_in(superblock.shards.entry(shard_id(shard)).or_default());
    }
}

fn read(superblock: &Superblock) -> Remembered {
    Remembered {
        trail: superblock.trail(),
        memories: superblock.shards.values().map(Memory::from).collect(),
        met: superblock.peers.iter().map(|(volume, met)| (replica_of(*volume), *met)).collect(),
    }
}

/// A replica's volume; the numbers sort alike.
fn volume_of(id: ReplicaId) -> VolumeIncarnation {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&id.0.to_be_bytes());
    VolumeIncarnation(bytes)
}

fn replica_of(volume: VolumeIncarnation) -> ReplicaId {
    let [first, second, third, fourth, ..] = volume.0;
    ReplicaId(u32::from_be_bytes([first, second, third, fourth]))
}
