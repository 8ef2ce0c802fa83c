//! Where a writer gets the entries of one lane: the lane's ring, and its files. One scan of the files serves all shards
//! that lack something there. Invariant: a shard that is level has been offered everything that the lane wrote.

use std::collections::BTreeMap;

use super::line::Ended;
use super::port::Outlet;
use super::shipment::{Shipment, Stage, Taken};
use crate::codec::record::RecordHeader;
use crate::store::aol::{LaneError, LaneReader, LaneRecords, Record};
use crate::types::{LanePosition, ShardId};

/// Bytes of the lane that one step looks at: short enough that what was just written does not wait behind it.
const STEP_BYTES: u64 = 512 << 10;
/// Bytes of entries that one turn collects before they are sent.
const TURN_BYTES: usize = 1 << 20;

/// The shards that are shipped.
pub(super) type Shipments = BTreeMap<ShardId, Shipment>;

/// Where entries go: makes a frame of what a shipment has collected.
pub(super) type Flush<'a> = dyn FnMut(ShardId, &mut Shipment) -> Result<(), Ended> + 'a;

/// The ring and the files of one lane.
#[derive(Debug)]
pub(super) struct Source {
    reader: LaneReader,
    outlet: Outlet,
    /// Up to here the ring had everything.
    seen: LanePosition,
    scan: Option<LaneRecords>,
    /// Up to here damage was told of.
    damaged: Option<LanePosition>,
    /// Which lane, of how many.
    lane: (usize, usize),
}

impl Source {
    pub(super) fn new(reader: LaneReader, outlet: Outlet, lane: (usize, usize)) -> Self {
        Self { reader, outlet, seen: LanePosition::default(), scan: None, damaged: None, lane }
    }

    /// The first position that is still there.
    pub(super) fn start(&self) -> LanePosition {
        self.reader.start()
    }

    /// Bytes of what the lane put in and nobody took.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outlet.bytes()
    }

    fn mine<'a>(&self, shipments: &'a mut Shipments) -> impl Iterator<Item = &'a mut Shipment> + use<'a> {
        let (lane, lanes) = self.lane;
        let here = shipments.iter_mut().filter(move |(shard, _)| usize::from(shard.0) % lanes == lane);
        here.map(|(_, shipment)| shipment)
    }

    /// Takes what the lane put in, as much as one turn sends; whether there was anything.
    pub(super) fn drain(&mut self, shipments: &mut Shipments, flush: &mut Flush<'_>) -> Result<bool, Ended> {
        // Asked first: what was put in before the miss can then be popped, and nothing follows it.
        let missed = self.outlet.has_missed();
        let mut bytes = 0;
        while bytes < TURN_BYTES {
            let Some((shard, shipped)) = self.outlet.pop() else {
                if missed {
                    let seen = self.seen;
                    self.mine(shipments).for_each(|shipment| shipment.missed(seen));
                    self.outlet.forget_missed();
                }
                return Ok(missed || bytes > 0);
            };
            // An entry without a payload is something, too.
            bytes += shipped.payload.len().max(1);
            self.seen = shipped.end;
            let Some(shipment) = shipments.get_mut(&shard) else { continue };
            if shipment.is_full_with(shipped.payload.len()) {
                flush(shard, shipment)?;
            }
            shipment.offer_shipped(shipped);
        }
        Ok(true)
    }

    /// Reads on in the files for the shards that lack something there; how many bytes were collected, `None` when no
    /// shard does.
    pub(super) fn scan(
        &mut self,
        shipments: &mut Shipments,
        flush: &mut Flush<'_>,
    ) -> Result<Option<usize>, Ended> {
        let Some(mut scan) = self.mount(shipments) else { return Ok(None) };
        let (begin, mut collected) = (scan.position(), 0);
        while scan.position().0.saturating_sub(begin.0) < STEP_BYTES && collected < TURN_BYTES {
            let rides = |header: &RecordHeader| {
                let rider = shipments.get(&header.shard).filter(|one| one.stage == Stage::Riding);
                rider.is_some_and(|rider| rider.sent() < header.index)
            };
            match scan.next_if(rides) {
                Some(Ok(Some(record))) => collected += offer(&record, shipments, flush)?,
                Some(Ok(None)) => {}
                Some(Err(LaneError::Released { start })) => {
                    // What is still there may be all that is lacking.
                    self.mine(shipments).for_each(|shipment| shipment.dismount(start));
                    return Ok(Some(collected));
                }
                Some(Err(LaneError::Damaged { position })) => {
                    // What stands there is sent to nobody. A shard that lacks something of it goes on where that was
                    // written again, or needs a snapshot.
                    if self.damaged < Some(position) {
                        tracing::warn!(at = position.0, "the log is damaged, and nothing of that is sent on");
                        self.damaged = Some(position);
                    }
                    scan.pass_over_damage().map_err(|error| Ended::Lane(error.to_string()))?;
                }
                Some(Err(error)) => return Err(Ended::Lane(error.to_string())),
                None => {
                    let upto = scan.position();
                    self.mine(shipments).for_each(|shipment| shipment.scanned(upto));
                    return Ok(Some(collected));
                }
            }
        }
        self.scan = Some(scan);
        Ok(Some(collected))
    }

    /// The scan with all shards on it that lack something. One that lacks more than the scan has before it takes it
    /// back; the others pass over what they have.
    fn mount(&mut self, shipments: &mut Shipments) -> Option<LaneRecords> {
        let scan = self.scan.take();
        let (mut lowest, mut riders) = (None::<LanePosition>, 0);
        for shipment in self.mine(shipments) {
            if let Stage::Behind(from) = shipment.stage {
                lowest = Some(lowest.map_or(from, |lowest| lowest.min(from)));
                shipment.stage = Stage::Riding;
            }
            riders += usize::from(shipment.stage == Stage::Riding);
        }
        if riders == 0 {
            return None;
        }
        match (scan, lowest) {
            (Some(scan), None) => Some(scan),
            (Some(scan), Some(from)) if scan.position() <= from => Some(scan),
            (_, from) => {
                let start = self.reader.start();
                Some(self.reader.read_from(from.map_or(start, |from| from.max(start))))
            }
        }
    }
}

/// Offers a record to its shard; how many bytes of it are sent.
fn offer(record: &Record, shipments: &mut Shipments, flush: &mut Flush<'_>) -> Result<usize, Ended> {
    let shard = record.header.shard;
    let Some(shipment) = shipments.get_mut(&shard) else { return Ok(0) };
    if shipment.stage != Stage::Riding {
        return Ok(0);
    }
    if shipment.is_full_with(record.payload.len()) {
        flush(shard, shipment)?;
    }
    let sent = shipment.offer_record(record) == Taken::Sent;
    Ok(if sent { record.payload.len().max(1) } else { 0 })
}
