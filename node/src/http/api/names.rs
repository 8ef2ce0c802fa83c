//! Stream names in URLs: percent-decoded once, then checked. Total over any bytes.

use std::borrow::Cow;

use crate::types::{NameError, StreamName};

/// Where streams live.
pub(super) const STREAM_ROOT: &[u8] = b"/v1/stream/";

/// Decodes what stands behind `/v1/stream/`.
pub fn decode_name(raw: &[u8]) -> Result<StreamName, NameError> {
    if memchr::memchr(b'%', raw).is_none() {
        return StreamName::from_bytes(raw);
    }
    StreamName::from_bytes(&percent_decode(raw))
}

/// Decodes `%XX`; a `%` without two hexadecimal digits stays as it is, as in every URL parser.
pub(super) fn percent_decode(raw: &[u8]) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode(raw).into()
}

/// The source of a fork: an absolute URL or its path, below the stream root.
pub(super) fn decode_source(value: &[u8]) -> Result<StreamName, SourceError> {
    let path = match memchr::memmem::find(value, b"://") {
        Some(at) => {
            let behind = value.get(at + 3..).unwrap_or_default();
            let slash = memchr::memchr(b'/', behind).ok_or(SourceError::NotBelowRoot)?;
            behind.get(slash..).unwrap_or_default()
        }
        None => value,
    };
    let raw = path.strip_prefix(STREAM_ROOT).ok_or(SourceError::NotBelowRoot)?;
    decode_name(raw).map_err(SourceError::Name)
}

/// Why a value names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    /// Not a path below the root.
    #[error("Stream-Forked-From is the path of a stream: /v1/stream/{{name}}")]
    NotBelowRoot,
    /// Its name is none.
    #[error(transparent)]
    Name(NameError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_decoded_once() {
        for (raw, name) in [
            ("a", "a"),
            ("a/b%20c", "a/b c"),
            ("%C3%A4", "\u{e4}"),
            ("a%252Fb", "a%2Fb"),
            ("a%2Fb", "a/b"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(decode_name(raw.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn hostile_names_are_refused_in_every_spelling() {
        for (raw, error) in [
            ("", NameError::Empty),
            ("..", NameError::DotSegment),
            ("%2e%2e", NameError::DotSegment),
            ("a/%2E/b", NameError::DotSegment),
            ("a%2f..%2fb", NameError::DotSegment),
            ("a%00b", NameError::Control),
            ("a%0d%0ab", NameError::Control),
            ("%c0%af", NameError::NotUtf8),
            ("%ed%a0%80", NameError::NotUtf8),
            ("%5f%5fds/x", NameError::Reserved),
        ] {
            assert_eq!(decode_name(raw.as_bytes()), Err(error), "{raw}");
        }
        let long = "%61".repeat(1025);
        assert_eq!(decode_name(long.as_bytes()), Err(NameError::TooLong(1025)));
    }

    #[test]
    fn a_fork_names_its_source_by_path_or_url() {
        for good in ["/v1/stream/a%20b", "http://host:1/v1/stream/a%20b", "HTTPS://h/v1/stream/a%20b"] {
            assert_eq!(decode_source(good.as_bytes()).unwrap().as_str(), "a b");
        }
        for bad in ["", "a", "/a", "/v1/stream", "http://v1/stream/a", "http://host", "/v1/streams/a"] {
            assert_eq!(decode_source(bad.as_bytes()), Err(SourceError::NotBelowRoot), "{bad}");
        }
        assert_eq!(decode_source(b"/v1/stream/"), Err(SourceError::Name(NameError::Empty)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_name_or_an_error(raw: Vec<u8>) {
            if let Ok(name) = decode_name(&raw) {
                prop_assert!(!name.as_str().chars().any(char::is_control));
            }
            let _ = decode_source(&raw);
        }
    }
}
