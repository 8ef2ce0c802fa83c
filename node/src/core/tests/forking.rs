//! Forks: shared offsets, own data, inherited configuration, and the references that keep a source's data.

use super::world::{
    LIMITS, World, close, fork_of, kind, name, offset, plain, post, post_json, put, put_as, stamp,
};
use crate::core::{
    Append, AppendError, Command, CoreLimits, Create, CreateError, DeleteError, Fork, Pin, PinError, Reply,
};
use crate::types::limits::FORK_DEPTH_MAX;
use crate::types::{Lifetime, Offset, PinId, Retention, ShardId, UnixMillis};

fn at(mut create: Create, offset: Offset, sub_offset: u64) -> Create {
    create.fork_offset_given = true;
    let origin = create.config.fork.as_mut().unwrap();
    (origin.offset, origin.sub_offset) = (offset, sub_offset);
    create
}

fn source(messages: &[&str]) -> World {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    for message in messages {
        world.post(post("s", message)).unwrap();
    }
    world
}

#[test]
fn a_fork_shows_its_source_up_to_the_point_and_then_its_own() {
    let mut world = source(&["A", "BB", "C"]);
    for (text, point, content) in [
        ("f0", offset(0, 0), ""),
        ("f1", offset(1, 1), "A"),
        ("f2", offset(2, 3), "A|BB"),
        ("f3", offset(3, 4), "A|BB|C"),
    ] {
        let created = world.fork(at(fork_of(text, "s"), point, 0)).unwrap();
        assert_eq!((created.meta.base, created.meta.tail), (point, point), "offsets are shared");
        assert_eq!(world.text(text), content);
    }
    world.post(post("s", "later")).unwrap();
    let appended = world.post(post("f1", "own")).unwrap();
    assert_eq!(appended.tail, offset(2, 4));
    assert_eq!((world.text("f1"), world.text("f3")), ("A|own".into(), "A|BB|C".into()));
}

#[test]
fn a_fork_at_no_named_point_begins_at_the_tail_and_open() {
    let mut world = source(&["A"]);
    world.post(Append { producer: stamp("p", 0, 0), close: true, ..post("s", "B") }).unwrap();
    let created = world.fork(fork_of("f", "s")).unwrap();
    assert_eq!((created.meta.closed, created.meta.base), (false, offset(2, 2)));
    let fresh = world.post(Append { producer: stamp("p", 0, 0), ..post("f", "C") }).unwrap();
    assert!(!fresh.duplicate, "a fork inherits no producer");
    assert!(world.fork(Create { closed: true, ..fork_of("g", "s") }).unwrap().meta.closed);
    let named = world.fork(at(fork_of("f", "s"), Offset::ZERO, 0));
    assert_eq!(named, Err(CreateError::Conflict("fork offset")));
    assert!(!world.fork(at(fork_of("f", "s"), offset(2, 2), 0)).unwrap().new, "the tail it began at");
}

#[test]
fn a_sub_offset_copies_bytes_of_the_next_message_and_the_body_follows() {
    for (count, body, content) in
        [(3, None, Some("hel")), (5, None, Some("hello")), (3, Some("XY"), Some("hel|XY")), (6, None, None)]
    {
        let mut world = source(&["first", "hello", "end"]);
        let create = Create { body: Ok(body.and_then(plain)), ..at(fork_of("f", "s"), offset(1, 5), count) };
        match (world.fork(create), content) {
            (Ok(created), Some(content)) => {
                assert_eq!(world.text("f"), format!("first|{content}"));
                assert_eq!(created.meta.tail, world.meta("f").tail);
            }
            (result, content) => {
                assert_eq!(result, Err(CreateError::SubOffset));
                assert_eq!(content, None);
                assert_eq!(world.meta("s").pins, 0);
            }
        }
    }
}

#[test]
fn a_json_sub_offset_counts_messages() {
    let mut world = World::open();
    world.put(put_as("j", "application/json")).unwrap();
    world.post(post_json("j", "[{\"a\":1},{\"b\":2},3]")).unwrap();
    for (text, count, content) in [("f1", 1, "{\"a\":1}"), ("f3", 3, "{\"a\":1}|{\"b\":2}|3")] {
        let created = world.fork(at(fork_of(text, "j"), Offset::ZERO, count)).unwrap();
        assert_eq!(created.meta.config.content_type, kind("application/json"));
        assert_eq!(world.text(text), content);
    }
    let beyond = world.fork(at(fork_of("f4", "j"), Offset::ZERO, 4));
    assert_eq!(beyond, Err(CreateError::SubOffset));
    assert!(world.fork(at(fork_of("f1", "j"), Offset::ZERO, 1)).is_ok_and(|created| !created.new));
    let conflict = world.fork(at(fork_of("f1", "j"), Offset::ZERO, 2));
    assert_eq!(conflict, Err(CreateError::Conflict("fork sub-offset")));
}

