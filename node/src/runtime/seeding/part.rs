//! What has been fetched of a snapshot: a file that grows from its beginning, and is taken up again by a later start.
//! Invariant: what it holds is of one snapshot, told by that one's key; whether it is intact shows when it is read as a whole.

use std::io;
use std::sync::Arc;

use crate::codec::snapshot::{HEADER_BYTES_MAX, SnapshotHeader};
use crate::core::replication::Image;
use crate::seam::disk::{Dir, File};
use crate::types::ShardId;

/// Bytes between two syncs, so that the sync of a log on the same device never waits for a whole snapshot.
const SYNC_BYTES: u64 = 16 << 20;

/// The file of a fetch.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<dyn File>,
    /// Bytes that are there.
    pub(super) length: u64,
    synced: u64,
}

/// The name of a shard's fetch.
pub(super) fn part_name(shard: ShardId) -> String {
    format!("shard-{:03}.part", shard.0)
}

impl Part {
    /// Goes on with what is there, if that is of this snapshot; else begins.
    pub(super) fn open(directory: &dyn Dir, shard: ShardId, image: &Image) -> io::Result<Self> {
        let name = part_name(shard);
        let file = match directory.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => directory.create(&name)?,
            found => found?,
        };
        let mut length = file.len()?;
        let mut front = vec![0; HEADER_BYTES_MAX.min(usize::try_from(length).unwrap_or(usize::MAX))];
        let count = file.read_at(&mut front, 0)?;
        let found = SnapshotHeader::decode(front.get(..count).unwrap_or_default());
        let goes_on = found.is_ok_and(|(_, key, _)| key.number() == image.key) && length <= image.bytes;
        if !goes_on {
            file.set_len(0)?;
            length = 0;
        }
        Ok(Self { file, length, synced: length })
    }

    /// The next bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        if self.length - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes it durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.synced = self.length;
        Ok(())
    }
}

/// Removes a fetch, if there is one.
pub(super) fn remove_part(directory: &dyn Dir, shard: ShardId) -> io::Result<()> {
    match directory.remove(&part_name(shard)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::snapshot::Compression;
    use crate::core::replication::{EpochStart, History};
    use crate::seam::disk::simulated::SimulatedDisk;
    use crate::types::{Chain, ClusterId, Epoch, LogIndex, ShardCount, UnixMillis};

    fn header(taken_at: i64) -> (Vec<u8>, u32) {
        let header = SnapshotHeader {
            cluster: ClusterId([1; 16]),
            shard: ShardId(3),
            shards: ShardCount::new(4).unwrap(),
            compression: Compression::None,
            index: LogIndex(9),
            epoch: Epoch::default(),
            chain: Chain(1),
            taken_at: UnixMillis(taken_at),
            epochs: vec![(Epoch::default(), LogIndex(1))],
        };
        let (bytes, key) = header.encode();
        (bytes, key.number())
    }

    #[test]
    fn a_fetch_goes_on_where_it_was_if_it_is_of_the_same_snapshot_and_begins_again_if_not() {
        let disk = SimulatedDisk::new(1).root();
        let start = EpochStart { epoch: Epoch::default(), first: LogIndex(1) };
        let history = History::new(vec![start], LogIndex(9), Chain(1)).unwrap();
        let (bytes, key) = header(1);
        let image = Image { history, bytes: 10_000, key };
        let open = |image: &Image| Part::open(disk.as_ref(), ShardId(3), image).unwrap();
        let mut part = open(&image);
        assert_eq!(part.length, 0);
        part.append(&bytes[..10]).unwrap();
        assert_eq!(open(&image).length, 0, "of what it is cannot be told");
        let mut part = open(&image);
        part.append(&bytes).unwrap();
        part.append(&[7; 100]).unwrap();
        assert_eq!(open(&image).length, bytes.len() as u64 + 100);
        let shorter = Image { bytes: 50, ..image.clone() };
        assert_eq!(open(&shorter).length, 0, "longer than the whole");
        open(&image).append(&bytes).unwrap();
        let other = Image { key: header(2).1, ..image };
        assert_eq!(open(&other).length, 0, "of another one");
        remove_part(disk.as_ref(), ShardId(3)).unwrap();
        remove_part(disk.as_ref(), ShardId(3)).unwrap();
        assert!(disk.list().unwrap().is_empty());
    }
}
