//! POST: the order in which an append is checked, and the one op that it becomes.

use super::decision::{Context, Verdict};
use super::expiry::living;
use super::head::Head;
use super::producer::{Standing, standing};
use super::{Append, AppendError, Appended, Reply};
use crate::types::{AppendOp, ContentType, Framing, Messages, Op, ProducerState, StreamMeta};

/// Decides an append or a closure.
pub(super) fn append(head: Option<&Head>, append: Append, context: &Context<'_>) -> Verdict {
    match judge(head, append, context) {
        Ok((Some(op), appended)) => Verdict::one(Op::Append(op), Reply::Append(Ok(appended))),
        Ok((None, appended)) => Verdict::unchanged(Reply::Append(Ok(appended))),
        Err(error) => Verdict::unchanged(Reply::Append(Err(error))),
    }
}

type Judgement = Result<(Option<AppendOp>, Appended), AppendError>;

/// The checks, in the order that clients can tell apart: existence, the request by itself, the producer's past, the
/// closure, and only then whatever a *new* write must fulfil.
fn judge(head: Option<&Head>, append: Append, context: &Context<'_>) -> Judgement {
    let head = living(head, context).ok_or(AppendError::NotFound)?;
    let meta = &head.meta;
    if meta.retired {
        return Err(AppendError::Gone);
    }
    let Append { content_type, body, close, producer, seq, if_match, .. } = append;
    let body = body.map(present);
    match body {
        Ok(None) if !close => return Err(AppendError::EmptyBody),
        Ok(Some(_)) | Err(_) if content_type.is_none() => return Err(AppendError::MissingContentType),
        _ => {}
    }
    let body = body?;
    let last = producer.as_ref().and_then(|stamp| head.producers.get(&stamp.id).flatten());
    let standing = producer.as_ref().map(|stamp| standing(last, stamp.state));
    match standing {
        Some(Standing::Fenced { current }) => return Err(AppendError::Fenced { current }),
        Some(Standing::Duplicate(state)) => return Ok((None, repeated(meta, Some(state)))),
        _ => {}
    }
    if meta.closed {
        // Closing a closed stream is done already, unless a producer counts on it.
        return if body.is_none() && producer.is_none() {
            Ok((None, repeated(meta, None)))
        } else {
            Err(AppendError::Closed { tail: meta.tail })
        };
    }
    check_type(head, content_type.as_ref(), body.as_ref())?;
    let received = producer.as_ref().map_or(0, |stamp| stamp.state.seq);
    match standing {
        Some(Standing::EpochStart) => return Err(AppendError::EpochStart),
        Some(Standing::Gap { expected }) => return Err(AppendError::SequenceGap { expected, received }),
        _ => {}
    }
    if seq.is_some() && seq <= meta.last_seq {
        return Err(AppendError::StreamSeq);
    }
    if if_match.is_some_and(|expected| expected != meta.tail) {
        return Err(AppendError::TailMoved { tail: meta.tail });
    }
    check_room(head, body.as_ref(), producer.is_some() && last.is_none(), context)?;
    let data = body.is_some();
    let messages = body.unwrap_or_else(|| Messages::none(head.framing));
    let appended = Appended {
        stream: meta.id,
        tail: messages.end(meta.tail),
        closed: close,
        producer: producer.as_ref().map(|stamp| stamp.state),
        duplicate: false,
        data,
    };
    let (stream, start, at) = (meta.id, meta.tail, context.now);
    Ok((Some(AppendOp { stream, start, messages, close, producer, seq, at }), appended))
}

/// The messages, if there are any. Nothing but an empty body of a plain stream has no bytes.
pub(super) fn present(body: Option<Messages>) -> Option<Messages> {
    body.filter(|messages| !messages.wire().is_empty())
}

/// The answer to what was accepted before: the tail now, which never lies before the request's own messages.
fn repeated(meta: &StreamMeta, producer: Option<ProducerState>) -> Appended {
    Appended { stream: meta.id, tail: meta.tail, closed: meta.closed, producer, duplicate: true, data: false }
}

fn check_type(
    head: &Head,
    content_type: Option<&ContentType>,
    body: Option<&Messages>,
) -> Result<(), AppendError> {
    let Some(body) = body else { return Ok(()) };
    let expected = &head.meta.config.content_type;
    if fits(body, head.framing) && content_type.is_some_and(|named| named == expected) {
        Ok(())
    } else {
        Err(AppendError::ContentType { expected: expected.clone() })
    }
}

/// The stream's own bounds: producers that it remembers, bytes that it keeps.
fn check_room(
    head: &Head,
    body: Option<&Messages>,
    new_producer: bool,
    context: &Context<'_>,
) -> Result<(), AppendError> {
    let producers_max = context.limits.producers_per_stream_max;
    if new_producer && head.producer_count >= producers_max {
        return Err(AppendError::TooManyProducers { limit: producers_max });
    }
    let added = body.map_or(0, Messages::payload_bytes);
    match context.limits.stream_bytes_max {
        Some(limit) if added > 0 && kept_bytes(&head.meta).saturating_add(added) > limit => {
            Err(AppendError::StreamFull { limit })
        }
        _ => Ok(()),
    }
}

/// Bytes that the stream itself keeps: what a fork inherits is its source's, what retention let go is nobody's.
fn kept_bytes(meta: &StreamMeta) -> u64 {
    meta.tail.bytes.saturating_sub(meta.base.max(meta.earliest).bytes)
}

/// Whether messages fit the framing of a content type.
pub(super) fn fits(messages: &Messages, framing: Framing) -> bool {
    messages.framing() == framing
}
