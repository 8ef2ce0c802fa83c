//! Which streams are in memory, found by name or id, and who leaves when there are too many.
//!
//! Invariant: whoever was changed by a record that the tables do not hold yet stays, so that what is loaded again is
//! never older than what was forgotten. Nothing here depends on the order in which a map would be walked.

use std::collections::HashMap;

use super::hash::SeaHash;
use super::head::Head;
use crate::types::{LogIndex, Op, StreamId, StreamMeta, StreamName};

/// The place of a resident in the slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// The place of what is no stream. The slab never grows so far.
    pub(super) const NOWHERE: Self = Self(u32::MAX);
}

#[derive(Debug)]
enum Entry {
    Head(Box<Head>),
    /// Known not to exist: under this name, under this id, or both.
    Gone {
        name: Option<StreamName>,
        stream: Option<StreamId>,
    },
}

#[derive(Debug)]
struct Resident {
    entry: Entry,
    /// The record that last changed it.
    changed: LogIndex,
    /// Looked at since the hand last passed.
    used: bool,
}

/// All residents of a shard.
#[derive(Debug)]
pub(super) struct Residents {
    /// Without holes: the last one fills the place of one that leaves.
    slab: Vec<Resident>,
    by_name: HashMap<StreamName, u32, SeaHash>,
    by_id: HashMap<StreamId, u32, SeaHash>,
    /// Residents and the facts that they remember: what is bounded.
    weight: usize,
    weight_max: usize,
    hand: usize,
    applied: LogIndex,
}

impl Residents {
    pub(super) fn new(weight_max: usize, hash_seed: u64) -> Self {
        let hash = SeaHash::new(hash_seed);
        Self {
            slab: Vec::new(),
            by_name: HashMap::with_hasher(hash),
            by_id: HashMap::with_hasher(hash),
            weight: 0,
            weight_max,
            hand: 0,
            applied: LogIndex(0),
        }
    }

    pub(super) fn named(&self, name: &StreamName) -> Option<Place> {
        self.by_name.get(name).map(|&at| Place(at))
    }

    pub(super) fn numbered(&self, stream: StreamId) -> Option<Place> {
        self.by_id.get(&stream).map(|&at| Place(at))
    }

    fn at(&self, place: Place) -> Option<&Resident> {
        self.slab.get(place.0 as usize)
    }

    fn at_mut(&mut self, place: Place) -> Option<&mut Resident> {
        self.slab.get_mut(place.0 as usize)
    }

    /// The stream there, if it exists.
    pub(super) fn head(&self, place: Place) -> Option<&Head> {
        match &self.at(place)?.entry {
            Entry::Head(head) => Some(head),
            Entry::Gone { .. } => None,
        }
    }

    /// The record that last changed what is there.
    pub(super) fn changed(&self, place: Place) -> LogIndex {
        self.at(place).map_or(LogIndex(0), |resident| resident.changed)
    }

    pub(super) fn mark_used(&mut self, place: Place) {
        if let Some(resident) = self.at_mut(place) {
            resident.used = true;
        }
    }

    /// How much is remembered, in entries.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Takes a stream from the tables.
    pub(super) fn install(&mut self, meta: StreamMeta, producer_count: u32) {
        if self.by_id.contains_key(&meta.id) || self.by_name.contains_key(&meta.name) {
            return;
        }
        self.make_room(1);
        self.insert(Entry::Head(Box::new(Head::new(meta, producer_count))), LogIndex(0));
    }

    /// Takes from the tables that there is no such name, or no such stream.
    pub(super) fn install_gone(&mut self, name: Option<StreamName>, stream: Option<StreamId>) {
        let known = name.as_ref().is_some_and(|name| self.by_name.contains_key(name))
            || stream.is_some_and(|stream| self.by_id.contains_key(&stream));
        if !known {
            self.make_room(1);
            self.insert(Entry::Gone { name, stream }, LogIndex(0));
        }
    }

    /// Lets a head learn facts from the tables.
    pub(super) fn learn(&mut self, stream: StreamId, fact: impl FnOnce(&mut Head)) {
        let Some(place) = self.numbered(stream) else { return };
        self.change(place, None, fact);
    }

    /// Applies an op of the record at `index` that was decided on what is at `place`; the next op of that record is about
    /// what is at the returned place.
    pub(super) fn apply(&mut self, place: Place, op: &Op, index: LogIndex) -> Place {
        match op {
            Op::Create(meta) => return self.create(meta, index),
            Op::Delete { .. } => self.remove(place, index),
            _ => self.change(place, Some(index), |head| head.advance(op, index)),
        }
        place
    }

    fn change(&mut self, place: Place, index: Option<LogIndex>, how: impl FnOnce(&mut Head)) {
        let Some(resident) = self.at_mut(place) else { return };
        let Entry::Head(head) = &mut resident.entry else { return };
        let before = head.facts();
        how(head);
        let after = head.facts();
        resident.changed = index.unwrap_or(resident.changed);
        self.weight = self.weight + after - before;
    }

