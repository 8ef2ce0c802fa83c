//! What two nodes say before they trust a connection: a preamble, who dials and whom it looks for, who answers, or why
//! not. Layout in `docs/formats.md`.
//!
//! Invariant: every greeting is said once. Its sender counts the connections of one start, so no two have the same
//! (incarnation, boot, connection); what both sides said seeds the checksums of all that follows.

use super::CodecError;
use super::fields::{Cursor, Sink};
use super::frame::HANDSHAKE_FRAME_BYTES_MAX;
use crate::types::{
    Acks, Boot, ClusterId, ReplicaId, Start, StartKey, TRAIL_STARTS_MAX, Trail, VolumeIncarnation,
};

/// First four bytes of either direction. Keep stable.
pub const PREAMBLE_MAGIC: [u8; 4] = *b"\xa7TLW";
/// The only version of what is spoken so far; the preamble and the refusal are the same in all.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bytes of a preamble.
pub const PREAMBLE_BYTES: usize = 8;
/// Longest text of a refusal.
const REFUSAL_BYTES_MAX: usize = HANDSHAKE_FRAME_BYTES_MAX;

const WHAT: &str = "a greeting";

/// The bytes that either side begins with.
#[must_use]
pub fn preamble() -> [u8; PREAMBLE_BYTES] {
    let ([a, b, c, d], [low, high]) = (PREAMBLE_MAGIC, PROTOCOL_VERSION.to_le_bytes());
    [a, b, c, d, low, high, 0, 0]
}

/// The version of whoever sent a preamble; `None` if it is none of ours.
#[must_use]
pub fn preamble_version(bytes: &[u8; PREAMBLE_BYTES]) -> Option<u16> {
    let [a, b, c, d, low, high, 0, 0] = *bytes else { return None };
    ([a, b, c, d] == PREAMBLE_MAGIC).then(|| u16::from_le_bytes([low, high]))
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeter {
    /// Its id.
    pub id: ReplicaId,
    /// Its volume.
    pub incarnation: VolumeIncarnation,
    /// Its start, and those before it.
    pub trail: Trail,
    /// Counts the connections of that start, so that this greeting is like no other.
    pub connection: u64,
}

/// What the side that dials says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The cluster.
    pub cluster: ClusterId,
    /// How many shards it has.
    pub shards: u16,
    /// Tells the plans of two cluster files apart; zero without a file.
    pub plan: u32,
    /// Who holds a write of which it is the leader before that is acknowledged.
    pub acks: Acks,
    /// Who dials.
    pub from: Greeter,
    /// Whom it looks for.
    pub to: ReplicaId,
    /// With which volume, if that is known.
    pub to_incarnation: Option<VolumeIncarnation>,
}

fn put_greeter(out: &mut impl Sink, greeter: &Greeter) {
    out.put(&greeter.id.0.to_le_bytes());
    out.put(&greeter.incarnation.0);
    out.put(&greeter.trail.newest().0.to_le_bytes());
    out.put(&greeter.connection.to_le_bytes());
    let keys = greeter.trail.keys();
    out.put(&[u8::try_from(keys.len()).unwrap_or(u8::MAX)]);
    keys.iter().for_each(|key| out.put(&key.0.to_le_bytes()));
}

fn array<const N: usize>(cursor: &mut Cursor<'_>) -> Result<[u8; N], CodecError> {
    cursor.take(N, WHAT)?.try_into().map_err(|_| CodecError::Truncated(WHAT))
}

fn greeter(cursor: &mut Cursor<'_>) -> Result<Greeter, CodecError> {
    let id = ReplicaId(u32::from_le_bytes(array(cursor)?));
    let incarnation = VolumeIncarnation(array(cursor)?);
    let (newest, connection) = (Boot(number(cursor)?), number(cursor)?);
    let count = usize::from(cursor.u8(WHAT)?);
    let mut keys = Vec::with_capacity(count.min(TRAIL_STARTS_MAX));
    for _ in 0..count {
        keys.push(StartKey(number(cursor)?));
    }
    // Each start draws a key.
    let trail = Trail::new(newest, &keys).filter(|trail| trail.last().is_some());
    let trail = trail.ok_or(CodecError::Impossible(WHAT))?;
    Ok(Greeter { id, incarnation, trail, connection })
}

