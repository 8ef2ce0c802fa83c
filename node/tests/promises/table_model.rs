//! Promise: whatever the partition into batches, the tables read as a plain list of messages would.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_node::seam::disk::{Dir, RealDir};
use thalweg_node::store::tables::{Applied, Identity, ReadFault, Reader, ScrubCursor, Tables, TablesError};
use thalweg_node::types::{
    AppendOp, Chain, ContentType, Epoch, Framing, Lengths, LogIndex, Messages, Offset, Op, PinId, PinOp,
    ProducerId, ProducerStamp, ProducerState, ShardCount, ShardId, StreamConfig, StreamId, StreamMeta,
    StreamName, UnixMillis,
};

/// A folder of the machine's disk.
pub(crate) fn dir(folder: &tempfile::TempDir) -> Arc<dyn Dir> {
    RealDir::open(folder.path()).unwrap()
}

/// A stream as a plain list.
#[derive(Debug, Clone)]
pub(crate) struct PlainStream {
    pub(crate) meta: StreamMeta,
    pub(crate) messages: Vec<Bytes>,
    pub(crate) producers: BTreeMap<Bytes, ProducerState>,
    pub(crate) pins: BTreeMap<u64, Offset>,
}

impl PlainStream {
    /// The boundary before message `index`, counted over the stream's own data.
    pub(crate) fn boundary(&self, index: usize) -> Offset {
        let bytes: usize = self.messages[..index].iter().map(Bytes::len).sum();
        self.meta.base.advanced(index as u64, bytes as u64)
    }
}

/// A shard as plain lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    pub(crate) streams: BTreeMap<u64, PlainStream>,
    pub(crate) names: BTreeMap<String, u64>,
    pub(crate) next: u64,
    pub(crate) clock: i64,
}

/// What a generated step asks for; `pick` selects one of the living streams.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create { name: u8, json: bool, ttl: Option<u16>, base: u16 },
    Append { pick: u8, sizes: Vec<u32>, close: bool, producer: Option<u8> },
    Delete { pick: u8 },
    Retire { pick: u8 },
    Pin { pick: u8, pin: u8, at: u16 },
    Unpin { pick: u8, pin: u8 },
    Trim { pick: u8, at: u16 },
    Touch { pick: u8 },
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let sizes = prop_oneof![
        4 => prop::collection::vec(0u32..200, 1..4),
        2 => prop::collection::vec(0u32..20_000, 1..12),
        1 => prop::collection::vec(100_000u32..400_000, 1..2),
        1 => prop::collection::vec(0u32..3, 200..600),
        1 => Just(Vec::new()),
    ];
    prop_oneof![
        2 => (0u8..6, any::<bool>(), prop::option::of(1u16..100), 0u16..3)
            .prop_map(|(name, json, ttl, base)| Step::Create { name, json, ttl, base }),
        12 => (any::<u8>(), sizes, prop::bool::weighted(0.05), prop::option::of(0u8..4))
            .prop_map(|(pick, sizes, close, producer)| Step::Append { pick, sizes, close, producer }),
        1 => any::<u8>().prop_map(|pick| Step::Delete { pick }),
        1 => any::<u8>().prop_map(|pick| Step::Retire { pick }),
        1 => (any::<u8>(), 0u8..4, any::<u16>()).prop_map(|(pick, pin, at)| Step::Pin { pick, pin, at }),
        1 => (any::<u8>(), 0u8..4).prop_map(|(pick, pin)| Step::Unpin { pick, pin }),
        2 => (any::<u8>(), any::<u16>()).prop_map(|(pick, at)| Step::Trim { pick, at }),
        1 => any::<u8>().prop_map(|pick| Step::Touch { pick }),
    ]
}

/// Bytes that differ from place to place.
fn content(seed: u64, size: u32) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect::<Vec<u8>>()
        .into()
}

