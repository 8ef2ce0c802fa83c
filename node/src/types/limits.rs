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
/// rewritten at most a few times, and one of a large append never: at this size a read spends more on the bytes than on
/// finding the chunk.
pub const CHUNK_BYTES_SMALL: usize = 8 * 1024;
/// A segment in memory below this size may be merged with its neighbours before it is handed out.
pub const SEGMENT_BYTES_SMALL: usize = 32 * 1024;
/// Most messages in a chunk: the table of lengths stays a fraction of the chunk even for empty messages.
pub const CHUNK_MESSAGES_MAX: usize = 16 * 1024;
/// Most messages in one request: their lengths, 4 bytes each, stay a quarter of the largest usual body (4 MiB). With
/// messages of 15 bytes and a comma such a body is full.
pub const MESSAGES_PER_REQUEST_MAX: usize = 256 * 1024;
/// Largest record payload: the largest configurable request body (64 MiB) and its head.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 65 << 20;
/// Longest id of a subscription: a path segment; a UUID with a prefix has half of it.
pub const SUBSCRIPTION_ID_BYTES_MAX: usize = 256;
/// Subscriptions whose home one shard is: each is kept in memory with its definition (at most 40 KiB, usually 1 KiB).
pub const SUBSCRIPTIONS_PER_SHARD_MAX: usize = 64;
/// Subscriptions that may link a stream: each new name is compared with all of their patterns.
pub const SUBSCRIPTION_SHARES_MAX: usize = 1024;
/// Longest pattern: longer ones name single streams, and matching costs (pattern bytes) × (name bytes) at worst.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Streams that a subscription names one by one. For more there are patterns.
pub const SUBSCRIPTION_STREAMS_MAX: usize = 512;
/// Bytes of those names together: the whole definition is written with each wake.
pub const SUBSCRIPTION_STREAM_BYTES_MAX: usize = 32 * 1024;
/// Longest description and longest name of a worker: for people to read.
pub const SUBSCRIPTION_TEXT_BYTES_MAX: usize = 1024;
/// Longest webhook URL: what every proxy lets pass.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// Shortest and longest lease, and what it is when nobody says: the protocol's.
pub const LEASE_MS: std::ops::RangeInclusive<u32> = 1_000..=600_000;
/// The lease of a subscription that names none: the protocol's.
pub const LEASE_MS_DEFAULT: u32 = 30_000;
/// Streams that one wake or one answer shows, pending ones first: a body of at most about a megabyte.
pub const SUBSCRIPTION_STREAMS_SHOWN_MAX: usize = 1_000;
/// Acknowledgements in one request: as many as a wake shows.
pub const ACKS_PER_REQUEST_MAX: usize = SUBSCRIPTION_STREAMS_SHOWN_MAX;
/// Bounds of the time between two deliveries of which the first failed: the protocol's.
pub const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;
/// Deliveries that fail one after the other until the subscription is shown as failed; tries go on.
pub const FAILURES_SHOWN_MIN: u32 = 5;
