//! What a volume keeps beside its data: bytes that were damaged, cut or taken back, tables that a leader's took the place of, and
//! what it held before it began anew. Nobody reads it and nobody removes it but a person, who is told what it takes.

use std::io;

use super::aol::QUARANTINE_FOLDER;
use super::layout::SET_ASIDE_PREFIX;
use super::tables::DAMAGED_SUFFIX;
use crate::seam::disk::{Dir, EntryKind};

/// Folders below folders that are looked into: the layout has three.
const DEPTH_MAX: usize = 4;

/// What files take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many.
    pub files: u64,
    /// Bytes that they take on the volume.
    pub bytes: u64,
}

impl Taken {
    fn and(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// What everything takes that is set aside below the root of a volume.
pub fn measure(root: &dyn Dir) -> io::Result<Taken> {
    let mut taken = Taken::default();
    let entries = root.entries()?;
    for (name, _) in entries.iter().filter(|(_, kind)| *kind == EntryKind::Directory) {
        taken = taken.and(match name.as_str() {
            "tables" => of_some(root.subdir(name)?.as_ref(), &|file| file.ends_with(DAMAGED_SUFFIX))?,
            lane if lane.starts_with("lane-") => of_lane(root.subdir(name)?.as_ref())?,
            aside if aside.starts_with(SET_ASIDE_PREFIX) => of_all(root.subdir(name)?.as_ref())?,
            _ => Taken::default(),
        });
    }
    Ok(taken)
}

fn of_lane(lane: &dyn Dir) -> io::Result<Taken> {
    let has_copies = lane.entries()?.iter().any(|(name, _)| name == QUARANTINE_FOLDER);
    // Opening a folder would make it.
    if has_copies { of_all(lane.subdir(QUARANTINE_FOLDER)?.as_ref()) } else { Ok(Taken::default()) }
}

/// What all files of a folder take, and those of the folders below it.
pub(super) fn of_all(folder: &dyn Dir) -> io::Result<Taken> {
    of_depth(folder, DEPTH_MAX, &|_| true)
}

fn of_some(folder: &dyn Dir, counts: &dyn Fn(&str) -> bool) -> io::Result<Taken> {
    of_depth(folder, 0, counts)
}

fn of_depth(folder: &dyn Dir, depth: usize, counts: &dyn Fn(&str) -> bool) -> io::Result<Taken> {
    let mut taken = Taken::default();
    for (name, kind) in folder.entries()? {
        let more = match kind {
            EntryKind::File if counts(&name) => match folder.open(&name).and_then(|file| file.stored_bytes())
            {
                Ok(bytes) => Taken { files: 1, bytes },
                // It was removed just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Taken::default(),
                Err(error) => return Err(error),
            },
            EntryKind::Directory if depth > 0 => of_depth(folder.subdir(&name)?.as_ref(), depth - 1, counts)?,
            EntryKind::File | EntryKind::Directory | EntryKind::Other => Taken::default(),
        };
        taken = taken.and(more);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::disk::simulated::SimulatedDisk;

    fn put(root: &Arc<dyn Dir>, path: &str, bytes: usize) {
        let mut folder = Arc::clone(root);
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = folder.subdir(part).unwrap();
        }
        folder.create(name).unwrap().write_at(&vec![7; bytes], 0).unwrap();
    }

    #[test]
    fn what_is_set_aside_is_counted_and_nothing_else() {
        let root = SimulatedDisk::new(1).root();
        assert_eq!(measure(root.as_ref()).unwrap(), Taken::default());
        let data = [
            "reserve",
            "tables/shard-000.redb",
            "tables/shard-000.redb.opening",
            "lane-000/0000000001.aol",
            "snapshots/shard-000/1.snapshot",
        ];
        data.iter().for_each(|path| put(&root, path, 1_000));
        assert_eq!(measure(root.as_ref()).unwrap(), Taken::default());
        let aside = [
            "tables/shard-000.redb.damaged",
            "lane-000/quarantine/torn-1.bin",
            "put-back-1/superblock.a",
            "put-back-1/tables/shard-000.redb",
            "put-back-1/lane-000/quarantine/torn-1.bin",
        ];
        aside.iter().zip(1..).for_each(|(path, bytes)| put(&root, path, bytes));
        assert_eq!(measure(root.as_ref()).unwrap(), Taken { files: 5, bytes: 15 });
        let names: Vec<String> = root.subdir("lane-000").unwrap().list().unwrap();
        assert_eq!(names, ["0000000001.aol"], "looking makes nothing");
        assert_eq!(root.entries().unwrap().len(), 5);
    }
}
