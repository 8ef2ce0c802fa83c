//! The sources of a fork. On a node that follows them each shard's log arrives by itself, so a fork may be visible here
//! before the data that it shares with its source is. And shards that were restored are not of one moment: what has the id
//! of the source may be older than the fork. Invariant: whoever reads behind this finds all that the fork shares, and
//! nothing is read through a parent that does not hold the fork's own pin. The pin was granted behind the data that it
//! holds, so a source that has the one has the other.

use super::alive;
use crate::runtime::shared::Shared;
use crate::runtime::views::{Snapshot, StreamView};
use crate::runtime::{Failure, ReadError};
use crate::seam::lending;
use crate::types::limits::FORK_DEPTH_MAX;
use crate::types::{Offset, Parent, PinId, ShardId, StreamId, StreamName};

/// A stream that another one was forked from, as it is visible here.
struct Source {
    tail: Offset,
    base: Offset,
    parent: Option<Parent>,
    holds_pin: bool,
}

impl Shared {
    /// Waits until this node shows of the sources of a stream what it shares with them.
    pub(crate) async fn sources_shown(&self, name: &StreamName) -> Result<(), Failure> {
        if self.cluster.get().is_none() {
            return Ok(());
        }
        let Some(view) = self.view(name)? else { return Ok(()) };
        let mut parent = view.snapshot(self.judged_at()).parent;
        for _ in 0..=FORK_DEPTH_MAX {
            let Some(Parent { shard, stream, upto, pin, .. }) = parent else { break };
            let mut found = self.source(shard, stream, pin)?;
            if found.as_ref().is_none_or(|source| source.tail < upto || !source.holds_pin) {
                // Rare: every other read would carry room for it.
                Box::pin(self.settled(shard)).await?;
                found = self.source(shard, stream, pin)?;
            }
            parent = found.and_then(|source| source.parent);
        }
        Ok(())
    }

    /// Refuses a fork that reads what a source does not hold for it.
    pub(crate) fn must_be_rooted(&self, view: &StreamView, snapshot: &Snapshot) -> Result<(), ReadError> {
        let Some(shard) = self.lost_source(view, snapshot)? else { return Ok(()) };
        // A fork that ended meanwhile has let go of its sources.
        alive(&view.snapshot(self.judged_at()))?;
        let reason = format!("it does not hold what the fork {} shares with its source", view.name);
        tracing::warn!(shard = shard.0, reason, "a read is refused");
        Err(Failure::ShardDamaged { shard, reason: reason.into() }.into())
    }

    /// The shard of a source that does not hold what this stream may read through it, if there is one.
    pub(crate) fn lost_source(
        &self,
        view: &StreamView,
        snapshot: &Snapshot,
    ) -> Result<Option<ShardId>, Failure> {
        let (mut base, mut parent) = (snapshot.base, snapshot.parent);
        if parent.is_none() || view.is_rooted() {
            return Ok(None);
        }
        // Where nothing before a base is kept, nothing is read through the parent.
        while let Some(Parent { shard, stream, pin, .. }) = parent.filter(|_| snapshot.state.earliest < base)
        {
            match self.source(shard, stream, pin)? {
                // Each source is less deep than its fork, so this ends.
                Some(source) if source.holds_pin => (base, parent) = (source.base, source.parent),
                _ => return Ok(Some(shard)),
            }
        }
        view.root();
        Ok(None)
    }

    /// A stream as it is visible here, and whether it holds this pin.
    fn source(&self, shard: ShardId, stream: StreamId, pin: PinId) -> Result<Option<Source>, Failure> {
        let open = self.shard(shard)?;
        let fault = |error| open.table_fault(&error);
        // In this order: what leaves the view is in the tables by then.
        let view = open.views.by_id(stream);
        let granted = view.as_ref().is_some_and(|view| view.has_granted(pin));
        let holds_pin = granted || lending(|| open.tables.pin(stream, pin)).map_err(fault)?.is_some();
        if let Some(view) = view {
            let Snapshot { state, base, parent, .. } = view.snapshot(self.judged_at());
            return Ok(Some(Source { tail: state.tail, base, parent, holds_pin }));
        }
        let found = lending(|| open.tables.stream_by_id(stream)).map_err(fault)?;
        Ok(found.map(|entry| {
            let meta = entry.meta;
            Source { tail: meta.tail, base: meta.base, parent: meta.parent, holds_pin }
        }))
    }
}
