//! `GET /v1/streams?prefix=&after=&limit=`: streams by name, a page at a time.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::errors::{NO_ROOM_FOR_ANSWER, OVERLOADED, Rejection, write_failure};
use super::etag::incarnation_text;
use super::instant::format_instant;
use super::query::{decimal, pairs};
use super::{Api, Sse};
use crate::http::wire::{Body, Exchange, Grant, ResponseHead, SMALL_ANSWER_BYTES_MAX};
use crate::runtime::Listed;
use crate::types::Lifetime;

const LIMIT_DEFAULT: usize = 100;
/// A page of the longest names stays far below a read response.
const LIMIT_MAX: usize = 1000;
/// What the longest name and all that is said of its stream take.
const LISTED_BYTES_MAX: usize = 1536;

#[derive(Debug, PartialEq, Eq)]
struct ListQuery {
    prefix: String,
    after: Option<String>,
    limit: usize,
}

pub(super) async fn list(
    api: &Api,
    query: Option<&[u8]>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let query = match parse(query.unwrap_or_default()) {
        Ok(query) => query,
        Err(rejection) => return rejection.write(out),
    };
    let room = exchange.registry().admission.response_of(query.limit * LISTED_BYTES_MAX).await;
    let Some(grant) = room else {
        return Body::Full(OVERLOADED.write(out, NO_ROOM_FOR_ANSWER));
    };
    match api.engine().list(&query.prefix, query.after.as_deref(), query.limit).await {
        Ok(streams) => {
            let page = write_page(out, &streams, query.limit);
            if page.len() <= SMALL_ANSWER_BYTES_MAX { Body::Full(page) } else { parts(page, grant) }
        }
        Err(failure) => write_failure(out, &failure),
    }
}

fn parse(raw: &[u8]) -> Result<ListQuery, Rejection> {
    let mut query = ListQuery { prefix: String::new(), after: None, limit: LIMIT_DEFAULT };
    for (name, value) in pairs(raw) {
        match name.as_ref() {
            b"prefix" => query.prefix = text(value)?,
            b"after" => query.after = Some(text(value)?),
            b"limit" => {
                let limit = decimal(&value).and_then(|limit| usize::try_from(limit).ok());
                query.limit = limit
                    .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                    .ok_or_else(|| Rejection::query("limit is a number from 1 to 1000"))?;
            }
            _ => {}
        }
    }
    Ok(query)
}

fn text(value: Cow<'_, [u8]>) -> Result<String, Rejection> {
    String::from_utf8(value.into_owned()).map_err(|_| Rejection::query("prefix and after are UTF-8"))
}

fn write_page(out: &mut ResponseHead, streams: &[Listed], limit: usize) -> Bytes {
    let last = streams.last().filter(|_| streams.len() == limit).map(|listed| listed.name.as_str());
    let page = json!({
        "streams": streams.iter().map(describe).collect::<Vec<_>>(),
        "next_after": last,
    });
    out.begin(200);
    out.lines("Content-Type: application/json\r\nCache-Control: no-store\r\n");
    Bytes::from(page.to_string())
}

fn parts(page: Bytes, mut grant: Grant) -> Body<Sse> {
    grant.shrink(page.len());
    Body::Parts { parts: vec![page], grant }
}

fn describe(listed: &Listed) -> Value {
    let state = &listed.state;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("name", listed.name.as_str().into());
    set("content_type", state.config.content_type.as_str().into());
    set("next_offset", state.tail.to_string().into());
    set("earliest_offset", state.earliest.to_string().into());
    set("closed", state.closed.into());
    set("incarnation", String::from_utf8_lossy(&incarnation_text(state.incarnation)).into());
    match state.config.lifetime {
        Lifetime::Forever => {}
        Lifetime::Sliding(seconds) => drop(set("ttl_seconds", seconds.into())),
        Lifetime::Until(at) => drop(set("expires_at", format_instant(at).into())),
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_paged_by_name() {
        let query = parse(b"prefix=a%2Fb+c&after=a/b%20c/1&limit=7&x=y").unwrap();
        assert_eq!(query, ListQuery { prefix: "a/b c".into(), after: Some("a/b c/1".into()), limit: 7 });
        assert_eq!(parse(b"").unwrap(), ListQuery { prefix: String::new(), after: None, limit: 100 });
        for bad in [&b"limit=0"[..], b"limit=1001", b"limit=x", b"limit=", b"prefix=%ff"] {
            assert!(parse(bad).is_err());
        }
    }

    #[test]
    fn the_last_page_names_no_successor() {
        let mut out = ResponseHead::for_test();
        let bytes = write_page(&mut out, &[], 1);
        assert_eq!(&bytes[..], b"{\"next_after\":null,\"streams\":[]}");
    }
}
