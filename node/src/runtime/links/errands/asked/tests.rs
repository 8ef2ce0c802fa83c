//! Every errand reads back as it was, and any bytes are an errand or an error.

use proptest::prelude::*;

use super::*;
use crate::types::{ContentType, Glob, Share};

fn any_name() -> impl Strategy<Value = StreamName> {
    "[a-z/]{1,20}".prop_filter_map("a name", |text| StreamName::from_bytes(text.as_bytes()).ok())
}

fn any_offset() -> impl Strategy<Value = Offset> {
    (any::<u64>(), any::<u64>()).prop_map(|(messages, bytes)| Offset { messages, bytes })
}

fn any_share() -> impl Strategy<Value = Share> {
    let pattern = prop::option::of("[a-z]{1,5}/\\*".prop_map(|text| Glob::parse(&text).unwrap()));
    (any::<u64>(), pattern, prop::collection::btree_set(any_name(), 0..5))
        .prop_map(|(uid, pattern, streams)| Share { uid: SubscriptionUid(uid), pattern, streams })
}

fn any_link() -> impl Strategy<Value = Command> {
    let ask = prop_oneof![
        any_share().prop_map(LinkAsk::Adopt),
        any_name().prop_map(LinkAsk::Link),
        (any::<u64>(), any_name())
            .prop_map(|(stream, name)| LinkAsk::Unlink { stream: StreamId(stream), name }),
        (any::<u64>(), any_name(), any_offset()).prop_map(|(uid, name, offset)| LinkAsk::Ack {
            uid: SubscriptionUid(uid),
            name,
            offset
        }),
    ];
    ("[a-z]{1,9}", ask).prop_map(|(id, ask)| {
        Command::Link(Box::new(LinkCommand { id: SubscriptionId::parse(&id).unwrap(), ask }))
    })
}

fn any_event() -> impl Strategy<Value = Command> {
    (any_name(), prop::collection::vec("[0-9]{1,9}", 1..4), any::<bool>()).prop_map(|(name, parts, json)| {
        let (framing, joint) = if json { (Framing::Json, ",") } else { (Framing::Plain, "") };
        let lengths: Vec<u32> = parts.iter().map(|part| u32::try_from(part.len()).unwrap()).collect();
        let wire = Bytes::from(parts.join(joint));
        let messages = Messages::from_parts(framing, Lengths::Many(lengths.into()), wire).unwrap();
        Command::Append(Append {
            name,
            content_type: ContentType::parse(if json { "application/json" } else { "text/plain" }),
            body: Ok(Some(messages)),
            close: false,
            producer: None,
            seq: None,
            if_match: None,
        })
    })
}

fn any_errand() -> impl Strategy<Value = Command> {
    prop_oneof![
        (any_name(), any_name(), prop::option::of(any_offset()), any::<u64>()).prop_map(
            |(source, fork, offset, pin)| Command::Pin(Pin { source, fork, offset, pin: PinId(pin) })
        ),
        (any::<u64>(), any::<u64>())
            .prop_map(|(stream, pin)| Command::Unpin { stream: StreamId(stream), pin: PinId(pin) }),
        any_link(),
        (any::<Vec<u8>>(), any::<Vec<u8>>())
            .prop_map(|(key, value)| Command::Secret { key: key.into(), value: value.into() }),
        any_event(),
    ]
}

proptest! {
    #[test]
    fn errands_round_trip(command in any_errand()) {
        let read = read_errand(&errand_bytes(&command).unwrap());
        let Ok(Asked::Command(read)) = read else { panic!("{read:?}") };
        prop_assert_eq!(format!("{read:?}"), format!("{command:?}"));
    }

    #[test]
    fn any_bytes_are_an_errand_or_an_error(kind in 0..12u8, bytes: Vec<u8>) {
        let bytes = Bytes::from([&[kind], &bytes[..]].concat());
        if let Ok(Asked::Command(command)) = read_errand(&bytes) {
            prop_assert!(errand_bytes(&command).is_some());
        }
    }

    #[test]
    fn a_changed_errand_is_an_errand_or_an_error(command in any_errand(), at: usize, change in 1..=255u8) {
        let mut bytes = errand_bytes(&command).unwrap().to_vec();
        let place = at % bytes.len();
        bytes[place] ^= change;
        let _ = read_errand(&bytes.into());
    }

    #[test]
    fn reads_that_renew_windows_round_trip(streams in prop::collection::vec(any::<u64>().prop_map(StreamId), 0..300)) {
        let read = read_errand(&touched_bytes(&streams));
        let Ok(Asked::Touched(read)) = read else { panic!("{read:?}") };
        prop_assert_eq!(read, streams);
    }
}

#[test]
fn what_only_clients_ask_cannot_be_said() {
    let name = StreamName::from_bytes(b"s").unwrap();
    assert!(errand_bytes(&Command::Delete(name.clone())).is_none());
    let closing = Append {
        name,
        content_type: ContentType::parse("text/plain"),
        body: Ok(Messages::single(Bytes::from_static(b"x"))),
        close: true,
        producer: None,
        seq: None,
        if_match: None,
    };
    assert!(errand_bytes(&Command::Append(closing)).is_none(), "an event closes nothing");
}
