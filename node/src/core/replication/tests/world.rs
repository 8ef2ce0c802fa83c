//! Some replicas, their disks, the messages between them. Nothing happens by itself: a test delivers, syncs, crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::codec::record::{RecordKind, chain_after};
use crate::codec::voters::{decode_configs, encode_configs};
use crate::core::replication::{
    Answer, Ask, Effect, Entry, Found, History, Image, Input, Lead, Memory, Message, Records, Replica,
    SealAnswer, Standing, Ticket,
};
use crate::types::{Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, Voters};

/// One replica with its disk.
pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) boot: Boot,
    /// The log as written; the first `synced` entries are on the disk.
    pub(super) log: Vec<Entry>,
    pub(super) synced: usize,
    /// What is on the disk, and what is on its way there.
    pub(super) memory: Memory,
    saving: VecDeque<(Ticket, Memory)>,
    cutting: Option<LogIndex>,
    /// Followers that get entries, and the last that each was sent.
    shipping: BTreeMap<ReplicaId, LogIndex>,
    pub(super) down: bool,
    pub(super) halted: bool,
    /// Entries up to here are no longer in the log.
    pub(super) released: LogIndex,
    /// Followers that are to get an image.
    pub(super) seeds: Vec<ReplicaId>,
    /// What it fetches, and what is on its way to its place.
    pub(super) fetching: Option<Image>,
    pub(super) installing: Option<Image>,
    /// All that is here is on its way aside.
    pub(super) emptying: bool,
}

/// A message under way to one boot of its receiver.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    pub(super) boot: Boot,
    pub(super) message: Message,
}

pub(super) struct World {
    pub(super) nodes: BTreeMap<ReplicaId, Node>,
    pub(super) letters: Vec<Letter>,
    pub(super) answers: Vec<(ReplicaId, Answer)>,
    pub(super) confirmed: Vec<(RecordEpoch, u64)>,
    pub(super) readable: Vec<(ReplicaId, u64, LogIndex)>,
    pub(super) closed: Vec<(ReplicaId, Epoch)>,
    /// Everything that anybody called committed, by index: nobody may ever say otherwise.
    pub(super) committed: Vec<Entry>,
    /// Nothing that these send or are sent goes through.
    pub(super) cut_off: BTreeSet<ReplicaId>,
}

pub(super) fn id(number: u32) -> ReplicaId {
    ReplicaId(number)
}

pub(super) fn voters(ids: &[u32]) -> Voters {
    Voters::new(ids.iter().copied().map(ReplicaId)).unwrap()
}

pub(super) fn write(text: &'static str) -> Entry {
    Entry { kind: RecordKind::Batch, epoch: Epoch::default(), payload: Bytes::from_static(text.as_bytes()) }
}

fn configs_of(entry: &Entry) -> Option<Configs> {
    (entry.kind == RecordKind::Config).then(|| decode_configs(&entry.payload).unwrap())
}

impl Node {
    fn fresh(me: ReplicaId) -> Self {
        let memory =
            Memory { promised: Epoch { record: RecordEpoch(1), boot: Boot(0) }, ..Memory::default() };
        let mut fresh = Self::started(me, Boot(1), memory, Vec::new());
        fresh.replica.step(Input::Vouched, &mut Vec::new());
        fresh
    }

    fn started(me: ReplicaId, boot: Boot, memory: Memory, log: Vec<Entry>) -> Self {
        let mut history = History::default();
        let mut sets = Vec::new();
        for entry in &log {
            history.push(entry.epoch, after(&history, entry));
            sets.extend(configs_of(entry).map(|configs| (history.end(), configs)));
        }
        let synced = log.len();
        let (memory_found, committed, vouched) = (memory.clone(), LogIndex(0), false);
        let found = Found { me, boot, memory: memory_found, history, committed, voters: sets, vouched };
        let mut nothing = Vec::new();
        let replica = Replica::start(found, &mut nothing);
        assert!(nothing.is_empty(), "nobody has vouched for it yet");
        Self {
            replica,
            boot,
            log,
            synced,
            memory,
            saving: VecDeque::new(),
            cutting: None,
            shipping: BTreeMap::new(),
            down: false,
            halted: false,
            released: LogIndex(0),
            seeds: Vec::new(),
            fetching: None,
            installing: None,
            emptying: false,
        }
    }

