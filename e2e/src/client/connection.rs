//! One kept-alive connection and the exchange of one request for one answer.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::chunked::ChunkedDecoder;
use super::request::Request;
use super::wire::{Framing, Head, NotHttp};

/// One read from the socket; catch-up answers are up to a megabyte.
const READ_BYTES: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// Whether the request can have reached the server. If not, it certainly did not happen.
    pub sent: bool,
    /// What went wrong.
    pub error: io::Error,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.error, if self.sent { "after sending" } else { "before sending" })
    }
}

impl std::error::Error for Failure {}

impl From<NotHttp> for io::Error {
    fn from(error: NotHttp) -> Self {
        Self::new(io::ErrorKind::InvalidData, error.0)
    }
}

/// An answer with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body, whole.
    pub body: Bytes,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) buffer: BytesMut,
}

impl Connection {
    /// Connects; a failure here means that nothing was sent.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let unsent = |error| Failure { sent: false, error };
        let stream = TcpStream::connect(address).await.map_err(unsent)?;
        stream.set_nodelay(true).map_err(unsent)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(READ_BYTES) })
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: &Request) -> Result<Answer, Failure> {
        let mut body = BytesMut::new();
        let head = self.exchange_into(request, |part| body.extend_from_slice(part)).await?;
        Ok(Answer { head, body: body.freeze() })
    }

    /// Sends a request and gives the body to `sink` as it comes.
    pub async fn exchange_into(
        &mut self,
        request: &Request,
        sink: impl FnMut(&[u8]),
    ) -> Result<Head, Failure> {
        self.send(request).await?;
        let after = |error| Failure { sent: true, error };
        let head = self.receive_head().await.map_err(after)?;
        if !request.is_head() {
            self.receive_body(&head, sink).await.map_err(after)?;
        }
        Ok(head)
    }

    /// Sends a request. After a failure some of it may have arrived, and a server may act on whole requests only, so
    /// it counts as sent.
    pub async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        self.send_raw(request.as_bytes()).await
    }

    /// Sends bytes that may be no request at all.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(|error| Failure { sent: true, error })
    }

    /// Reads up to the end of the head.
    pub(super) async fn receive_head(&mut self) -> io::Result<Head> {
        loop {
            if !self.buffer.is_empty()
                && let Some((head, length)) = Head::parse(&self.buffer)?
            {
                self.buffer.advance(length);
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            self.fill().await?;
        }
    }

    async fn receive_body(&mut self, head: &Head, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        match head.framing {
            Framing::Length(mut left) => {
                while left > 0 {
                    if self.buffer.is_empty() {
                        self.fill().await?;
                    }
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    sink(&self.buffer[..taken]);
                    self.buffer.advance(taken);
                    left -= taken as u64;
                }
            }
            Framing::Chunked => {
                let mut decoder = ChunkedDecoder::default();
                while !decoder.is_done() {
                    if self.buffer.is_empty() {
                        self.fill().await?;
                    }
                    let used = decoder.feed(&self.buffer, &mut sink)?;
                    self.buffer.advance(used);
                }
            }
            Framing::UntilClose => loop {
                sink(&self.buffer);
                self.buffer.clear();
                match self.fill().await {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            },
        }
        Ok(())
    }

    /// Waits for more bytes.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
