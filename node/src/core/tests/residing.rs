//! What stays in memory: bounded, and never older than the log.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::actions::history;
use super::histories::Pair;
use super::world::{LIMITS, World, close, fork_of, name, post, put, stamp};
use crate::core::{Append, Command, CoreLimits, Missing};
use crate::types::{LogIndex, Op, StreamId};

fn small(heads_max: usize) -> World {
    World::new(CoreLimits { heads_max, ..LIMITS })
}

#[test]
fn memory_stays_within_its_bound_once_the_tables_have_caught_up() {
    let mut world = small(100);
    for number in 0..1000 {
        world.put(put(&format!("s{number}"))).unwrap();
    }
    assert!(world.core.resident() >= 1000, "what the tables do not hold yet must stay");
    world.apply(usize::MAX);
    for _ in 0..3 {
        world.apply(usize::MAX);
    }
    assert!(world.core.resident() <= 100, "{}", world.core.resident());
    for number in 0..1000 {
        assert!(world.post(post(&format!("absent{number}"), "x")).is_err());
        assert!(world.post(close(&format!("s{number}"), false)).is_err());
        assert!(world.core.resident() <= 101);
    }
}

#[test]
fn producers_of_one_busy_stream_stay_within_the_bound_too() {
    let mut world = World::new(CoreLimits { heads_max: 100, producers_per_stream_max: 10_000, ..LIMITS });
    world.put(put("s")).unwrap();
    for number in 0..1000 {
        let producer = stamp(&format!("p{number}"), 0, 0);
        world.post(Append { producer, ..post("s", "x") }).unwrap();
        world.apply(usize::MAX);
    }
    world.apply(usize::MAX);
    assert!(world.core.resident() <= 200, "{}", world.core.resident());
    let again = world.post(Append { producer: stamp("p3", 0, 0), ..post("s", "x") }).unwrap();
    assert!(again.duplicate, "a forgotten producer is looked up, not taken for a new one");
}

#[test]
fn names_that_do_not_exist_never_drive_out_busy_streams() {
    let mut world = small(50);
    world.put(put("busy")).unwrap();
    world.apply(usize::MAX);
    for number in 0..5000 {
        world.post(post("busy", "x")).unwrap();
        world.apply(usize::MAX);
        let before = world.loads;
        assert!(world.post(post(&format!("absent{number}"), "x")).is_err());
        assert_eq!(world.loads, before + 1);
    }
    assert!(world.core.head(&name("busy")).is_some());
}

#[test]
fn a_command_comes_back_with_what_it_lacks_and_nothing_has_changed() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.post(Append { producer: stamp("p", 0, 0), ..post("s", "x") }).unwrap();
    world.fork(fork_of("f", "s")).unwrap();
    world.restart();
    let stream = world.id("s");
    let stamped = Append { producer: stamp("p", 0, 1), ..post("s", "y") };
    let lacks = |world: &World, command: &Command| world.core.missing(command);
    let append = Command::Append(stamped.clone());
    assert_eq!(lacks(&world, &append), Some(Missing::Name(name("s"))));
    world.core.install_name(name("s"), Some(world.meta("s").clone()), 1);
    let id = stamped.producer.clone().unwrap().id;
    assert_eq!(lacks(&world, &append), Some(Missing::Producer(stream, id)));
    let unpin = Command::Unpin { stream, pin: crate::types::PinId(9) };
    assert_eq!(lacks(&world, &unpin), Some(Missing::Pin(stream, crate::types::PinId(9))));
    let expire = Command::Expire { stream: StreamId(9), touched_at: None };
    assert_eq!(lacks(&world, &expire), Some(Missing::Stream(StreamId(9))));
    let before = world.core.resident();
    let back = world.core.decide(append, world.now, LogIndex(99), &|_| None).unwrap_err();
    assert!(matches!(back.command, Command::Append(append) if append == stamped));
    assert_eq!(world.core.resident(), before);
}