    fn push(&mut self, entry: Entry) {
        let chain = after(self.replica.history(), &entry);
        self.replica.appended(entry.epoch, chain, configs_of(&entry));
        self.log.push(entry);
    }

    fn chain_at(&self, index: LogIndex) -> Chain {
        let mut history = History::default();
        let entries = self.log.iter().take(usize::try_from(index.0).unwrap());
        entries.for_each(|entry| history.push(entry.epoch, after(&history, entry)));
        history.chain()
    }
}

fn after(history: &History, entry: &Entry) -> Chain {
    chain_after(history.chain(), entry.epoch, history.end().next(), entry.kind, &entry.payload)
}

impl World {
    pub(super) fn new(count: u32) -> Self {
        let nodes = (0..count).map(|number| (id(number), Node::fresh(id(number)))).collect();
        let (letters, answers, confirmed) = (Vec::new(), Vec::new(), Vec::new());
        let (readable, closed, committed) = (Vec::new(), Vec::new(), Vec::new());
        let cut_off = BTreeSet::new();
        Self { nodes, letters, answers, confirmed, readable, closed, committed, cut_off }
    }

    /// Three voters, the first of which leads epoch 1.
    pub(super) fn led() -> Self {
        let mut world = Self::new(3);
        world.lead(0, 1, &Configs::first(voters(&[0, 1, 2])));
        world.settle();
        assert!(world.node(0).replica.takes_writes());
        world
    }

    /// Replica 1 alone has the last entry of replica 0, which is gone; replica 2 is told to lead epoch 2.
    pub(super) fn replaced() -> Self {
        let mut world = Self::led();
        world.write(0, "never synced by its leader");
        let place = world.letters.iter().position(|letter| letter.to == id(1)).unwrap();
        world.deliver(place);
        world.sync(1);
        world.crash(0);
        world.letters.clear();
        world.seal(2, 2);
        world.save(2);
        world.lead(2, 2, &Configs::first(voters(&[0, 1, 2])));
        world
    }

    pub(super) fn node(&self, number: u32) -> &Node {
        &self.nodes[&id(number)]
    }

    pub(super) fn step(&mut self, to: ReplicaId, input: Input) {
        let mut out = Vec::new();
        let Some(node) = self.nodes.get_mut(&to).filter(|node| !node.down) else { return };
        node.replica.step(input, &mut out);
        self.carry_out(to, out);
        self.ship(to);
    }

    fn carry_out(&mut self, me: ReplicaId, effects: Vec<Effect>) {
        for effect in effects {
            let node = self.nodes.get_mut(&me).unwrap();
            match effect {
                Effect::Save(ticket) => node.saving.push_back((ticket, node.replica.memory().clone())),
                Effect::Append { kind, configs } => {
                    let mut payload = Vec::new();
                    configs.iter().for_each(|configs| encode_configs(configs, &mut payload));
                    let epoch = node.replica.place().unwrap().epoch;
                    node.push(Entry { kind, epoch, payload: payload.into() });
                }
                Effect::Write(entries) => entries.into_iter().for_each(|entry| node.push(entry)),
                Effect::Cut { to } => node.cutting = Some(to),
                Effect::Send { to, message } => self.post(me, to, message),
                Effect::Ship { to, after } => drop(node.shipping.insert(to, after)),
                Effect::Unship(to) => drop(node.shipping.remove(&to)),
                Effect::Image(to) => node.seeds.push(to),
                Effect::Fetch { image, .. } => node.fetching = Some(image),
                Effect::Unfetch => node.fetching = None,
                Effect::Install(image) => node.installing = Some(image),
                Effect::Empty => node.emptying = true,
                Effect::Committed(upto) => self.committed(me, upto),
                Effect::Closed(epoch) => {
                    node.shipping.clear();
                    self.closed.push((me, epoch));
                }
                Effect::Answer { answer, .. } => self.answers.push((me, answer)),
                Effect::Confirmed { epoch, version } => self.confirmed.push((epoch, version.0)),
                Effect::Readable { round, upto } => self.readable.push((me, round, upto)),
                Effect::Halted(_) => node.halted = true,
                Effect::Opened(_) | Effect::Suspended | Effect::Resumed | Effect::RoundBegun(_) => {}
            }
        }
    }

