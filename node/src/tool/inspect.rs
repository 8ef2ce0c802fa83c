//! `node inspect`: what a snapshot or a data directory holds, from the ends of files and the states of shards alone.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use super::report::Report;
use super::{Opened, existing, nothing_at};
use crate::codec::snapshot::TABLE_NAMES;
use crate::seam::disk::{Dir, RealDir};
use crate::store::layout::lane_folder;
use crate::store::snapshots::{SnapshotError, SnapshotFile, existing as folder_of, file_name, indexes};
use crate::store::tables::{Tables, file_name as tables_name};
use crate::types::{LaneId, ShardId};

pub(super) fn inspect(path: &Path) -> anyhow::Result<Report> {
    if path.is_file() {
        return Ok(snapshot(&open_file(path)??));
    }
    match Opened::at(path, None)? {
        Some(opened) => directory(&opened),
        None => folders(path),
    }
}

/// Opens one file by its path. The outer error is about the path.
pub(super) fn open_file(path: &Path) -> anyhow::Result<Result<SnapshotFile, SnapshotError>> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).context("the file has no usable name")?;
    Ok(SnapshotFile::open(RealDir::open(folder)?.as_ref(), name))
}

/// Facts of a snapshot, and its rows by table.
pub(super) fn snapshot(file: &SnapshotFile) -> Report {
    let (header, footer) = (file.header(), file.footer());
    let mut report = Report::new(&["table", "rows"]);
    report.fact("cluster", header.cluster.to_string());
    report.fact("shard", header.shard.0);
    report.fact("shards", header.shards.get());
    report.fact("log index", header.index.0);
    report.fact("epoch", header.epoch.to_string());
    report.fact("chain", format!("{:016x}", header.chain.0));
    report.fact("epochs", header.epochs.len());
    report.fact("taken at ms", header.taken_at.0);
    report.fact("compression", header.compression.name());
    report.fact("blocks", footer.blocks);
    report.fact("file bytes", file.bytes());
    report.fact("row bytes", footer.raw_bytes);
    for (name, rows) in TABLE_NAMES.into_iter().zip(footer.rows) {
        report.row(vec![name.into(), rows.into()]);
    }
    report
}

const COLUMNS: [&str; 7] = ["shard", "what", "log index", "streams", "payload bytes", "rows", "file bytes"];

fn directory(opened: &Opened) -> anyhow::Result<Report> {
    let mut report = Report::new(&COLUMNS);
    let superblock = &opened.superblock;
    report.fact("cluster", superblock.cluster.to_string());
    report.fact("incarnation", superblock.incarnation.to_string());
    report.fact("node", superblock.node.clone());
    report.fact("boot", superblock.boot.0);
    report.fact("shards", opened.layout.shards.get());
    report.fact("lanes", opened.layout.lanes);
    let mut log_bytes = 0;
    for lane in (0..opened.layout.lanes).map(LaneId) {
        let directory = opened.root.subdir(&lane_folder(lane))?;
        for name in directory.list()? {
            log_bytes += directory.open(&name)?.len()?;
        }
    }
    report.fact("log bytes", log_bytes);
    for shard in opened.layout.shards.shards() {
        tables(opened, shard, &mut report)?;
        snapshots(&opened.root, shard, &mut report)?;
    }
    Ok(report)
}

fn tables(opened: &Opened, shard: ShardId, report: &mut Report) -> anyhow::Result<()> {
    let place = opened.place(shard)?;
    let bytes = place.directory.open(&tables_name(shard)).and_then(|file| file.stored_bytes());
    match Tables::open_at(&place) {
        Ok(tables) => {
            let state = tables.state();
            report.row(vec![
                shard.0.into(),
                "tables".into(),
                state.applied.index.0.into(),
                state.totals.streams.into(),
                state.totals.bytes.into(),
                Value::Null,
                bytes.unwrap_or(0).into(),
            ]);
        }
        Err(error) => report.damage(format!("shard {shard}: {error}")),
    }
    Ok(())
}

fn folders(path: &Path) -> anyhow::Result<Report> {
    let root = existing(path, None)?;
    let mut report = Report::new(&COLUMNS);
    report.fact("data", "none; snapshots only");
    for shard in (0..256).map(ShardId) {
        snapshots(&root, shard, &mut report)?;
    }
    if report.is_empty() { Err(nothing_at(path)) } else { Ok(report) }
}

fn snapshots(root: &Arc<dyn Dir>, shard: ShardId, report: &mut Report) -> anyhow::Result<()> {
    for (name, opened) in each(root, shard)? {
        match opened {
            Ok(file) => report.row(vec![
                shard.0.into(),
                format!("snapshot {}", file.header().compression.name()).into(),
                file.header().index.0.into(),
                Value::Null,
                Value::Null,
                file.footer().rows_total().into(),
                file.bytes().into(),
            ]),
            Err(error) => report.damage(format!("shard {shard}, {name}: {error}")),
        }
    }
    Ok(())
}

/// The snapshots of a shard, oldest first, each opened or not.
pub(super) fn each(
    root: &Arc<dyn Dir>,
    shard: ShardId,
) -> anyhow::Result<Vec<(String, Result<SnapshotFile, SnapshotError>)>> {
    let Some(folder) = folder_of(root, shard)? else { return Ok(Vec::new()) };
    let names = indexes(folder.as_ref())?.into_iter().map(file_name);
    Ok(names.map(|name| (name.clone(), SnapshotFile::open(folder.as_ref(), &name))).collect())
}