#[test]
fn an_answer_without_a_record_waits_for_what_it_was_decided_on() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    world.put(put("other")).unwrap();
    let stamped = Append { producer: stamp("p", 0, 0), ..post("s", "x") };
    world.run(Command::Append(stamped.clone()));
    world.post(post("other", "x")).unwrap();
    let duplicate = world.run(Command::Append(stamped));
    assert_eq!((duplicate.ops.is_empty(), duplicate.basis), (true, LogIndex(3)));
    world.delete("s");
    let absent = world.run(Command::Append(post("s", "x")));
    assert_eq!((absent.ops.is_empty(), absent.basis), (true, LogIndex(5)), "404 waits for the deletion");
    let never = world.run(Command::Append(post("never", "x")));
    assert_eq!(never.basis, LogIndex(0));
}

#[test]
fn a_record_that_was_refused_by_the_log_leaves_no_trace() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let (now, index) = (world.now, LogIndex(2));
    for command in [Command::Append(post("s", "lost")), Command::Delete(name("s"))] {
        assert!(!world.core.decide(command, now, index, &|_| None).unwrap().ops.is_empty());
    }
    world.apply(usize::MAX);
    world.core.forget();
    assert_eq!(world.core.resident(), 0);
    world.post(post("s", "kept")).unwrap();
    assert_eq!(world.text("s"), "kept");
}

/// Found by a random history: somebody asks for a number before a stream gets it.
#[test]
fn that_nobody_has_a_number_is_no_longer_believed_once_a_stream_gets_it() {
    let mut world = small(2);
    let sweep = Command::Expire { stream: StreamId(1), touched_at: None };
    assert!(world.run(sweep.clone()).ops.is_empty());
    world.put(put("s")).unwrap();
    for number in 0..20 {
        assert!(world.post(post(&format!("absent{number}"), "x")).is_err());
    }
    assert_eq!(world.core.missing(&sweep), None, "the tables do not hold the stream yet");
    assert_eq!(world.run(sweep).basis, LogIndex(1));
}

#[test]
fn replayed_ids_are_never_given_again() {
    let mut world = World::open();
    for round in 0..3 {
        world.put(put("s")).unwrap();
        world.delete("s");
        world.restart();
        assert_eq!(world.core.next_stream_id(), StreamId(round + 2));
    }
}

/// A property test proves nothing about answers that its histories never provoke.
#[test]
fn the_random_histories_reach_every_answer_and_every_op() {
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let actions = history().new_tree(&mut runner).unwrap().current();
        let mut pair = Pair::new(1000);
        for action in &actions {
            pair.step(action).unwrap();
        }
        for decision in &pair.decisions {
            reached.insert(answer(&decision.reply));
            reached.extend(decision.ops.as_slice().iter().map(kind_of));
        }
    }
    let missing: Vec<&&str> = EXPECTED.iter().filter(|kind| !reached.contains(**kind)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}; reached {reached:?}");
}

/// The variant of an answer, by the first words of its debug form.
fn answer(reply: &crate::core::Reply) -> String {
    let text = format!("{reply:?}");
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(3).collect::<Vec<_>>().join(" ")
}

fn kind_of(op: &Op) -> String {
    format!("{op:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

const EXPECTED: [&str; 37] = [
    "Create Ok Created",
    "Create Err Conflict",
    "Create Err Retired",
    "Create Err Unpinned",
    "Create Err Body",
    "Create Err StreamFull",
    "Append Ok Appended",
    "Append Err NotFound",
    "Append Err Gone",
    "Append Err EmptyBody",
    "Append Err MissingContentType",
    "Append Err Body",
    "Append Err Fenced",
    "Append Err Closed",
    "Append Err ContentType",
    "Append Err EpochStart",
    "Append Err SequenceGap",
    "Append Err StreamSeq",
    "Append Err TailMoved",
    "Append Err StreamFull",
    "Append Err TooManyProducers",
    "Delete Ok Deleted",
    "Delete Err NotFound",
    "Delete Err Gone",
    "Pin Ok Pinned",
    "Pin Err NotFound",
    "Pin Err Retired",
    "Pin Err BeforeEarliest",
    "Trimmed",
    "Create",
    "Append",
    "Delete",
    "Retire",
    "Pin",
    "Unpin",
    "Trim",
    "Touch",
];
