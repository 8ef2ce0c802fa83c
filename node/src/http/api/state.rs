//! Headers that say what a stream is.

use super::etag::incarnation_text;
use super::instant::format_instant;
use crate::http::wire::ResponseHead;
use crate::runtime::StreamState;
use crate::types::{Incarnation, Lifetime, Offset, StreamConfig};

pub(super) fn write_content_type(out: &mut ResponseHead, config: &StreamConfig) {
    out.header("Content-Type", config.content_type.as_str().as_bytes());
}

pub(super) fn write_next_offset(out: &mut ResponseHead, offset: Offset) {
    out.header("Stream-Next-Offset", &offset.to_text());
}

pub(super) fn write_incarnation(out: &mut ResponseHead, incarnation: Incarnation) {
    out.header("Stream-Incarnation", &incarnation_text(incarnation));
}

pub(super) fn write_closed(out: &mut ResponseHead, closed: bool) {
    if closed {
        out.lines("Stream-Closed: true\r\n");
    }
}

/// Only when retention has let something go.
pub(super) fn write_earliest(out: &mut ResponseHead, state: &StreamState) {
    if state.earliest > Offset::ZERO {
        out.header("Stream-Earliest-Offset", &state.earliest.to_text());
    }
}

/// Lifetime and retention, as configured.
pub(super) fn write_bounds(out: &mut ResponseHead, config: &StreamConfig) {
    match config.lifetime {
        Lifetime::Forever => {}
        Lifetime::Sliding(seconds) => out.number("Stream-TTL", seconds),
        Lifetime::Until(at) => out.header("Stream-Expires-At", format_instant(at).as_bytes()),
    }
    let retention = config.retention;
    for (name, bound) in [
        ("Stream-Retain-Seconds", retention.seconds),
        ("Stream-Retain-Bytes", retention.bytes),
        ("Stream-Retain-Messages", retention.messages),
    ] {
        if let Some(bound) = bound {
            out.number(name, bound);
        }
    }
}
