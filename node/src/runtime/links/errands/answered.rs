//! What came of an errand, as bytes: a reply or a failure, what it released, and up to where the leader shows its shard.
//! Invariant: reading is total. Layout in `docs/formats.md`; numbers are spoken between releases: keep stable.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::fields::{Cursor, Sink, put_blob, put_number, put_offset, put_u8};
use crate::codec::meta::{get_content_type, get_meta, get_parent, put_meta, put_parent};
use crate::codec::subscription::{get_link, link_bytes};
use crate::core::{AppendError, Appended, LinkError, LinkReply, PinError, Pinned, Reply};
use crate::runtime::Failure;
use crate::runtime::mailbox::{Answer, Answered};
use crate::types::{LogIndex, Parent, ShardId, StreamId};

const FAILED: u8 = 0;
const PINNED: u8 = 1;
const NOT_PINNED: u8 = 2;
const RELEASED: u8 = 3;
const LINKED: u8 = 4;
const NOT_LINKED: u8 = 5;
const SECRET: u8 = 6;
const APPENDED: u8 = 7;
const NOT_APPENDED: u8 = 8;

const WHAT: &str = "the answer to an errand";

/// The bytes of an answer; `None`: no errand is answered so.
pub(crate) fn answer_bytes(answer: &Answer, visible: LogIndex) -> Option<Bytes> {
    let mut out = Vec::new();
    put_number(&mut out, visible.0);
    match answer {
        Ok(Answered { reply, released }) => {
            put_reply(&mut out, reply)?;
            put_optional_parent(&mut out, released.as_ref());
        }
        Err(failure) => {
            put_u8(&mut out, FAILED);
            put_failure(&mut out, failure);
        }
    }
    Some(out.into())
}

/// Reads an answer, and up to where the leader showed its shard when it gave it.
pub(crate) fn read_answer(raw: &Bytes) -> Result<(Answer, LogIndex), CodecError> {
    let mut cursor = Cursor::sharing(raw);
    let visible = LogIndex(cursor.number(WHAT)?);
    let answer = match cursor.u8(WHAT)? {
        FAILED => Err(get_failure(&mut cursor)?),
        kind => {
            let reply = get_reply(&mut cursor, kind)?;
            Ok(Answered { reply, released: get_optional_parent(&mut cursor)? })
        }
    };
    cursor.end(WHAT)?;
    Ok((answer, visible))
}

fn put_reply(out: &mut impl Sink, reply: &Reply) -> Option<()> {
    match reply {
        Reply::Pin(Ok(pinned)) => {
            put_u8(out, PINNED);
            put_meta(out, &pinned.meta);
            put_offset(out, pinned.upto);
        }
        Reply::Pin(Err(error)) => {
            put_u8(out, NOT_PINNED);
            put_u8(out, pin_error_number(*error));
        }
        Reply::Released(parent) => {
            put_u8(out, RELEASED);
            put_optional_parent(out, parent.as_ref());
        }
        Reply::Link(Ok(link)) => {
            put_u8(out, LINKED);
            put_u8(out, u8::from(link.is_some()));
            link.iter().for_each(|link| put_blob(out, &link_bytes(link)));
        }
        Reply::Link(Err(error)) => {
            put_u8(out, NOT_LINKED);
            put_u8(out, link_error_number(*error));
        }
        Reply::Secret(value) => {
            put_u8(out, SECRET);
            put_blob(out, value);
        }
        Reply::Append(Ok(appended)) => {
            put_u8(out, APPENDED);
            put_number(out, appended.stream.0);
            put_offset(out, appended.tail);
            put_u8(out, u8::from(appended.closed));
        }
        Reply::Append(Err(error)) => {
            put_u8(out, NOT_APPENDED);
            put_append_error(out, error)?;
        }
        Reply::Create(_) | Reply::Delete(_) | Reply::Trimmed | Reply::Subscription(_) => return None,
    }
    Some(())
}

