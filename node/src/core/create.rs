//! PUT: confirm the stream that exists, or create one, fork or not, with its first messages and closure in one record.
//!
//! A fork inherits what it does not name: content type, lifetime and also retention, so that it goes on as its source
//! would have; a fork that kept everything although its source does not would grow without anybody having asked for it.

use super::append::{fits, present};
use super::decision::{Context, Verdict};
use super::expiry::expired;
use super::head::{Head, advance};
use super::{BodyError, Create, CreateError, Created, Fork, Ops, Reply};
use crate::codec::json;
use crate::types::{
    AppendOp, Framing, Lifetime, Messages, Offset, Op, Retention, StreamConfig, StreamId, StreamMeta,
};

/// Decides a creation.
pub(super) fn create(head: Option<&Head>, create: Create, context: &Context<'_>) -> Verdict {
    let granted = create.fork.as_ref().map(|fork| fork.parent);
    let existing = head.map(|head| &head.meta);
    let refused = |error| Verdict { released: granted, ..Verdict::unchanged(Reply::Create(Err(error))) };
    let over = match existing {
        Some(meta) if meta.retired => return refused(CreateError::Retired),
        Some(meta) if !expired(meta, context) => {
            let reply = confirm(meta, &create);
            return Verdict { released: granted, ..Verdict::unchanged(Reply::Create(reply)) };
        }
        // Its time is over, but forks read from it: the name stays taken until they are gone.
        Some(meta) if meta.pins > 0 => {
            let retire = Ops::One(Op::Retire { stream: meta.id });
            return Verdict { ops: retire, ..refused(CreateError::Retired) };
        }
        over => over,
    };
    match plan(create, context) {
        Err(error) => refused(error),
        Ok((mut ops, meta)) => {
            if let Some(over) = over {
                ops.insert(0, Op::Delete { stream: over.id });
            }
            let reply = Reply::Create(Ok(Created { new: true, meta: Box::new(meta) }));
            Verdict { ops: Ops::Many(ops), reply, released: over.and_then(|over| over.parent) }
        }
    }
}

/// Compares a request with the stream that exists.
fn confirm(meta: &StreamMeta, create: &Create) -> Result<Created, CreateError> {
    match conflict(meta, create) {
        Some(what) => Err(CreateError::Conflict(what)),
        None => Ok(Created { new: false, meta: Box::new(meta.clone()) }),
    }
}

/// The first part of the configuration that differs. The closure compares with the state now, not at creation.
fn conflict(meta: &StreamMeta, create: &Create) -> Option<&'static str> {
    let (ours, theirs) = (&meta.config, &create.config);
    let forked = theirs.fork.is_some();
    if (create.content_type_given || !forked) && ours.content_type != theirs.content_type {
        return Some("content type");
    }
    if !(forked && theirs.lifetime == Lifetime::Forever) && ours.lifetime != theirs.lifetime {
        return Some("lifetime");
    }
    if !(forked && theirs.retention == Retention::default()) && ours.retention != theirs.retention {
        return Some("retention");
    }
    if meta.closed != create.closed {
        return Some("closure state");
    }
    match (&ours.fork, &theirs.fork) {
        (None, None) => None,
        (Some(ours), Some(theirs)) if ours.source == theirs.source => {
            if create.fork_offset_given && ours.offset != theirs.offset {
                Some("fork offset")
            } else if ours.sub_offset != theirs.sub_offset {
                Some("fork sub-offset")
            } else {
                None
            }
        }
        _ => Some("fork source"),
    }
}

/// The record that creates a stream, and the state that it leads to.
fn plan(create: Create, context: &Context<'_>) -> Result<(Vec<Op>, StreamMeta), CreateError> {
    let Create { name, mut config, content_type_given, fork_offset_given, closed, body, fork } = create;
    match (&mut config.fork, &fork) {
        (Some(_), None) => return Err(CreateError::Unpinned),
        (origin, Some(fork)) => {
            if let Some(origin) = origin.as_mut().filter(|_| !fork_offset_given) {
                origin.offset = fork.parent.upto;
            }
            inherit(&mut config, content_type_given, fork)?;
        }
        (None, None) => {}
    }
    let framing = if config.content_type.is_json() { Framing::Json } else { Framing::Plain };
    let (parent, base, earliest, prefix) = match fork {
        Some(fork) => (Some(fork.parent), fork.parent.upto, fork.earliest, fork.prefix),
        None => (None, Offset::ZERO, Offset::ZERO, None),
    };
    let contents = [prefix.and_then(|prefix| present(Some(prefix))), content(body, framing)?];
    check_size(contents.iter().flatten(), framing, context)?;
    let mut meta = StreamMeta {
        id: context.next_stream_id,
        name,
        config,
        created_at: context.now,
        touched_at: context.now,
        base,
        earliest,
        tail: base,
        // Without any message, the state at creation says it; else the last append does.
        closed: closed && contents.iter().all(Option::is_none),
        closed_by: None,
        last_seq: None,
        parent,
        pins: 0,
        retired: false,
    };
    let mut ops = vec![Op::Create(Box::new(meta.clone()))];
    let mut left = contents.iter().flatten().count();
    for messages in contents.into_iter().flatten() {
        left -= 1;
        let close = closed && left == 0;
        let op = Op::Append(first_append(meta.id, meta.tail, messages, close, context));
        advance(&mut meta, &op);
        ops.push(op);
    }
    Ok((ops, meta))
}

fn first_append(
    stream: StreamId,
    start: Offset,
    messages: Messages,
    close: bool,
    context: &Context<'_>,
) -> AppendOp {
    AppendOp { stream, start, messages, close, producer: None, seq: None, at: context.now }
}

/// Fills in what a fork does not name.
fn inherit(config: &mut StreamConfig, content_type_given: bool, fork: &Fork) -> Result<(), CreateError> {
    if !content_type_given {
        config.content_type = fork.content_type.clone();
    } else if config.content_type != fork.content_type {
        return Err(CreateError::ForkType { expected: fork.content_type.clone() });
    }
    if config.lifetime == Lifetime::Forever {
        config.lifetime = fork.lifetime;
    }
    if config.retention == Retention::default() {
        config.retention = fork.retention;
    }
    Ok(())
}

/// The initial content in the framing of the stream. A fork that inherits JSON brings a body that nobody has cut yet.
fn content(
    body: Result<Option<Messages>, BodyError>,
    framing: Framing,
) -> Result<Option<Messages>, CreateError> {
    let body = match body {
        Err(BodyError::EmptyArray) => None,
        other => present(other?),
    };
    match body {
        Some(messages) if !fits(&messages, framing) && framing == Framing::Json => {
            match json::split(messages.wire()) {
                Err(BodyError::EmptyArray) => Ok(None),
                other => Ok(Some(other?)),
            }
        }
        body => Ok(body),
    }
}

fn check_size<'a>(
    contents: impl Iterator<Item = &'a Messages>,
    framing: Framing,
    context: &Context<'_>,
) -> Result<(), CreateError> {
    let mut added = 0u64;
    for messages in contents {
        if !fits(messages, framing) {
            return Err(CreateError::Conflict("content type"));
        }
        added = added.saturating_add(messages.payload_bytes());
    }
    match context.limits.stream_bytes_max {
        Some(limit) if added > limit => Err(CreateError::StreamFull { limit }),
        _ => Ok(()),
    }
}
