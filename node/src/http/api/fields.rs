//! Header values, checked once where they come in. All functions are total over any bytes.

use bytes::Bytes;

use super::errors::Rejection;
use super::instant::parse_instant;
use super::query::decimal;
use crate::http::wire::{Field, Request};
use crate::types::limits::{PRODUCER_ID_BYTES_MAX, PRODUCER_NUMBER_MAX, STREAM_SEQ_BYTES_MAX};
use crate::types::{
    ContentType, Lifetime, Offset, ProducerId, ProducerStamp, ProducerState, Retention, StreamSeq, UnixMillis,
};

/// `Content-Type`, if one is named.
pub(super) fn content_type(request: &Request<'_>) -> Result<Option<ContentType>, Rejection> {
    let Some(value) = request.field(Field::ContentType).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    std::str::from_utf8(value).ok().and_then(ContentType::parse).map(Some).ok_or_else(|| {
        Rejection::header("Content-Type is type/subtype, parameters allowed, at most 256 bytes")
    })
}

/// `Stream-Closed: true`; every other value counts as absent.
pub(super) fn closed(request: &Request<'_>) -> bool {
    request.field(Field::StreamClosed).is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
}

/// A coded body would be stored as it is and be read by clients that know nothing of the coding: refused.
pub(super) fn no_coding(request: &Request<'_>) -> Result<(), Rejection> {
    match request.field(Field::ContentEncoding) {
        Some(coding) if !coding.eq_ignore_ascii_case(b"identity") => Err(Rejection::coding()),
        _ => Ok(()),
    }
}

/// `Stream-TTL` or `Stream-Expires-At`.
pub(super) fn lifetime(request: &Request<'_>, now: UnixMillis) -> Result<Lifetime, Rejection> {
    match (request.field(Field::StreamTtl), request.field(Field::StreamExpiresAt)) {
        (None, None) => Ok(Lifetime::Forever),
        (Some(_), Some(_)) => Err(Rejection::header("Stream-TTL and Stream-Expires-At exclude each other")),
        (Some(ttl), None) => canonical_number(ttl).map(Lifetime::Sliding).ok_or_else(|| {
            Rejection::header("Stream-TTL is a number of seconds without sign or leading zero")
        }),
        (None, Some(instant)) => match parse_instant(instant) {
            Some(at) if at > now => Ok(Lifetime::Until(at)),
            Some(_) => Err(Rejection::header("Stream-Expires-At lies in the past")),
            None => Err(Rejection::header("Stream-Expires-At is an RFC 3339 instant")),
        },
    }
}

/// `0|[1-9][0-9]*`. Too large a number saturates: no lifetime is too long.
pub(super) fn canonical_number(value: &[u8]) -> Option<u64> {
    if value.len() > 1 && value.starts_with(b"0") { None } else { decimal(value) }
}

/// `Stream-Retain-Seconds`, `-Bytes`, `-Messages`.
pub(super) fn retention(request: &Request<'_>) -> Result<Retention, Rejection> {
    let bound = |field: Field| match request.field(field).map(canonical_number) {
        None => Ok(None),
        Some(Some(bound)) if bound > 0 => Ok(Some(bound)),
        Some(_) => {
            Err(Rejection::header(format!("{} is a number above 0 without leading zero", field.name())))
        }
    };
    Ok(Retention {
        seconds: bound(Field::RetainSeconds)?,
        bytes: bound(Field::RetainBytes)?,
        messages: bound(Field::RetainMessages)?,
    })
}

/// `Producer-Id`, `Producer-Epoch` and `Producer-Seq`: all or none.
pub(super) fn producer(request: &Request<'_>) -> Result<Option<ProducerStamp>, Rejection> {
    let fields = (
        request.field(Field::ProducerId),
        request.field(Field::ProducerEpoch),
        request.field(Field::ProducerSeq),
    );
    let (id, epoch, seq) = match fields {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        _ => return Err(Rejection::header("Producer-Id, Producer-Epoch and Producer-Seq come together")),
    };
    if id.is_empty() || id.len() > PRODUCER_ID_BYTES_MAX {
        return Err(Rejection::header(format!("Producer-Id has 1 to {PRODUCER_ID_BYTES_MAX} bytes")));
    }
    let number = |value: &[u8]| decimal(value).filter(|&number| number <= PRODUCER_NUMBER_MAX);
    match (number(epoch), number(seq)) {
        (Some(epoch), Some(seq)) => Ok(Some(ProducerStamp {
            id: ProducerId(Bytes::copy_from_slice(id)),
            state: ProducerState { epoch, seq },
        })),
        _ => Err(Rejection::header("Producer-Epoch and Producer-Seq are numbers from 0 to 2^53 - 1")),
    }
}

