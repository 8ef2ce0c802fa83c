//! The chunked transfer coding, undone as its bytes arrive.

use super::wire::NotHttp;

/// A line with a chunk's length; ours are a few digits.
const SIZE_LINE_BYTES_MAX: usize = 64;

/// Where in a chunked body the reader stands.
#[derive(Debug, Default)]
pub(super) struct ChunkedDecoder {
    state: State,
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailer,
    Done,
}

impl ChunkedDecoder {
    /// Whether the last chunk has been seen.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Gives the payload in `bytes` to `sink`; returns how many bytes belong to the body.
    pub(super) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, NotHttp> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data(left) = self.state {
                let taken = left.min(bytes.len() - at);
                sink(&bytes[at..at + taken]);
                at += taken;
                self.state = if taken == left { State::DataEnd } else { State::Data(left - taken) };
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if byte != b'\n' {
                if self.line.len() == SIZE_LINE_BYTES_MAX {
                    return Err(NotHttp("a chunk's length line is too long".into()));
                }
                self.line.push(byte);
                continue;
            }
            self.state = self.end_of_line()?;
            self.line.clear();
        }
        Ok(at)
    }

    fn end_of_line(&self) -> Result<State, NotHttp> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        match self.state {
            State::Size => {
                let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
                let text = std::str::from_utf8(digits).unwrap_or_default().trim();
                match usize::from_str_radix(text, 16) {
                    Ok(0) => Ok(State::Trailer),
                    Ok(length) => Ok(State::Data(length)),
                    Err(_) => Err(NotHttp(format!("{text:?} is no chunk length"))),
                }
            }
            State::DataEnd if line.is_empty() => Ok(State::Size),
            State::Trailer if line.is_empty() => Ok(State::Done),
            State::Trailer => Ok(State::Trailer),
            _ => Err(NotHttp("a chunk is longer than it says".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_payload_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1usize..17, 1..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\nnext");
            let (mut decoder, mut payload, mut at) = (ChunkedDecoder::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if decoder.is_done() {
                    break;
                }
                let end = (at + cut).min(wire.len());
                at += decoder.feed(&wire[at..end], |part| payload.extend_from_slice(part)).unwrap();
            }
            prop_assert_eq!(payload, chunks.concat());
            prop_assert_eq!(&wire[at..], b"next");
        }
    }
}
