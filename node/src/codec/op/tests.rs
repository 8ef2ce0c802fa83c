//! What the payload codec promises: exact round trips, total decoding, a layout that stays.

use std::sync::Arc;

use super::*;
use crate::types::{
    ContentType, ForkOrigin, Lifetime, Parent, PinOp, ProducerId, ProducerStamp, ProducerState, Retention,
    ShardId, StreamConfig, StreamMeta, StreamName, StreamSeq, UnixMillis,
};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = StreamName> {
    "[a-z/{}ä]{1,40}".prop_map(|text| StreamName::from_bytes(text.as_bytes()).unwrap())
}

fn offset() -> impl Strategy<Value = Offset> {
    (0u64..1 << 60, 0u64..1 << 60).prop_map(|(messages, bytes)| Offset { messages, bytes })
}

fn blob(bytes_min: usize, bytes_max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), bytes_min..bytes_max).prop_map(Bytes::from)
}

fn stamp() -> impl Strategy<Value = ProducerStamp> {
    (blob(1, 257), any::<u64>(), any::<u64>()).prop_map(|(id, epoch, seq)| ProducerStamp {
        id: ProducerId(id),
        state: ProducerState { epoch, seq },
    })
}

fn seq() -> impl Strategy<Value = Option<StreamSeq>> {
    prop::option::of(blob(0, 257).prop_map(StreamSeq))
}

fn config() -> impl Strategy<Value = StreamConfig> {
    let kind = prop_oneof![Just("application/json; charset=utf-8"), Just("text/plain")];
    let lifetime = prop_oneof![
        Just(Lifetime::Forever),
        any::<u64>().prop_map(Lifetime::Sliding),
        any::<i64>().prop_map(|at| Lifetime::Until(UnixMillis(at))),
    ];
    let kept = || prop::option::of(any::<u64>());
    let fork = prop::option::of((name(), offset(), any::<u64>()));
    (kind, lifetime, (kept(), kept(), kept()), fork).prop_map(|(kind, lifetime, kept, fork)| StreamConfig {
        content_type: ContentType::parse(kind).unwrap(),
        lifetime,
        retention: Retention { seconds: kept.0, bytes: kept.1, messages: kept.2 },
        fork: fork.map(|(source, offset, sub_offset)| ForkOrigin { source, offset, sub_offset }),
    })
}

fn meta() -> impl Strategy<Value = StreamMeta> {
    let parent = (any::<u16>(), any::<u64>(), offset(), any::<u64>(), any::<u32>()).prop_map(
        |(shard, stream, upto, pin, depth)| Parent {
            shard: ShardId(shard),
            stream: StreamId(stream),
            upto,
            pin: PinId(pin),
            depth,
        },
    );
    let state = (
        any::<bool>(),
        prop::option::of(stamp()),
        seq(),
        prop::option::of(parent),
        any::<u32>(),
        any::<bool>(),
    );
    (any::<u64>(), name(), config(), any::<(i64, i64)>(), (offset(), offset(), offset()), state).prop_map(
        |(id, name, config, times, offsets, state)| StreamMeta {
            id: StreamId(id),
            name,
            config,
            created_at: UnixMillis(times.0),
            touched_at: UnixMillis(times.1),
            base: offsets.0,
            earliest: offsets.1,
            tail: offsets.2,
            closed: state.0,
            closed_by: state.1,
            last_seq: state.2,
            parent: state.3,
            pins: state.4,
            retired: state.5,
        },
    )
}

fn messages() -> impl Strategy<Value = Messages> {
    (prop::collection::vec(blob(0, 90), 0..20), any::<bool>()).prop_map(|(parts, json)| {
        let framing = if json { Framing::Json } else { Framing::Plain };
        let lengths: Arc<[u32]> = parts.iter().map(|part| u32::try_from(part.len()).unwrap()).collect();
        let wire = parts.join(&b","[..framing.separator_len()]);
        let lengths = if let [one] = lengths[..] { Lengths::One(one) } else { Lengths::Many(lengths) };
        Messages::from_parts(framing, lengths, wire.into()).unwrap()
    })
}

fn op() -> impl Strategy<Value = Op> {
    let stream = || any::<u64>().prop_map(StreamId);
    let space = || (1u8..5).prop_map(|number| space_of(number).unwrap());
    let append =
        (stream(), offset(), messages(), any::<bool>(), prop::option::of(stamp()), seq(), any::<i64>())
            .prop_map(|(stream, start, messages, close, producer, seq, at)| {
                Op::Append(AppendOp { stream, start, messages, close, producer, seq, at: UnixMillis(at) })
            });
    let pin =
        (stream(), any::<u64>(), name(), offset(), any::<i64>()).prop_map(|(stream, pin, fork, upto, at)| {
            Op::Pin(PinOp { stream, pin: PinId(pin), fork, upto, at: UnixMillis(at) })
        });
    prop_oneof![
        meta().prop_map(|meta| Op::Create(Box::new(meta))),
        append,
        stream().prop_map(|stream| Op::Delete { stream }),
        stream().prop_map(|stream| Op::Retire { stream }),
        pin,
        (stream(), any::<u64>()).prop_map(|(stream, pin)| Op::Unpin { stream, pin: PinId(pin) }),
        (stream(), offset()).prop_map(|(stream, earliest)| Op::Trim { stream, earliest }),
        (stream(), any::<i64>()).prop_map(|(stream, at)| Op::Touch { stream, at: UnixMillis(at) }),
        (space(), blob(0, 50), blob(0, 50)).prop_map(|(space, key, value)| Op::Put { space, key, value }),
        (space(), blob(0, 50)).prop_map(|(space, key)| Op::Erase { space, key }),
    ]
}

