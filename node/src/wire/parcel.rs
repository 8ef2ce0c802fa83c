//! Files on their way to a follower, piece by piece: what it asks for, what it gets, which piece is next. It asks for no more
//! than it may hold, and says from where on, so that a fetch goes on behind a connection that broke.
//!
//! Invariant: nothing is sent that was not asked for; of several files that are asked for, each gets its turn.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::codec::frame::PIECE_BYTES_MAX;
use crate::seam::disk::File;
use crate::types::ShardId;

/// A file that a follower may ask for.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Tells it from any other file.
    pub key: u32,
    /// How long it is.
    pub bytes: u64,
    /// The file.
    pub file: Arc<dyn File>,
    /// How far it was sent; for people.
    pub sent: Arc<AtomicU64>,
}

/// Please send a part of the file of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceAsk {
    /// Of which file.
    pub key: u32,
    /// What the follower has, from the beginning on.
    pub from: u64,
    /// Up to where it takes what is sent.
    pub upto: u64,
}

/// A part of a file. An empty one says that there is no such file any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which file.
    pub key: u32,
    /// Where it begins.
    pub at: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// One file under way.
#[derive(Debug)]
struct Sending {
    parcel: Parcel,
    /// What is sent next, and up to where it may be; nothing while nobody has asked.
    next: Option<u64>,
    upto: u64,
}

impl Sending {
    fn due(&self) -> Option<u64> {
        self.next.filter(|next| *next < self.upto)
    }
}

/// The files that one connection may be asked for.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    all: BTreeMap<ShardId, Sending>,
    /// Those that are asked for and not there.
    missed: BTreeMap<ShardId, PieceAsk>,
    /// Whose piece was sent last.
    last: Option<ShardId>,
}

impl Parcels {
    /// A file may be asked for from now on.
    pub(super) fn put(&mut self, shard: ShardId, parcel: Parcel) {
        self.all.insert(shard, Sending { parcel, next: None, upto: 0 });
    }

    /// Not any more.
    pub(super) fn take_away(&mut self, shard: ShardId) {
        self.all.remove(&shard);
    }

    /// A follower asks. What was sent on this connection arrives, so a later question only moves the end.
    pub(super) fn ask(&mut self, shard: ShardId, ask: PieceAsk) {
        let Some(sending) = self.all.get_mut(&shard).filter(|sending| sending.parcel.key == ask.key) else {
            self.missed.insert(shard, ask);
            return;
        };
        let goes_on = sending.next.filter(|next| (ask.from..=ask.upto).contains(next));
        sending.next = Some(goes_on.unwrap_or(ask.from));
        sending.upto = ask.upto.min(sending.parcel.bytes);
    }

    /// Whether anything is to be sent.
    pub(super) fn is_due(&self) -> bool {
        !self.missed.is_empty() || self.all.values().any(|sending| sending.due().is_some())
    }

