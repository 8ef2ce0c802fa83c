//! A snapshot that is on the disk already and does as well as a new one: the shard's log goes on from it. Invariant: it is kept
//! from being removed before it is looked at, and all of it was read and checked before anybody hears of it.

use super::SnapshotTaker;
use super::desk::Continued;
use crate::core::replication::{Common, Image};
use crate::runtime::seeding::image_of;
use crate::store::snapshots::{Pace, Pinned, Progress, SnapshotError, SnapshotFile};
use crate::store::tables::Identity;
use crate::types::ShardId;

/// Why the newest snapshot that is there does not do.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("there is none that is new enough")]
    Old,
    #[error("it is of another log")]
    Other,
    #[error("the log does not go on from it")]
    Behind,
    #[error("{0}")]
    Unread(#[from] SnapshotError),
}

impl SnapshotTaker {
    /// The newest snapshot of a shard, if the log goes on from it and it is intact.
    pub(super) fn reusable(&mut self, shard: ShardId, log: &Continued) -> Option<Pinned> {
        match self.look_at_newest(shard, log) {
            Ok(pinned) => {
                let index = pinned.index().0;
                tracing::info!(shard = shard.0, index, "a snapshot that is there is used again");
                Some(pinned)
            }
            // Somebody who may copy it elsewhere should know.
            Err(Unfit::Unread(error)) if error.is_damage() => {
                tracing::warn!(shard = shard.0, %error, "a snapshot that is there cannot be used; a new one is taken");
                None
            }
            Err(unfit) => {
                tracing::debug!(shard = shard.0, %unfit, "no snapshot that is there is used again");
                None
            }
        }
    }

    fn look_at_newest(&mut self, shard: ShardId, log: &Continued) -> Result<Pinned, Unfit> {
        let folder = self.folder(shard)?;
        let pinned = folder.newest()?.filter(|pinned| pinned.index() >= log.least).ok_or(Unfit::Old)?;
        let file = pinned.open()?;
        file.must_be(Identity { shard, shards: self.shared.count, layout: self.cluster })?;
        let image = image_of(&file).ok_or(Unfit::Other)?;
        if log.history.common(&image.history) != Common::Upto(image.history.end()) {
            return Err(Unfit::Other);
        }
        self.goes_on(shard, log, &image)?;
        self.read_through(&file)?;
        Ok(pinned)
    }

    /// What follows the image in the log says which chain it follows; where nothing follows, the log itself does.
    fn goes_on(&self, shard: ShardId, log: &Continued, image: &Image) -> Result<(), Unfit> {
        let (end, chain) = (image.history.end(), image.history.chain());
        let Some(epoch) = log.history.epoch_at(end.next()) else {
            return if chain == log.history.chain() { Ok(()) } else { Err(Unfit::Other) };
        };
        let lane = self.logs.get(usize::from(shard.0) % self.logs.len().max(1)).ok_or(Unfit::Behind)?;
        // An entry stands at most a mark's distance behind the place that was named, unless an earlier start wrote it.
        for record in lane.read_from(log.from) {
            let header = record.map_err(|_| Unfit::Behind)?.header;
            let is_next = (header.shard, header.index, header.epoch) == (shard, end.next(), epoch);
            if is_next && header.kind.is_chained() && header.chain == chain {
                return Ok(());
            }
            if self.shared.closing() {
                break;
            }
        }
        Err(Unfit::Behind)
    }

    /// Reads all of it, no faster than one would be written.
    fn read_through(&self, file: &SnapshotFile) -> Result<(), SnapshotError> {
        let pace = Pace::new(self.clock.elapsed(), self.pace.options.bytes_per_second);
        let go_on = |done| match pace.wait(self.clock.elapsed(), done) {
            Some(time) => !self.shared.wait_until_closing(time),
            None => !self.shared.closing(),
        };
        file.verify_at_leisure(&Progress::default(), go_on).map(drop)
    }
}