fn encoded(ops: &[Op]) -> (Bytes, Vec<Range<usize>>) {
    let (mut out, mut wires) = (Vec::new(), Vec::new());
    encode_ops(ops, &mut out, &mut wires);
    (out.into(), wires)
}

/// Content types compare by media type only; their text must survive as well.
fn texts(ops: &[Op]) -> Vec<String> {
    ops.iter().map(|op| format!("{op:?}")).collect()
}

proptest! {
    #[test]
    fn ops_round_trip_and_share_the_records_bytes(ops in prop::collection::vec(op(), 0..6)) {
        let (payload, wires) = encoded(&ops);
        let decoded = decode_ops(&payload).unwrap();
        prop_assert_eq!(&decoded, &ops);
        prop_assert_eq!(texts(&decoded), texts(&ops));
        let appends: Vec<&AppendOp> =
            decoded.iter().filter_map(|op| if let Op::Append(append) = op { Some(append) } else { None }).collect();
        prop_assert_eq!(appends.len(), wires.len());
        for (append, wire) in appends.iter().zip(wires) {
            let part = &payload[wire];
            prop_assert_eq!(part, &append.messages.wire()[..]);
            prop_assert!(part.is_empty() || part.as_ptr() == append.messages.wire().as_ptr());
        }
    }

    #[test]
    fn any_bytes_give_ops_or_an_error(mut raw: Vec<u8>) {
        if let Some(first) = raw.first_mut() {
            *first = OPS_VERSION;
        }
        if let Ok(ops) = decode_ops(&raw.into()) {
            let again = encoded(&ops).0;
            prop_assert_eq!(decode_ops(&again), Ok(ops));
        }
    }

    #[test]
    fn a_changed_or_cut_payload_gives_ops_or_an_error(
        ops in prop::collection::vec(op(), 1..3), at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index,
    ) {
        let payload = encoded(&ops).0;
        let mut raw = payload.to_vec();
        raw[at.index(payload.len())] ^= 1 << bit;
        let _ = decode_ops(&raw.into());
        prop_assert!(decode_ops(&payload.slice(..cut.index(payload.len()))).is_err());
    }
}

#[test]
fn another_version_is_refused() {
    let found = decode_ops(&Bytes::from_static(&[2, 0]));
    assert_eq!(found, Err(CodecError::Version { what: "a record's payload", found: 2 }));
}

fn golden_ops() -> Vec<Op> {
    let name = |text: &str| StreamName::from_bytes(text.as_bytes()).unwrap();
    let (stream, at) = (StreamId(300), UnixMillis(1_790_000_000_123));
    let start = Offset { messages: 5, bytes: 1000 };
    let stamp = ProducerStamp {
        id: ProducerId(Bytes::from_static(b"writer-1")),
        state: ProducerState { epoch: 2, seq: 77 },
    };
    let meta = StreamMeta {
        id: stream,
        name: name("orders/{eu-7}/events"),
        config: StreamConfig {
            content_type: ContentType::parse("application/json").unwrap(),
            lifetime: Lifetime::Sliding(3600),
            retention: Retention { seconds: Some(9), bytes: None, messages: Some(1000) },
            fork: Some(ForkOrigin { source: name("orders/all"), offset: start, sub_offset: 2 }),
        },
        created_at: at,
        touched_at: at.plus(1),
        base: start,
        earliest: Offset::ZERO,
        tail: start,
        closed: true,
        closed_by: Some(stamp.clone()),
        last_seq: Some(StreamSeq(Bytes::from_static(b"s9"))),
        parent: Some(Parent {
            shard: ShardId(3),
            stream: StreamId(7),
            upto: start,
            pin: PinId(0xfeed),
            depth: 1,
        }),
        pins: 4,
        retired: true,
    };
    let lengths = Lengths::Many([1u32, 3].into());
    let two = Messages::from_parts(Framing::Json, lengths, Bytes::from_static(b"1,[2]")).unwrap();
    let one = Messages::single(Bytes::from_static(b"hello")).unwrap();
    let append = |messages, close, producer, seq| {
        Op::Append(AppendOp { stream, start, messages, close, producer, seq, at })
    };
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    vec![
        Op::Create(Box::new(meta)),
        append(one, false, None, None),
        append(two, true, Some(stamp), Some(StreamSeq(Bytes::from_static(b"t")))),
        append(Messages::none(Framing::Plain), true, None, None),
        Op::Delete { stream },
        Op::Retire { stream },
        Op::Pin(PinOp { stream, pin: PinId(1), fork: name("fork"), upto: start, at }),
        Op::Unpin { stream, pin: PinId(1) },
        Op::Trim { stream, earliest: start },
        Op::Touch { stream, at },
        Op::Put { space: Space::Link, key: key.clone(), value },
        Op::Erase { space: Space::Secret, key },
    ]
}

/// The released layout, byte by byte. A change here would make existing logs unreadable.
#[test]
fn the_golden_payload_of_version_1_reads_and_is_written_the_same() {
    let golden: String = include_str!("../golden/ops-v1.hex").split_whitespace().collect();
    let written: String = encoded(&golden_ops()).0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, golden);
}

#[test]
fn a_small_append_costs_few_bytes_beside_its_message() {
    let append = AppendOp {
        stream: StreamId(1_000_000),
        start: Offset { messages: 1_000_000, bytes: 100_000_000 },
        messages: Messages::single(vec![7; 100].into()).unwrap(),
        close: false,
        producer: None,
        seq: None,
        at: UnixMillis(1_790_000_000_123),
    };
    let length = encoded(&[Op::Append(append)]).0.len();
    assert!(length <= 125, "{length}");
}
