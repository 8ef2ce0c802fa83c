//! Bytes ↔ types. Every decoder is total: any byte string gives a value or a [`CodecError`], and nothing is allocated
//! by a length that was not checked against the bytes at hand. The layouts are drawn in `docs/formats.md`.

pub mod chunk;
pub mod fields;
pub mod fixed;
pub mod frame;
pub mod handshake;
pub mod json;
pub mod meta;
pub mod op;
pub mod record;
pub mod roster;
pub mod seal;
pub mod segment;
pub mod snapshot;
pub mod subscription;
pub mod superblock;
pub mod voters;

/// Why bytes are no value. The data is damaged or was written by another version; it is never guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    /// Bytes follow behind the last field.
    #[error("bytes follow behind {0}")]
    Trailing(&'static str),
    /// A version that this build does not read.
    #[error("{what} has version {found}, which this build does not read")]
    Version {
        /// What was read.
        what: &'static str,
        /// Its version byte.
        found: u8,
    },
    /// A field holds a value that no writer of ours writes.
    #[error("{0} holds an impossible value")]
    Impossible(&'static str),
    /// The checksum does not match the bytes and the place where they stood.
    #[error("{0} fails its checksum")]
    Checksum(&'static str),
}
