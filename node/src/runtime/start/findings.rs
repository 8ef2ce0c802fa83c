//! What follows from what a start found, shard by shard. Invariant: a shard of which anything may be missing is
//! not served, and a node that can serve nothing does not start.

use std::collections::BTreeMap;

use super::replay::Replays;
use super::report::StartReport;
use super::volume::Volume;
use crate::store::aol::RecoveryReport;
use crate::types::{LaneId, ShardId};

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
            None if found.unseen_shards_suspect => replay.suspect(replay.last().next(), None),
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
