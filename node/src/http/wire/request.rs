//! The head of a request, parsed in place: spans into the read buffer instead of copies. Invariant: a [`Head`] that
//! exists has one unambiguous framing, one Host (HTTP/1.1) and no repeated field that somebody reads.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::field::Field;
use super::framing::Framing;
use super::limits::{FORWARDED_LINES, HEADER_COUNT_MAX, Limits};

/// The methods that some route knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    /// Any other token.
    Other,
}

/// Why a head is refused. The connection is answered once and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// 414.
    #[error("the request target is too long")]
    TargetTooLong,
    /// 431.
    #[error("the request head is too large")]
    TooLarge,
    /// 431.
    #[error("the request has more than {HEADER_COUNT_MAX} header lines")]
    TooManyHeaders,
    /// 417.
    #[error("only Expect: 100-continue is known")]
    Expectation,
    /// 501.
    #[error("chunked is the only transfer coding known")]
    UnknownCoding,
    /// 505.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
}

/// A part of the head's bytes. Heads are at most 16 KiB by default and never more than 64 KiB.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// Where `part` lies in `whole`, of which it is a slice.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let end = start + part.len();
        match (u16::try_from(start), u16::try_from(end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    fn get(self, whole: &[u8]) -> &[u8] {
        whole.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

/// A parsed head.
#[derive(Debug, Clone)]
pub struct Head {
    /// Which method.
    pub method: Method,
    /// Bytes of the head in the buffer, the empty line included.
    pub length: usize,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client wants to go on with this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
    /// Whether the client speaks HTTP/1.0: no chunked answers.
    pub http_10: bool,
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
    present: u32,
    fields: [Span; Field::COUNT],
}

/// What a buffer holds.
#[derive(Debug)]
pub enum Parsed {
    /// A whole head.
    Complete(Head),
    /// The beginning of one.
    Partial,
}

/// A whole request, as a service sees it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The parsed head.
    pub head: &'a Head,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The body.
    pub body: Bytes,
}

impl<'a> Request<'a> {
    /// The target's path, as it came.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        self.head.path.get(self.bytes)
    }

    /// What stands behind `?`, as it came.
    #[must_use]
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.query.map(|span| span.get(self.bytes))
    }

    /// The host that the client named.
    #[must_use]
    pub fn authority(&self) -> Option<&'a [u8]> {
        match self.head.authority {
            Some(span) => Some(span.get(self.bytes)),
            None => self.field(Field::Host),
        }
    }

    /// How the client speaks to the proxy in front of this node, if that says so; else plain HTTP.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        forwarded_scheme(self.field(Field::ForwardedProto).unwrap_or_default())
    }

    /// Every header line in order, surrounding blanks of the value removed.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let lines = self.bytes.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end);
        // Empty lines may stand before the request line.
        lines.skip_while(|line| line.is_empty()).skip(1).filter_map(|line| {
            let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
            Some((std::str::from_utf8(name).ok()?, value.get(1..)?.trim_ascii()))
        })
    }

    /// The value of a header, surrounding blanks removed.
    #[must_use]
    pub fn field(&self, field: Field) -> Option<&'a [u8]> {
        let span = self.head.fields.get(field as usize)?;
        (self.head.present & (1 << field as u32) != 0).then(|| span.get(self.bytes))
    }
}

/// What `X-Forwarded-Proto` says; anything but the two schemes of HTTP counts as nothing.
#[must_use]
pub fn forwarded_scheme(value: &[u8]) -> &'static str {
    let first = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
    if first.eq_ignore_ascii_case(b"https") { "https" } else { "http" }
}

/// Parses the head at the start of `buffer`.
pub fn parse_head(buffer: &[u8], limits: &Limits) -> Result<Parsed, HeadError> {
    let mut slots = [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX + FORWARDED_LINES];
    let mut parser = httparse::Request::new(&mut []);
    let length = match parser.parse_with_uninit_headers(buffer, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return partial(buffer, limits),
        Err(error) => return Err(refusal(error, buffer)),
    };
    let bytes = buffer.get(..length).unwrap_or_default();
    // Another node took it within the bounds, and has added a little.
    let is_forwarded =
        parser.headers.iter().any(|header| header.name.eq_ignore_ascii_case(Field::Forwarded.name()));
    let head_bytes_max = if is_forwarded { limits.input_bytes() } else { limits.head_bytes_max };
    if length > head_bytes_max.min(usize::from(u16::MAX)) {
        return Err(HeadError::TooLarge);
    }
    if !is_forwarded && parser.headers.len() > HEADER_COUNT_MAX {
        return Err(HeadError::TooManyHeaders);
    }
    if memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(HeadError::Malformed("lines end with CR LF"));
    }
    let target = parser.path.unwrap_or_default().as_bytes();
    if target.len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong);
    }
    let mut head = Head {
        method: method(parser.method.unwrap_or_default()),
        length,
        framing: Framing::Length(0),
        keep_alive: parser.version == Some(1),
        expect_continue: false,
        http_10: parser.version != Some(1),
        path: Span::default(),
        query: None,
        authority: None,
        present: 0,
        fields: [Span::default(); Field::COUNT],
    };
    head.take_target(target, bytes)?;
    for header in parser.headers.iter() {
        head.take_field(header, bytes)?;
    }
    head.finish(bytes)?;
    Ok(Parsed::Complete(head))
}

