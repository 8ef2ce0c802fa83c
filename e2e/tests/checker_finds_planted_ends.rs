//! Promise: the checker finds what can be wrong with forks, retention and lifetimes. As in
//! `checker_finds_planted_bugs.rs`: a correct history is bent in one place, and the bend must be called by its name.

use thalweg_e2e::checker::{Dialect, Kind, check};
use thalweg_e2e::history::{
    Action, Append, Content, Event, FinalLog, History, Keep, Kept, Lifetime, Message, Outcome, Position,
    Refusal, Seen, Terms, chain,
};

/// Every message of these histories has so many bytes.
const BYTES: u64 = 10;
/// Event number `n` takes the first half of step `n`.
const STEP: u64 = 100_000_000;

fn at(messages: u64) -> Position {
    Position { messages, bytes: messages * BYTES }
}

fn seen(tail: u64) -> Seen {
    Seen { tail: at(tail), closed: false }
}

fn append(ids: &[u64]) -> Append {
    let messages = ids.iter().map(|&id| Message { id, bytes: BYTES }).collect();
    Append { messages, ..Append::default() }
}

fn done(tail: u64) -> Outcome {
    Outcome::Appended { duplicate: false, seen: seen(tail) }
}

fn from(messages: u64) -> Action {
    Action::Read { from: at(messages) }
}

fn read(ids: &[u64], next: u64) -> Outcome {
    let hash = ids.iter().fold(0, |hash, &id| chain(hash, id));
    Outcome::Read(Content { next: at(next), up_to_date: true, closed: false, count: ids.len() as u64, hash })
}

fn gone() -> Outcome {
    Outcome::Refused(Refusal::NotFound)
}

fn event(step: u64, action: Action, outcome: Outcome) -> Event {
    Event { client: 0, call: step * STEP, ret: step * STEP + STEP / 2, action, outcome }
}

fn history(
    terms: Terms,
    events: Vec<(Action, Outcome)>,
    trimmed: u64,
    log: &[u64],
    present: bool,
) -> History {
    let events = (0..).zip(events).map(|(step, (action, outcome))| event(step, action, outcome)).collect();
    let end = FinalLog { trimmed: at(trimmed), messages: append(log).messages, closed: false, present };
    History { name: "planted".into(), terms, events, end, ..History::default() }
}

fn created(content: &[u64]) -> (Action, Outcome) {
    let seen = seen(content.len() as u64);
    (Action::Create(append(content)), Outcome::Created { new: true, seen })
}

/// A fork that begins with messages 1 to 3 and is deleted; a fork of its own holds its name afterwards.
fn forked() -> History {
    let events = vec![
        created(&[1, 2, 3]),
        (Action::Append(append(&[4])), done(4)),
        (from(0), read(&[1, 2, 3, 4], 4)),
        (from(2), read(&[3, 4], 4)),
        (Action::Head, Outcome::Headed(seen(4))),
        (Action::Delete, Outcome::Deleted),
        (Action::Head, gone()),
        (Action::Create(Append::default()), Outcome::Refused(Refusal::Held)),
    ];
    history(Terms::default(), events, 0, &[1, 2, 3, 4], false)
}

/// Six messages of which at least three are kept.
fn kept() -> History {
    let mut events = vec![created(&[1])];
    events.extend((2..=4).map(|id| (Action::Append(append(&[id])), done(id))));
    events.extend([
        (from(0), read(&[1, 2, 3, 4], 4)),
        (Action::Append(append(&[5])), done(5)),
        (Action::Head, Outcome::Headed(seen(5))),
        (from(1), Outcome::Refused(Refusal::Trimmed(Some(at(2))))),
        (from(3), read(&[4, 5], 5)),
        (Action::Append(append(&[6])), done(6)),
    ]);
    let terms = Terms { keep: Keep::Messages(3), ..Terms::default() };
    let mut history = history(terms, events, 3, &[4, 5, 6], true);
    let (call, ret) = (history.events[6].call, history.events[6].ret);
    history.kept = vec![Kept { call, ret, earliest: at(2), tail: at(5) }];
    history
}

/// A batch of three whose first two messages are gone.
fn cut() -> History {
    let events = vec![created(&[]), (Action::Append(append(&[1, 2, 3])), done(3)), (from(2), read(&[3], 3))];
    history(Terms { keep: Keep::Bytes(BYTES), ..Terms::default() }, events, 2, &[3], true)
}

/// Ends at step 3.75 by itself.
fn fixed() -> History {
    let events = vec![
        created(&[]),
        (Action::Append(append(&[1])), done(1)),
        (from(0), read(&[1], 1)),
        (Action::Head, Outcome::Headed(seen(1))),
        (Action::Head, gone()),
        (from(0), gone()),
    ];
    let lifetime = Lifetime::Until(3 * STEP + STEP / 4 * 3);
    history(Terms { lifetime, ..Terms::default() }, events, 0, &[1], false)
}

