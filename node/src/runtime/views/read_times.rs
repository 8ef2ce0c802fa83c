//! When streams with a sliding window were last read whose views are not resident: 16 bytes each instead of a view.
//!
//! Invariant: a time that is kept leaves only when the view is resident again (which takes it), when the log recorded it,
//! or when the stream is gone. So a window never ends early. Bounded: when there are too many, the owner records some in
//! the log with its next group, and until then views stay resident.

use std::collections::HashMap;

use crate::types::{StreamId, UnixMillis};

/// The read times of one shard.
#[derive(Debug)]
pub(crate) struct ReadTimes {
    max: usize,
    times: HashMap<StreamId, UnixMillis>,
}

impl ReadTimes {
    /// Room for this many.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, times: HashMap::new() }
    }

    /// Keeps a time; `false` when there is no room.
    #[must_use]
    pub(crate) fn keep(&mut self, stream: StreamId, at: UnixMillis) -> bool {
        let room = self.times.len() < self.max || self.times.contains_key(&stream);
        if room {
            self.times.insert(stream, at);
        }
        room
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<UnixMillis> {
        self.times.get(&stream).copied()
    }

    /// The view takes it over, or the stream is gone.
    pub(crate) fn take(&mut self, stream: StreamId) -> Option<UnixMillis> {
        self.times.remove(&stream)
    }

    /// Streams whose times should be recorded to make room: none while at least half of the room is free.
    pub(crate) fn excess(&self, count: usize) -> Vec<StreamId> {
        let excess = self.times.len().saturating_sub(self.max / 2);
        self.times.keys().take(excess.min(count)).copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }
}
