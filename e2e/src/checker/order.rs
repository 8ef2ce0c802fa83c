//! The order of everything in real time.
//!
//! Every effect and every observation has a place in one total order: by the log index that it shows, then append,
//! open, closure, closed, deletion, absent. Such an order is possible if and only if nothing ended before something
//! that stands earlier was sent; one sweep with a running maximum finds that.

use super::appends::Placed;
use super::lifetime;
use super::log::Log;
use super::violation::{Kind, Violation, report};
use crate::history::{Action, Content, Event, History, Outcome, Position, Refusal, Seen};

/// Ranks at one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Created,
    Appended,
    Open,
    Close,
    Closed,
    Delete,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    index: usize,
    rank: Rank,
    call: u64,
    ret: u64,
}

/// The interval of an effect that several requests may have had.
#[derive(Debug, Clone, Copy)]
struct Effect {
    call: u64,
    ret: u64,
}

impl Effect {
    const NONE: Self = Self { call: u64::MAX, ret: u64::MAX };

    fn may_begin(&mut self, call: u64) {
        self.call = self.call.min(call);
    }

    fn must_end(&mut self, ret: u64) {
        self.ret = self.ret.min(ret);
    }

    fn possible(&self) -> bool {
        self.call != u64::MAX
    }
}

struct Sweep<'a> {
    log: &'a Log,
    found: &'a mut Vec<Violation>,
    items: Vec<Item>,
    /// The creation, the closure, the deletion.
    create: Effect,
    close: Effect,
    delete: Effect,
    creators: usize,
    deleters: usize,
    /// The latest request whose answer shows no more than that the stream is there.
    shown_last: u64,
    /// Whether an append ends at an index; no state lies between the messages of one.
    ends: Vec<bool>,
    /// When appends up to an index were sent, at the latest.
    sent: Vec<u64>,
}

