//! A core with tables that lag behind it, and short ways to say requests.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::tables::Tables;
use crate::codec::json;
use crate::codec::subscription::link_key;
use crate::core::{
    Append, AppendError, Appended, Command, CoreLimits, Create, CreateError, Created, Decision, Fork,
    Missing, Pin, PinError, Pinned, Reply, ShardCore,
};
use crate::types::{
    ContentType, ForkOrigin, LogIndex, Messages, Offset, Op, PinId, ProducerId, ProducerStamp, ProducerState,
    ShardId, Space, StreamId, StreamMeta, StreamName, StreamSeq, UnixMillis,
};

pub(super) const LIMITS: CoreLimits =
    CoreLimits { stream_bytes_max: None, producers_per_stream_max: 100, heads_max: 1000, hash_seed: 7 };

pub(super) struct World {
    pub(super) core: ShardCore,
    limits: CoreLimits,
    /// What the tables hold: the log up to `applied`.
    pub(super) tables: Tables,
    /// What they will hold: all of the log.
    pub(super) truth: Tables,
    pub(super) log: Vec<Vec<Op>>,
    pub(super) applied: usize,
    pub(super) now: UnixMillis,
    pub(super) reads: BTreeMap<StreamId, UnixMillis>,
    pub(super) loads: usize,
    next_pin: u64,
}

impl World {
    pub(super) fn new(limits: CoreLimits) -> Self {
        Self {
            core: ShardCore::new(ShardId(3), StreamId(1), limits),
            limits,
            tables: Tables::default(),
            truth: Tables::default(),
            log: Vec::new(),
            applied: 0,
            now: UnixMillis(1_000_000),
            reads: BTreeMap::new(),
            loads: 0,
            next_pin: 0,
        }
    }

    pub(super) fn open() -> Self {
        Self::new(LIMITS)
    }

    /// Decides, loading what is missing from the lagging tables, and logs the record.
    pub(super) fn run(&mut self, command: Command) -> Decision {
        let index = LogIndex(self.log.len() as u64 + 1);
        let mut command = command;
        for _ in 0..10 {
            let before = self.core.missing(&command);
            let reads = &self.reads;
            let result = self.core.decide(command, self.now, index, &|stream| reads.get(&stream).copied());
            match result {
                Ok(decision) => {
                    assert_eq!(before, None);
                    self.record(&decision);
                    return decision;
                }
                Err(unready) => {
                    assert_eq!(before.as_ref(), Some(&unready.missing));
                    self.load(unready.missing);
                    command = unready.command;
                }
            }
        }
        panic!("loading never ends");
    }

    fn record(&mut self, decision: &Decision) {
        if decision.ops.is_empty() {
            assert!(decision.basis.0 <= self.log.len() as u64);
            return;
        }
        let ops = decision.ops.as_slice().to_vec();
        for op in &ops {
            self.truth.apply(op);
        }
        self.truth.check_links();
        self.log.push(ops);
        assert_eq!(decision.basis.0, self.log.len() as u64);
    }

    fn load(&mut self, missing: Missing) {
        self.loads += 1;
        let count = |producers: usize| u32::try_from(producers).unwrap();
        match missing {
            Missing::Name(name) => {
                let row = self.tables.named(&name);
                let producers = row.map_or(0, |row| row.producers.len());
                self.core.install_name(name, row.map(|row| row.meta.clone()), count(producers));
            }
            Missing::Stream(stream) => {
                let row = self.tables.rows.get(&stream);
                let producers = row.map_or(0, |row| row.producers.len());
                self.core.install_stream(stream, row.map(|row| row.meta.clone()), count(producers));
            }
            Missing::Producer(stream, id) => {
                let state = self.tables.rows.get(&stream).and_then(|row| row.producers.get(&id).copied());
                self.core.install_producer(stream, id, state);
            }
            Missing::Link(id, stream) => {
                let value = self.tables.facts.get(&(Space::Link, link_key(&id, stream))).cloned();
                self.core.install_link(id, stream, value.as_deref());
            }
            Missing::Pin(stream, pin) => {
                let held = self.tables.rows.get(&stream).is_some_and(|row| row.pins.contains_key(&pin));
                self.core.install_pin(stream, pin, held);
            }
        }
    }

    /// The applier catches up to `records` of the log.
    pub(super) fn apply(&mut self, records: usize) {
        let records = records.min(self.log.len());
        while self.applied < records {
            for op in &self.log[self.applied] {
                self.tables.apply(op);
            }
            self.applied += 1;
        }
        self.core.applied(LogIndex(self.applied as u64));
    }

    /// A crash: the core is lost, the log is not.
    pub(super) fn restart(&mut self) {
        self.core = ShardCore::new(ShardId(3), StreamId(1), self.limits);
        for (position, ops) in self.log.iter().enumerate() {
            for op in ops {
                self.core.replay(LogIndex(position as u64 + 1), op);
            }
        }
        self.apply(self.log.len());
    }

    pub(super) fn tick(&mut self, millis: i64) {
        self.now = UnixMillis(self.now.0 + millis);
    }

    pub(super) fn id(&self, text: &str) -> StreamId {
        self.truth.named(&name(text)).expect("exists").meta.id
    }

    pub(super) fn meta(&self, text: &str) -> &StreamMeta {
        &self.truth.named(&name(text)).expect("exists").meta
    }

    /// All that a reader of the stream sees, inherited part included, and each message's bytes apart.
    pub(super) fn content(&self, stream: StreamId) -> Vec<Bytes> {
        let row = &self.truth.rows[&stream];
        let mut all = match row.meta.parent {
            Some(parent) => {
                let mut inherited = self.content(parent.stream);
                inherited.truncate(usize::try_from(parent.upto.messages).unwrap());
                inherited
            }
            None => Vec::new(),
        };
        all.extend(row.messages.iter().cloned());
        all
    }

