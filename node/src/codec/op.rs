//! The payload of a record: the ops that happen wholly or not at all. Decoding shares the record's bytes, so the
//! messages of an append are never copied between log and reader. Kinds and flag bits are persisted: keep stable.

use std::ops::Range;

use bytes::Bytes;

use super::CodecError;
use super::fields::{Cursor, Sink, put_blob, put_number, put_offset, put_time, put_u8};
use super::meta::{get_meta, get_pin, get_seq, get_stamp, put_meta, put_pin, put_stamp};
use crate::types::{AppendOp, Framing, Lengths, Messages, Offset, Op, PinId, Space, StreamId};

/// Version of the payload layout, its first byte.
pub const OPS_VERSION: u8 = 1;

// Kinds of ops (persisted).
const CREATE: u8 = 1;
const APPEND: u8 = 2;
const DELETE: u8 = 3;
const RETIRE: u8 = 4;
const PIN: u8 = 5;
const UNPIN: u8 = 6;
const TRIM: u8 = 7;
const TOUCH: u8 = 8;
const PUT: u8 = 9;
const ERASE: u8 = 10;

// Flag bits of an append (persisted). Without MANY there is one message when ONE is set, else none.
const JSON: u8 = 1;
const CLOSE: u8 = 1 << 1;
const PRODUCER: u8 = 1 << 2;
const SEQ: u8 = 1 << 3;
const ONE: u8 = 1 << 4;
const MANY: u8 = 1 << 5;
const APPEND_KNOWN: u8 = (1 << 6) - 1;

/// Appends the payload for `ops` to `out`. For each [`Op::Append`], in order, the place of its wire bytes in `out` is
/// pushed to `wires`, so that the batch buffer, once frozen, serves readers without a copy.
pub fn encode_ops(ops: &[Op], out: &mut impl Sink, wires: &mut Vec<Range<usize>>) {
    put_u8(out, OPS_VERSION);
    put_number(out, ops.len() as u64);
    for op in ops {
        match op {
            Op::Create(meta) => {
                put_u8(out, CREATE);
                put_meta(out, meta);
            }
            Op::Append(append) => wires.push(put_append(out, append)),
            Op::Delete { stream } => put_stream(out, DELETE, *stream),
            Op::Retire { stream } => put_stream(out, RETIRE, *stream),
            Op::Pin(pin) => {
                put_u8(out, PIN);
                put_pin(out, pin);
            }
            Op::Unpin { stream, pin } => {
                put_stream(out, UNPIN, *stream);
                put_number(out, pin.0);
            }
            Op::Trim { stream, earliest } => {
                put_stream(out, TRIM, *stream);
                put_offset(out, *earliest);
            }
            Op::Touch { stream, at } => {
                put_stream(out, TOUCH, *stream);
                put_time(out, *at);
            }
            Op::Put { space, key, value } => {
                out.put(&[PUT, *space as u8]);
                put_blob(out, key);
                put_blob(out, value);
            }
            Op::Erase { space, key } => {
                out.put(&[ERASE, *space as u8]);
                put_blob(out, key);
            }
        }
    }
}

fn put_stream(out: &mut impl Sink, kind: u8, stream: StreamId) {
    put_u8(out, kind);
    put_number(out, stream.0);
}

fn put_append(out: &mut impl Sink, append: &AppendOp) -> Range<usize> {
    let lengths = append.messages.lengths();
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = bit(append.messages.framing() == Framing::Json, JSON)
        | bit(append.close, CLOSE)
        | bit(append.producer.is_some(), PRODUCER)
        | bit(append.seq.is_some(), SEQ)
        | bit(lengths.len() == 1, ONE)
        | bit(lengths.len() > 1, MANY);
    out.put(&[APPEND, flags]);
    put_number(out, append.stream.0);
    put_offset(out, append.start);
    put_time(out, append.at);
    if let Some(stamp) = &append.producer {
        put_stamp(out, stamp);
    }
    if let Some(seq) = &append.seq {
        put_blob(out, &seq.0);
    }
    if lengths.len() > 1 {
        put_number(out, lengths.len() as u64);
    }
    for &length in lengths {
        put_number(out, u64::from(length));
    }
    let start = out.position();
    out.put(append.messages.wire());
    start..out.position()
}

/// Reads a payload. Blobs and messages share its memory.
pub fn decode_ops(payload: &Bytes) -> Result<Vec<Op>, CodecError> {
    let mut cursor = Cursor::sharing(payload);
    let version = cursor.u8("payload version")?;
    if version != OPS_VERSION {
        return Err(CodecError::Version { what: "a record's payload", found: version });
    }
    let count = cursor.count("number of ops")?;
    // An op in memory is larger than its shortest form in bytes: the list grows as ops prove to be there.
    let mut ops = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        ops.push(get_op(&mut cursor)?);
    }
    cursor.end("the last op")?;
    Ok(ops)
}

