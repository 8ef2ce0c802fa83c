//! Where writes are decided, for whoever may have to take a request elsewhere. What is said here is a hint, as
//! `whereabouts.rs` tells.

use tokio::sync::watch;

use super::Engine;
use crate::runtime::Whereabouts;
use crate::types::{Party, ShardId, StreamName, SubscriptionId};

impl Engine {
    /// Whether this node leads every shard, as a node on its own does. One atomic load.
    #[must_use]
    pub fn leads_all(&self) -> bool {
        self.shared.leaders.are_all_here()
    }

    /// Who this node is to others.
    #[must_use]
    pub fn party(&self) -> Party {
        self.shared.party()
    }

    /// Where writes to a shard are decided.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Whereabouts {
        self.shared.leaders.of(shard)
    }

    /// Changes whenever the leader of any shard does. Subscribe first, then ask [`Self::leader`], then wait.
    #[must_use]
    pub fn leader_changed(&self) -> watch::Receiver<()> {
        self.shared.leaders.changes()
    }

    /// What was learnt about a shard's leader.
    pub fn note_leader(&self, shard: ShardId, whereabouts: Whereabouts) {
        self.shared.leaders.note(shard, None, whereabouts);
    }

    /// The shard of a name.
    #[must_use]
    pub fn shard_of(&self, name: &StreamName) -> ShardId {
        name.shard(self.shared.count)
    }

    /// The shard that decides about a subscription.
    #[must_use]
    pub fn home_of(&self, id: &SubscriptionId) -> ShardId {
        id.home(self.shared.count)
    }
}
