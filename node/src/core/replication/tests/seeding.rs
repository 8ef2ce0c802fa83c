//! Followers below the first entry of their leader's log: what they fetch, what they put in their place, and what they say
//! meanwhile.

use super::world::{World, id};
use crate::core::replication::{EpochStart, Halt, History, Image, Input, Message};
use crate::types::{Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch};

fn epoch(record: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(1) }
}

fn end(world: &World, number: u32) -> LogIndex {
    world.node(number).replica.history().end()
}

/// The last entry that follower 1 is known to hold.
fn held(world: &World) -> LogIndex {
    world.node(0).replica.followers().find(|seen| seen.id == id(1)).unwrap().held
}

/// Follower 1 was away while much was written, and the leader let it all go.
fn behind() -> World {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    world.crash(1);
    for text in ["b", "c", "d"] {
        world.write(0, text);
    }
    world.settle();
    world.nodes.get_mut(&id(0)).unwrap().released = end(&world, 0);
    world.restart(1);
    world.settle();
    world
}

/// It fetches an image of all that is committed.
fn fetching() -> World {
    let mut world = behind();
    assert_eq!(world.node(0).seeds, [id(1)]);
    let upto = world.node(0).replica.committed().0;
    world.imaged(0, 1, upto);
    world.settle();
    assert!(world.node(1).fetching.is_some());
    world
}

#[test]
fn a_follower_below_the_log_is_seeded_and_follows_on() {
    let mut world = fetching();
    let seen = world.node(0).replica.followers().find(|seen| seen.id == id(1)).unwrap();
    assert!(seen.is_seeded && !seen.is_shipped);
    world.write(0, "e");
    world.settle();
    world.fetched(1);
    world.seeded(1, 0);
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
    assert_eq!(world.node(1).replica.committed(), end(&world, 0));
    let seen = world.node(0).replica.followers().find(|seen| seen.id == id(1)).unwrap();
    assert!(seen.is_shipped && !seen.is_seeded);
    // It counts again: the other follower is not needed.
    world.crash(2);
    world.write(0, "f");
    world.settle();
    assert_eq!(world.node(0).replica.committed(), end(&world, 0));
}

#[test]
fn nothing_of_an_image_is_confirmed_before_it_is_on_the_disk() {
    let mut world = fetching();
    let before = held(&world);
    let beat = |world: &mut World| {
        world.step(id(0), Input::Tick(std::time::Duration::from_secs(1)));
        world.settle();
    };
    beat(&mut world);
    world.fetched(1);
    beat(&mut world);
    assert_eq!(held(&world), before);
    let committed = world.node(1).replica.committed();
    assert!(committed < world.node(0).replica.committed());
    // Whoever elects waits, too: what it has is one thing or the other.
    world.seal(1, 2);
    world.settle();
    assert!(world.sealed(1).is_none());
    let follow = Input::Heard { from: id(2), message: Message::Follow(epoch(3)) };
    world.step(id(1), follow);
    world.settle();
    assert!(world.letters.iter().all(|letter| !matches!(letter.message, Message::Report(_))));
    world.seal(1, 4);
    world.settle();
    world.seeded(1, 0);
    world.settle();
    let sealed = world.sealed(1).unwrap();
    assert_eq!((sealed.standing.end, sealed.promised.record), (end(&world, 0), RecordEpoch(4)));
    assert_eq!(world.node(1).memory.promised.record, RecordEpoch(4), "the promise is kept");
}

#[test]
fn an_image_that_lacks_what_is_committed_here_is_never_taken() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    let (log, committed) = (world.node(1).log.clone(), world.node(1).replica.committed());
    // Nobody who was elected by the rules offers this: its epoch began elsewhere.
    let starts = vec![
        EpochStart { epoch: epoch(0), first: LogIndex(1) },
        EpochStart { epoch: Epoch { record: RecordEpoch(9), boot: Boot(1) }, first: LogIndex(2) },
    ];
    let image = Image { history: History::new(starts, LogIndex(99), Chain(1)).unwrap(), bytes: 1, key: 1 };
    let offer = Message::Offer { epoch: epoch(1), image };
    world.step(id(1), Input::Heard { from: id(0), message: offer });
    assert_eq!(world.node(1).replica.halted(), Some(Halt::BelowCommit { common: LogIndex(0), committed }));
    assert!(world.node(1).fetching.is_none());
    assert_eq!(world.node(1).log, log);
}

