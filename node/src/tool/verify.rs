//! `node verify`: reads every row of every table and every byte of every snapshot, and names what is damaged
//! or, of a backup, missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::inspect::{each, open_file, snapshot};
use super::report::Report;
use super::watch::Watch;
use super::{Opened, existing, nothing_at};
use crate::seam::Clock;
use crate::seam::disk::Dir;
use crate::store::layout::LayoutError;
use crate::store::snapshots::{Progress, SnapshotError, SnapshotFile};
use crate::store::superblock::SuperblockStoreError;
use crate::store::tables::{Identity, ScrubCursor, Tables, TablesError};
use crate::types::ShardId;

/// Bytes of tables that are read in one call.
const PIECE_BYTES: u64 = 16 << 20;

pub(super) fn verify(path: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Report> {
    let mut report = if path.is_file() { file(path)? } else { folder(path, clock)? };
    report.fact("verdict", if report.is_sound() { "intact" } else { "damaged" });
    Ok(report)
}

fn file(path: &Path) -> anyhow::Result<Report> {
    let opened = match open_file(path)? {
        Ok(opened) => opened,
        Err(error) if error.is_damage() => {
            let mut report = Report::new(&[]);
            report.fact("file", path.display().to_string());
            report.damage(error.to_string());
            return Ok(report);
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = snapshot(&opened);
    if let Err(error) = read_all(&opened, &path.display().to_string())? {
        report.damage(error.to_string());
    }
    Ok(report)
}

fn folder(path: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Report> {
    let mut report = Report::new(&["shard", "what", "log index", "bytes read", "milliseconds", "faults"]);
    match Opened::at(path, None) {
        Ok(Some(opened)) => directory(&opened, clock, &mut report)?,
        Ok(None) => backup(&existing(path, None)?, clock, &mut report)?,
        Err(error) if is_damage(&error) => report.damage(error.to_string()),
        Err(error) => return Err(error),
    }
    if report.is_empty() { Err(nothing_at(path)) } else { Ok(report) }
}

/// What describes the data is damaged, so nothing of it can be read.
fn is_damage(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LayoutError::Unreadable { .. }))
        || matches!(error.downcast_ref(), Some(SuperblockStoreError::Unreadable))
}

/// Snapshots alone: without those of every shard they cannot be restored.
fn backup(root: &Arc<dyn Dir>, clock: &Arc<dyn Clock>, report: &mut Report) -> anyhow::Result<()> {
    let mut set = Set::default();
    for shard in (0..256).map(ShardId) {
        snapshots(root, shard, clock, &mut set, report)?;
    }
    if let Some(lacking) = set.lacking() {
        report.damage(format!("the backup is incomplete: {lacking}"));
    }
    Ok(())
}

/// The data of a node. Its snapshots are its own affair: some shards may not have had their turn.
fn directory(opened: &Opened, clock: &Arc<dyn Clock>, report: &mut Report) -> anyhow::Result<()> {
    let mut set = Set { of: Some(opened.identity(ShardId(0))), ..Set::default() };
    for shard in opened.layout.shards.shards() {
        let began = clock.elapsed();
        match tables(opened, shard) {
            Ok((index, bytes, faults)) => {
                let took = clock.elapsed().saturating_sub(began).as_millis();
                let took = u64::try_from(took).unwrap_or(u64::MAX);
                let row: [Value; 6] = [
                    shard.0.into(),
                    "tables".into(),
                    index.into(),
                    bytes.into(),
                    took.into(),
                    faults.len().into(),
                ];
                report.row(row.to_vec());
                faults.iter().for_each(|fault| report.damage(format!("shard {shard}, tables: {fault}")));
            }
            Err(error) => report.damage(format!("shard {shard}: {error:#}")),
        }
        snapshots(&opened.root, shard, clock, &mut set, report)?;
    }
    let told = match set.lacking() {
        _ if set.with.is_empty() => "none".to_owned(),
        Some(lacking) => format!("incomplete: {lacking}"),
        None => "of all shards".to_owned(),
    };
    report.fact("snapshots", told);
    Ok(())
}

/// Snapshots that a restore takes together.
#[derive(Debug, Default)]
struct Set {
    /// Whose they are: the first one says it, if nothing else does.
    of: Option<Identity>,
    /// Shards that have one, sound or not.
    with: BTreeSet<ShardId>,
}

impl Set {
    /// Which shards have none, in words; nothing can be said if no header can be read.
    fn lacking(&self) -> Option<String> {
        let shards = self.of?.shards;
        let lacking = shards.shards().filter(|shard| !self.with.contains(shard));
        let lacking: Vec<String> = lacking.map(|shard| shard.to_string()).collect();
        (!lacking.is_empty()).then(|| {
            format!(
                "of {} shards these have no snapshot: {}; a restore needs all of them",
                shards.get(),
                lacking.join(", ")
            )
        })
    }

    /// Counts a snapshot in, if it is of the same cluster as the others.
    fn take(&mut self, shard: ShardId, file: &SnapshotFile) -> Result<(), SnapshotError> {
        let header = file.header();
        let first = Identity { shard, shards: header.shards, layout: header.cluster.0 };
        file.must_be(Identity { shard, ..*self.of.get_or_insert(first) })
    }
}

/// The applied index, bytes read and faults of a shard's tables.
fn tables(opened: &Opened, shard: ShardId) -> anyhow::Result<(u64, u64, Vec<String>)> {
    let tables = Tables::open_at(&opened.place(shard)?)?;
    let reader = tables.reader();
    let (mut cursor, mut bytes, mut faults) = (ScrubCursor::default(), 0, Vec::new());
    loop {
        match reader.scrub(&cursor, PIECE_BYTES) {
            Ok(found) => {
                bytes += found.bytes;
                faults.extend(found.faults);
                if found.complete {
                    break;
                }
                cursor = found.next;
            }
            // Nothing behind it can be read. What took the file out of service was told by the call before, if that met it.
            Err(error @ TablesError::Damaged { .. }) => {
                if faults.is_empty() {
                    faults.push(error.to_string());
                }
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((tables.state().applied.index.0, bytes, faults))
}

fn snapshots(
    root: &Arc<dyn Dir>,
    shard: ShardId,
    clock: &Arc<dyn Clock>,
    set: &mut Set,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (name, opened) in each(root, shard)? {
        set.with.insert(shard);
        let began = clock.elapsed();
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                report.damage(format!("shard {shard}: {error}"));
                continue;
            }
        };
        let found = match set.take(shard, &file) {
            Ok(()) => read_all(&file, &format!("shard {shard}, {name}"))?,
            foreign => foreign,
        };
        let took = u64::try_from(clock.elapsed().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
        let row: [Value; 6] = [
            shard.0.into(),
            "snapshot".into(),
            file.header().index.0.into(),
            file.bytes().into(),
            took.into(),
            u8::from(found.is_err()).into(),
        ];
        report.row(row.to_vec());
        if let Err(error) = found {
            report.damage(format!("shard {shard}: {error}"));
        }
    }
    Ok(())
}

/// Reads a whole snapshot. The outer error is about the watching.
fn read_all(file: &SnapshotFile, what: &str) -> std::io::Result<Result<(), SnapshotError>> {
    let progress = Arc::<Progress>::default();
    let _watch = Watch::over(format!("reading {what}"), &progress)?;
    Ok(file.verify(&progress).map(drop))
}
