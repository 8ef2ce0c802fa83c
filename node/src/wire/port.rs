//! What a lane says to a peer whom it may lead. Invariant: the ring holds what the lane wrote without a hole, except
//! behind the point at which it says that it missed something; from there on nothing is put in until the writer knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use rtrb::{Consumer, Producer, RingBuffer};

use super::line::Line;
use super::message::{Said, put_message, put_said};
use super::outbox::Command;
use super::{Parcel, Shipped, Shipping};
use crate::core::replication::Message;
use crate::types::{LogIndex, ShardId};

/// What an entry takes beside its payload, for the bound.
const ENTRY_BYTES: usize = size_of::<(ShardId, Shipped)>();

/// What both ends of a ring share.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    bytes: AtomicUsize,
    missed: AtomicBool,
}

/// The writer's end of a port.
#[derive(Debug)]
pub(super) struct Outlet {
    ring: Consumer<(ShardId, Shipped)>,
    gauge: Arc<Gauge>,
}

impl Outlet {
    /// The next entry.
    pub(super) fn pop(&mut self) -> Option<(ShardId, Shipped)> {
        let (shard, shipped) = self.ring.pop().ok()?;
        self.gauge.bytes.fetch_sub(shipped.payload.len() + ENTRY_BYTES, Ordering::AcqRel);
        Some((shard, shipped))
    }

    /// What it holds, for the bound.
    pub(super) fn bytes(&self) -> usize {
        self.gauge.bytes.load(Ordering::Acquire)
    }

    /// Whether something did not fit. What was put in before that can then be popped.
    pub(super) fn has_missed(&self) -> bool {
        self.gauge.missed.load(Ordering::Acquire)
    }

    /// The writer knows; what is put in from now on stands in the ring, all before it in the files.
    pub(super) fn forget_missed(&self) {
        // Reads what a lane that misses more writes, so that its entries are seen in the files.
        self.gauge.missed.swap(false, Ordering::AcqRel);
    }
}

/// What a lane says to one peer whom it may lead. Owned by the lane's thread; never blocks.
#[derive(Debug)]
pub struct Port {
    line: Arc<Line>,
    ring: Producer<(ShardId, Shipped)>,
    gauge: Arc<Gauge>,
    bytes_max: usize,
    /// Something was put in since the writer was woken.
    stirred: bool,
}

impl Port {
    /// A port and the writer's end of it.
    pub(super) fn new(line: Arc<Line>, entries: usize, bytes_max: usize) -> (Self, Outlet) {
        let (producer, consumer) = RingBuffer::new(entries);
        let gauge = Arc::new(Gauge::default());
        let outlet = Outlet { ring: consumer, gauge: Arc::clone(&gauge) };
        (Self { line, ring: producer, gauge, bytes_max, stirred: false }, outlet)
    }

    /// Whether the connection lives; what is put in otherwise is dropped.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.line.is_open()
    }

    /// Sends a message, or drops it when the connection is gone.
    pub fn send(&mut self, shard: ShardId, message: &Message) {
        let owes = matches!(message, Message::Follow(_) | Message::Beat { .. });
        self.line.say(owes, |out| put_message(out, self.line.seed, shard, message));
        self.stirred = true;
    }

    /// Sends the log of a shard from here on: from the lane's files until that has caught up, then what is put in.
    pub fn ship(&mut self, shard: ShardId, shipping: Shipping) {
        self.line.order(Command::Ship(shard, shipping));
        self.stirred = true;
    }

    /// Says something of a file, and sends of that what is asked for, until no more entries of the shard are to be sent.
    pub fn offer(&mut self, shard: ShardId, message: &Message, parcel: Parcel) {
        // Before the peer can ask.
        self.line.order(Command::Parcel(shard, parcel));
        self.send(shard, message);
    }

    /// Sends no more entries of a shard.
    pub fn unship(&mut self, shard: ShardId) {
        self.line.order(Command::Unship(shard));
        self.stirred = true;
    }

    /// Puts in what was just written; when there is no room for it, it is read from the lane's files later.
    pub fn fill(&mut self, shard: ShardId, shipped: &Shipped) {
        if !self.line.is_open() {
            return;
        }
        self.stirred = true;
        let bytes = shipped.payload.len() + ENTRY_BYTES;
        let held = self.gauge.bytes.load(Ordering::Acquire);
        let has_room = held == 0 || held.saturating_add(bytes) <= self.bytes_max;
        let misses = self.gauge.missed.load(Ordering::Acquire);
        if misses || !has_room || self.ring.is_full() {
            // Written again each time: the writer that takes the flag back sees what this lane has written so far.
            self.gauge.missed.swap(true, Ordering::AcqRel);
            return;
        }
        self.gauge.bytes.fetch_add(bytes, Ordering::AcqRel);
        if self.ring.push((shard, shipped.clone())).is_err() {
            // There was room a moment ago, and only this end puts in.
            debug_assert!(false, "a ring lost its room");
            self.gauge.missed.swap(true, Ordering::AcqRel);
        }
    }

    /// Answers a peer's question for a read.
    pub fn answer_read(&mut self, shard: ShardId, number: u64, upto: Option<LogIndex>) {
        self.line.say(false, |out| put_said(out, self.line.seed, shard, &Said::ReadAnswered(number, upto)));
        self.stirred = true;
    }

    /// Answers an errand of a peer.
    pub fn answer_errand(&mut self, shard: ShardId, number: u64, bytes: Bytes) {
        let said = Said::ErrandAnswered(number, bytes);
        self.line.say(false, |out| put_said(out, self.line.seed, shard, &said));
        self.stirred = true;
    }

    /// Sends what was put in since, or wakes whoever does; once for each turn of the lane.
    pub fn wake(&mut self) {
        if std::mem::take(&mut self.stirred) {
            self.line.go();
        }
    }
}
