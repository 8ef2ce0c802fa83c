//! Segments that the tables delivered lately, so that a hot catch-up read costs no table access and no copy.
//!
//! Bytes at an offset never change, so nothing here is ever invalidated: an entry is right for as long as the stream id
//! lives, and ids are never used again. Bounded by bytes; the oldest entry that was not used since goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::types::{Offset, Segment, ShardId, StreamId};

/// Where a segment begins.
type Key = (ShardId, StreamId, u64);

/// The cache of one node.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    /// Second chance: an entry that was used since it was queued goes round once more.
    queue: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    segment: Segment,
    used: bool,
}

fn cost(segment: &Segment) -> usize {
    segment.messages.wire().len() + 4 * segment.messages.lengths().len() + 128
}

impl SegmentCache {
    /// A cache of at most about `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    /// The longest run of cached segments from `from` that fits; at least one if there is one.
    pub(crate) fn run(
        &self,
        shard: ShardId,
        stream: StreamId,
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> Vec<Segment> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut out, mut next, mut bytes) = (Vec::new(), from, 0);
        while next < upto {
            let Some(entry) = inner.entries.get_mut(&(shard, stream, next.messages)) else { break };
            let size = entry.segment.messages.wire().len();
            let end = entry.segment.messages.end(entry.segment.start);
            let fits = out.is_empty() || bytes + size <= bytes_max;
            if entry.segment.start != next || end > upto || !fits {
                break;
            }
            entry.used = true;
            bytes += size;
            next = end;
            out.push(entry.segment.clone());
        }
        out
    }

    /// Takes in what the tables delivered.
    pub(crate) fn insert(&self, shard: ShardId, stream: StreamId, segments: &[Segment]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in segments {
            let key = (shard, stream, segment.start.messages);
            inner.bytes += cost(segment);
            match inner.entries.insert(key, Entry { segment: segment.clone(), used: false }) {
                Some(old) => inner.bytes -= cost(&old.segment),
                None => inner.queue.push_back(key),
            }
        }
        while inner.bytes > self.bytes_max {
            let Some(key) = inner.queue.pop_front() else { break };
            let again = inner.entries.get_mut(&key).is_some_and(|entry| std::mem::take(&mut entry.used));
            if again {
                inner.queue.push_back(key);
            } else if let Some(old) = inner.entries.remove(&key) {
                inner.bytes -= cost(&old.segment);
            }
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Messages;

    fn segment(start: u64, bytes: usize) -> Segment {
        let messages = Messages::single(vec![7; bytes].into()).unwrap();
        Segment { start: Offset { messages: start, bytes: start * bytes as u64 }, messages }
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_is_used() {
        let cache = SegmentCache::new(10_000);
        let (shard, stream) = (ShardId(0), StreamId(1));
        for start in 0..100 {
            cache.insert(shard, stream, &[segment(start, 1000)]);
            assert!(cache.bytes() <= 10_000);
            let first = segment(0, 1000).start;
            let upto = first.advanced(1, 1000);
            assert_eq!(
                cache.run(shard, stream, first, upto, 1).len(),
                1,
                "used each time, so kept at {start}"
            );
        }
        assert!(
            cache.run(shard, StreamId(2), Offset::ZERO, Offset { messages: 9, bytes: 9000 }, 9000).is_empty()
        );
    }

    #[test]
    fn a_run_ends_where_the_asked_range_ends() {
        let cache = SegmentCache::new(100_000);
        let (shard, stream) = (ShardId(3), StreamId(1));
        cache.insert(shard, stream, &[segment(0, 10), segment(1, 10), segment(2, 10)]);
        let upto = Offset { messages: 2, bytes: 20 };
        assert_eq!(cache.run(shard, stream, Offset::ZERO, upto, 1000).len(), 2);
        assert_eq!(cache.run(shard, stream, Offset::ZERO, upto, 10).len(), 1);
    }
}