#[test]
fn an_image_of_no_more_than_what_is_here_is_answered_by_telling_what_is() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    world.letters.clear();
    for upto in 1..=end(&world, 0).0 {
        let offer = Message::Offer { epoch: epoch(1), image: world.image(0, upto) };
        world.step(id(1), Input::Heard { from: id(0), message: offer });
        assert!(world.node(1).fetching.is_none());
        assert!(world.letters.iter().any(|letter| matches!(letter.message, Message::Report(_))));
        world.settle();
    }
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
}

#[test]
fn nothing_that_may_be_taken_back_is_offered_and_nothing_of_another_log() {
    let mut world = behind();
    world.crash(2);
    world.write(0, "not committed");
    world.settle();
    world.letters.clear();
    world.imaged(0, 1, end(&world, 0).0);
    let mut other = world.image(0, end(&world, 0).0 - 1);
    other.history =
        History::new(vec![EpochStart { epoch: epoch(7), first: LogIndex(1) }], LogIndex(3), Chain(0))
            .unwrap();
    world.step(id(0), Input::Imaged { to: id(1), image: other });
    assert!(world.letters.is_empty());
    world.imaged(0, 1, world.node(0).replica.committed().0);
    assert!(matches!(world.letters[0].message, Message::Offer { .. }));
}

#[test]
fn another_leader_is_followed_at_once_and_what_was_fetched_for_the_old_one_is_let_be() {
    let mut world = fetching();
    world.crash(0);
    world.letters.clear();
    for number in [1, 2] {
        world.seal(number, 2);
    }
    world.settle();
    assert!(world.node(1).fetching.is_none(), "it is sealed");
    let configs: Configs = world.sealed(2).unwrap().configs.clone().unwrap();
    world.lead(2, 2, &configs);
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(2).replica.history());
    assert!(world.node(2).replica.takes_writes());
}

#[test]
fn an_image_that_was_not_fetched_or_not_installed_is_asked_for_again() {
    let mut world = fetching();
    world.nodes.get_mut(&id(1)).unwrap().fetching = None;
    world.step(id(1), Input::Unseeded);
    world.settle();
    assert_eq!(world.node(0).seeds, [id(1), id(1)]);
    let upto = world.node(0).replica.committed().0;
    world.imaged(0, 1, upto);
    world.settle();
    world.fetched(1);
    world.nodes.get_mut(&id(1)).unwrap().installing = None;
    world.step(id(1), Input::Unseeded);
    world.settle();
    assert_eq!(world.node(0).seeds.len(), 3);
    world.imaged(0, 1, upto);
    world.settle();
    world.fetched(1);
    world.seeded(1, 0);
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
}

#[test]
fn an_image_that_was_meant_for_what_is_no_longer_so_is_not_put_in_its_place() {
    let mut world = fetching();
    let image = world.node(1).fetching.clone().unwrap();
    let follow = Input::Heard { from: id(2), message: Message::Follow(epoch(2)) };
    world.step(id(1), follow);
    world.settle();
    world.step(id(1), Input::Fetched(image));
    assert!(world.node(1).installing.is_none());
}

#[test]
fn a_replica_that_finds_itself_removed_in_an_image_takes_no_part_any_more() {
    let mut world = behind();
    let epoch = RecordEpoch(1);
    let without = super::world::voters(&[0, 2]);
    let configs = world.node(0).replica.configs().unwrap().clone();
    let configs = Configs::new(vec![
        configs.last(),
        crate::types::Config {
            version: crate::types::ConfigVersion(configs.last().version.0 + 1),
            voters: without,
        },
    ])
    .unwrap();
    let ask = crate::core::replication::Ask(0);
    world.step(id(0), Input::Configure { ask, epoch, configs, learners: vec![id(1)] });
    world.settle();
    world.imaged(0, 1, world.node(0).replica.committed().0);
    world.settle();
    world.fetched(1);
    world.seeded(1, 0);
    world.settle();
    assert!(world.node(1).memory.retired);
}

#[test]
fn a_leader_whose_majority_is_only_being_seeded_takes_no_writes_until_that_is_done() {
    let mut world = fetching();
    world.crash(2);
    for second in 1..4 {
        world.step(id(0), Input::Tick(std::time::Duration::from_secs(second)));
        world.settle();
    }
    assert!(!world.node(0).replica.takes_writes());
    world.fetched(1);
    world.seeded(1, 0);
    world.settle();
    world.step(id(0), Input::Tick(std::time::Duration::from_secs(4)));
    world.settle();
    assert!(world.node(0).replica.takes_writes());
}
