//! Parsers of what people and clients send.

use bytes::Bytes;
use serde::de::IgnoredAny;
use thalweg_node::codec::json::split;
use thalweg_node::config::{Config, Layers};
use thalweg_node::types::{ContentType, Offset, StreamName};

/// Configuration files: a text gives a configuration that is within all bounds, or an error.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = Config::from_toml(text) {
        let printed = Layers::default().file("fuzz", text).and_then(Layers::finish).map(|found| found.toml());
        let again = printed.and_then(|text| Config::from_toml(&text));
        assert_eq!(again, Ok(config), "the printed form must give the same configuration");
    }
}

/// Names, offsets and content types: what is taken reads back as itself.
pub fn name(bytes: &[u8]) {
    if let Ok(name) = StreamName::from_bytes(bytes) {
        assert_eq!(StreamName::from_bytes(name.as_str().as_bytes()), Ok(name), "a name must read back");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(offset) = text.parse::<Offset>() {
        assert_eq!(offset.to_string(), text, "an offset has one form");
    }
    if let Some(kind) = ContentType::parse(text) {
        assert_eq!(ContentType::parse(kind.as_str()), Some(kind), "a content type must read back");
    }
}

/// JSON bodies: what is taken is JSON to another parser too, as each reader will receive it: inside one array.
pub fn json(bytes: &[u8]) {
    let Ok(messages) = split(&Bytes::copy_from_slice(bytes)) else { return };
    let answer = [b"[", messages.wire().as_ref(), b"]"].concat();
    let read = serde_json::from_slice::<Vec<IgnoredAny>>(&answer);
    assert_eq!(
        read.ok().map(|values| values.len() as u64),
        Some(messages.count()),
        "a reader must find the messages"
    );
}
