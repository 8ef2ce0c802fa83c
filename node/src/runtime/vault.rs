//! What the node must never forget, shared by its lanes and its links. Invariant: a change is durable when its call returns, and
//! one that failed ends the process, whoever asked for it: a node that remembers nothing more would answer no greeting and
//! give no promise, and look well.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::fatal::Fatal;
use crate::codec::superblock::Superblock;
use crate::core::replication::Memory;
use crate::store::superblock::{SuperblockStore, SuperblockStoreError};
use crate::types::ShardId;

/// The superblock of an open volume.
#[derive(Debug)]
pub(crate) struct Vault {
    store: Mutex<SuperblockStore>,
    fatal: OnceLock<Fatal>,
}

impl Vault {
    pub(crate) const fn new(store: SuperblockStore) -> Self {
        Self { store: Mutex::new(store), fatal: OnceLock::new() }
    }

    /// From now on a change that fails is reported here. The first word counts.
    pub(crate) fn report_to(&self, fatal: &Fatal) {
        self.fatal.get_or_init(|| fatal.clone());
    }

    // A change that panicked half way has changed a copy; the store replaces its own as the last step.
    fn lock(&self) -> MutexGuard<'_, SuperblockStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at it.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Superblock) -> T) -> T {
        look(self.lock().get())
    }

    /// Changes it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Superblock)) -> Result<(), SuperblockStoreError> {
        let changed = self.lock().update(change);
        if let (Err(error), Some(fatal)) = (&changed, self.fatal.get()) {
            fatal.report(&error.to_string());
        }
        changed
    }

    /// What the volume remembers of a shard, if it ever promised anything.
    pub(crate) fn memory(&self, shard: ShardId) -> Option<Memory> {
        self.look(|superblock| superblock.shards.get(&shard).map(Memory::from))
    }

    /// Whether a shard is known to be damaged.
    pub(crate) fn is_damaged(&self, shard: ShardId) -> bool {
        self.look(|superblock| superblock.shards.get(&shard).is_some_and(|kept| kept.quarantined.is_some()))
    }

    /// Remembers that what a shard may have confirmed is damaged, and why; until its replica is whole again. A shard that never
    /// promised anything has confirmed nothing.
    pub(crate) fn note_damage(&self, damaged: &[(ShardId, String)]) -> Result<(), SuperblockStoreError> {
        self.update(|superblock| {
            for (shard, reason) in damaged {
                if let Some(kept) = superblock.shards.get_mut(shard) {
                    kept.quarantined.get_or_insert_with(|| reason.clone());
                }
            }
        })
    }

    /// Remembers what replicas of several shards asked for.
    pub(crate) fn save(&self, memories: &[(ShardId, Memory)]) -> Result<(), SuperblockStoreError> {
        self.update(|superblock| {
            for (shard, memory) in memories {
                memory.keep_in(superblock.shards.entry(*shard).or_default());
            }
        })
    }
}
