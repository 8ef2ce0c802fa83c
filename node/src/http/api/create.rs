//! PUT: create, confirm, or fork.

use super::append::{body_messages, room_for_lengths};
use super::errors::{NO_ROOM_FOR_LENGTHS, OVERLOADED, Rejection, create_problem, write_failure};
use super::names::{decode_name, decode_source};
use super::state::{write_bounds, write_closed, write_content_type, write_incarnation, write_next_offset};
use super::{Api, Sse, fields};
use crate::core::{Create, Created};
use crate::http::wire::{Body, Exchange, Field, Request, ResponseHead};
use crate::runtime::{EngineError, ForkRequest};
use crate::types::{Incarnation, StreamConfig, UnixMillis};

pub(super) async fn create(
    api: &Api,
    name: &[u8],
    request: &Request<'_>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let (create, fork) = match parse(name, request, api.now()) {
        Ok(parsed) => parsed,
        Err(rejection) => return rejection.write(out),
    };
    let Some(_room) = room_for_lengths(&create.body, exchange).await else {
        return Body::Full(OVERLOADED.write(out, NO_ROOM_FOR_LENGTHS));
    };
    match api.engine().create(create, fork).await {
        Ok(created) => {
            let incarnation = api.engine().incarnation(&created.meta.name, created.meta.id);
            write_created(out, &created, incarnation, &location(request));
            Body::empty()
        }
        Err(EngineError::Refused(error)) => Body::Full(create_problem(&error).write(out, &error.to_string())),
        Err(EngineError::Failure(failure)) => write_failure(out, &failure),
    }
}

fn parse(
    name: &[u8],
    request: &Request<'_>,
    now: UnixMillis,
) -> Result<(Create, Option<ForkRequest>), Rejection> {
    fields::no_coding(request)?;
    let name = decode_name(name).map_err(Rejection::name)?;
    let content_type = fields::content_type(request)?;
    let lifetime = fields::lifetime(request, now)?;
    let retention = fields::retention(request)?;
    let fork = fork_request(request)?;
    let content_type_given = content_type.is_some();
    let content_type = content_type.unwrap_or_default();
    let body = body_messages(request, Some(&content_type));
    let config = StreamConfig { content_type, lifetime, retention, fork: None };
    let fork_offset_given = fork.as_ref().is_some_and(|fork| fork.offset.is_some());
    let closed = fields::closed(request);
    Ok((Create { name, config, content_type_given, fork_offset_given, closed, body, fork: None }, fork))
}

fn fork_request(request: &Request<'_>) -> Result<Option<ForkRequest>, Rejection> {
    let offset = request.field(Field::ForkOffset);
    let sub_offset = request.field(Field::ForkSubOffset);
    let Some(source) = request.field(Field::ForkedFrom) else {
        return match (offset, sub_offset) {
            (None, None) => Ok(None),
            _ => Err(Rejection::header(
                "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From",
            )),
        };
    };
    let source = decode_source(source).map_err(|error| Rejection::header(error.to_string()))?;
    let offset = match offset {
        None => None,
        Some(value) => Some(
            fields::offset(value)
                .ok_or_else(|| Rejection::header("Stream-Fork-Offset is a value of Stream-Next-Offset"))?,
        ),
    };
    let sub_offset = match sub_offset {
        None => 0,
        Some(value) => fields::canonical_number(value)
            .ok_or_else(|| Rejection::header("Stream-Fork-Sub-Offset is a number without leading zero"))?,
    };
    Ok(Some(ForkRequest { source, offset, sub_offset }))
}

/// The request's own URL, as the client wrote it to us or to the proxy in front of us.
fn location(request: &Request<'_>) -> Vec<u8> {
    let mut url = Vec::with_capacity(96);
    if let Some(authority) = request.authority().filter(|authority| !authority.is_empty()) {
        url.extend_from_slice(request.scheme().as_bytes());
        url.extend_from_slice(b"://");
        url.extend_from_slice(authority);
    }
    url.extend_from_slice(request.path());
    url
}

