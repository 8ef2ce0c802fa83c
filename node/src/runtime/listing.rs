//! A page of streams by name: what the tables hold, corrected by what is committed and not applied yet, over all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::{alive, blocking};
use super::shared::{Shard, Shared};
use super::{Failure, StreamState};
use crate::types::StreamName;

/// One stream of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Its state.
    pub state: StreamState,
}

/// At most `limit` living streams behind `after`.
pub(super) fn list(
    shared: &Shared,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, Failure> {
    let mut names = BTreeMap::new();
    // A shard that cannot be read is an error: a page without its streams would say that they do not exist.
    for id in shared.count.shards() {
        page(shared, shared.shard(id)?, prefix, after, limit, &mut names)?;
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
    // Taken before the tables are read: a change that is applied in between shows in both, one that is not in this one.
    let recent = shard.views.recent(prefix);
    let now = shared.clock.now();
    for (name, view) in recent {
        if after.is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        if let Some(snapshot) = view.map(|view| view.snapshot(now)).filter(|snapshot| alive(snapshot).is_ok())
        {
            into.insert(name, snapshot.state);
        }
    }
    let (mut found, mut position) = (0, after.map(str::to_owned));
    while found < limit {
        let entries = blocking(|| shard.tables.list(prefix, position.as_deref(), limit))
            .map_err(|fault| shard.table_fault(&fault))?;
        let Some(last) = entries.last() else { break };
        position = Some(last.meta.name.as_str().to_owned());
        let full = entries.len() == limit;
        for name in entries.into_iter().map(|entry| entry.meta.name) {
            let Some(view) = shared.view(&name)? else { continue };
            let snapshot = Arc::clone(&view).snapshot(now);
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
