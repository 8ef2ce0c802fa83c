//! Settings that are texts with a form of their own.

use std::fmt;

use super::value::Value;

/// What this node is called in logs and metrics: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

impl NodeName {
    /// The default of a node that was given no name.
    #[must_use]
    pub fn standalone() -> Self {
        Self("node-0".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for NodeName {
    const UNIT: &'static str = "DNS label";

    fn parse(text: &str) -> Result<Self, String> {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=63).contains(&text.len()) && text.bytes().all(inside);
        if !fits || text.starts_with('-') || text.ends_with('-') {
            return Err("must be 1 to 63 of a-z, 0-9 and - (not at the ends), as in node-0".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn render(&self) -> String {
        self.0.clone()
    }
}

/// Which web pages may talk to the node: the value of `Access-Control-Allow-Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Every page.
    Any,
    /// No page of another origin; no CORS header is sent.
    None,
    /// Pages of this origin.
    One(String),
}

impl CorsOrigin {
    /// The header's value, if the header is sent.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Any => Some("*"),
            Self::None => None,
            Self::One(origin) => Some(origin),
        }
    }
}

impl Value for CorsOrigin {
    const UNIT: &'static str = "`*`, `none` or an origin";

    fn parse(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match (text, host) {
            ("*", _) => Ok(Self::Any),
            ("none", _) => Ok(Self::None),
            (_, Some(host)) if is_authority(host) => Ok(Self::One(text.to_owned())),
            _ => {
                Err("must be `*`, `none`, or one origin without a path, as in https://app.example.org"
                    .to_owned())
            }
        }
    }

    fn render(&self) -> String {
        self.header().unwrap_or("none").to_owned()
    }
}

/// Host and perhaps port; in particular nothing that could end the header line.
fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        assert!(["a", "node-0", "orders-b-12"].iter().all(|text| NodeName::parse(text).is_ok()));
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "n\u{f6}de", &long] {
            assert!(NodeName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_cannot_smuggle_a_header() {
        assert_eq!(CorsOrigin::parse("*"), Ok(CorsOrigin::Any));
        assert!(CorsOrigin::parse("https://app.example.org:8443").is_ok());
        for bad in [
            "",
            "app.example.org",
            "https://",
            "https://a/b",
            "https://a\r\nx: y",
            "https://a b",
            "*, https://a",
        ] {
            assert!(CorsOrigin::parse(bad).is_err(), "{bad}");
        }
    }
}
