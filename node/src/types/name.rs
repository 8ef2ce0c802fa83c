//! Stream names: what stands behind `/v1/stream/`, percent-decoded, and the shard that they map to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::limits::NAME_BYTES_MAX;
use super::{ShardCount, ShardId};

/// The name of a stream: UTF-8, 1 to [`NAME_BYTES_MAX`] bytes, no control characters, no `.` or `..` segment, not
/// below the reserved segment `__ds`. Names are never used as paths; files are named by number only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// Why a text is no stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing stands behind the root.
    #[error("a stream name is missing behind /v1/stream/")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a stream name has at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The percent-decoded bytes are no UTF-8 (overlong forms included).
    #[error("a stream name must be UTF-8 after percent-decoding")]
    NotUtf8,
    /// NUL, line breaks and other control characters.
    #[error("a stream name must not contain control characters")]
    Control,
    /// A `.` or `..` segment: clients and proxies would rewrite the path.
    #[error("a stream name must not contain '.' or '..' as a segment")]
    DotSegment,
    /// The first segment is `__ds`, where subscriptions live.
    #[error("names below __ds/ are reserved for subscriptions")]
    Reserved,
}

impl StreamName {
    /// Checks decoded bytes.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, NameError> {
        if raw.is_empty() {
            return Err(NameError::Empty);
        }
        if raw.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(raw.len()));
        }
        let text = std::str::from_utf8(raw).map_err(|_| NameError::NotUtf8)?;
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(NameError::DotSegment);
        }
        if text == "__ds" || text.starts_with("__ds/") {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What decides the shard: the part between the first `{` and the next `}`, else (also for `{}`) the whole name.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        let tagged = self.0.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        match tagged {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => &self.0,
        }
    }

    /// The shard of this name (policy `seahash-v1`).
    #[must_use]
    pub fn shard(&self, count: ShardCount) -> ShardId {
        count.shard_of_hash(seahash::hash(self.routing_key().as_bytes()))
    }
}

/// Names are ordered, compared and hashed as their texts are.
impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (raw, error) in [
            (&b""[..], NameError::Empty),
            (b"a/../b", NameError::DotSegment),
            (b"..", NameError::DotSegment),
            (b"a\0b", NameError::Control),
            (b"a\nb", NameError::Control),
            (b"\xc0\xaf", NameError::NotUtf8),
            (b"__ds", NameError::Reserved),
            (b"__ds/subscriptions/x", NameError::Reserved),
            (long.as_bytes(), NameError::TooLong(NAME_BYTES_MAX + 1)),
        ] {
            assert_eq!(StreamName::from_bytes(raw), Err(error));
        }
    }

    #[test]
    fn the_routing_tag_decides_the_shard() {
        for (text, key) in [
            ("orders/{eu-7}/events", "eu-7"),
            ("cursor/{eu-7}", "eu-7"),
            ("plain", "plain"),
            ("{}x", "{}x"),
            ("{a", "{a"),
            ("a}b{c}", "c"),
            ("{a}{b}", "a"),
        ] {
            assert_eq!(name(text).routing_key(), key);
        }
        let count = ShardCount::new(256).unwrap();
        assert_eq!(name("orders/{eu-7}/events").shard(count), name("cursor/{eu-7}").shard(count));
    }

    /// Persisted: a change here would send every existing stream to another shard.
    #[test]
    fn the_mapping_is_pinned() {
        let count = ShardCount::new(16).unwrap();
        let shards: Vec<u16> =
            ["a", "b", "hello", "orders/{eu-7}/events"].iter().map(|n| name(n).shard(count).0).collect();
        assert_eq!(shards, PINNED);
    }
    const PINNED: [u16; 4] = [13, 7, 9, 15];
}
