//! Idempotent producers, `Stream-Seq`, `If-Match`, and the order of the checks of a POST.

use super::world::{LIMITS, World, close, kind, offset, post, post_json, put, put_as, seq, stamp};
use crate::core::{Append, AppendError, Appended, BodyError, CoreLimits};
use crate::types::ProducerState;

fn by(append: Append, id: &str, epoch: u64, number: u64) -> Append {
    Append { producer: stamp(id, epoch, number), ..append }
}

fn state(epoch: u64, seq: u64) -> Option<ProducerState> {
    Some(ProducerState { epoch, seq })
}

#[test]
fn a_retried_write_happens_once_and_is_answered_with_the_highest_accepted_number() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    for number in 0..3 {
        let appended = world.post(by(post("s", "x"), "p", 0, number)).unwrap();
        assert_eq!((appended.data, appended.duplicate, appended.producer), (true, false, state(0, number)));
    }
    let again = world.post(by(post("s", "other"), "p", 0, 1)).unwrap();
    assert_eq!((again.data, again.duplicate, again.producer), (false, true, state(0, 2)));
    assert_eq!(world.text("s"), "x|x|x");
}

/// Mistake 18 of other servers.
#[test]
fn a_duplicate_is_answered_with_an_offset_that_covers_its_own_message() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let first = world.post(by(post("s", "mine"), "p", 0, 0)).unwrap();
    world.post(post("s", "others")).unwrap();
    let again = world.post(by(post("s", "mine"), "p", 0, 0)).unwrap();
    assert!(again.duplicate && again.tail > first.tail && again.tail == world.meta("s").tail);
}

#[test]
fn epochs_fence_and_gaps_are_refused() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let mut check = |id: &str, epoch, number, expected: Result<bool, AppendError>| {
        let result = world.post(by(post("s", "x"), id, epoch, number)).map(|appended| appended.duplicate);
        assert_eq!(result, expected, "{id} {epoch} {number}");
    };
    check("p", 0, 1, Err(AppendError::SequenceGap { expected: 0, received: 1 }));
    check("p", 5, 0, Ok(false));
    check("p", 5, 2, Err(AppendError::SequenceGap { expected: 1, received: 2 }));
    check("p", 4, 0, Err(AppendError::Fenced { current: 5 }));
    check("p", 6, 1, Err(AppendError::EpochStart));
    check("q", 0, 0, Ok(false));
    check("p", 6, 0, Ok(false));
    check("p", 5, 1, Err(AppendError::Fenced { current: 6 }));
    check("p", 6, 0, Ok(true));
    check("p", 6, 1, Ok(false));
}

/// Mistake 17 of other servers.
#[test]
fn producer_and_sequence_state_survive_a_crash_together_with_the_data() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let first = Append { seq: seq("b"), ..by(post("s", "x"), "p", 1, 0) };
    world.post(first.clone()).unwrap();
    world.restart();
    assert!(world.post(first).unwrap().duplicate);
    assert_eq!(world.post(Append { seq: seq("b"), ..post("s", "y") }), Err(AppendError::StreamSeq));
    assert_eq!(
        world.post(by(post("s", "y"), "p", 0, 0)),
        Err(AppendError::Fenced { current: 1 }),
        "the epoch is remembered"
    );
    world.post(Append { seq: seq("c"), ..by(post("s", "y"), "p", 1, 1) }).unwrap();
    assert_eq!(world.text("s"), "x|y");
}

#[test]
fn the_number_stands_in_the_record_of_its_data() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(Append { seq: seq("a"), close: true, ..by(post("s", "x"), "p", 0, 0) }).unwrap();
    assert_eq!(world.log.last().map(Vec::len), Some(1), "one op carries data, closure, number and sequence");
}

#[test]
fn stream_sequences_grow_bytewise() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    for (text, accepted) in [
        ("09", true),
        ("10", true),
        ("10", false),
        ("2", true),
        ("10", false),
        ("B", true),
        ("a", true),
        ("b", true),
        ("a", false),
    ] {
        let result = world.post(Append { seq: seq(text), ..post("s", "x") });
        assert_eq!(result.is_ok(), accepted, "{text}: {result:?}");
    }
    world.post(post("s", "without")).unwrap();
    assert_eq!(world.post(Append { seq: seq("b"), ..post("s", "x") }), Err(AppendError::StreamSeq));
}

#[test]
fn a_write_that_expects_another_tail_is_refused_with_the_tail() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(Append { if_match: Some(offset(0, 0)), ..post("s", "one") }).unwrap();
    let late = Append { if_match: Some(offset(0, 0)), ..post("s", "two") };
    assert_eq!(world.post(late), Err(AppendError::TailMoved { tail: offset(1, 3) }));
    assert_eq!(world.text("s"), "one");
}

