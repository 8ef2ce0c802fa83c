//! PUT: what confirms, what conflicts, what a creation contains.

use bytes::Bytes;

use super::world::{LIMITS, World, kind, offset, plain, post, put, put_as};
use crate::codec::json;
use crate::core::{BodyError, CoreLimits, Create, CreateError, DeleteError, Deleted, Reply};
use crate::types::{Lifetime, Retention, UnixMillis};

fn with(change: impl FnOnce(&mut Create)) -> Create {
    let mut create = put("s");
    change(&mut create);
    create
}

/// The field that conflicts, and how the request differs in it.
type Change = (&'static str, fn(&mut Create));

#[test]
fn the_same_configuration_confirms_and_any_other_conflicts() {
    let base = || {
        with(|create| {
            create.config.lifetime = Lifetime::Sliding(60);
            create.config.retention.messages = Some(5);
        })
    };
    let cases: [Change; 7] = [
        ("content type", |create| create.config.content_type = kind("text/html")),
        ("lifetime", |create| create.config.lifetime = Lifetime::Forever),
        ("lifetime", |create| create.config.lifetime = Lifetime::Sliding(61)),
        ("lifetime", |create| create.config.lifetime = Lifetime::Until(UnixMillis(2_000_000))),
        ("retention", |create| create.config.retention = Retention::default()),
        ("closure state", |create| create.closed = true),
        ("fork source", |create| create.config.fork = super::world::fork_of("s", "other").config.fork),
    ];
    let mut world = World::open();
    assert!(world.put(base()).unwrap().new);
    for (field, change) in cases {
        let mut create = base();
        change(&mut create);
        assert_eq!(world.put(create), Err(CreateError::Conflict(field)));
    }
    let mut same = base();
    same.config.content_type = kind("TEXT/Plain; charset=utf-8");
    assert!(!world.put(same).unwrap().new);
    assert_eq!(world.log.len(), 1);
}

#[test]
fn a_put_without_a_type_means_the_default_type() {
    let mut world = World::open();
    let untyped = || Create { content_type_given: false, ..put_as("s", "application/octet-stream") };
    assert!(world.put(untyped()).unwrap().new);
    assert!(!world.put(untyped()).unwrap().new);
    assert_eq!(world.put(put("s")), Err(CreateError::Conflict("content type")));
}

#[test]
fn initial_content_is_part_of_the_creation() {
    let mut world = World::open();
    let created = world.put(with(|create| create.body = Ok(plain("hello")))).unwrap();
    assert_eq!((created.new, created.meta.tail), (true, offset(1, 5)));
    assert_eq!(world.log.len(), 1, "one record");
    assert_eq!(
        world.put(with(|create| create.body = Ok(plain("other")))).map(|created| created.new),
        Ok(false)
    );
    assert_eq!(world.text("s"), "hello", "a confirmation appends nothing");
}

#[test]
fn an_empty_json_array_creates_an_empty_stream_and_invalid_json_creates_none() {
    let mut world = World::open();
    let create = |body: &'static str| Create {
        body: json::split(&Bytes::from_static(body.as_bytes())).map(Some),
        ..put_as("j", "application/json")
    };
    let error = world.put(create("{")).unwrap_err();
    assert!(matches!(error, CreateError::Body(BodyError::InvalidJson(_))));
    assert!(world.truth.rows.is_empty());
    assert_eq!(world.put(create("[]")).unwrap().meta.tail, offset(0, 0));
    assert!(!world.put(create("{")).unwrap().new, "an error in the body counts only for a creation");
    assert_eq!(world.put(create("[1,[2]]")).map(|created| created.new), Ok(false));
}

#[test]
fn a_recreated_stream_shows_nothing_of_the_old_one() {
    let mut world = World::open();
    world.put(with(|create| create.body = Ok(plain("old")))).unwrap();
    let old = world.id("s");
    assert_eq!(world.delete("s"), Reply::Delete(Ok(Deleted { parent: None })));
    assert_eq!(world.delete("s"), Reply::Delete(Err(DeleteError::NotFound)));
    let created = world.put(put_as("s", "application/json")).unwrap();
    assert!(created.new && created.meta.tail == offset(0, 0) && created.meta.id > old);
    world.delete("s");
    // What the new stream got at its creation is its own at once, although the tables still hold the old one.
    world.put(with(|create| create.body = Ok(plain("new")))).unwrap();
    assert_eq!(world.post(post("s", "er")).unwrap().tail, offset(2, 5));
    world.delete("s");
    world.restart();
    assert!(world.put(put("s")).unwrap().meta.id > created.meta.id, "ids are not used again after a restart");
}

#[test]
fn a_creation_larger_than_a_stream_may_be_is_refused() {
    let mut world = World::new(CoreLimits { stream_bytes_max: Some(4), ..LIMITS });
    let refused = world.put(with(|create| create.body = Ok(plain("12345"))));
    assert_eq!(refused, Err(CreateError::StreamFull { limit: 4 }));
    assert!(world.put(with(|create| create.body = Ok(plain("1234")))).unwrap().new);
}

#[test]
fn what_retention_let_go_makes_room() {
    let mut world = World::new(CoreLimits { stream_bytes_max: Some(4), ..LIMITS });
    world.put(put("s")).unwrap();
    world.post(post("s", "ab")).unwrap();
    world.post(post("s", "cd")).unwrap();
    assert!(world.post(post("s", "e")).is_err());
    let trim = |world: &mut World, messages, bytes| {
        let (stream, earliest) = (world.id("s"), offset(messages, bytes));
        world.run(crate::core::Command::Trim { stream, earliest }).ops.is_empty()
    };
    assert!(!trim(&mut world, 1, 2));
    assert!(world.post(post("s", "ef")).is_ok());
    for (messages, bytes) in [(0, 0), (1, 2), (1, 3), (2, 9), (3, 5), (4, 7), (9, 9)] {
        assert!(trim(&mut world, messages, bytes), "{messages} {bytes} is no step forward to a boundary");
    }
    assert!(!trim(&mut world, 3, 6), "everything may go");
}
