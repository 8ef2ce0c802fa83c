//! Histograms without a lock: a fixed row of atomic counters. (The one of prometheus-client takes a mutex for each
//! observation, which every request of every connection would share.)

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in microseconds: from a page-cache write to a stuck device, about two per doubling where it matters.
const TIMES_MICROS: &[u64] = &[
    10, 25, 50, 75, 100, 150, 250, 400, 600, 1_000, 1_500, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
    250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
];

/// Upper bounds of counts: powers of two to what one group commit can hold.
const COUNTS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

#[derive(Debug)]
struct Buckets {
    bounds: &'static [u64],
    /// One more than there are bounds: the last one has none.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Buckets {
    fn new(bounds: &'static [u64]) -> Arc<Self> {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Arc::new(Self { bounds, counts, sum: AtomicU64::default() })
    }

    fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
            self.sum.fetch_add(value, Relaxed);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the text format has floating-point numbers only")]
    fn encode(&self, unit: f64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().map(|&bound| bound as f64 / (1.0 / unit)).chain([f64::INFINITY]);
        let rows: Vec<(f64, u64)> = bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect();
        let total = rows.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum.load(Relaxed) as f64 * unit, total, &rows, None)
    }
}

/// Declares a histogram of one kind of value.
macro_rules! histogram {
    ($(#[$doc:meta])+ $name:ident, $bounds:ident, $unit:literal) => {
        $(#[$doc])+
        #[derive(Debug, Clone)]
        pub struct $name(Arc<Buckets>);

        impl Default for $name {
            fn default() -> Self {
                Self(Buckets::new($bounds))
            }
        }

        impl TypedMetric for $name {
            const TYPE: MetricType = MetricType::Histogram;
        }

        impl EncodeMetric for $name {
            fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
                self.0.encode($unit, encoder)
            }

            fn metric_type(&self) -> MetricType {
                Self::TYPE
            }
        }
    };
}

histogram! {
    /// How long things took; shown in seconds.
    TimeHistogram, TIMES_MICROS, 1e-6
}

histogram! {
    /// How many things came together.
    CountHistogram, COUNTS, 1.0
}

impl TimeHistogram {
    /// Counts one that took this long.
    pub fn observe(&self, time: Duration) {
        self.0.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

impl CountHistogram {
    /// Counts one of this many.
    pub fn observe(&self, count: u64) {
        self.0.observe(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = CountHistogram::default();
        [0, 1, 2, 3, 4_096, 4_097, u64::from(u32::MAX)]
            .into_iter()
            .for_each(|count| histogram.observe(count));
        let counts: Vec<u64> = histogram.0.counts.iter().map(|count| count.load(Relaxed)).collect();
        assert_eq!(counts[..3], [2, 1, 1]);
        assert_eq!(counts[COUNTS.len() - 1..], [1, 2]);
    }

    #[test]
    fn bounds_grow() {
        assert!(TIMES_MICROS.is_sorted() && COUNTS.is_sorted());
    }
}