/// Ends two steps after it was last touched; that was at step 2.
fn sliding() -> History {
    let mut history = fixed();
    history.terms.lifetime = Lifetime::Sliding(2 * STEP);
    history
}

type Bend = fn(&mut History);
/// What is wrong, how it must be called, the correct history, and how it is bent.
type Case = (&'static str, Kind, fn() -> History, Bend);

fn insert(history: &mut History, after: usize, action: Action, outcome: Outcome) {
    let (call, ret) = (history.events[after].ret + 1, history.events[after].ret + 2);
    history.events.push(Event { client: 1, call, ret, action, outcome });
}

const BENDS: &[Case] = &[
    ("a fork lost what it was forked with", Kind::LostAcknowledged, forked, |h| {
        h.end.messages.drain(..3);
    }),
    ("a fork lost the first message of its source", Kind::TornAppend, forked, |h| {
        h.end.messages.remove(0);
    }),
    ("the offsets of a fork begin anew", Kind::WrongTail, forked, |h| {
        h.events[0].outcome = Outcome::Created { new: true, seen: seen(0) };
    }),
    ("the offsets of a fork were counted anew by a restart", Kind::StaleRead, forked, |h| {
        h.events[4].outcome = Outcome::Headed(seen(3));
    }),
    ("a fork shows what its source got later", Kind::Phantom, forked, |h| {
        h.end.messages.insert(3, Message { id: 99, bytes: BYTES });
    }),
    ("a fork is read without its source", Kind::WrongContent, forked, |h| {
        h.events[2].outcome = read(&[4], 4)
    }),
    ("a name was held before it was given up", Kind::Vanished, forked, |h| {
        insert(h, 3, Action::Create(Append::default()), Outcome::Refused(Refusal::Held));
    }),
    ("a deleted source can be read again", Kind::Resurrected, forked, |h| {
        insert(h, 7, from(0), read(&[1, 2, 3, 4], 4));
    }),
    ("retention let too much go", Kind::KeptTooLittle, kept, |h| h.kept[0].earliest = at(3)),
    ("retention let too much go in the end", Kind::KeptTooLittle, kept, |h| {
        h.end.trimmed = at(4);
        h.end.messages.remove(0);
    }),
    ("messages went though all were to be kept", Kind::KeptTooLittle, kept, |h| h.terms.keep = Keep::All),
    ("too few bytes are kept", Kind::KeptTooLittle, cut, |h| h.terms.keep = Keep::Bytes(3 * BYTES)),
    ("the border moved back", Kind::Untrimmed, kept, |h| {
        let call = h.events[9].ret;
        h.kept.push(Kept { call, ret: call + 1, earliest: at(1), tail: at(6) });
    }),
    ("the border moved back in the end", Kind::Untrimmed, kept, |h| h.kept[0].earliest = at(4)),
    ("what was gone could be read again", Kind::Untrimmed, kept, |h| {
        insert(h, 8, from(1), read(&[2, 3, 4, 5], 5));
    }),
    ("what is there was refused as gone", Kind::TrimmedTooEarly, kept, |h| {
        insert(h, 8, from(4), Outcome::Refused(Refusal::Trimmed(Some(at(5)))));
    }),
    ("a message that was to be kept is lost", Kind::LostAcknowledged, kept, |h| {
        h.end.messages.remove(1);
    }),
    ("a batch lost its end and not its beginning", Kind::TornAppend, cut, |h| h.end.messages[0].id = 1),
    ("a stream ended before its time", Kind::Vanished, fixed, |h| h.events[3].outcome = gone()),
    ("a stream did not end in time", Kind::Resurrected, fixed, |h| {
        h.events[4].outcome = Outcome::Headed(seen(1));
    }),
    ("a stream was read after its end", Kind::Resurrected, fixed, |h| {
        insert(h, 5, from(0), read(&[1], 1));
    }),
    ("a stream never ended", Kind::Resurrected, fixed, |h| h.end.present = true),
    ("a read did not move the window", Kind::Vanished, sliding, |h| h.events[3].outcome = gone()),
    ("a stream lost its message before it ended", Kind::LostAcknowledged, sliding, |h| {
        h.end.messages.clear()
    }),
];

#[test]
fn correct_histories_of_forks_retention_and_lifetimes_pass() {
    for history in [forked(), kept(), cut(), fixed(), sliding()] {
        assert_eq!(check(&history, Dialect::MessagesAndBytes), [], "{:?}", history.terms);
    }
}

#[test]
fn every_planted_bug_of_forks_retention_and_lifetimes_is_found_and_called_by_its_name() {
    let mut missed = Vec::new();
    for (name, kind, correct, bend) in BENDS {
        let mut history = correct();
        bend(&mut history);
        let found = check(&history, Dialect::MessagesAndBytes);
        if !found.iter().any(|violation| violation.kind == *kind) {
            missed.push(format!("{name}: {kind:?} expected, found {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
