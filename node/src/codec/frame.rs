//! Frames: what travels between two nodes. A frame says how long it is, what it is, of which shard it speaks, and carries
//! a checksum over all of that and its payload. Layout in `docs/formats.md`.
//!
//! Invariants: the length is held against the bound of its kind before anything is allocated; the checksum is seeded with
//! what both sides said when they shook hands, so that a frame of one connection never reads on another.

use super::CodecError;
use super::fixed::Fields;
use crate::types::ShardId;
use crate::types::limits::RECORD_PAYLOAD_BYTES_MAX;

/// Bytes in front of a payload.
pub const FRAME_HEAD_BYTES: usize = 12;
/// Bytes of the head that the checksum covers; the checksum itself follows.
const COVERED_BYTES: usize = 8;
/// What is said before a connection may be trusted: a greeting has at most 336 bytes, a refusal is a sentence.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 512;
/// A report names at most 4,096 epochs of a log, of at most 30 bytes each: 120 KiB; the rest is room.
pub const CONTROL_FRAME_BYTES_MAX: usize = 4 << 20;
/// What one shard's leader asks of another's: a subscription that names as many streams as it may has 512 KiB as a request.
pub const ERRAND_FRAME_BYTES_MAX: usize = 1 << 20;
/// Entries of one frame together, unless a single one is larger: long enough that the head costs nothing, short enough
/// that a beat behind it is not late.
pub const RECORDS_BYTES_TARGET: usize = 256 << 10;
/// Entries of one frame: a receiver needs less than half a megabyte to hold as many, however small they are.
pub const RECORDS_ENTRIES_MAX: usize = 4096;
/// Bytes of a snapshot in one frame: as with entries, a beat behind it is not late.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// A piece, the key of its file and where it stands.
const PIECE_FRAME_BYTES_MAX: usize = PIECE_BYTES_MAX + 64;
/// One entry of the largest size, or many small ones, each with at most 31 bytes in front, and the frame's own numbers.
const RECORDS_FRAME_BYTES_MAX: usize = RECORD_PAYLOAD_BYTES_MAX + 256;

const WHAT: &str = "a frame";

/// What a frame is. Spoken between releases, keep stable; a number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// Who dials, and whom it looks for.
    Hello = 1,
    /// Who answers.
    Welcome = 2,
    /// Why the connection is closed, in words.
    Refusal = 3,
    /// The other side is taken for who it says it is.
    Agreed = 4,
    /// Why the connection is closed: this start was met of your volume, and it does not know it.
    PutBack = 5,
    /// Leader: follow me.
    Follow = 16,
    /// Leader: cut what lies behind.
    Adopt = 17,
    /// Leader: one of us never got an epoch from its leader.
    Differs = 18,
    /// Leader: entries.
    Records = 19,
    /// Leader: nothing new.
    Beat = 20,
    /// Leader: up to where a read must have applied.
    ReadAnswered = 21,
    /// Leader: what came of an errand.
    ErrandAnswered = 22,
    /// Leader: have a snapshot.
    Offer = 23,
    /// Leader: a piece of it.
    Piece = 24,
    /// Follower: what I have.
    Report = 32,
    /// Follower: a later epoch is promised.
    Refused = 33,
    /// Follower: on the disk up to here.
    Ack = 34,
    /// Follower: up to where must a read have applied?
    ReadAsked = 35,
    /// Follower: do this where you lead.
    ErrandAsked = 36,
    /// Follower: the last starts of members that I have met or heard of.
    Starts = 37,
    /// Follower: send me so much of the snapshot.
    PieceAsked = 38,
}

impl FrameKind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Hello,
        Self::Welcome,
        Self::Refusal,
        Self::Agreed,
        Self::PutBack,
        Self::Follow,
        Self::Adopt,
        Self::Differs,
        Self::Records,
        Self::Beat,
        Self::ReadAnswered,
        Self::ErrandAnswered,
        Self::Offer,
        Self::Piece,
        Self::Report,
        Self::Refused,
        Self::Ack,
        Self::ReadAsked,
        Self::ErrandAsked,
        Self::Starts,
        Self::PieceAsked,
    ];

    /// The kind of a number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether a leader says this.
    #[must_use]
    pub const fn is_leaders(self) -> bool {
        matches!(self as u8, 16..=31)
    }

    /// Whether a follower says this.
    #[must_use]
    pub const fn is_followers(self) -> bool {
        matches!(self as u8, 32..=47)
    }

    /// The longest payload.
    #[must_use]
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            Self::Hello | Self::Welcome | Self::Refusal | Self::Agreed | Self::PutBack => {
                HANDSHAKE_FRAME_BYTES_MAX
            }
            Self::Records => RECORDS_FRAME_BYTES_MAX,
            Self::Piece => PIECE_FRAME_BYTES_MAX,
            Self::ErrandAsked | Self::ErrandAnswered => ERRAND_FRAME_BYTES_MAX,
            _ => CONTROL_FRAME_BYTES_MAX,
        }
    }
}

/// What stands in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// What it is.
    pub kind: FrameKind,
    /// Of which shard it speaks; zero in a handshake.
    pub shard: ShardId,
    /// Length of the payload; within the bound of its kind.
    pub payload_bytes: usize,
    covered: [u8; COVERED_BYTES],
    checksum: u32,
}

