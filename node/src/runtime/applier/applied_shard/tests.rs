//! One shard, its log and its tables on a device that fails and fills up, without a node around them.

mod busy;

use std::io::ErrorKind;

use bytes::Bytes;

use super::*;
use crate::codec::op::encode_ops;
use crate::codec::record::RecordKind;
use crate::runtime::applier::trouble::ATTEMPTS_MAX;
use crate::runtime::shared::{Shard, Slot};
use crate::runtime::views::{SegmentCache, ShardViews};
use crate::runtime::{Failure, ReadError};
use crate::seam::ManualClock;
use crate::seam::disk::simulated::SimulatedDisk;
use crate::store::aol::{Lane, LaneOptions, RecordHead};
use crate::store::tables::Identity;
use crate::store::tables::tests::small_disk::SmallDisk;
use crate::telemetry::Metrics;
use crate::types::{
    AppendOp, Chain, Epoch, Messages, Offset, ShardCount, StreamConfig, StreamMeta, StreamName, UnixMillis,
};

const SHARD: ShardId = ShardId(0);
const STREAM: StreamId = StreamId(1);
const CACHE_BYTES: usize = 256 << 10;

fn identity() -> Identity {
    Identity { shard: SHARD, shards: ShardCount::new(1).unwrap(), layout: [7; 16] }
}

/// One shard with its log and tables, and nothing around it.
struct World {
    disk: SmallDisk,
    lane: Lane,
    applier: ShardApplier,
    shared: Shared,
    last: LogIndex,
    chain: Chain,
    tail: Offset,
    expected: Vec<u8>,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let disk = SmallDisk::with_blocks(usize::MAX);
        drop(Tables::create_on(disk.clone(), identity(), CACHE_BYTES).unwrap());
        let options = LaneOptions { segment_bytes: 1 << 20, ..LaneOptions::new(LaneId(0), [7; 16], true) };
        let (lane, _) = Lane::open(&SimulatedDisk::new(1).root(), options, |_| {}).unwrap();
        let again = disk.clone();
        let tables = Tables::open_from(move || Ok(again.clone()), identity(), CACHE_BYTES, None).unwrap();
        let mailbox = Arc::new(Mailbox::default());
        let views = ShardViews::new(SHARD, 1, 100, UnixMillis(0));
        let metrics = Arc::new(Metrics::new(1));
        let corrupt_reads = metrics.store.corrupt_reads.clone();
        let shard = Shard::new(SHARD, views, tables.reader(), Arc::clone(&mailbox), corrupt_reads);
        let slots = vec![Slot::Open(Box::new(shard))];
        let clock = Arc::new(ManualClock::default());
        let (count, cache) = (ShardCount::new(1).unwrap(), SegmentCache::new(1 << 20));
        let shared = Shared::new(count, slots, clock, cache, metrics, 1, None);
        let applier = ShardApplier::new(SHARD, tables, LaneId(0), mailbox, lane.reader(), None);
        let mut world = Self {
            disk,
            lane,
            applier,
            shared,
            last: LogIndex(0),
            chain: Chain(0),
            tail: Offset::default(),
            expected: Vec::new(),
            now: Duration::ZERO,
        };
        world.commit(vec![Op::Create(Box::new(meta()))]);
        world
    }

    /// What a lane's owner does: into the log, then to the applier.
    fn commit(&mut self, ops: Vec<Op>) {
        let epoch = Epoch::default();
        let index = self.last.next();
        let head = RecordHead { kind: RecordKind::Batch, shard: SHARD, epoch, index, chain: self.chain };
        let appended = self.lane.append(&head, |out| encode_ops(&ops, out, &mut Vec::new())).unwrap();
        self.lane.write().unwrap();
        self.lane.sync().unwrap();
        (self.last, self.chain) = (index, appended.chain);
        let (chain, position) = (appended.chain, appended.position);
        self.applier.take(vec![Committed::new(index, (epoch, chain), position, ops)]);
    }

    fn append(&mut self, count: u8) {
        for _ in 0..count {
            let wire = vec![u8::try_from(self.last.0 % 251).unwrap(); 20_000];
            self.expected.extend_from_slice(&wire);
            let messages = Messages::single(Bytes::from(wire)).unwrap();
            let (start, at) = (self.tail, UnixMillis(1));
            self.tail = messages.end(start);
            let append =
                AppendOp { stream: STREAM, start, messages, close: false, producer: None, seq: None, at };
            self.commit(vec![Op::Append(append)]);
        }
    }

    fn round(&mut self) {
        self.now += Duration::from_secs(31);
        self.applier.round(self.now, &self.shared);
    }

    fn checkpoint(&mut self) {
        self.applier.checkpoint(self.now, &self.shared);
    }

    fn refusal(&self) -> Option<Failure> {
        self.shared.shard(SHARD).err()
    }

    fn content(&self) -> Result<Vec<u8>, ReadError> {
        let shard = self.shared.shard(SHARD)?;
        let found = shard.tables.read(STREAM, Offset::default(), self.tail, usize::MAX);
        let found = found.map_err(|fault| ReadError::Failure(shard.fault(&fault)))?;
        Ok(found.iter().flat_map(|segment| segment.messages.wire().to_vec()).collect())
    }

    /// Everything is there and served, now and for whoever opens the file next.
    fn expect_whole(mut self, what: &str) {
        self.disk.heal();
        for _ in 0..3 {
            self.round();
            self.checkpoint();
        }
        assert_eq!(self.refusal(), None, "{what}");
        assert!(self.content().unwrap() == self.expected, "{what}");
        assert_eq!(self.applier.tables.durable(), self.last, "{what}");
        let Self { disk, applier, shared, .. } = self;
        drop((applier, shared));
        let tables = Tables::open_on(disk, identity(), CACHE_BYTES).unwrap();
        assert_eq!(tables.state().applied.index, self.last, "{what}");
    }
}

