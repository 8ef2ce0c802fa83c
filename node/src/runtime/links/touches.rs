//! Reads of streams with a sliding window on nodes that do not lead them: the leader ends streams, so it is told what was
//! read. Bounded, and seldom: a stream that is read all the time is told of once in a while.
//!
//! Invariant: a window ends late rather than early; what is told never becomes a record by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errands::{UNHEARD, touched_bytes};
use crate::runtime::shared::Shared;
use crate::runtime::views::StreamView;
use crate::types::{Lifetime, ShardId, StreamId};

/// Between two reports about a shard.
const INTERVAL: Duration = Duration::from_millis(250);
/// Streams of one report: those of which the leader may have to look up each in its tables.
const STREAMS_MAX: usize = 256;

/// What was read here and led elsewhere, since the last report.
#[derive(Debug, Default)]
pub(crate) struct Touches {
    shards: Mutex<BTreeMap<ShardId, Touched>>,
}

#[derive(Debug, Default)]
struct Touched {
    streams: BTreeSet<StreamId>,
    told_at: Duration,
}

impl Touches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Touched>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a read. A report that is full comes back, to be sent at once.
    fn note(&self, shard: ShardId, stream: StreamId) -> Option<BTreeSet<StreamId>> {
        let mut shards = self.lock();
        let touched = shards.entry(shard).or_default();
        touched.streams.insert(stream);
        (touched.streams.len() >= STREAMS_MAX).then(|| std::mem::take(&mut touched.streams))
    }

    /// The reports that are due.
    fn due(&self, now: Duration) -> Vec<(ShardId, BTreeSet<StreamId>)> {
        let mut shards = self.lock();
        let due = shards.iter_mut().filter(|(_, touched)| {
            !touched.streams.is_empty() && now >= touched.told_at.saturating_add(INTERVAL)
        });
        let take = |(shard, touched): (&ShardId, &mut Touched)| {
            touched.told_at = now;
            (*shard, std::mem::take(&mut touched.streams))
        };
        due.map(take).collect()
    }
}

impl Shared {
    /// A stream was read: its window, if it has one, begins anew, here and where it is led.
    pub(crate) fn touch(&self, shard: ShardId, view: &StreamView, lifetime: Lifetime) {
        view.touch(self.clock.now());
        let Some(cluster) = self.cluster.get() else { return };
        let elsewhere = self.leaders.leader(shard).is_some_and(|leader| cluster.me() != Some(leader));
        if matches!(lifetime, Lifetime::Sliding(_))
            && elsewhere
            && let Some(full) = cluster.touches.note(shard, view.id)
        {
            self.tell_touched(shard, full);
        }
    }

    /// Tells leaders elsewhere what was read here.
    pub(crate) fn tell_touches(&self) {
        let Some(cluster) = self.cluster.get() else { return };
        for (shard, streams) in cluster.touches.due(self.clock.elapsed()) {
            self.tell_touched(shard, streams);
        }
    }

    fn tell_touched(&self, shard: ShardId, streams: BTreeSet<StreamId>) {
        let Some(cluster) = self.cluster.get() else { return };
        let leader = self.leaders.leader(shard).filter(|leader| cluster.me() != Some(*leader));
        // Whoever leads next begins all windows afresh.
        if let Some(door) = leader.and_then(|leader| cluster.door(leader)) {
            let streams: Vec<StreamId> = streams.into_iter().collect();
            let _lost = door.ask_errand(shard, UNHEARD, touched_bytes(&streams));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_told_of_once_between_two_reports_however_often_it_is_read() {
        let touches = Touches::default();
        for _ in 0..1000 {
            assert_eq!(touches.note(ShardId(1), StreamId(7)), None);
        }
        assert_eq!(touches.due(INTERVAL), [(ShardId(1), BTreeSet::from([StreamId(7)]))]);
        touches.note(ShardId(1), StreamId(7));
        assert_eq!(touches.due(INTERVAL + INTERVAL / 2), []);
        assert_eq!(touches.due(2 * INTERVAL).len(), 1);
        assert_eq!(touches.due(9 * INTERVAL), [], "nothing was read since");
    }

    #[test]
    fn a_report_that_is_full_goes_at_once_and_nothing_is_lost() {
        let touches = Touches::default();
        let full: Vec<_> =
            (1..=600).filter_map(|stream| touches.note(ShardId(0), StreamId(stream))).collect();
        let rest = touches.due(INTERVAL);
        let told = full.iter().chain(rest.iter().map(|(_, streams)| streams)).flatten().count();
        assert_eq!((full.len(), told), (2, 600));
    }
}
