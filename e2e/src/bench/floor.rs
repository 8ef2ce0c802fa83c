//! What the disk alone allows: one thread that writes a small record and waits for it, again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::histogram::Histogram;
use crate::stopwatch::Stopwatch;

/// Bytes of the file that is written round and round, like recycled log segments.
const FILE_BYTES: u64 = 8 << 20;
/// A log record of a 100-byte append has about this size.
const RECORD_BYTES: usize = 256;

/// The floor under every durable write.
#[derive(Debug, Clone)]
pub struct Floor {
    /// Synced writes per second.
    pub rate: f64,
    /// Latency of each.
    pub latency: Histogram,
}

/// Measures for `seconds` in a temporary file of `folder`.
pub fn sync_floor(folder: &Path, measured: Duration) -> anyhow::Result<Floor> {
    let path = tempfile::NamedTempFile::new_in(folder)?;
    let file: &File = path.as_file();
    // Written once before, so that no block is allocated while it is measured.
    let block = vec![0x5a; 1 << 20];
    for at in (0..FILE_BYTES).step_by(block.len()) {
        file.write_all_at(&block, at)?;
    }
    file.sync_all()?;
    let mut latency = Histogram::default();
    let record = [0xa5; RECORD_BYTES];
    let clock = Stopwatch::start();
    let mut at = 0;
    while clock.elapsed() < measured {
        let start = clock.nanoseconds();
        file.write_all_at(&record, at)?;
        file.sync_data()?;
        latency.record(clock.nanoseconds() - start);
        at = (at + RECORD_BYTES as u64) % FILE_BYTES;
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = latency.count() as f64 / clock.elapsed().as_secs_f64();
    Ok(Floor { rate, latency })
}
