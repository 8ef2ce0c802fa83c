//! Server-sent events, read one by one as they arrive.

use std::io;
use std::net::SocketAddr;

use bytes::Buf;

use super::chunked::ChunkedDecoder;
use super::connection::{Connection, Failure};
use super::request::Request;
use super::wire::{Framing, Head};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `data` or `control`.
    pub kind: String,
    /// Its `data:` lines, joined by line breaks.
    pub data: String,
}

/// An answer of events.
#[derive(Debug)]
pub struct EventStream {
    connection: Connection,
    head: Head,
    decoder: Option<ChunkedDecoder>,
    parser: Parser,
}

#[derive(Debug, Default)]
struct Parser {
    text: Vec<u8>,
    scanned: usize,
    kind: String,
    data: Option<String>,
}

impl EventStream {
    /// Connects and asks for the events of a stream.
    pub async fn open(address: SocketAddr, name: &str, offset: &str) -> Result<Self, Failure> {
        let mut connection = Connection::open(address).await?;
        connection.send(&Request::events(name, offset)).await?;
        let head = connection.receive_head().await.map_err(|error| Failure { sent: true, error })?;
        let decoder = (head.framing == Framing::Chunked).then(ChunkedDecoder::default);
        Ok(Self { connection, head, decoder, parser: Parser::default() })
    }

    /// Status and headers.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next event; `None` when the server has ended the answer properly.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            if self.decoder.as_ref().is_some_and(ChunkedDecoder::is_done) {
                return Ok(None);
            }
            if self.connection.buffer.is_empty() {
                match self.connection.fill().await {
                    Ok(()) => {}
                    Err(error) if self.decoder.is_none() && error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
            let text = &mut self.parser.text;
            let buffer = &mut self.connection.buffer;
            match &mut self.decoder {
                Some(decoder) => {
                    let used = decoder.feed(buffer, |part| text.extend_from_slice(part))?;
                    buffer.advance(used);
                }
                None => {
                    text.extend_from_slice(buffer);
                    buffer.clear();
                }
            }
        }
    }
}

impl Parser {
    /// The next whole event of the text so far. Lines end with LF, CR LF or CR; our servers send LF.
    fn next(&mut self) -> Option<Event> {
        while let Some(length) = memchr::memchr(b'\n', &self.text[self.scanned..]) {
            let end = self.scanned + length;
            let line = String::from_utf8_lossy(&self.text[self.scanned..end]).into_owned();
            self.scanned = end + 1;
            let event = self.line(line.strip_suffix('\r').unwrap_or(&line));
            if event.is_some() {
                return event;
            }
        }
        self.text.drain(..self.scanned);
        self.scanned = 0;
        None
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            return self.data.take().map(|data| Event { kind, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_whatever_the_cuts() {
        let text = ": hello\nevent: data\ndata:one\ndata: two\n\nevent: control\r\ndata:{\"a\":1}\r\n\r\n\n";
        let expected = [("data", "one\ntwo"), ("control", "{\"a\":1}")];
        for step in 1..text.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for part in text.as_bytes().chunks(step) {
                parser.text.extend_from_slice(part);
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            let found: Vec<_> =
                events.iter().map(|event| (event.kind.as_str(), event.data.as_str())).collect();
            assert_eq!(found, expected, "step {step}");
        }
    }
}
