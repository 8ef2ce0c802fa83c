//! The head of a stream: its state as of the last decision, and what is known of its producers and pins.
//!
//! Invariant: a head changes only by ops, through [`advance`], so that ops carry everything. Views and tables may use
//! the same function; the rules stand elsewhere.

use std::collections::BTreeMap;

use crate::types::{AppendOp, Framing, LogIndex, Op, PinId, ProducerId, ProducerState, StreamMeta};

/// Applies one op of this stream to its state. Ops that create or remove a stream do not change a state.
pub fn advance(meta: &mut StreamMeta, op: &Op) {
    match op {
        Op::Append(append) => advance_append(meta, append),
        Op::Retire { .. } => meta.retired = true,
        Op::Pin(_) => meta.pins = meta.pins.saturating_add(1),
        Op::Unpin { .. } => meta.pins = meta.pins.saturating_sub(1),
        Op::Trim { earliest, .. } => meta.earliest = *earliest,
        Op::Touch { at, .. } => meta.touched_at = meta.touched_at.max(*at),
        Op::Create(_) | Op::Delete { .. } | Op::Put { .. } | Op::Erase { .. } => {}
    }
}

fn advance_append(meta: &mut StreamMeta, append: &AppendOp) {
    debug_assert_eq!(meta.tail, append.start, "an append begins at the tail");
    meta.tail = append.messages.end(append.start);
    // A clock that went back never shortens a window.
    meta.touched_at = meta.touched_at.max(append.at);
    if append.close {
        meta.closed = true;
        meta.closed_by.clone_from(&append.producer);
    }
    if append.seq.is_some() {
        meta.last_seq.clone_from(&append.seq);
    }
}

/// What is known of some keys of a stream: a value, or that there is none.
#[derive(Debug)]
pub(super) struct Facts<K, V> {
    known: BTreeMap<K, (Option<V>, LogIndex)>,
    /// Whether what is not known is absent.
    complete: bool,
}

impl<K: Ord, V: Copy> Facts<K, V> {
    pub(super) fn new(complete: bool) -> Self {
        Self { known: BTreeMap::new(), complete }
    }

    /// `None`: must be loaded. `Some(None)`: there is none.
    pub(super) fn get(&self, key: &K) -> Option<Option<V>> {
        match self.known.get(key) {
            Some((value, _)) => Some(*value),
            None => self.complete.then_some(None),
        }
    }

    /// Takes what the tables say, unless a decision knows better.
    pub(super) fn install(&mut self, key: K, value: Option<V>) {
        self.known.entry(key).or_insert((value, LogIndex(0)));
    }

    /// Takes what the record at `index` says.
    fn set(&mut self, key: K, value: Option<V>, index: LogIndex) {
        self.known.insert(key, (value, index));
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets what the tables know by now.
    pub(super) fn forget(&mut self, applied: LogIndex) {
        let before = self.known.len();
        self.known.retain(|_, (_, changed)| *changed > applied);
        self.complete &= self.known.len() == before;
    }
}

/// A resident stream.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) meta: StreamMeta,
    /// The framing of its content type, which every append is compared with.
    pub(super) framing: Framing,
    /// How many producers the stream remembers, known here or not.
    pub(super) producer_count: u32,
    pub(super) producers: Facts<ProducerId, ProducerState>,
    pub(super) pins: Facts<PinId, ()>,
}

impl Head {
    pub(super) fn new(meta: StreamMeta, producer_count: u32) -> Self {
        let (framing, pins) = (meta.framing(), Facts::new(meta.pins == 0));
        Self { meta, framing, producer_count, producers: Facts::new(producer_count == 0), pins }
    }

    /// Applies an op of this stream that was decided for the record at `index`.
    pub(super) fn advance(&mut self, op: &Op, index: LogIndex) {
        advance(&mut self.meta, op);
        match op {
            Op::Append(AppendOp { producer: Some(stamp), .. }) => {
                if self.producers.get(&stamp.id) == Some(None) {
                    self.producer_count = self.producer_count.saturating_add(1);
                }
                self.producers.set(stamp.id.clone(), Some(stamp.state), index);
            }
            Op::Pin(pin) => self.pins.set(pin.pin, Some(()), index),
            Op::Unpin { pin, .. } => self.pins.set(*pin, None, index),
            _ => {}
        }
    }

    /// How many things this head remembers besides itself.
    pub(super) fn facts(&self) -> usize {
        self.producers.len() + self.pins.len()
    }
}
