//! What the tests of the tables and of their applier share.

pub(crate) mod small_disk;