/// Every request is wrong in two neighbouring ways; the earlier check must answer.
#[test]
fn the_checks_of_a_write_stand_in_the_order_of_the_protocol() {
    let limits = CoreLimits { stream_bytes_max: Some(8), ..LIMITS };
    let mut world = World::new(limits);
    let bad = || Err(BodyError::InvalidJson("x".into()));
    let none = Append { body: bad(), ..post_json("absent", "1") };
    assert_eq!(world.post(none), Err(AppendError::NotFound), "existence before the body");
    world.put(put("s")).unwrap();
    world.post(by(post("s", "abc"), "p", 1, 0)).unwrap();
    let stale = |append| by(append, "p", 0, 0);
    assert_eq!(world.post(stale(close("s", false))), Err(AppendError::EmptyBody), "body before fence");
    let untyped = Append { content_type: None, ..stale(post("s", "x")) };
    assert_eq!(world.post(untyped), Err(AppendError::MissingContentType));
    let invalid = Append { body: bad(), ..stale(post("s", "x")) };
    assert!(matches!(world.post(invalid), Err(AppendError::Body(_))));
    let empty = stale(post_json("s", "[]"));
    assert_eq!(world.post(empty), Err(AppendError::Body(BodyError::EmptyArray)));
    let duplicate =
        Append { seq: seq(""), if_match: Some(offset(9, 9)), ..by(post_json("s", "1"), "p", 1, 0) };
    assert!(world.post(duplicate).unwrap().duplicate, "a duplicate before all that a new write must fulfil");
    let expected = kind("text/plain");
    assert_eq!(
        world.post(by(post_json("s", "1"), "p", 1, 9)),
        Err(AppendError::ContentType { expected }),
        "type before gap"
    );
    world.post(Append { seq: seq("m"), ..post("s", "d") }).unwrap();
    let gap = Append { seq: seq("a"), ..by(post("s", "x"), "p", 1, 9) };
    assert_eq!(world.post(gap), Err(AppendError::SequenceGap { expected: 1, received: 9 }));
    let sequence = Append { seq: seq("a"), if_match: Some(offset(0, 0)), ..post("s", "x") };
    assert_eq!(world.post(sequence), Err(AppendError::StreamSeq), "sequence before the tail");
    let moved = Append { if_match: Some(offset(0, 0)), ..post("s", "much too long") };
    assert_eq!(world.post(moved), Err(AppendError::TailMoved { tail: offset(2, 4) }), "tail before room");
    assert_eq!(world.post(post("s", "12345")), Err(AppendError::StreamFull { limit: 8 }));
    world.post(Append { close: true, ..post("s", "1234") }).unwrap();
    assert_eq!(
        world.post(by(post_json("s", "1"), "p", 0, 0)),
        Err(AppendError::Fenced { current: 1 }),
        "fence before closure"
    );
    assert_eq!(
        world.post(by(post_json("s", "1"), "p", 1, 9)),
        Err(AppendError::Closed { tail: offset(3, 8) }),
        "closure before type and gap"
    );
}

#[test]
fn a_stream_remembers_no_more_producers_than_it_may() {
    let mut world = World::new(CoreLimits { producers_per_stream_max: 2, ..LIMITS });
    world.put(put("s")).unwrap();
    for (id, number) in [("p", 0), ("p", 1), ("p", 2), ("q", 0)] {
        world.post(by(post("s", "x"), id, 0, number)).unwrap();
    }
    let third = by(post("s", "x"), "r", 0, 0);
    assert_eq!(world.post(third.clone()), Err(AppendError::TooManyProducers { limit: 2 }));
    world.post(by(post("s", "x"), "q", 0, 1)).unwrap();
    world.restart();
    assert_eq!(world.post(third), Err(AppendError::TooManyProducers { limit: 2 }));
}

#[test]
fn a_write_names_the_type_of_its_stream_in_any_case_and_with_any_parameter() {
    let mut world = World::open();
    world.put(put_as("j", "application/json")).unwrap();
    for text in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        let append = Append { content_type: Some(kind(text)), ..post_json("j", "{\"b\":1,\"a\":1.0}") };
        assert!(world.post(append).is_ok(), "{text}");
    }
    let expected = kind("application/json");
    assert_eq!(world.post(post("j", "1")), Err(AppendError::ContentType { expected }));
    assert!(world.text("j").starts_with("{\"b\":1,\"a\":1.0}|"), "bytes are kept");
}

#[test]
fn the_elements_of_one_body_are_one_append() {
    let mut world = World::open();
    world.put(put_as("j", "application/json")).unwrap();
    let appended = world.post(by(post_json("j", "[1, [2, 3], {}]"), "p", 0, 0)).unwrap();
    let expected = Appended {
        stream: appended.stream,
        tail: offset(3, 9),
        closed: false,
        producer: state(0, 0),
        duplicate: false,
        data: true,
    };
    assert_eq!(appended, expected);
    assert_eq!(world.text("j"), "1|[2, 3]|{}");
}
