//! `node verify`: reads every row of every table and every byte of every snapshot, and names what is damaged.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::inspect::{each, open_file, snapshot};
use super::report::Report;
use super::watch::Watch;
use super::{Opened, existing};
use crate::seam::Clock;
use crate::seam::disk::Dir;
use crate::store::snapshots::{Progress, SnapshotError, SnapshotFile};
use crate::store::tables::{ScrubCursor, Tables, TablesError};
use crate::types::ShardId;

/// Bytes of tables that are read in one call.
const PIECE_BYTES: u64 = 16 << 20;

pub(super) fn verify(path: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Report> {
    if path.is_file() {
        let opened = open_file(path)?;
        let mut report = snapshot(&opened);
        if let Err(error) = read_all(&opened, &path.display().to_string())? {
            report.damage(error.to_string());
        }
        return Ok(report);
    }
    let mut report = Report::new(&["shard", "what", "log index", "bytes read", "milliseconds", "faults"]);
    let Some(opened) = Opened::at(path)? else {
        let root = existing(path)?;
        for shard in (0..256).map(ShardId) {
            snapshots(&root, shard, clock, &mut report)?;
        }
        return Ok(report);
    };
    for shard in opened.layout.shards.shards() {
        let began = clock.elapsed();
        match tables(&opened, shard) {
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
        snapshots(&opened.root, shard, clock, &mut report)?;
    }
    Ok(report)
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
    report: &mut Report,
) -> anyhow::Result<()> {
    for (name, opened) in each(root, shard)? {
        let began = clock.elapsed();
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                report.damage(format!("shard {shard}: {error}"));
                continue;
            }
        };
        let found = read_all(&file, &format!("shard {shard}, {name}"))?;
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
