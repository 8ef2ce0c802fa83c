//! The sources of a fork on a node that follows them: each shard's log arrives by itself, so a fork may be visible here
//! before the data that it shares with its source is. Invariant: whoever reads behind this finds all that the fork shares.

use crate::runtime::Failure;
use crate::runtime::shared::Shared;
use crate::seam::lending;
use crate::types::limits::FORK_DEPTH_MAX;
use crate::types::{Offset, Parent, ShardId, StreamId, StreamName};

impl Shared {
    /// Waits until this node shows of the sources of a stream what it shares with them.
    pub(crate) async fn sources_shown(&self, name: &StreamName) -> Result<(), Failure> {
        if self.cluster.get().is_none() {
            return Ok(());
        }
        let Some(view) = self.view(name)? else { return Ok(()) };
        let mut parent = view.snapshot(self.judged_at()).parent;
        for _ in 0..=FORK_DEPTH_MAX {
            let Some(Parent { shard, stream, upto, .. }) = parent else { break };
            let mut found = self.source(shard, stream)?;
            if found.is_none_or(|(tail, _)| tail < upto) {
                // Rare: every other read would carry room for it.
                Box::pin(self.settled(shard)).await?;
                found = self.source(shard, stream)?;
            }
            parent = found.and_then(|(_, parent)| parent);
        }
        Ok(())
    }

    /// The tail of a stream as it is visible here, and its own source.
    fn source(&self, shard: ShardId, stream: StreamId) -> Result<Option<(Offset, Option<Parent>)>, Failure> {
        let open = self.shard(shard)?;
        if let Some(view) = open.views.by_id(stream) {
            let snapshot = view.snapshot(self.judged_at());
            return Ok(Some((snapshot.state.tail, snapshot.parent)));
        }
        let found = lending(|| open.tables.stream_by_id(stream)).map_err(|fault| open.table_fault(&fault))?;
        Ok(found.map(|entry| (entry.meta.tail, entry.meta.parent)))
    }
}