fn meta() -> StreamMeta {
    let (zero, at) = (Offset::default(), UnixMillis(1));
    StreamMeta {
        id: STREAM,
        name: StreamName::from_bytes(b"s").unwrap(),
        config: StreamConfig::default(),
        created_at: at,
        touched_at: at,
        base: zero,
        earliest: zero,
        tail: zero,
        closed: false,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 0,
        retired: false,
    }
}

#[test]
fn tables_whose_device_failed_are_opened_again_and_get_back_what_they_lost_from_the_log() {
    let mut world = World::new();
    world.append(5);
    world.round();
    world.checkpoint();
    world.append(20);
    world.round();
    // Applied, not durable: only the log has it when the tables are opened again.
    world.disk.fail(1..=u64::MAX, ErrorKind::Other);
    world.checkpoint();
    assert!(matches!(world.refusal(), Some(Failure::ShardReopening { .. })), "{:?}", world.refusal());
    world.append(5);
    world.round();
    assert!(matches!(world.refusal(), Some(Failure::ShardReopening { .. })), "still failing");
    world.disk.heal();
    world.round();
    assert_eq!(world.refusal(), None);
    world.round();
    assert!(world.content().unwrap() == world.expected);
    world.expect_whole("after a failed checkpoint");
}

#[test]
fn a_read_that_the_device_fails_takes_the_shard_out_of_service_until_it_is_opened_again() {
    let mut world = World::new();
    world.append(40);
    world.round();
    world.checkpoint();
    world.disk.fail(1..=1, ErrorKind::Other);
    assert!(matches!(world.content(), Err(ReadError::Failure(Failure::ShardReopening { .. }))));
    world.round();
    assert!(world.content().unwrap() == world.expected, "without a restart");
    world.expect_whole("after a failed read");
}

#[test]
fn a_device_that_stays_broken_is_given_up_after_some_attempts_and_the_log_is_kept() {
    let mut world = World::new();
    world.append(5);
    world.round();
    world.checkpoint();
    world.append(5);
    world.round();
    let needed = world.applier.undurable;
    assert!(needed.is_some());
    world.disk.fail(1..=u64::MAX, ErrorKind::Other);
    world.checkpoint();
    let mut rounds = 0;
    while !matches!(world.refusal(), Some(Failure::ShardDamaged { .. })) {
        assert!(matches!(world.refusal(), Some(Failure::ShardReopening { .. })));
        world.round();
        rounds += 1;
        assert!(rounds < 20, "never given up");
    }
    assert_eq!(u32::try_from(rounds).unwrap(), ATTEMPTS_MAX);
    assert_eq!(world.applier.undurable, needed, "the log is kept from there on");
    // In a cluster it gets another file from its leader.
    assert!(world.shared.open_shard(SHARD).unwrap().is_rotten());
}

/// Some work with a failure of the device at one of its calls.
fn work(world: &mut World) {
    world.append(6);
    world.round();
    let _refused = world.content();
    world.checkpoint();
    world.append(12);
    world.round();
    world.append(3);
    world.round();
    world.checkpoint();
    let _refused = world.content();
}

