//! Links at the shard of a stream: there from the stream's first moment, gone with it, acknowledged forwards only.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{World, fork_of, name, offset, post, put};
use crate::codec::subscription::{get_link, link_key};
use crate::core::{Command, Create, LinkAsk, LinkCommand, LinkError, LinkReply, Reply};
use crate::types::{Glob, Link, Op, Share, Space, SubscriptionId, SubscriptionUid};

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn share(pattern: Option<&str>, streams: &[&str], uid: u64) -> Share {
    Share {
        uid: SubscriptionUid(uid),
        pattern: pattern.map(|pattern| Glob::parse(pattern).unwrap()),
        streams: streams.iter().map(|text| name(text)).collect::<BTreeSet<_>>(),
    }
}

impl World {
    fn link(&mut self, text: &str, ask: LinkAsk) -> LinkReply {
        let command = LinkCommand { id: id(text), ask };
        match self.run(Command::Link(Box::new(command))).reply {
            Reply::Link(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn adopt(&mut self, text: &str, pattern: Option<&str>, streams: &[&str]) {
        self.link(text, LinkAsk::Adopt(share(pattern, streams, 1))).unwrap();
    }

    fn ack(&mut self, text: &str, messages: u64) -> LinkReply {
        let (uid, offset) = (SubscriptionUid(1), offset(messages, messages));
        self.link("s", LinkAsk::Ack { uid, name: name(text), offset })
    }

    fn sweep(&mut self, text: &str) {
        self.adopt(text, None, &[]);
        let linked: Vec<_> = self.truth.rows.values().map(|row| row.meta.clone()).collect();
        for meta in linked {
            self.link(text, LinkAsk::Unlink { stream: meta.id, name: meta.name }).unwrap();
        }
    }

    fn linked(&self, subscription: &str, text: &str) -> Option<Link> {
        let key = link_key(&id(subscription), self.truth.named(&name(text))?.meta.id);
        self.truth.facts.get(&(Space::Link, key)).map(|raw| get_link(raw).unwrap())
    }
}

#[test]
fn a_stream_that_begins_is_linked_in_the_same_record_before_its_first_append() {
    let mut world = World::open();
    world.adopt("s", Some("events/*"), &[]);
    world.adopt("t", None, &["events/a"]);
    world.adopt("u", Some("other/*"), &[]);
    let body = post("x", "first").body;
    world.put(Create { body, ..put("events/a") }).unwrap();
    let record = world.log.last().unwrap();
    assert!(matches!(&record[0], Op::Create(_)));
    assert!(record[1..3].iter().all(|op| matches!(op, Op::Put { space: Space::Link, .. })));
    assert!(matches!(&record[3], Op::Append(_)));
    for (subscription, linked) in [("s", true), ("t", true), ("u", false)] {
        assert_eq!(world.linked(subscription, "events/a").map(|link| link.acked), linked.then_some(None));
    }
}

#[test]
fn a_stream_that_exists_is_linked_at_its_tail_and_once() {
    let mut world = World::open();
    world.put(put("events/a")).unwrap();
    world.post(post("events/a", "x")).unwrap();
    world.adopt("s", Some("events/*"), &[]);
    let linked = world.link("s", LinkAsk::Link(name("events/a"))).unwrap().unwrap();
    assert_eq!(linked.acked, Some(offset(1, 1)));
    world.post(post("events/a", "y")).unwrap();
    let records = world.log.len();
    assert_eq!(world.link("s", LinkAsk::Link(name("events/a"))), Ok(Some(linked)));
    assert_eq!(world.log.len(), records, "a repeated link loses no work");
    assert_eq!(world.link("s", LinkAsk::Link(name("events/none"))), Err(LinkError::NotLinked));
    world.put(put("elsewhere")).unwrap();
    assert_eq!(world.link("s", LinkAsk::Link(name("elsewhere"))), Ok(None));
    assert_eq!(world.linked("s", "elsewhere"), None);
}

#[test]
fn a_link_of_an_earlier_subscription_of_the_same_id_counts_for_nothing() {
    let mut world = World::open();
    world.adopt("s", Some("*"), &[]);
    world.put(put("a")).unwrap();
    world.post(post("a", "x")).unwrap();
    world.link("s", LinkAsk::Adopt(share(Some("*"), &[], 2))).unwrap();
    assert_eq!(world.link("s", LinkAsk::Link(name("a"))).unwrap().unwrap().acked, Some(offset(1, 1)));
    assert_eq!(world.ack("a", 1), Err(LinkError::NotLinked), "its worker is of the earlier one");
}

#[test]
fn an_acknowledgement_goes_forwards_to_the_tail_at_most() {
    let mut world = World::open();
    world.adopt("s", Some("*"), &[]);
    world.put(put("a")).unwrap();
    for _ in 0..3 {
        world.post(post("a", "x")).unwrap();
    }
    let acked = |reply: LinkReply| reply.map(|link| link.unwrap().acked);
    assert_eq!(acked(world.ack("a", 2)), Ok(Some(offset(2, 2))));
    assert_eq!(world.ack("a", 4), Err(LinkError::BeyondTail));
    let crooked = LinkAsk::Ack { uid: SubscriptionUid(1), name: name("a"), offset: offset(3, 2) };
    assert_eq!(world.link("s", crooked), Err(LinkError::BeyondTail));
    assert_eq!(world.ack("a", 1), Err(LinkError::GoesBack));
    let records = world.log.len();
    assert_eq!(acked(world.ack("a", 2)), Ok(Some(offset(2, 2))));
    assert_eq!(world.log.len(), records, "a repeated acknowledgement is no record");
    world.apply(records);
    world.restart();
    assert_eq!(world.ack("a", 1), Err(LinkError::GoesBack), "it survives a restart");
    assert_eq!(acked(world.ack("a", 3)), Ok(Some(offset(3, 3))));
    assert_eq!(world.ack("b", 0), Err(LinkError::NotLinked));
}

#[test]
fn a_stream_that_ends_takes_its_links_along() {
    let mut world = World::open();
    world.adopt("s", Some("**"), &[]);
    world.put(put("a")).unwrap();
    world.delete("a");
    assert!(world.truth.facts.keys().all(|(space, _)| *space != Space::Link));
    world.put(put("a")).unwrap();
    assert_eq!(world.linked("s", "a").unwrap().acked, None, "a new stream of that name begins anew");
    world.fork(fork_of("f", "a")).unwrap();
    world.delete("a");
    assert_eq!(world.ack("a", 0), Err(LinkError::NotLinked), "retired, for its fork alone");
    assert!(world.linked("s", "f").is_some());
}

#[test]
fn a_link_goes_only_when_nothing_covers_its_stream() {
    let mut world = World::open();
    world.adopt("s", Some("a*"), &["a", "b"]);
    world.put(put("a")).unwrap();
    world.put(put("b")).unwrap();
    let unlink = |world: &mut World, text: &str| {
        let ask = LinkAsk::Unlink { stream: world.id(text), name: name(text) };
        world.link("s", ask).unwrap();
        world.linked("s", text).is_some()
    };
    assert!(unlink(&mut world, "b"), "it is named");
    world.adopt("s", Some("a*"), &[]);
    assert!(unlink(&mut world, "a"), "the pattern still means it");
    assert!(!unlink(&mut world, "b"));
    world.adopt("s", None, &[]);
    assert!(!unlink(&mut world, "a"));
    assert!(world.truth.facts.is_empty(), "nothing is left");
}

#[derive(Debug, Clone)]
enum Step {
    Adopt(u8, Option<&'static str>),
    Put(u8),
    Delete(u8),
    Fork(u8, u8),
    Post(u8),
    Expire,
    Apply,
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    let pattern = prop_oneof![Just(None), Just(Some("*")), Just(Some("a*")), Just(Some("**"))];
    prop_oneof![
        (0..3u8, pattern).prop_map(|(which, pattern)| Step::Adopt(which, pattern)),
        (0..4u8).prop_map(Step::Put),
        (0..4u8).prop_map(Step::Delete),
        (0..4u8, 0..4u8).prop_map(|(fork, source)| Step::Fork(fork, source)),
        (0..4u8).prop_map(Step::Post),
        Just(Step::Expire),
        Just(Step::Apply),
        Just(Step::Restart),
    ]
}

proptest! {
    /// That no link outlives its stream is asserted behind every record.
    #[test]
    fn every_stream_is_linked_as_the_patterns_said_when_it_began(steps in prop::collection::vec(steps(), 1..40)) {
        let mut world = World::open();
        let stream = |number: u8| ["a", "ab", "b", "c"][usize::from(number)];
        let mut patterns = [None; 3];
        let mut expected = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                // A pattern never changes while the subscription lives; what one leaves is swept before the next.
                Step::Adopt(which, None) => {
                    world.sweep(&which.to_string());
                    patterns[usize::from(which)] = None;
                    expected.values_mut().for_each(|(_, known): &mut (_, [Option<&str>; 3])| {
                        known[usize::from(which)] = None;
                    });
                }
                Step::Adopt(which, pattern) => {
                    let known = &mut patterns[usize::from(which)];
                    if known.is_none() {
                        *known = pattern;
                        world.adopt(&which.to_string(), pattern, &[]);
                    }
                }
                Step::Put(number) => drop(world.put(put(stream(number)))),
                Step::Delete(number) => {
                    world.delete(stream(number));
                }
                Step::Fork(fork, source) => drop(world.fork(fork_of(stream(fork), stream(source)))),
                Step::Post(number) => drop(world.post(post(stream(number), "x"))),
                Step::Expire => world.tick(1),
                Step::Apply => world.apply(world.log.len()),
                Step::Restart => world.restart(),
            }
            let living = |text: &str| world.truth.named(&name(text)).filter(|row| !row.meta.retired);
            for text in ["a", "ab", "b", "c"] {
                match living(text) {
                    None => drop(expected.remove(text)),
                    Some(row) if expected.get(text).is_some_and(|(stream, _)| *stream == row.meta.id) => {}
                    Some(row) => drop(expected.insert(text, (row.meta.id, patterns))),
                }
                for (which, pattern) in (0..3u8).zip(expected.get(text).map_or([None; 3], |known| known.1)) {
                    let covered = pattern.is_some_and(|glob| Glob::parse(glob).unwrap().matches(&name(text)));
                    prop_assert_eq!(world.linked(&which.to_string(), text).is_some(), covered);
                }
            }
        }
    }
}
