//! POST: append, close, or both.

use super::errors::{NO_ROOM_FOR_LENGTHS, OVERLOADED, Rejection, append_problem, write_failure};
use super::names::decode_name;
use super::state::{write_closed, write_incarnation, write_next_offset};
use super::{Api, Sse, fields};
use crate::codec::json;
use crate::core::{Append, AppendError, Appended, BodyError};
use crate::http::wire::{Body, Exchange, Grant, Request, ResponseHead};
use crate::runtime::EngineError;
use crate::types::{ContentType, Incarnation, Messages};

pub(super) async fn append(
    api: &Api,
    name: &[u8],
    request: &Request<'_>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let command = match parse(name, request) {
        Ok(command) => command,
        Err(rejection) => return rejection.write(out),
    };
    let Some(_room) = room_for_lengths(&command.body, exchange).await else {
        return Body::Full(OVERLOADED.write(out, NO_ROOM_FOR_LENGTHS));
    };
    let (stamped, name) = (command.producer.is_some(), command.name.clone());
    match api.engine().append(command).await {
        Ok(appended) => {
            let incarnation = api.engine().incarnation(&name, appended.stream);
            write_appended(out, &appended, incarnation, stamped)
        }
        Err(EngineError::Refused(error)) => write_refusal(out, &error),
        Err(EngineError::Failure(failure)) => write_failure(out, &failure),
    }
}

fn parse(name: &[u8], request: &Request<'_>) -> Result<Append, Rejection> {
    fields::no_coding(request)?;
    let content_type = match fields::content_type(request) {
        Ok(content_type) => content_type,
        // Without a body nobody looks at it.
        Err(_) if request.body.is_empty() => None,
        Err(rejection) => return Err(rejection),
    };
    let name = decode_name(name).map_err(Rejection::name)?;
    let producer = fields::producer(request)?;
    let seq = fields::stream_seq(request)?;
    let if_match = fields::if_match(request)?;
    let close = fields::closed(request);
    let body = body_messages(request, content_type.as_ref());
    Ok(Append { name, content_type, body, close, producer, seq, if_match })
}

/// The body as messages; `None` when it is empty.
pub(super) fn body_messages(
    request: &Request<'_>,
    content_type: Option<&ContentType>,
) -> Result<Option<Messages>, BodyError> {
    if request.body.is_empty() {
        return Ok(None);
    }
    if content_type.is_some_and(ContentType::is_json) {
        return json::split(&request.body).map(Some);
    }
    Ok(Messages::single(request.body.clone()))
}

/// The lengths of a body's messages may take more memory than the body, for which room was made before it was read.
pub(super) async fn room_for_lengths(
    body: &Result<Option<Messages>, BodyError>,
    exchange: &Exchange<'_>,
) -> Option<Grant> {
    match body {
        Ok(Some(messages)) if messages.lengths().len() > 1 => {
            let (admission, bytes) = (&exchange.registry().admission, size_of_val(messages.lengths()));
            match admission.beside_request_now(bytes) {
                Some(grant) => Some(grant),
                None => Box::pin(admission.beside_request(bytes)).await,
            }
        }
        _ => Some(Grant::default()),
    }
}

fn write_appended(
    out: &mut ResponseHead,
    appended: &Appended,
    incarnation: Incarnation,
    stamped: bool,
) -> Body<Sse> {
    let fresh = stamped && appended.data && !appended.duplicate;
    out.begin(if fresh { 200 } else { 204 });
    write_next_offset(out, appended.tail);
    write_incarnation(out, incarnation);
    write_closed(out, appended.closed);
    if let Some(state) = appended.producer {
        out.number("Producer-Epoch", state.epoch);
        out.number("Producer-Seq", state.seq);
    }
    if fresh { Body::empty() } else { Body::Absent }
}

