//! Every bound that is not a setting, with its reason. Settings and their bounds stand in `config`.

/// Longest stream name: a URL of 2 KiB still passes every proxy, and a name costs memory per resident stream.
pub const NAME_BYTES_MAX: usize = 1024;
/// Longest content type: real ones stay below 100 bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Longest producer id: a UUID has 36 bytes; a host, process and partition fit as well.
pub const PRODUCER_ID_BYTES_MAX: usize = 256;
/// Longest `Stream-Seq`: it is stored with each stream and compared bytewise.
pub const STREAM_SEQ_BYTES_MAX: usize = 256;
/// Producers that one stream remembers: each costs about 100 bytes for the life of the stream.
pub const PRODUCERS_PER_STREAM_MAX: u32 = 65_536;
/// Largest number in `Producer-Epoch` and `Producer-Seq`: 2^53 - 1, what a JavaScript number holds.
pub const PRODUCER_NUMBER_MAX: u64 = (1 << 53) - 1;
/// Depth of forks of forks: a read walks up the chain, one step per level.
pub const FORK_DEPTH_MAX: u32 = 64;
/// Target size of a chunk: 120 KiB, so that key, value and page header fit a 128 KiB page of the database.
pub const CHUNK_BYTES_TARGET: usize = 120 * 1024;
/// A chunk below this size may be joined with what is applied next; a larger one is left alone, so that a byte is
/// rewritten at most a few times.
pub const CHUNK_BYTES_SMALL: usize = 32 * 1024;
/// Most messages in a chunk: the table of lengths stays a fraction of the chunk even for empty messages.
pub const CHUNK_MESSAGES_MAX: usize = 16 * 1024;
/// Largest record payload: the largest configurable request body (64 MiB) and its head.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 65 << 20;
