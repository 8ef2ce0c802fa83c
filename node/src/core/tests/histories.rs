//! Random histories: the core against the naive model, the log against the heads, and cores that forget against one that
//! does not.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::actions::{Action, BYTES_MAX, NAMES, history, line, pair, real_post, real_put};
use super::model::{Body, Model, Point, Put};
use super::tables::Row;
use super::world::{World, name};
use crate::core::{Command, CoreLimits, Create, CreateError, Decision, Fork, Pin, Reply};
use crate::types::{ForkOrigin, LogIndex, Messages, Offset, Parent, PinId, ShardId, StreamId, UnixMillis};

/// The core under test and the model, side by side.
pub(super) struct Pair {
    world: World,
    model: Model,
    /// Every decision, to compare cores with each other.
    pub(super) decisions: Vec<Decision>,
    last_pin: u64,
}

impl Pair {
    pub(super) fn new(heads_max: usize) -> Self {
        let limits = CoreLimits {
            stream_bytes_max: Some(BYTES_MAX),
            producers_per_stream_max: 2,
            heads_max,
            hash_seed: heads_max as u64,
        };
        let mut world = World::new(limits);
        world.now = UnixMillis(0);
        let model = Model { bytes_max: 60, producers_max: 2, ..Model::default() };
        Self { world, model, decisions: Vec::new(), last_pin: 0 }
    }

    fn run(&mut self, command: Command) -> Decision {
        let mut decision = self.world.run(command);
        let kept = decision.clone();
        // What the tables hold is as good as settled: a core that forgot it does not know when it changed.
        decision.basis = decision.basis.max(LogIndex(self.world.applied as u64));
        self.decisions.push(decision);
        kept
    }

    fn release(&mut self, mut released: Option<Parent>) {
        while let Some(parent) = released {
            released = self.run(Command::Unpin { stream: parent.stream, pin: parent.pin }).released;
        }
    }