#[test]
fn an_error_at_any_call_of_the_tables_device_is_survived_without_a_restart() {
    let mut world = World::new();
    world.disk.fail(0..=0, ErrorKind::Other);
    work(&mut world);
    let calls = world.disk.calls();
    assert!(calls > 50, "{calls}");
    let mut refused = 0;
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for call in 1..=calls {
            let mut world = World::new();
            world.disk.fail(call..=call, kind);
            work(&mut world);
            refused += u64::from(world.refusal().is_some() || world.applier.trouble.ended > 0);
            world.expect_whole(&format!("{kind:?} at call {call} of {calls}"));
        }
    }
    assert!(refused > calls / 4, "{refused} of {calls}");
}

#[test]
fn on_a_full_device_everything_is_served_from_memory_and_becomes_durable_when_there_is_room() {
    let mut world = World::new();
    world.append(5);
    world.round();
    world.checkpoint();
    let durable = world.applier.tables.durable();
    // Applied while there is room, and kept by the database until the checkpoint finds none.
    world.append(2);
    world.round();
    assert_eq!(world.applier.tables.late_bytes(), 0);
    let taken = world.disk.taken();
    world.disk.change_blocks(|_| taken);
    world.checkpoint();
    assert_eq!(world.applier.tables.durable(), durable, "what waits in memory is not durable");
    world.append(28);
    for _ in 0..3 {
        world.round();
        world.checkpoint();
    }
    assert!(world.applier.tables.late_bytes() > 0 && world.applier.full);
    assert_eq!(world.refusal(), None, "nothing is failed by a full device");
    assert!(world.content().unwrap() == world.expected);
    assert_eq!(world.applier.tables.durable(), durable);
    assert!(world.applier.undurable.is_some(), "the log is kept");
    world.disk.change_blocks(|_| usize::MAX);
    world.expect_whole("when there is room");
}

/// A reader met an error of the device on a shard that has nothing undurable; in the moment before the applier notices,
/// the lane goes on acknowledging; then another shard brings a checkpoint.
#[test]
fn acknowledged_records_that_wait_for_a_failed_device_keep_the_log() {
    let mut world = World::new();
    world.append(5);
    world.round();
    world.checkpoint();
    assert_eq!(world.applier.undurable, None);
    // Any reader (or the scrubber) meets EIO; it stays.
    world.disk.fail(1..=u64::MAX, ErrorKind::Other);
    assert!(world.content().is_err());
    // The lane's owner decides on a head that is in memory: `shared.shard()` still says Serving.
    assert_eq!(world.refusal(), None);
    world.append(3);
    let first = world.applier.stuck.first().map(|record| record.position);
    world.round();
    assert!(world.refusal().is_some());
    assert_eq!(world.applier.stuck.len(), 3);
    world.checkpoint();
    assert_eq!(world.applier.undurable, first, "the log must be kept from the first record that waits");
}

/// The pages flip a bit whose bytes are of this kind; says how many.
fn flip(disk: &SmallDisk, is_meant: impl Fn(&[u8]) -> bool) -> usize {
    let mut flipped = 0;
    disk.change_bytes(|bytes| {
        for page in bytes.chunks_mut(4096).skip(2).filter(|page| is_meant(page)) {
            page[1000] ^= 1;
            flipped += 1;
        }
    });
    flipped
}

#[test]
fn damage_that_the_applier_meets_again_and_again_ends_in_a_refusal_and_is_known_and_the_log_is_kept() {
    let holds = |page: &[u8], what: &[u8]| page.windows(what.len()).any(|part| part == what);
    let is_row = |page: &[u8]| page[0] == 1 && holds(page, b"application/octet-stream");
    for (what, is_meant) in
        [("what opening reads", &(|page: &[u8]| page[0] == 1) as &dyn Fn(&[u8]) -> bool), ("rows", &is_row)]
    {
        let mut world = World::new();
        world.append(40);
        world.round();
        world.checkpoint();
        // Nothing of it is in memory when the file is opened again.
        world.disk.fail(1..=1, ErrorKind::Other);
        assert!(world.content().is_err(), "{what}");
        assert!(flip(&world.disk, is_meant) > 0, "{what}");
        assert!(!world.shared.open_shard(SHARD).unwrap().is_damaged(), "a call that failed is no damage");
        world.append(1);
        let needed = world.applier.stuck.first().map(|record| record.position);
        let mut rounds = 0;
        while !matches!(world.refusal(), Some(Failure::ShardDamaged { .. })) {
            world.round();
            rounds += 1;
            assert!(rounds < 12, "{what}: tried for ever");
        }
        let open = world.shared.open_shard(SHARD).unwrap();
        assert!(open.is_rotten() && open.is_damaged(), "{what}");
        world.round();
        assert_eq!((world.applier.waiting_bytes(), world.applier.undurable), (0, needed), "{what}");
    }
}
