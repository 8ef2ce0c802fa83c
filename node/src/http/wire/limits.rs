//! The bounds of the connection engine. Defaults stand here with their reasons; `config` may replace them.

use std::sync::Arc;
use std::time::Duration;

use super::response::common_headers;

/// Most header lines of a request: browsers behind proxies send about 30.
pub const HEADER_COUNT_MAX: usize = 64;

/// Lines by which a head grows when another node passes it on: the mark, and host and length where the client gave none.
pub(super) const FORWARDED_LINES: usize = 3;
/// Bytes by which it grows: the mark takes about 100, a host and a length 300, and blanks behind the names of 64 lines as many.
pub const FORWARDED_BYTES: usize = 512;

/// Bounds per connection and for all of them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. Each costs a file handle and about 3 KiB when idle.
    pub connections_max: usize,
    /// Request line and headers together: what common proxies allow.
    pub head_bytes_max: usize,
    /// Request target: three times the longest name (percent-encoding) and the longest query of a listing.
    pub target_bytes_max: usize,
    /// Request body.
    pub body_bytes_max: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a connection may lie idle between requests.
    pub idle_timeout: Duration,
    /// Grace for a request body, on top of `bytes_per_second_min`.
    pub body_timeout: Duration,
    /// Grace for a response that the client does not read, on top of `bytes_per_second_min`.
    pub write_timeout: Duration,
    /// Slowest accepted transfer of bodies in either direction.
    pub bytes_per_second_min: u64,
    /// How long shutdown waits for running requests.
    pub shutdown_timeout: Duration,
    /// Request bodies in memory, all connections together.
    pub request_bytes_in_flight_max: usize,
    /// Response bodies in memory, all connections together.
    pub response_bytes_in_flight_max: usize,
    /// Lines on every response.
    pub common_headers: Arc<[u8]>,
    /// How long a request waits for its share of `request_bytes_in_flight_max` before it is refused.
    pub admission_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16 * 1024,
            head_bytes_max: 16 * 1024,
            target_bytes_max: 8 * 1024,
            body_bytes_max: 4 << 20,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            bytes_per_second_min: 16 * 1024,
            shutdown_timeout: Duration::from_secs(8),
            request_bytes_in_flight_max: 32 << 20,
            response_bytes_in_flight_max: 32 << 20,
            common_headers: common_headers(Some("*")),
            admission_wait: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// Room for a head that another node has passed on.
    #[must_use]
    pub fn input_bytes(&self) -> usize {
        self.head_bytes_max.saturating_add(FORWARDED_BYTES)
    }

    /// How often deadlines are checked: often enough for the shortest of them, at most ten times a second.
    #[must_use]
    pub fn tick(&self) -> Duration {
        let shortest =
            self.head_timeout.min(self.idle_timeout).min(self.body_timeout).min(self.write_timeout);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}
