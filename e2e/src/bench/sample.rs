//! What one round of one plan on one server measured.

use std::time::Duration;

use super::histogram::Histogram;

/// One round.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Requests answered, or events received.
    pub operations: u64,
    /// Payload bytes received (catch-up) or sent (append).
    pub bytes: u64,
    /// How long it was measured.
    pub elapsed: Duration,
    /// Latency of each operation.
    pub latency: Histogram,
    /// Processor time of the server.
    pub server_cpu: Duration,
    /// Processor time of this program.
    pub client_cpu: Duration,
    /// Resident bytes of the server after it.
    pub resident_bytes: u64,
    /// Most resident bytes of the server since it was started for this plan.
    pub resident_bytes_peak: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Sample {
    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Megabytes (10⁶) per second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// Server microseconds per operation.
    #[must_use]
    pub fn server_micros(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64
    }

    /// How many cores the client kept busy.
    #[must_use]
    pub fn client_cores(&self) -> f64 {
        self.client_cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// The middle one; the mean of the two middle ones of an even number.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}