impl Plain {
    fn pick(&self, pick: u8) -> Option<u64> {
        let ids: Vec<u64> = self.streams.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[usize::from(pick) % ids.len()])
    }

    /// Turns a step into ops and follows them.
    pub(crate) fn take(&mut self, step: &Step) -> Vec<Op> {
        self.clock += 7;
        let at = UnixMillis(self.clock);
        let picked = match step {
            Step::Create { name, json, ttl, base } => return self.create(*name, *json, *ttl, *base, at),
            Step::Append { pick, .. }
            | Step::Delete { pick }
            | Step::Retire { pick }
            | Step::Pin { pick, .. }
            | Step::Unpin { pick, .. }
            | Step::Trim { pick, .. }
            | Step::Touch { pick } => self.pick(*pick),
        };
        let Some(id) = picked else { return Vec::new() };
        let stream = StreamId(id);
        let plain = self.streams.get_mut(&id).unwrap();
        let points = plain.messages.len() + 1;
        match step {
            Step::Create { .. } => unreachable!(),
            Step::Append { sizes, close, producer, .. } => {
                let parts: Vec<Bytes> = (0u64..)
                    .zip(sizes)
                    .map(|(n, &size)| content(id * 1_000_003 + plain.meta.tail.messages + n, size))
                    .collect();
                vec![append(plain, &parts, *close, *producer, at)]
            }
            Step::Delete { .. } => {
                let gone = self.streams.remove(&id).unwrap();
                self.names.remove(gone.meta.name.as_str());
                vec![Op::Delete { stream }]
            }
            Step::Retire { .. } => {
                plain.meta.retired = true;
                vec![Op::Retire { stream }]
            }
            Step::Pin { pin, at: point, .. } => {
                let pin = u64::from(*pin);
                if plain.pins.contains_key(&pin) {
                    return Vec::new();
                }
                let upto = plain.boundary(usize::from(*point) % points).max(plain.meta.earliest);
                plain.pins.insert(pin, upto);
                plain.meta.pins += 1;
                let fork = StreamName::from_bytes(b"fork").unwrap();
                vec![Op::Pin(PinOp { stream, pin: PinId(pin), fork, upto, at })]
            }
            Step::Unpin { pin, .. } => {
                if plain.pins.remove(&u64::from(*pin)).is_some() {
                    plain.meta.pins -= 1;
                }
                vec![Op::Unpin { stream, pin: PinId(u64::from(*pin)) }]
            }
            Step::Trim { at: point, .. } => {
                let earliest = plain.boundary(usize::from(*point) % points);
                plain.meta.earliest = plain.meta.earliest.max(earliest);
                vec![Op::Trim { stream, earliest }]
            }
            Step::Touch { .. } => {
                plain.meta.touched_at = plain.meta.touched_at.max(at);
                vec![Op::Touch { stream, at }]
            }
        }
    }

    fn create(&mut self, name: u8, json: bool, ttl: Option<u16>, base: u16, at: UnixMillis) -> Vec<Op> {
        let text = format!("name/{name}");
        if self.names.contains_key(&text) {
            return Vec::new();
        }
        self.next += 1;
        let base = Offset { messages: u64::from(base) * 5, bytes: u64::from(base) * 77 };
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        let lifetime =
            ttl.map_or(Default::default(), |ttl| thalweg_node::types::Lifetime::Sliding(ttl.into()));
        let config = StreamConfig {
            content_type: ContentType::parse(kind).unwrap(),
            lifetime,
            ..StreamConfig::default()
        };
        let meta = StreamMeta {
            id: StreamId(self.next),
            name: StreamName::from_bytes(text.as_bytes()).unwrap(),
            config,
            created_at: at,
            touched_at: at,
            base,
            earliest: base,
            tail: base,
            closed: false,
            closed_by: None,
            last_seq: None,
            parent: None,
            pins: 0,
            retired: false,
        };
        self.names.insert(text, self.next);
        let mut plain = PlainStream {
            meta: meta.clone(),
            messages: Vec::new(),
            producers: BTreeMap::new(),
            pins: BTreeMap::new(),
        };
        let mut ops = vec![Op::Create(Box::new(meta))];
        if name.is_multiple_of(2) {
            ops.push(append(&mut plain, &[content(self.next, 33)], false, None, at));
        }
        self.streams.insert(self.next, plain);
        ops
    }
}

