//! Records go into the group of a turn: decided here, or received. Invariant: each gets the index and the chain that follow on the one before.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::LaneOwner;
use crate::codec::op::encode_ops;
use crate::codec::record::{RecordKind, chain_after};
use crate::core::replication::{Entry, Replica};
use crate::runtime::owner::{Body, Cause, Pending};
use crate::runtime::views::StreamView;
use crate::store::aol::{Appended, LaneError, RecordHead};
use crate::types::{AolMode, Chain, Configs, Epoch, LanePosition, LogIndex, Op, ShardId};

impl LaneOwner {
    /// Puts one decided record into the group.
    pub(crate) fn append(
        &mut self,
        shard: ShardId,
        kind: RecordKind,
        ops: Vec<Op>,
        view: Option<Arc<StreamView>>,
        cause: Cause,
    ) -> Result<(), LaneError> {
        let Some(place) = self.replica(shard).and_then(Replica::place) else {
            return Err(LaneError::Poisoned);
        };
        let head = RecordHead { kind, shard, epoch: place.epoch, index: place.index, chain: place.chain };
        let mut wires = Vec::new();
        let encoded = self.encode(&head, |buffer| encode_ops(&ops, buffer, &mut wires))?;
        if let Some(owner) = self.shards.get_mut(&shard) {
            owner.note_lives(&ops);
        }
        self.note(&head, encoded, Body::Decided { ops, wires, view, cause }, None);
        Ok(())
    }

    /// Puts an entry into the group as it came.
    pub(super) fn append_as_received(
        &mut self,
        shard: ShardId,
        entry: &Entry,
        configs: Option<Configs>,
    ) -> Result<(), LaneError> {
        let Some(replica) = self.replica(shard) else { return Ok(()) };
        let (index, chain) = (replica.history().end().next(), replica.history().chain());
        let head = RecordHead { kind: entry.kind, shard, epoch: entry.epoch, index, chain };
        let encoded = self.encode(&head, |buffer| buffer.put_slice(&entry.payload))?;
        self.note(&head, encoded, Body::Received(entry.payload.clone()), configs);
        Ok(())
    }

    /// Says that what lies behind `to` was taken back.
    pub(super) fn append_cut(&mut self, shard: ShardId, to: LogIndex, chain: Chain) -> Result<(), LaneError> {
        let epoch = Epoch::default();
        let head = RecordHead { kind: RecordKind::Cut, shard, epoch, index: to, chain };
        let encoded = self.encode(&head, |_| {})?;
        self.group.bytes += encoded.end.0 - encoded.position.0;
        Ok(())
    }

    fn encode(
        &mut self,
        head: &RecordHead,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Result<Appended, LaneError> {
        match self.durability.aol {
            AolMode::Never => Ok(encode_only(head, &mut self.scratch, payload)),
            AolMode::Sync | AolMode::Async => self.log.append(head, payload),
        }
    }

    fn note(&mut self, head: &RecordHead, encoded: Appended, body: Body, configs: Option<Configs>) {
        let Appended { position, end, payload, chain } = encoded;
        let RecordHead { kind, shard, epoch, index, chain: before } = *head;
        if let Some(owner) = self.shards.get_mut(&shard) {
            owner.note_mark(index, position);
            if let Some(replica) = &mut owner.replica {
                replica.appended(epoch, chain, configs);
            }
        }
        self.group.bytes += end.0 - position.0;
        let record = Pending { shard, index, epoch, before, chain, position, end, kind, payload, body };
        self.group.records.push(record);
    }
}

/// Without a log, a record still has an index and a chain, so that a log can begin again behind it.
fn encode_only(head: &RecordHead, scratch: &mut BytesMut, encode: impl FnOnce(&mut BytesMut)) -> Appended {
    let start = scratch.len();
    encode(scratch);
    let payload = start..scratch.len();
    let bytes = scratch.get(payload.clone()).unwrap_or_default();
    let chain = chain_after(head.chain, head.epoch, head.index, head.kind, bytes);
    let end = LanePosition(payload.len() as u64);
    Appended { position: LanePosition::default(), end, payload, chain }
}
