//! Every answer reads back as it was, and any bytes are an answer or an error.

use proptest::prelude::*;

use super::*;
use crate::types::{
    ContentType, Link, Offset, PinId, StreamConfig, StreamMeta, StreamName, SubscriptionUid, UnixMillis,
};

fn any_offset() -> impl Strategy<Value = Offset> {
    (any::<u64>(), any::<u64>()).prop_map(|(messages, bytes)| Offset { messages, bytes })
}

fn any_parent() -> impl Strategy<Value = Option<Parent>> {
    let parent = (any::<u16>(), any::<u64>(), any_offset(), any::<u64>(), any::<u32>());
    prop::option::of(parent.prop_map(|(shard, stream, upto, pin, depth)| Parent {
        shard: ShardId(shard),
        stream: StreamId(stream),
        upto,
        pin: PinId(pin),
        depth,
    }))
}

fn name() -> StreamName {
    StreamName::from_bytes(b"source").unwrap()
}

fn any_meta() -> impl Strategy<Value = Box<StreamMeta>> {
    (any::<u64>(), any_offset(), any_parent(), any::<bool>(), any::<u32>()).prop_map(
        |(id, tail, parent, closed, pins)| {
            Box::new(StreamMeta {
                id: StreamId(id),
                name: name(),
                config: StreamConfig::default(),
                created_at: UnixMillis(-1),
                touched_at: UnixMillis(7),
                base: Offset::ZERO,
                earliest: Offset::ZERO,
                tail,
                closed,
                closed_by: None,
                last_seq: None,
                parent,
                pins,
                retired: false,
            })
        },
    )
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let link = (any::<u64>(), prop::option::of(any_offset()));
    let link = link.prop_map(|(uid, acked)| Link { uid: SubscriptionUid(uid), name: name(), acked });
    let append_error = prop_oneof![
        Just(AppendError::NotFound),
        Just(AppendError::Gone),
        any_offset().prop_map(|tail| AppendError::Closed { tail }),
        Just(AppendError::ContentType { expected: ContentType::parse("text/plain").unwrap() }),
        any::<u64>().prop_map(|limit| AppendError::StreamFull { limit }),
    ];
    prop_oneof![
        (any_meta(), any_offset()).prop_map(|(meta, upto)| Reply::Pin(Ok(Pinned { meta, upto }))),
        prop::sample::select(PIN_ERRORS.to_vec()).prop_map(|error| Reply::Pin(Err(error))),
        any_parent().prop_map(Reply::Released),
        prop::option::of(link).prop_map(|link| Reply::Link(Ok(link))),
        prop::sample::select(LINK_ERRORS.to_vec()).prop_map(|error| Reply::Link(Err(error))),
        any::<Vec<u8>>().prop_map(|value| Reply::Secret(value.into())),
        (any::<u64>(), any_offset(), any::<bool>()).prop_map(|(stream, tail, closed)| {
            let (producer, duplicate, data) = (None, false, true);
            Reply::Append(Ok(Appended { stream: StreamId(stream), tail, closed, producer, duplicate, data }))
        }),
        append_error.prop_map(|error| Reply::Append(Err(error))),
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    (any::<u16>().prop_map(ShardId), any::<u32>(), ".{0,20}", 0..15usize).prop_map(
        |(shard, limit, reason, at)| {
            let all = [
                Failure::DiskFull,
                Failure::NodeFull { limit: limit.into() },
                Failure::LinksFull { limit: limit as usize },
                Failure::Overloaded,
                Failure::ShuttingDown,
                Failure::ShardDamaged { shard, reason: reason.as_str().into() },
                Failure::ShardReopening { shard, reason: reason.as_str().into() },
                Failure::ShardBusy { shard },
                Failure::Corrupt,
                Failure::NotLeader { shard },
                Failure::NoLeader { shard },
                Failure::LeaderLost,
                Failure::LogFailed,
                Failure::Ahead { shard },
                Failure::Unreplicated { shard },
            ];
            all[at].clone()
        },
    )
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => (any_reply(), any_parent()).prop_map(|(reply, released)| Ok(Answered { reply, released })),
        1 => any_failure().prop_map(Err),
    ]
}

proptest! {
    #[test]
    fn answers_round_trip(answer in any_answer(), visible: u64) {
        let read = read_answer(&answer_bytes(&answer, LogIndex(visible)).unwrap());
        prop_assert_eq!(read, Ok((answer, LogIndex(visible))));
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(kind in 0..12u8, bytes: Vec<u8>) {
        let bytes = Bytes::from([&[9, kind], &bytes[..]].concat());
        if let Ok((answer, visible)) = read_answer(&bytes) {
            prop_assert!(answer_bytes(&answer, visible).is_some());
        }
    }

    #[test]
    fn a_changed_answer_is_an_answer_or_an_error(answer in any_answer(), at: usize, change in 1..=255u8) {
        let mut bytes = answer_bytes(&answer, LogIndex(3)).unwrap().to_vec();
        let place = at % bytes.len();
        bytes[place] ^= change;
        let _ = read_answer(&bytes.into());
    }
}
