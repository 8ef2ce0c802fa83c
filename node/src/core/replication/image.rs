//! A snapshot as replicas speak of it. Its bytes are other people's business.

use super::History;

/// A snapshot that a leader offers to a follower which lacks what its log no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    /// The shape of the log that it stands for; the last entry of it is the last one that the image holds.
    pub history: History,
    /// Bytes of its file.
    pub bytes: u64,
    /// Tells its file from any other one, also from another one of the same entries: what was fetched of one is of no use
    /// for another.
    pub key: u32,
}
