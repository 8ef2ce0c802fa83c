//! The query of a GET. Unknown parameters are ignored; known ones occur once and mean one thing.

use std::borrow::Cow;

use super::errors::Rejection;
use super::names::percent_decode;
use crate::runtime::ReadFrom;

/// `live=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveMode {
    /// Catch-up.
    #[default]
    None,
    /// `long-poll`.
    LongPoll,
    /// `sse`.
    Sse,
}

/// What a GET asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadQuery {
    /// `offset=`, if given.
    pub from: Option<ReadFrom>,
    /// `live=`.
    pub live: LiveMode,
    /// `cursor=`, when it is one of ours.
    pub cursor: Option<u64>,
}

impl ReadQuery {
    /// Parses the part behind `?`.
    pub fn parse(raw: Option<&[u8]>) -> Result<Self, Rejection> {
        let mut query = Self::default();
        let mut live_given = false;
        for (name, value) in pairs(raw.unwrap_or_default()) {
            match name.as_ref() {
                b"offset" if query.from.is_some() => {
                    return Err(Rejection::offset("the offset parameter is repeated"));
                }
                b"offset" => query.from = Some(parse_offset(&value)?),
                b"live" if live_given => return Err(Rejection::query("the live parameter is repeated")),
                b"live" => {
                    live_given = true;
                    query.live = match value.as_ref() {
                        b"long-poll" => LiveMode::LongPoll,
                        b"sse" => LiveMode::Sse,
                        _ => return Err(Rejection::query("live is long-poll or sse")),
                    };
                }
                b"cursor" => query.cursor = decimal(&value).filter(|&cursor| cursor < 1 << 53),
                _ => {}
            }
        }
        if query.live != LiveMode::None && query.from.is_none() {
            return Err(Rejection::offset("live reads need an offset: -1, now, or a Stream-Next-Offset"));
        }
        Ok(query)
    }
}

/// Name and value of each parameter, decoded.
pub(super) fn pairs(raw: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    raw.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, &b""[..]),
        };
        (decode(name), decode(value))
    })
}

fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let spaced: Vec<u8> = raw.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    Cow::Owned(percent_decode(&spaced).into_owned())
}

fn parse_offset(value: &[u8]) -> Result<ReadFrom, Rejection> {
    match value {
        b"-1" => Ok(ReadFrom::Start),
        b"now" => Ok(ReadFrom::Now),
        other => std::str::from_utf8(other)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(ReadFrom::At)
            .ok_or_else(|| Rejection::offset("an offset is -1, now, or a value of Stream-Next-Offset")),
    }
}

/// A number in decimal digits, nothing else. Too large a number saturates.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;
    use proptest::prelude::*;

    #[test]
    fn queries_say_where_and_how_to_read() {
        let parse = |text: &str| ReadQuery::parse(Some(text.as_bytes())).unwrap();
        let zero = ReadFrom::At(Offset::ZERO);
        for (text, from, live, cursor) in [
            ("", None, LiveMode::None, None),
            ("offset=-1", Some(ReadFrom::Start), LiveMode::None, None),
            ("offset=%2D1&x=y&x=z&&=", Some(ReadFrom::Start), LiveMode::None, None),
            ("offset=now&live=sse", Some(ReadFrom::Now), LiveMode::Sse, None),
            (
                "live=long-poll&offset=0000000000000000_0000000000000000&cursor=12",
                Some(zero),
                LiveMode::LongPoll,
                Some(12),
            ),
            ("offset=now&cursor=abc", Some(ReadFrom::Now), LiveMode::None, None),
            ("offset=now&cursor=99999999999999999999999", Some(ReadFrom::Now), LiveMode::None, None),
        ] {
            assert_eq!(parse(text), ReadQuery { from, live, cursor }, "{text}");
        }
    }

    #[test]
    fn malformed_queries_are_refused() {
        for text in [
            "offset=",
            "offset",
            "offset=a",
            "offset=1,2",
            "offset=a/b",
            "offset=..",
            "offset=%00",
            "offset=%0d%0a",
            "offset=a%20b",
            "offset=-1&offset=-1",
            "offset=-2",
            "offset=NOW",
            "live=sse",
            "live=long-poll",
            "live=&offset=-1",
            "live=true&offset=-1",
            "live=sse&live=sse&offset=-1",
            "offset=%ff",
            "offset=000000000000000A_0000000000000000",
        ] {
            let rejection = ReadQuery::parse(Some(text.as_bytes())).unwrap_err();
            assert_eq!(rejection.problem.status, 400, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_query_or_an_error(raw: Vec<u8>) {
            let _ = ReadQuery::parse(Some(&raw));
        }
    }
}
