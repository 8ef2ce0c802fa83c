//! A page of streams by name: what the tables hold, corrected by what is committed and not applied yet, over all shards.

use std::collections::BTreeMap;

use super::alive;
use crate::runtime::shared::{Shard, Shared};
use crate::runtime::views::{Known, Snapshot, Ticket};
use crate::runtime::{Failure, StreamState};
use crate::seam::lending;
use crate::store::tables::StreamEntry;
use crate::types::{StreamName, UnixMillis};

/// Names that are taken from the views at a time: their lock is on the way of every request of the shard.
const RECENT_AT_ONCE: usize = 256;

/// One stream of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Its state.
    pub state: StreamState,
}

/// At most `limit` living streams behind `after`. A shard that cannot be read is an error: a page without its streams would
/// say that they do not exist.
pub(in crate::runtime) fn list(
    shared: &Shared,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, Failure> {
    walk(shared, prefix, after, limit, false)
}

/// The same over the shards that are served.
pub(in crate::runtime) fn list_served(
    shared: &Shared,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, Failure> {
    walk(shared, prefix, after, limit, true)
}

fn walk(
    shared: &Shared,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    only_served: bool,
) -> Result<Vec<Listed>, Failure> {
    let mut names = BTreeMap::new();
    for id in shared.count.shards() {
        let read = shared.believed(id, || {
            shared.shard(id).and_then(|shard| page(shared, shard, prefix, after, limit, &mut names))
        });
        match read {
            Err(Failure::ShardDamaged { .. }) if only_served => {}
            read => read?,
        }
    }
    Ok(names.into_iter().take(limit).map(|(name, state)| Listed { name, state }).collect())
}

/// The first `limit` living names of one shard.
fn page(
    shared: &Shared,
    shard: &Shard,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    into: &mut BTreeMap<StreamName, StreamState>,
) -> Result<(), Failure> {
    let now = shared.judged_at();
    // Taken before the tables are read: a change that is applied in between shows in both, one that is not in this one.
    let (mut found, mut position) = (0, after.map(str::to_owned));
    while found < limit {
        let recent = shard.views.recent(prefix, position.as_deref(), RECENT_AT_ONCE);
        let Some((last, _)) = recent.last() else { break };
        position = Some(last.as_str().to_owned());
        for (name, view) in recent {
            let living = view.map(|view| view.snapshot(now)).filter(|snapshot| alive(snapshot).is_ok());
            if let Some(snapshot) = living {
                into.insert(name, snapshot.state);
                found += 1;
            }
        }
    }
    let (mut found, mut position) = (0, after.map(str::to_owned));
    while found < limit {
        let ticket = shard.views.ticket();
        let entries = lending(|| shard.tables.list(prefix, position.as_deref(), limit))
            .map_err(|fault| shard.table_fault(&fault))?;
        let Some(last) = entries.last() else { break };
        position = Some(last.meta.name.as_str().to_owned());
        let full = entries.len() == limit;
        for entry in entries {
            let name = entry.meta.name.clone();
            let Some(snapshot) = glimpse(shard, entry, ticket, now)? else { continue };
            if alive(&snapshot).is_ok() {
                into.insert(name, snapshot.state);
                found += 1;
            }
        }
        if !full {
            break;
        }
    }
    Ok(())
}

/// The state of a stream that the tables showed, without making it resident: a listing passes by everything there is.
fn glimpse(
    shard: &Shard,
    mut entry: StreamEntry,
    mut ticket: Ticket,
    now: UnixMillis,
) -> Result<Option<Snapshot>, Failure> {
    loop {
        let asked = match shard.views.by_name(&entry.meta.name) {
            Known::Here(view) => return Ok(Some(view.snapshot(now))),
            Known::Absent => return Ok(None),
            Known::AskTables(asked) => asked,
        };
        if asked == ticket {
            return Ok(Some(shard.views.glimpse(&entry.meta).snapshot(now)));
        }
        // Its view may have come and gone since the page was read: the tables are asked again.
        ticket = asked;
        let found = lending(|| shard.tables.stream_by_name(&entry.meta.name))
            .map_err(|fault| shard.table_fault(&fault))?;
        let Some(newer) = found else { return Ok(None) };
        entry = newer;
    }
}
