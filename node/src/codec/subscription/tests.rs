//! Facts of subscriptions survive being written and read; anything else is refused, never misread.

use proptest::prelude::*;

use super::*;
use crate::types::{Offset, UnixMillis};

fn names() -> impl Strategy<Value = BTreeSet<StreamName>> {
    proptest::collection::btree_set("[a-c/]{1,4}", 0..4)
        .prop_map(|set| set.iter().map(|text| StreamName::from_bytes(text.as_bytes()).unwrap()).collect())
}

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Idle),
        any::<u128>().prop_map(|wake| Phase::Announced { wake: WakeId(wake) }),
        (any::<u128>(), any::<Option<String>>(), any::<i64>()).prop_map(|(wake, holder, until)| {
            Phase::Leased { wake: WakeId(wake), holder, until: UnixMillis(until) }
        }),
    ]
}

fn definitions() -> impl Strategy<Value = Definition> {
    let delivery = prop_oneof![
        any::<String>().prop_map(|url| Delivery::Webhook { url }),
        Just(Delivery::Pull { wake_stream: StreamName::from_bytes(b"wake/pool").unwrap() }),
    ];
    let glob = proptest::option::of("[a-c*/]{1,8}".prop_map(|text| Glob::parse(&text).unwrap()));
    (delivery, glob, names(), any::<u32>(), any::<Option<String>>(), any::<String>()).prop_map(
        |(delivery, pattern, streams, lease_ms, description, base)| Definition {
            delivery,
            pattern,
            streams,
            lease_ms,
            description,
            base,
        },
    )
}

fn subscriptions() -> impl Strategy<Value = Subscription> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<i64>(), any::<i64>());
    let stage = prop_oneof![Just(Stage::Linking), Just(Stage::Serving), Just(Stage::Removing)];
    (definitions(), phases(), numbers, any::<[u8; 32]>(), stage).prop_map(
        |(definition, phase, (uid, generation, failures, created, retry), config_hash, stage)| Subscription {
            id: SubscriptionId::parse("a/b c").unwrap(),
            uid: SubscriptionUid(uid),
            definition,
            config_hash,
            created_at: UnixMillis(created),
            stage,
            generation,
            phase,
            failures,
            retry_at: UnixMillis(retry),
        },
    )
}

proptest! {
    #[test]
    fn a_subscription_comes_back_as_it_was(subscription in subscriptions()) {
        let raw = subscription_bytes(&subscription);
        for length in 0..raw.len() {
            prop_assert!(get_subscription(&raw[..length]).is_err());
        }
        prop_assert_eq!(get_subscription(&raw), Ok(subscription));
    }

    #[test]
    fn a_share_comes_back_as_it_was(uid: u64, definition in definitions()) {
        let Definition { pattern, streams, .. } = definition;
        let share = Share { uid: SubscriptionUid(uid), pattern, streams };
        prop_assert_eq!(get_share(&share_bytes(&share)), Ok(share));
    }

    #[test]
    fn a_link_comes_back_as_it_was(uid: u64, stream: u64, acked: Option<(u64, u64)>) {
        let acked = acked.map(|(messages, bytes)| Offset { messages, bytes });
        let name = StreamName::from_bytes(b"a/b").unwrap();
        let link = Link { uid: SubscriptionUid(uid), name, acked };
        prop_assert_eq!(get_link(&link_bytes(&link)), Ok(link));
        let id = SubscriptionId::parse("s").unwrap();
        prop_assert_eq!(get_link_key(&link_key(&id, StreamId(stream))), Ok((id, StreamId(stream))));
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw: Vec<u8>) {
        let _ = (get_subscription(&raw), get_share(&raw), get_link(&raw), get_link_key(&raw));
    }
}

/// Persisted: a change here would make facts of older versions unreadable.
#[test]
fn the_bytes_of_version_1_stay_readable() {
    let id = SubscriptionId::parse("s").unwrap();
    assert_eq!(&link_key(&id, StreamId(7))[..], b"\x01s\0\0\0\0\0\0\0\x07");
    let name = StreamName::from_bytes(b"a").unwrap();
    let acked = Some(Offset { messages: 2, bytes: 300 });
    let link = Link { uid: SubscriptionUid(5), name: name.clone(), acked };
    assert_eq!(&link_bytes(&link)[..], b"\x01\x01\x05\x01a\x02\xac\x02");
    let pattern = Some(Glob::parse("*").unwrap());
    let share = Share { uid: SubscriptionUid(5), pattern, streams: BTreeSet::from([name]) };
    assert_eq!(&share_bytes(&share)[..], b"\x01\x01\x05\x01*\x01\x01a");
}
