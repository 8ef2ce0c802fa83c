//! Parsers of HTTP requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use thalweg_node::codec::json::split;
use thalweg_node::http::api::{LiveMode, ReadQuery, SsePayload, decode_name, parse_instant, write_sse_data};
use thalweg_node::http::wire::{ChunkDecoder, Limits, Parsed, parse_head};
use thalweg_node::types::{Messages, Offset, Segment};

/// Heads: one that is whole ends where it says, whatever follows, and none of its beginnings is whole.
pub fn http_head(bytes: &[u8]) {
    let limits = Limits::default();
    let whole = |part: &[u8]| match parse_head(part, &limits) {
        Ok(Parsed::Complete(head)) => Some((head.length, head.framing, head.keep_alive)),
        Ok(Parsed::Partial) | Err(_) => None,
    };
    let Some(found) = whole(bytes) else { return };
    let (head, _) = bytes.split_at_checked(found.0).unwrap_or_default();
    assert_eq!(whole(head), Some(found), "what follows a head must not change it");
    for length in [found.0 / 2, found.0.saturating_sub(1)] {
        assert_eq!(head.get(..length).and_then(whole), None, "the beginning of a head is no head");
    }
}

/// Chunked bodies: however the bytes arrive, the payload and the verdict are the same.
pub fn chunked(bytes: &[u8]) {
    assert_eq!(decode(bytes, bytes.len()), decode(bytes, 1), "arrival in pieces must not change a body");
}

/// The payload and whether the body ended, when the bytes arrive in pieces of this length; nothing if they are refused.
fn decode(bytes: &[u8], piece: usize) -> Option<(Vec<u8>, bool)> {
    let mut decoder = ChunkDecoder::new(1 << 20);
    let mut payload = Vec::new();
    for mut input in bytes.chunks(piece.max(1)) {
        while !input.is_empty() {
            let progress = decoder.feed(input).ok()?;
            payload.extend_from_slice(input.get(progress.data).unwrap_or_default());
            if progress.done {
                return Some((payload, true));
            }
            assert!(progress.consumed > 0, "a decoder that is not done takes its input");
            input = input.get(progress.consumed..).unwrap_or_default();
        }
    }
    Some((payload, false))
}

/// Queries (offset, live, cursor), names in URLs and instants: a value or an error.
pub fn query(bytes: &[u8]) {
    if let Ok(query) = ReadQuery::parse(Some(bytes)) {
        assert!(query.live == LiveMode::None || query.from.is_some(), "a live read says from where");
        assert!(query.cursor.is_none_or(|cursor| cursor < 1 << 53), "a cursor can be counted up");
    }
    let _ = decode_name(bytes);
    let _ = parse_instant(bytes);
}

/// Payloads as events: whatever they hold, a reader of the standard sees one data event with exactly them.
pub fn sse(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let kind = [SsePayload::Text, SsePayload::Base64, SsePayload::Json][usize::from(kind % 3)];
    let Some(messages) =
        rest.split(|&byte| byte == 0).map(|part| message(kind, part)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut start = Offset::ZERO;
    let mut segments = Vec::new();
    for messages in messages {
        segments.push(Segment { start, messages: messages.clone() });
        start = messages.end(start);
    }
    let mut out = Vec::new();
    write_sse_data(&mut out, kind, &segments);
    let data = only_event(&out);
    let wires: Vec<&[u8]> = segments.iter().map(|segment| segment.messages.wire().as_ref()).collect();
    match kind {
        SsePayload::Text => assert_eq!(data, one_kind_of_break(&wires.concat()), "the text has changed"),
        SsePayload::Json => {
            let sent = [b"[".as_slice(), &wires.join(b",".as_slice()), b"]"].concat();
            assert_eq!(data, one_kind_of_break(&sent), "the array has changed");
        }
        SsePayload::Base64 => {
            let text: Vec<u8> = data.into_iter().filter(|&byte| byte != b'\n').collect();
            assert_eq!(STANDARD.decode(text).ok(), Some(wires.concat()), "the bytes have changed");
        }
    }
}

fn message(kind: SsePayload, part: &[u8]) -> Option<Messages> {
    let part = Bytes::copy_from_slice(part);
    match kind {
        SsePayload::Json => split(&part).ok().filter(|messages| messages.count() > 0),
        SsePayload::Text | SsePayload::Base64 => Messages::single(part).filter(|one| one.payload_bytes() > 0),
    }
}

/// Every line break as a reader reports it.
fn one_kind_of_break(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut after_return = false;
    for &byte in text {
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => out.push(b'\n'),
            other => out.push(other),
        }
        after_return = byte == b'\r';
    }
    out
}

/// The data of the only event, read as the standard of server-sent events says.
fn only_event(raw: &[u8]) -> Vec<u8> {
    let text = one_kind_of_break(raw);
    let body = text.strip_suffix(b"\n\n").unwrap_or_default();
    let mut lines = body.split(|&byte| byte == b'\n');
    assert_eq!(lines.next(), Some(b"event: data".as_slice()), "it begins with its kind");
    let data = lines.map(|line| {
        assert!(line.starts_with(b"data:"), "a forged line: {line:?}");
        let value = line.get(5..).unwrap_or_default();
        value.strip_prefix(b" ").unwrap_or(value)
    });
    data.collect::<Vec<_>>().join(&b'\n')
}
