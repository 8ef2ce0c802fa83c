//! Followers: what they promise, confirm, cut and refuse.

use super::world::{Letter, World, id};
use crate::core::replication::{EpochStart, Halt, History, Input, Message, Part, Records, Report};
use crate::types::{Boot, Chain, Configs, Epoch, LogIndex, RecordEpoch};

fn epoch(record: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(1) }
}

fn configs(world: &World) -> Configs {
    world.node(0).replica.memory().configs.clone().unwrap()
}

#[test]
fn a_promise_is_on_the_disk_before_anything_is_told() {
    let mut world = World::led();
    world.letters.clear();
    let follow = Input::Heard { from: id(2), message: Message::Follow(epoch(2)) };
    world.step(id(1), follow);
    assert!(world.letters.is_empty());
    world.save(1);
    assert_eq!(world.node(1).memory.promised, epoch(2));
    assert!(matches!(world.letters[0].message, Message::Report(_)));
}

#[test]
fn whoever_promised_a_later_epoch_confirms_nothing_of_an_older_one() {
    let mut world = World::led();
    world.write(0, "a");
    world.seal(1, 2);
    world.settle();
    let end = world.node(1).replica.history().end();
    assert!(end < world.node(0).replica.history().end(), "the entry came too late");
    let acks = world.letters.iter().filter(|letter| letter.from == id(1)).count();
    assert_eq!(acks, 0);
    assert!(
        world.node(0).replica.committed() == world.node(0).replica.history().end(),
        "the other follower counts"
    );
}

#[test]
fn a_follower_cuts_what_the_new_leader_never_had_and_nothing_else() {
    let mut world = World::led();
    world.write(0, "lost");
    world.sync(0);
    world.crash(0);
    world.letters.clear();
    world.seal(1, 2);
    world.seal(2, 2);
    world.settle();
    let configs = configs(&world);
    world.lead(1, 2, &configs);
    world.settle();
    world.write(1, "kept");
    world.settle();
    world.restart(0);
    world.settle();
    assert_eq!(world.node(0).replica.history(), world.node(1).replica.history());
    let payloads: Vec<_> = world.node(0).log.iter().map(|entry| entry.payload.clone()).collect();
    assert!(
        payloads.iter().any(|payload| payload == "kept") && !payloads.iter().any(|payload| payload == "lost")
    );
}

#[test]
fn entries_that_come_twice_late_or_out_of_order_change_nothing() {
    let mut world = World::led();
    world.letters.clear();
    world.write(0, "a");
    let first: Letter = world.letters.iter().find(|letter| letter.to == id(1)).cloned().unwrap();
    world.settle();
    world.write(0, "b");
    let second: Letter = world.letters.iter().find(|letter| letter.to == id(1)).cloned().unwrap();
    world.letters.retain(|letter| letter.to != id(1));
    world.write(0, "c");
    world.settle();
    for letter in [first.clone(), second.clone(), first, second] {
        world.arrive(letter);
        world.settle();
    }
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
    assert!(world.nodes.values().all(|node| !node.halted));
}

#[test]
fn an_answer_to_an_earlier_report_cuts_nothing() {
    let mut world = World::led();
    world.step(id(0), Input::Connected(id(1)));
    world.deliver(0);
    world.save(1);
    world.deliver(0);
    let adopt = world.letters.iter().find(|letter| letter.to == id(1)).cloned().unwrap();
    assert!(matches!(adopt.message, Message::Adopt { .. }));
    world.settle();
    world.write(0, "a");
    world.settle();
    let end = world.node(1).replica.history().end();
    world.step(id(0), Input::Connected(id(1)));
    world.deliver(0);
    world.save(1);
    world.arrive(adopt);
    assert_eq!(world.node(1).replica.history().end(), end);
    world.cut(1);
    assert_eq!(world.node(1).replica.history().end(), end);
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
}

#[test]
fn a_leader_that_lacks_what_is_committed_halts_its_follower_and_nothing_is_deleted() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    // Nobody who was elected by the rules says this.
    let follow = Input::Heard { from: id(2), message: Message::Follow(epoch(9)) };
    world.step(id(1), follow);
    world.save(1);
    let Some(Message::Report(report)) = world.letters.last().map(|letter| letter.message.clone()) else {
        panic!()
    };
    let log = world.node(1).log.clone();
    let committed = world.node(1).replica.committed();
    let adopt =
        Message::Adopt { epoch: epoch(9), report: report.number, common: LogIndex(1), end: LogIndex(1) };
    world.step(id(1), Input::Heard { from: id(2), message: adopt });
    assert_eq!(world.node(1).replica.halted(), Some(Halt::BelowCommit { common: LogIndex(1), committed }));
    assert_eq!(world.node(1).log, log);
}