fn write_refusal(out: &mut ResponseHead, error: &AppendError) -> Body<Sse> {
    let body = append_problem(error).write(out, &error.to_string());
    match *error {
        AppendError::Fenced { current } => out.number("Producer-Epoch", current),
        AppendError::Closed { tail } => {
            write_next_offset(out, tail);
            write_closed(out, true);
        }
        AppendError::SequenceGap { expected, received } => {
            out.number("Producer-Expected-Seq", expected);
            out.number("Producer-Received-Seq", received);
        }
        AppendError::TailMoved { tail } => write_next_offset(out, tail),
        AppendError::NotFound
        | AppendError::Gone
        | AppendError::EmptyBody
        | AppendError::MissingContentType
        | AppendError::Body(_)
        | AppendError::ContentType { .. }
        | AppendError::EpochStart
        | AppendError::StreamSeq
        | AppendError::StreamFull { .. }
        | AppendError::TooManyProducers { .. } => {}
    }
    Body::Full(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Offset, ProducerState, StreamId};

    const TAIL: Offset = Offset { messages: 1, bytes: 2 };

    #[test]
    fn replies_say_what_was_accepted() {
        let next = format!("Stream-Next-Offset: {TAIL}\r\nStream-Incarnation: 00000000000000ff\r\n");
        let producer = Some(ProducerState { epoch: 3, seq: 4 });
        let stamps = "Producer-Epoch: 3\r\nProducer-Seq: 4\r\n";
        let plain = Appended {
            stream: StreamId(1),
            tail: TAIL,
            closed: false,
            producer: None,
            duplicate: false,
            data: true,
        };
        for (appended, stamped, expected) in [
            (plain.clone(), false, format!("HTTP/1.1 204 No Content\r\n{next}")),
            (
                Appended { closed: true, ..plain.clone() },
                false,
                format!("HTTP/1.1 204 No Content\r\n{next}Stream-Closed: true\r\n"),
            ),
            (Appended { producer, ..plain.clone() }, true, format!("HTTP/1.1 200 OK\r\n{next}{stamps}")),
            (
                Appended { producer, duplicate: true, data: false, ..plain.clone() },
                true,
                format!("HTTP/1.1 204 No Content\r\n{next}{stamps}"),
            ),
            (
                Appended { producer, data: false, closed: true, ..plain },
                true,
                format!("HTTP/1.1 204 No Content\r\n{next}Stream-Closed: true\r\n{stamps}"),
            ),
        ] {
            let mut out = ResponseHead::for_test();
            write_appended(&mut out, &appended, Incarnation(0xff), stamped);
            assert_eq!(out.text(), expected);
        }
    }

    #[test]
    fn refusals_carry_what_the_writer_needs_to_go_on() {
        for (error, status, headers) in [
            (AppendError::NotFound, 404, String::new()),
            (AppendError::Gone, 410, String::new()),
            (AppendError::EmptyBody, 400, String::new()),
            (AppendError::Fenced { current: 7 }, 403, "Producer-Epoch: 7\r\n".to_owned()),
            (
                AppendError::Closed { tail: TAIL },
                409,
                format!("Stream-Next-Offset: {TAIL}\r\nStream-Closed: true\r\n"),
            ),
            (
                AppendError::SequenceGap { expected: 1, received: 5 },
                409,
                "Producer-Expected-Seq: 1\r\nProducer-Received-Seq: 5\r\n".to_owned(),
            ),
            (AppendError::TailMoved { tail: TAIL }, 412, format!("Stream-Next-Offset: {TAIL}\r\n")),
            (AppendError::StreamSeq, 409, String::new()),
            (AppendError::EpochStart, 400, String::new()),
            (AppendError::StreamFull { limit: 1 }, 413, String::new()),
        ] {
            let mut out = ResponseHead::for_test();
            write_refusal(&mut out, &error);
            assert_eq!(out.status(), status, "{error:?}");
            let tail =
                format!("Content-Type: application/problem+json\r\nCache-Control: no-store\r\n{headers}");
            assert!(out.text().ends_with(&tail), "{}", out.text());
        }
    }
}