fn number(cursor: &mut Cursor<'_>) -> Result<u64, CodecError> {
    array(cursor).map(u64::from_le_bytes)
}

/// Appends a hello.
pub fn encode_hello(hello: &Hello, out: &mut impl Sink) {
    out.put(&hello.cluster.0);
    out.put(&hello.shards.to_le_bytes());
    out.put(&hello.plan.to_le_bytes());
    out.put(&[match hello.acks {
        Acks::Majority => 0,
        Acks::Leader => 1,
    }]);
    put_greeter(out, &hello.from);
    out.put(&hello.to.0.to_le_bytes());
    out.put(&[u8::from(hello.to_incarnation.is_some())]);
    hello.to_incarnation.iter().for_each(|incarnation| out.put(&incarnation.0));
}

/// Reads a hello.
pub fn decode_hello(bytes: &[u8]) -> Result<Hello, CodecError> {
    let mut cursor = Cursor::copying(bytes);
    let (cluster, shards) = (ClusterId(array(&mut cursor)?), u16::from_le_bytes(array(&mut cursor)?));
    let plan = u32::from_le_bytes(array(&mut cursor)?);
    let acks = match cursor.u8(WHAT)? {
        0 => Acks::Majority,
        1 => Acks::Leader,
        _ => return Err(CodecError::Impossible(WHAT)),
    };
    let (from, to) = (greeter(&mut cursor)?, ReplicaId(u32::from_le_bytes(array(&mut cursor)?)));
    let to_incarnation = match cursor.u8(WHAT)? {
        0 => None,
        1 => Some(VolumeIncarnation(array(&mut cursor)?)),
        _ => return Err(CodecError::Impossible(WHAT)),
    };
    cursor.end(WHAT)?;
    Ok(Hello { cluster, shards, plan, acks, from, to, to_incarnation })
}

/// Appends a welcome: who answers.
pub fn encode_welcome(from: &Greeter, out: &mut impl Sink) {
    put_greeter(out, from);
}

/// Reads a welcome.
pub fn decode_welcome(bytes: &[u8]) -> Result<Greeter, CodecError> {
    let mut cursor = Cursor::copying(bytes);
    let from = greeter(&mut cursor)?;
    cursor.end(WHAT)?;
    Ok(from)
}

/// Appends the start that was met of a volume which does not know it.
pub fn encode_put_back(met: &Start, out: &mut impl Sink) {
    out.put(&met.boot.0.to_le_bytes());
    out.put(&met.key.0.to_le_bytes());
}

/// Reads such a start.
pub fn decode_put_back(bytes: &[u8]) -> Result<Start, CodecError> {
    let mut cursor = Cursor::copying(bytes);
    let met = Start { boot: Boot(number(&mut cursor)?), key: StartKey(number(&mut cursor)?) };
    cursor.end(WHAT)?;
    Ok(met)
}

/// Appends the words of a refusal, as many as there is room for.
pub fn encode_refusal(words: &str, out: &mut impl Sink) {
    out.put(&words.as_bytes()[..words.floor_char_boundary(REFUSAL_BYTES_MAX)]);
}

