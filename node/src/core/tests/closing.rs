//! Closing: durable, one-way, in one step with the last data, and repeatable by whoever did it.

use super::world::{World, close, offset, plain, post, post_json, put, put_as, stamp};
use crate::core::{Append, AppendError, Create, CreateError};
use crate::types::{Op, ProducerState};

fn by(append: Append, id: &str, epoch: u64, number: u64) -> Append {
    Append { producer: stamp(id, epoch, number), ..append }
}

fn last(append: Append) -> Append {
    Append { close: true, ..append }
}

#[test]
fn closing_a_closed_stream_again_is_done_already() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(post("s", "abc")).unwrap();
    for round in 0..3 {
        let closed = world.post(close("s", true)).unwrap();
        assert_eq!((closed.closed, closed.data, closed.tail), (true, false, offset(1, 3)));
        assert_eq!(world.log.len(), 3, "round {round}: only the first one is a record");
    }
}

#[test]
fn nothing_is_appended_to_a_closed_stream() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(last(post("s", "end"))).unwrap();
    let refused = Err(AppendError::Closed { tail: offset(1, 3) });
    assert_eq!(world.post(post("s", "x")), refused);
    assert_eq!(world.post(last(post("s", "x"))), refused);
    assert_eq!(world.post(by(close("s", true), "p", 0, 0)), refused);
    assert_eq!(world.post(last(post_json("s", "1"))), refused);
    assert_eq!(world.text("s"), "end");
}

/// Mistake 8 of other servers.
#[test]
fn data_and_closure_are_one_op() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let decision = world.run(crate::core::Command::Append(last(post("s", "end"))));
    assert!(
        matches!(decision.ops.as_slice(), [Op::Append(append)] if append.close && append.messages.count() == 1)
    );
    let mut create = put("t");
    (create.closed, create.body) = (true, Ok(plain("all")));
    let decision = world.run(crate::core::Command::Create(Box::new(create)));
    assert!(matches!(decision.ops.as_slice(), [Op::Create(_), Op::Append(append)] if append.close));
}

#[test]
fn the_retry_of_the_closing_request_is_a_duplicate_even_with_another_body() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let appended = world.post(by(last(post("s", "body-A")), "p", 0, 0)).unwrap();
    assert_eq!((appended.data, appended.closed), (true, true));
    let again = world.post(by(last(post("s", "body-B")), "p", 0, 0)).unwrap();
    assert_eq!((again.duplicate, again.closed, again.tail), (true, true, appended.tail));
    assert_eq!(again.producer, Some(ProducerState { epoch: 0, seq: 0 }));
    let closed = Err(AppendError::Closed { tail: appended.tail });
    assert_eq!(world.post(by(last(post("s", "x")), "q", 0, 0)), closed, "another producer");
    assert_eq!(world.post(by(last(post("s", "x")), "p", 0, 1)), closed, "another number");
    assert_eq!(world.text("s"), "body-A");
    assert_eq!(world.meta("s").closed_by, stamp("p", 0, 0));
}

#[test]
fn a_producer_that_only_closes_takes_part_in_the_sequence() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(by(post("s", "x"), "p", 0, 0)).unwrap();
    let gap = world.post(by(close("s", true), "p", 0, 2));
    assert_eq!(gap, Err(AppendError::SequenceGap { expected: 1, received: 2 }));
    let closed = world.post(by(close("s", true), "p", 0, 1)).unwrap();
    assert_eq!((closed.data, closed.duplicate, closed.closed), (false, false, true));
    assert_eq!(closed.producer, Some(ProducerState { epoch: 0, seq: 1 }));
    assert!(world.post(by(close("s", true), "p", 0, 1)).unwrap().duplicate);
}

#[test]
fn closing_ignores_the_content_type() {
    let mut world = World::open();
    world.put(put_as("j", "application/json")).unwrap();
    let append = Append { content_type: post("j", "").content_type, ..close("j", true) };
    assert!(world.post(append).unwrap().closed);
}

/// Mistake 4 of other servers.
#[test]
fn a_put_is_compared_with_the_closure_now_and_not_at_creation() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let closed = Create { closed: true, ..put("s") };
    assert_eq!(world.put(closed.clone()), Err(CreateError::Conflict("closure state")), "still open");
    world.post(close("s", true)).unwrap();
    assert_eq!(world.put(put("s")), Err(CreateError::Conflict("closure state")), "closed meanwhile");
    assert!(!world.put(closed).unwrap().new);
    let begun_closed = Create { closed: true, ..put("t") };
    assert!(world.put(begun_closed.clone()).unwrap().meta.closed);
    assert!(!world.put(begun_closed).unwrap().new);
}
