//! The members of a cluster as bytes: what the superblock keeps, so that a node that starts knows its peers without
//! being told again. Layout in `docs/formats.md`.

use super::CodecError;
use super::fields::{Cursor, Sink, put_blob, put_number, put_u8};
use crate::types::{Member, ReplicaId, Roster, VolumeIncarnation};

/// The only version so far. Persisted, keep stable.
const VERSION: u8 = 1;
const WHAT: &str = "a roster";

/// Appends a roster.
pub fn encode_roster(roster: &Roster, out: &mut impl Sink) {
    put_u8(out, VERSION);
    put_number(out, roster.members.len() as u64);
    for (id, member) in &roster.members {
        put_number(out, id.0.into());
        put_u8(out, u8::from(member.incarnation.is_some()));
        member.incarnation.iter().for_each(|incarnation| out.put(&incarnation.0));
        for text in [&member.node, &member.peer, &member.client] {
            put_blob(out, text.as_bytes());
        }
    }
}

/// Reads a roster.
pub fn decode_roster(bytes: &[u8]) -> Result<Roster, CodecError> {
    let mut cursor = Cursor::copying(bytes);
    match cursor.u8(WHAT)? {
        VERSION => {}
        found => return Err(CodecError::Version { what: WHAT, found }),
    }
    let mut roster = Roster::default();
    for _ in 0..cursor.count(WHAT)? {
        let id = ReplicaId(cursor.number32(WHAT)?);
        let incarnation = match cursor.u8(WHAT)? {
            0 => None,
            1 => {
                let bytes = cursor.take(16, WHAT)?;
                Some(VolumeIncarnation(bytes.try_into().map_err(|_| CodecError::Truncated(WHAT))?))
            }
            _ => return Err(CodecError::Impossible(WHAT)),
        };
        let mut text = || -> Result<String, CodecError> {
            String::from_utf8(cursor.blob(WHAT)?.to_vec()).map_err(|_| CodecError::Impossible(WHAT))
        };
        let member = Member { node: text()?, incarnation, peer: text()?, client: text()? };
        if roster.members.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(CodecError::Impossible(WHAT));
        }
        roster.members.insert(id, member);
    }
    cursor.end(WHAT)?;
    Ok(roster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(roster: &Roster) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_roster(roster, &mut bytes);
        bytes
    }

    fn member() -> impl Strategy<Value = Member> {
        (".{0,9}", any::<Option<[u8; 16]>>(), ".{0,9}", ".{0,9}").prop_map(|(node, id, peer, client)| {
            Member { node, incarnation: id.map(VolumeIncarnation), peer, client }
        })
    }

    proptest! {
        #[test]
        fn rosters_round_trip(members in prop::collection::btree_map(any::<u32>().prop_map(ReplicaId), member(), 0..6)) {
            let roster = Roster { members };
            prop_assert_eq!(decode_roster(&encoded(&roster)), Ok(roster));
        }

        #[test]
        fn any_bytes_are_a_roster_or_an_error(bytes: Vec<u8>) {
            if let Ok(roster) = decode_roster(&bytes) {
                prop_assert_eq!(decode_roster(&encoded(&roster)), Ok(roster));
            }
        }
    }
}
