//! One function per parser: what must hold for any bytes. `tests/corpus.rs` runs each over its stored corpus on the
//! stable toolchain; `libfuzzer/` hands the same functions to libFuzzer, which grows the corpus.
//!
//! Invariant: a target panics exactly when a promise of its parser is broken; an error value is a fine answer.

use thalweg_node::config::{Config, Layers};
use thalweg_node::types::{ContentType, Offset, StreamName};

/// A parser under test: takes any bytes, and panics only if they break a promise.
pub type Target = fn(&[u8]);

/// All targets by name; the name is also that of the corpus directory and of the file in `libfuzzer/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[("config", config), ("name", name)];

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
