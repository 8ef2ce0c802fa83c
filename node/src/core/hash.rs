//! The hash of the maps from names and ids to residents: fast on short keys, and seeded by the node, because clients
//! choose names. Nothing walks those maps, so the seed never shows in a decision.

use std::hash::{BuildHasher, Hasher};

/// Builds [`SeaHasher`]s.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeaHash(u64);

impl SeaHash {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl BuildHasher for SeaHash {
    type Hasher = SeaHasher;

    fn build_hasher(&self) -> SeaHasher {
        SeaHasher(self.0)
    }
}

/// A running hash.
#[derive(Debug)]
pub(super) struct SeaHasher(u64);

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for SeaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = seahash::hash_seeded(bytes, self.0, ODD, self.0.rotate_left(32), !ODD);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(ODD);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
