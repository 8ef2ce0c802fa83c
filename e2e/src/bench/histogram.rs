//! Latencies in buckets whose width is 1/32 of their value: small, mergeable, exact enough for a p99.9.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: usize = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * 60], total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, nanoseconds: u64) {
        let bucket = bucket_of(nanoseconds).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The duration that `share` (0 to 1) of all do not exceed, at most 1/32 too high.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share"
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_edge(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(value: u64) -> usize {
    let magnitude = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = usize::try_from(value >> magnitude).unwrap_or(usize::MAX);
    magnitude as usize * STEPS + step
}

fn upper_edge(bucket: usize) -> u64 {
    let magnitude = (bucket / STEPS).saturating_sub(1);
    let step = (bucket - magnitude * STEPS) as u64;
    ((step + 1) << magnitude) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_a_bucket_that_is_at_most_a_thirtysecond_wider(value in 0u64..1 << 60) {
            let edge = upper_edge(bucket_of(value));
            prop_assert!(edge >= value && edge - value <= value / 32, "{value} {edge}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        for (share, expected) in [(0.5, 500_000), (0.99, 990_000), (0.999, 999_000)] {
            let found = u64::try_from(histogram.quantile(share).as_nanos()).unwrap();
            assert!(found >= expected && found <= expected + expected / 32, "{share}: {found}");
        }
    }
}