#[test]
fn sub_offsets_compose_over_a_chain() {
    let mut world = source(&["abcdef"]);
    world.fork(at(fork_of("f", "s"), Offset::ZERO, 4)).unwrap();
    world.fork(at(fork_of("g", "f"), Offset::ZERO, 2)).unwrap();
    world.post(post("g", "Z")).unwrap();
    assert_eq!((world.text("f"), world.text("g")), ("abcd".into(), "ab|Z".into()));
}

#[test]
fn a_repeated_fork_request_confirms_whatever_it_left_open() {
    let mut world = World::open();
    let mut first = put_as("s", "application/json");
    first.config.lifetime = Lifetime::Sliding(60);
    first.config.retention.messages = Some(9);
    world.put(first).unwrap();
    let created = world.fork(fork_of("f", "s")).unwrap();
    assert_eq!(created.meta.config.lifetime, Lifetime::Sliding(60));
    assert_eq!(created.meta.config.retention, Retention { messages: Some(9), ..Retention::default() });
    world.post(post_json("s", "1")).unwrap();
    for same in [fork_of("f", "s"), at(fork_of("f", "s"), Offset::ZERO, 0)] {
        assert!(!world.fork(same).unwrap().new);
    }
    let typed = Create { content_type_given: true, ..fork_of("f", "s") };
    let mut longer = fork_of("f", "s");
    longer.config.lifetime = Lifetime::Sliding(61);
    let mut kept = fork_of("f", "s");
    kept.config.retention.bytes = Some(1);
    for (other, field) in [
        (typed, "content type"),
        (longer, "lifetime"),
        (kept, "retention"),
        (fork_of("f", "t"), "fork source"),
        (at(fork_of("f", "s"), offset(1, 1), 0), "fork offset"),
        (at(fork_of("f", "s"), Offset::ZERO, 1), "fork sub-offset"),
        (Create { closed: true, ..fork_of("f", "s") }, "closure state"),
    ] {
        assert_eq!(world.fork(other), Err(CreateError::Conflict(field)));
    }
    assert_eq!(world.meta("s").pins, 1, "no request but the first left a pin");
    let mut plain = put_as("f", "application/json");
    plain.config = created.meta.config.clone();
    plain.config.fork = None;
    assert_eq!(world.put(plain), Err(CreateError::Conflict("fork source")), "a fork is no plain stream");
}

#[test]
fn a_fork_may_live_longer_or_shorter_than_its_source() {
    let mut world = World::open();
    let mut first = put("s");
    first.config.lifetime = Lifetime::Until(UnixMillis(5_000_000));
    world.put(first).unwrap();
    assert_eq!(
        world.fork(fork_of("f", "s")).unwrap().meta.config.lifetime,
        Lifetime::Until(UnixMillis(5_000_000))
    );
    let mut own = fork_of("g", "s");
    own.config.lifetime = Lifetime::Sliding(1_000_000);
    assert_eq!(world.fork(own).unwrap().meta.config.lifetime, Lifetime::Sliding(1_000_000));
}

#[test]
fn a_fork_that_inherits_json_has_its_body_cut() {
    let mut world = World::open();
    world.put(put_as("j", "application/json")).unwrap();
    let body = |text| Create { body: Ok(plain(text)), ..fork_of("f", "j") };
    assert!(matches!(world.fork(body("{")), Err(CreateError::Body(_))));
    assert_eq!(world.meta("j").pins, 0, "the refused fork left no reference");
    world.fork(body("[1, 2]")).unwrap();
    assert_eq!(world.text("f"), "1|2");
}

#[test]
fn a_refused_fork_leaves_no_reference() {
    let mut world = World::new(CoreLimits { stream_bytes_max: Some(3), ..LIMITS });
    world.put(put("s")).unwrap();
    world.post(post("s", "abc")).unwrap();
    world.put(put_as("taken", "text/html")).unwrap();
    let typed = Create { content_type_given: true, ..fork_of("f", "s") };
    assert_eq!(world.fork(typed), Err(CreateError::ForkType { expected: kind("text/plain") }));
    let large = Create { body: Ok(plain("1234")), ..fork_of("f", "s") };
    assert_eq!(world.fork(large), Err(CreateError::StreamFull { limit: 3 }));
    assert_eq!(world.fork(fork_of("taken", "s")), Err(CreateError::Conflict("fork source")));
    for (point, error) in [
        (offset(0x9999, 0x9999), PinError::BeyondTail),
        (offset(1, 2), PinError::Misaligned),
        (offset(0, 1), PinError::Misaligned),
        (offset(1, 99), PinError::Misaligned),
    ] {
        assert_eq!(world.fork(at(fork_of("f", "s"), point, 0)), Err(CreateError::Source(error)));
    }
    assert_eq!(world.fork(fork_of("f", "absent")), Err(CreateError::Source(PinError::NotFound)));
    assert_eq!(world.meta("s").pins, 0);
    world.delete("s");
    assert!(world.put(put("s")).unwrap().new, "nothing held it");
}

