//! One request and its answer on one connection. Invariant: an answer is taken whole or not at all, and is never larger
//! than the memory that was set aside for it.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::message::{ANSWERED, Message, STARTING, UNDONE};
use crate::http::wire::{
    Admission, Body, HEADER_COUNT_MAX, ResponseHead, SMALL_ANSWER_BYTES_MAX, is_own_header,
};

/// Head of an answer: several times what a node writes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Body of an answer: as large as any that is gathered in memory to answer such a request here.
const BODY_BYTES_MAX: usize = 8 << 20;

/// With these a connection ends before anybody has looked who was meant: too slow, too large, no room. They say that nothing was
/// done, and whoever says it has done nothing here.
const OF_CONNECTIONS: [u16; 4] = [408, 413, 431, 503];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection was dead already; no byte of the request has left.
    #[error("the connection was closed before the request: {0}")]
    Unwritten(io::Error),
    /// The connection ended before the answer was whole.
    #[error("the connection broke: {0}")]
    Connection(#[from] io::Error),
    /// What came is no answer that a node gives.
    #[error("the answer makes no sense: {0}")]
    Senseless(&'static str),
    /// There is no memory for the answer.
    #[error("no memory for an answer of {0} bytes")]
    NoRoom(usize),
    /// It did not come in time.
    #[error("the answer did not come in time")]
    Late,
    /// Another leads by now.
    #[error("the leader was replaced before it answered")]
    Replaced,
}

/// An answer whose head is written.
#[derive(Debug)]
pub(super) struct Answered<L> {
    pub(super) body: Body<L>,
    /// The connection can carry another request.
    pub(super) reusable: bool,
    /// The node has done nothing.
    pub(super) undone: Option<Undone>,
}

/// Why a node has done nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    /// It does not lead, or is not the one that was meant.
    NotLeading,
    /// It is starting.
    Starting,
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Its own bytes.
    head_bytes: usize,
    /// `None`: there is no body.
    body_bytes: Option<usize>,
    keep_alive: bool,
    undone: Option<Undone>,
}

/// Sends a request and writes its answer.
pub(super) async fn exchange<L>(
    stream: &mut TcpStream,
    message: &Message,
    admission: &Admission,
    out: &mut ResponseHead,
) -> Result<Answered<L>, Broken> {
    let (mut reader, mut writer) = stream.split();
    let mut unsent = message.bytes();
    let bytes = unsent.remaining();
    let mut first = [0];
    let written = tokio::select! {
        biased;
        written = writer.write_all_buf(&mut unsent) => written,
        // A refusal may come before the request is whole, and then nobody reads the rest.
        answered = reader.peek(&mut first) => answered.map(drop),
    };
    match written {
        Err(error) if unsent.remaining() == bytes => return Err(Broken::Unwritten(error)),
        // If it broke half-way, there may be an answer all the same that says why.
        _ => {}
    }
    let mut read = BytesMut::with_capacity(1024);
    let begun = loop {
        more(&mut reader, &mut read, HEAD_BYTES_MAX).await?;
        if let Some(begun) = begin(&read, message, out)? {
            break begun;
        }
    };
    read.advance(begun.head_bytes);
    let reusable = begun.keep_alive && !unsent.has_remaining();
    let undone = begun.undone;
    let Some(body_bytes) = begun.body_bytes else {
        return Ok(Answered { body: Body::Absent, reusable: reusable && read.is_empty(), undone });
    };
    let grant = admission.response_of(body_bytes).await.ok_or(Broken::NoRoom(body_bytes))?;
    let reusable = reusable && read.len() <= body_bytes;
    read.truncate(body_bytes);
    read.reserve(body_bytes - read.len());
    while read.len() < body_bytes {
        more(&mut reader, &mut read, body_bytes).await?;
    }
    let body = read.freeze();
    let body = if body_bytes <= SMALL_ANSWER_BYTES_MAX {
        Body::Full(body)
    } else {
        Body::Parts { parts: vec![body], grant }
    };
    Ok(Answered { body, reusable, undone })
}

/// Reads on, up to `most` bytes in all.
async fn more(reader: &mut ReadHalf<'_>, read: &mut BytesMut, most: usize) -> Result<(), Broken> {
    let room = most.saturating_sub(read.len());
    if room == 0 {
        return Err(Broken::Senseless("its head does not end"));
    }
    match reader.read_buf(&mut read.limit(room)).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(()),
    }
}

/// Writes status and headers, once they are there; behind them comes a body, unless only they were asked for.
fn begin(read: &[u8], message: &Message, out: &mut ResponseHead) -> Result<Option<Begun>, Broken> {
    let mut slots = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut parser = httparse::Response::new(&mut slots);
    let head_bytes = match parser.parse(read) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Senseless("it is no HTTP")),
    };
    let (Some(1), Some(status @ 200..=599)) = (parser.version, parser.code) else {
        return Err(Broken::Senseless("its version or status is unknown"));
    };
    let mut length = None;
    let mut keep_alive = true;
    let mut undone = None;
    let mut is_meant = OF_CONNECTIONS.contains(&status);
    out.begin(status);
    for header in parser.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).ok().filter(|text| !text.starts_with('+'));
            let parsed = digits.and_then(|digits| digits.parse().ok());
            if length.is_some() || parsed.is_none() {
                return Err(Broken::Senseless("its length is in doubt"));
            }
            length = parsed;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Broken::Senseless("its end is in doubt"));
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive &= !header.value.eq_ignore_ascii_case(b"close");
        }
        if header.name.eq_ignore_ascii_case(UNDONE) {
            // Between nodes: whoever gets the answer is told by its status.
            undone = Some(if header.value == STARTING { Undone::Starting } else { Undone::NotLeading });
        } else if header.name.eq_ignore_ascii_case(ANSWERED) {
            is_meant |= header.value == message.meant().as_bytes();
        } else if !is_own_header(header.name) {
            out.header(header.name, header.value);
        }
    }
    if !is_meant && undone.is_none() {
        return Err(Broken::Senseless("it is not from the node that was meant"));
    }
    let body_bytes = match (status, length) {
        _ if message.asks_for_head() => None,
        (204 | 304, _) => None,
        (_, Some(length)) if length <= BODY_BYTES_MAX => Some(length),
        (_, Some(_)) => return Err(Broken::Senseless("it is too large")),
        (_, None) => return Err(Broken::Senseless("its end is in doubt")),
    };
    Ok(Some(Begun { head_bytes, body_bytes, keep_alive, undone }))
}