    /// The next piece, from the file whose turn it is.
    pub(super) fn next(&mut self) -> Option<(ShardId, Piece)> {
        if let Some((shard, PieceAsk { key, from, .. })) = self.missed.pop_first() {
            return Some((shard, Piece { key, at: from, bytes: Bytes::new() }));
        }
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let waits = |(shard, sending): (&ShardId, &Sending)| sending.due().map(|at| (*shard, at));
        let found = self.all.range((behind, Bound::Unbounded)).find_map(waits);
        let (shard, at) = found.or_else(|| self.all.iter().find_map(waits))?;
        self.last = Some(shard);
        let sending = self.all.get_mut(&shard)?;
        let key = sending.parcel.key;
        let count = usize::try_from(sending.upto - at).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let mut bytes = vec![0; count];
        match sending.parcel.file.read_at(&mut bytes, at) {
            Ok(read) if read == count => {
                let end = at + count as u64;
                sending.next = Some(end);
                sending.parcel.sent.store(end, Ordering::Relaxed);
                Some((shard, Piece { key, at, bytes: bytes.into() }))
            }
            outcome => {
                tracing::warn!(shard = shard.0, ?outcome, "a snapshot for a follower cannot be read");
                self.all.remove(&shard);
                Some((shard, Piece { key, at, bytes: Bytes::new() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::disk::Dir;
    use crate::seam::disk::simulated::SimulatedDisk;

    fn parcel(dir: &dyn Dir, key: u32, bytes: usize) -> Parcel {
        let file = dir.create(&key.to_string()).unwrap();
        file.write_at(&vec![u8::try_from(key).unwrap(); bytes], 0).unwrap();
        Parcel { key, bytes: bytes as u64, file, sent: Arc::default() }
    }

    /// All that is due, as (shard, place, bytes).
    fn drain(parcels: &mut Parcels) -> Vec<(u16, u64, usize)> {
        std::iter::from_fn(|| parcels.next())
            .map(|(shard, piece)| (shard.0, piece.at, piece.bytes.len()))
            .collect()
    }

    #[test]
    fn nothing_is_sent_that_was_not_asked_for_and_each_file_gets_its_turn() {
        let disk = SimulatedDisk::new(1).root();
        let mut parcels = Parcels::default();
        for key in 1..=2u16 {
            parcels.put(ShardId(key), parcel(disk.as_ref(), key.into(), 3 * PIECE_BYTES_MAX));
        }
        assert!(!parcels.is_due() && parcels.next().is_none());
        let piece = PIECE_BYTES_MAX as u64;
        parcels.ask(ShardId(1), PieceAsk { key: 1, from: 0, upto: piece + 10 });
        parcels.ask(ShardId(2), PieceAsk { key: 2, from: 5, upto: u64::MAX });
        let sent = [
            (1, 0, PIECE_BYTES_MAX),
            (2, 5, PIECE_BYTES_MAX),
            (1, piece, 10),
            (2, piece + 5, PIECE_BYTES_MAX),
            (2, 2 * piece + 5, PIECE_BYTES_MAX - 5),
        ];
        assert_eq!(drain(&mut parcels), sent);
        assert!(!parcels.is_due());
    }

    #[test]
    fn a_later_question_goes_on_where_sending_is_and_one_from_elsewhere_begins_there() {
        let disk = SimulatedDisk::new(1).root();
        let mut parcels = Parcels::default();
        let shard = ShardId(4);
        parcels.put(shard, parcel(disk.as_ref(), 7, 1000));
        parcels.ask(shard, PieceAsk { key: 7, from: 0, upto: 400 });
        assert_eq!(drain(&mut parcels), [(4, 0, 400)]);
        parcels.ask(shard, PieceAsk { key: 7, from: 200, upto: 600 });
        assert_eq!(drain(&mut parcels), [(4, 400, 200)]);
        parcels.ask(shard, PieceAsk { key: 7, from: 100, upto: 150 });
        assert_eq!(drain(&mut parcels), [(4, 100, 50)]);
    }

    #[test]
    fn a_file_that_is_not_there_any_more_is_said_to_be_gone() {
        let disk = SimulatedDisk::new(1).root();
        let mut parcels = Parcels::default();
        parcels.put(ShardId(0), parcel(disk.as_ref(), 3, 10));
        for (shard, key) in [(0, 4), (1, 3)] {
            parcels.ask(ShardId(shard), PieceAsk { key, from: 2, upto: 9 });
            assert_eq!(drain(&mut parcels), [(shard, 2, 0)]);
        }
        parcels.put(ShardId(0), Parcel { bytes: 20, ..parcel(disk.as_ref(), 9, 10) });
        parcels.ask(ShardId(0), PieceAsk { key: 9, from: 0, upto: 20 });
        assert_eq!(drain(&mut parcels), [(0, 0, 0)], "it is shorter than it should be");
        assert!(!parcels.is_due());
    }
}
