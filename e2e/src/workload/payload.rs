//! Messages that say who they are and that cannot be cut, mixed or altered without notice.
//!
//! Length and filling follow from the id alone, so a reader knows every byte that must be there.

use anyhow::{Context, bail, ensure};
use serde_json::value::RawValue;

use crate::dice::mix;
use crate::history::{Message, MessageId};

/// How a stream's messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of text.
    Text,
    /// JSON objects.
    Json,
}

impl Format {
    /// Alternately.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        if number.is_multiple_of(2) { Self::Text } else { Self::Json }
    }

    /// The content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
        }
    }
}

/// The body of a request and the messages in it.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The messages.
    pub messages: Vec<Message>,
    /// The bytes to send.
    pub body: Vec<u8>,
}

impl Payload {
    /// The body that carries these messages. Text carries one message per request.
    #[must_use]
    pub fn new(format: Format, ids: &[MessageId]) -> Self {
        let texts: Vec<String> = ids.iter().map(|&id| message_text(format, id)).collect();
        let messages =
            ids.iter().zip(&texts).map(|(&id, text)| Message { id, bytes: text.len() as u64 }).collect();
        let body = match format {
            Format::Text => texts.concat(),
            Format::Json => format!("[{}]", texts.join(",")),
        };
        Self { messages, body: body.into_bytes() }
    }
}

/// Most messages are small, one in 64 is some kilobytes.
fn filling(id: MessageId) -> String {
    let drawn = mix(id);
    let length = if drawn.is_multiple_of(64) { 2_000 + drawn % 5_000 } else { drawn % 160 };
    let letter = char::from(b'a' + u8::try_from((drawn >> 32) % 26).unwrap_or(0));
    String::from(letter).repeat(usize::try_from(length).unwrap_or(0))
}

fn message_text(format: Format, id: MessageId) -> String {
    match format {
        Format::Text => format!("{id:016x}:{}\n", filling(id)),
        // Members in an order and with a number that a careless server would not keep.
        Format::Json => format!("{{\"z\":1.50,\"id\":\"{id:016x}\",\"a\":\"{}\"}}", filling(id)),
    }
}

/// The messages of a body that was read; an error names the first byte that should not be there.
pub fn parse_messages(format: Format, body: &[u8]) -> anyhow::Result<Vec<Message>> {
    let text = std::str::from_utf8(body).context("no UTF-8")?;
    match format {
        Format::Text => {
            ensure!(text.is_empty() || text.ends_with('\n'), "the body ends inside a message");
            text.split_inclusive('\n').map(|line| known(format, line, line.get(..16))).collect()
        }
        Format::Json => {
            let values: Vec<&RawValue> = serde_json::from_str(text).context("no JSON array")?;
            let one = |value: &&RawValue| {
                let raw = value.get();
                known(format, raw, raw.split_once("\"id\":\"").and_then(|(_, rest)| rest.get(..16)))
            };
            values.iter().map(one).collect()
        }
    }
}

fn known(format: Format, raw: &str, id: Option<&str>) -> anyhow::Result<Message> {
    let Some(id) = id.and_then(|id| u64::from_str_radix(id, 16).ok()) else {
        bail!("no message: {raw:.60?}")
    };
    ensure!(raw == message_text(format, id), "message {id:x} was altered: {raw:.60?}");
    Ok(Message { id, bytes: raw.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sent_is_recognised_and_any_change_is_noticed(
            ids in prop::collection::vec(any::<u64>(), 1..5), at: prop::sample::Index, flip in 1u8..128, json: bool,
        ) {
            let format = if json { Format::Json } else { Format::Text };
            let mut payload = Payload::new(format, &ids);
            prop_assert_eq!(parse_messages(format, &payload.body).unwrap(), payload.messages.clone());
            let at = at.index(payload.body.len());
            payload.body[at] ^= flip;
            prop_assert_ne!(parse_messages(format, &payload.body).ok(), Some(payload.messages));
        }
    }
}
