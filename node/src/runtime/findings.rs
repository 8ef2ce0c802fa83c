//! What a start found, shard by shard, and what follows from it. Invariant: a shard of which anything may be missing is
//! not served, and a node that can serve nothing does not start.

use std::collections::BTreeMap;
use std::time::Duration;

use super::replay::Replays;
use super::volume::Volume;
use crate::store::aol::RecoveryReport;
use crate::types::{LaneId, ShardId};

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
    /// How long it took.
    pub took: Duration,
}

/// Holds what each shard arrived at against what its log says about it.
pub(super) fn compare(volume: &Volume, lane: LaneId, found: &RecoveryReport, replays: &mut Replays) {
    for gap in &found.gaps {
        if let Some(replay) = replays.get_mut(&gap.shard) {
            replay.suspect(gap.from, gap.to);
        }
    }
    for (shard, replay) in replays.iter_mut().filter(|(shard, _)| volume.lane_of(**shard) == lane) {
        match found.heads.get(shard) {
            Some(head) => replay.must_reach(*head),
            None if found.unseen_shards_suspect => replay.suspect(replay.last.next(), None),
            None => {}
        }
    }
}

/// A node that can serve nothing says so at once instead of answering every request with an error.
pub(super) fn refuse_without_shards(replays: &Replays, report: &StartReport) -> anyhow::Result<()> {
    if replays.values().any(|replay| replay.damage.is_none()) {
        return Ok(());
    }
    let opened = replays.iter().filter_map(|(shard, replay)| Some((*shard, replay.damage.clone()?)));
    let damaged: BTreeMap<ShardId, String> = opened.chain(report.damaged.iter().cloned()).collect();
    let reasons: Vec<String> =
        damaged.iter().take(3).map(|(shard, reason)| format!("shard {shard}: {reason}")).collect();
    anyhow::bail!(
        "none of the {} shards can be served ({}{}); put the missing or damaged files back, or restore the whole \
         directory: nothing of it was removed",
        damaged.len(),
        reasons.join("; "),
        if damaged.len() > reasons.len() { "; …" } else { "" }
    )
}

/// Tells the operator what was cut and what is damaged.
pub(super) fn tell(lane: u16, found: &RecoveryReport) {
    if let Some(cut) = &found.cut {
        tracing::info!(
            lane,
            at = cut.at.0,
            bytes = cut.bytes,
            "torn tail cut: writes that were never acknowledged"
        );
    }
    for damage in &found.damaged {
        tracing::error!(
            lane,
            from = damage.from.0,
            to = damage.to.0,
            kept = damage.kept,
            "the log is damaged here"
        );
    }
}