fn append(plain: &mut PlainStream, parts: &[Bytes], close: bool, producer: Option<u8>, at: UnixMillis) -> Op {
    let framing = plain.meta.framing();
    let messages = join(framing, parts);
    let start = plain.meta.tail;
    plain.meta.tail = messages.end(start);
    plain.meta.touched_at = plain.meta.touched_at.max(at);
    let producer = producer.map(|id| {
        let id = Bytes::from(vec![b'p', id]);
        let seq = plain.producers.get(&id).map_or(0, |state| state.seq + 1);
        let state = ProducerState { epoch: 1, seq };
        plain.producers.insert(id.clone(), state);
        ProducerStamp { id: ProducerId(id), state }
    });
    if close {
        plain.meta.closed = true;
        plain.meta.closed_by = producer.clone();
    }
    plain.messages.extend(parts.iter().cloned());
    Op::Append(AppendOp { stream: plain.meta.id, start, messages, close, producer, seq: None, at })
}

pub(crate) fn join(framing: Framing, parts: &[Bytes]) -> Messages {
    let lengths: Vec<u32> = parts.iter().map(|part| u32::try_from(part.len()).unwrap()).collect();
    let separator: &[u8] = if framing == Framing::Json { b"," } else { b"" };
    let wire = parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>().join(separator);
    Messages::from_parts(framing, Lengths::Many(lengths.into()), wire.into()).unwrap()
}

pub(crate) fn identity() -> Identity {
    Identity { shard: ShardId(3), shards: ShardCount::new(16).unwrap(), layout: [7; 16] }
}

pub(crate) fn applied(index: u64) -> Applied {
    Applied { index: LogIndex(index), chain: Chain(index.wrapping_mul(31)), epoch: Epoch::default() }
}

/// Reads of `[from, upto)` messages, in steps of `bytes_max`, give exactly these messages.
fn expect_messages(reader: &Reader, plain: &PlainStream, from: usize, upto: usize, bytes_max: usize) {
    let (mut at, end) = (plain.boundary(from), plain.boundary(upto));
    let mut next = from;
    while at.messages < end.messages {
        let segments = reader.read(plain.meta.id, at, end, bytes_max).unwrap();
        assert!(!segments.is_empty(), "no progress at {at}");
        let mut served = 0;
        for segment in segments {
            assert_eq!(segment.start, at);
            let parts = &plain.messages[next..next + segment.messages.lengths().len()];
            assert_eq!(segment.messages.wire(), join(plain.meta.framing(), parts).wire());
            assert_eq!(segment.messages.framing(), plain.meta.framing());
            served += segment.messages.wire().len();
            next += parts.len();
            at = segment.end();
            assert_eq!(at, plain.boundary(next));
            assert!(served <= bytes_max || parts.len() == 1);
        }
    }
    assert_eq!(next, upto);
    assert_eq!(reader.read(plain.meta.id, at, end, bytes_max).unwrap(), []);
}

/// A whole round of scrubbing, in small steps; gives the faults.
pub(crate) fn scrubbed(reader: &Reader) -> Vec<String> {
    let (mut cursor, mut faults) = (ScrubCursor::default(), Vec::new());
    loop {
        let found = reader.scrub(&cursor, 10_000).unwrap();
        faults.extend(found.faults);
        if found.complete {
            return faults;
        }
        assert_ne!(found.next, cursor, "a step makes progress");
        cursor = found.next;
    }
}

/// Everything that can be asked gives what the plain lists say.
pub(crate) fn expect_same(reader: &Reader, plain: &Plain, sample: usize) {
    let listed = reader.list("", None, usize::MAX).unwrap();
    assert_eq!(
        listed.iter().map(|entry| entry.meta.name.to_string()).collect::<Vec<_>>(),
        plain.names.keys().cloned().collect::<Vec<_>>()
    );
    let mut deadlines: Vec<_> = plain
        .streams
        .values()
        .filter(|stream| !stream.meta.retired)
        .filter_map(|stream| stream.meta.deadline().map(|deadline| (deadline, stream.meta.id)))
        .collect();
    deadlines.sort_unstable();
    assert_eq!(reader.expiring(None, usize::MAX).unwrap(), deadlines);
    let totals = reader.totals().unwrap();
    assert_eq!(totals.streams, plain.streams.len() as u64);
    let own = |stream: &PlainStream| stream.meta.tail.bytes - stream.meta.earliest.bytes;
    assert_eq!(totals.bytes, plain.streams.values().map(own).sum::<u64>());
    for stream in plain.streams.values() {
        expect_stream(reader, stream, sample);
    }
}