/// An entry behind the last one of replica 1, as if that were another one.
fn forged(world: &World) -> Records {
    Records {
        epoch: epoch(1),
        after: world.node(1).replica.history().end(),
        chain: Chain(7),
        committed: LogIndex(0),
        entries: vec![super::world::write("x")],
    }
}

#[test]
fn another_content_at_the_same_place_halts() {
    let mut world = World::led();
    let end = world.node(1).replica.history().end();
    let forged = forged(&world);
    world.step(id(1), Input::Heard { from: id(0), message: Message::Records(forged) });
    assert_eq!(world.node(1).replica.halted(), Some(Halt::ChainDiffers(end)));
    assert_eq!(world.node(1).replica.history().end(), end);
}

/// A follower whose log ends so far behind its leader's, with a chain that is not the leader's there, is told so, and of no cut.
fn differs(further: u64) {
    let mut world = World::led();
    let leaders = world.node(0).replica.history().clone();
    let (end, chain) = (LogIndex(leaders.end().0 + further), Chain(leaders.chain().0 ^ 1));
    let history = History::new(leaders.starts().to_vec(), end, chain).unwrap();
    let (boot, number, committed) = (Boot(9), 99, leaders.end());
    let report = Report { epoch: epoch(1), boot, number, history, committed, intact: true };
    world.letters.clear();
    world.step(id(0), Input::Heard { from: id(1), message: Message::Report(report) });
    let differs = Message::Differs { epoch: epoch(1), at: epoch(1) };
    assert!(world.letters.iter().any(|letter| letter.to == id(1) && letter.message == differs));
    assert!(!world.letters.iter().any(|letter| matches!(letter.message, Message::Adopt { .. })));
}

#[test]
fn a_follower_whose_log_ends_where_its_leaders_does_with_another_content_halts_before_it_counts() {
    differs(0);
}

#[test]
fn entries_of_the_leaders_own_epoch_that_it_does_not_have_are_not_cut() {
    differs(3);
}

#[test]
fn entries_of_the_leaders_own_epoch_count_only_behind_one_that_showed_them_to_be_the_leaders() {
    let mut world = World::led();
    world.write(0, "a");
    world.write(0, "b");
    world.sync(0);
    world.letters.clear();
    let (leaders, committed) = (world.node(0).replica.history().clone(), world.node(0).replica.committed());
    let one = LogIndex(committed.0 + 1);
    let history = History::new(leaders.starts().to_vec(), one, Chain(7)).unwrap();
    let report = Report { epoch: epoch(1), boot: Boot(9), number: 99, history, committed, intact: true };
    world.step(id(0), Input::Heard { from: id(1), message: Message::Report(report) });
    let confirms = |synced| Message::Ack { epoch: epoch(1), synced, round: 0 };
    for _ in 0..2 {
        world.step(id(0), Input::Heard { from: id(1), message: confirms(one) });
        assert_eq!(world.node(0).replica.committed(), committed, "counted without proof");
    }
    world.step(id(0), Input::Heard { from: id(1), message: confirms(leaders.end()) });
    assert_eq!(world.node(0).replica.committed(), leaders.end());
}

#[test]
fn i01_a_second_leader_of_an_epoch_is_followed_by_nobody_who_follows_the_first() {
    let mut world = World::led();
    world.letters.clear();
    let before = world.node(1).replica.part();
    let later_start = Epoch { record: RecordEpoch(1), boot: Boot(9) };
    world.step(id(1), Input::Heard { from: id(2), message: Message::Follow(later_start) });
    assert!(matches!(world.letters[0].message, Message::Refused { .. }));
    assert_eq!(world.node(1).replica.part(), before);
    // The first one, started again, is followed.
    world.step(id(1), Input::Heard { from: id(0), message: Message::Follow(later_start) });
    assert_eq!(world.node(1).replica.memory().promised, later_start);
}

#[test]
fn a_leader_that_hears_of_a_later_epoch_leads_no_more_and_of_a_second_leader_of_its_own_nothing() {
    let mut world = World::led();
    world.letters.clear();
    let own = Epoch { record: RecordEpoch(1), boot: Boot(9) };
    world.step(id(0), Input::Heard { from: id(2), message: Message::Follow(own) });
    assert!(matches!(world.letters[0].message, Message::Refused { .. }));
    assert!(world.closed.is_empty() && world.node(0).replica.takes_writes());
    world.step(id(0), Input::Heard { from: id(2), message: Message::Follow(epoch(2)) });
    assert_eq!(world.closed, [(id(0), epoch(1))]);
    assert!(!world.node(0).replica.takes_writes());
}

