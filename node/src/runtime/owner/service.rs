//! When a shard's owner decides commands: from the moment on at which it leads, an entry of its epoch is committed, and the
//! tables hold all that is committed; until another replica leads. Invariant: a core that decides knows nothing that was
//! decided by it before and cut since.

use std::sync::Arc;

use super::deadlines::Deadlines;
use super::{Log, MARK_EVERY, Service, ShardOwner};
use crate::core::replication::{Effect, Found, Memory, Replica};
use crate::runtime::Failure;
use crate::runtime::shared::Shard;
use crate::runtime::views::StreamView;
use crate::store::tables::TablesError;
use crate::types::{Boot, LanePosition, LogIndex, Op, ReplicaId, Space, StreamId, UnixMillis};

impl ShardOwner {
    /// The node knows who it is: the replica begins with what the start found. `false`: it has begun already.
    pub(crate) fn begin(
        &mut self,
        (me, boot, vouched): (ReplicaId, Boot, bool),
        memory: Memory,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(Log { history, voters }) = self.found.take() else { return false };
        let committed = self.line.committed();
        let found = Found { me, boot, memory, history, committed, voters, vouched };
        self.replica = Some(Replica::start(found, out));
        true
    }

    /// Whether commands are decided here now.
    pub(crate) fn check_service(&self) -> Result<(), Failure> {
        let takes = self.replica.as_ref().is_some_and(Replica::takes_writes);
        match self.service {
            Service::Open if takes => Ok(()),
            Service::Open | Service::Opening => Err(Failure::NoLeader { shard: self.shard }),
            Service::Closed => Err(Failure::NotLeader { shard: self.shard }),
        }
    }

    /// Another replica leads from now on, or nobody.
    pub(crate) fn stop_serving(&mut self) {
        self.service = Service::Closed;
        self.core.forget();
        self.core_is_current = false;
        self.unpublished.clear();
    }

    /// If it leads and the tables hold all that is committed, it serves from now on.
    pub(crate) fn serve_if_applied(&mut self, now: UnixMillis) -> Result<bool, TablesError> {
        if self.service != Service::Opening || self.applied < self.changed {
            return Ok(false);
        }
        let shared = Arc::clone(&self.shared);
        let Some(open) = shared.open_shard(self.shard) else { return Ok(false) };
        if !self.core_is_current {
            self.load_core(open)?;
            // Reads elsewhere renewed windows of which nothing is known here: they begin afresh, late and never early.
            open.views.begin_windows(now);
            self.core_is_current = true;
        }
        self.service = Service::Open;
        Ok(true)
    }

    /// Facts, ids and deadlines as the tables have them.
    fn load_core(&mut self, open: &Shard) -> Result<(), TablesError> {
        let reader = open.tables.patient();
        let mut core = self.core.begin_again(reader.next_stream()?);
        for space in [Space::Subscription, Space::Pattern, Space::Secret, Space::Link] {
            for (key, value) in reader.facts(space)? {
                core.install_fact(space, &key, &value);
            }
        }
        let (mut deadlines, mut after) = (Deadlines::default(), None::<(UnixMillis, StreamId)>);
        loop {
            let page = reader.expiring(after, 1024)?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            page.into_iter().for_each(|(at, stream)| deadlines.set(stream, at));
        }
        (self.core, self.deadlines) = (core, deadlines);
        Ok(())
    }

    /// A committed record is visible.
    pub(crate) fn published(&mut self, index: LogIndex, ops: &[Op], received: bool) {
        // Voters are the replica's: no decision looks at them.
        if ops.iter().all(|op| matches!(op, Op::Put { space: Space::Voters, .. })) {
            return;
        }
        self.changed = index;
        self.core_is_current &= !received;
        for op in ops {
            if let Op::Create(meta) = op {
                self.unpublished.remove(&meta.id);
            }
        }
    }

    /// Every change passes through a view from now on, so the streams that these ops change must be resident: what the
    /// tables hold of them is older than what readers are told. Gives the last of their views, so that it need not be looked for again.
    pub(crate) fn make_resident(&self, ops: &[Op]) -> Option<Arc<StreamView>> {
        let open = self.shared.open_shard(self.shard)?;
        let mut last = None;
        for stream in ops.iter().filter(|op| !matches!(op, Op::Create(_))).filter_map(Op::stream) {
            if let Some(view) = open.views.by_id(stream) {
                last = Some(view);
                continue;
            }
            match open.tables.patient().stream_by_id(stream) {
                Ok(Some(entry)) => last = Some(open.views.install_by_owner(&entry.meta)),
                Ok(None) => {}
                Err(error) => drop(open.table_fault(&error)),
            }
        }
        last
    }

    /// Streams were read elsewhere. One that is not resident becomes so: its window must not be forgotten.
    pub(crate) fn renew(&self, streams: &[StreamId], now: UnixMillis) {
        let Some(open) = self.shared.open_shard(self.shard) else { return };
        for stream in streams {
            let view = open.views.by_id(*stream).or_else(|| {
                let entry = open.tables.patient().stream_by_id(*stream).ok()??;
                // By its name: the tables do not know yet what ended a moment ago.
                self.shared.view(&entry.meta.name).ok()?.filter(|view| view.id == *stream)
            });
            view.iter().for_each(|view| view.touch(now));
        }
    }

    /// Remembers now and then where an entry stands.
    pub(crate) fn note_mark(&mut self, index: LogIndex, position: LanePosition) {
        if self.marks.back().is_none_or(|(_, last)| last.0 + MARK_EVERY <= position.0) {
            self.marks.push_back((index, position));
        }
    }

    /// A place in the lane at or before the entry behind `after`, if one is known.
    pub(crate) fn mark(&self, after: LogIndex) -> Option<LanePosition> {
        let behind = self.marks.partition_point(|(index, _)| *index <= after.next());
        self.marks.get(behind.checked_sub(1)?).map(|(_, position)| *position)
    }

    /// Entries behind `to` stand nowhere any more.
    pub(crate) fn forget_marks_behind(&mut self, to: LogIndex) {
        self.marks.retain(|(index, _)| *index <= to);
    }

    /// What lies before `start` was let go.
    pub(crate) fn forget_marks_before(&mut self, start: LanePosition) {
        while self.marks.pop_front_if(|(_, position)| *position < start).is_some() {}
    }
}
