//! A reader that follows a stream's tail: long-poll and SSE.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::alive;
use crate::runtime::shared::Shared;
use crate::runtime::views::StreamView;
use crate::runtime::{Failure, ReadError, ReadFrom, StreamState, TailEvent};
use crate::types::{Offset, StreamName};

/// A reader that follows a stream's tail. It stays with the stream it began on: a re-created one ends it.
#[derive(Debug)]
pub struct Tailer {
    shared: Arc<Shared>,
    view: Arc<StreamView>,
    began: StreamState,
    position: Offset,
    /// How often contact with a leader had been lost before this reader had proof of one.
    losses: u64,
}

impl Tailer {
    /// `losses` as of before the proof that a leader leads.
    pub(in crate::runtime) fn new(
        shared: Arc<Shared>,
        name: &StreamName,
        from: ReadFrom,
        losses: u64,
    ) -> Result<Self, ReadError> {
        let (view, snapshot) = shared.living(name)?;
        shared.touch(name.shard(shared.count), &view, snapshot.state.config.lifetime);
        let position = Shared::resolve(from, &snapshot.state)?;
        // An answer by events has begun before its first batch is read: what cannot be read must be refused here.
        if position < snapshot.state.tail {
            shared.batch(name, &view, position, 1)?;
        }
        Ok(Self { shared, view, began: snapshot.state, position, losses })
    }

    /// The stream's state when the reader came.
    #[must_use]
    pub fn began(&self) -> &StreamState {
        &self.began
    }

    /// Where the next event begins.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.position
    }

    /// What was delivered from here on could not be used; it is delivered again.
    pub fn go_back(&mut self, position: Offset) {
        self.position = self.position.min(position);
    }

    /// The next messages, the closure, the deadline, or the end. Cancel-safe: nothing is consumed before it returns.
    pub async fn next(&mut self, bytes_max: usize, wait: Duration) -> TailEvent {
        let deadline = Instant::now() + wait;
        loop {
            // Registered before the state is looked at, so that no change falls between.
            let mut changed = pin!(self.view.changed().notified());
            changed.as_mut().enable();
            let snapshot = self.view.snapshot(self.shared.judged_at());
            if let Err(error) = alive(&snapshot) {
                return TailEvent::Ended(error);
            }
            if self.position < snapshot.state.tail || snapshot.state.closed {
                let (name, shard) = (&self.view.name, self.view.name.shard(self.shared.count));
                let batch = || self.shared.batch(name, &self.view, self.position, bytes_max);
                return match self.shared.believed(shard, batch) {
                    Ok(batch) => {
                        self.position = batch.next;
                        TailEvent::Batch(batch)
                    }
                    Err(error) => TailEvent::Ended(error),
                };
            }
            if self.shared.closing() {
                return TailEvent::ShuttingDown(snapshot.state);
            }
            if let Some(lost) = self.lost_contact() {
                return TailEvent::Ended(ReadError::Failure(lost));
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return TailEvent::TimedOut(snapshot.state);
            }
        }
    }

    /// Nobody proves any more that what is seen here is all there is.
    fn lost_contact(&self) -> Option<Failure> {
        let shard = self.view.name.shard(self.shared.count);
        (self.shared.losses(shard) != self.losses).then_some(Failure::NoLeader { shard })
    }
}
