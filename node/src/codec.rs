//! Bytes to types and back. Every decoder is total: any byte string gives a value or a typed error, never a panic and
//! never an allocation larger than its input.

pub mod fields;
pub mod json;
pub mod record;
pub mod segment;
pub mod superblock;
