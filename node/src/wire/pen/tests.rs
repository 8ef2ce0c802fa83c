//! What goes at once, what is left to the writer's thread, and that neither changes the order.

use std::net::{TcpListener, TcpStream};

use bytes::Bytes;

use super::super::handshake::Shaken;
use super::super::inlet::Inlet;
use super::super::message::decode_said;
use super::super::port::Port;
use super::super::{Door, Identity, KnownStart, Peer, Piece, Shipped, Shipping, Stranger};
use super::*;
use crate::codec::record::RecordKind;
use crate::core::replication::History;
use crate::seam::SystemClock;
use crate::seam::disk::simulated::SimulatedDisk;
use crate::store::aol::{Lane, LaneOptions, RecordHead};
use crate::types::{
    Acks, Boot, Chain, ClusterId, Epoch, LaneId, LogIndex, RecordEpoch, ReplicaId, Roster, ShardCount, Start,
    Trail, VolumeIncarnation,
};

const SEED: u32 = 5;
const SHARD: ShardId = ShardId(0);
const LED: Epoch = Epoch { record: RecordEpoch(2), boot: Boot(1) };

/// A host to whom nothing is said.
struct Nobody;

impl Host for Nobody {
    fn identity(&self) -> Identity {
        let (cluster, incarnation) = (ClusterId([0; 16]), VolumeIncarnation([1; 16]));
        Identity {
            cluster,
            me: None,
            incarnation,
            trail: Trail::without_keys(Boot(1)),
            plan: 0,
            acks: Acks::Majority,
        }
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::default()
    }

    fn acknowledges(&self, _: Peer, _: Acks) {}

    fn greeted(&self, _: Peer, _: &Trail) -> Result<(), Stranger> {
        Ok(())
    }

    fn put_back(&self, _: Peer, _: Start) {}

    fn dialled(&self, _: Peer, _: Vec<Port>) {}

    fn accepted(&self, _: Peer, _: Door) {}

    fn is_current(&self, _: Peer) -> bool {
        true
    }

    fn starts_told(&self, _: ReplicaId, _: &[KnownStart]) {}

    fn heard(&self, _: ReplicaId, _: ShardId, _: Message) {}

    fn read_asked(&self, _: ReplicaId, _: ShardId, _: u64) {}

    fn read_answered(&self, _: ReplicaId, _: ShardId, _: u64, _: Option<LogIndex>) {}

    fn errand_asked(&self, _: ReplicaId, _: ShardId, _: u64, _: &Bytes) {}

    fn errand_answered(&self, _: ReplicaId, _: ShardId, _: u64, _: &Bytes) {}

    fn lacks(&self, _: ReplicaId, _: ShardId, _: Epoch) {}

    fn piece(&self, _: ReplicaId, _: ShardId, _: Piece) {}
}

/// A connection without threads, and the socket at its other end.
struct World {
    line: Arc<Line>,
    port: Port,
    log: Lane,
    end: TcpStream,
    inlet: Inlet,
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        let (end, _) = listener.accept().unwrap();
        // What never comes is a failure, not a test that hangs.
        end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let peer = Peer { id: ReplicaId(2), incarnation: VolumeIncarnation([2; 16]), boot: Boot(1) };
        let shaken = Shaken { peer, seed: SEED, inlet: Inlet::default(), acks: None };
        let line = Arc::new(Line::new(&shaken, stream, Arc::default(), 64 << 20));
        let dir = SimulatedDisk::new(1).root();
        let (log, _) = Lane::open(&dir, LaneOptions::new(LaneId(0), [3; 16], true), drop).unwrap();
        let shards = ShardCount::new(1).unwrap();
        let options = LinkOptions::new(shards, vec![log.reader()], Arc::new(SystemClock));
        let (port, outlet) = Port::new(Arc::clone(&line), options.ring_entries, options.ring_bytes);
        let sources = vec![Source::new(log.reader(), outlet, (0, 1))];
        let host: Arc<dyn Host> = Arc::new(Nobody);
        line.set_pen(Some(Pen::new(&host, Arc::new(options), sources)));
        Self { line, port, log, end, inlet: Inlet::default() }
    }

    /// What the writer's thread would do once.
    fn turn(&self) -> bool {
        self.line.with_pen(|pen| pen.turn(&self.line)).unwrap()
    }

    /// The next message that arrives.
    fn next(&mut self) -> Message {
        let frame = self.inlet.frame(&mut self.end, SEED, |_| true).unwrap();
        match decode_said(frame.kind, &frame.payload).unwrap() {
            Said::Message(message) => message,
            said => panic!("{said:?}"),
        }
    }

    /// Writes an entry, and puts it in.
    fn write(&mut self, index: u64, chain: Chain, bytes: usize) -> Chain {
        let (kind, index) = (RecordKind::Batch, LogIndex(index));
        let head = RecordHead { kind, shard: SHARD, epoch: LED, index, chain };
        let appended = self.log.append(&head, |out| out.resize(out.len() + bytes, 7)).unwrap();
        let payload = self.log.write().unwrap().slice(appended.payload);
        let (committed, end, chain_after) = (LogIndex(0), appended.end, appended.chain);
        let shipped =
            Shipped { leading: LED, epoch: LED, index, chain, chain_after, kind, end, committed, payload };
        self.port.fill(SHARD, &shipped);
        chain_after
    }

    /// Ships from the first entry on, until that is level.
    fn ship(&mut self) {
        let history = Arc::new(History::new(Vec::new(), LogIndex(0), Chain(0)).unwrap());
        let (after, written, committed) = (LogIndex(0), LogIndex(0), LogIndex(0));
        let shipping =
            Shipping { epoch: LED, after, chain: Some(Chain(0)), committed, written, history, from: None };
        self.port.ship(SHARD, shipping);
        while self.turn() {}
    }
}

