//! Promise: the checker finds every kind of wrong history. A correct one is bent in one place at a time; the bend must
//! be called by its name, and the unbent history must pass.

use thalweg_e2e::checker::{Dialect, Kind, check};
use thalweg_e2e::history::{
    Action, Append, Content, Event, FinalLog, History, Message, Outcome, Position, Refusal, Seen, Stamp,
    chain,
};

/// Every message of these histories has so many bytes.
const BYTES: u64 = 10;

fn at(messages: u64) -> Position {
    Position { messages, bytes: messages * BYTES }
}

fn seen(tail: u64, closed: bool) -> Seen {
    Seen { tail: at(tail), closed }
}

fn message(id: u64) -> Message {
    Message { id, bytes: BYTES }
}

fn append(ids: &[u64]) -> Append {
    Append { messages: ids.iter().map(|&id| message(id)).collect(), ..Append::default() }
}

fn create() -> Action {
    Action::Create(Append::default())
}

fn done(tail: u64) -> Outcome {
    Outcome::Appended { duplicate: false, seen: seen(tail, false) }
}

fn read(ids: &[u64], next: u64, closed: bool) -> Outcome {
    let hash = ids.iter().fold(0, |hash, &id| chain(hash, id));
    Outcome::Read(Content { next: at(next), up_to_date: true, closed, count: ids.len() as u64, hash })
}

/// Event number `n` takes the time from `10 n` to `10 n + 5`: no two overlap.
fn history(events: Vec<(Action, Outcome)>, log: &[u64], closed: bool, present: bool) -> History {
    let events = (0..).zip(events).map(|(n, (action, outcome))| Event {
        client: 0,
        call: 10 * n,
        ret: 10 * n + 5,
        action,
        outcome,
    });
    let messages = log.iter().map(|&id| message(id)).collect();
    let end = FinalLog { messages, closed, present, ..FinalLog::default() };
    History { name: "planted".into(), events: events.collect(), end, ..History::default() }
}

fn stamped(id: u64, seq: u64) -> Append {
    Append { stamp: Some(Stamp { producer: 1, epoch: 0, seq }), ..append(&[id]) }
}

/// A correct history with everything in it; the event numbers are what the bends refer to.
fn correct() -> History {
    let from = |messages| Action::Read { from: at(messages) };
    let close = Append { close: true, ..append(&[9]) };
    history(
        vec![
            (create(), Outcome::Created { new: true, seen: seen(0, false) }),
            (Action::Append(append(&[1])), done(1)),
            (Action::Append(append(&[2, 3])), done(3)),
            (from(0), read(&[1, 2, 3], 3, false)),
            (Action::Append(append(&[4])), Outcome::Unknown),
            (Action::Append(append(&[100])), Outcome::Unknown),
            (
                Action::Append(Append { if_match: Some(at(1)), ..append(&[101]) }),
                Outcome::Refused(Refusal::TailMoved(Some(at(4)))),
            ),
            (Action::Append(stamped(5, 0)), Outcome::Unknown),
            (Action::Append(stamped(5, 0)), Outcome::Appended { duplicate: true, seen: seen(5, false) }),
            (Action::Append(stamped(6, 1)), done(6)),
            (Action::Append(stamped(102, 5)), Outcome::Refused(Refusal::Gap(Some(2)))),
            (Action::Append(Append { seq: Some(7), ..append(&[7]) }), done(7)),
            (Action::Append(Append { seq: Some(7), ..append(&[103]) }), Outcome::Refused(Refusal::StreamSeq)),
            (Action::Append(Append { seq: Some(8), if_match: Some(at(7)), ..append(&[8]) }), done(8)),
            (Action::Head, Outcome::Headed(seen(8, false))),
            (from(4), read(&[5, 6, 7, 8], 8, false)),
            (Action::Append(close), Outcome::Appended { duplicate: false, seen: seen(9, true) }),
            (Action::Append(append(&[104])), Outcome::Refused(Refusal::Closed(Some(at(9))))),
            (from(8), read(&[9], 9, true)),
            (Action::Delete, Outcome::Deleted),
            (Action::Head, Outcome::Refused(Refusal::NotFound)),
        ],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9],
        true,
        false,
    )
}

type Bend = fn(&mut History);

fn outcome(history: &mut History, event: usize, outcome: Outcome) {
    history.events[event].outcome = outcome;
}

