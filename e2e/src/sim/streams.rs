//! The streams of one shard, as its committed entries make them: what tables hold, and what a decision is loaded from.

use std::collections::BTreeMap;

use thalweg_node::codec::op::decode_ops;
use thalweg_node::codec::record::RecordKind;
use thalweg_node::core::advance;
use thalweg_node::core::replication::Entry;
use thalweg_node::types::{AppendOp, Op, ProducerId, ProducerState, StreamId, StreamMeta, StreamName};

use crate::dice::mix;

/// All streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Streams {
    rows: BTreeMap<StreamId, Row>,
    next: StreamId,
    /// What stands for the streams that are gone.
    gone: u64,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) meta: StreamMeta,
    pub(super) producers: BTreeMap<ProducerId, ProducerState>,
    /// What stands for its messages.
    sum: u64,
}

/// What an entry of a client changes.
pub(super) fn ops_of(entry: &Entry) -> Vec<Op> {
    let decided = matches!(entry.kind, RecordKind::Batch | RecordKind::Relief);
    if decided { decode_ops(&entry.payload).unwrap_or_default() } else { Vec::new() }
}

/// The operation whose messages these ops append: its number stands at the beginning of the first message.
pub(super) fn op_of(ops: &[Op]) -> Option<(StreamId, u64)> {
    ops.iter().find_map(|op| match op {
        Op::Append(append) => Some((append.stream, number(append)?)),
        _ => None,
    })
}

fn number(append: &AppendOp) -> Option<u64> {
    append.messages.wire().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

impl Streams {
    /// Takes in what an entry changes.
    pub(super) fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Create(meta) => {
                    self.next = self.next.max(StreamId(meta.id.0 + 1));
                    let row = Row { meta: (**meta).clone(), producers: BTreeMap::new(), sum: 0 };
                    self.rows.insert(meta.id, row);
                }
                Op::Delete { stream } => {
                    let row = self.rows.remove(stream);
                    self.gone = mix(self.gone.rotate_left(5) ^ row.map_or(0, |row| row.sum));
                }
                other => {
                    if let Some(row) = other.stream().and_then(|stream| self.rows.get_mut(&stream)) {
                        row.apply(other);
                    }
                }
            }
        }
    }

    /// The id that the next stream gets.
    pub(super) const fn next(&self) -> StreamId {
        self.next
    }

    /// The stream of a name.
    pub(super) fn by_name(&self, name: &StreamName) -> Option<&Row> {
        self.rows.values().find(|row| row.meta.name == *name)
    }

    /// A stream.
    pub(super) fn by_id(&self, stream: StreamId) -> Option<&Row> {
        self.rows.get(&stream)
    }

    /// A number that stands for all of it.
    pub(super) fn sum(&self) -> u64 {
        let first = mix(self.gone ^ self.next.0);
        self.rows.values().fold(first, |sum, row| mix(sum.rotate_left(11) ^ row.sum()))
    }
}

impl Row {
    fn apply(&mut self, op: &Op) {
        // What a planted bug wrote does not fit; the ledger says so.
        if matches!(op, Op::Append(append) if append.start != self.meta.tail) {
            return;
        }
        advance(&mut self.meta, op);
        if let Op::Append(append) = op {
            self.sum = mix(self.sum.rotate_left(7) ^ number(append).unwrap_or(0));
            if let Some(stamp) = &append.producer {
                self.producers.insert(stamp.id.clone(), stamp.state);
            }
        }
    }

    /// How many producers it remembers.
    pub(super) fn producer_count(&self) -> u32 {
        u32::try_from(self.producers.len()).unwrap_or(u32::MAX)
    }

    fn sum(&self) -> u64 {
        let meta = &self.meta;
        let first = mix(self.sum
            ^ meta.id.0.rotate_left(32)
            ^ meta.tail.bytes
            ^ meta.touched_at.0.cast_unsigned().rotate_left(16));
        let states = self.producers.values();
        states.fold(first, |sum, state| mix(sum.rotate_left(9) ^ state.epoch.rotate_left(32) ^ state.seq))
    }
}
