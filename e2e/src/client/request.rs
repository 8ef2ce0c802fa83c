//! Requests, formatted once and sent as they are as often as wanted.

use std::fmt::Display;
use std::io::Write;

/// A request in wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
    head_only: bool,
}

/// A request whose headers are still open.
#[derive(Debug, Clone)]
pub struct Draft {
    bytes: Vec<u8>,
    head_only: bool,
}

impl Request {
    /// Begins a request; `path` is sent as it is.
    #[must_use]
    pub fn draft(method: &str, path: &str) -> Draft {
        let bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        Draft { bytes, head_only: method == "HEAD" }
    }

    /// The path of a stream; names of tests need no percent-encoding.
    #[must_use]
    pub fn stream_path(name: &str) -> String {
        format!("/v1/stream/{name}")
    }

    /// PUT without content.
    #[must_use]
    pub fn create(name: &str, content_type: &str) -> Self {
        Self::draft("PUT", &Self::stream_path(name)).header("Content-Type", content_type).body(b"")
    }

    /// POST.
    #[must_use]
    pub fn append(name: &str, content_type: &str, body: &[u8]) -> Self {
        Self::draft("POST", &Self::stream_path(name)).header("Content-Type", content_type).body(body)
    }

    /// GET from an offset.
    #[must_use]
    pub fn read(name: &str, offset: &str) -> Self {
        Self::draft("GET", &format!("{}?offset={offset}", Self::stream_path(name))).end()
    }

    /// GET that waits.
    #[must_use]
    pub fn long_poll(name: &str, offset: &str, cursor: Option<u64>) -> Self {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        Self::draft("GET", &format!("{}?offset={offset}&live=long-poll{cursor}", Self::stream_path(name)))
            .end()
    }

    /// GET that goes on.
    #[must_use]
    pub fn events(name: &str, offset: &str) -> Self {
        Self::draft("GET", &format!("{}?offset={offset}&live=sse", Self::stream_path(name))).end()
    }

    /// HEAD.
    #[must_use]
    pub fn head(name: &str) -> Self {
        Self::draft("HEAD", &Self::stream_path(name)).end()
    }

    /// DELETE.
    #[must_use]
    pub fn delete(name: &str) -> Self {
        Self::draft("DELETE", &Self::stream_path(name)).end()
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to write a new timestamp or number over the old one.
    #[must_use]
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Whether the answer has no body whatever its length says.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.head_only
    }
}

impl Draft {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        // Writing to a vector cannot fail.
        let _ = write!(self.bytes, "{name}: {value}\r\n");
        self
    }

    /// Ends a request without a body.
    #[must_use]
    pub fn end(mut self) -> Request {
        self.bytes.extend_from_slice(b"\r\n");
        Request { bytes: self.bytes, head_only: self.head_only }
    }

    /// Ends a request with a body, which may be empty.
    #[must_use]
    pub fn body(self, body: &[u8]) -> Request {
        let mut request = self.header("Content-Length", body.len()).end();
        request.bytes.extend_from_slice(body);
        request
    }
}
