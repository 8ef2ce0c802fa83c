//! Batches as clients receive them.

use std::sync::Arc;

use super::*;
use crate::runtime::StreamState;
use crate::types::{ContentType, Incarnation, Lengths, Messages, Offset};

fn segment(framing: Framing, text: &str) -> Segment {
    let lengths = Lengths::One(u32::try_from(text.len()).unwrap());
    let messages = Messages::from_parts(framing, lengths, Bytes::copy_from_slice(text.as_bytes())).unwrap();
    Segment { start: Offset::ZERO, messages }
}

fn batch(content_type: &str, texts: &[&str], tail: u64, closed: bool) -> ReadBatch {
    let content_type = ContentType::parse(content_type).unwrap();
    let framing = if content_type.is_json() { Framing::Json } else { Framing::Plain };
    let config = StreamConfig { content_type, ..StreamConfig::default() };
    let bytes = texts.iter().map(|text| text.len() as u64).sum();
    ReadBatch {
        state: StreamState {
            incarnation: Incarnation(1),
            config: Arc::new(config),
            earliest: Offset::ZERO,
            tail: Offset { messages: tail, bytes },
            closed,
        },
        start: Offset::ZERO,
        next: Offset { messages: texts.len() as u64, bytes },
        segments: texts.iter().map(|text| segment(framing, text)).collect(),
    }
}

/// A batch of one message, for the tests of the live modes.
pub(crate) fn one_message() -> ReadBatch {
    batch("text/plain", &["a"], 1, false)
}

fn joined(body: &Body<Sse>) -> String {
    let bytes = match body {
        Body::Full(bytes) => bytes.to_vec(),
        Body::Parts { parts, .. } => parts.concat(),
        _ => panic!("no bytes"),
    };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn segments_become_one_body_whatever_their_sizes() {
    let large = "x".repeat(5000);
    let quoted = format!("\"{large}\"");
    for (content_type, texts, expected) in [
        ("text/plain", vec![], String::new()),
        ("text/plain", vec!["a", "b"], "ab".to_owned()),
        ("text/plain", vec!["a", &large, "b"], format!("a{large}b")),
        ("application/json", vec![], "[]".to_owned()),
        ("application/json", vec!["1", "2"], "[1,2]".to_owned()),
        ("application/json", vec!["1", &quoted, &quoted, "2"], format!("[1,{quoted},{quoted},2]")),
    ] {
        let batch = batch(content_type, &texts, texts.len() as u64, false);
        let body = compose(framing(&batch), batch.segments, Grant::default());
        assert_eq!(joined(&body), expected);
    }
}

#[test]
fn large_segments_are_not_copied() {
    let large = "x".repeat(5000);
    let batch = batch("text/plain", &["a", &large, "b"], 3, false);
    let wire = batch.segments[1].messages.wire().clone();
    let Body::Parts { parts, .. } = compose(Framing::Plain, batch.segments, Grant::default()) else {
        panic!()
    };
    assert_eq!((parts.len(), parts[1].as_ptr()), (3, wire.as_ptr()));
}

#[test]
fn answers_say_how_far_they_reach() {
    for (tail, closed, up_to_date, says_closed, max_age) in [
        (1, false, true, false, 60),
        (2, false, false, false, 3600),
        (1, true, true, true, 3600),
        (2, true, false, false, 3600),
    ] {
        let mut out = ResponseHead::for_test();
        write_batch(
            &mut out,
            batch("text/plain", &["a"], tail, closed),
            ReadFrom::Start,
            None,
            Grant::default(),
        );
        let text = out.text();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"), "{text}");
        assert_eq!(text.contains("Stream-Up-To-Date: true\r\n"), up_to_date, "{text}");
        assert_eq!(text.contains("Stream-Closed: true\r\n"), says_closed, "{text}");
        assert!(text.contains(&format!("Cache-Control: public, max-age={max_age}, ")), "{text}");
    }
}

#[test]
fn a_stream_that_may_end_by_itself_is_not_cached_for_long() {
    let mut partial = batch("text/plain", &["a"], 2, false);
    partial.state.config =
        Arc::new(StreamConfig { lifetime: Lifetime::Sliding(5), ..StreamConfig::default() });
    assert!(cache_control(&partial).contains("max-age=60,"));
}

#[test]
fn an_unchanged_answer_is_304_with_tag_and_cache_headers() {
    let answer = |header: Option<&[u8]>| {
        let mut out = ResponseHead::for_test();
        let body = write_batch(
            &mut out,
            batch("text/plain", &["a"], 1, false),
            ReadFrom::Start,
            header,
            Grant::default(),
        );
        (out.text().to_owned(), matches!(body, Body::Absent))
    };
    let (full, _) = answer(None);
    let tag = full.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
    let (text, absent) = answer(Some(tag.as_bytes()));
    assert!(text.starts_with("HTTP/1.1 304 Not Modified\r\n") && absent);
    assert!(text.contains(&format!("ETag: {tag}\r\n")) && text.contains("Cache-Control: public"));
    assert!(answer(Some(b"\"other\"")).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn the_tail_itself_is_never_cached() {
    let mut out = ResponseHead::for_test();
    let body = write_batch(
        &mut out,
        batch("application/json", &[], 0, false),
        ReadFrom::Now,
        Some(b"*"),
        Grant::default(),
    );
    assert_eq!(joined(&body), "[]");
    assert!(out.text().contains("Cache-Control: no-store\r\n") && !out.text().contains("ETag"));
}
