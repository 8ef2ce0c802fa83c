//! Parsers of HTTP requests.

use thalweg_node::http::api::{ReadQuery, decode_name, parse_instant};
use thalweg_node::http::wire::{ChunkDecoder, Limits, Parsed, parse_head};

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

/// Queries, names in URLs and instants: a value or an error.
pub fn query(bytes: &[u8]) {
    let _ = ReadQuery::parse(Some(bytes));
    let _ = decode_name(bytes);
    let _ = parse_instant(bytes);
}
