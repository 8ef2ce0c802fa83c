//! What a member of a cluster makes of a shard that its start finds damaged: what is sound of it stays, the rest is set aside, and
//! its replica gets from a leader what it lacks.
//!
//! Invariants: before anything is set aside it is on the disk that the shard is damaged, so no start ever takes what is left for all
//! that there was; nothing is erased that may be the only copy.

use std::io;

use super::replay::{Replays, Settling, ShardReplay};
use super::report::StartReport;
use super::volume::Volume;
use crate::store::tables::{Place, Tables, TablesError};
use crate::types::ShardId;

/// Where the tables of a shard lie.
pub(super) type PlaceOf<'a> = &'a dyn Fn(ShardId) -> Place;

/// Whether tables that fail to open so are set aside for a leader's. Those of another place, and those that are in use, are not
/// this shard's to move.
pub(super) const fn can_be_set_aside(error: &TablesError) -> bool {
    matches!(
        error,
        TablesError::Missing { .. }
            | TablesError::Quarantined { .. }
            | TablesError::Damaged { .. }
            | TablesError::Corrupt { .. }
    )
}

/// Sets the tables of a shard aside, and begins with empty ones.
pub(super) fn begin_anew(volume: &Volume, place: &Place, reason: &str) -> Result<Tables, String> {
    let shard = place.identity.shard;
    let was_known = volume.vault.is_damaged(shard);
    let noted = volume.vault.note_damage(&[(shard, reason.to_owned())]);
    noted.map_err(|error| format!("{reason}; that cannot be noted in the superblock: {error}"))?;
    // What was begun since the first damage is not all there; what was set aside then is.
    let set_aside = || -> io::Result<()> { place.set_aside(!was_known) };
    set_aside().map_err(|error| format!("{reason}; the tables cannot be set aside: {error}"))?;
    Tables::create_at(place).map_err(|error| format!("{reason}; new tables cannot be made: {error}"))
}

/// Leaves each damaged shard with what is sound of it. What cannot even be set aside stays damaged.
pub(super) fn salvage(
    volume: &Volume,
    place_of: PlaceOf<'_>,
    replays: &mut Replays,
    report: &mut StartReport,
) -> anyhow::Result<()> {
    let found = |(shard, replay): (&ShardId, &ShardReplay)| Some((*shard, replay.damage.clone()?));
    let damaged: Vec<(ShardId, String)> = replays.iter().filter_map(found).collect();
    if damaged.is_empty() {
        return Ok(());
    }
    volume.vault.note_damage(&damaged)?;
    for (shard, reason) in damaged {
        let Some(mut replay) = replays.remove(&shard) else { continue };
        if replay.is_sound_so_far() {
            replay.lacking = replay.damage.take();
            replays.insert(shard, replay);
            continue;
        }
        // Its file is let go before another one gets its name.
        drop(replay);
        match begin_anew(volume, &place_of(shard), &reason) {
            Ok(tables) => {
                let mut replay = ShardReplay::new(tables, Settling::AsTold);
                replay.lacking = Some(reason);
                replays.insert(shard, replay);
            }
            Err(reason) => report.damaged.push((shard, reason)),
        }
    }
    Ok(())
}
