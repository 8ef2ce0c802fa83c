//! What of the protocol can be set.

use std::time::Duration;

use crate::http::forward::ForwardLimits;

/// Bounds and times of the protocol.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a long-poll waits for data.
    pub long_poll_timeout: Duration,
    /// After this an SSE answer ends, so that caches can collapse the clients again.
    pub sse_lifetime: Duration,
    /// Silence on an SSE answer after which a comment shows that it lives.
    pub sse_keep_alive: Duration,
    /// Wire bytes of a read.
    pub read_bytes_max: usize,
    /// Wire bytes of one SSE event: it is rendered into memory.
    pub sse_event_bytes_max: usize,
    /// How writes find the leader of their shard.
    pub forward: ForwardLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            long_poll_timeout: Duration::from_secs(20),
            sse_lifetime: Duration::from_secs(60),
            sse_keep_alive: Duration::from_secs(15),
            read_bytes_max: 1 << 20,
            sse_event_bytes_max: 128 * 1024,
            forward: ForwardLimits::default(),
        }
    }
}
