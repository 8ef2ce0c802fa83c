//! The core of one shard: it decides commands one after the other on the heads that it has, and asks for those it lacks.
//!
//! Invariant: a decision depends on the commands before it, the time and the tables only; never on which heads happen to
//! be resident. Loading, writing, waiting and answering are the runtime's.

use bytes::Bytes;

use super::decision::{Context, Verdict};
use super::residents::{Place, Residents};
use super::subscription::{Facts, decide_link};
use super::{
    Command, Decision, LastRead, LinkAsk, LinkCommand, Missing, Ops, Reply, Unready, append, create, delete,
    expiry, fork, trim,
};
use crate::types::{
    LogIndex, Op, PinId, ProducerId, ProducerState, ShardId, Space, StreamId, StreamMeta, StreamName,
    SubscriptionId, UnixMillis,
};

/// The bounds that a core keeps.
#[derive(Debug, Clone, Copy)]
pub struct CoreLimits {
    /// Payload bytes that a stream may keep; `None`: as many as the volume holds.
    pub stream_bytes_max: Option<u64>,
    /// Producers that a stream remembers.
    pub producers_per_stream_max: u32,
    /// Heads, absent names, producers and pins that are kept in memory (about 0.65 KiB for a head). What the tables do not hold
    /// yet stays beyond the bound until they do.
    pub heads_max: usize,
    /// Keys the hash of names, which clients choose: any number that they cannot guess.
    pub hash_seed: u64,
}

/// The pure state machine of one shard.
#[derive(Debug)]
pub struct ShardCore {
    shard: ShardId,
    next_stream_id: StreamId,
    limits: CoreLimits,
    residents: Residents,
    facts: Facts,
}

impl ShardCore {
    /// A core without any head. `next_stream_id` is what the tables recorded; [`ShardCore::replay`] raises it.
    #[must_use]
    pub fn new(shard: ShardId, next_stream_id: StreamId, limits: CoreLimits) -> Self {
        let residents = Residents::new(limits.heads_max, limits.hash_seed);
        Self { shard, next_stream_id, limits, residents, facts: Facts::default() }
    }

    /// A core with the same bounds that knows nothing yet.
    #[must_use]
    pub fn begin_again(&self, next_stream_id: StreamId) -> Self {
        Self::new(self.shard, next_stream_id, self.limits)
    }