fn get_op(cursor: &mut Cursor<'_>) -> Result<Op, CodecError> {
    let kind = cursor.u8("op kind")?;
    Ok(match kind {
        CREATE => Op::Create(Box::new(get_meta(cursor)?)),
        APPEND => Op::Append(get_append(cursor)?),
        DELETE => Op::Delete { stream: get_stream(cursor)? },
        RETIRE => Op::Retire { stream: get_stream(cursor)? },
        PIN => Op::Pin(get_pin(cursor)?),
        UNPIN => Op::Unpin { stream: get_stream(cursor)?, pin: PinId(cursor.number("pin")?) },
        TRIM => Op::Trim { stream: get_stream(cursor)?, earliest: cursor.offset("earliest")? },
        TOUCH => Op::Touch { stream: get_stream(cursor)?, at: cursor.time("touched at")? },
        PUT => {
            let (space, key) = get_fact_key(cursor)?;
            let value = cursor.blob("fact value")?;
            Op::Put { space, key, value: cursor.own(value) }
        }
        ERASE => {
            let (space, key) = get_fact_key(cursor)?;
            Op::Erase { space, key }
        }
        _ => return Err(CodecError::Impossible("op kind")),
    })
}

fn get_stream(cursor: &mut Cursor<'_>) -> Result<StreamId, CodecError> {
    Ok(StreamId(cursor.number("stream id")?))
}

fn get_fact_key(cursor: &mut Cursor<'_>) -> Result<(Space, Bytes), CodecError> {
    let space = space_of(cursor.u8("fact space")?).ok_or(CodecError::Impossible("fact space"))?;
    let key = cursor.blob("fact key")?;
    Ok((space, cursor.own(key)))
}

/// The space of a persisted number.
#[must_use]
pub fn space_of(number: u8) -> Option<Space> {
    [Space::Subscription, Space::Pattern, Space::Link, Space::Secret, Space::Voters]
        .into_iter()
        .find(|&space| space as u8 == number)
}

fn get_append(cursor: &mut Cursor<'_>) -> Result<AppendOp, CodecError> {
    let flags = cursor.u8("append flags")?;
    let has = |bit: u8| flags & bit != 0;
    if flags & !APPEND_KNOWN != 0 || (has(ONE) && has(MANY)) {
        return Err(CodecError::Impossible("append flags"));
    }
    let stream = get_stream(cursor)?;
    let start = cursor.offset("append start")?;
    let at = cursor.time("append time")?;
    let producer = has(PRODUCER).then(|| get_stamp(cursor)).transpose()?;
    let seq = has(SEQ).then(|| get_seq(cursor)).transpose()?;
    let lengths = if has(ONE) {
        Lengths::One(cursor.number32("message length")?)
    } else if has(MANY) {
        get_lengths(cursor)?
    } else {
        Lengths::Many(std::sync::Arc::default())
    };
    let framing = if has(JSON) { Framing::Json } else { Framing::Plain };
    let messages = get_messages(cursor, framing, lengths)?;
    check_end(start, &messages)?;
    Ok(AppendOp { stream, start, messages, close: has(CLOSE), producer, seq, at })
}

fn get_lengths(cursor: &mut Cursor<'_>) -> Result<Lengths, CodecError> {
    let count = cursor.count("number of messages")?;
    if count < 2 {
        return Err(CodecError::Impossible("number of messages"));
    }
    // Each length takes at least one byte, so this is at most four times the bytes at hand.
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push(cursor.number32("message length")?);
    }
    Ok(Lengths::Many(lengths.into()))
}

fn get_messages(cursor: &mut Cursor<'_>, framing: Framing, lengths: Lengths) -> Result<Messages, CodecError> {
    const WHAT: &str = "messages";
    let slice = lengths.as_slice();
    let separators = slice.len().saturating_sub(1) * framing.separator_len();
    let total = slice.iter().try_fold(separators, |sum, &length| sum.checked_add(length as usize));
    let wire = cursor.take(total.ok_or(CodecError::Impossible(WHAT))?, WHAT)?;
    Messages::from_parts(framing, lengths, cursor.own(wire)).ok_or(CodecError::Impossible(WHAT))
}

fn check_end(start: Offset, messages: &Messages) -> Result<(), CodecError> {
    let ends = start.messages.checked_add(messages.count()).is_some()
        && start.bytes.checked_add(messages.payload_bytes()).is_some();
    if ends { Ok(()) } else { Err(CodecError::Impossible("append start")) }
}

#[cfg(test)]
mod tests;
