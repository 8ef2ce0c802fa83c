//! What a setting's value can do: be read from a text, be written back as one, and be held to a bound.
//!
//! Invariant: `parse(render(v)) == v`, because `--print-config` must be a file that gives the same configuration.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::types::ShardCount;

/// A kind of value that a setting can have.
pub(super) trait Value: Sized {
    /// What the number counts, or the forms that the text can have.
    const UNIT: &'static str;

    /// Reads the text; the error says what would be accepted.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text that [`Value::parse`] reads back.
    fn render(&self) -> String;

    /// Refuses what lies outside the bound.
    fn held_to(self, bound: &RangeInclusive<Self>) -> Result<Self, String>
    where
        Self: PartialOrd,
    {
        if bound.contains(&self) {
            return Ok(self);
        }
        Err(format!("must be from {} to {}", bound.start().render(), bound.end().render()))
    }
}

impl Value for u32 {
    const UNIT: &'static str = "count";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a whole number, as in 16".to_owned())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    const UNIT: &'static str = "address:port";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "must be an IP address and a port, as in 127.0.0.1:4437 or [::1]:4437".to_owned())
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    const UNIT: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("must be a path, as in ./data".to_owned());
        }
        Ok(Self::from(text))
    }

    fn render(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

/// Powers of two only, so that a shard is the low bits of a hash.
impl Value for ShardCount {
    const UNIT: &'static str = "power of two, 1 to 256";

    fn parse(text: &str) -> Result<Self, String> {
        let count = text.parse().ok().and_then(|count| Self::new(count).ok());
        count.ok_or_else(|| "must be a power of two from 1 to 256, as in 16".to_owned())
    }

    fn render(&self) -> String {
        self.get().to_string()
    }
}