fn method(token: &str) -> Method {
    match token {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

fn partial(buffer: &[u8], limits: &Limits) -> Result<Parsed, HeadError> {
    let line = memchr::memchr(b'\n', buffer).unwrap_or(buffer.len());
    // The longest method and the version take less than 32 bytes.
    if line > limits.target_bytes_max + 32 {
        return Err(HeadError::TargetTooLong);
    }
    if buffer.len() >= limits.input_bytes() { Err(HeadError::TooLarge) } else { Ok(Parsed::Partial) }
}

fn refusal(error: httparse::Error, buffer: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version if names_a_version(buffer) => HeadError::Version,
        httparse::Error::HeaderName => HeadError::Malformed("a header name is malformed"),
        httparse::Error::HeaderValue => HeadError::Malformed("a header value is malformed"),
        httparse::Error::NewLine => HeadError::Malformed("lines end with CR LF"),
        _ => HeadError::Malformed("the request line is malformed"),
    }
}

/// Whether the request line is well-formed but for its version.
fn names_a_version(buffer: &[u8]) -> bool {
    let line = buffer.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut tokens = line.split(|&b| b == b' ').skip(2);
    let version = tokens.next().and_then(|token| token.strip_prefix(b"HTTP/"));
    tokens.next().is_none() && matches!(version, Some([b'0'..=b'9', b'.', b'0'..=b'9']))
}

impl Head {
    fn take_target(&mut self, target: &[u8], bytes: &[u8]) -> Result<(), HeadError> {
        let mut rest = target;
        if !target.starts_with(b"/") {
            let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
                target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            });
            if let Some(scheme) = scheme {
                let behind = target.get(scheme.len()..).unwrap_or_default();
                let end = behind.iter().position(|b| b"/?".contains(b)).unwrap_or(behind.len());
                let (authority, path) = behind.split_at(end);
                if !is_authority(authority) || authority.is_empty() {
                    return Err(HeadError::Malformed("the request target is malformed"));
                }
                self.authority = Some(Span::of(authority, bytes));
                rest = path;
            } else if target != b"*" {
                return Err(HeadError::Malformed("the request target must be a path"));
            }
        }
        let path = match memchr::memchr(b'?', rest) {
            Some(at) => {
                self.query = Some(Span::of(rest.get(at + 1..).unwrap_or_default(), bytes));
                rest.get(..at).unwrap_or_default()
            }
            None => rest,
        };
        self.path = Span::of(path, bytes);
        Ok(())
    }

    fn take_field(&mut self, header: &httparse::Header<'_>, bytes: &[u8]) -> Result<(), HeadError> {
        let Some(field) = Field::from_name(header.name) else { return Ok(()) };
        let bit = 1u32 << field as u32;
        let value = header.value.trim_ascii();
        match field {
            Field::Connection => self.take_connection(value),
            // A list may come in several lines. Without the condition the answer is merely less frugal.
            Field::IfNoneMatch if self.present & bit != 0 => {
                self.fields[field as usize] = Span::default();
                return Ok(());
            }
            // Each proxy on the way may have added a line; the first is nearest to the client.
            Field::ForwardedProto if self.present & bit != 0 => return Ok(()),
            _ if self.present & bit != 0 => {
                return Err(HeadError::Malformed("a header that may occur once is repeated"));
            }
            _ => {}
        }
        self.present |= bit;
        self.fields[field as usize] = Span::of(value, bytes);
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for token in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.keep_alive = false;
                return;
            }
            if token.eq_ignore_ascii_case(b"keep-alive") && self.http_10 {
                self.keep_alive = true;
            }
        }
    }

    fn finish(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let request = Request { head: self, bytes, body: Bytes::new() };
        match request.field(Field::Host) {
            None if !self.http_10 => return Err(HeadError::Malformed("HTTP/1.1 needs a Host header")),
            Some(host) if !is_authority(host) => {
                return Err(HeadError::Malformed("the Host header is malformed"));
            }
            _ => {}
        }
        let framing = Framing::decide(
            request.field(Field::ContentLength),
            request.field(Field::TransferEncoding),
            self.http_10,
        )?;
        let expect = match request.field(Field::Expect) {
            None => false,
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => !self.http_10,
            Some(_) => return Err(HeadError::Expectation),
        };
        self.framing = framing;
        self.expect_continue = expect;
        Ok(())
    }
}

/// Host and port: nothing that could end a URL's authority, since it is repeated in `Location`.
fn is_authority(value: &[u8]) -> bool {
    value.iter().all(|&b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&b))
}

#[cfg(test)]
mod tests;