fn insert(history: &mut History, after: usize, action: Action, outcome: Outcome) {
    let (call, ret) = (history.events[after].ret + 1, history.events[after].ret + 2);
    history.events.push(Event { client: 1, call, ret, action, outcome });
}

const BENDS: &[(&str, Kind, Bend)] = &[
    ("an acknowledged append is lost at the end", Kind::LostAcknowledged, |h| {
        h.events.truncate(16);
        h.end.messages.truncate(7);
        (h.end.closed, h.end.present) = (false, true);
    }),
    ("an acknowledged append is lost in the middle", Kind::LostAcknowledged, |h| {
        h.end.messages.remove(6);
    }),
    ("a retry was applied again", Kind::Duplicate, |h| h.end.messages.insert(5, message(5))),
    ("a message came from nowhere", Kind::Phantom, |h| h.end.messages.insert(4, message(77))),
    ("a message has another size than was sent", Kind::Phantom, |h| h.end.messages[3].bytes += 1),
    ("nobody created it", Kind::Phantom, |h| {
        h.events.remove(0);
    }),
    ("a refused append is there", Kind::RefusedButPresent, |h| h.end.messages.insert(4, message(101))),
    ("half of a batch is there", Kind::TornAppend, |h| {
        h.end.messages.remove(2);
    }),
    ("something stands inside a batch", Kind::TornAppend, |h| {
        let other = h.end.messages.remove(0);
        h.end.messages.insert(1, other);
    }),
    ("the answer names another tail", Kind::WrongTail, |h| outcome(h, 2, done(2))),
    ("a duplicate is confirmed with an offset before its message", Kind::WrongTail, |h| {
        outcome(h, 8, Outcome::Appended { duplicate: true, seen: seen(4, false) });
    }),
    ("a new stream is not empty", Kind::WrongTail, |h| {
        outcome(h, 0, Outcome::Created { new: true, seen: seen(1, false) });
    }),
    ("two appends got one offset", Kind::OffsetReuse, |h| outcome(h, 9, done(7))),
    ("an offset counts bytes wrongly", Kind::NoBoundary, |h| {
        let wrong = Position { messages: 1, bytes: BYTES + 1 };
        outcome(h, 1, Outcome::Appended { duplicate: false, seen: Seen { tail: wrong, closed: false } });
    }),
    ("an earlier append stands behind a later one", Kind::Reordered, |h| {
        h.end.messages.swap(5, 6);
    }),
    ("a read misses what was acknowledged before", Kind::StaleRead, |h| {
        outcome(h, 15, read(&[5, 6, 7], 7, false));
    }),
    ("HEAD misses what was acknowledged before", Kind::StaleRead, |h| {
        outcome(h, 14, Outcome::Headed(seen(6, false)));
    }),
    ("two reads go back in time", Kind::StaleRead, |h| {
        // Both overlap the append of message 9, so that each alone would be right.
        insert(h, 14, Action::Read { from: at(8) }, read(&[9], 9, true));
        insert(h, 14, Action::Head, Outcome::Headed(seen(8, false)));
        let count = h.events.len();
        h.events[count - 1].call += 1;
        h.events[count - 1].ret += 2;
        h.events[16].call = h.events[count - 2].call;
    }),
    ("a read shows what was sent only later", Kind::FutureRead, |h| {
        outcome(h, 3, read(&[1, 2, 3, 4], 4, false));
    }),
    ("a part of a read shows what was sent only later", Kind::FutureRead, |h| {
        let hash = [1, 2, 3, 4].into_iter().fold(0, chain);
        let content = Content { next: at(4), up_to_date: false, closed: false, count: 4, hash };
        outcome(h, 3, Outcome::Read(content));
    }),
    ("a read shows what a crash took back", Kind::BeyondCommitted, |h| {
        insert(h, 18, Action::Read { from: at(9) }, read(&[100], 10, false));
    }),
    ("a read carries another message", Kind::WrongContent, |h| outcome(h, 3, read(&[1, 2, 4], 3, false))),
    ("a read skips a message", Kind::WrongContent, |h| outcome(h, 3, read(&[1, 3], 3, false))),
    ("a read repeats a message", Kind::WrongContent, |h| outcome(h, 15, read(&[4, 5, 6, 7, 8], 8, false))),
    ("the closure is lost", Kind::LostClose, |h| h.end.closed = false),
    ("the closure came from nowhere", Kind::PhantomClose, |h| {
        let Action::Append(append) = &mut h.events[16].action else { return };
        append.close = false;
        outcome(h, 16, done(9));
    }),
    ("something was appended behind the closure", Kind::AppendedAfterClose, |h| {
        h.end.messages.push(message(100));
    }),
    ("an append that closes leaves the stream open", Kind::TornClose, |h| outcome(h, 16, done(9))),
    ("a producer's number was left out", Kind::ProducerOrder, |h| h.end.messages.insert(6, message(102))),
    ("a producer's next number was refused", Kind::ProducerRefused, |h| {
        h.end.messages.remove(5);
        outcome(h, 9, Outcome::Refused(Refusal::Gap(Some(0))));
    }),
    ("a producer was told to begin an epoch that it was in", Kind::ProducerRefused, |h| {
        outcome(h, 10, Outcome::Refused(Refusal::EpochStart));
    }),
    ("a producer that began a new epoch was told to begin it", Kind::ProducerRefused, |h| {
        let stamp = Some(Stamp { producer: 1, epoch: 1, seq: 0 });
        let append = Append { stamp, ..append(&[105]) };
        insert(h, 14, Action::Append(append), Outcome::Refused(Refusal::EpochStart));
    }),
    ("Stream-Seq does not rise", Kind::SeqOrder, |h| h.end.messages.insert(7, message(103))),
    ("a good Stream-Seq was refused", Kind::SeqRefused, |h| {
        let Action::Append(append) = &mut h.events[12].action else { return };
        append.seq = Some(9);
    }),
    ("a condition was ignored", Kind::ConditionIgnored, |h| {
        let Action::Append(append) = &mut h.events[13].action else { return };
        append.if_match = Some(at(6));
    }),
    ("a condition that held was refused", Kind::ConditionRefused, |h| {
        let Action::Append(append) = &mut h.events[6].action else { return };
        append.if_match = Some(at(4));
    }),
    ("two were told that they created it", Kind::CreatedTwice, |h| {
        insert(h, 0, create(), Outcome::Created { new: true, seen: seen(0, false) });
    }),
    ("a new stream lost its content", Kind::LostAcknowledged, |h| {
        h.events[0].action = Action::Create(append(&[50]));
        outcome(h, 0, Outcome::Created { new: true, seen: seen(1, false) });
    }),
    ("a new stream was seen before its content", Kind::TornAppend, |h| {
        h.events[0].action = Action::Create(append(&[1]));
        outcome(h, 0, Outcome::Created { new: true, seen: seen(1, false) });
        h.events.remove(1);
        insert(h, 0, Action::Head, Outcome::Headed(seen(0, false)));
    }),
    ("the content of a second creation is there", Kind::RefusedButPresent, |h| {
        insert(h, 1, Action::Create(append(&[60])), Outcome::Created { new: false, seen: seen(1, false) });
        h.end.messages.insert(1, message(60));
    }),
    ("it was missing for a moment", Kind::Vanished, |h| {
        insert(h, 3, Action::Head, Outcome::Refused(Refusal::NotFound));
    }),
    ("it was there after its deletion", Kind::Resurrected, |h| {
        insert(h, 20, Action::Head, Outcome::Headed(seen(9, true)));
    }),
    ("it came back in the end", Kind::Resurrected, |h| h.end.present = true),
    ("a part of it was read after its deletion", Kind::Resurrected, |h| {
        let content = Content { next: at(1), up_to_date: false, closed: false, count: 1, hash: chain(0, 1) };
        insert(h, 20, Action::Read { from: at(0) }, Outcome::Read(content));
    }),
];

#[test]
fn a_correct_history_passes() {
    assert_eq!(check(&correct(), Dialect::MessagesAndBytes), []);
    assert_eq!(check(&correct(), Dialect::Bytes), []);
}

#[test]
fn a_new_epoch_that_does_not_begin_with_its_first_number_may_be_refused() {
    let mut history = correct();
    let stamp = Some(Stamp { producer: 1, epoch: 1, seq: 3 });
    let append = Append { stamp, ..append(&[105]) };
    insert(&mut history, 14, Action::Append(append), Outcome::Refused(Refusal::EpochStart));
    assert_eq!(check(&history, Dialect::MessagesAndBytes), []);
}

#[test]
fn every_planted_bug_is_found_and_called_by_its_name() {
    let mut missed = Vec::new();
    for (name, kind, bend) in BENDS {
        let mut history = correct();
        bend(&mut history);
        let found = check(&history, Dialect::MessagesAndBytes);
        if !found.iter().any(|violation| violation.kind == *kind) {
            missed.push(format!("{name}: {kind:?} expected, found {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
