//! The head of an answer: its status, how long the body is, and the protocol's own headers.

use std::fmt;

/// Headers of one answer; ours has about fifteen.
const HEADERS_MAX: usize = 48;
/// The protocol allows 255 characters; every known server uses 33.
const OFFSET_BYTES_MAX: usize = 47;

/// An offset as the server spelled it, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetText {
    text: [u8; OFFSET_BYTES_MAX],
    length: u8,
}

impl OffsetText {
    /// Copies `text`; too long a text is none.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        let mut copy = [0; OFFSET_BYTES_MAX];
        copy.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self { text: copy, length })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for OffsetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for OffsetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the head of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// `Stream-Next-Offset`.
    pub next: Option<OffsetText>,
    /// `Stream-Up-To-Date: true`.
    pub up_to_date: bool,
    /// `Stream-Closed: true`.
    pub closed: bool,
    /// `Stream-Cursor`.
    pub cursor: Option<u64>,
    /// `Producer-Epoch`.
    pub producer_epoch: Option<u64>,
    /// `Producer-Seq`.
    pub producer_seq: Option<u64>,
    /// `Producer-Expected-Seq`.
    pub producer_expected: Option<u64>,
    /// `Stream-Earliest-Offset`.
    pub earliest: Option<OffsetText>,
    /// `Stream-Incarnation` as text, when the server has such a thing.
    pub incarnation: Option<OffsetText>,
}

/// The bytes are no HTTP/1.1 answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHttp(pub String);

impl Head {
    /// Whether the connection may be used again.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && self.framing != Framing::UntilClose
    }

    /// The head at the start of `bytes` and its length; `None` when more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, NotHttp> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes).map_err(|error| NotHttp(error.to_string()))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.ok_or_else(|| NotHttp("no status".into()))?;
        let mut head = Self {
            status,
            framing: Framing::UntilClose,
            keep_alive: response.version == Some(1),
            next: None,
            up_to_date: false,
            closed: false,
            cursor: None,
            producer_epoch: None,
            producer_seq: None,
            producer_expected: None,
            earliest: None,
            incarnation: None,
        };
        for header in response.headers.iter() {
            head.take(header.name, header.value)?;
        }
        if status == 204 || status == 304 || status < 200 {
            head.framing = Framing::Length(0);
        }
        Ok(Some((head, length)))
    }

    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), NotHttp> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        match name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'c') if is("content-length") => {
                let length = number(value).ok_or_else(|| NotHttp("content-length is no number".into()))?;
                self.framing = Framing::Length(length);
            }
            Some(b'c') if is("connection") => self.keep_alive = !value.eq_ignore_ascii_case(b"close"),
            Some(b't') if is("transfer-encoding") => self.framing = Framing::Chunked,
            Some(b's') if is("stream-next-offset") => self.next = OffsetText::new(value),
            Some(b's') if is("stream-up-to-date") => self.up_to_date = value.eq_ignore_ascii_case(b"true"),
            Some(b's') if is("stream-closed") => self.closed = value.eq_ignore_ascii_case(b"true"),
            Some(b's') if is("stream-cursor") => self.cursor = number(value),
            Some(b's') if is("stream-earliest-offset") => self.earliest = OffsetText::new(value),
            Some(b's') if is("stream-incarnation") => self.incarnation = OffsetText::new(value),
            Some(b'p') if is("producer-epoch") => self.producer_epoch = number(value),
            Some(b'p') if is("producer-seq") => self.producer_seq = number(value),
            Some(b'p') if is("producer-expected-seq") => self.producer_expected = number(value),
            _ => {}
        }
        Ok(())
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_headers_are_read_in_any_case() {
        let text = b"HTTP/1.1 409 Conflict\r\nstream-NEXT-offset: a_b\r\nStream-Closed: TRUE\r\ncontent-length: 7\r\n\
            Producer-Expected-Seq: 9\r\n\r\nbody...";
        let (head, length) = Head::parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.closed, head.framing), (409, true, Framing::Length(7)));
        assert_eq!((head.next.unwrap().as_str(), head.producer_expected), ("a_b", Some(9)));
        assert_eq!(&text[length..], b"body...");
        assert!(head.keep_alive && !head.up_to_date);
    }

    #[test]
    fn half_a_head_asks_for_more_and_garbage_is_refused() {
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nstream-"), Ok(None));
        assert!(Head::parse(b"HTTX 200\r\n\r\n").is_err());
    }
}
