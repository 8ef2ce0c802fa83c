//! Bodies of requests about subscriptions, checked as far as one can without knowing any state.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::error::Category;

use super::object::Object;
use crate::runtime::subscriptions::AckRequest;
use crate::runtime::subscriptions::wire::parse_wake;
use crate::types::limits::{
    ACKS_PER_REQUEST_MAX, LEASE_MS, LEASE_MS_DEFAULT, SUBSCRIPTION_STREAMS_MAX, SUBSCRIPTION_TEXT_BYTES_MAX,
};
use crate::types::{Definition, Delivery, Glob, Grant, Offset, StreamName};

/// Why a request is refused before anything is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// 400.
    #[error("{0}")]
    Request(String),
    /// 409: what is acknowledged is no position of a stream.
    #[error("{0}")]
    Offset(String),
}

fn bad(reason: impl Into<String>) -> Malformed {
    Malformed::Request(reason.into())
}

/// `expected` says what the fields are; the parser's own words say more about us than about the request.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8], expected: &str) -> Result<T, Malformed> {
    serde_json::from_slice(body).map(|Object(read)| read).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => {
                bad(format!("the body is {expected}; it is not at line {line}, column {column}"))
            }
            _ => bad(format!("the body is not JSON at line {line}, column {column}")),
        }
    })
}

const DEFINITION: &str = "an object with the text type, and no fields but the texts pattern, wake_stream and description, \
                          the list of texts streams, the object webhook with the text url, and the number lease_ttl_ms";

/// An unknown field is refused: a misspelt one would silently stay at its default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefinitionBody {
    r#type: String,
    pattern: Option<String>,
    streams: Option<Vec<String>>,
    webhook: Option<Object<WebhookBody>>,
    wake_stream: Option<String>,
    lease_ttl_ms: Option<u64>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    url: String,
}

/// `PUT …/subscriptions/:id`.
pub fn parse_definition(body: &[u8], base: String) -> Result<Definition, Malformed> {
    let body: DefinitionBody = read(body, DEFINITION)?;
    let delivery = match (body.r#type.as_str(), body.webhook, body.wake_stream) {
        ("webhook", Some(Object(webhook)), None) => Delivery::Webhook { url: webhook.url },
        ("webhook", _, _) => return Err(bad("a webhook subscription has webhook.url and no wake_stream")),
        ("pull-wake", None, Some(stream)) => Delivery::Pull { wake_stream: name(&stream)? },
        ("pull-wake", _, _) => return Err(bad("a pull-wake subscription has wake_stream and no webhook")),
        _ => return Err(bad("type is webhook or pull-wake")),
    };
    let pattern = body.pattern.as_deref().map(Glob::parse).transpose();
    let pattern = pattern.map_err(|error| bad(error.to_string()))?;
    let streams = names(&body.streams.unwrap_or_default())?.into_iter().collect::<BTreeSet<_>>();
    if pattern.is_none() && streams.is_empty() {
        return Err(bad("a subscription has a pattern, or streams, or both"));
    }
    let lease_ms = body.lease_ttl_ms.unwrap_or(u64::from(LEASE_MS_DEFAULT));
    let lease_ms = u32::try_from(lease_ms).ok().filter(|lease| LEASE_MS.contains(lease));
    let lease_ms = lease_ms.ok_or_else(|| {
        bad(format!("lease_ttl_ms is a number from {} to {}", LEASE_MS.start(), LEASE_MS.end()))
    })?;
    if body.description.as_ref().is_some_and(|text| text.len() > SUBSCRIPTION_TEXT_BYTES_MAX) {
        return Err(bad(format!("a description has at most {SUBSCRIPTION_TEXT_BYTES_MAX} bytes")));
    }
    Ok(Definition { delivery, pattern, streams, lease_ms, description: body.description, base })
}

/// `POST …/streams`.
pub fn parse_streams(body: &[u8]) -> Result<Vec<StreamName>, Malformed> {
    #[derive(Deserialize)]
    struct Body {
        streams: Vec<String>,
    }
    let streams = names(&read::<Body>(body, "an object with the list of texts streams")?.streams)?;
    if streams.is_empty() { Err(bad("streams is empty")) } else { Ok(streams) }
}

fn names(texts: &[String]) -> Result<Vec<StreamName>, Malformed> {
    if texts.len() > SUBSCRIPTION_STREAMS_MAX {
        return Err(bad(format!("a request names at most {SUBSCRIPTION_STREAMS_MAX} streams")));
    }
    texts.iter().map(|text| name(text)).collect()
}

/// The name of a stream, decoded already.
pub(super) fn name(text: &str) -> Result<StreamName, Malformed> {
    StreamName::from_bytes(text.as_bytes()).map_err(|error| bad(format!("{text:?}: {error}")))
}

