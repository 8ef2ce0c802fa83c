//! How the shards of a fresh cluster of a file begin (I16): whoever leads one first waits until it has reached every other member. One
//! that holds data refuses an emptied volume, so nobody begins anew what others still have. Invariant: a shard that never remembered
//! anything is begun by nobody before all members of the file took each other's volumes for theirs.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::Cluster;
use crate::core::replication::Memory;
use crate::runtime::mailbox::Job;
use crate::types::{ReplicaId, ShardId};

/// What waits for all members.
#[derive(Debug, Default)]
pub(crate) struct Founding {
    /// What replicas remember once they begin.
    pub(crate) first: Vec<(ShardId, Memory)>,
    /// Members that this node has not reached.
    pub(crate) unmet: BTreeSet<ReplicaId>,
}

impl Founding {
    /// Whether there is anything to wait for.
    pub(crate) fn is_due(&self) -> bool {
        !self.first.is_empty() && !self.unmet.is_empty()
    }
}

impl Cluster {
    /// Whether a shard waits for its beginning.
    pub(crate) fn awaits_members(&self, shard: ShardId) -> bool {
        let founding = self.founding.lock().unwrap_or_else(PoisonError::into_inner);
        founding.first.iter().any(|(waiting, _)| *waiting == shard)
    }

    /// A member was reached, and took this volume for the one that it knows.
    pub(super) fn has_reached(&self, peer: ReplicaId) {
        let mut founding = self.founding.lock().unwrap_or_else(PoisonError::into_inner);
        if !founding.unmet.remove(&peer) || founding.is_due() || founding.first.is_empty() {
            return;
        }
        if let Err(error) = self.vault.save(&founding.first) {
            return tracing::error!(%error, "the beginning of the cluster could not be remembered");
        }
        tracing::info!(
            shards = founding.first.len(),
            "every member of the cluster file is there: its shards begin"
        );
        founding.first.clear();
        drop(founding);
        let Some(me) = self.me() else { return };
        for (mailbox, _) in &self.lanes {
            let _ended = mailbox.send(Job::Join(me));
        }
    }
}