fn beat(round: u64) -> Message {
    Message::Beat { epoch: LED, committed: LogIndex(0), round, is_spare: false }
}

#[test]
fn what_is_little_goes_without_the_writers_thread() {
    let mut world = World::new();
    world.port.send(SHARD, &beat(1));
    world.port.wake();
    assert_eq!(world.next(), beat(1));
    assert!(world.line.owed_since().is_some(), "a beat is to be answered, whoever sent it");
    world.ship();
    let chain = world.write(1, Chain(0), 100);
    world.write(2, chain, 100);
    world.port.wake();
    let Message::Records(records) = world.next() else { panic!("no entries") };
    assert_eq!((records.after, records.entries.len()), (LogIndex(0), 2));
    assert!(!world.turn(), "nothing is left for the thread");
}

#[test]
fn much_at_once_orders_and_what_stands_in_the_files_are_left_to_the_writers_thread() {
    let mut world = World::new();
    world.ship();
    let chain = world.write(1, Chain(0), AT_ONCE_BYTES_MAX);
    world.port.wake();
    assert!(world.line.with_pen(|pen| pen.at_once(&world.line).map(|done| !done)).unwrap());
    assert!(world.turn(), "much is left to it");
    assert!(matches!(world.next(), Message::Records(_)));
    // A follower begins anew: it is read from the files what it gets.
    world.write(2, chain, 10);
    let history = Arc::new(History::new(Vec::new(), LogIndex(0), Chain(0)).unwrap());
    let (after, written, committed) = (LogIndex(1), LogIndex(2), LogIndex(0));
    let shipping =
        Shipping { epoch: LED, after, chain: Some(chain), committed, written, history, from: None };
    world.port.ship(SHARD, shipping);
    world.port.wake();
    assert!(world.turn(), "an order is left to it");
    let Message::Records(records) = world.next() else { panic!("no entries") };
    assert_eq!(records.after, LogIndex(1));
}

#[test]
fn what_the_socket_does_not_take_stays_in_its_order_and_nobody_waits() {
    let mut world = World::new();
    let (mut said, mut left) = (0, false);
    // Nobody reads: sooner or later the socket is full.
    while !left {
        assert!(said < 2_000_000, "what it does not take is gone");
        for _ in 0..400 {
            said += 1;
            world.port.send(SHARD, &beat(said));
        }
        world.port.wake();
        left = world.line.with_pen(|pen| Ok(!pen.is_calm())).unwrap();
    }
    said += 1;
    world.port.send(SHARD, &beat(said));
    world.port.wake();
    let line = Arc::clone(&world.line);
    let writer = std::thread::spawn(move || while line.with_pen(|pen| pen.turn(&line)).unwrap() {});
    for round in 1..=said {
        assert_eq!(world.next(), beat(round));
    }
    writer.join().unwrap();
}

#[test]
fn whoever_finds_somebody_writing_leaves_it_to_him() {
    let mut world = World::new();
    let World { line, port, .. } = &mut world;
    let before = line.with_pen(|pen| {
        port.send(SHARD, &beat(1));
        port.wake();
        Ok(pen.out.len())
    });
    assert_eq!(before.unwrap(), 0);
    assert!(world.turn(), "and it is there for his next turn");
    assert_eq!(world.next(), beat(1));
}