fn write_created(out: &mut ResponseHead, created: &Created, incarnation: Incarnation, location: &[u8]) {
    let meta = &created.meta;
    out.begin(if created.new { 201 } else { 200 });
    if created.new {
        out.header("Location", location);
    }
    write_content_type(out, &meta.config);
    write_next_offset(out, meta.tail);
    write_closed(out, meta.closed);
    write_bounds(out, &meta.config);
    write_incarnation(out, incarnation);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::BodyError;
    use crate::http::wire::{Limits, Parsed, parse_head};
    use crate::types::{ContentType, Lifetime, Offset};
    use bytes::Bytes;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn parsed(head: &str, body: &'static str) -> Result<(Create, Option<ForkRequest>), Rejection> {
        let raw = format!("PUT /v1/stream/a HTTP/1.1\r\nHost: h:1\r\n{head}\r\n");
        let Ok(Parsed::Complete(head)) = parse_head(raw.as_bytes(), &Limits::default()) else {
            panic!("{raw}")
        };
        parse(
            b"a",
            &Request { head: &head, bytes: raw.as_bytes(), body: Bytes::from_static(body.as_bytes()) },
            NOW,
        )
    }

    #[test]
    fn a_bare_put_creates_an_octet_stream() {
        let (create, fork) = parsed("", "").unwrap();
        assert_eq!(create.config, StreamConfig::default());
        assert!(!create.content_type_given && !create.closed && fork.is_none());
        assert_eq!(create.body, Ok(None));
    }

    #[test]
    fn a_put_carries_type_lifetime_and_first_messages() {
        let (create, _) =
            parsed("Content-Type: application/json\r\nStream-TTL: 5\r\nStream-Closed: true\r\n", "[1,2]")
                .unwrap();
        assert_eq!(create.config.content_type, ContentType::parse("application/json").unwrap());
        assert_eq!(create.config.lifetime, Lifetime::Sliding(5));
        assert!(create.closed && create.content_type_given);
        assert_eq!(create.body.unwrap().unwrap().count(), 2);
    }

    #[test]
    fn an_empty_array_is_allowed_at_creation() {
        let (create, _) = parsed("Content-Type: application/json\r\n", "[]").unwrap();
        assert_eq!(create.body, Err(BodyError::EmptyArray), "the core takes it for no content");
    }

    #[test]
    fn a_fork_names_source_and_point() {
        let zero = Offset::ZERO.to_string();
        let head = format!(
            "Stream-Forked-From: /v1/stream/src\r\nStream-Fork-Offset: {zero}\r\nStream-Fork-Sub-Offset: 3\r\n"
        );
        let (create, fork) = parsed(&head, "").unwrap();
        let fork = fork.unwrap();
        assert_eq!((fork.source.as_str(), fork.offset, fork.sub_offset), ("src", Some(Offset::ZERO), 3));
        assert!(create.fork_offset_given);
        for bad in [
            "Stream-Fork-Sub-Offset: 0\r\n",
            "Stream-Fork-Offset: 0000000000000000_0000000000000000\r\n",
            "Stream-Forked-From: src\r\n",
            "Stream-Forked-From: /v1/stream/src\r\nStream-Fork-Offset: -1\r\n",
            "Stream-Forked-From: /v1/stream/src\r\nStream-Fork-Sub-Offset: 01\r\n",
            "Stream-Forked-From: /v1/stream/src\r\nStream-Fork-Sub-Offset: -1\r\n",
            "Content-Type: nonsense\r\n",
        ] {
            assert_eq!(parsed(bad, "").unwrap_err().problem.status, 400, "{bad}");
        }
    }

    #[test]
    fn the_location_is_the_url_of_the_request() {
        for (headers, scheme) in [
            ("", "http"),
            ("X-Forwarded-Proto: https\r\n", "https"),
            ("x-forwarded-proto: HTTPS, http\r\n", "https"),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "https"),
            ("X-Forwarded-Proto: http\r\n", "http"),
            ("X-Forwarded-Proto: javascript\r\n", "http"),
            ("X-Forwarded-Proto: https://evil/\r\n", "http"),
        ] {
            let raw = format!("PUT /v1/stream/a%20b?x HTTP/1.1\r\nHost: h:1\r\n{headers}\r\n");
            let Ok(Parsed::Complete(head)) = parse_head(raw.as_bytes(), &Limits::default()) else { panic!() };
            let request = Request { head: &head, bytes: raw.as_bytes(), body: Bytes::new() };
            let expected = format!("{scheme}://h:1/v1/stream/a%20b");
            assert_eq!(String::from_utf8(location(&request)).unwrap(), expected, "{headers}");
        }
    }

    #[test]
    fn an_end_in_the_past_is_refused() {
        for (instant, status) in [
            ("1970-01-01T00:16:40Z", Some(400)),
            ("1970-01-01T00:00:00Z", Some(400)),
            ("1970-01-01T00:16:40.001Z", None),
        ] {
            let found = parsed(&format!("Stream-Expires-At: {instant}\r\n"), "");
            assert_eq!(found.err().map(|rejection| rejection.problem.status), status, "{instant}");
        }
    }

    #[test]
    fn a_coded_body_is_refused_and_not_taken_for_the_content() {
        for (coding, status) in
            [("gzip", Some(415)), ("br, gzip", Some(415)), ("", Some(415)), ("Identity", None)]
        {
            let found = parsed(&format!("Content-Encoding: {coding}\r\n"), "x");
            assert_eq!(found.err().map(|rejection| rejection.problem.status), status, "{coding}");
        }
    }

    #[test]
    fn no_lifetime_is_too_long() {
        let (create, _) = parsed("Stream-TTL: 99999999999999999999999\r\n", "").unwrap();
        assert_eq!(create.config.lifetime, Lifetime::Sliding(u64::MAX));
        assert_eq!(create.config.lifetime.deadline(NOW), Some(UnixMillis(i64::MAX)));
    }
}