    /// Which shard this is.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// How many subscriptions may link a stream of this shard.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.facts.shares()
    }

    /// Whether a subscription would link a new stream of this name.
    #[must_use]
    pub fn would_link(&self, name: &StreamName) -> bool {
        self.facts.covers(name)
    }

    /// The id that the next created stream gets.
    #[must_use]
    pub fn next_stream_id(&self) -> StreamId {
        self.next_stream_id
    }

    /// How many heads and facts are in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.residents.weight()
    }

    /// The head of a stream as of the last decision, if it is resident.
    #[must_use]
    pub fn head(&self, name: &StreamName) -> Option<&StreamMeta> {
        let place = self.residents.named(name)?;
        self.residents.head(place).map(|head| &head.meta)
    }

    /// The same by id.
    #[must_use]
    pub fn head_of(&self, stream: StreamId) -> Option<&StreamMeta> {
        let place = self.residents.numbered(stream)?;
        self.residents.head(place).map(|head| &head.meta)
    }

    /// What must be loaded before `command` can be decided, if anything.
    #[must_use]
    pub fn missing(&self, command: &Command) -> Option<Missing> {
        self.locate(command).err()
    }

    /// Where the stream of a command is, once all that its decision looks at is known.
    fn locate(&self, command: &Command) -> Result<Place, Missing> {
        let named = |name: &StreamName| self.residents.named(name).ok_or_else(|| Missing::Name(name.clone()));
        let numbered = |stream| self.residents.numbered(stream).ok_or(Missing::Stream(stream));
        match command {
            Command::Append(append) => {
                let place = named(&append.name)?;
                if let (Some(stamp), Some(head)) = (&append.producer, self.residents.head(place))
                    && head.producers.get(&stamp.id).is_none()
                {
                    return Err(Missing::Producer(head.meta.id, stamp.id.clone()));
                }
                Ok(place)
            }
            Command::Create(create) => named(&create.name),
            Command::Delete(name) => named(name),
            Command::Pin(pin) => self.pin_known(named(&pin.source)?, pin.pin),
            Command::Unpin { stream, pin } => self.pin_known(numbered(*stream)?, *pin),
            Command::Expire { stream, .. } | Command::Trim { stream, .. } => numbered(*stream),
            Command::Link(link) => self.locate_link(link),
            // The place is not looked at: all that they need is in memory.
            Command::Subscription(_) | Command::Secret { .. } => Ok(Place::NOWHERE),
        }
    }

    fn locate_link(&self, command: &LinkCommand) -> Result<Place, Missing> {
        let known = |place: Place, stream: StreamId| match self.facts.link(&command.id, stream) {
            None => Err(Missing::Link(command.id.clone(), stream)),
            Some(_) => Ok(place),
        };
        match &command.ask {
            LinkAsk::Adopt(_) => Ok(Place::NOWHERE),
            LinkAsk::Unlink { stream, .. } => known(Place::NOWHERE, *stream),
            LinkAsk::Link(name) | LinkAsk::Ack { name, .. } => {
                let place = self.residents.named(name).ok_or_else(|| Missing::Name(name.clone()))?;
                self.residents.head(place).map_or(Ok(place), |head| known(place, head.meta.id))
            }
        }
    }

    fn pin_known(&self, place: Place, pin: PinId) -> Result<Place, Missing> {
        match self.residents.head(place) {
            Some(head) if head.pins.get(&pin).is_none() => Err(Missing::Pin(head.meta.id, pin)),
            _ => Ok(place),
        }
    }

    /// Decides a command. If there are ops, they are the record at `index`, and the heads reflect them already. When
    /// something must be loaded first, the command comes back and nothing has changed.
    pub fn decide(
        &mut self,
        command: Command,
        now: UnixMillis,
        index: LogIndex,
        last_read: LastRead<'_>,
    ) -> Result<Decision, Box<Unready>> {
        let place = match self.locate(&command) {
            Ok(place) => place,
            Err(missing) => return Err(Box::new(Unready { missing, command })),
        };
        self.residents.mark_used(place);
        let mut verdict = self.judge(place, command, now, last_read);
        if self.facts.links_streams() {
            self.link_streams(place, &mut verdict.ops);
        }
        let looked_at = self.residents.changed(place).max(self.facts.changed());
        let basis = if verdict.ops.is_empty() { looked_at } else { index };
        let mut subject = place;
        for op in verdict.ops.as_slice() {
            self.note_id(op);
            subject = self.residents.apply(subject, op, index);
            self.facts.apply(op, index);
        }
        let Verdict { ops, reply, released } = verdict;
        Ok(Decision { ops, reply, basis, released })
    }

    fn judge(&self, place: Place, command: Command, now: UnixMillis, last_read: LastRead<'_>) -> Verdict {
        let head = self.residents.head(place);
        let (limits, next_stream_id) = (&self.limits, self.next_stream_id);
        let context = Context { now, last_read, limits, next_stream_id };
        match command {
            Command::Append(append) => append::append(head, append, &context),
            Command::Create(create) => create::create(head, *create, &context),
            Command::Delete(_) => delete::delete(head, &context),
            Command::Pin(pin) => fork::pin(head, pin, &context),
            Command::Unpin { pin, .. } => fork::unpin(head, pin),
            Command::Expire { touched_at, .. } => expiry::expire(head, touched_at, &context),
            Command::Trim { earliest, .. } => trim::trim(head, earliest),
            Command::Subscription(command) => {
                let (op, reply) = self.facts.decide(*command, now);
                Verdict::perhaps(op, Reply::Subscription(reply))
            }
            Command::Link(command) => {
                let stream = expiry::living(head, &context).map(|head| &head.meta);
                let (op, reply) = decide_link(&self.facts, *command, stream.filter(|meta| !meta.retired));
                Verdict::perhaps(op, Reply::Link(reply))
            }
            Command::Secret { key, value } => match self.facts.secret(&key) {
                Some(kept) => Verdict::unchanged(Reply::Secret(kept.clone())),
                None => {
                    let reply = Reply::Secret(value.clone());
                    Verdict::one(Op::Put { space: Space::Secret, key, value }, reply)
                }
            },
        }
    }

    /// A stream that begins is linked in the same record, before its first append; one that ends loses its links.
    fn link_streams(&self, place: Place, ops: &mut Ops) {
        let mut found = Vec::new();
        for (position, op) in ops.as_slice().iter().enumerate() {
            let links: Vec<Op> = match op {
                Op::Create(meta) => self.facts.links_of_new(meta).collect(),
                Op::Delete { stream } | Op::Retire { stream } => match self.residents.head(place) {
                    Some(head) if head.meta.id == *stream => {
                        self.facts.links_of_gone(&head.meta.name, *stream).collect()
                    }
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            };
            found.push((position, links));
        }
        for (position, links) in found.into_iter().rev() {
            ops.insert_behind(position, links);
        }
    }

    /// Ids are never used again, also those of streams that are gone.
    fn note_id(&mut self, op: &Op) {
        if let Op::Create(meta) = op {
            self.next_stream_id = self.next_stream_id.max(StreamId(meta.id.0.saturating_add(1)));
        }
    }

    /// What the tables say of a name: its stream and how many producers that remembers.
    pub fn install_name(&mut self, name: StreamName, meta: Option<StreamMeta>, producer_count: u32) {
        match meta {
            Some(meta) => self.residents.install(meta, producer_count),
            None => self.residents.install_gone(Some(name), None),
        }
    }

    /// What the tables say of a stream: its state and how many producers it remembers.
    pub fn install_stream(&mut self, stream: StreamId, meta: Option<StreamMeta>, producer_count: u32) {
        match meta {
            Some(meta) => self.residents.install(meta, producer_count),
            None => self.residents.install_gone(None, Some(stream)),
        }
    }

    /// What the tables say of a producer.
    pub fn install_producer(&mut self, stream: StreamId, id: ProducerId, state: Option<ProducerState>) {
        self.residents.learn(stream, |head| head.producers.install(id, state));
    }

    /// Whether the tables say that a stream holds a pin.
    pub fn install_pin(&mut self, stream: StreamId, pin: PinId, held: bool) {
        self.residents.learn(stream, |head| head.pins.install(pin, held.then_some(())));
    }

    /// What the tables say of a link.
    pub fn install_link(&mut self, id: SubscriptionId, stream: StreamId, value: Option<&[u8]>) {
        self.facts.install_link(id, stream, value);
    }

    /// What the tables say of a fact, at start.
    pub fn install_fact(&mut self, space: Space, key: &Bytes, value: &Bytes) {
        self.facts.install(space, key, value);
    }

    /// The tables hold every record up to `index`: heads that were not changed since may be forgotten.
    pub fn applied(&mut self, index: LogIndex) {
        self.residents.applied(index);
        self.facts.applied(index);
    }

    /// Forgets every head, because records that were decided here will never be written (the log refused them, or another
    /// leads now). The tables must hold all records that were written before the next decision. Ids are not taken back.
    pub fn forget(&mut self) {
        self.residents.clear();
    }

    /// Takes note of an op that was not decided here: at restart, or on a follower. The stream is forgotten rather than
    /// followed, so the tables must hold all that was replayed before the first decision.
    pub fn replay(&mut self, index: LogIndex, op: &Op) {
        self.note_id(op);
        self.facts.apply(op, index);
        match op {
            Op::Create(meta) => self.residents.forget(Some(&meta.name), meta.id),
            Op::Append(append) => self.residents.forget(None, append.stream),
            Op::Pin(pin) => self.residents.forget(None, pin.stream),
            Op::Delete { stream }
            | Op::Retire { stream }
            | Op::Unpin { stream, .. }
            | Op::Trim { stream, .. }
            | Op::Touch { stream, .. } => self.residents.forget(None, *stream),
            Op::Put { .. } | Op::Erase { .. } => {}
        }
    }
}
