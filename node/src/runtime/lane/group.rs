//! What one group commit is made of: records that were decided or received, and encoded, and answers that wait until these
//! are durable and committed.

use crate::runtime::mailbox::{Answer, Waiter};
use crate::runtime::owner::Pending;
use crate::types::{LogIndex, ShardId};

/// The records and answers of one group commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) records: Vec<Pending>,
    pub(crate) answers: Vec<Due>,
    pub(crate) bytes: u64,
}

/// An answer, and what it rests on.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) shard: ShardId,
    pub(crate) basis: LogIndex,
    /// Nothing was written for it: it only shows how things stand.
    pub(crate) only_shows: bool,
    pub(crate) waiter: Waiter,
    pub(crate) answer: Answer,
}

/// Records whose places are kept from one group to the next: 2 MiB at most. A follower that catches up fills them each time.
pub(super) const PLACES_MAX: usize = 8192;

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty()
    }

    /// The next group grows where the one before stood.
    pub(super) fn take_over(&mut self, places: Vec<Pending>) {
        if places.is_empty() && self.records.capacity() < places.capacity() && places.capacity() <= PLACES_MAX
        {
            let begun = std::mem::replace(&mut self.records, places);
            self.records.extend(begun);
        }
    }
}
