//! The end of a stream's time: absent in every decision from that moment, whether it was swept or not.

use super::world::{World, close, fork_of, plain, post, put, put_as, stamp};
use crate::core::{Append, AppendError, Command, Create, CreateError, DeleteError, PinError, Reply};
use crate::types::{Lifetime, Op, UnixMillis};

fn sliding(text: &str, seconds: u64) -> Create {
    let mut create = put(text);
    create.config.lifetime = Lifetime::Sliding(seconds);
    create
}

fn until(text: &str, at: i64) -> Create {
    let mut create = put(text);
    create.config.lifetime = Lifetime::Until(UnixMillis(at));
    create
}

fn expire(world: &mut World, text: &str, touched_at: Option<UnixMillis>) -> Vec<Op> {
    let stream = world.id(text);
    let decision = world.run(Command::Expire { stream, touched_at });
    world.release(decision.released);
    decision.ops.as_slice().to_vec()
}

#[test]
fn an_expired_stream_counts_as_absent_before_it_is_swept() {
    let mut world = World::open();
    let mut first = sliding("s", 2);
    first.body = Ok(plain("old"));
    world.put(first).unwrap();
    world.put(until("u", world.now.0 + 2000)).unwrap();
    world.tick(1999);
    assert!(!world.put(until("u", 1_002_000)).unwrap().new, "one millisecond left");
    world.tick(1);
    for text in ["s", "u"] {
        assert_eq!(world.post(post(text, "x")), Err(AppendError::NotFound));
        assert_eq!(world.post(close(text, true)), Err(AppendError::NotFound));
        assert_eq!(world.delete(text), Reply::Delete(Err(DeleteError::NotFound)));
        assert_eq!(world.fork(fork_of("f", text)), Err(CreateError::Source(PinError::NotFound)));
        let old = world.id(text);
        let created = world.put(put_as(text, "application/json")).unwrap();
        assert!(created.new && created.meta.id > old);
        let record = world.log.last().unwrap();
        assert!(
            matches!(&record[..], [Op::Delete { stream }, Op::Create(_)] if *stream == old),
            "one record"
        );
    }
    assert_eq!(world.text("s"), "");
}

#[test]
fn every_kind_of_write_renews_the_window_and_a_confirmation_does_not() {
    let writes: [fn() -> Append; 4] = [
        || post("s", "x"),
        || Append { producer: stamp("p", 0, 0), ..post("s", "x") },
        || Append { producer: stamp("p", 0, 0), ..close("s", true) },
        || close("s", true),
    ];
    for write in writes {
        let mut world = World::open();
        world.put(sliding("s", 2)).unwrap();
        world.tick(1500);
        assert!(!world.put(sliding("s", 2)).unwrap().new);
        world.post(write()).unwrap();
        world.tick(1500);
        assert_eq!(expire(&mut world, "s", None), []);
        world.tick(500);
        assert!(matches!(expire(&mut world, "s", None)[..], [Op::Delete { .. }]));
    }
}

#[test]
fn a_read_that_is_not_recorded_yet_keeps_the_stream_alive() {
    let mut world = World::open();
    world.put(sliding("s", 2)).unwrap();
    world.tick(1500);
    world.reads.insert(world.id("s"), world.now);
    world.tick(1500);
    assert!(!world.put(sliding("s", 2)).unwrap().new);
    assert!(world.post(post("s", "x")).is_ok());
    world.tick(2000);
    assert_eq!(world.post(post("s", "x")), Err(AppendError::NotFound));
}

#[test]
fn the_sweeper_renews_what_was_read_and_writes_nothing_for_what_did_not_move() {
    let mut world = World::open();
    world.put(sliding("s", 2)).unwrap();
    world.tick(2500);
    let read = UnixMillis(world.now.0 - 1000);
    let stream = world.id("s");
    assert_eq!(expire(&mut world, "s", Some(read)), [Op::Touch { stream, at: read }]);
    assert_eq!(expire(&mut world, "s", Some(read)), []);
    assert_eq!(expire(&mut world, "s", None), []);
    world.tick(1000);
    assert_eq!(expire(&mut world, "s", Some(read)), [Op::Delete { stream }]);
    let again = world.run(Command::Expire { stream, touched_at: None });
    assert_eq!((again.ops.is_empty(), again.reply), (true, Reply::Released(None)));
}

#[test]
fn a_fixed_end_moves_for_nothing() {
    let mut world = World::open();
    world.put(until("u", world.now.0 + 1000)).unwrap();
    world.tick(500);
    world.post(post("u", "x")).unwrap();
    world.reads.insert(world.id("u"), UnixMillis(world.now.0 + 400));
    let now = world.now;
    assert_eq!(expire(&mut world, "u", Some(now)), []);
    world.tick(500);
    assert_eq!(world.post(post("u", "x")), Err(AppendError::NotFound));
}

/// Mistake 5 of other servers.
#[test]
fn a_huge_window_never_overflows() {
    let mut world = World::open();
    world.put(sliding("s", u64::MAX)).unwrap();
    world.tick(i64::MAX - 2_000_000);
    assert!(world.post(post("s", "x")).is_ok());
}

#[test]
fn a_clock_that_went_back_never_shortens_a_window() {
    let mut world = World::open();
    world.put(sliding("s", 2)).unwrap();
    world.tick(-10_000);
    world.post(post("s", "x")).unwrap();
    world.tick(11_999);
    assert!(world.post(post("s", "x")).is_ok());
}

#[test]
fn an_expired_stream_that_forks_read_keeps_its_name_until_they_are_gone() {
    let mut world = World::open();
    world.put(sliding("s", 1)).unwrap();
    world.post(post("s", "shared")).unwrap();
    let mut fork = fork_of("f", "s");
    fork.config.lifetime = Lifetime::Sliding(1000);
    assert!(world.fork(fork).unwrap().new);
    world.tick(5000);
    assert_eq!(world.post(post("s", "x")), Err(AppendError::NotFound));
    let retired = world.run(Command::Create(Box::new(put("s"))));
    assert_eq!(retired.reply, Reply::Create(Err(CreateError::Retired)));
    assert!(matches!(retired.ops.as_slice(), [Op::Retire { .. }]));
    assert_eq!(world.post(post("s", "x")), Err(AppendError::Gone));
    assert_eq!(expire(&mut world, "s", None), [], "a retired stream waits for its forks");
    assert_eq!(world.text("f"), "shared");
    world.delete("f");
    assert!(world.put(put("s")).unwrap().new);
}

#[test]
fn the_end_of_an_expired_fork_is_told_so_that_its_source_is_let_go() {
    let mut world = World::open();
    world.put(put("s")).unwrap();
    let mut fork = fork_of("f", "s");
    fork.config.lifetime = Lifetime::Sliding(1);
    world.fork(fork.clone()).unwrap();
    world.delete("s");
    world.tick(1000);
    let decision = world.run(Command::Create(Box::new(put("f"))));
    assert!(decision.released.is_some(), "the fork made room for a plain stream");
    world.release(decision.released);
    assert!(world.put(put("s")).unwrap().new, "the source is gone for good");
    fork.name = super::world::name("g");
    world.fork(fork).unwrap();
    world.tick(1000);
    assert!(matches!(expire(&mut world, "g", None)[..], [Op::Delete { .. }]));
    assert_eq!(world.meta("s").pins, 0);
}
