//! The record as a file: read and changed under a lock, replaced as a whole. Invariant: a reader sees one version or the
//! next, whole and synced; what was decided on an older version is decided anew on the newer one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use thalweg_node::core::failover::RowChange;
use thalweg_node::seam::disk::RealDir;

use super::table::{FileWords, Table, from_words, to_words};

const NAME: &str = "record.json";
const TEMPORARY: &str = "record.json.new";
const LOCK: &str = "record.lock";

/// Why the record was not read or not changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none yet.
    #[error("there is no record")]
    Missing,
    /// There is one already.
    #[error("there is a record already")]
    Exists,
    /// It was not written by this program, or by a later one.
    #[error("{0} is not understood: {1:#}")]
    Unreadable(PathBuf, anyhow::Error),
    /// The file system refuses.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// The record in a directory. Cheap to copy; holds nothing open.
#[derive(Debug, Clone)]
pub struct RecordFile(Arc<Path>);

impl RecordFile {
    /// The record that lies, or is to lie, in this directory.
    pub fn at(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self(directory.into()))
    }

    /// What it says now, and the version in which it says so.
    pub fn read(&self) -> Result<(u64, Table), RecordError> {
        let path = self.0.join(NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RecordError::Missing),
            bytes => bytes?,
        };
        let words: Result<FileWords, _> = serde_json::from_slice(&bytes);
        words
            .map_err(anyhow::Error::from)
            .and_then(from_words)
            .map_err(|error| RecordError::Unreadable(path, error))
    }

    /// Writes the first one; of two who try, one succeeds.
    pub fn create(&self, table: &Table) -> Result<(), RecordError> {
        let _lock = self.lock()?;
        match self.read() {
            Err(RecordError::Missing) => self.publish(1, table),
            Err(error) => Err(error),
            Ok(_) => Err(RecordError::Exists),
        }
    }

    /// Changes it: `decide` sees it as it is, and says whether what it made of it is to be written. Returns what it says
    /// then.
    pub fn change(&self, decide: impl FnOnce(&mut Table) -> bool) -> Result<(u64, Table), RecordError> {
        let _lock = self.lock()?;
        let (mut version, mut table) = self.read()?;
        let before = table.clone();
        if decide(&mut table) && table != before {
            version += 1;
            self.publish(version, &table)?;
            return Ok((version, table));
        }
        Ok((version, before))
    }

    /// Changes these rows, all or none, if each is still as it was.
    pub fn write(&self, changes: &[RowChange]) -> Result<(u64, Table), RecordError> {
        self.change(|table| {
            let same = changes.iter().all(|change| table.rows.get(&change.shard) == Some(&change.before));
            if same {
                table.rows.extend(changes.iter().map(|change| (change.shard, change.after.clone())));
            }
            same
        })
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options().create(true).append(true).open(self.0.join(LOCK))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Temporary name, sync, rename, sync of the directory: after a crash one of both is there, whole.
    fn publish(&self, version: u64, table: &Table) -> Result<(), RecordError> {
        let mut text = serde_json::to_vec_pretty(&to_words(version, table)).map_err(io::Error::other)?;
        text.push(b'\n');
        let directory = RealDir::open(&self.0)?;
        match directory.remove(TEMPORARY) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = directory.create(TEMPORARY)?;
        file.write_at(&text, 0)?;
        file.sync()?;
        directory.rename(TEMPORARY, NAME)?;
        Ok(directory.sync()?)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_node::core::replication::ShardRow;
    use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId, VolumeIncarnation};

    use super::super::table::{GivenUp, Outcast, Wish};
    use super::super::tests::table;
    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn change(before: &ShardRow, after: ShardRow) -> [RowChange; 1] {
        [RowChange { shard: SHARD, before: before.clone(), after }]
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written_and_made_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let record = RecordFile::at(folder.path()).unwrap();
        assert!(matches!(record.read(), Err(RecordError::Missing)));
        let mut table = table(3, 4);
        table.learners.insert(SHARD, vec![ReplicaId(7)]);
        let row = table.rows.get_mut(&SHARD).unwrap();
        *row = row.activate(ReplicaId(2)).unwrap();
        let incarnation = VolumeIncarnation([9; 16]);
        let gone = Outcast { id: ReplicaId(0), node: "n0".to_owned(), incarnation };
        let (chosen, epoch) = (ReplicaId(1), RecordEpoch(4));
        table.unclean.push(GivenUp { shard: SHARD, epoch, chosen, barred: vec![gone] });
        table.wish = Some(Wish { shard: SHARD, epoch, incarnation, refused: Some("no".to_owned()) });
        record.create(&table).unwrap();
        assert_eq!(record.read().unwrap(), (1, table.clone()));
        assert!(matches!(record.create(&table), Err(RecordError::Exists)));
    }

    #[test]
    fn of_two_changes_that_were_decided_on_one_row_the_first_counts() {
        let folder = tempfile::tempdir().unwrap();
        let record = RecordFile::at(folder.path()).unwrap();
        let table = table(3, 4);
        record.create(&table).unwrap();
        let before = &table.rows[&SHARD];
        let mine = before.activate(ReplicaId(0)).unwrap();
        let (version, _) = record.write(&change(before, mine.clone())).unwrap();
        let theirs = before.activate(ReplicaId(1)).unwrap();
        let (unchanged, seen) = record.write(&change(before, theirs)).unwrap();
        assert_eq!((version, unchanged), (2, 2));
        assert_eq!(seen.rows[&SHARD], mine);
    }

    #[test]
    fn what_is_not_a_record_is_said_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let record = RecordFile::at(folder.path()).unwrap();
        for text in ["", "{", "{\"format\":3}", "[]"] {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            assert!(matches!(record.create(&table(3, 1)), Err(RecordError::Unreadable(..))), "{text}");
            assert!(matches!(record.change(|_| true), Err(RecordError::Unreadable(..))), "{text}");
            assert_eq!(std::fs::read_to_string(folder.path().join(NAME)).unwrap(), text);
        }
    }

    #[test]
    fn drivers_that_change_one_record_at_once_lose_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let record = RecordFile::at(folder.path()).unwrap();
        record.create(&table(3, 1)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        record
                            .change(|table| {
                                table.next_replica += 1;
                                true
                            })
                            .unwrap();
                    }
                });
            }
        });
        let (version, seen) = record.read().unwrap();
        assert_eq!((version, seen.next_replica), (41, 43));
    }
}
