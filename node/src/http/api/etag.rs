//! Entity tags: which stream, from where, to where, and whether that is its end. A re-created stream has another
//! incarnation, so it never answers 304 for the old one's bytes.

use crate::types::{Incarnation, Offset};

/// `"<incarnation>:<start>:<end>"`, with `:c` behind it when the answer says closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Etag(Vec<u8>);

impl Etag {
    pub(super) fn new(incarnation: Incarnation, start: Offset, end: Offset, closed: bool) -> Self {
        let mut text = Vec::with_capacity(96);
        text.push(b'"');
        text.extend_from_slice(&incarnation_text(incarnation));
        text.push(b':');
        text.extend_from_slice(&start.to_text());
        text.push(b':');
        text.extend_from_slice(&end.to_text());
        text.extend_from_slice(if closed { b":c\"" } else { b"\"" });
        Self(text)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `If-None-Match` names it: a list, weak or strong, or `*`.
    pub(super) fn matches(&self, if_none_match: &[u8]) -> bool {
        if if_none_match == b"*" {
            return true;
        }
        // Our tags hold no comma, so a list can be cut at commas; a foreign tag with one merely fails to match.
        if_none_match.split(|&b| b == b',').map(<[u8]>::trim_ascii).any(|tag| {
            let strong = tag.strip_prefix(b"W/").unwrap_or(tag);
            strong == self.0
        })
    }
}

/// `Stream-Incarnation`: 16 hexadecimal digits.
pub(super) fn incarnation_text(incarnation: Incarnation) -> [u8; 16] {
    let text = Offset { messages: incarnation.0, bytes: 0 }.to_text();
    let mut digits = [0; 16];
    digits.copy_from_slice(&text[..16]);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_itself_in_every_form() {
        let end = Offset { messages: 1, bytes: 5 };
        let tag = Etag::new(Incarnation(0xabc), Offset::ZERO, end, false);
        let text = "\"0000000000000abc:0000000000000000_0000000000000000:0000000000000001_0000000000000005\"";
        assert_eq!(tag.as_bytes(), text.as_bytes());
        for (header, matches) in [
            (text.to_owned(), true),
            (format!("W/{text}"), true),
            (format!("\"x\" ,W/\"y\", {text}"), true),
            ("*".to_owned(), true),
            (String::new(), false),
            ("\"x\"".to_owned(), false),
            (text.trim_matches('"').to_owned(), false),
            (format!("w/{text}"), false),
        ] {
            assert_eq!(tag.matches(header.as_bytes()), matches, "{header}");
        }
    }

    #[test]
    fn closing_appending_and_recreating_change_the_tag() {
        let tag = |incarnation, end, closed| {
            Etag::new(Incarnation(incarnation), Offset::ZERO, Offset { messages: end, bytes: end }, closed)
        };
        assert_ne!(tag(1, 1, false), tag(1, 1, true));
        assert_ne!(tag(1, 1, false), tag(1, 2, false));
        assert_ne!(tag(1, 1, false), tag(2, 1, false));
    }
}
