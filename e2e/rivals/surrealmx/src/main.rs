//! Snapshots of the crate `surrealmx`, for a bench that runs it beside ours: `rival-surrealmx FOLDER KEYS VALUE_BYTES`.
//!
//! It fills a database with keys and says `ready`. Then each line on standard input is an order, and each answer a line:
//! `snapshot none|lz4` → microseconds until its call returned, bytes of the file; `recover` → microseconds until a new database
//! of the file could be read. Nothing is kept.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use surrealmx::{AolMode, CompressionMode, Database, DatabaseOptions, PersistenceOptions, SnapshotMode};

type Fault = Box<dyn std::error::Error>;

/// Keys of one transaction.
const BATCH: u64 = 1_000;

fn options(folder: &Path, compression: CompressionMode) -> PersistenceOptions {
    PersistenceOptions::new(folder)
        .with_aol_mode(AolMode::Never)
        .with_snapshot_mode(SnapshotMode::Never)
        .with_compression(compression)
}

/// The same text as in the bench: half of it repeats, half does not.
fn value(number: u64, bytes: usize) -> Vec<u8> {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!(
        "{{\"order\":{number:012},\"state\":\"shipped\",\"token\":\"{noise:016x}{:016x}\"",
        noise ^ 1_790_000_000_000
    );
    let mut value = text.into_bytes();
    value.resize(bytes - 1, b' ');
    value.push(b'}');
    value
}

fn filled(folder: &Path, compression: CompressionMode, keys: u64, bytes: usize) -> Result<Database, Fault> {
    std::fs::create_dir_all(folder)?;
    let database = Database::new_with_persistence(DatabaseOptions::default(), options(folder, compression))?;
    for first in (0..keys).step_by(BATCH as usize) {
        let mut transaction = database.transaction(true);
        for number in first..keys.min(first + BATCH) {
            transaction.set(number.to_be_bytes().to_vec(), value(number, bytes))?;
        }
        transaction.commit()?;
    }
    Ok(database)
}

/// One database, with one way of writing snapshots.
struct Side {
    folder: PathBuf,
    compression: CompressionMode,
    database: Database,
}

impl Side {
    fn new(root: &Path, compression: CompressionMode, keys: u64, bytes: usize) -> Result<Self, Fault> {
        let folder = root.join(if compression == CompressionMode::None { "none" } else { "lz4" });
        let database = filled(&folder, compression, keys, bytes)?;
        Ok(Self { folder, compression, database })
    }

    fn snapshot(&self) -> Result<(Duration, u64), Fault> {
        let started = Instant::now();
        self.database.persistence().ok_or("no persistence")?.snapshot()?;
        let took = started.elapsed();
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            bytes += entry?.metadata()?.len();
        }
        Ok((took, bytes))
    }

    fn recover(&self, keys: u64) -> Result<Duration, Fault> {
        let started = Instant::now();
        let options = options(&self.folder, self.compression);
        let back = Database::new_with_persistence(DatabaseOptions::default(), options)?;
        let last = back.get((keys - 1).to_be_bytes().to_vec())?;
        let took = started.elapsed();
        last.ok_or("the last key is missing")?;
        Ok(took)
    }
}

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, keys, bytes] = arguments.as_slice() else { return Err("FOLDER KEYS VALUE_BYTES".into()) };
    let (keys, bytes) = (keys.parse()?, bytes.parse()?);
    let sides = [CompressionMode::None, CompressionMode::Lz4]
        .map(|compression| Side::new(Path::new(root), compression, keys, bytes));
    let [none, lz4] = sides;
    let (none, lz4) = (none?, lz4?);
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let side = if line.ends_with("lz4") { &lz4 } else { &none };
        let (took, stored) = match line.split(' ').next() {
            Some("snapshot") => side.snapshot()?,
            Some("recover") => (side.recover(keys)?, 0),
            _ => return Err(format!("{line} is no order").into()),
        };
        writeln!(out, "{} {stored}", took.as_micros())?;
    }
    Ok(())
}
