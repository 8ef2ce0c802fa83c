//! The log of one shard on its way to one follower. Invariant: what is sent follows what was sent without a hole or a
//! double, in one epoch of the leader, and is what the leader's log has at that index. A decision only: where entries
//! come from and where they go is the writer's.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Shipped, Shipping};
use crate::codec::frame::{RECORDS_BYTES_TARGET, RECORDS_ENTRIES_MAX};
use crate::codec::record::{RecordKind, chain_after, total_bytes};
use crate::core::replication::{Entry, Records};
use crate::store::aol::Record;
use crate::types::{Chain, Epoch, LanePosition, LogIndex};

/// What an entry costs beside its payload, for the window: so the list of what is not confirmed stays short, too.
const ENTRY_BYTES: u64 = 64;

/// From where a shard's next entry is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// From the lane's files, at or behind this position.
    Behind(LanePosition),
    /// From the lane's files, by the scan that is under way.
    Riding,
    /// From the ring: everything up to this position was looked at.
    Level(LanePosition),
    /// From nowhere until the follower has confirmed more; then from the files.
    Held(LanePosition),
    /// From nowhere: the log no longer has it, and the follower is to be seeded.
    NeedsSnapshot,
}

/// What became of an entry that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is sent with the next frame.
    Sent,
    /// It was sent before, or is not of this log.
    Passed,
    /// Something before it was not sent yet.
    Above,
    /// The follower must confirm something first.
    Full,
}

/// A shard's log on its way to a follower.
#[derive(Debug)]
pub(super) struct Shipment {
    shipping: Shipping,
    /// From where its next entry is awaited.
    pub(super) stage: Stage,
    sent: LogIndex,
    /// The chain after it; unknown before the first entry is read.
    chain: Option<Chain>,
    /// The last entry that surely stands in the lane's files.
    written: LogIndex,
    /// What was sent and not confirmed: the last index of each piece, and its bytes.
    unconfirmed: VecDeque<(LogIndex, u64)>,
    in_flight: u64,
    window: u64,
    /// What goes into the next frame.
    pending: Vec<Entry>,
    pending_bytes: usize,
    /// What the first of them follows.
    base: (LogIndex, Chain),
    /// The node was told that the log no longer has what comes next.
    is_told: bool,
}

struct Offer<'a> {
    index: LogIndex,
    epoch: Epoch,
    kind: RecordKind,
    chain: Chain,
    /// The chain after it, from whoever has it at hand.
    after: Option<Chain>,
    payload: &'a Bytes,
}

impl Shipment {
    /// Begins behind what the follower has; `start` is the first position that the lane still has.
    pub(super) fn new(shipping: Shipping, start: LanePosition, window: u64) -> Self {
        let from = shipping.from.unwrap_or(start).max(start);
        let (sent, chain, written) = (shipping.after, shipping.chain, shipping.written);
        Self {
            shipping,
            stage: Stage::Behind(from),
            sent,
            chain,
            written,
            unconfirmed: VecDeque::new(),
            in_flight: 0,
            window,
            pending: Vec::new(),
            pending_bytes: 0,
            base: (sent, chain.unwrap_or_default()),
            is_told: false,
        }
    }

    /// The epoch in which it is shipped.
    pub(super) const fn epoch(&self) -> Epoch {
        self.shipping.epoch
    }

    /// Whether the follower turned out to need a snapshot since this was asked last.
    pub(super) fn begins_to_need_snapshot(&mut self) -> bool {
        self.stage == Stage::NeedsSnapshot && !std::mem::replace(&mut self.is_told, true)
    }

    /// The last entry that was sent or goes into the next frame.
    pub(super) const fn sent(&self) -> LogIndex {
        self.sent
    }

    /// An entry that was just written.
    pub(super) fn offer_shipped(&mut self, shipped: Shipped) -> Taken {
        if shipped.leading != self.shipping.epoch {
            return Taken::Passed;
        }
        self.shipping.committed = self.shipping.committed.max(shipped.committed);
        self.written = self.written.max(shipped.index);
        let Shipped { index, epoch, kind, chain, chain_after, payload, end, .. } = shipped;
        let after = Some(chain_after);
        let taken = self.offer(&Offer { index, epoch, kind, chain, after, payload: &payload });
        let begin = LanePosition(end.0.saturating_sub(total_bytes(payload.len())));
        self.stage = match (self.stage, taken) {
            (Stage::Level(_), Taken::Sent | Taken::Passed) => Stage::Level(end),
            (Stage::Level(position), Taken::Above) => Stage::Behind(position),
            (Stage::Level(_), Taken::Full) => Stage::Held(begin),
            (stage, _) => stage,
        };
        taken
    }

