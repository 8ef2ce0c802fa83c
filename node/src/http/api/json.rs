//! JSON bodies cut into messages: a top-level array one level deep, anything else as one. The bytes of each element
//! stay as they came; only what stands between elements is normalised to one comma.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::core::BodyError;
use crate::types::{Framing, Lengths, Messages};

/// Cuts a body into messages. An empty array gives none: whether that is an error depends on the request.
pub fn split_json(body: &Bytes) -> Result<Messages, BodyError> {
    if body.trim_ascii_start().first() == Some(&b'[') { split_array(body) } else { single(body) }
}

fn single(body: &Bytes) -> Result<Messages, BodyError> {
    let value: &RawValue = serde_json::from_slice(body).map_err(invalid)?;
    let length = length(value)?;
    join(Lengths::One(length), body.slice_ref(value.get().as_bytes()))
}

fn split_array(body: &Bytes) -> Result<Messages, BodyError> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let elements = parser.deserialize_seq(ElementsVisitor).map_err(invalid)?;
    parser.end().map_err(invalid)?;
    let Some((first, last)) = elements.span else { return Ok(Messages::none(Framing::Json)) };
    let payload: usize = elements.lengths.iter().map(|&length| length as usize).sum();
    let begin = first.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
    let end = last.as_ptr().addr().wrapping_sub(body.as_ptr().addr()) + last.len();
    let compact = payload + elements.lengths.len() - 1;
    // Neighbours stand at least a comma apart: if the whole is no longer than that, it is the wire form already.
    let wire = if end - begin == compact { body.slice(begin..end) } else { normalise(body, compact)? };
    join(Lengths::Many(elements.lengths.into()), wire)
}

/// Copies the elements with single commas in between.
fn normalise(body: &Bytes, length: usize) -> Result<Bytes, BodyError> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let wire = parser.deserialize_seq(JoinVisitor(BytesMut::with_capacity(length + 1))).map_err(invalid)?;
    Ok(wire.freeze())
}

fn join(lengths: Lengths, wire: Bytes) -> Result<Messages, BodyError> {
    Messages::from_parts(Framing::Json, lengths, wire)
        .ok_or_else(|| BodyError::InvalidJson("the elements do not add up".to_owned()))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn invalid(error: serde_json::Error) -> BodyError {
    BodyError::InvalidJson(error.to_string())
}

fn length(value: &RawValue) -> Result<u32, BodyError> {
    u32::try_from(value.get().len()).map_err(|_| BodyError::InvalidJson("an element is too long".to_owned()))
}

/// Lengths of all elements, and the first and the last of them.
struct Elements<'a> {
    lengths: Vec<u32>,
    span: Option<(&'a str, &'a str)>,
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Elements { lengths: Vec::new(), span: None };
        while let Some(value) = sequence.next_element::<&RawValue>()? {
            elements.lengths.push(length(value).map_err(serde::de::Error::custom)?);
            let first = elements.span.map_or(value.get(), |(first, _)| first);
            elements.span = Some((first, value.get()));
        }
        Ok(elements)
    }
}

struct JoinVisitor(BytesMut);

impl<'de> Visitor<'de> for JoinVisitor {
    type Value = BytesMut;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Self::Value, A::Error> {
        while let Some(value) = sequence.next_element::<&RawValue>()? {
            if !self.0.is_empty() {
                self.0.extend_from_slice(b",");
            }
            self.0.extend_from_slice(value.get().as_bytes());
        }
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Result<(String, Vec<u32>), BodyError> {
        let messages = split_json(&Bytes::copy_from_slice(text.as_bytes()))?;
        Ok((String::from_utf8(messages.wire().to_vec()).unwrap(), messages.lengths().to_vec()))
    }

    #[test]
    fn elements_keep_their_exact_bytes() {
        for (text, wire, lengths) in [
            ("1", "1", vec![1]),
            (" {\"b\": 1, \"a\":1.0, \"a\" : 1e400}\n", "{\"b\": 1, \"a\":1.0, \"a\" : 1e400}", vec![30]),
            ("[1,2]", "1,2", vec![1, 1]),
            ("[ 1 , \"x,y\" ]", "1,\"x,y\"", vec![1, 5]),
            ("[[1, 2],[3]]", "[1, 2],[3]", vec![6, 3]),
            ("[12345678901234567890123]", "12345678901234567890123", vec![23]),
            ("[]", "", vec![]),
            (" [ ] ", "", vec![]),
            ("\"\\ud800\"", "\"\\ud800\"", vec![8]),
            ("null", "null", vec![4]),
        ] {
            assert_eq!(split(text), Ok((wire.to_owned(), lengths)), "{text}");
        }
    }

    #[test]
    fn a_compact_array_is_not_copied() {
        let body = Bytes::from_static(b"[1,{\"a\":2}]");
        let messages = split_json(&body).unwrap();
        assert_eq!(messages.wire().as_ptr(), body[1..].as_ptr());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "[1 2]",
            "[1]x",
            "1 2",
            "nul",
            "{\"a\"}",
            "'a'",
            "[1,2",
            "\u{feff}1",
            "01",
            "NaN",
        ] {
            assert!(matches!(split(text), Err(BodyError::InvalidJson(_))), "{text:?}");
        }
        assert!(split_json(&Bytes::from_static(b"\"\xff\"")).is_err());
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let depth = 200_000;
        let deep = format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(split(&deep).unwrap().1, vec![u32::try_from(2 * depth).unwrap()]);
        assert!(split(&"[".repeat(depth)).is_err());
    }

    proptest! {
        #[test]
        fn any_blanks_between_elements_give_the_same_messages(values in prop::collection::vec("[0-9]{1,3}|\"[ ,a]{0,3}\"|\\[1, 2\\]", 0..5), blank in "[ \n\t]{0,2}") {
            let values: Vec<String> = values.into_iter().map(|v| if v.starts_with('0') { "0".to_owned() } else { v }).collect();
            let compact = format!("[{}]", values.join(","));
            let loose = format!("{blank}[{blank}{}{blank}]{blank}", values.join(&format!("{blank},{blank}")));
            prop_assert_eq!(split(&compact).unwrap(), split(&loose).unwrap());
        }

        #[test]
        fn any_bytes_give_messages_or_an_error(raw: Vec<u8>) {
            let _ = split_json(&Bytes::from(raw));
        }
    }
}
