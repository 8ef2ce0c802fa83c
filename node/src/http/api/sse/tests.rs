//! Events as a client's parser sees them.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::types::{Framing, Lengths, Messages};

/// What the standard's parser makes of a stream: (event, data) of each.
fn parse(text: &str) -> Vec<(String, String)> {
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    for block in normal.split("\n\n").filter(|block| !block.is_empty()) {
        let (mut event, mut data) = (String::new(), Vec::new());
        for line in block.split('\n') {
            if let Some(name) = line.strip_prefix("event:") {
                event = name.trim().to_owned();
            } else if let Some(value) = line.strip_prefix("data:") {
                data.push(value.strip_prefix(' ').unwrap_or(value));
            } else {
                assert!(line.starts_with(':'), "{line:?}");
            }
        }
        events.push((event, data.join("\n")));
    }
    events
}

fn segments(texts: &[&str]) -> Vec<Segment> {
    let one = |text: &&str| Segment {
        start: Offset::ZERO,
        messages: Messages::from_parts(
            Framing::Json,
            Lengths::One(u32::try_from(text.len()).unwrap()),
            Bytes::copy_from_slice(text.as_bytes()),
        )
        .unwrap(),
    };
    texts.iter().map(one).collect()
}

fn data(payload: Payload, texts: &[&str]) -> String {
    let mut out = Vec::new();
    write_data(&mut out, payload, &segments(texts));
    String::from_utf8(out).unwrap()
}

#[test]
fn payloads_are_written_by_their_type() {
    for (payload, texts, expected) in [
        (Payload::Text, vec!["line1\nline2"], "event: data\ndata:line1\ndata:line2\n\n"),
        (Payload::Text, vec![" a"], "event: data\ndata:  a\n\n"),
        (Payload::Text, vec!["a\n"], "event: data\ndata:a\ndata:\n\n"),
        (Payload::Text, vec!["a\r", "\nb"], "event: data\ndata:a\ndata:b\n\n"),
        (Payload::Text, vec!["a\r", "b"], "event: data\ndata:a\ndata:b\n\n"),
        (Payload::Json, vec!["1", "{\"a\":\n2}"], "event: data\ndata:[1,{\"a\":\ndata:2}]\n\n"),
        (Payload::Base64, vec!["a", "bc"], "event: data\ndata:YWJj\n\n"),
    ] {
        assert_eq!(data(payload, &texts), expected);
    }
}

#[test]
fn control_events_have_the_form_that_clients_match() {
    let mut out = Vec::new();
    write_control(&mut out, Offset::ZERO, 12, true, false);
    write_control(&mut out, Offset::ZERO, 12, true, true);
    let zero = Offset::ZERO;
    let expected = format!(
        "event: control\ndata:{{\"streamNextOffset\":\"{zero}\",\"streamCursor\":\"12\",\"upToDate\":true}}\n\n\
         event: control\ndata:{{\"streamNextOffset\":\"{zero}\",\"streamClosed\":true,\"upToDate\":true}}\n\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn long_binary_data_joins_to_one_encoding() {
    let text = "x".repeat(10_000);
    let events = parse(&data(Payload::Base64, &[&text]));
    let joined: String = events[0].1.split('\n').collect();
    assert_eq!(STANDARD.decode(joined).unwrap(), text.as_bytes());
}

proptest! {
    #[test]
    fn no_payload_can_forge_an_event(texts in prop::collection::vec("[ab:\r\n ]{1,12}|event: control\r\ndata: x\n\n", 1..5)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let events = parse(&data(Payload::Text, &texts));
        let expected = texts.concat().replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(events, vec![("data".to_owned(), expected)]);
    }
}