/// Mistake 2 of other servers: the fork's name decides, whoever comes second is told so and lets go of the source.
#[test]
fn a_fork_and_a_plain_put_of_one_name_are_never_both_new() {
    let mut world = source(&["A"]);
    let pin = world.fresh_pin();
    let pinned = world.pin(Pin { source: name("s"), fork: name("f"), offset: None, pin }).unwrap();
    assert!(world.put(put("f")).unwrap().new, "the plain PUT came between");
    let grant = Fork::granted(ShardId(3), pin, &pinned, None);
    let late =
        world.run(Command::Create(Box::new(Create { fork: Some(grant.clone()), ..fork_of("f", "s") })));
    assert_eq!(late.reply, Reply::Create(Err(CreateError::Conflict("fork source"))));
    assert_eq!(late.released, Some(grant.parent));
    world.release(late.released);
    assert_eq!(world.meta("s").pins, 0);
}

#[test]
fn a_deleted_source_stays_for_its_forks_and_goes_with_the_last_one() {
    let mut world = source(&["A"]);
    world.fork(fork_of("f", "s")).unwrap();
    world.post(post("f", "B")).unwrap();
    world.fork(fork_of("g", "f")).unwrap();
    world.delete("s");
    world.delete("f");
    for text in ["s", "f"] {
        assert_eq!(world.post(post(text, "x")), Err(AppendError::Gone));
        assert_eq!(world.post(close(text, true)), Err(AppendError::Gone));
        assert_eq!(world.delete(text), Reply::Delete(Err(DeleteError::Gone)));
        assert_eq!(world.put(put(text)), Err(CreateError::Retired));
        assert_eq!(world.fork(fork_of("h", text)), Err(CreateError::Source(PinError::Retired)));
    }
    assert_eq!(world.text("g"), "A|B");
    world.delete("g");
    assert!(world.truth.rows.is_empty(), "the chain is gone up to the root");
}

#[test]
fn a_living_source_survives_its_forks() {
    let mut world = source(&["A"]);
    world.fork(fork_of("f", "s")).unwrap();
    world.delete("f");
    assert_eq!((world.text("s"), world.meta("s").pins), ("A".into(), 0));
}

#[test]
fn a_pin_counts_once_however_often_it_is_given_or_taken_back() {
    let mut world = source(&["A"]);
    world.fork(fork_of("f", "s")).unwrap();
    let pin = Pin { source: name("s"), fork: name("g"), offset: None, pin: PinId(77) };
    world.pin(pin.clone()).unwrap();
    assert_eq!(world.pin(pin).unwrap().meta.pins, 2);
    world.delete("s");
    let stream = world.id("s");
    for pin in [PinId(77), PinId(77), PinId(78)] {
        world.run(Command::Unpin { stream, pin });
        world.apply(usize::MAX);
    }
    assert_eq!(world.meta("s").pins, 1, "the other fork still holds it");
    assert_eq!(world.text("f"), "A");
    world.delete("f");
    let gone = world.run(Command::Unpin { stream, pin: PinId(77) });
    assert_eq!((gone.ops.is_empty(), gone.reply), (true, Reply::Released(None)));
}

#[test]
fn forks_nest_no_deeper_than_the_bound() {
    let mut world = source(&["A"]);
    let mut parent = "s".to_owned();
    for depth in 1..=FORK_DEPTH_MAX {
        let child = format!("f{depth}");
        assert_eq!(world.fork(fork_of(&child, &parent)).unwrap().meta.parent.unwrap().depth, depth);
        parent = child;
    }
    assert_eq!(world.fork(fork_of("deep", &parent)), Err(CreateError::Source(PinError::TooDeep)));
}

/// Mistake 19 of other servers.
#[test]
fn the_offsets_of_a_fork_are_the_same_after_a_restart() {
    let mut world = source(&["A", "B"]);
    world.fork(at(fork_of("f", "s"), offset(1, 1), 0)).unwrap();
    let before = world.post(post("f", "own")).unwrap();
    world.restart();
    let after = world.post(Append { if_match: Some(before.tail), ..post("f", "x") }).unwrap();
    assert_eq!((before.tail, after.tail), (offset(2, 4), offset(3, 5)));
}

#[test]
fn what_retention_hides_from_the_source_is_not_forked_but_what_was_forked_stays() {
    let mut world = source(&["A", "B", "C"]);
    world.fork(fork_of("old", "s")).unwrap();
    let stream = world.id("s");
    world.run(Command::Trim { stream, earliest: offset(2, 2) });
    let refused = world.fork(at(fork_of("f", "s"), offset(1, 1), 0));
    assert_eq!(refused, Err(CreateError::Source(PinError::BeforeEarliest)));
    let created = world.fork(fork_of("f", "s")).unwrap();
    assert_eq!((created.meta.earliest, created.meta.base), (offset(2, 2), offset(3, 3)));
    assert_eq!(world.meta("old").earliest, Offset::ZERO);
    let stream = world.id("old");
    let trimmed = world.run(Command::Trim { stream, earliest: offset(1, 1) });
    assert!(!trimmed.ops.is_empty(), "a fork may let go of what it inherited");
    let stream = world.id("f");
    let aside = world.run(Command::Trim { stream, earliest: offset(3, 2) });
    assert!(aside.ops.is_empty(), "but not beside its own base");
}
