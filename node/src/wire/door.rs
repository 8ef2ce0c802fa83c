//! What a node that follows answers to a peer that leads.

use std::sync::Arc;

use super::line::{Ended, Line};
use super::message::{Said, put_message, put_said};
use crate::core::replication::Message;
use crate::types::ShardId;

/// What is answered to a peer that leads; cheap to clone, never blocks.
#[derive(Debug, Clone)]
pub struct Door {
    line: Arc<Line>,
}

impl Door {
    pub(super) const fn new(line: Arc<Line>) -> Self {
        Self { line }
    }

    /// Sends a message, or drops it when the connection is gone.
    pub fn send(&self, shard: ShardId, message: &Message) {
        self.line.say(false, |out| put_message(out, self.line.seed, shard, message));
        self.line.bell.ring();
    }

    /// Asks the leader up to where reads must have applied; `false` when the connection is gone.
    pub fn ask_read(&self, shard: ShardId, number: u64) -> bool {
        self.line.say(false, |out| put_said(out, self.line.seed, shard, &Said::ReadAsked(number)));
        self.line.bell.ring();
        self.line.is_open()
    }

    /// Ends the connection, because entries were dropped for lack of room: a new one sends them again.
    pub fn hang_up(&self) {
        self.line.close(Ended::NoRoom);
    }
}
