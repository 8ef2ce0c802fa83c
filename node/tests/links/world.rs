//! Nodes of a test: a host that writes down what it is told, a lane on a simulated disk, and links between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use thalweg_node::codec::record::{RecordKind, chain_after};
use thalweg_node::core::replication::{Entry, History, Message, recognise};
use thalweg_node::seam::SystemClock;
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::store::aol::{Lane, LaneOptions, RecordHead};
use thalweg_node::types::{
    Acks, Boot, Chain, ClusterId, Epoch, LaneId, LogIndex, Member, Met, RecordEpoch, ReplicaId, Roster,
    ShardCount, ShardId, Start, StartKey, Trail, VolumeIncarnation,
};
use thalweg_node::wire::{
    Door, Host, Identity, KnownStart, LinkOptions, Links, Peer, Piece, Port, Shipped, Shipping, Stranger,
};

/// How long something may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The epoch in which tests lead.
pub(crate) const LED: Epoch = Epoch { record: RecordEpoch(2), boot: Boot(1) };

/// What a host was told.
#[derive(Debug)]
pub(crate) enum Event {
    Dialled(Peer, Vec<Port>),
    Accepted(Peer, Door),
    Heard(ShardId, Message),
    ReadAsked(ShardId, u64),
    ReadAnswered(ShardId, u64, Option<LogIndex>),
    ErrandAsked(ShardId, u64, Bytes),
    ErrandAnswered(ShardId, u64, Bytes),
    Acknowledges(ReplicaId, Acks),
    PutBack(ReplicaId, Start),
    Starts(ReplicaId, Vec<KnownStart>),
    Lacks(ReplicaId, ShardId, Epoch),
    Piece(ShardId, Piece),
}

/// A host that writes down what it is told, and waits in `heard` while its gate is shut.
pub(crate) struct TestHost {
    pub(crate) identity: Mutex<Identity>,
    pub(crate) roster: Mutex<Arc<Roster>>,
    greeted: Mutex<BTreeMap<ReplicaId, Start>>,
    events: Mutex<Sender<Event>>,
    shut: Mutex<bool>,
    opened: Condvar,
}

impl TestHost {
    pub(crate) fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    /// The starts that it remembers.
    pub(crate) fn greeted(&self) -> BTreeMap<ReplicaId, Start> {
        self.greeted.lock().unwrap().clone()
    }

    fn tell(&self, event: Event) {
        // Whoever does not listen any more has seen enough.
        let _ = self.events.lock().unwrap().send(event);
    }
}

impl Host for TestHost {
    fn identity(&self) -> Identity {
        *self.identity.lock().unwrap()
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.lock().unwrap())
    }

    fn greeted(&self, peer: Peer, trail: &Trail) -> Result<(), Stranger> {
        let roster = self.roster();
        let member = roster.members.get(&peer.id).ok_or(Stranger::Unknown(peer.id))?;
        if member.incarnation.is_some_and(|known| known != peer.incarnation) {
            return Err(Stranger::Unknown(peer.id));
        }
        let mut greeted = self.greeted.lock().unwrap();
        let known = greeted.get(&peer.id).map(|start| Met::from(*start));
        recognise(known, trail).map_err(|why| Stranger::PutBack { peer: peer.id, why })?;
        greeted.insert(peer.id, trail.last().unwrap());
        Ok(())
    }

    fn acknowledges(&self, peer: Peer, acks: Acks) {
        self.tell(Event::Acknowledges(peer.id, acks));
    }

    fn put_back(&self, by: Peer, met: Start) {
        self.tell(Event::PutBack(by.id, met));
    }

    fn is_current(&self, peer: Peer) -> bool {
        self.greeted.lock().unwrap().get(&peer.id).is_none_or(|start| start.boot <= peer.boot)
    }

    fn starts_told(&self, from: ReplicaId, starts: &[KnownStart]) {
        self.tell(Event::Starts(from, starts.to_vec()));
    }

    fn dialled(&self, peer: Peer, ports: Vec<Port>) {
        self.tell(Event::Dialled(peer, ports));
    }

    fn accepted(&self, peer: Peer, door: Door) {
        self.tell(Event::Accepted(peer, door));
    }

    fn heard(&self, _from: ReplicaId, shard: ShardId, message: Message) {
        self.tell(Event::Heard(shard, message));
        drop(self.opened.wait_while(self.shut.lock().unwrap(), |shut| *shut));
    }

    fn read_asked(&self, _from: ReplicaId, shard: ShardId, number: u64) {
        self.tell(Event::ReadAsked(shard, number));
    }

    fn read_answered(&self, _from: ReplicaId, shard: ShardId, number: u64, upto: Option<LogIndex>) {
        self.tell(Event::ReadAnswered(shard, number, upto));
    }

    fn errand_asked(&self, _from: ReplicaId, shard: ShardId, number: u64, bytes: &Bytes) {
        self.tell(Event::ErrandAsked(shard, number, bytes.clone()));
    }

    fn errand_answered(&self, _from: ReplicaId, shard: ShardId, number: u64, bytes: &Bytes) {
        self.tell(Event::ErrandAnswered(shard, number, bytes.clone()));
    }

    fn lacks(&self, peer: ReplicaId, shard: ShardId, epoch: Epoch) {
        self.tell(Event::Lacks(peer, shard, epoch));
    }

    fn piece(&self, _from: ReplicaId, shard: ShardId, piece: Piece) {
        self.tell(Event::Piece(shard, piece));
    }
}

