//! Sets of voters as bytes: the payload of a [`Config`](super::record::RecordKind::Config) record, and what the
//! superblock keeps of them. Layout in `docs/formats.md`.

use super::CodecError;
use super::fields::{Cursor, Sink, put_number, put_u8};
use crate::types::{Config, ConfigVersion, Configs, ReplicaId, Voters};

/// The only version so far. Persisted, keep stable.
const VERSION: u8 = 1;
const WHAT: &str = "a list of voters";

/// Appends a list of sets.
pub fn encode_configs(configs: &Configs, out: &mut impl Sink) {
    put_u8(out, VERSION);
    put_number(out, configs.as_slice().len() as u64);
    for config in configs.as_slice() {
        put_number(out, config.version.0);
        put_number(out, config.voters.count() as u64);
        config.voters.iter().for_each(|id| put_number(out, id.0.into()));
    }
}

/// Reads a list of sets.
pub fn decode_configs(bytes: &[u8]) -> Result<Configs, CodecError> {
    let mut cursor = Cursor::copying(bytes);
    match cursor.u8(WHAT)? {
        VERSION => {}
        found => return Err(CodecError::Version { what: WHAT, found }),
    }
    let count = cursor.count(WHAT)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        let version = ConfigVersion(cursor.number(WHAT)?);
        let members = cursor.count(WHAT)?;
        let ids =
            (0..members).map(|_| cursor.number32(WHAT).map(ReplicaId)).collect::<Result<Vec<_>, _>>()?;
        let voters = Voters::new(ids).filter(|voters| voters.count() == members);
        list.push(Config { version, voters: voters.ok_or(CodecError::Impossible(WHAT))? });
    }
    cursor.end(WHAT)?;
    Configs::new(list).ok_or(CodecError::Impossible(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(configs: &Configs) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_configs(configs, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn sets_of_voters_round_trip(sets in prop::collection::vec(prop::collection::btree_set(any::<u32>(), 1..8), 1..4)) {
            let sets: Vec<_> = sets.into_iter().map(|ids| Voters::new(ids.into_iter().map(ReplicaId)).unwrap()).collect();
            let configs = sets[1..].iter().fold(Configs::first(sets[0]), |list, voters| list.with_next(*voters));
            prop_assert_eq!(decode_configs(&encoded(&configs)), Ok(configs));
        }

        #[test]
        fn any_bytes_are_a_list_or_an_error(bytes: Vec<u8>) {
            if let Ok(configs) = decode_configs(&bytes) {
                prop_assert_eq!(decode_configs(&encoded(&configs)), Ok(configs));
            }
        }
    }

    #[test]
    fn a_list_that_no_writer_writes_is_refused() {
        let cases: [&[u8]; 6] =
            [&[], &[2, 1, 1, 1, 0], &[1, 0], &[1, 1, 1, 0], &[1, 1, 1, 2, 5, 5], &[1, 2, 2, 1, 0, 1, 1, 0]];
        for bytes in cases {
            assert!(decode_configs(bytes).is_err(), "{bytes:?}");
        }
        assert!(decode_configs(&[1, 1, 1, 1, 0]).is_ok());
    }
}
