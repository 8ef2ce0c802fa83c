//! The tables as a test sees them: ops applied to plain maps, written apart from the core and strict about what a
//! well-formed log may say.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::subscription::get_link_key;
use crate::types::{
    AppendOp, Offset, Op, PinId, ProducerId, ProducerState, Space, StreamId, StreamMeta, StreamName,
    UnixMillis,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) meta: StreamMeta,
    pub(super) producers: BTreeMap<ProducerId, ProducerState>,
    /// Up to where each fork may read.
    pub(super) pins: BTreeMap<PinId, Offset>,
    /// The stream's own messages.
    pub(super) messages: Vec<Bytes>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) rows: BTreeMap<StreamId, Row>,
    pub(super) names: BTreeMap<StreamName, StreamId>,
    pub(super) last_id: u64,
    pub(super) facts: BTreeMap<(Space, Bytes), Bytes>,
}

impl Tables {
    pub(super) fn named(&self, name: &StreamName) -> Option<&Row> {
        self.rows.get(self.names.get(name)?)
    }

    fn row(&mut self, stream: StreamId) -> &mut Row {
        self.rows.get_mut(&stream).expect("an op names a stream that exists")
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(meta) => {
                assert!(meta.id.0 > self.last_id, "ids are never used again");
                self.last_id = meta.id.0;
                assert_eq!(self.names.insert(meta.name.clone(), meta.id), None, "the name is free");
                assert_eq!((meta.tail, meta.pins, meta.retired), (meta.base, 0, false));
                if let Some(parent) = meta.parent {
                    let pinned = self.rows.get(&parent.stream).and_then(|row| row.pins.get(&parent.pin));
                    assert_eq!(pinned, Some(&parent.upto), "the pin reaches as far as the fork reads");
                }
                let row = Row {
                    meta: (**meta).clone(),
                    producers: BTreeMap::new(),
                    pins: BTreeMap::new(),
                    messages: vec![],
                };
                self.rows.insert(meta.id, row);
            }
            Op::Append(append) => self.append(append),
            Op::Delete { stream } => {
                let row = self.rows.remove(stream).expect("deleted once");
                assert!(row.pins.is_empty(), "a pinned stream keeps its data");
                self.names.remove(&row.meta.name);
            }
            Op::Retire { stream } => {
                let row = self.row(*stream);
                assert!(!row.pins.is_empty() && !row.meta.retired);
                row.meta.retired = true;
            }
            Op::Pin(pin) => {
                let row = self.row(pin.stream);
                assert_eq!(row.pins.insert(pin.pin, pin.upto), None, "a pin is new");
                assert!(pin.upto >= row.meta.earliest && pin.upto <= row.meta.tail && !row.meta.retired);
                row.meta.pins += 1;
            }
            Op::Unpin { stream, pin } => {
                let row = self.row(*stream);
                assert!(row.pins.remove(pin).is_some(), "a pin is taken back once");
                row.meta.pins -= 1;
            }
            Op::Trim { stream, earliest } => {
                let row = self.row(*stream);
                assert!(*earliest > row.meta.earliest && *earliest <= row.meta.tail);
                row.meta.earliest = *earliest;
            }
            Op::Touch { stream, at } => {
                let row = self.row(*stream);
                assert!(*at > row.meta.touched_at, "a renewal moves the window");
                row.meta.touched_at = *at;
            }
            Op::Put { space, key, value } => {
                let before = self.facts.insert((*space, key.clone()), value.clone());
                assert_ne!(before.as_ref(), Some(value), "a fact that does not change is not written");
            }
            Op::Erase { space, key } => drop(self.facts.remove(&(*space, key.clone()))),
        }
    }

    /// At the end of a record every link is of a stream that answers.
    pub(super) fn check_links(&self) {
        for (_, key) in self.facts.keys().filter(|(space, _)| *space == Space::Link) {
            let (_, stream) = get_link_key(key).unwrap();
            assert!(self.rows.get(&stream).is_some_and(|row| !row.meta.retired), "a link outlived {stream}");
        }
    }

    fn append(&mut self, append: &AppendOp) {
        let row = self.row(append.stream);
        let meta = &mut row.meta;
        assert!(!meta.closed && !meta.retired, "nothing follows the end");
        assert_eq!(append.start, meta.tail, "offsets are dense");
        assert!(append.close || !append.messages.is_empty(), "an append appends or closes");
        for at in 0..append.messages.lengths().len() {
            let message = append.messages.slice(at, at + 1);
            meta.tail.messages += 1;
            meta.tail.bytes += message.wire().len() as u64;
            row.messages.push(message.wire().clone());
        }
        meta.touched_at = UnixMillis(meta.touched_at.0.max(append.at.0));
        if append.close {
            meta.closed = true;
            meta.closed_by = append.producer.clone();
        }
        if let Some(stamp) = &append.producer {
            row.producers.insert(stamp.id.clone(), stamp.state);
        }
        if let Some(seq) = &append.seq {
            meta.last_seq = Some(seq.clone());
        }
    }
}