    pub(super) fn text(&self, text: &str) -> String {
        let content = self.content(self.id(text));
        content.iter().map(|message| String::from_utf8_lossy(message)).collect::<Vec<_>>().join("|")
    }

    pub(super) fn put(&mut self, create: Create) -> Result<Created, CreateError> {
        match self.run(Command::Create(Box::new(create))).reply {
            Reply::Create(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn post(&mut self, append: Append) -> Result<Appended, AppendError> {
        match self.run(Command::Append(append)).reply {
            Reply::Append(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pin(&mut self, pin: Pin) -> Result<Pinned, PinError> {
        match self.run(Command::Pin(pin)).reply {
            Reply::Pin(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fresh_pin(&mut self) -> PinId {
        self.next_pin += 1;
        PinId(self.next_pin)
    }

    /// What the engine does for a PUT with `Stream-Forked-From`: ask, find the point, pin, create, unpin what is left over.
    pub(super) fn fork(&mut self, create: Create) -> Result<Created, CreateError> {
        let asked = self.put(create.clone());
        if asked != Err(CreateError::Unpinned) {
            return asked;
        }
        let origin = create.config.fork.clone().expect("a fork");
        let offset = create.fork_offset_given.then_some(origin.offset);
        let (upto, prefix) = self.divergence(&origin, offset)?;
        let pin = self.fresh_pin();
        let pinned = self.pin(Pin { source: origin.source, fork: create.name.clone(), offset: upto, pin })?;
        let fork = Fork::granted(ShardId(3), pin, &pinned, prefix);
        let decision = self.run(Command::Create(Box::new(Create { fork: Some(fork), ..create })));
        self.release(decision.released);
        match decision.reply {
            Reply::Create(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// The boundary at which the fork's own data begins, and what of the next message it copies.
    fn divergence(
        &self,
        origin: &ForkOrigin,
        offset: Option<Offset>,
    ) -> Result<(Option<Offset>, Option<Messages>), CreateError> {
        let Some(row) = self.truth.named(&origin.source).filter(|_| origin.sub_offset > 0) else {
            return Ok((offset, None));
        };
        let content = self.content(row.meta.id);
        let start = offset.unwrap_or(row.meta.tail);
        let at = usize::try_from(start.messages).unwrap();
        let count = usize::try_from(origin.sub_offset).unwrap();
        if row.meta.config.content_type.is_json() {
            let taken = content.get(at..at + count).ok_or(CreateError::SubOffset)?;
            let bytes = taken.iter().map(|message| message.len() as u64).sum();
            return Ok((Some(start.advanced(origin.sub_offset, bytes)), None));
        }
        let message =
            content.get(at).filter(|message| count <= message.len()).ok_or(CreateError::SubOffset)?;
        Ok((Some(start), Messages::single(message.slice(..count))))
    }

    /// Unpins up the chain, as the engine does once the record is committed.
    pub(super) fn release(&mut self, mut released: Option<crate::types::Parent>) {
        while let Some(parent) = released {
            released = self.run(Command::Unpin { stream: parent.stream, pin: parent.pin }).released;
        }
    }

    pub(super) fn delete(&mut self, text: &str) -> Reply {
        let decision = self.run(Command::Delete(name(text)));
        self.release(decision.released);
        decision.reply
    }
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

pub(super) fn kind(text: &str) -> ContentType {
    ContentType::parse(text).unwrap()
}

/// PUT of a plain text stream without a body.
pub(super) fn put(text: &str) -> Create {
    put_as(text, "text/plain")
}

pub(super) fn put_as(text: &str, content_type: &str) -> Create {
    Create::empty(name(text), kind(content_type))
}

/// PUT with `Stream-Forked-From` and nothing else.
pub(super) fn fork_of(text: &str, source: &str) -> Create {
    let mut create = put(text);
    create.config.content_type = ContentType::default();
    create.content_type_given = false;
    create.config.fork = Some(ForkOrigin { source: name(source), offset: Offset::ZERO, sub_offset: 0 });
    create
}

/// POST of one plain message.
pub(super) fn post(text: &str, message: &str) -> Append {
    Append { body: Ok(plain(message)), content_type: Some(kind("text/plain")), ..close(text, false) }
}

/// POST of JSON.
pub(super) fn post_json(text: &str, body: &str) -> Append {
    let body = json::split(&Bytes::copy_from_slice(body.as_bytes())).map(Some);
    Append { body, content_type: Some(kind("application/json")), ..close(text, false) }
}

/// POST without a body.
pub(super) fn close(text: &str, close: bool) -> Append {
    Append {
        name: name(text),
        content_type: None,
        body: Ok(None),
        close,
        producer: None,
        seq: None,
        if_match: None,
    }
}

pub(super) fn plain(message: &str) -> Option<Messages> {
    Messages::single(Bytes::copy_from_slice(message.as_bytes()))
}

pub(super) fn stamp(id: &str, epoch: u64, seq: u64) -> Option<ProducerStamp> {
    let id = ProducerId(Bytes::copy_from_slice(id.as_bytes()));
    Some(ProducerStamp { id, state: ProducerState { epoch, seq } })
}

pub(super) fn seq(text: &str) -> Option<StreamSeq> {
    Some(StreamSeq(Bytes::copy_from_slice(text.as_bytes())))
}

pub(super) fn offset(messages: u64, bytes: u64) -> Offset {
    Offset { messages, bytes }
}
