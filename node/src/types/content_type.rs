//! The content type of a stream, and how its messages are framed on the wire.

use std::fmt;
use std::sync::Arc;

/// A content type as given at creation. Two are equal when their media types are, whatever the case and parameters.
#[derive(Debug, Clone)]
pub struct ContentType(Arc<str>);

impl ContentType {
    /// The default of the protocol.
    pub const DEFAULT: &str = "application/octet-stream";

    /// Takes a header value; `None` when it has no `type/subtype` form of visible ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let media = text.split(';').next().unwrap_or_default().trim();
        let (kind, sub) = media.split_once('/')?;
        let token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_graphic() && !b"/,()<>@:\\\"[]?={}".contains(&b))
        };
        let clean = text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        (token(kind) && token(sub) && clean && text.len() <= super::limits::CONTENT_TYPE_BYTES_MAX)
            .then(|| Self(text.into()))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn media(&self) -> &str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Whether messages are JSON values, kept byte by byte and served as one array.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.media().eq_ignore_ascii_case("application/json")
    }

    /// Whether SSE carries the payload as text (else base64).
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.is_json() || self.media().get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
    }
}

impl Default for ContentType {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl PartialEq for ContentType {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always the same text; only then the parameters need to be cut off.
        self.0 == other.0 || self.media().eq_ignore_ascii_case(other.media())
    }
}

impl Eq for ContentType {}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_compare_without_case_and_parameters() {
        let parse = |text| ContentType::parse(text).unwrap();
        assert_eq!(parse("Application/JSON; charset=utf-8"), parse("application/json"));
        assert_ne!(parse("text/plain"), parse("text/html"));
        assert!(
            parse("TEXT/plain").is_text()
                && parse("application/json").is_json()
                && !parse("image/png").is_text()
        );
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        for bad in
            ["", " ", "text", "/", "text/", "/plain", "te xt/plain", "text/plain\r\nx: y", "text/pl\u{e4}in"]
        {
            assert!(ContentType::parse(bad).is_none(), "{bad:?}");
        }
    }
}