/// A lane with the logs of its shards.
pub(crate) struct Log {
    pub(crate) disk: SimulatedDisk,
    pub(crate) lane: Lane,
    heads: BTreeMap<ShardId, History>,
    /// What each shard's log has, from its first entry on.
    pub(crate) entries: BTreeMap<ShardId, Vec<Entry>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        let disk = SimulatedDisk::new(7);
        let dir = disk.root().subdir("lane").unwrap();
        let options = LaneOptions {
            segment_bytes: 256 << 10,
            segment_bytes_max: 1 << 20,
            free_segments_max: 0,
            ..LaneOptions::new(LaneId(0), [3; 16], true)
        };
        let (lane, _) = Lane::open(&dir, options, drop).unwrap();
        Self { disk, lane, heads: BTreeMap::new(), entries: BTreeMap::new() }
    }

    /// Writes an entry.
    pub(crate) fn write(&mut self, shard: ShardId, epoch: Epoch, payload: &[u8]) -> Shipped {
        let history = self.heads.entry(shard).or_default();
        let (index, chain, kind) = (history.end().next(), history.chain(), RecordKind::Batch);
        let head = RecordHead { kind, shard, epoch, index, chain };
        let appended = self.lane.append(&head, |out| out.extend_from_slice(payload)).unwrap();
        let payload = self.lane.write().unwrap().slice(appended.payload);
        self.lane.tend().unwrap();
        history.push(epoch, appended.chain);
        self.entries.entry(shard).or_default().push(Entry { kind, epoch, payload: payload.clone() });
        let committed = LogIndex(index.0.saturating_sub(1));
        let (chain_after, end) = (appended.chain, appended.end);
        Shipped { leading: LED, epoch, index, chain, chain_after, kind, end, committed, payload }
    }

    /// Takes back what lies behind an entry.
    pub(crate) fn cut(&mut self, shard: ShardId, to: u64) {
        let kept = usize::try_from(to).unwrap();
        let entries = self.entries.get_mut(&shard).unwrap();
        entries.truncate(kept);
        let chain = entries.iter().zip(1..).fold(Chain(0), |chain, (entry, index)| {
            chain_after(chain, entry.epoch, LogIndex(index), entry.kind, &entry.payload)
        });
        let head = RecordHead { kind: RecordKind::Cut, shard, epoch: LED, index: LogIndex(to), chain };
        self.lane.append(&head, |_| {}).unwrap();
        self.lane.write().unwrap();
        self.heads.get_mut(&shard).unwrap().cut(LogIndex(to), chain);
    }

    /// The order to ship a shard from its first entry on.
    pub(crate) fn shipping(&self, shard: ShardId) -> Shipping {
        let history = self.heads.get(&shard).cloned().unwrap_or_default();
        Shipping {
            epoch: LED,
            after: LogIndex(0),
            chain: Some(Chain(0)),
            committed: LogIndex(0),
            written: history.end(),
            history: Arc::new(history),
            from: None,
        }
    }
}

/// A node with its links.
pub(crate) struct Node {
    pub(crate) host: Arc<TestHost>,
    pub(crate) events: Receiver<Event>,
    pub(crate) links: Links,
}

pub(crate) fn volume(id: u32) -> VolumeIncarnation {
    VolumeIncarnation([u8::try_from(id).unwrap(); 16])
}

/// The trail of a member's volume that was started so often: each start drew ten times its number, and the member's id.
pub(crate) fn trail(id: u32, boot: u64) -> Trail {
    let none = Trail::without_keys(Boot(0));
    (1..=boot).fold(none, |trail, boot| trail.followed_by(StartKey(10 * boot + u64::from(id))))
}

pub(crate) const CLUSTER: ClusterId = ClusterId([9; 16]);

/// Sockets and the roster that names them, for members 1, 2, …
pub(crate) fn listeners(count: u32) -> (Vec<TcpListener>, Roster) {
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
    let members = addresses.zip(1..).map(|(at, id)| (ReplicaId(id), member(id, at))).collect();
    (sockets, Roster { members })
}