fn get_reply(cursor: &mut Cursor<'_>, kind: u8) -> Result<Reply, CodecError> {
    Ok(match kind {
        PINNED => {
            let meta = Box::new(get_meta(cursor)?);
            Reply::Pin(Ok(Pinned { meta, upto: cursor.offset(WHAT)? }))
        }
        NOT_PINNED => {
            let number = cursor.u8(WHAT)?;
            let known = PIN_ERRORS.into_iter().find(|error| pin_error_number(*error) == number);
            Reply::Pin(Err(known.ok_or(CodecError::Impossible(WHAT))?))
        }
        RELEASED => Reply::Released(get_optional_parent(cursor)?),
        LINKED => Reply::Link(get_linked(cursor)?),
        NOT_LINKED => {
            let number = cursor.u8(WHAT)?;
            let known = LINK_ERRORS.into_iter().find(|error| link_error_number(*error) == number);
            Reply::Link(Err(known.ok_or(CodecError::Impossible(WHAT))?))
        }
        SECRET => {
            let value = cursor.blob(WHAT)?;
            Reply::Secret(cursor.own(value))
        }
        APPENDED => {
            let (stream, tail) = (StreamId(cursor.number(WHAT)?), cursor.offset(WHAT)?);
            let closed = flag(cursor)?;
            let (producer, duplicate, data) = (None, false, true);
            Reply::Append(Ok(Appended { stream, tail, closed, producer, duplicate, data }))
        }
        NOT_APPENDED => Reply::Append(Err(get_append_error(cursor)?)),
        _ => return Err(CodecError::Impossible(WHAT)),
    })
}

fn flag(cursor: &mut Cursor<'_>) -> Result<bool, CodecError> {
    match cursor.u8(WHAT)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Impossible(WHAT)),
    }
}

fn get_linked(cursor: &mut Cursor<'_>) -> Result<LinkReply, CodecError> {
    let there = flag(cursor)?;
    Ok(Ok(there.then(|| get_link(cursor.blob(WHAT)?)).transpose()?))
}

fn put_optional_parent(out: &mut impl Sink, parent: Option<&Parent>) {
    put_u8(out, u8::from(parent.is_some()));
    parent.into_iter().for_each(|parent| put_parent(out, parent));
}

fn get_optional_parent(cursor: &mut Cursor<'_>) -> Result<Option<Parent>, CodecError> {
    let there = flag(cursor)?;
    there.then(|| get_parent(cursor)).transpose()
}

const PIN_ERRORS: [PinError; 6] = [
    PinError::NotFound,
    PinError::Retired,
    PinError::BeyondTail,
    PinError::Misaligned,
    PinError::BeforeEarliest,
    PinError::TooDeep,
];

const fn pin_error_number(error: PinError) -> u8 {
    match error {
        PinError::NotFound => 1,
        PinError::Retired => 2,
        PinError::BeyondTail => 3,
        PinError::Misaligned => 4,
        PinError::BeforeEarliest => 5,
        PinError::TooDeep => 6,
    }
}

const LINK_ERRORS: [LinkError; 3] = [LinkError::NotLinked, LinkError::BeyondTail, LinkError::GoesBack];

const fn link_error_number(error: LinkError) -> u8 {
    match error {
        LinkError::NotLinked => 1,
        LinkError::BeyondTail => 2,
        LinkError::GoesBack => 3,
    }
}

/// Those that an event can meet.
fn put_append_error(out: &mut impl Sink, error: &AppendError) -> Option<()> {
    match error {
        AppendError::NotFound => put_u8(out, 1),
        AppendError::Gone => put_u8(out, 2),
        AppendError::Closed { tail } => {
            put_u8(out, 3);
            put_offset(out, *tail);
        }
        AppendError::ContentType { expected } => {
            put_u8(out, 4);
            put_blob(out, expected.as_str().as_bytes());
        }
        AppendError::StreamFull { limit } => {
            put_u8(out, 5);
            put_number(out, *limit);
        }
        _ => return None,
    }
    Some(())
}