/// Reads the words of a refusal. They go to a log, so a line break in them does not make a line of its own.
pub fn decode_refusal(bytes: &[u8]) -> Result<String, CodecError> {
    let words = str::from_utf8(bytes).map_err(|_| CodecError::Impossible(WHAT))?;
    Ok(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_greeter() -> impl Strategy<Value = Greeter> {
        let keys = prop::collection::vec(any::<u64>().prop_map(StartKey), 1..=TRAIL_STARTS_MAX);
        let numbers = (any::<u32>(), any::<[u8; 16]>(), 32..u64::MAX, any::<u64>());
        (numbers, keys).prop_map(|((id, incarnation, boot, connection), keys)| Greeter {
            id: ReplicaId(id),
            incarnation: VolumeIncarnation(incarnation),
            trail: Trail::new(Boot(boot), &keys).unwrap(),
            connection,
        })
    }

    fn encoded(hello: &Hello) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_hello(hello, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn greetings_round_trip(cluster: [u8; 16], shards: u16, plan: u32, alone: bool, from in any_greeter(), to: u32, volume: Option<[u8; 16]>) {
            let to_incarnation = volume.map(VolumeIncarnation);
            let (cluster, to) = (ClusterId(cluster), ReplicaId(to));
            let acks = if alone { Acks::Leader } else { Acks::Majority };
            let hello = Hello { cluster, shards, plan, acks, from, to, to_incarnation };
            prop_assert_eq!(decode_hello(&encoded(&hello)), Ok(hello));
            prop_assert!(encoded(&hello).len() <= HANDSHAKE_FRAME_BYTES_MAX);
            let mut bytes = Vec::new();
            encode_welcome(&from, &mut bytes);
            prop_assert_eq!(decode_welcome(&bytes), Ok(from));
        }

        #[test]
        fn a_start_round_trips(boot: u64, key: u64) {
            let (met, mut bytes) = (Start { boot: Boot(boot), key: StartKey(key) }, Vec::new());
            encode_put_back(&met, &mut bytes);
            prop_assert_eq!(decode_put_back(&bytes), Ok(met));
        }

        #[test]
        fn any_bytes_are_a_greeting_or_an_error(bytes: Vec<u8>) {
            if let Ok(hello) = decode_hello(&bytes) {
                prop_assert_eq!(encoded(&hello), bytes.clone());
            }
            if let Ok(words) = decode_refusal(&bytes) {
                prop_assert!(!words.contains(char::is_control));
            }
            let _ = (decode_welcome(&bytes), decode_put_back(&bytes));
        }

        #[test]
        fn a_refusal_is_cut_to_its_bound_between_two_characters(words in ".{0,700}") {
            let mut bytes = Vec::new();
            encode_refusal(&words, &mut bytes);
            prop_assert!(bytes.len() <= REFUSAL_BYTES_MAX && decode_refusal(&bytes).is_ok());
        }
    }

    #[test]
    fn the_longest_greeting_fits_its_frame_and_a_trail_of_more_keys_than_starts_is_none() {
        let trail = Trail::new(Boot(99), &[StartKey(1); TRAIL_STARTS_MAX]).unwrap();
        let (id, incarnation) = (ReplicaId(1), VolumeIncarnation([1; 16]));
        let from = Greeter { id, incarnation, trail, connection: 7 };
        let to_incarnation = Some(incarnation);
        let (cluster, to) = (ClusterId([2; 16]), ReplicaId(2));
        let hello = Hello { cluster, shards: 8, plan: 1, acks: Acks::Leader, from, to, to_incarnation };
        assert_eq!(encoded(&hello).len(), 337);
        let mut welcome = Vec::new();
        encode_welcome(&from, &mut welcome);
        welcome[20..28].copy_from_slice(&31_u64.to_le_bytes());
        assert_eq!(decode_welcome(&welcome), Err(CodecError::Impossible(WHAT)));
    }

    #[test]
    fn a_preamble_tells_its_version_and_nothing_else_is_one() {
        assert_eq!(preamble_version(&preamble()), Some(PROTOCOL_VERSION));
        assert_eq!(preamble_version(b"\xa7TLW\x09\0\0\0"), Some(9));
        assert_eq!(preamble_version(b"GET / HT"), None);
        assert_eq!(preamble_version(&[0; 8]), None);
    }
}
