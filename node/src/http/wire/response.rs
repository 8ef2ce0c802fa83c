//! Response heads, written straight into a reused buffer, and the kinds of body.

use std::sync::Arc;

use bytes::Bytes;

use super::date::DateText;
use super::{Grant, buffers};

/// The lines on every response, errors included. Pages of `origin` may read all headers: `*` covers them, since
/// credentials are never part of a request here.
#[must_use]
pub fn common_headers(origin: Option<&str>) -> Arc<[u8]> {
    let mut lines =
        "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: cross-origin\r\n".to_owned();
    if let Some(origin) = origin {
        lines.push_str("Access-Control-Allow-Origin: ");
        lines.push_str(origin);
        lines.push_str("\r\nAccess-Control-Expose-Headers: *\r\n");
    }
    lines.into_bytes().into()
}

/// Headers that the connection writes itself, on every response.
const OWN_HEADERS: [&str; 11] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "trailer",
    "date",
    "x-content-type-options",
    "cross-origin-resource-policy",
    "access-control-allow-origin",
    "access-control-expose-headers",
];

/// Whether the connection writes a header of this name itself: who passes an answer on leaves it out.
#[must_use]
pub fn is_own_header(name: &str) -> bool {
    OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// A response body.
#[derive(Debug)]
pub enum Body<L> {
    /// None, and no statement about its length: 204, 304, answers to HEAD.
    Absent,
    /// In one piece.
    Full(Bytes),
    /// In several, sent without joining them.
    Parts {
        /// In order.
        parts: Vec<Bytes>,
        /// The memory set aside for them.
        grant: Grant,
    },
    /// As it comes.
    Live(L),
}

impl<L> Body<L> {
    /// No bytes, and it says so.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

/// Status line and headers under construction.
#[derive(Debug)]
pub struct ResponseHead {
    bytes: Vec<u8>,
    status: u16,
    refusal: Option<&'static str>,
    waited: bool,
}

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimiter {
    None,
    Length(u64),
    Chunked,
    Close,
}

impl ResponseHead {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), status: 0, refusal: None, waited: false }
    }

    /// For tests of whoever writes heads.
    #[cfg(test)]
    #[must_use]
    pub fn for_test() -> Self {
        Self::new()
    }

    /// The head so far, as text.
    #[cfg(test)]
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The status that was begun with; 0 before.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Starts over with a status line.
    pub fn begin(&mut self, status: u16) {
        self.status = status;
        self.refusal = None;
        if self.bytes.capacity() == 0 {
            // Not before: a request may wait for long until it is answered.
            self.bytes = buffers::take_output();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(b"HTTP/1.1 ");
        self.bytes.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(reason(status).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The code of the problem that is answered with.
    pub(super) fn refuse_with(&mut self, code: &'static str) {
        self.refusal = Some(code);
    }

    /// The code of the problem that it is, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// The answer waits for something to happen in the world: its time says nothing about the server.
    pub fn waits(&mut self) {
        self.waited = true;
    }

    /// Whether [`Self::waits`] was called.
    #[must_use]
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Adds a header. Line breaks and other control characters in the value become blanks.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        if value.iter().all(|&b| b >= b' ' && b != 0x7f) {
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.extend(value.iter().map(|&b| if b >= b' ' && b != 0x7f { b } else { b' ' }));
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Adds a header with a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.header(name, itoa::Buffer::new().format(value).as_bytes());
    }

    /// Adds whole lines that are known to be well-formed, each with its line end.
    pub fn lines(&mut self, lines: &'static str) {
        self.bytes.extend_from_slice(lines.as_bytes());
    }

    pub(super) fn end(
        &mut self,
        delimiter: Delimiter,
        connection: Option<&'static str>,
        date: &DateText,
        common: &[u8],
    ) {
        match delimiter {
            Delimiter::None | Delimiter::Close => {}
            Delimiter::Length(length) => self.number("Content-Length", length),
            Delimiter::Chunked => self.lines("Transfer-Encoding: chunked\r\n"),
        }
        if let Some(token) = connection {
            self.header("Connection", token.as_bytes());
        }
        self.bytes.extend_from_slice(b"Date: ");
        self.bytes.extend_from_slice(date);
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(common);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The whole head of an answer that no connection sends: the budget of connections is used up.
    pub(super) fn into_refusal(mut self, length: usize, common: &[u8]) -> Vec<u8> {
        self.number("Content-Length", length as u64);
        self.bytes.extend_from_slice(b"Connection: close\r\n");
        self.bytes.extend_from_slice(common);
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_value_cannot_start_another_line() {
        let mut head = ResponseHead::for_test();
        head.begin(200);
        head.header("X", b"a\r\nSet-Cookie: b\0");
        assert_eq!(head.text(), "HTTP/1.1 200 OK\r\nX: a  Set-Cookie: b \r\n");
    }
}