/// `Stream-Seq`.
pub(super) fn stream_seq(request: &Request<'_>) -> Result<Option<StreamSeq>, Rejection> {
    match request.field(Field::StreamSeq) {
        None => Ok(None),
        Some(value) if !value.is_empty() && value.len() <= STREAM_SEQ_BYTES_MAX => {
            Ok(Some(StreamSeq(Bytes::copy_from_slice(value))))
        }
        Some(_) => Err(Rejection::header(format!("Stream-Seq has 1 to {STREAM_SEQ_BYTES_MAX} bytes"))),
    }
}

/// `If-Match`: the expected tail, quoted or bare. `*` matches every stream that exists.
pub(super) fn if_match(request: &Request<'_>) -> Result<Option<Offset>, Rejection> {
    match request.field(Field::IfMatch) {
        None | Some(b"*") => Ok(None),
        Some(value) => {
            let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
            offset(bare).map(Some).ok_or_else(|| {
                Rejection::header("If-Match is one value of Stream-Next-Offset, with or without quotes")
            })
        }
    }
}

/// An offset in a header.
pub(super) fn offset(value: &[u8]) -> Option<Offset> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::{Limits, Parsed, parse_head};

    fn with<T>(headers: &str, check: impl FnOnce(&Request<'_>) -> T) -> T {
        let raw = format!("POST /v1/stream/a HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let Ok(Parsed::Complete(head)) = parse_head(raw.as_bytes(), &Limits::default()) else {
            panic!("{raw}")
        };
        check(&Request { head: &head, bytes: raw.as_bytes(), body: Bytes::new() })
    }

    #[test]
    fn lifetimes_have_one_spelling() {
        let now = |request: &Request<'_>| lifetime(request, UnixMillis(0));
        for (headers, expected) in [
            ("", Lifetime::Forever),
            ("Stream-TTL: 0\r\n", Lifetime::Sliding(0)),
            ("stream-ttl: 3600\r\n", Lifetime::Sliding(3600)),
            ("Stream-TTL: 99999999999999999999999\r\n", Lifetime::Sliding(u64::MAX)),
            ("Stream-Expires-At: 1970-01-01T00:00:01Z\r\n", Lifetime::Until(UnixMillis(1000))),
        ] {
            assert_eq!(with(headers, now), Ok(expected), "{headers}");
        }
        for bad in ["", "+1", "01", "1.0", "1e3", "-1", "abc", "1 2", "0x1"] {
            assert!(with(&format!("Stream-TTL: {bad}\r\n"), now).is_err(), "{bad}");
        }
        assert!(with("Stream-Expires-At: tomorrow\r\n", now).is_err());
        assert!(with("Stream-TTL: 1\r\nStream-Expires-At: 2030-01-01T00:00:00Z\r\n", now).is_err());
    }

    #[test]
    fn producer_headers_come_together_and_are_plain_numbers() {
        let stamp =
            with("Producer-Id: p\r\nProducer-Epoch: 2\r\nProducer-Seq: 9007199254740991\r\n", producer);
        let state = ProducerState { epoch: 2, seq: PRODUCER_NUMBER_MAX };
        assert_eq!(stamp, Ok(Some(ProducerStamp { id: ProducerId(Bytes::from_static(b"p")), state })));
        assert_eq!(with("", producer), Ok(None));
        for bad in [
            "Producer-Id: p\r\n",
            "Producer-Id: p\r\nProducer-Epoch: 0\r\n",
            "Producer-Epoch: 0\r\nProducer-Seq: 0\r\n",
            "Producer-Id: \r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n",
            "Producer-Id: p\r\nProducer-Epoch: -1\r\nProducer-Seq: 0\r\n",
            "Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 1.5\r\n",
            "Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 9007199254740992\r\n",
            "Producer-Id: p\r\nProducer-Epoch: \r\nProducer-Seq: 0\r\n",
        ] {
            assert!(with(bad, producer).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_expected_tail_may_be_quoted() {
        let zero = Offset::ZERO.to_string();
        assert_eq!(with(&format!("If-Match: {zero}\r\n"), if_match), Ok(Some(Offset::ZERO)));
        assert_eq!(with(&format!("If-Match: \"{zero}\"\r\n"), if_match), Ok(Some(Offset::ZERO)));
        assert_eq!(with("If-Match: *\r\n", if_match), Ok(None));
        for bad in ["", "\"", "\"\"", "-1", "now", "W/\"x\""] {
            assert!(with(&format!("If-Match: {bad}\r\n"), if_match).is_err(), "{bad}");
        }
    }

    #[test]
    fn retention_and_closure_are_read_strictly() {
        let kept = with("Stream-Retain-Bytes: 10\r\nStream-Retain-Messages: 2\r\n", retention).unwrap();
        assert_eq!(kept, Retention { seconds: None, bytes: Some(10), messages: Some(2) });
        assert!(with("Stream-Retain-Seconds: 0\r\n", retention).is_err());
        assert!(with("Stream-Retain-Seconds: 1h\r\n", retention).is_err());
        for (value, expected) in [("true", true), ("TRUE", true), ("1", false), ("yes", false), ("", false)] {
            assert_eq!(with(&format!("Stream-Closed: {value}\r\n"), closed), expected);
        }
    }
}
