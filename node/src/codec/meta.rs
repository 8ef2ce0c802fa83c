//! [`StreamMeta`] and [`PinOp`] as bytes: inside records ([`super::op`]) and inside table rows.
//! Numbers of enum variants and flag bits are persisted: keep stable.

use bytes::Bytes;

use super::CodecError;
use super::fields::{Cursor, Sink, put_blob, put_number, put_offset, put_time, put_u8};
use crate::types::limits::{PRODUCER_ID_BYTES_MAX, STREAM_SEQ_BYTES_MAX};
use crate::types::{
    ContentType, ForkOrigin, Lifetime, Parent, PinId, PinOp, ProducerId, ProducerStamp, ProducerState,
    Retention, ShardId, StreamConfig, StreamId, StreamMeta, StreamName, StreamSeq,
};

/// Version of the layout of a meta, written in front of it.
const META_VERSION: u8 = 1;

// Flag bits of a meta (persisted).
const CLOSED: u64 = 1;
const RETIRED: u64 = 1 << 1;
const CLOSED_BY: u64 = 1 << 2;
const LAST_SEQ: u64 = 1 << 3;
const PARENT: u64 = 1 << 4;
const FORK: u64 = 1 << 5;
const KEEP_SECONDS: u64 = 1 << 6;
const KEEP_BYTES: u64 = 1 << 7;
const KEEP_MESSAGES: u64 = 1 << 8;
const SLIDING: u64 = 1 << 9;
const UNTIL: u64 = 1 << 10;
const KNOWN: u64 = (1 << 11) - 1;

/// Appends a meta.
pub fn put_meta(out: &mut impl Sink, meta: &StreamMeta) {
    put_u8(out, META_VERSION);
    put_number(out, flags(meta));
    put_number(out, meta.id.0);
    put_blob(out, meta.name.as_str().as_bytes());
    put_blob(out, meta.config.content_type.as_str().as_bytes());
    put_time(out, meta.created_at);
    put_time(out, meta.touched_at);
    put_offset(out, meta.base);
    put_offset(out, meta.earliest);
    put_offset(out, meta.tail);
    put_number(out, u64::from(meta.pins));
    match meta.config.lifetime {
        Lifetime::Forever => {}
        Lifetime::Sliding(seconds) => put_number(out, seconds),
        Lifetime::Until(at) => put_time(out, at),
    }
    let Retention { seconds, bytes, messages } = meta.config.retention;
    for value in [seconds, bytes, messages].into_iter().flatten() {
        put_number(out, value);
    }
    if let Some(fork) = &meta.config.fork {
        put_blob(out, fork.source.as_str().as_bytes());
        put_offset(out, fork.offset);
        put_number(out, fork.sub_offset);
    }
    if let Some(stamp) = &meta.closed_by {
        put_stamp(out, stamp);
    }
    if let Some(seq) = &meta.last_seq {
        put_blob(out, &seq.0);
    }
    if let Some(parent) = &meta.parent {
        put_parent(out, parent);
    }
}

fn flags(meta: &StreamMeta) -> u64 {
    let retention = meta.config.retention;
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    bit(meta.closed, CLOSED)
        | bit(meta.retired, RETIRED)
        | bit(meta.closed_by.is_some(), CLOSED_BY)
        | bit(meta.last_seq.is_some(), LAST_SEQ)
        | bit(meta.parent.is_some(), PARENT)
        | bit(meta.config.fork.is_some(), FORK)
        | bit(retention.seconds.is_some(), KEEP_SECONDS)
        | bit(retention.bytes.is_some(), KEEP_BYTES)
        | bit(retention.messages.is_some(), KEEP_MESSAGES)
        | bit(matches!(meta.config.lifetime, Lifetime::Sliding(_)), SLIDING)
        | bit(matches!(meta.config.lifetime, Lifetime::Until(_)), UNTIL)
}

/// Reads a meta.
pub fn get_meta(cursor: &mut Cursor<'_>) -> Result<StreamMeta, CodecError> {
    let version = cursor.u8("meta version")?;
    if version != META_VERSION {
        return Err(CodecError::Version { what: "a stream's meta", found: version });
    }
    let flags = cursor.number("meta flags")?;
    let has = |bit: u64| flags & bit != 0;
    if flags & !KNOWN != 0 || (has(SLIDING) && has(UNTIL)) {
        return Err(CodecError::Impossible("meta flags"));
    }
    let id = StreamId(cursor.number("stream id")?);
    let name = get_name(cursor)?;
    let content_type = get_content_type(cursor)?;
    let created_at = cursor.time("created at")?;
    let touched_at = cursor.time("touched at")?;
    let base = cursor.offset("base")?;
    let earliest = cursor.offset("earliest")?;
    let tail = cursor.offset("tail")?;
    let pins = cursor.number32("pins")?;
    let lifetime = if has(SLIDING) {
        Lifetime::Sliding(cursor.number("lifetime")?)
    } else if has(UNTIL) {
        Lifetime::Until(cursor.time("lifetime")?)
    } else {
        Lifetime::Forever
    };
    let mut kept = |bit| has(bit).then(|| cursor.number("retention")).transpose();
    let retention =
        Retention { seconds: kept(KEEP_SECONDS)?, bytes: kept(KEEP_BYTES)?, messages: kept(KEEP_MESSAGES)? };
    let fork = has(FORK).then(|| get_fork(cursor)).transpose()?;
    Ok(StreamMeta {
        id,
        name,
        config: StreamConfig { content_type, lifetime, retention, fork },
        created_at,
        touched_at,
        base,
        earliest,
        tail,
        closed: has(CLOSED),
        closed_by: has(CLOSED_BY).then(|| get_stamp(cursor)).transpose()?,
        last_seq: has(LAST_SEQ).then(|| get_seq(cursor)).transpose()?,
        parent: has(PARENT).then(|| get_parent(cursor)).transpose()?,
        pins,
        retired: has(RETIRED),
    })
}

