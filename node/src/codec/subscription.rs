//! Facts of subscriptions as bytes: the subscription at its home, a shard's share of it, a link.
//! Numbers of enum variants and flag bits are persisted: keep stable.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::CodecError;
use super::fields::{Cursor, Sink, put_blob, put_number, put_offset, put_time, put_u8};
use crate::types::{
    Definition, Delivery, Glob, Link, Phase, Share, Stage, StreamId, StreamName, Subscription,
    SubscriptionId, SubscriptionUid, WakeId,
};

/// Version of each layout, written in front of it.
const VERSION: u8 = 1;

// Flag bits (persisted).
const PATTERN: u8 = 1;
const DESCRIPTION: u8 = 1 << 1;
const HOLDER: u8 = 1 << 2;
const ACKED: u8 = 1;

// Kinds (persisted).
const WEBHOOK: u8 = 1;
const PULL: u8 = 2;
const IDLE: u8 = 1;
const ANNOUNCED: u8 = 2;
const LEASED: u8 = 3;
const LINKING: u8 = 1;
const SERVING: u8 = 2;
const REMOVING: u8 = 3;

/// The value of a subscription's fact; its key is the id.
#[must_use]
pub fn subscription_bytes(subscription: &Subscription) -> Bytes {
    let mut out = vec![VERSION];
    let definition = &subscription.definition;
    let holder = match &subscription.phase {
        Phase::Leased { holder, .. } => holder.as_deref(),
        Phase::Idle | Phase::Announced { .. } => None,
    };
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = bit(definition.pattern.is_some(), PATTERN)
        | bit(definition.description.is_some(), DESCRIPTION)
        | bit(holder.is_some(), HOLDER);
    put_u8(&mut out, flags);
    put_blob(&mut out, subscription.id.as_str().as_bytes());
    put_number(&mut out, subscription.uid.0);
    match &definition.delivery {
        Delivery::Webhook { url } => {
            put_u8(&mut out, WEBHOOK);
            put_blob(&mut out, url.as_bytes());
        }
        Delivery::Pull { wake_stream } => {
            put_u8(&mut out, PULL);
            put_blob(&mut out, wake_stream.as_str().as_bytes());
        }
    }
    put_streams(&mut out, &definition.streams);
    put_number(&mut out, u64::from(definition.lease_ms));
    put_blob(&mut out, definition.base.as_bytes());
    let texts = [definition.pattern.as_ref().map(Glob::as_str), definition.description.as_deref(), holder];
    for text in texts.into_iter().flatten() {
        put_blob(&mut out, text.as_bytes());
    }
    out.put(&subscription.config_hash);
    put_time(&mut out, subscription.created_at);
    put_u8(&mut out, stage_number(subscription.stage));
    put_number(&mut out, subscription.generation);
    put_phase(&mut out, &subscription.phase);
    put_number(&mut out, u64::from(subscription.failures));
    put_time(&mut out, subscription.retry_at);
    out.into()
}

fn put_phase(out: &mut impl Sink, phase: &Phase) {
    match phase {
        Phase::Idle => put_u8(out, IDLE),
        Phase::Announced { wake } => {
            put_u8(out, ANNOUNCED);
            out.put(&wake.0.to_le_bytes());
        }
        Phase::Leased { wake, until, .. } => {
            put_u8(out, LEASED);
            out.put(&wake.0.to_le_bytes());
            put_time(out, *until);
        }
    }
}

fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::Linking => LINKING,
        Stage::Serving => SERVING,
        Stage::Removing => REMOVING,
    }
}

/// Reads [`subscription_bytes`].
pub fn get_subscription(raw: &[u8]) -> Result<Subscription, CodecError> {
    let mut cursor = begin(raw, "a subscription")?;
    let flags = known(cursor.u8("subscription flags")?, PATTERN | DESCRIPTION | HOLDER)?;
    let id = SubscriptionId::parse(text(&mut cursor, "subscription id")?)
        .map_err(|_| CodecError::Impossible("subscription id"))?;
    let uid = SubscriptionUid(cursor.number("subscription uid")?);
    let delivery = match cursor.u8("delivery")? {
        WEBHOOK => Delivery::Webhook { url: text(&mut cursor, "webhook url")?.to_owned() },
        PULL => Delivery::Pull { wake_stream: name(&mut cursor)? },
        _ => return Err(CodecError::Impossible("delivery")),
    };
    let streams = get_streams(&mut cursor)?;
    let lease_ms = cursor.number32("lease")?;
    let base = text(&mut cursor, "base url")?.to_owned();
    let mut optional = |bit| -> Result<Option<String>, CodecError> {
        if flags & bit == 0 { Ok(None) } else { Ok(Some(text(&mut cursor, "a text")?.to_owned())) }
    };
    let (pattern, description, holder) = (optional(PATTERN)?, optional(DESCRIPTION)?, optional(HOLDER)?);
    let pattern = glob(pattern.as_deref())?;
    let config_hash = array(&mut cursor, "config hash")?;
    let created_at = cursor.time("created at")?;
    let stage = match cursor.u8("stage")? {
        LINKING => Stage::Linking,
        SERVING => Stage::Serving,
        REMOVING => Stage::Removing,
        _ => return Err(CodecError::Impossible("stage")),
    };
    let generation = cursor.number("generation")?;
    let phase = get_phase(&mut cursor, holder)?;
    let failures = cursor.number32("failures")?;
    let retry_at = cursor.time("retry at")?;
    cursor.end("subscription")?;
    let definition = Definition { delivery, pattern, streams, lease_ms, description, base };
    Ok(Subscription {
        id,
        uid,
        definition,
        config_hash,
        created_at,
        stage,
        generation,
        phase,
        failures,
        retry_at,
    })
}

