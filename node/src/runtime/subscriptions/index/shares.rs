//! Which shards know of a subscription, and what is left to be told or swept.
//!
//! A shard that is damaged hears of nothing; when a start serves it again, what it knows is compared with what it should.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SubscriptionIndex;
use crate::codec::subscription::{link_key, share_bytes};
use crate::types::{ShardId, Share, StreamName, Subscription, SubscriptionId};

impl SubscriptionIndex {
    /// How many of these streams are not linked.
    pub(in crate::runtime::subscriptions) fn unlinked(
        &self,
        id: &SubscriptionId,
        names: &[StreamName],
    ) -> usize {
        let inner = self.lock();
        let Some(entry) = inner.entries.get(id) else { return names.len() };
        names.iter().filter(|name| !entry.links.contains_key(*name)).count()
    }

    /// All subscriptions.
    pub(in crate::runtime::subscriptions) fn all(&self) -> Vec<Arc<Subscription>> {
        self.lock().entries.values().filter_map(|entry| entry.subscription.clone()).collect()
    }

    /// Looks whether the shards know what they should; if not, the subscription is repaired.
    pub(in crate::runtime::subscriptions) fn compare_shares(
        &self,
        id: &SubscriptionId,
        mut expected: impl Iterator<Item = (ShardId, Share)>,
    ) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(id) else { return };
        entry.unheard = expected.any(|(shard, share)| {
            let hash = (!share.is_empty()).then(|| seahash::hash(&share_bytes(&share)));
            hash.as_ref() != entry.shares.get(&shard)
        });
        if entry.unheard {
            inner.dirty.insert(id.clone());
        }
    }

    /// Leaves alone what is known only by its links and shares, if its home is not served.
    pub(in crate::runtime::subscriptions) fn park(&self, homeless: impl Fn(&SubscriptionId) -> bool) {
        for (id, entry) in &mut self.lock().entries {
            entry.parked = entry.subscription.is_none() && homeless(id);
        }
    }

    /// Whether a shard that is served does not know of it as it should.
    pub(in crate::runtime::subscriptions) fn is_unheard(&self, id: &SubscriptionId) -> bool {
        self.lock().entries.get(id).is_some_and(|entry| entry.unheard)
    }

    /// Every shard that is served knows of it.
    pub(in crate::runtime::subscriptions) fn heard(&self, id: &SubscriptionId) {
        if let Some(entry) = self.lock().entries.get_mut(id) {
            entry.unheard = false;
        }
    }

    /// Shards that are not served say nothing any more about a subscription that has ended.
    pub(in crate::runtime::subscriptions) fn forget_unserved(
        &self,
        id: &SubscriptionId,
        served: impl Fn(ShardId) -> bool,
    ) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(id) else { return };
        entry.shares.retain(|shard, _| served(*shard));
        let left: Vec<_> = entry.links.values().map(|(place, _)| *place).collect();
        for (shard, stream) in left.into_iter().filter(|(shard, _)| !served(*shard)) {
            inner.erase_link(shard, &link_key(id, stream));
        }
        inner.tidy(id);
        self.links.store(inner.links, Ordering::Relaxed);
    }
}
