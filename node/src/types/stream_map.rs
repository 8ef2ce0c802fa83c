//! Maps and sets of streams by id. Ids are numbers that the node gives one after the other, so nobody can choose them to collide, and a
//! multiplication spreads them as well as a keyed hash does, which took the applier a seventh of its time.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::StreamId;

/// What is kept of streams, by id.
pub type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<IdHasher>>;

/// Streams.
pub type StreamSet = HashSet<StreamId, BuildHasherDefault<IdHasher>>;

/// Spreads one number.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl IdHasher {
    /// 2^64 divided by the golden ratio, and odd: no two products are equal, and neighbours come to lie far apart.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let number = self.0 ^ number;
        // Of ids that are far apart the lower halves are equal, and so would be those of their products.
        let product = (number ^ (number >> 32)).wrapping_mul(Self::SPREAD);
        self.0 = product ^ (product >> 29);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    /// How many of 4,096 places 4,096 ids take that lie so far apart; of a random hash it would be 63 in a hundred.
    fn places_taken(stride: u64) -> usize {
        let build = BuildHasherDefault::<IdHasher>::default();
        let place = |number: u64| build.hash_one(StreamId(number * stride)) % 4096;
        (0..4096).map(place).collect::<HashSet<_>>().len()
    }

    #[test]
    fn ids_are_spread_over_the_places_of_a_table_however_far_apart_they_are() {
        for stride in [1, 2, 3, 16, 64, 1000, 4096, 1 << 16, 1 << 20, 1 << 32, 1 << 40] {
            assert!(places_taken(stride) > 4096 * 55 / 100, "stride {stride}: {}", places_taken(stride));
        }
    }
}