    pub(super) fn step(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Put(put) => {
                let decision = self.run(Command::Create(Box::new(real_put(put))));
                prop_assert_eq!(line(&decision.reply), self.model.put(put, None, None));
                self.release(decision.released);
            }
            Action::Post(post, guess) => {
                let mut post = post.clone();
                if let (Some(guess), Some(at)) = (guess, self.model.find(&post.name)) {
                    let tail = self.model.streams[at].tail();
                    post.if_match = Some(if guess.index(3) > 0 { tail } else { (tail.0 + 1, tail.1 + 1) });
                }
                let decision = self.run(Command::Append(real_post(&post)));
                prop_assert_eq!(line(&decision.reply), self.model.post(&post));
            }
            Action::Delete(at) => {
                let decision = self.run(Command::Delete(name(NAMES[*at])));
                prop_assert_eq!(line(&decision.reply), self.model.delete(NAMES[*at]));
                self.release(decision.released);
            }
            Action::Fork(put, source, point, copied) => self.fork(put, NAMES[*source], *point, *copied)?,
            Action::Unpin(stream, pin) => {
                // The sweeper takes back only what nobody owns.
                let owned =
                    self.model.streams.iter().any(|fork| fork.parent == Some((*stream, *pin)) && !fork.gone);
                if !owned {
                    let decision = self.run(Command::Unpin { stream: StreamId(*stream), pin: PinId(*pin) });
                    self.model.unpin(*stream, *pin);
                    self.release(decision.released);
                }
            }
            Action::Expire(id, read) => {
                let (stream, touched_at) = (StreamId(*id), read.map(UnixMillis));
                let decision = self.run(Command::Expire { stream, touched_at });
                self.model.expire(*id, *read);
                self.release(decision.released);
            }
            Action::Trim(id, at) => {
                let count = self.model.streams.get(usize::try_from(*id).unwrap() - 1);
                let at = at.index(count.map_or(0, |stream| stream.messages.len()) + 1);
                let bytes = count.map_or(0, |stream| stream.messages[..at].iter().map(Vec::len).sum());
                let earliest = Offset { messages: at as u64, bytes: bytes as u64 };
                self.run(Command::Trim { stream: StreamId(*id), earliest });
                self.model.trim(*id, at);
            }
            Action::Tick(millis) => {
                self.model.now += millis;
                self.world.now = UnixMillis(self.model.now);
            }
            Action::Read(at) => {
                if let Some(at) = self.model.find(NAMES[*at]) {
                    let stream = &mut self.model.streams[at];
                    stream.read = stream.read.max(self.model.now);
                    self.world.reads.insert(StreamId(stream.id), UnixMillis(stream.read));
                }
            }
            Action::Apply(upto) => {
                let span = self.world.log.len() - self.world.applied;
                self.world.apply(self.world.applied + upto.index(span + 1));
            }
            Action::Restart => self.world.restart(),
        }
        Ok(())
    }

    fn fork(
        &mut self,
        put: &Put,
        source: &str,
        point: Option<Index>,
        copied: Option<usize>,
    ) -> Result<(), TestCaseError> {
        let messages = self.model.holder(source).map(|at| self.model.streams[at].messages.clone());
        let messages = messages.unwrap_or_default();
        let json = self.model.holder(source).is_some_and(|at| self.model.streams[at].json);
        let at = point.map(|point| point.index(messages.len() + 1));
        let next = at.and_then(|at| messages.get(at)).filter(|_| !json);
        let copied = copied.zip(next).map(|(count, next)| next[..count.min(next.len())].to_vec());
        let copied = copied.filter(|bytes| !bytes.is_empty());
        let point = Point { source: source.into(), at, copied };
        let bytes = messages[..at.unwrap_or(0)].iter().map(Vec::len).sum::<usize>() as u64;
        let offset = at.map(|at| Offset { messages: at as u64, bytes });
        let mut create = real_put(put);
        create.content_type_given = false;
        create.fork_offset_given = at.is_some();
        create.config.fork = Some(ForkOrigin {
            source: name(source),
            offset: offset.unwrap_or_default(),
            sub_offset: point.copied.as_ref().map_or(0, |bytes| bytes.len() as u64),
        });
        let put = self.cut_for(put, &mut create, json);
        let asked = self.run(Command::Create(Box::new(create.clone())));
        prop_assert_eq!(line(&asked.reply), self.model.put(&put, Some(&point), None));
        self.release(asked.released);
        if asked.reply != Reply::Create(Err(CreateError::Unpinned)) {
            return Ok(());
        }
        self.last_pin += 1;
        let pin = PinId(self.last_pin);
        let decision =
            self.run(Command::Pin(Pin { source: name(source), fork: name(&put.name), offset, pin }));
        prop_assert_eq!(line(&decision.reply), self.model.pin(&point, self.last_pin));
        let Reply::Pin(Ok(pinned)) = decision.reply else { return Ok(()) };
        let prefix = point.copied.clone().and_then(|bytes| Messages::single(Bytes::from(bytes)));
        create.fork = Some(Fork::granted(ShardId(3), pin, &pinned, prefix));
        let decision = self.run(Command::Create(Box::new(create)));
        let expected = self.model.put(&put, Some(&point), Some(self.last_pin));
        prop_assert_eq!(line(&decision.reply), expected);
        if !matches!(&decision.reply, Reply::Create(Ok(created)) if created.new) {
            self.model.unpin(pinned.meta.id.0, self.last_pin);
        }
        self.release(decision.released);
        Ok(())
    }

    /// A body without a content type is cut only once the source's is known: send it uncut, expect it cut.
    fn cut_for(&self, put: &Put, create: &mut Create, json: bool) -> Put {
        let text = match (&put.body, put.json) {
            (Body::Messages(messages), true) => {
                format!("[{}]", String::from_utf8(messages.join(&b","[..])).unwrap())
            }
            (Body::Messages(messages), false) => String::from_utf8(messages.concat()).unwrap(),
            (Body::Invalid, _) => "{".into(),
            (Body::EmptyArray, _) => "[]".into(),
            (Body::Absent, _) => return put.clone(),
        };
        create.body = Ok(Messages::single(Bytes::from(text.clone())));
        let body = match (json, &put.body) {
            (false, _) => Body::Messages(vec![text.into_bytes()]),
            (true, Body::Messages(messages)) if put.json => Body::Messages(messages.clone()),
            (true, Body::Messages(_)) => Body::Invalid,
            (true, other) => other.clone(),
        };
        Put { body, ..put.clone() }
    }

    /// All that the log says of each stream, against the model, the tables and the heads.
    fn check_state(&mut self) -> Result<(), TestCaseError> {
        let alive: BTreeMap<u64, _> = self
            .model
            .streams
            .iter()
            .filter(|stream| !stream.gone)
            .map(|stream| (stream.id, stream))
            .collect();
        let logged: Vec<u64> = self.world.truth.rows.keys().map(|id| id.0).collect();
        prop_assert_eq!(&logged, &alive.keys().copied().collect::<Vec<_>>());
        for (id, stream) in alive {
            let row: &Row = &self.world.truth.rows[&StreamId(id)];
            let content: Vec<Vec<u8>> =
                self.world.content(StreamId(id)).iter().map(|message| message.to_vec()).collect();
            prop_assert_eq!(&content, &stream.messages);
            let meta = &row.meta;
            prop_assert_eq!(pair(meta.tail), stream.tail());
            prop_assert_eq!(
                (meta.base.messages, meta.earliest.messages),
                (stream.base as u64, stream.earliest as u64)
            );
            prop_assert_eq!((meta.closed, meta.retired), (stream.closed, stream.retired));
            prop_assert_eq!(meta.touched_at.0, stream.touched);
            prop_assert_eq!(meta.last_seq.as_ref().map(|seq| seq.0.to_vec()), stream.seq.clone());
            let pins: Vec<u64> = row.pins.keys().map(|pin| pin.0).collect();
            prop_assert_eq!(pins, stream.pins.iter().copied().collect::<Vec<_>>());
            let producers: Vec<_> =
                row.producers.iter().map(|(id, state)| (id.0[0], (state.epoch, state.seq))).collect();
            prop_assert_eq!(producers, stream.producers.clone().into_iter().collect::<Vec<_>>());
            if let Some(head) = self.world.core.head(&meta.name) {
                prop_assert_eq!(head, meta);
            }
        }
        Ok(())
    }
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn every_answer_and_the_final_state_are_those_of_the_naive_model(
        actions in history(),
    ) {
        let mut pair = Pair::new(1000);
        for action in &actions {
            pair.step(action)?;
        }
        pair.check_state()?;
    }

    #[test]
    fn forgetting_and_reloading_heads_never_changes_a_decision(
        actions in history(),
    ) {
        let mut pairs = [Pair::new(1000), Pair::new(3), Pair::new(0)];
        for action in &actions {
            for pair in &mut pairs {
                pair.step(action)?;
            }
        }
        let [keeps, forgets, forgets_all] = &pairs;
        prop_assert_eq!(&keeps.decisions, &forgets.decisions);
        prop_assert_eq!(&keeps.decisions, &forgets_all.decisions);
        for pair in &mut pairs {
            pair.check_state()?;
        }
    }
}
