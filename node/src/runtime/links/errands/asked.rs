//! What is asked of a leader elsewhere, as bytes. Invariant: reading is total; only what leaders ask of each other can be
//! said at all, so nobody writes for a client by this way. Layout in `docs/formats.md`; numbers are spoken between releases:
//! keep stable.

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::fields::{Cursor, Sink, put_blob, put_number, put_offset, put_u8};
use crate::codec::meta::{get_content_type, get_name};
use crate::codec::subscription::{get_share, share_bytes};
use crate::core::{Append, Command, LinkAsk, LinkCommand, Pin};
use crate::runtime::mailbox::Asked;
use crate::types::{
    Framing, Lengths, Messages, Offset, PinId, StreamId, StreamName, SubscriptionId, SubscriptionUid,
};

const PIN: u8 = 1;
const UNPIN: u8 = 2;
const ADOPT: u8 = 3;
const LINK: u8 = 4;
const UNLINK: u8 = 5;
const ACK: u8 = 6;
const SECRET: u8 = 7;
const EVENT: u8 = 8;
const TOUCHED: u8 = 9;

const PLAIN: u8 = 0;
const JSON: u8 = 1;

const WHAT: &str = "an errand";

/// The bytes of a command; `None`: it is not one that leaders ask of each other.
pub(crate) fn errand_bytes(command: &Command) -> Option<Bytes> {
    let mut out = Vec::new();
    match command {
        Command::Pin(pin) => put_pin(&mut out, pin),
        Command::Unpin { stream, pin } => {
            put_u8(&mut out, UNPIN);
            put_number(&mut out, stream.0);
            put_number(&mut out, pin.0);
        }
        Command::Link(link) => put_link(&mut out, link),
        Command::Secret { key, value } => {
            put_u8(&mut out, SECRET);
            put_blob(&mut out, key);
            put_blob(&mut out, value);
        }
        Command::Append(append) => put_event(&mut out, append)?,
        Command::Create(_)
        | Command::Delete(_)
        | Command::Expire { .. }
        | Command::Trim { .. }
        | Command::Subscription(_) => return None,
    }
    Some(out.into())
}

/// The bytes of reads that renew windows.
pub(crate) fn touched_bytes(streams: &[StreamId]) -> Bytes {
    let mut out = vec![TOUCHED];
    put_number(&mut out, streams.len() as u64);
    streams.iter().for_each(|stream| put_number(&mut out, stream.0));
    out.into()
}

/// Reads an errand.
pub(crate) fn read_errand(raw: &Bytes) -> Result<Asked, CodecError> {
    let mut cursor = Cursor::sharing(raw);
    let asked = match cursor.u8(WHAT)? {
        PIN => Asked::Command(Command::Pin(get_pin(&mut cursor)?)),
        UNPIN => {
            let (stream, pin) = (StreamId(cursor.number(WHAT)?), PinId(cursor.number(WHAT)?));
            Asked::Command(Command::Unpin { stream, pin })
        }
        kind @ (ADOPT | LINK | UNLINK | ACK) => {
            Asked::Command(Command::Link(Box::new(get_link(&mut cursor, kind)?)))
        }
        SECRET => {
            let (key, value) = (cursor.blob(WHAT)?, cursor.blob(WHAT)?);
            Asked::Command(Command::Secret { key: cursor.own(key), value: cursor.own(value) })
        }
        EVENT => Asked::Command(Command::Append(get_event(&mut cursor)?)),
        TOUCHED => {
            let count = cursor.count(WHAT)?;
            let streams: Result<_, _> = (0..count).map(|_| cursor.number(WHAT).map(StreamId)).collect();
            Asked::Touched(streams?)
        }
        _ => return Err(CodecError::Impossible(WHAT)),
    };
    cursor.end(WHAT)?;
    Ok(asked)
}

fn put_name(out: &mut impl Sink, name: &StreamName) {
    put_blob(out, name.as_str().as_bytes());
}

fn put_pin(out: &mut impl Sink, pin: &Pin) {
    put_u8(out, PIN);
    put_name(out, &pin.source);
    put_name(out, &pin.fork);
    put_number(out, pin.pin.0);
    put_u8(out, u8::from(pin.offset.is_some()));
    pin.offset.iter().for_each(|offset| put_offset(out, *offset));
}

