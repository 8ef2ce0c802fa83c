//! A request as it is passed on: the same but for what belongs to one connection only. Invariant: it carries a mark, and
//! whoever meets the mark passes it on no further.

use bytes::{Buf, Bytes};

use crate::http::wire::{Field, Method, Request};

/// Its presence says that another node has passed the request on already.
const MARK: &str = "Thalweg-Forwarded";
/// What belongs to the client's connection, and what is written anew.
const LEFT_OUT: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// What a request says about being passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Wishes {
    /// It was, once already.
    pub(in crate::http) forwarded: bool,
    /// The client would rather go there itself.
    pub(in crate::http) redirect: bool,
}

impl Wishes {
    pub(in crate::http) fn of(request: &Request<'_>) -> Self {
        let mut wishes = Self::default();
        for (name, value) in request.headers() {
            wishes.forwarded |= name.eq_ignore_ascii_case(MARK);
            wishes.redirect |= name.eq_ignore_ascii_case("prefer") && has_token(value, "redirect");
        }
        wishes
    }
}

/// A request on its way to the leader.
#[derive(Debug)]
pub(in crate::http) struct Message {
    head: Bytes,
    body: Bytes,
}

impl Message {
    /// The leader is told which host the client named: its answer may repeat it.
    pub(in crate::http) fn new(request: &Request<'_>, leader: &str) -> Self {
        let mut head = Vec::with_capacity(request.bytes.len() + 64);
        head.extend_from_slice(method(request.head.method));
        head.push(b' ');
        head.extend_from_slice(&target(request));
        head.extend_from_slice(b" HTTP/1.1\r\n");
        line(&mut head, "Host", request.authority().unwrap_or(leader.as_bytes()));
        let connection = request.field(Field::Connection).unwrap_or_default();
        for (name, value) in request.headers() {
            let left_out = LEFT_OUT.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !left_out && !has_token(connection, name) {
                line(&mut head, name, value);
            }
        }
        line(&mut head, "Content-Length", itoa::Buffer::new().format(request.body.len()).as_bytes());
        line(&mut head, MARK, b"1");
        head.extend_from_slice(b"\r\n");
        Self { head: head.into(), body: request.body.clone() }
    }

    /// All of it, in order.
    pub(super) fn bytes(&self) -> impl Buf + use<> {
        self.head.clone().chain(self.body.clone())
    }
}

/// Path and query, as they came.
pub(in crate::http) fn target(request: &Request<'_>) -> Vec<u8> {
    let mut target = request.path().to_vec();
    if let Some(query) = request.query() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}

fn method(method: Method) -> &'static [u8] {
    match method {
        Method::Put => b"PUT",
        Method::Delete => b"DELETE",
        Method::Post | Method::Get | Method::Head | Method::Options | Method::Other => b"POST",
    }
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Whether a list names something, with or without parameters.
fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|&b| b == b',').any(|entry| {
        let bare = entry.split(|&b| b == b';').next().unwrap_or_default();
        bare.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}
