//! The small parts that every layout is made of: bytes, LEB128 numbers, zigzag times, length-prefixed blobs. Owns no
//! layout. Invariant: a [`Cursor`] never reads or allocates beyond the bytes that it was given.

use bytes::{BufMut, Bytes, BytesMut};

use super::CodecError;
use crate::types::{Offset, UnixMillis};

/// Where encoders write to.
pub trait Sink {
    /// Bytes written so far (with what was there before).
    fn position(&self) -> usize;
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn position(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for BytesMut {
    fn position(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Appends one byte.
pub fn put_u8(out: &mut impl Sink, value: u8) {
    out.put(&[value]);
}

/// Appends a number, seven bits per byte, low bits first.
pub fn put_number(out: &mut impl Sink, mut value: u64) {
    let mut text = [0u8; 10];
    let mut length = 0;
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        text[length] = if value == 0 { low } else { low | 0x80 };
        length += 1;
        if value == 0 {
            break;
        }
    }
    out.put(&text[..length]);
}

/// Appends a time as zigzag number, so that times before 1970 stay short too.
pub fn put_time(out: &mut impl Sink, at: UnixMillis) {
    put_number(out, ((at.0 << 1) ^ (at.0 >> 63)).cast_unsigned());
}

/// Appends both numbers of an offset.
pub fn put_offset(out: &mut impl Sink, offset: Offset) {
    put_number(out, offset.messages);
    put_number(out, offset.bytes);
}

/// Appends a length and that many bytes.
pub fn put_blob(out: &mut impl Sink, blob: &[u8]) {
    put_number(out, blob.len() as u64);
    out.put(blob);
}

/// Reads fields one after the other.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    owner: Option<&'a Bytes>,
}

impl<'a> Cursor<'a> {
    /// Blobs are copied out of `raw`.
    #[must_use]
    pub fn copying(raw: &'a [u8]) -> Self {
        Self { rest: raw, owner: None }
    }

    /// Blobs share the memory of `owner`.
    #[must_use]
    pub fn sharing(owner: &'a Bytes) -> Self {
        Self { rest: owner, owner: Some(owner) }
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(CodecError::Truncated(what))?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        let (&first, tail) = self.rest.split_first().ok_or(CodecError::Truncated(what))?;
        self.rest = tail;
        Ok(first)
    }

    /// A number of up to 64 bits.
    pub fn number(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(CodecError::Impossible(what));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Impossible(what))
    }

    /// A number of up to 32 bits.
    pub fn number32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        u32::try_from(self.number(what)?).map_err(|_| CodecError::Impossible(what))
    }

    /// A number that a `usize` holds.
    pub fn size(&mut self, what: &'static str) -> Result<usize, CodecError> {
        usize::try_from(self.number(what)?).map_err(|_| CodecError::Impossible(what))
    }

    /// How many items follow, each of at least one byte: never more than there are bytes left.
    pub fn count(&mut self, what: &'static str) -> Result<usize, CodecError> {
        let count = self.size(what)?;
        if count > self.rest.len() { Err(CodecError::Truncated(what)) } else { Ok(count) }
    }

    /// A time.
    pub fn time(&mut self, what: &'static str) -> Result<UnixMillis, CodecError> {
        let raw = self.number(what)?;
        Ok(UnixMillis((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()))
    }

    /// Both numbers of an offset.
    pub fn offset(&mut self, what: &'static str) -> Result<Offset, CodecError> {
        Ok(Offset { messages: self.number(what)?, bytes: self.number(what)? })
    }

    /// A length and that many bytes, borrowed.
    pub fn blob(&mut self, what: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.size(what)?;
        self.take(length, what)
    }

    /// The same bytes as a value of its own: shared when the cursor shares, else copied.
    #[must_use]
    pub fn own(&self, part: &'a [u8]) -> Bytes {
        match self.owner {
            Some(owner) => owner.slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }

    /// Fails when bytes are left.
    pub fn end(self, what: &'static str) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_allocated() {
        let mut raw = Vec::new();
        put_number(&mut raw, u64::MAX);
        assert_eq!(Cursor::copying(&raw).count("x"), Err(CodecError::Truncated("x")));
        assert_eq!(Cursor::copying(&raw).blob("x"), Err(CodecError::Truncated("x")));
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        for raw in
            [&[0xff; 10][..], &[0x80; 11][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(Cursor::copying(raw).number("x").is_err());
        }
    }

    proptest! {
        #[test]
        fn fields_round_trip(number: u64, time: i64, blob: Vec<u8>) {
            let mut raw = Vec::new();
            put_number(&mut raw, number);
            put_time(&mut raw, UnixMillis(time));
            put_blob(&mut raw, &blob);
            let mut cursor = Cursor::copying(&raw);
            prop_assert_eq!(cursor.number("n"), Ok(number));
            prop_assert_eq!(cursor.time("t"), Ok(UnixMillis(time)));
            prop_assert_eq!(cursor.blob("b"), Ok(&blob[..]));
            prop_assert_eq!(cursor.end("all"), Ok(()));
        }
    }
}