/// Checks it all.
pub(super) fn check(history: &History, log: &Log, placed: &[Placed<'_>], found: &mut Vec<Violation>) {
    let mut sweep = Sweep {
        log,
        found,
        items: Vec::new(),
        create: Effect::NONE,
        close: Effect::NONE,
        delete: Effect::NONE,
        creators: 0,
        deleters: 0,
        shown_last: 0,
        ends: vec![false; log.len() + 1],
        sent: vec![0; log.len() + 1],
    };
    sweep.appends(placed);
    for event in &history.events {
        sweep.effect(event);
    }
    if let Some(end) = lifetime::end(history) {
        (sweep.delete.call, sweep.delete.ret) = (end.call, end.ret);
    }
    sweep.content(placed);
    sweep.authors(&history.events);
    for event in &history.events {
        sweep.observe(event);
    }
    sweep.absences(&history.events);
    sweep.closure(history, placed);
    sweep.deletion(history);
    sweep.sweep();
}

impl Sweep<'_> {
    fn add(&mut self, index: usize, rank: Rank, call: u64, ret: u64) {
        self.items.push(Item { index, rank, call, ret });
    }

    fn appends(&mut self, placed: &[Placed<'_>]) {
        for append in placed {
            if let Some((_, end)) = append.range {
                self.add(end, Rank::Appended, append.call, append.ret);
                self.sent[end] = append.call;
                self.ends[end] = true;
            }
        }
        let mut latest = 0;
        for sent in &mut self.sent {
            latest = latest.max(*sent);
            *sent = latest;
        }
    }

    /// A new stream and its content appear together: no state lies between, and whoever put the content created it.
    fn content(&mut self, placed: &[Placed<'_>]) {
        let trimmed = self.log.trimmed();
        self.ends.iter_mut().take(trimmed + 1).for_each(|end| *end = true);
        for append in placed.iter().filter(|append| append.creates) {
            let Some((start, _)) = append.range else { continue };
            self.ends[0] = false;
            self.create.call = append.call;
            if start != 0 && start != trimmed {
                report(
                    self.found,
                    Kind::TornAppend,
                    format!("the content of a new stream stands at {start}"),
                );
            }
        }
    }

    /// What a request may have done to the stream as a whole.
    fn effect(&mut self, event: &Event) {
        if matches!(event.outcome, Outcome::Refused(_)) {
            return;
        }
        match &event.action {
            // Confirmed means that another request had created it.
            Action::Create(append) if event.outcome == Outcome::Unknown && append.messages.is_empty() => {
                self.create.may_begin(event.call);
            }
            Action::Append(append) if append.close && append.messages.is_empty() => {
                self.close.may_begin(event.call);
            }
            Action::Delete => self.delete.may_begin(event.call),
            _ => {}
        }
        match event.outcome {
            Outcome::Created { new: true, .. } => self.creators += 1,
            Outcome::Deleted => {
                self.deleters += 1;
                self.delete.must_end(event.ret);
            }
            _ => {}
        }
    }

    /// What an answer shows of the stream's state.
    fn observe(&mut self, event: &Event) {
        if let Outcome::Created { seen: Seen { closed: true, .. }, .. } = event.outcome {
            // Creation asks for an open stream; a closed one is another configuration and a conflict.
            report(self.found, Kind::PhantomClose, "confirmed as open, shown as closed");
        }
        match event.outcome {
            Outcome::Created { new: true, seen } => {
                let Action::Create(content) = &event.action else { return };
                let right = self.log.index_of(seen.tail) == Some(content.messages.len());
                if !right && !self.log.is_before(seen.tail) {
                    report(
                        self.found,
                        Kind::WrongTail,
                        format!("a new stream was answered with {:?}", seen.tail),
                    );
                }
                self.create.must_end(event.ret);
            }
            Outcome::Created { new: false, seen } | Outcome::Headed(seen) => self.seen(event, seen),
            Outcome::Appended { duplicate, seen } => self.appended(event, duplicate, seen),
            Outcome::Read(content) => self.read(event, content),
            // Only what was there can be deleted.
            Outcome::Deleted => self.create.must_end(event.ret),
            Outcome::Refused(Refusal::Closed(tail)) => self.closed(event, tail),
            Outcome::Refused(Refusal::Conflict) => self.closed(event, None),
            Outcome::Refused(Refusal::TailMoved(Some(tail))) => {
                self.seen(event, Seen { tail, closed: false });
            }
            _ => {}
        }
    }

    fn seen(&mut self, event: &Event, seen: Seen) {
        self.create.must_end(event.ret);
        if seen.closed {
            return self.closed(event, Some(seen.tail));
        }
        if let Some(index) = self.index(event, seen.tail) {
            self.open(event, index);
        }
    }

    fn open(&mut self, event: &Event, index: usize) {
        if !self.ends[index] {
            let what = format!("client {} was shown a tail inside an append: {index}", event.client);
            report(self.found, Kind::TornAppend, what);
        }
        self.add(index, Rank::Open, event.call, event.ret);
    }

    fn appended(&mut self, event: &Event, duplicate: bool, seen: Seen) {
        let Action::Append(append) = &event.action else { return };
        self.create.must_end(event.ret);
        let repeated = duplicate || append.messages.is_empty();
        if append.close != seen.closed && (append.close || !repeated) {
            let what = format!("asked for closure: {}, answered: {}", append.close, seen.closed);
            report(self.found, Kind::TornClose, what);
        } else if repeated {
            // A closure, or a repetition: the answer shows the state that it found.
            self.seen(event, seen);
        }
    }

    fn closed(&mut self, event: &Event, tail: Option<Position>) {
        self.create.must_end(event.ret);
        self.close.must_end(event.ret);
        if let Some(tail) = tail
            && let Some(index) = self.index(event, tail)
            && index != self.log.len()
        {
            let what = format!("closed at {index}, but the log goes on to {}", self.log.len());
            report(self.found, Kind::AppendedAfterClose, what);
        }
        self.add(self.log.len(), Rank::Closed, event.call, event.ret);
    }

    fn read(&mut self, event: &Event, content: Content) {
        let Action::Read { from } = event.action else { return };
        self.create.must_end(event.ret);
        let Some(next) = self.index(event, content.next) else { return };
        let Some(from) = self.index(event, from) else { return };
        let count = usize::try_from(content.count).unwrap_or(usize::MAX);
        if self.log.hash(from, next) != Some(content.hash) || next - from.min(next) != count {
            let what = format!("client {} read {count} messages between {from} and {next}", event.client);
            return report(self.found, Kind::WrongContent, what);
        }
        if content.closed {
            self.closed(event, Some(content.next));
        } else if content.up_to_date {
            self.open(event, next);
        } else {
            if event.ret < self.sent[next] {
                report(self.found, Kind::FutureRead, format!("client {} read up to {next}", event.client));
            }
            self.shown_last = self.shown_last.max(event.call);
        }
    }

    fn index(&mut self, event: &Event, position: Position) -> Option<usize> {
        let index = self.log.index_of(position);
        if index.is_none() && !self.log.is_before(position) {
            let kind = if self.log.is_beyond(position) { Kind::BeyondCommitted } else { Kind::NoBoundary };
            report(self.found, kind, format!("client {} was shown {position:?}", event.client));
        }
        index
    }

    /// Who is told that it was its own request that created or deleted the stream: then it was that one.
    fn authors(&mut self, events: &[Event]) {
        if self.creators > 1 || self.deleters > 1 {
            let what = format!("{} creations and {} deletions answered", self.creators, self.deleters);
            report(self.found, Kind::CreatedTwice, what);
        }
        for event in events {
            match event.outcome {
                Outcome::Created { new: true, .. } => self.create.call = event.call,
                Outcome::Deleted => self.delete.call = event.call,
                _ => {}
            }
        }
    }

    /// 404 is right before the creation and after the deletion.
    fn absences(&mut self, events: &[Event]) {
        let gone = |refusal| matches!(refusal, Outcome::Refused(Refusal::NotFound | Refusal::Held));
        let absent = events.iter().filter(|event| gone(event.outcome));
        for event in absent {
            if event.call <= self.create.ret {
                continue;
            }
            if event.ret >= self.delete.call {
                self.delete.must_end(event.ret);
            } else {
                let what = format!("client {} got 404 at {}..{}", event.client, event.call, event.ret);
                report(self.found, Kind::Vanished, what);
            }
        }
    }

    /// At most one closure; an append that closes is one with it.
    fn closure(&mut self, history: &History, placed: &[Placed<'_>]) {
        let end = self.log.len();
        for append in placed.iter().filter(|append| append.append.close) {
            let Some((_, at)) = append.range else { continue };
            if at != end {
                report(
                    self.found,
                    Kind::AppendedAfterClose,
                    format!("closed at {at}, the log ends at {end}"),
                );
            }
            if !history.end.closed {
                report(self.found, Kind::TornClose, format!("the append at {at} closes, the stream is open"));
            }
            if self.items.iter().any(|item| (item.index, item.rank) == (at, Rank::Open)) {
                report(self.found, Kind::TornClose, format!("open at {at}, where an append closed it"));
            }
            self.close.call = append.call;
            self.close.must_end(append.ret);
        }
        let observed = self.close.ret != u64::MAX;
        if (observed || history.end.closed) && !self.close.possible() {
            report(self.found, Kind::PhantomClose, "closed, but nobody asked for it");
        } else if observed && !history.end.closed {
            report(self.found, Kind::LostClose, "the closure was acknowledged or seen, and is gone");
        } else if history.end.closed {
            self.add(end, Rank::Close, self.close.call, self.close.ret);
        }
    }

    fn deletion(&mut self, history: &History) {
        let end = &history.end;
        let existed = self.create.ret != u64::MAX || end.present || end.closed || !end.messages.is_empty();
        let deleted = self.delete.ret != u64::MAX;
        if existed && !self.create.possible() {
            report(self.found, Kind::Phantom, "the stream is there, but nobody created it");
        } else if self.create.possible() {
            self.add(0, Rank::Created, self.create.call, self.create.ret);
        }
        if deleted && end.present {
            report(self.found, Kind::Resurrected, "deleted, and there in the end");
        } else if existed && !end.present && !self.delete.possible() {
            report(self.found, Kind::Vanished, "gone in the end, but nobody deleted it");
        } else if deleted && self.delete.ret < self.shown_last {
            report(self.found, Kind::Resurrected, "read after its deletion");
        } else if deleted {
            self.add(self.log.len(), Rank::Delete, self.delete.call, self.delete.ret);
        }
    }

    fn sweep(&mut self) {
        self.items.sort_unstable_by_key(|item| (item.index, item.rank));
        let mut latest: Option<Item> = None;
        let items = std::mem::take(&mut self.items);
        for group in items.chunk_by(|a, b| (a.index, a.rank) == (b.index, b.rank)) {
            for item in group {
                if let Some(before) = latest.filter(|before| item.ret < before.call) {
                    report(
                        self.found,
                        kind_of(before.rank, item.rank),
                        format!("{before:?} stands before {item:?}"),
                    );
                }
            }
            let last = group.iter().max_by_key(|item| item.call).copied();
            latest = latest.into_iter().chain(last).max_by_key(|item| item.call);
        }
    }
}

/// `later` ended before `earlier` was sent, though it stands behind it.
fn kind_of(earlier: Rank, later: Rank) -> Kind {
    match (earlier, later) {
        (_, Rank::Delete) => Kind::Resurrected,
        (Rank::Appended | Rank::Created, Rank::Appended) => Kind::Reordered,
        (Rank::Open | Rank::Closed, _) => Kind::StaleRead,
        (Rank::Close, _) => Kind::FutureRead,
        (_, Rank::Close) => Kind::AppendedAfterClose,
        _ => Kind::FutureRead,
    }
}