    /// A stream begins. Whoever had its name keeps at most its number; that nobody had its number is over.
    fn create(&mut self, meta: &StreamMeta, index: LogIndex) -> Place {
        if let Some(&at) = self.by_name.get(&meta.name) {
            match self.at_mut(Place(at)).map(|resident| &mut resident.entry) {
                Some(Entry::Gone { name, stream: Some(_) }) => *name = None,
                _ => self.discard(at),
            }
        }
        if let Some(&at) = self.by_id.get(&meta.id) {
            self.discard(at);
        }
        self.insert(Entry::Head(Box::new(Head::new(meta.clone(), 0))), index)
    }

    /// A stream ends; that it is gone must be remembered until the tables know.
    fn remove(&mut self, place: Place, index: LogIndex) {
        let Some(resident) = self.at_mut(place) else { return };
        let Entry::Head(head) = &resident.entry else { return };
        let facts = head.facts();
        let (name, stream) = (Some(head.meta.name.clone()), Some(head.meta.id));
        resident.entry = Entry::Gone { name, stream };
        resident.changed = index;
        self.weight -= facts;
    }

    fn insert(&mut self, entry: Entry, changed: LogIndex) -> Place {
        // A slab of 2^32 residents would fill the memory of any machine long before.
        let at = u32::try_from(self.slab.len()).unwrap_or(u32::MAX);
        let (name, stream) = keys(&entry);
        if let Some(name) = name {
            self.by_name.insert(name.clone(), at);
        }
        if let Some(stream) = stream {
            self.by_id.insert(stream, at);
        }
        // An absent name may leave at once: whoever asks for names that do not exist must not drive out those that do.
        let used = matches!(entry, Entry::Head(_));
        self.slab.push(Resident { entry, changed, used });
        self.weight += 1;
        Place(at)
    }

    fn discard(&mut self, at: u32) {
        if at as usize >= self.slab.len() {
            return;
        }
        let leaving = self.slab.swap_remove(at as usize);
        let (name, stream) = keys(&leaving.entry);
        if let Some(name) = name {
            self.by_name.remove(name);
        }
        if let Some(stream) = stream {
            self.by_id.remove(&stream);
        }
        if let Some(moved) = self.slab.get(at as usize) {
            let (name, stream) = keys(&moved.entry);
            if let Some(entry) = name.and_then(|name| self.by_name.get_mut(name)) {
                *entry = at;
            }
            if let Some(entry) = stream.and_then(|stream| self.by_id.get_mut(&stream)) {
                *entry = at;
            }
        }
        let facts = if let Entry::Head(head) = &leaving.entry { head.facts() } else { 0 };
        self.weight -= 1 + facts;
    }

    /// Forgets a stream and whatever is known of its name.
    pub(super) fn forget(&mut self, name: Option<&StreamName>, stream: StreamId) {
        let named = name.and_then(|name| self.by_name.get(name).copied());
        if let Some(at) = named {
            self.discard(at);
        }
        if let Some(at) = self.by_id.get(&stream).copied() {
            self.discard(at);
        }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.slab.clear();
        self.by_name.clear();
        self.by_id.clear();
        (self.weight, self.hand) = (0, 0);
    }

    /// The tables hold everything up to `index`.
    pub(super) fn applied(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index);
        self.make_room(0);
    }

    /// Lets go of what was not used lately, until `more` fit. The hand goes once around at most twice as far as there is
    /// too much, so that the work of one call follows what came in since the last.
    fn make_room(&mut self, more: usize) {
        let excess = (self.weight + more).saturating_sub(self.weight_max);
        let mut steps = if excess == 0 { 0 } else { 2 * excess + STEPS_MIN };
        while steps > 0 && self.weight + more > self.weight_max && !self.slab.is_empty() {
            steps -= 1;
            self.pass();
        }
    }

    /// The hand looks at one resident.
    fn pass(&mut self) {
        let applied = self.applied;
        let Some(resident) = self.slab.get_mut(self.hand) else {
            self.hand = 0;
            return;
        };
        if !resident.used && resident.changed <= applied {
            // The slab holds this index, so the conversion holds. Whoever fills the place is looked at next.
            self.discard(u32::try_from(self.hand).unwrap_or(u32::MAX));
            return;
        }
        self.hand += 1;
        resident.used = false;
        if let Entry::Head(head) = &mut resident.entry {
            let before = head.facts();
            if before > self.weight_max.min(16 * FACTS_KEPT_MAX) / 16 {
                head.producers.forget(applied);
                head.pins.forget(applied);
                self.weight -= before - head.facts();
            }
        }
    }
}

/// Steps of the hand that one call makes at least when there is too much: enough to pass a few busy residents.
const STEPS_MIN: usize = 16;
/// Facts that a busy stream keeps at most when the hand passes: most streams have few producers, and loading costs a
/// look-up each. A small core keeps a sixteenth of its bound.
const FACTS_KEPT_MAX: usize = 64;

fn keys(entry: &Entry) -> (Option<&StreamName>, Option<StreamId>) {
    match entry {
        Entry::Head(head) => (Some(&head.meta.name), Some(head.meta.id)),
        Entry::Gone { name, stream } => (name.as_ref(), *stream),
    }
}
