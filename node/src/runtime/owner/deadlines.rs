//! When which stream of a shard is to be looked at because its time may be over.
//!
//! Invariant: at most one entry per stream, and none of a stream that is gone.

use std::collections::{BTreeSet, HashMap};

use crate::types::{Op, StreamId, UnixMillis};

/// The deadlines of one shard.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(UnixMillis, StreamId)>,
    by_stream: HashMap<StreamId, UnixMillis>,
}

impl Deadlines {
    /// Takes note of streams that begin and of those that end.
    pub(crate) fn note(&mut self, op: &Op) {
        match op {
            Op::Create(meta) => {
                if let Some(deadline) = meta.deadline() {
                    self.set(meta.id, deadline);
                }
            }
            Op::Delete { stream } | Op::Retire { stream } => self.remove(*stream),
            _ => {}
        }
    }

    /// Looks at a stream at `at`, and not at the time that was said before.
    pub(crate) fn set(&mut self, stream: StreamId, at: UnixMillis) {
        if let Some(before) = self.by_stream.insert(stream, at) {
            self.by_time.remove(&(before, stream));
        }
        self.by_time.insert((at, stream));
    }

    fn remove(&mut self, stream: StreamId) {
        if let Some(at) = self.by_stream.remove(&stream) {
            self.by_time.remove(&(at, stream));
        }
    }

    /// Takes the streams whose time may be over, at most `count` of them.
    pub(crate) fn due(&mut self, now: UnixMillis, count: usize) -> Vec<StreamId> {
        let due: Vec<_> =
            self.by_time.iter().take_while(|(at, _)| *at <= now).take(count).map(|entry| entry.1).collect();
        due.iter().for_each(|stream| self.remove(*stream));
        due
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_time.len().max(self.by_stream.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::views::meta;
    use crate::types::Lifetime;

    #[test]
    fn a_stream_is_due_once_at_the_last_time_that_was_said_and_never_when_it_is_gone() {
        let mut deadlines = Deadlines::default();
        for (stream, at) in [(1, 10), (2, 20), (3, 30), (4, 35)] {
            deadlines.note(&Op::Create(Box::new(meta(stream, "s", Lifetime::Until(UnixMillis(at))))));
        }
        deadlines.note(&Op::Create(Box::new(meta(5, "s", Lifetime::Forever))));
        deadlines.set(StreamId(1), UnixMillis(40));
        for _ in 0..2 {
            deadlines.note(&Op::Delete { stream: StreamId(2) });
            deadlines.note(&Op::Retire { stream: StreamId(4) });
        }
        assert_eq!(deadlines.len(), 2);
        assert_eq!(deadlines.due(UnixMillis(30), 9), [StreamId(3)]);
        assert_eq!(deadlines.due(UnixMillis(39), 9), []);
        assert_eq!(deadlines.due(UnixMillis(40), 9), [StreamId(1)]);
        assert_eq!(deadlines.len(), 0);
    }
}
