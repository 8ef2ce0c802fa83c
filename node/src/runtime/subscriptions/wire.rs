//! Subscriptions as workers see them: the JSON of streams and wakes, and the URLs that they are given.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::LinkedStream;
use crate::types::{Offset, Subscription, WakeId};

/// What must be escaped in one segment of a path.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An offset that may lie before the first.
#[must_use]
pub fn offset_text(offset: Option<Offset>) -> String {
    offset.map_or_else(|| "-1".to_owned(), |offset| offset.to_string())
}

/// The name of a wake as text.
#[must_use]
pub fn wake_text(wake: WakeId) -> String {
    format!("wake_{:032x}", wake.0)
}

/// Reads [`wake_text`]; anything else names no wake of ours.
#[must_use]
pub fn parse_wake(text: &str) -> Option<WakeId> {
    let digits = text.strip_prefix("wake_").filter(|digits| digits.len() == 32)?;
    u128::from_str_radix(digits, 16).ok().map(WakeId).filter(|wake| wake_text(*wake) == text)
}

/// A stream of a wake.
#[must_use]
pub fn stream_json(stream: &LinkedStream) -> Value {
    json!({
        "path": stream.name.as_str(),
        "link_type": link_type(stream),
        "acked_offset": offset_text(stream.acked),
        "tail_offset": offset_text(stream.tail),
        "has_pending": stream.pending,
    })
}

/// Why a stream belongs to its subscription.
#[must_use]
pub fn link_type(stream: &LinkedStream) -> &'static str {
    if stream.explicit { "explicit" } else { "glob" }
}

/// Where a worker calls back.
#[must_use]
pub fn callback_url(subscription: &Subscription) -> String {
    let id = utf8_percent_encode(subscription.id.as_str(), SEGMENT);
    format!("{}/v1/stream/__ds/subscriptions/{id}/callback", subscription.definition.base)
}

/// Where a worker finds the keys.
#[must_use]
pub fn jwks_url(subscription: &Subscription) -> String {
    format!("{}/v1/stream/__ds/jwks.json", subscription.definition.base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_read_only_as_it_is_written() {
        let wake = WakeId(0xabc);
        assert_eq!(parse_wake(&wake_text(wake)), Some(wake));
        for other in ["", "wake_", "wake_abc", &wake_text(wake).to_uppercase(), &format!("wake_+{:031x}", 1)]
        {
            assert_eq!(parse_wake(other), None, "{other}");
        }
    }
}