    fn post(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        if self.cut_off.contains(&from) || self.cut_off.contains(&to) {
            return;
        }
        if let Some(receiver) = self.nodes.get(&to) {
            self.letters.push(Letter { from, to, boot: receiver.boot, message });
        }
    }

    /// Sends what is new in a leader's log.
    fn ship(&mut self, me: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&me) else { return };
        let Some(epoch) = node.replica.leads() else { return };
        let end = node.replica.history().end();
        let due: Vec<_> =
            node.shipping.iter().filter(|(_, sent)| **sent < end).map(|(to, sent)| (*to, *sent)).collect();
        for (to, after) in due {
            let node = self.nodes.get_mut(&me).unwrap();
            if after < node.released {
                node.shipping.remove(&to);
                self.step(me, Input::Lacks { to, epoch });
                continue;
            }
            node.shipping.insert(to, end);
            let entries = node.log[usize::try_from(after.0).unwrap()..].to_vec();
            let (chain, committed) = (node.chain_at(after), node.replica.committed());
            self.post(me, to, Message::Records(Records { epoch, after, chain, committed, entries }));
        }
    }

    /// What is committed is on this disk, and nobody ever said otherwise of it.
    fn committed(&mut self, me: ReplicaId, upto: LogIndex) {
        let node = &self.nodes[&me];
        let upto = usize::try_from(upto.0).unwrap();
        assert!(upto <= node.synced, "{me} calls {upto} committed and has synced {}", node.synced);
        for (place, entry) in node.log[..upto].iter().enumerate() {
            match self.committed.get(place) {
                Some(said) => assert_eq!(said, entry, "{me} commits another entry {}", place + 1),
                None => self.committed.push(entry.clone()),
            }
        }
    }

    /// A client's write at a leader.
    pub(super) fn write(&mut self, number: u32, text: &'static str) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        assert!(node.replica.takes_writes(), "{number} takes no writes");
        let epoch = node.replica.place().unwrap().epoch;
        node.push(Entry { epoch, ..write(text) });
        self.ship(id(number));
    }

    pub(super) fn sync(&mut self, number: u32) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        node.synced = node.log.len();
        let upto = LogIndex(node.synced as u64);
        self.step(id(number), Input::Synced(upto));
    }

    /// The oldest save that is under way reaches the disk.
    pub(super) fn save(&mut self, number: u32) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        if let Some((ticket, memory)) = node.saving.pop_front() {
            node.memory = memory;
            self.step(id(number), Input::Saved(ticket));
        }
    }

    /// What is to be taken back is, or all that is to be set aside.
    pub(super) fn cut(&mut self, number: u32) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        if std::mem::take(&mut node.emptying) {
            assert!(node.memory.damaged, "no start would know that anything is missing");
            node.log.clear();
            node.synced = 0;
            self.step(id(number), Input::Seeded { history: History::default(), voters: None });
        }
        let node = self.nodes.get_mut(&id(number)).unwrap();
        if let Some(to) = node.cutting.take() {
            let chain = node.chain_at(to);
            node.log.truncate(usize::try_from(to.0).unwrap());
            node.synced = node.synced.min(node.log.len());
            self.step(id(number), Input::Cut { to, chain });
        }
    }

    /// An image of a replica's log up to an entry.
    pub(super) fn image(&self, number: u32, upto: u64) -> Image {
        let mut history = History::default();
        let entries = self.node(number).log.iter().take(usize::try_from(upto).unwrap());
        entries.for_each(|entry| history.push(entry.epoch, after(&history, entry)));
        Image { history, bytes: 1, key: u32::try_from(upto).unwrap() }
    }

    /// A leader's snapshot up to an entry is there.
    pub(super) fn imaged(&mut self, number: u32, to: u32, upto: u64) {
        let image = self.image(number, upto);
        self.step(id(number), Input::Imaged { to: id(to), image });
    }

    /// What a follower fetches is here as a whole.
    pub(super) fn fetched(&mut self, number: u32) {
        let image = self.node(number).fetching.clone().unwrap();
        self.step(id(number), Input::Fetched(image));
    }

    /// What it installs, of the log of another one, is in its place.
    pub(super) fn seeded(&mut self, number: u32, from: u32) {
        let entries = self.node(from).log.clone();
        let node = self.nodes.get_mut(&id(number)).unwrap();
        let history = node.installing.take().unwrap().history;
        node.log = entries.into_iter().take(usize::try_from(history.end().0).unwrap()).collect();
        node.synced = node.log.len();
        let voters = node.log.iter().rev().find_map(configs_of);
        self.step(id(number), Input::Seeded { history, voters });
    }

    pub(super) fn deliver(&mut self, place: usize) {
        let letter = self.letters.remove(place);
        self.arrive(letter);
    }

    pub(super) fn arrive(&mut self, Letter { from, to, boot, message }: Letter) {
        if self.nodes.get(&to).is_some_and(|node| node.boot == boot) {
            self.step(to, Input::Heard { from, message });
        }
    }

    /// Everything that is under way arrives, until nothing is.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let up: Vec<u32> = self.nodes.iter().filter(|(_, node)| !node.down).map(|(id, _)| id.0).collect();
            for number in up {
                self.save(number);
                self.cut(number);
                if self.node(number).synced < self.node(number).log.len() {
                    self.sync(number);
                }
            }
            if self.letters.is_empty() && self.nodes.values().all(|node| node.down || node.is_still()) {
                return;
            }
            if !self.letters.is_empty() {
                self.deliver(0);
            }
        }
        panic!("it never comes to rest: {:?}", self.letters);
    }

    /// Ends without what was not on the disk.
    pub(super) fn crash(&mut self, number: u32) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        node.down = true;
        node.boot = Boot(node.boot.0 + 1);
        node.log.truncate(node.synced);
    }

    /// What is on the disk of a replica that is down is damaged behind the first entries; its start finds that.
    pub(super) fn damage(&mut self, number: u32, left: usize) {
        let node = self.nodes.get_mut(&id(number)).unwrap();
        assert!(node.down);
        node.log.truncate(left);
        node.synced = node.log.len();
        node.memory.damaged = true;
    }

    /// Starts again, and somebody vouches for it.
    pub(super) fn restart(&mut self, number: u32) {
        self.start(number);
        self.step(id(number), Input::Vouched);
        self.meet(number);
    }

    /// Starts again.
    pub(super) fn start(&mut self, number: u32) {
        let node = &self.nodes[&id(number)];
        assert!(node.down);
        let started = Node::started(id(number), node.boot, node.memory.clone(), node.log.clone());
        self.nodes.insert(id(number), started);
    }

    /// All connect to it.
    pub(super) fn meet(&mut self, number: u32) {
        let others: Vec<ReplicaId> = self.nodes.keys().copied().collect();
        for other in others {
            self.step(other, Input::Connected(id(number)));
        }
    }

    pub(super) fn lead(&mut self, number: u32, epoch: u64, configs: &Configs) {
        let expected = self.node(number).replica.standing();
        self.lead_as(number, epoch, configs, expected);
    }

    pub(super) fn lead_as(&mut self, number: u32, epoch: u64, configs: &Configs, expected: Standing) {
        let (epoch, configs) = (RecordEpoch(epoch), configs.clone());
        let order = Lead { ask: Ask(0), epoch, configs, learners: Vec::new(), expected };
        self.step(id(number), Input::Lead(Box::new(order)));
    }

    pub(super) fn seal(&mut self, number: u32, epoch: u64) {
        self.step(id(number), Input::Seal { ask: Ask(0), epoch: RecordEpoch(epoch) });
    }

    /// The answer of a replica that is sealed, once it is.
    pub(super) fn sealed(&self, number: u32) -> Option<&SealAnswer> {
        self.answers.iter().rev().find_map(|(from, answer)| match answer {
            Answer::Sealed(sealed) if *from == id(number) => Some(&**sealed),
            _ => None,
        })
    }
}

impl Node {
    fn is_still(&self) -> bool {
        self.saving.is_empty() && self.cutting.is_none() && !self.emptying && self.synced == self.log.len()
    }
}