/// Reads a stream name.
pub fn get_name(cursor: &mut Cursor<'_>) -> Result<StreamName, CodecError> {
    StreamName::from_bytes(cursor.blob("name")?).map_err(|_| CodecError::Impossible("name"))
}

/// Reads a content type.
pub fn get_content_type(cursor: &mut Cursor<'_>) -> Result<ContentType, CodecError> {
    let raw = cursor.blob("content type")?;
    let text = std::str::from_utf8(raw).map_err(|_| CodecError::Impossible("content type"))?;
    ContentType::parse(text).ok_or(CodecError::Impossible("content type"))
}

fn get_fork(cursor: &mut Cursor<'_>) -> Result<ForkOrigin, CodecError> {
    Ok(ForkOrigin {
        source: get_name(cursor)?,
        offset: cursor.offset("fork offset")?,
        sub_offset: cursor.number("fork sub-offset")?,
    })
}

/// Appends where a fork's earlier data lies.
pub fn put_parent(out: &mut impl Sink, parent: &Parent) {
    put_number(out, u64::from(parent.shard.0));
    put_number(out, parent.stream.0);
    put_offset(out, parent.upto);
    put_number(out, parent.pin.0);
    put_number(out, u64::from(parent.depth));
}

/// Reads where a fork's earlier data lies.
pub fn get_parent(cursor: &mut Cursor<'_>) -> Result<Parent, CodecError> {
    let shard = u16::try_from(cursor.number("parent shard")?);
    Ok(Parent {
        shard: ShardId(shard.map_err(|_| CodecError::Impossible("parent shard"))?),
        stream: StreamId(cursor.number("parent stream")?),
        upto: cursor.offset("parent end")?,
        pin: PinId(cursor.number("parent pin")?),
        depth: cursor.number32("parent depth")?,
    })
}

fn bounded(
    cursor: &mut Cursor<'_>,
    bytes_min: usize,
    bytes_max: usize,
    what: &'static str,
) -> Result<Bytes, CodecError> {
    let raw = cursor.blob(what)?;
    if raw.len() < bytes_min || raw.len() > bytes_max {
        return Err(CodecError::Impossible(what));
    }
    Ok(cursor.own(raw))
}

/// Appends the position of a producer.
pub fn put_producer_state(out: &mut impl Sink, state: ProducerState) {
    put_number(out, state.epoch);
    put_number(out, state.seq);
}

/// Reads the position of a producer.
pub fn get_producer_state(cursor: &mut Cursor<'_>) -> Result<ProducerState, CodecError> {
    Ok(ProducerState { epoch: cursor.number("producer epoch")?, seq: cursor.number("producer seq")? })
}

/// Appends a producer with its position.
pub fn put_stamp(out: &mut impl Sink, stamp: &ProducerStamp) {
    put_blob(out, &stamp.id.0);
    put_producer_state(out, stamp.state);
}

/// Reads a producer with its position.
pub fn get_stamp(cursor: &mut Cursor<'_>) -> Result<ProducerStamp, CodecError> {
    let id = ProducerId(bounded(cursor, 1, PRODUCER_ID_BYTES_MAX, "producer id")?);
    Ok(ProducerStamp { id, state: get_producer_state(cursor)? })
}

/// Reads a `Stream-Seq`.
pub fn get_seq(cursor: &mut Cursor<'_>) -> Result<StreamSeq, CodecError> {
    Ok(StreamSeq(bounded(cursor, 0, STREAM_SEQ_BYTES_MAX, "stream seq")?))
}

/// Appends a pin.
pub fn put_pin(out: &mut impl Sink, pin: &PinOp) {
    put_number(out, pin.stream.0);
    put_number(out, pin.pin.0);
    put_blob(out, pin.fork.as_str().as_bytes());
    put_offset(out, pin.upto);
    put_time(out, pin.at);
}

/// Reads a pin.
pub fn get_pin(cursor: &mut Cursor<'_>) -> Result<PinOp, CodecError> {
    Ok(PinOp {
        stream: StreamId(cursor.number("pinned stream")?),
        pin: PinId(cursor.number("pin")?),
        fork: get_name(cursor)?,
        upto: cursor.offset("pinned end")?,
        at: cursor.time("pinned at")?,
    })
}