fn get_phase(cursor: &mut Cursor<'_>, holder: Option<String>) -> Result<Phase, CodecError> {
    let kind = cursor.u8("phase")?;
    if holder.is_some() && kind != LEASED {
        return Err(CodecError::Impossible("holder"));
    }
    let mut wake = || array(cursor, "wake id").map(|raw| WakeId(u128::from_le_bytes(raw)));
    match kind {
        IDLE => Ok(Phase::Idle),
        ANNOUNCED => Ok(Phase::Announced { wake: wake()? }),
        LEASED => Ok(Phase::Leased { wake: wake()?, holder, until: cursor.time("lease end")? }),
        _ => Err(CodecError::Impossible("phase")),
    }
}

/// The value of a shard's share; its key is the subscription's id.
#[must_use]
pub fn share_bytes(share: &Share) -> Bytes {
    let mut out = vec![VERSION, u8::from(share.pattern.is_some())];
    put_number(&mut out, share.uid.0);
    if let Some(pattern) = &share.pattern {
        put_blob(&mut out, pattern.as_str().as_bytes());
    }
    put_streams(&mut out, &share.streams);
    out.into()
}

/// Reads [`share_bytes`].
pub fn get_share(raw: &[u8]) -> Result<Share, CodecError> {
    let mut cursor = begin(raw, "a share")?;
    let flags = known(cursor.u8("share flags")?, PATTERN)?;
    let uid = SubscriptionUid(cursor.number("share uid")?);
    let pattern = if flags & PATTERN == 0 { None } else { Some(text(&mut cursor, "pattern")?) };
    let pattern = glob(pattern)?;
    let streams = get_streams(&mut cursor)?;
    cursor.end("share")?;
    Ok(Share { uid, pattern, streams })
}

/// The key of a link: all links of a subscription stand together.
#[must_use]
pub fn link_key(id: &SubscriptionId, stream: StreamId) -> Bytes {
    let mut key = Vec::new();
    put_blob(&mut key, id.as_str().as_bytes());
    key.put(&stream.0.to_be_bytes());
    key.into()
}

/// Reads [`link_key`].
pub fn get_link_key(raw: &[u8]) -> Result<(SubscriptionId, StreamId), CodecError> {
    let mut cursor = Cursor::copying(raw);
    let id = SubscriptionId::parse(text(&mut cursor, "link's subscription")?)
        .map_err(|_| CodecError::Impossible("link's subscription"))?;
    let stream = StreamId(u64::from_be_bytes(array(&mut cursor, "link's stream")?));
    cursor.end("link key")?;
    Ok((id, stream))
}

/// The value of a link.
#[must_use]
pub fn link_bytes(link: &Link) -> Bytes {
    let mut out = vec![VERSION, u8::from(link.acked.is_some())];
    put_number(&mut out, link.uid.0);
    put_blob(&mut out, link.name.as_str().as_bytes());
    if let Some(acked) = link.acked {
        put_offset(&mut out, acked);
    }
    out.into()
}

/// Reads [`link_bytes`].
pub fn get_link(raw: &[u8]) -> Result<Link, CodecError> {
    let mut cursor = begin(raw, "a link")?;
    let flags = known(cursor.u8("link flags")?, ACKED)?;
    let uid = SubscriptionUid(cursor.number("link uid")?);
    let name = name(&mut cursor)?;
    let acked = if flags & ACKED == 0 { None } else { Some(cursor.offset("acked")?) };
    cursor.end("link")?;
    Ok(Link { uid, name, acked })
}

fn begin<'a>(raw: &'a [u8], what: &'static str) -> Result<Cursor<'a>, CodecError> {
    let mut cursor = Cursor::copying(raw);
    match cursor.u8(what)? {
        VERSION => Ok(cursor),
        found => Err(CodecError::Version { what, found }),
    }
}

fn known(flags: u8, all: u8) -> Result<u8, CodecError> {
    if flags & !all == 0 { Ok(flags) } else { Err(CodecError::Impossible("flags")) }
}

fn text<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a str, CodecError> {
    std::str::from_utf8(cursor.blob(what)?).map_err(|_| CodecError::Impossible(what))
}

fn name(cursor: &mut Cursor<'_>) -> Result<StreamName, CodecError> {
    let raw = cursor.blob("stream name")?;
    StreamName::from_bytes(raw).map_err(|_| CodecError::Impossible("stream name"))
}

fn glob(text: Option<&str>) -> Result<Option<Glob>, CodecError> {
    text.map(|text| Glob::parse(text).map_err(|_| CodecError::Impossible("pattern"))).transpose()
}

fn array<const N: usize>(cursor: &mut Cursor<'_>, what: &'static str) -> Result<[u8; N], CodecError> {
    cursor.take(N, what)?.try_into().map_err(|_| CodecError::Truncated(what))
}

fn put_streams(out: &mut impl Sink, streams: &BTreeSet<StreamName>) {
    put_number(out, streams.len() as u64);
    for stream in streams {
        put_blob(out, stream.as_str().as_bytes());
    }
}

/// Names stand in order and once, so that equal sets have equal bytes.
fn get_streams(cursor: &mut Cursor<'_>) -> Result<BTreeSet<StreamName>, CodecError> {
    let count = cursor.count("streams")?;
    let mut streams = BTreeSet::new();
    for _ in 0..count {
        let next = name(cursor)?;
        if streams.last().is_some_and(|last| *last >= next) {
            return Err(CodecError::Impossible("order of streams"));
        }
        streams.insert(next);
    }
    Ok(streams)
}

#[cfg(test)]
mod tests;