#[test]
fn nobody_but_the_leader_of_the_promised_epoch_is_listened_to() {
    let mut world = World::led();
    let before = world.node(1).replica.history().clone();
    let (after, chain) = (before.end(), before.chain());
    for (from, record) in [(2, 1), (0, 2), (2, 2), (0, 0)] {
        let records = Records {
            epoch: epoch(record),
            after,
            chain,
            committed: LogIndex(99),
            entries: vec![super::world::write("x")],
        };
        world.step(id(1), Input::Heard { from: id(from), message: Message::Records(records) });
        let beat = Message::Beat { epoch: epoch(record), committed: LogIndex(99), round: 4, is_spare: false };
        world.step(id(1), Input::Heard { from: id(from), message: beat });
    }
    assert_eq!(world.node(1).replica.history(), &before);
}

#[test]
fn while_a_cut_is_under_way_nobody_is_told_of_what_it_takes_away() {
    let mut world = World::replaced();
    world.save(2);
    let reported = |world: &World| {
        world
            .letters
            .iter()
            .any(|letter| matches!(letter.message, Message::Report(_)) && letter.from == id(1))
    };
    while !reported(&world) {
        let place = world.letters.iter().position(|letter| letter.to == id(1)).unwrap();
        world.deliver(place);
        world.save(1);
    }
    for receiver in [2, 1] {
        let place = world.letters.iter().position(|letter| letter.to == id(receiver)).unwrap();
        world.deliver(place);
    }
    world.answers.clear();
    world.seal(1, 3);
    world.save(1);
    assert!(world.sealed(1).is_none(), "the entry is being cut");
    world.step(id(1), Input::Heard { from: id(0), message: Message::Follow(epoch(4)) });
    world.save(1);
    assert!(!reported(&world), "the entry is being cut");
    world.cut(1);
    assert!(reported(&world));
    world.seal(1, 5);
    world.save(1);
    assert_eq!(world.sealed(1).unwrap().standing.end, world.node(2).replica.synced());
}

#[test]
fn a_replica_that_halted_or_promised_a_later_epoch_refuses_beats_instead_of_saying_nothing() {
    let mut world = World::led();
    let (own, beat) =
        (epoch(1), |round| Message::Beat { epoch: epoch(1), committed: LogIndex(0), round, is_spare: false });
    world.step(id(1), Input::Heard { from: id(0), message: Message::Records(forged(&world)) });
    assert!(world.node(1).replica.halted().is_some());
    world.seal(2, 2);
    world.settle();
    world.letters.clear();
    world.step(id(1), Input::Heard { from: id(0), message: beat(8) });
    world.step(id(2), Input::Heard { from: id(0), message: beat(8) });
    let sealed = Epoch { record: RecordEpoch(2), boot: Boot(0) };
    for (by, promised) in [(1, own), (2, sealed)] {
        let refused = Message::Refused { epoch: own, promised };
        let said = world.letters.iter().find(|letter| letter.from == id(by)).map(|letter| &letter.message);
        assert_eq!(said, Some(&refused), "its leader gives up the connection of all shards otherwise");
    }
    // Whoever cannot confirm is not counted on.
    world.settle();
    world.step(id(0), Input::Tick(std::time::Duration::from_millis(1100)));
    assert!(!world.node(0).replica.takes_writes());
}

#[test]
fn a_follower_that_has_no_epoch_which_its_leader_remembers_cuts_nothing_and_stops() {
    let mut world = World::led();
    world.write(0, "confirmed");
    world.settle();
    // What the leader says of a log that begins behind its own table of epochs.
    let led = world.node(0).replica.history().last_epoch();
    let later = EpochStart { epoch: epoch(9), first: LogIndex(50) };
    let history = History::new(vec![later], LogIndex(60), Chain(1)).unwrap();
    let boot = Boot(1);
    let report = Report { epoch: led, boot, number: 77, history, committed: LogIndex(40), intact: true };
    world.letters.clear();
    world.step(id(0), Input::Heard { from: id(1), message: Message::Report(report) });
    let at = world.node(0).replica.history().starts()[0].epoch;
    let said: Vec<_> = world.letters.iter().map(|letter| &letter.message).collect();
    assert!(said.contains(&&Message::Differs { epoch: led, at }), "{said:?}");
    assert!(!said.iter().any(|message| matches!(message, Message::Adopt { .. })), "{said:?}");
    // What a follower makes of that, of an epoch that it does not have and of one that it has.
    for (node, at, halt) in [(1, epoch(7), Halt::EpochForgotten(epoch(7))), (2, led, Halt::EpochDiffers(led))]
    {
        let before = world.node(node).replica.history().clone();
        let (leader, follow) = (id(3 - node), epoch(20 + u64::from(node)));
        world.step(id(node), Input::Heard { from: leader, message: Message::Follow(follow) });
        world.save(node);
        let message = Message::Differs { epoch: follow, at };
        world.step(id(node), Input::Heard { from: leader, message });
        assert_eq!(world.node(node).replica.part(), Part::Halted(halt));
        assert_eq!(world.node(node).replica.history(), &before);
    }
}
