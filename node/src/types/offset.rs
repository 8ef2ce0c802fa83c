//! The offset of a stream: how many messages and payload bytes lie before a message boundary.

use std::fmt;
use std::str::FromStr;

/// A position between two messages. Both numbers grow together, so the order of the text form, of the messages and
/// of the bytes is one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset {
    /// Messages before this point.
    pub messages: u64,
    /// Payload bytes before this point (separators of JSON streams do not count).
    pub bytes: u64,
}

/// The text is no offset of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an offset is 16 hexadecimal digits, '_', 16 hexadecimal digits, as returned in Stream-Next-Offset")]
pub struct OffsetError;

impl Offset {
    /// The start of every stream that is no fork.
    pub const ZERO: Self = Self { messages: 0, bytes: 0 };
    /// Length of the text form.
    pub const TEXT_LEN: usize = 33;

    /// The boundary after `messages` more messages of `bytes` payload bytes together.
    #[must_use]
    pub const fn advanced(self, messages: u64, bytes: u64) -> Self {
        Self { messages: self.messages + messages, bytes: self.bytes + bytes }
    }

    /// The text form as bytes, without an allocation.
    #[must_use]
    pub fn to_text(self) -> [u8; Self::TEXT_LEN] {
        let mut text = [b'_'; Self::TEXT_LEN];
        hex16(self.messages, &mut text[..16]);
        hex16(self.bytes, &mut text[17..]);
        text
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the low four bits are wanted")]
fn hex16(value: u64, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (position, digit) in out.iter_mut().enumerate() {
        *digit = DIGITS[usize::from((value >> (60 - 4 * position)) as u8 & 15)];
    }
}

fn unhex16(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &digit in text {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let raw = text.as_bytes();
        if raw.len() != Self::TEXT_LEN || raw[16] != b'_' {
            return Err(OffsetError);
        }
        match (unhex16(&raw[..16]), unhex16(&raw[17..])) {
            (Some(messages), Some(bytes)) => Ok(Self { messages, bytes }),
            _ => Err(OffsetError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_start_has_the_text_that_clients_know() {
        assert_eq!(Offset::ZERO.to_string(), "0000000000000000_0000000000000000");
    }

    #[test]
    fn anything_else_than_the_exact_form_is_refused() {
        for bad in [
            "",
            "-1",
            "now",
            "0_0",
            "0000000000000000_000000000000000",
            "0000000000000000-0000000000000000",
            "000000000000000A_0000000000000000",
            "0000000000000000_00000000000000000",
            "+000000000000000_0000000000000000",
        ] {
            assert_eq!(bad.parse::<Offset>(), Err(OffsetError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_value_are_one(messages: u64, bytes: u64) {
            let offset = Offset { messages, bytes };
            prop_assert_eq!(offset.to_string().parse(), Ok(offset));
        }

        #[test]
        fn text_order_is_stream_order(a: (u64, u64), b: (u64, u64)) {
            let (a, b) = (Offset { messages: a.0, bytes: a.1 }, Offset { messages: b.0, bytes: b.1 });
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