fn get_pin(cursor: &mut Cursor<'_>) -> Result<Pin, CodecError> {
    let (source, fork) = (get_name(cursor)?, get_name(cursor)?);
    let pin = PinId(cursor.number(WHAT)?);
    Ok(Pin { source, fork, pin, offset: get_optional_offset(cursor)? })
}

fn get_optional_offset(cursor: &mut Cursor<'_>) -> Result<Option<Offset>, CodecError> {
    match cursor.u8(WHAT)? {
        0 => Ok(None),
        1 => cursor.offset(WHAT).map(Some),
        _ => Err(CodecError::Impossible(WHAT)),
    }
}

fn put_link(out: &mut impl Sink, link: &LinkCommand) {
    put_u8(
        out,
        match &link.ask {
            LinkAsk::Adopt(_) => ADOPT,
            LinkAsk::Link(_) => LINK,
            LinkAsk::Unlink { .. } => UNLINK,
            LinkAsk::Ack { .. } => ACK,
        },
    );
    put_blob(out, link.id.as_str().as_bytes());
    match &link.ask {
        LinkAsk::Adopt(share) => put_blob(out, &share_bytes(share)),
        LinkAsk::Link(name) => put_name(out, name),
        LinkAsk::Unlink { stream, name } => {
            put_number(out, stream.0);
            put_name(out, name);
        }
        LinkAsk::Ack { uid, name, offset } => {
            put_number(out, uid.0);
            put_name(out, name);
            put_offset(out, *offset);
        }
    }
}

fn get_link(cursor: &mut Cursor<'_>, kind: u8) -> Result<LinkCommand, CodecError> {
    let id = std::str::from_utf8(cursor.blob(WHAT)?).map_err(|_| CodecError::Impossible(WHAT))?;
    let id = SubscriptionId::parse(id).map_err(|_| CodecError::Impossible(WHAT))?;
    let ask = match kind {
        ADOPT => LinkAsk::Adopt(get_share(cursor.blob(WHAT)?)?),
        LINK => LinkAsk::Link(get_name(cursor)?),
        UNLINK => LinkAsk::Unlink { stream: StreamId(cursor.number(WHAT)?), name: get_name(cursor)? },
        _ => LinkAsk::Ack {
            uid: SubscriptionUid(cursor.number(WHAT)?),
            name: get_name(cursor)?,
            offset: cursor.offset(WHAT)?,
        },
    };
    Ok(LinkCommand { id, ask })
}

/// An event is one append of messages and nothing else: no producer, no condition, no closure.
fn put_event(out: &mut impl Sink, append: &Append) -> Option<()> {
    let plain = !append.close && append.producer.is_none() && append.seq.is_none();
    let (content_type, Ok(Some(messages))) = (append.content_type.as_ref()?, &append.body) else {
        return None;
    };
    if !plain || append.if_match.is_some() {
        return None;
    }
    put_u8(out, EVENT);
    put_name(out, &append.name);
    put_blob(out, content_type.as_str().as_bytes());
    put_u8(out, if messages.framing() == Framing::Json { JSON } else { PLAIN });
    put_number(out, messages.lengths().len() as u64);
    messages.lengths().iter().for_each(|length| put_number(out, u64::from(*length)));
    put_blob(out, messages.wire());
    Some(())
}

fn get_event(cursor: &mut Cursor<'_>) -> Result<Append, CodecError> {
    let (name, content_type) = (get_name(cursor)?, Some(get_content_type(cursor)?));
    let framing = match cursor.u8(WHAT)? {
        PLAIN => Framing::Plain,
        JSON => Framing::Json,
        _ => return Err(CodecError::Impossible(WHAT)),
    };
    let count = cursor.count(WHAT)?;
    let lengths: Result<Vec<u32>, _> = (0..count).map(|_| cursor.number32(WHAT)).collect();
    let wire = cursor.blob(WHAT)?;
    let lengths = Lengths::Many(lengths?.into());
    let messages =
        Messages::from_parts(framing, lengths, cursor.own(wire)).ok_or(CodecError::Impossible(WHAT))?;
    let body = Ok(Some(messages));
    Ok(Append { name, content_type, body, close: false, producer: None, seq: None, if_match: None })
}

#[cfg(test)]
mod tests;
