//! Commands that wait while their shard is handed over: another voter is given all that there is, and may lead next. Invariant:
//! they are decided in the order in which they came, before any that came later, or refused once somebody else leads. They
//! are bounded by what admission lets in, as commands in a mailbox are.

use std::collections::VecDeque;

use super::{GROUP_BYTES_MAX, LaneOwner};
use crate::core::Command;
use crate::core::replication::Replica;
use crate::runtime::mailbox::Waiter;
use crate::store::aol::LaneError;
use crate::types::ShardId;

impl LaneOwner {
    /// Keeps a command back, if its shard is handed over or others of it are waiting.
    pub(super) fn hold(&mut self, shard: ShardId, held: (Command, Waiter)) -> Option<(Command, Waiter)> {
        if let Some(waiting) = self.duty.held.get_mut(&shard) {
            waiting.push_back(held);
            return None;
        }
        if !self.is_handing_over(shard) {
            return Some(held);
        }
        self.duty.held.insert(shard, VecDeque::from([held]));
        None
    }

    /// Goes on with what was kept back once the hand-over is over, however it ended.
    pub(super) fn take_up(&mut self) -> Result<(), LaneError> {
        let over = |shard: &ShardId| !self.is_handing_over(*shard);
        let shards: Vec<ShardId> = self.duty.held.keys().copied().filter(over).collect();
        for shard in shards {
            for (command, waiter) in self.duty.held.remove(&shard).into_iter().flatten() {
                self.decide(shard, command, waiter);
                if self.group.bytes >= GROUP_BYTES_MAX {
                    self.turn()?;
                }
            }
        }
        Ok(())
    }

    fn is_handing_over(&self, shard: ShardId) -> bool {
        self.replica(shard).is_some_and(Replica::is_handing_over)
    }
}
