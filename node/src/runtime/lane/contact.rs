//! Whether a node still hears of those who lead: a replica that does not may lag behind without knowing it, and readers that
//! follow a stream there wait for what will not come. Invariant: a reader that began before the contact was lost ends, also
//! when the contact comes back; one that began afterwards had proof of a leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::look::Contact;
use crate::runtime::shared::Shared;
use crate::types::ShardId;

/// Without word of a leader for so long readers end; reads that begin are refused after the same time.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// So much of it has passed when a leader says that it hears of too few.
const SILENCE_OF_THE_CUT: Duration = Duration::from_secs(1);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// Looks after the contact of all shards, on a thread of its own: the owners of lanes may hang in their disks.
#[derive(Debug)]
pub(in crate::runtime) struct Listener {
    shared: Arc<Shared>,
    /// Since when, about, a shard has been cut off.
    cut: BTreeMap<ShardId, Duration>,
    lost: BTreeSet<ShardId>,
}

impl Listener {
    pub(in crate::runtime) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cut: BTreeMap::new(), lost: BTreeSet::new() }
    }

    /// Runs until the engine closes.
    pub(in crate::runtime) fn run(mut self) {
        while !self.shared.wait_until_closing(EVERY) {
            let now = self.shared.clock.elapsed();
            for (shard, contact) in self.shared.looks.contacts(now) {
                self.note(shard, contact, now);
            }
        }
    }

    fn note(&mut self, shard: ShardId, contact: Contact, now: Duration) {
        let silent = match contact {
            Contact::Silent(silent) => {
                self.cut.remove(&shard);
                silent
            }
            Contact::Cut => {
                let since = self.cut.entry(shard).or_insert(now.saturating_sub(SILENCE_OF_THE_CUT));
                now.saturating_sub(*since)
            }
        };
        if silent < SILENCE_MAX {
            self.lost.remove(&shard);
        } else if self.lost.insert(shard)
            && let Some(open) = self.shared.open_shard(shard)
        {
            open.lose_contact();
        }
    }
}
