//! What a start found: for the operator's eyes in the log, and for the metrics.

use std::time::Duration;

use crate::store::aol::RecoveryReport;
use crate::telemetry::StoreMetrics;
use crate::types::ShardId;

/// What a start found, for the operator's eyes.
#[derive(Debug, Clone, Default)]
pub struct StartReport {
    /// The directory was empty.
    pub created: bool,
    /// Records in the log.
    pub records: u64,
    /// Streams in the tables.
    pub streams: u64,
    /// Shards that refuse service, with the reason.
    pub damaged: Vec<(ShardId, String)>,
    /// Shards that lack something which was damaged, with the reason: they get it from their leaders.
    pub lacking: Vec<(ShardId, String)>,
    /// How long it took.
    pub took: Duration,
}

impl StartReport {
    /// Once it is complete.
    pub(super) fn measure(&self, metrics: &StoreMetrics) {
        metrics.recovered_records.set(i64::try_from(self.records).unwrap_or(i64::MAX));
        metrics.recovery_micros.set(i64::try_from(self.took.as_micros()).unwrap_or(i64::MAX));
        metrics.damaged_shards.set(i64::try_from(self.damaged.len()).unwrap_or(i64::MAX));
    }
}

/// Tells what opening one lane found.
pub(super) fn tell(lane: u16, found: &RecoveryReport, metrics: &StoreMetrics) {
    if let Some(cut) = &found.cut {
        metrics.torn.inc_by(i64::try_from(cut.bytes).unwrap_or(i64::MAX));
        tracing::info!(
            lane,
            at = cut.at.0,
            bytes = cut.bytes,
            "torn tail cut: writes that were never acknowledged"
        );
    }
    for damage in &found.damaged {
        let bytes = damage.to.0.saturating_sub(damage.from.0);
        metrics.log_damage.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        tracing::error!(
            lane,
            from = damage.from.0,
            to = damage.to.0,
            kept = damage.kept,
            "the log is damaged here"
        );
    }
}
