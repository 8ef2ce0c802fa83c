//! HEAD: what a stream is and how far it reaches. Renews nothing.

use super::errors::{Rejection, write_read_error};
use super::names::decode_name;
use super::state::{
    write_bounds, write_closed, write_content_type, write_earliest, write_incarnation, write_next_offset,
};
use super::{Api, Sse};
use crate::http::wire::{Body, ResponseHead};
use crate::runtime::StreamState;

pub(super) async fn head(api: &Api, name: &[u8], out: &mut ResponseHead) -> Body<Sse> {
    let name = match decode_name(name) {
        Ok(name) => name,
        Err(error) => return Rejection::name(error).write(out),
    };
    match api.engine().head(&name).await {
        Ok(state) => write_state(out, &state),
        Err(error) => write_read_error(out, &error),
    }
}

fn write_state(out: &mut ResponseHead, state: &StreamState) -> Body<Sse> {
    out.begin(200);
    write_content_type(out, &state.config);
    write_next_offset(out, state.tail);
    write_closed(out, state.closed);
    write_bounds(out, &state.config);
    write_earliest(out, state);
    write_incarnation(out, state.incarnation);
    out.lines("Cache-Control: no-store\r\n");
    Body::Absent
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::types::{Incarnation, Lifetime, Offset, Retention, StreamConfig, UnixMillis};

    #[test]
    fn a_head_says_all_that_is_known_of_a_stream() {
        let config = StreamConfig {
            lifetime: Lifetime::Until(UnixMillis(1500)),
            retention: Retention { seconds: None, bytes: Some(9), messages: None },
            ..StreamConfig::default()
        };
        let (earliest, tail) = (Offset { messages: 1, bytes: 1 }, Offset { messages: 2, bytes: 2 });
        let state = StreamState {
            incarnation: Incarnation(255),
            config: Arc::new(config),
            earliest,
            tail,
            closed: true,
        };
        let mut out = ResponseHead::for_test();
        write_state(&mut out, &state);
        let expected = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nStream-Next-Offset: {tail}\r\n\
             Stream-Closed: true\r\nStream-Expires-At: 1970-01-01T00:00:01.500Z\r\nStream-Retain-Bytes: 9\r\n\
             Stream-Earliest-Offset: {earliest}\r\nStream-Incarnation: 00000000000000ff\r\n\
             Cache-Control: no-store\r\n"
        );
        assert_eq!(out.text(), expected);
    }
}