pub(crate) fn member(id: u32, at: SocketAddr) -> Member {
    Member {
        node: format!("n{id}"),
        incarnation: Some(volume(id)),
        peer: at.to_string(),
        client: String::new(),
    }
}

/// Short times, and the lane of a log if there is one.
pub(crate) fn options(log: Option<&Log>) -> LinkOptions {
    let lanes = log.map(|log| log.lane.reader()).into_iter().collect();
    LinkOptions::new(ShardCount::new(8).unwrap(), lanes, Arc::new(SystemClock))
}

impl Node {
    pub(crate) fn start(
        id: u32,
        boot: u64,
        listener: TcpListener,
        roster: &Roster,
        options: LinkOptions,
    ) -> Self {
        let (events, receiver) = channel();
        let me = Some(ReplicaId(id));
        let identity = Identity {
            cluster: CLUSTER,
            me,
            incarnation: volume(id),
            trail: trail(id, boot),
            plan: 7,
            acks: Acks::Majority,
        };
        let host = Arc::new(TestHost {
            identity: Mutex::new(identity),
            roster: Mutex::new(Arc::new(roster.clone())),
            greeted: Mutex::default(),
            events: Mutex::new(events),
            shut: Mutex::default(),
            opened: Condvar::new(),
        });
        let links = Links::start(Arc::clone(&host) as Arc<dyn Host>, listener, options).unwrap();
        Self { host, events: receiver, links }
    }

    /// The next event that `pick` takes; others are dropped.
    pub(crate) fn next<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("what must happen happens");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    /// The port of its connection to a peer.
    pub(crate) fn port_to(&self, peer: u32) -> Port {
        self.next(|event| match event {
            Event::Dialled(found, mut ports) if found.id == ReplicaId(peer) => ports.pop(),
            _ => None,
        })
    }

    /// The door of a peer's connection to it.
    pub(crate) fn door_of(&self, peer: u32) -> Door {
        self.next(|event| match event {
            Event::Accepted(found, door) if found.id == ReplicaId(peer) => Some(door),
            _ => None,
        })
    }

    /// The next message of a shard.
    pub(crate) fn message(&self) -> (ShardId, Message) {
        self.next(|event| match event {
            Event::Heard(shard, message) => Some((shard, message)),
            _ => None,
        })
    }
}

/// What a follower has of the shards of a leader; takes nothing that is not the next entry.
#[derive(Default)]
pub(crate) struct Copy {
    pub(crate) entries: BTreeMap<ShardId, Vec<Entry>>,
    chains: BTreeMap<ShardId, Chain>,
    /// The shards that began again, if they do.
    begun: Option<BTreeSet<ShardId>>,
}

impl Copy {
    /// The same for a log that is shipped once more from its beginning: what is left of the first time is passed over.
    pub(crate) fn hear_again(&mut self, node: &Node, door: &Door, wanted: &BTreeMap<ShardId, Vec<Entry>>) {
        self.begun = Some(BTreeSet::new());
        self.hear(node, door, wanted);
    }

    /// Whether a piece belongs to the time that is heard.
    fn is_new(&mut self, shard: ShardId, after: LogIndex) -> bool {
        let Some(begun) = &mut self.begun else { return true };
        if after == LogIndex(0) {
            begun.insert(shard);
        }
        begun.contains(&shard)
    }

    /// Hears until it has as many entries of each shard; confirms what it gets through `door`.
    pub(crate) fn hear(&mut self, node: &Node, door: &Door, wanted: &BTreeMap<ShardId, Vec<Entry>>) {
        let has_all = |copy: &Self| {
            wanted.iter().all(|(shard, all)| copy.entries.get(shard).map_or(0, Vec::len) >= all.len())
        };
        while !has_all(self) {
            let (shard, message) = node.message();
            let Message::Records(records) = message else { continue };
            if !self.is_new(shard, records.after) {
                continue;
            }
            let (entries, chain) =
                (self.entries.entry(shard).or_default(), self.chains.entry(shard).or_default());
            assert_eq!(records.after, LogIndex(entries.len() as u64), "no hole and no double");
            assert_eq!((records.epoch, records.chain), (LED, *chain));
            for entry in records.entries {
                let index = LogIndex(entries.len() as u64 + 1);
                *chain = chain_after(*chain, entry.epoch, index, entry.kind, &entry.payload);
                entries.push(entry);
            }
            let synced = LogIndex(entries.len() as u64);
            door.send(shard, &Message::Ack { epoch: LED, synced, round: 0 });
        }
        assert!(self.entries == *wanted, "and no other entries");
    }
}
