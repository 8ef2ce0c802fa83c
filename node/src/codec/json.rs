//! JSON bodies: cut into messages without touching a byte of any of them.
//!
//! Owns the grammar check and the cutting. Invariant: the bytes of each message are the bytes that came, without the
//! white space around them. The grammar is RFC 8259's; nothing is decoded, so numbers, key order and duplicate keys
//! stay as they are. What an empty array means is left to the caller.

use bytes::{Bytes, BytesMut};

use crate::types::limits::MESSAGES_PER_REQUEST_MAX;
use crate::types::{Framing, Lengths, Messages};

/// Deepest nesting of one message. Readers receive messages inside one more array, and the customary parser stops
/// at 128 levels, so that what is accepted here can be read there.
pub const NESTING_MAX: u32 = 126;

/// Why a body is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// JSON mode, and it does not parse.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// JSON mode, `[]`.
    #[error("an empty JSON array carries no message to append")]
    EmptyArray,
    /// JSON mode, and the array has more elements than one request may carry.
    #[error("one request carries at most {MESSAGES_PER_REQUEST_MAX} messages; send the rest in another")]
    TooManyMessages,
}

/// Cuts a body into messages: any JSON value is one, a top-level array is one per element. Copies only when white space
/// stands between the elements of an array.
pub fn split(body: &Bytes) -> Result<Messages, BodyError> {
    // One pass over mostly ASCII text; afterwards strings need no look at bytes above 0x7f.
    if let Err(error) = std::str::from_utf8(body) {
        return Err(Fault { what: "not UTF-8", at: error.valid_up_to() }.into());
    }
    let mut scanner = Scanner { bytes: body, at: 0 };
    scanner.skip_space();
    if scanner.peek() == Some(b'[') {
        return elements(body, scanner);
    }
    let start = scanner.at;
    scanner.value(NESTING_MAX)?;
    let end = scanner.at;
    scanner.finish()?;
    let length = length(start, end)?;
    assemble(Lengths::One(length), body.slice(start..end))
}

/// The elements of a top-level array; the scanner stands on its bracket.
fn elements(body: &Bytes, mut scanner: Scanner<'_>) -> Result<Messages, BodyError> {
    scanner.at += 1;
    scanner.skip_space();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
        scanner.finish()?;
        return Err(BodyError::EmptyArray);
    }
    let first = scanner.at;
    let mut lengths = Vec::new();
    let mut packed: Option<BytesMut> = None;
    loop {
        let start = scanner.at;
        scanner.value(NESTING_MAX)?;
        let end = scanner.at;
        if lengths.len() == MESSAGES_PER_REQUEST_MAX {
            return Err(BodyError::TooManyMessages);
        }
        lengths.push(length(start, end)?);
        if let Some(packed) = &mut packed {
            packed.extend_from_slice(b",");
            packed.extend_from_slice(&body[start..end]);
        }
        scanner.skip_space();
        match scanner.peek() {
            Some(b',') => scanner.at += 1,
            Some(b']') => {
                scanner.at += 1;
                scanner.finish()?;
                let wire = packed.map_or_else(|| body.slice(first..end), BytesMut::freeze);
                let lengths =
                    if let [one] = lengths[..] { Lengths::One(one) } else { Lengths::Many(lengths.into()) };
                return assemble(lengths, wire);
            }
            _ => return Err(scanner.fault("expected ',' or ']'").into()),
        }
        scanner.skip_space();
        // As long as one comma alone stands between neighbours, the body holds their wire form already. At the first
        // gap the copy begins, with what was packed so far.
        if packed.is_none() && scanner.at != end + 1 {
            let mut copy = BytesMut::with_capacity(body.len() - first);
            copy.extend_from_slice(&body[first..end]);
            packed = Some(copy);
        }
    }
}

fn length(start: usize, end: usize) -> Result<u32, Fault> {
    u32::try_from(end - start).map_err(|_| Fault { what: "message too long", at: start })
}

fn assemble(lengths: Lengths, wire: Bytes) -> Result<Messages, BodyError> {
    Messages::from_parts(Framing::Json, lengths, wire)
        .ok_or_else(|| BodyError::InvalidJson("lengths do not add up".into()))
}

/// What is wrong, and where.
#[derive(Debug, Clone, Copy)]
struct Fault {
    what: &'static str,
    at: usize,
}

impl From<Fault> for BodyError {
    fn from(fault: Fault) -> Self {
        Self::InvalidJson(format!("{} at byte {}", fault.what, fault.at))
    }
}

/// Walks over JSON text; `at` never passes the end.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The open brackets around a point, innermost in the lowest bit: 1 = object. [`NESTING_MAX`] bits are enough.
#[derive(Default)]
struct Nesting {
    kinds: u128,
    depth: u32,
}

impl Nesting {
    fn open(&mut self, object: bool) {
        self.kinds = self.kinds << 1 | u128::from(object);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Nothing but white space may follow.
    fn finish(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault("trailing characters")) }
    }

    /// One value of any kind, beginning at the current byte. A loop instead of recursion: no body can exhaust the stack.
    fn value(&mut self, nesting_max: u32) -> Result<(), Fault> {
        let mut nesting = Nesting::default();
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if nesting.depth == nesting_max {
                        return Err(self.fault("nested too deeply"));
                    }
                    self.at += 1;
                    self.skip_space();
                    nesting.open(open == b'{');
                    // Brackets and braces close two code points behind their opening.
                    if self.peek() != Some(open + 2) {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    nesting.close();
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return Err(self.fault("expected a value")),
            }
            if self.close_behind_value(&mut nesting)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what ends here. True when the outermost value is complete, false when another one follows.
    fn close_behind_value(&mut self, nesting: &mut Nesting) -> Result<bool, Fault> {
        while nesting.depth > 0 {
            self.skip_space();
            match (self.peek(), nesting.in_object()) {
                (Some(b','), object) => {
                    self.at += 1;
                    self.skip_space();
                    if object {
                        self.key()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    nesting.close();
                }
                (_, true) => return Err(self.fault("expected ',' or '}'")),
                (_, false) => return Err(self.fault("expected ',' or ']'")),
            }
        }
        Ok(true)
    }

    /// A key and its colon, up to the value.
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key"));
        }
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected ':'"));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err(self.fault("leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// A string, beginning at its quote.
    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if byte < b' ' => return Err(self.fault("control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.fault("unfinished string")),
            }
        }
    }

    /// Moves to the next quote, backslash or control character, eight bytes at a time; stops early near the end.
    fn skip_plain(&mut self) {
        const LOW: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        while let Some(eight) = self.bytes.get(self.at..self.at + 8) {
            let word = eight.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            // The high bit of each byte that is zero after the mask, or below 0x20. A borrow can mark wrong bytes only
            // above a right one, so the lowest mark is exact.
            let zero = |value: u64| value.wrapping_sub(LOW) & !value & HIGH;
            let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
            let found =
                zero(word ^ (LOW * u64::from(b'"'))) | zero(word ^ (LOW * u64::from(b'\\'))) | control;
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.fault("expected four hexadecimal digits"));
                }
                self.at += 5;
            }
            _ => return Err(self.fault("unknown escape")),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