impl FrameHead {
    /// Reads a head; the payload is checked by [`Self::fits`] once it is there.
    pub fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<Self, CodecError> {
        let short = |_| CodecError::Truncated(WHAT);
        let covered = *bytes.first_chunk().ok_or(CodecError::Truncated(WHAT))?;
        let mut fields = Fields::new(bytes);
        let length = fields.u32().map_err(short)?;
        let (number, reserved) = (fields.u8().map_err(short)?, fields.u8().map_err(short)?);
        let shard = ShardId(fields.u16().map_err(short)?);
        let checksum = fields.u32().map_err(short)?;
        let kind = FrameKind::from_number(number).ok_or(CodecError::Impossible(WHAT))?;
        match usize::try_from(length) {
            Ok(payload_bytes) if payload_bytes <= kind.payload_bytes_max() && reserved == 0 => {
                Ok(Self { kind, shard, payload_bytes, covered, checksum })
            }
            _ => Err(CodecError::Impossible(WHAT)),
        }
    }

    /// Whether `payload` is what the head was written for, on the connection with this seed.
    pub fn fits(&self, seed: u32, payload: &[u8]) -> Result<(), CodecError> {
        let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &self.covered), payload);
        let fits = payload.len() == self.payload_bytes && checksum == self.checksum;
        if fits { Ok(()) } else { Err(CodecError::Checksum(WHAT)) }
    }
}

/// Appends a frame whose payload `body` appends. When that is longer than its kind may be nothing is appended, and it is
/// an error.
pub fn put_frame(
    out: &mut Vec<u8>,
    seed: u32,
    (kind, shard): (FrameKind, ShardId),
    body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    body(out);
    let length = out.len() - start - FRAME_HEAD_BYTES;
    let Some(written) = u32::try_from(length).ok().filter(|_| length <= kind.payload_bytes_max()) else {
        out.truncate(start);
        return Err(CodecError::Impossible(WHAT));
    };
    let (length, shard) = (written.to_le_bytes(), shard.0.to_le_bytes());
    let covered = [length[0], length[1], length[2], length[3], kind as u8, 0, shard[0], shard[1]];
    let frame = &mut out[start..];
    frame[..COVERED_BYTES].copy_from_slice(&covered);
    let seed = crc32c::crc32c_append(seed, &covered);
    let checksum = crc32c::crc32c_append(seed, &frame[FRAME_HEAD_BYTES..]);
    frame[COVERED_BYTES..FRAME_HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: FrameKind, shard: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(&mut out, 7, (kind, ShardId(shard)), |out| out.extend_from_slice(payload)).unwrap();
        out
    }

    fn head(frame: &[u8]) -> Result<FrameHead, CodecError> {
        FrameHead::decode(frame.first_chunk().unwrap())
    }

    proptest! {
        #[test]
        fn frames_round_trip_on_their_own_connection_only(at in 0..FrameKind::ALL.len(), shard: u16, payload in prop::collection::vec(any::<u8>(), 0..512)) {
            let kind = FrameKind::ALL[at];
            let bytes = frame(kind, shard, &payload);
            let head = head(&bytes).unwrap();
            prop_assert_eq!((head.kind, head.shard, head.payload_bytes), (kind, ShardId(shard), payload.len()));
            prop_assert_eq!(head.fits(7, &payload), Ok(()));
            prop_assert_eq!(head.fits(8, &payload), Err(CodecError::Checksum(WHAT)));
        }

        #[test]
        fn a_changed_bit_never_reads_as_the_frame_or_another_one(shard: u16, payload in prop::collection::vec(any::<u8>(), 1..64), at: usize) {
            let mut bytes = frame(FrameKind::Beat, shard, &payload);
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(head) = head(&bytes) {
                prop_assert!(head.fits(7, &bytes[FRAME_HEAD_BYTES..]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_a_head_within_its_bound_or_an_error(bytes: [u8; FRAME_HEAD_BYTES]) {
            if let Ok(head) = FrameHead::decode(&bytes) {
                prop_assert!(head.payload_bytes <= head.kind.payload_bytes_max());
            }
        }
    }

    #[test]
    fn a_length_beyond_the_bound_of_its_kind_is_refused_before_a_payload_is_there() {
        let mut bytes = frame(FrameKind::Hello, 0, &[1; HANDSHAKE_FRAME_BYTES_MAX]);
        assert!(head(&bytes).is_ok());
        bytes[0] += 1;
        assert_eq!(head(&bytes), Err(CodecError::Impossible(WHAT)));
        let mut out = vec![1];
        let long = [0; HANDSHAKE_FRAME_BYTES_MAX + 1];
        let put =
            put_frame(&mut out, 0, (FrameKind::Refusal, ShardId(0)), |out| out.extend_from_slice(&long));
        assert_eq!((put, out), (Err(CodecError::Impossible(WHAT)), vec![1]), "nor is it ever sent");
    }

    #[test]
    fn a_kind_is_said_by_one_side_only() {
        for kind in FrameKind::ALL {
            assert!(!(kind.is_leaders() && kind.is_followers()), "{kind:?}");
            assert_eq!(FrameKind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(FrameKind::from_number(0), None);
    }
}