/// `POST …/claim`.
pub fn parse_claim(body: &[u8]) -> Result<String, Malformed> {
    #[derive(Deserialize)]
    struct Body {
        worker: String,
    }
    let worker = read::<Body>(body, "an object with the text worker")?.worker;
    if worker.is_empty() || worker.len() > SUBSCRIPTION_TEXT_BYTES_MAX {
        return Err(bad(format!("worker is a name of 1 to {SUBSCRIPTION_TEXT_BYTES_MAX} bytes")));
    }
    Ok(worker)
}

#[derive(Deserialize)]
struct AckBody {
    wake_id: String,
    generation: u64,
    #[serde(default)]
    acks: Vec<Object<Ack>>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
struct Ack {
    stream: String,
    offset: String,
}

/// `POST …/callback` and `POST …/ack`.
pub fn parse_ack(body: &[u8]) -> Result<AckRequest, Malformed> {
    let body: AckBody = read(
        body,
        "an object with the text wake_id, the number generation, the list acks of objects with the texts stream and offset, \
         and true or false as done",
    )?;
    if body.acks.len() > ACKS_PER_REQUEST_MAX {
        return Err(bad(format!("a request acknowledges at most {ACKS_PER_REQUEST_MAX} streams")));
    }
    let position = |Object(ack): &Object<Ack>| {
        let offset: Offset = ack.offset.parse().map_err(|_| {
            Malformed::Offset(format!(
                "{:?} is no offset of {:?}: acknowledge what was shown or read",
                ack.offset, ack.stream
            ))
        })?;
        Ok((name(&ack.stream)?, offset))
    };
    let acks = body.acks.iter().map(position).collect::<Result<_, _>>()?;
    Ok(AckRequest { stated: grant(&body.wake_id, body.generation), acks, done: body.done })
}

/// `POST …/release`.
pub fn parse_release(body: &[u8]) -> Result<Option<Grant>, Malformed> {
    #[derive(Deserialize)]
    struct Body {
        wake_id: String,
        generation: u64,
    }
    let body: Body = read(body, "an object with the text wake_id and the number generation")?;
    Ok(grant(&body.wake_id, body.generation))
}

fn grant(wake: &str, generation: u64) -> Option<Grant> {
    parse_wake(wake).map(|wake| Grant { generation, wake })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        parse_definition(body.as_bytes(), String::new()).unwrap_err().to_string()
    }

    #[test]
    fn a_definition_is_an_object_of_known_fields() {
        let good = r#"{"type":"webhook","pattern":"a/*","webhook":{"url":"https://a.example"}}"#;
        assert!(parse_definition(good.as_bytes(), String::new()).is_ok());
        for bad in [
            r#"["pull-wake","a/*",null,null,"w",null,null]"#,
            r#"{"type":"webhook","pattern":"a/*","webhook":["https://a.example"]}"#,
            r#"{"type":"webhook","pattern":"a/*","webhook":{"url":"https://a.example","uri":1}}"#,
            r#"{"type":"pull-wake","pattern":"a/*","wake_stream":"w","lease_ttl":1000}"#,
            r#"{"pattern":"a/*"}"#,
            r#"{"type":1}"#,
            "null",
        ] {
            let text = refusal(bad);
            assert!(text.starts_with("the body is an object with the text type, "), "{bad}: {text}");
        }
    }

    #[test]
    fn workers_requests_are_objects_all_the_way_down() {
        assert!(
            parse_ack(br#"{"wake_id":"w_1","generation":1,"acks":[{"stream":"a","offset":"-1"}]}"#).is_err()
        );
        for error in [
            parse_ack(br#"["w_1",1,[],true]"#).err(),
            parse_ack(br#"{"wake_id":"w_1","generation":1,"acks":[["a","b"]]}"#).err(),
            parse_claim(br#"["me"]"#).err(),
            parse_streams(br#"[["a"]]"#).err(),
            parse_release(br#"["w_1",1]"#).err(),
        ] {
            assert!(error.unwrap().to_string().starts_with("the body is an object with "));
        }
        // Fields that we do not know are a newer client's.
        assert!(parse_claim(br#"{"worker":"me","zone":"a"}"#).is_ok());
    }

    #[test]
    fn refusals_are_in_our_own_words() {
        assert_eq!(refusal("{\"type\":"), "the body is not JSON at line 1, column 8");
        for bad in ["", "{", "[]", "{\"type\":1}", "{\"type\":\"webhook\",\"x\":1}", "{}"] {
            let text = refusal(bad);
            let leaked = ["EOF", "expected", "invalid", "struct", "missing field", "unknown field", "`"];
            assert!(!leaked.iter().any(|word| text.contains(word)), "{text}");
        }
    }
}
