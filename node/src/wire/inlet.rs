//! Frames from a stream of bytes. Invariant: a frame is handed out only whole and with its checksum right; a length that
//! a peer claims costs no more memory than the bytes that it really sends, and one step.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

use crate::codec::CodecError;
use crate::codec::frame::{FRAME_HEAD_BYTES, FrameHead, FrameKind};
use crate::types::ShardId;

/// Bytes of one read: a frame of records and the head of the next.
const READ_BYTES_MAX: usize = 512 << 10;
/// At least so many: several small frames cost one system call.
const READ_BYTES_MIN: usize = 16 << 10;

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum InletError {
    /// The other side closed it, between two frames.
    #[error("the peer closed the connection")]
    End,
    /// The socket failed, or a frame was cut off.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What arrived is no frame.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// A frame as it arrived; its checksum was right.
#[derive(Debug)]
pub(super) struct Frame {
    /// What it is.
    pub(super) kind: FrameKind,
    /// Of which shard.
    pub(super) shard: ShardId,
    /// The rest.
    pub(super) payload: Bytes,
}

/// What was read and not yet handed out.
#[derive(Debug, Default)]
pub(super) struct Inlet {
    /// What was read, and behind it room that was made ready for the next read.
    buffer: BytesMut,
    /// So many bytes of that were read.
    held: usize,
    /// Bytes read so far.
    pub(super) received: u64,
}

impl Inlet {
    /// The next frame, which must be of a kind that is `allowed`: that is checked before its payload is read.
    pub(super) fn frame(
        &mut self,
        source: &mut impl Read,
        seed: u32,
        allowed: impl FnOnce(FrameKind) -> bool,
    ) -> Result<Frame, InletError> {
        self.fill(source, FRAME_HEAD_BYTES)?;
        let bytes = self.held().first_chunk().ok_or(CodecError::Truncated("a frame"))?;
        let head = FrameHead::decode(bytes)?;
        if !allowed(head.kind) {
            return Err(CodecError::Impossible("a frame of this side").into());
        }
        let whole = FRAME_HEAD_BYTES + head.payload_bytes;
        self.fill(source, whole)?;
        let payload = self.split(whole).freeze().slice(FRAME_HEAD_BYTES..);
        head.fits(seed, &payload)?;
        Ok(Frame { kind: head.kind, shard: head.shard, payload })
    }

    /// Whether the next frame is here, whole.
    pub(super) fn holds_frame(&self) -> bool {
        let head = self.held().first_chunk().and_then(|bytes| FrameHead::decode(bytes).ok());
        head.is_some_and(|head| self.held >= FRAME_HEAD_BYTES + head.payload_bytes)
    }

    /// The next bytes, which are no frame.
    pub(super) fn take<const N: usize>(&mut self, source: &mut impl Read) -> Result<[u8; N], InletError> {
        self.fill(source, N)?;
        let bytes = self.split(N);
        Ok(*bytes.first_chunk().ok_or(CodecError::Truncated("a preamble"))?)
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(..self.held).unwrap_or_default()
    }

    fn split(&mut self, count: usize) -> BytesMut {
        self.held -= count;
        self.buffer.split_to(count)
    }

    /// Reads until so many bytes are there.
    fn fill(&mut self, source: &mut impl Read, want: usize) -> Result<(), InletError> {
        while self.held < want {
            let room = (want - self.held).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
            if self.buffer.len() < self.held + room {
                // What is not read yet need not move with the rest.
                self.buffer.truncate(self.held);
                self.buffer.resize(self.held + room, 0);
            }
            let place = self.held..self.held + room;
            match source.read(self.buffer.get_mut(place).unwrap_or_default()) {
                Ok(0) if self.held == 0 => return Err(InletError::End),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.held += count;
                    self.received += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::frame::put_frame;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of uneven length.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 101 + 1;
            let count = self.1.min(buffer.len()).min(self.0.len());
            let (front, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(front);
            self.0 = rest;
            Ok(count)
        }
    }

    fn frames(bytes: &[u8]) -> (Vec<Bytes>, InletError) {
        let (mut inlet, mut source, mut found) = (Inlet::default(), Pieces(bytes, 3), Vec::new());
        loop {
            match inlet.frame(&mut source, 1, FrameKind::is_leaders) {
                Ok(frame) => found.push(frame.payload),
                Err(error) => return (found, error),
            }
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut_up(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..9), cut: usize) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                put_frame(&mut bytes, 1, (FrameKind::Beat, ShardId(1)), |out| out.extend_from_slice(payload)).unwrap();
            }
            let (found, end) = frames(&bytes);
            prop_assert!(found == payloads && matches!(end, InletError::End));
            let (found, _) = frames(&bytes[..cut % (bytes.len() + 1)]);
            prop_assert!(payloads.starts_with(&found.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>()));
        }

        #[test]
        fn any_bytes_end_in_an_error(bytes: Vec<u8>) {
            frames(&bytes);
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory_before_its_bytes_arrive() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 1, (FrameKind::Records, ShardId(1)), |_| {}).unwrap();
        bytes[..4].copy_from_slice(&(60u32 << 20).to_le_bytes());
        let (mut inlet, mut source) = (Inlet::default(), Pieces(&bytes, 1));
        assert!(matches!(inlet.frame(&mut source, 1, |_| true), Err(InletError::Io(_))));
        assert!(inlet.buffer.capacity() <= 2 * READ_BYTES_MAX, "{}", inlet.buffer.capacity());
        let mut source = Pieces(&bytes, 1);
        let refused = Inlet::default().frame(&mut source, 1, FrameKind::is_followers);
        assert!(
            matches!(refused, Err(InletError::Codec(_))),
            "the other side's kinds are refused by their head"
        );
    }
}