    /// An entry that stands in the lane's files. The lane has those that were cut, too: what counts is the epoch that
    /// the log has there.
    pub(super) fn offer_record(&mut self, record: &Record) -> Taken {
        let header = &record.header;
        let is_mine = match self.shipping.history.epoch_at(header.index) {
            Some(epoch) => header.epoch == epoch,
            None => header.epoch >= self.shipping.epoch,
        };
        if !is_mine || !header.kind.is_chained() {
            return Taken::Passed;
        }
        let (index, epoch, kind, chain) = (header.index, header.epoch, header.kind, header.chain);
        let taken = self.offer(&Offer { index, epoch, kind, chain, after: None, payload: &record.payload });
        if taken == Taken::Full {
            self.stage = Stage::Held(header.position);
        }
        taken
    }

    fn offer(&mut self, offer: &Offer<'_>) -> Taken {
        if offer.index <= self.sent {
            return Taken::Passed;
        }
        // Another chain is another log, whatever its epochs say.
        if offer.index != self.sent.next() || self.chain.is_some_and(|chain| offer.chain != chain) {
            return Taken::Above;
        }
        if self.in_flight >= self.window {
            return Taken::Full;
        }
        let Offer { index, epoch, kind, after, payload, .. } = *offer;
        let bytes = payload.len() as u64 + ENTRY_BYTES;
        if self.pending.is_empty() {
            self.base = (self.sent, offer.chain);
        }
        self.chain = after.or_else(|| Some(chain_after(offer.chain, epoch, index, kind, payload)));
        self.sent = index;
        self.in_flight += bytes;
        match self.unconfirmed.back_mut() {
            Some((last, piece)) if !self.pending.is_empty() => (*last, *piece) = (index, *piece + bytes),
            _ => self.unconfirmed.push_back((index, bytes)),
        }
        self.pending_bytes += payload.len();
        self.pending.push(Entry { kind, epoch, payload: payload.clone() });
        Taken::Sent
    }

    /// Whether the next entry, of so many bytes, should go into a frame of its own.
    pub(super) fn is_full_with(&self, bytes: usize) -> bool {
        let has_room =
            self.pending_bytes + bytes <= RECORDS_BYTES_TARGET && self.pending.len() < RECORDS_ENTRIES_MAX;
        !self.pending.is_empty() && !has_room
    }

    /// What goes into a frame now.
    pub(super) fn take_pending(&mut self) -> Option<Records> {
        if self.pending.is_empty() {
            return None;
        }
        let (after, chain) = self.base;
        self.pending_bytes = 0;
        let entries = std::mem::take(&mut self.pending);
        Some(Records {
            epoch: self.shipping.epoch,
            after,
            chain,
            committed: self.shipping.committed,
            entries,
        })
    }

    /// The follower holds everything up to `synced`. Half of the window must be free before a shard that was held goes
    /// on: the files are read in few long pieces.
    pub(super) fn confirm(&mut self, epoch: Epoch, synced: LogIndex) {
        if epoch != self.shipping.epoch {
            return;
        }
        while let Some((last, bytes)) = self.unconfirmed.front()
            && *last <= synced
        {
            self.in_flight -= bytes;
            self.unconfirmed.pop_front();
        }
        if let Stage::Held(position) = self.stage
            && self.in_flight <= self.window / 2
        {
            self.stage = Stage::Behind(position);
        }
    }

    /// The ring missed something behind `seen`, up to where it had everything.
    pub(super) fn missed(&mut self, seen: LanePosition) {
        if let Stage::Level(position) = self.stage {
            self.stage = Stage::Behind(position.max(seen));
        }
    }

    /// The scan is at the end of what is written.
    pub(super) fn scanned(&mut self, upto: LanePosition) {
        if self.stage == Stage::Riding {
            let has_all = self.sent >= self.written;
            self.stage = if has_all { Stage::Level(upto) } else { Stage::NeedsSnapshot };
        }
    }

    /// The scan ended early; another one begins at `from` or later.
    pub(super) fn dismount(&mut self, from: LanePosition) {
        if self.stage == Stage::Riding {
            self.stage = Stage::Behind(from);
        }
    }
}

#[cfg(test)]
mod tests;
