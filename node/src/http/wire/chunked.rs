//! The chunked coding, decoded by a state machine over whatever slices arrive: any split of the input gives the same
//! result. Invariant: bytes that carry no data (extensions, trailers) are bounded, and line ends are CR LF exactly.

use std::ops::Range;

/// Bytes of extensions and trailers in one body: nobody here reads either.
const OVERHEAD_BYTES_MAX: usize = 4 * 1024;
/// Hexadecimal digits of a chunk size: what fits 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// 400.
    #[error("the chunked body is malformed")]
    Malformed,
    /// 400.
    #[error("the chunk extensions or trailers are too large")]
    Overhead,
    /// 413.
    #[error("the body is larger than a request may carry")]
    TooLarge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// What one call of [`ChunkDecoder::feed`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkProgress {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// Where in the input body bytes lie.
    pub data: Range<usize>,
    /// Whether the body is complete.
    pub done: bool,
}

/// The decoder of one body.
#[derive(Debug, Clone)]
pub struct ChunkDecoder {
    state: State,
    digits: u8,
    remaining: u64,
    allowed: u64,
    overhead: usize,
}

impl ChunkDecoder {
    /// For a body of at most `body_bytes_max` bytes.
    #[must_use]
    pub fn new(body_bytes_max: usize) -> Self {
        Self { state: State::Size, digits: 0, remaining: 0, allowed: body_bytes_max as u64, overhead: 0 }
    }

    /// Consumes input up to and including the next run of body bytes, the end of the body, or the end of the input.
    pub fn feed(&mut self, input: &[u8]) -> Result<ChunkProgress, ChunkError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Done => break,
                State::Data => {
                    let available = input.len() - at;
                    let taken = usize::try_from(self.remaining).map_or(available, |left| left.min(available));
                    self.remaining -= taken as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(ChunkProgress { consumed: at + taken, data: at..at + taken, done: false });
                }
                _ => self.step(byte)?,
            }
            at += 1;
        }
        Ok(ChunkProgress { consumed: at, data: at..at, done: self.state == State::Done })
    }

    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, digit) => return self.size_digit(digit),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, other) => return self.overhead(other),
            (State::SizeLf, b'\n') => self.size_complete()?,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, other) => {
                self.state = State::Trailer;
                return self.overhead(other);
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, other) => return self.overhead(other),
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(ChunkError::Malformed),
        };
        Ok(())
    }

    fn size_digit(&mut self, digit: u8) -> Result<(), ChunkError> {
        let value = char::from(digit).to_digit(16).ok_or(ChunkError::Malformed)?;
        if self.digits == SIZE_DIGITS_MAX {
            return Err(ChunkError::TooLarge);
        }
        self.digits += 1;
        self.remaining = self.remaining << 4 | u64::from(value);
        Ok(())
    }

    fn size_complete(&mut self) -> Result<State, ChunkError> {
        if self.remaining == 0 {
            return Ok(State::TrailerStart);
        }
        self.allowed = self.allowed.checked_sub(self.remaining).ok_or(ChunkError::TooLarge)?;
        Ok(State::Data)
    }

    fn overhead(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_BYTES_MAX {
            return Err(ChunkError::Overhead);
        }
        let visible = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if visible { Ok(()) } else { Err(ChunkError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode<'a>(
        parts: impl IntoIterator<Item = &'a [u8]>,
        max: usize,
    ) -> Result<(Vec<u8>, bool, usize), ChunkError> {
        let mut decoder = ChunkDecoder::new(max);
        let (mut body, mut done, mut used) = (Vec::new(), false, 0);
        for part in parts {
            let mut rest = part;
            while !rest.is_empty() && !done {
                let progress = decoder.feed(rest)?;
                body.extend_from_slice(&rest[progress.data]);
                rest = &rest[progress.consumed..];
                used += progress.consumed;
                done = progress.done;
            }
        }
        Ok((body, done, used))
    }

    #[test]
    fn well_formed_bodies_decode_and_leave_what_follows() {
        for (raw, body, rest) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\nGET /", "hello", "GET /"),
            (
                "5;a=b;c=\"d\"\r\nhello\r\n000A\r\n 123456789\r\n0\r\nTrailer: x\r\n\r\n",
                "hello 123456789",
                "",
            ),
        ] {
            let (found, done, used) = decode([raw.as_bytes()], 100).unwrap();
            assert_eq!((found.as_slice(), done, &raw[used..]), (body.as_bytes(), true, rest));
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        use ChunkError::{Malformed, Overhead, TooLarge};
        let endless = format!("1;{}", "x".repeat(5000));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(2000));
        for (raw, error) in [
            ("5\nhello\r\n0\r\n\r\n", Malformed),
            ("5\r\nhello\n0\r\n\r\n", Malformed),
            ("5\r\nhelloX\r\n", Malformed),
            ("\r\n", Malformed),
            (";a\r\n", Malformed),
            ("5 \r\nhello\r\n", Malformed),
            (" 5\r\nhello\r\n", Malformed),
            ("-5\r\nhello\r\n", Malformed),
            ("0x5\r\nhello\r\n", Malformed),
            ("5;a\nb\r\nhello\r\n", Malformed),
            ("0\r\n\n", Malformed),
            ("65\r\n", TooLarge),
            ("ffffffffffffffff\r\n", TooLarge),
            ("00000000000000001\r\n", TooLarge),
            ("10000000000000000\r\n", TooLarge),
            (&endless, Overhead),
            (&trailers, Overhead),
        ] {
            assert_eq!(decode([raw.as_bytes()], 100), Err(error), "{raw:.40}");
        }
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let valid =
            prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5).prop_map(|chunks| {
                let mut raw = Vec::new();
                for chunk in chunks {
                    raw.extend_from_slice(format!("{:x};e\r\n", chunk.len()).as_bytes());
                    raw.extend_from_slice(&chunk);
                    raw.extend_from_slice(b"\r\n");
                }
                raw.extend_from_slice(b"0\r\nT: 1\r\n\r\nrest");
                raw
            });
        let noise = prop::collection::vec(prop::sample::select(b"0123aF;\r\n x".to_vec()), 0..60);
        prop_oneof![valid, noise]
    }

    proptest! {
        #[test]
        fn any_split_of_the_input_gives_the_same_result(raw in body(), cuts in prop::collection::vec(0usize..80, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(raw.len())).collect();
            cuts.extend([0, raw.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| &raw[pair[0]..pair[1]]);
            prop_assert_eq!(decode([raw.as_slice()], 64), decode(parts, 64));
        }
    }
}