fn get_append_error(cursor: &mut Cursor<'_>) -> Result<AppendError, CodecError> {
    Ok(match cursor.u8(WHAT)? {
        1 => AppendError::NotFound,
        2 => AppendError::Gone,
        3 => AppendError::Closed { tail: cursor.offset(WHAT)? },
        4 => AppendError::ContentType { expected: get_content_type(cursor)? },
        5 => AppendError::StreamFull { limit: cursor.number(WHAT)? },
        _ => return Err(CodecError::Impossible(WHAT)),
    })
}

fn put_failure(out: &mut impl Sink, failure: &Failure) {
    let mut put = |number: u8, more: Option<u64>, reason: Option<&str>| {
        put_u8(out, number);
        more.into_iter().for_each(|more| put_number(out, more));
        reason.into_iter().for_each(|reason| put_blob(out, reason.as_bytes()));
    };
    let of = |shard: &ShardId| Some(u64::from(shard.0));
    match failure {
        Failure::DiskFull => put(1, None, None),
        Failure::NodeFull { limit } => put(2, Some(*limit), None),
        Failure::LinksFull { limit } => put(3, Some(*limit as u64), None),
        Failure::Overloaded => put(4, None, None),
        Failure::ShuttingDown => put(5, None, None),
        Failure::ShardDamaged { shard, reason } => put(6, of(shard), Some(reason)),
        Failure::ShardReopening { shard, reason } => put(7, of(shard), Some(reason)),
        Failure::ShardBusy { shard } => put(8, of(shard), None),
        Failure::Corrupt => put(9, None, None),
        Failure::NotLeader { shard } => put(10, of(shard), None),
        Failure::NoLeader { shard } => put(11, of(shard), None),
        Failure::LeaderLost => put(12, None, None),
        Failure::LogFailed => put(13, None, None),
        Failure::Ahead { shard } => put(14, of(shard), None),
        Failure::Unreplicated { shard } => put(15, of(shard), None),
    }
}

fn get_failure(cursor: &mut Cursor<'_>) -> Result<Failure, CodecError> {
    Ok(match cursor.u8(WHAT)? {
        1 => Failure::DiskFull,
        2 => Failure::NodeFull { limit: cursor.number(WHAT)? },
        3 => Failure::LinksFull { limit: cursor.size(WHAT)? },
        4 => Failure::Overloaded,
        5 => Failure::ShuttingDown,
        6 => Failure::ShardDamaged { shard: get_shard(cursor)?, reason: get_reason(cursor)? },
        7 => Failure::ShardReopening { shard: get_shard(cursor)?, reason: get_reason(cursor)? },
        8 => Failure::ShardBusy { shard: get_shard(cursor)? },
        9 => Failure::Corrupt,
        10 => Failure::NotLeader { shard: get_shard(cursor)? },
        11 => Failure::NoLeader { shard: get_shard(cursor)? },
        12 => Failure::LeaderLost,
        13 => Failure::LogFailed,
        14 => Failure::Ahead { shard: get_shard(cursor)? },
        15 => Failure::Unreplicated { shard: get_shard(cursor)? },
        _ => return Err(CodecError::Impossible(WHAT)),
    })
}

fn get_shard(cursor: &mut Cursor<'_>) -> Result<ShardId, CodecError> {
    u16::try_from(cursor.number(WHAT)?).map(ShardId).map_err(|_| CodecError::Impossible(WHAT))
}

fn get_reason(cursor: &mut Cursor<'_>) -> Result<Arc<str>, CodecError> {
    std::str::from_utf8(cursor.blob(WHAT)?).map(Into::into).map_err(|_| CodecError::Impossible(WHAT))
}

#[cfg(test)]
mod tests;
