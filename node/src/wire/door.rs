//! What a node that follows answers to a peer that leads.

use std::sync::Arc;

use bytes::Bytes;

use super::line::{Ended, Line};
use super::message::{KnownStart, Said, put_message, put_said};
use super::parcel::PieceAsk;
use crate::codec::frame::ERRAND_FRAME_BYTES_MAX;
use crate::core::replication::Message;
use crate::types::ShardId;

/// Bytes of the longest number.
const NUMBER_BYTES_MAX: usize = 10;

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
        self.put(shard, message);
        self.wake();
    }

    /// The same, with those that follow: it goes with [`Self::wake`] at the latest.
    pub fn put(&self, shard: ShardId, message: &Message) {
        self.line.say(false, |out| put_message(out, self.line.seed, shard, message));
    }

    /// Sends what was put in.
    pub fn wake(&self) {
        self.line.go();
    }

    /// Asks the leader up to where reads must have applied; `false` when the connection is gone.
    pub fn ask_read(&self, shard: ShardId, number: u64) -> bool {
        self.line.say(false, |out| put_said(out, self.line.seed, shard, &Said::ReadAsked(number)));
        self.line.go();
        self.line.is_open()
    }

    /// Tells of the last starts of members.
    pub fn tell_starts(&self, starts: Vec<KnownStart>) {
        let said = Said::Starts(starts);
        self.line.say(false, |out| put_said(out, self.line.seed, ShardId(0), &said));
        self.line.go();
    }

    /// Asks the leader for a part of what it offered; `false` when the connection is gone.
    pub fn ask_piece(&self, shard: ShardId, ask: PieceAsk) -> bool {
        self.line.say(false, |out| put_said(out, self.line.seed, shard, &Said::PieceAsked(ask)));
        self.line.go();
        self.line.is_open()
    }

    /// Ends the connection, because entries were dropped for lack of room: a new one sends them again.
    pub fn hang_up(&self) {
        self.line.close(Ended::NoRoom);
    }

    /// Asks the leader to do something. `false`: it was not sent; otherwise it may arrive.
    pub fn ask_errand(&self, shard: ShardId, number: u64, bytes: Bytes) -> bool {
        let sent = self.line.is_open() && bytes.len() < ERRAND_FRAME_BYTES_MAX - NUMBER_BYTES_MAX;
        if sent {
            let said = Said::ErrandAsked(number, bytes);
            self.line.say(false, |out| put_said(out, self.line.seed, shard, &said));
            self.line.go();
        }
        sent
    }
}