fn expect_stream(reader: &Reader, stream: &PlainStream, sample: usize) {
    let found = reader.stream_by_name(&stream.meta.name).unwrap().unwrap();
    assert_eq!(found.meta, stream.meta);
    assert_eq!(found.producers as usize, stream.producers.len());
    for (id, state) in &stream.producers {
        assert_eq!(reader.producer(stream.meta.id, &ProducerId(id.clone())).unwrap(), Some(*state));
    }
    let mut pins: Vec<_> = stream.pins.iter().map(|(&pin, &upto)| (pin, upto)).collect();
    pins.sort_unstable();
    let held = reader.pins(stream.meta.id).unwrap();
    assert_eq!(held.iter().map(|pin| (pin.pin.0, pin.upto)).collect::<Vec<_>>(), pins);
    let count = stream.messages.len();
    let first = usize::try_from(stream.meta.earliest.messages - stream.meta.base.messages).unwrap();
    expect_messages(reader, stream, first, count, 1 << 20);
    let from = first + sample % (count - first + 1);
    let upto = from + (sample / 7) % (count - from + 1);
    expect_messages(reader, stream, from, upto, 1 + sample * 13 % 5000);
    expect_misaligned(reader, stream, from);
}

fn expect_misaligned(reader: &Reader, stream: &PlainStream, from: usize) {
    let Some(message) = stream.messages.get(from) else { return };
    let inside = stream.boundary(from).advanced(0, 1);
    let outside = stream.boundary(from).advanced(1, message.len() as u64 + 1);
    for offset in [inside, outside] {
        let fault = reader.read(stream.meta.id, offset, stream.meta.tail, 100).unwrap_err();
        assert_eq!(fault, ReadFault::Misaligned, "{offset}");
    }
}

pub(crate) fn memory() -> redb::backends::InMemoryBackend {
    redb::backends::InMemoryBackend::new()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_partition_into_batches_reads_as_the_plain_messages(
        steps in prop::collection::vec((step(), 0u8..6), 1..120),
        sample in any::<u16>(),
    ) {
        let mut tables = Tables::create_on(memory(), identity(), 1 << 20).unwrap();
        let reader = tables.reader();
        let (mut plain, mut batch, mut index) = (Plain::default(), Vec::new(), 0);
        for (step, what) in &steps {
            let ops = plain.take(step);
            if ops.is_empty() {
                continue;
            }
            index += 1;
            batch.extend(ops.into_iter().map(|op| (LogIndex(index), op)));
            match what {
                0 | 1 => {
                    tables.apply(&batch, applied(index), &[]).unwrap();
                    // A replay of what is applied changes nothing.
                    tables.apply(&batch, applied(index), &[]).unwrap();
                    batch.clear();
                    expect_same(&reader, &plain, usize::from(sample));
                }
                2 => drop(tables.reap(1 + usize::from(sample) % 5).unwrap()),
                3 => drop(tables.checkpoint().unwrap()),
                _ => {}
            }
        }
        tables.apply(&batch, applied(index), &[]).unwrap();
        prop_assert_eq!(scrubbed(&reader), Vec::<String>::new());
        while tables.reap(7).unwrap() > 0 {}
        prop_assert_eq!(scrubbed(&reader), Vec::<String>::new());
        expect_same(&reader, &plain, usize::from(sample));
        prop_assert_eq!(tables.state().applied, applied(index));
    }
}

#[test]
fn an_op_that_does_not_fit_changes_nothing_and_is_named() {
    let mut tables = Tables::create_on(memory(), identity(), 1 << 20).unwrap();
    let mut plain = Plain::default();
    let mut ops = plain.take(&Step::Create { name: 0, json: false, ttl: None, base: 0 });
    tables.apply(&[(LogIndex(1), ops.remove(0))], applied(1), &[]).unwrap();
    let before = tables.reader().list("", None, 9).unwrap();
    let late = plain.take(&Step::Append { pick: 0, sizes: vec![5], close: false, producer: None });
    let fault = tables.apply(&[(LogIndex(2), late[0].clone())], applied(2), &[]).unwrap_err();
    assert!(matches!(fault, TablesError::Impossible { index: LogIndex(2), .. }), "{fault}");
    assert_eq!(tables.reader().list("", None, 9).unwrap(), before);
    assert_eq!(tables.state().applied, applied(1));
}
