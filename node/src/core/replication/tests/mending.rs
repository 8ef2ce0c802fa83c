//! Replicas whose start found damage, or that gave up what they had while they ran: what they may do before a leader has repaired
//! them, and from when on they count again.

use std::time::Duration;

use super::world::{World, id, voters};
use crate::core::replication::{Answer, Input, Message, Part, Refusal, Report, ShardRow};
use crate::types::{Configs, LogIndex, RecordEpoch, ReplicaId};

fn end(world: &World, number: u32) -> LogIndex {
    world.node(number).replica.history().end()
}

fn committed(world: &World, number: u32) -> LogIndex {
    world.node(number).replica.committed()
}

/// Three entries are committed, and a start of replica 1 finds all but the first of its log damaged. It has not met anybody.
fn damaged() -> World {
    let mut world = World::led();
    for text in ["a", "b", "c"] {
        world.write(0, text);
    }
    world.settle();
    world.crash(1);
    world.damage(1, 1);
    world.start(1);
    world.step(id(1), Input::Vouched);
    world
}

/// Replica 1 holds all that its leader holds, says so on its disk, and is counted.
fn counts_again(world: &mut World) {
    assert_eq!(world.node(1).log, world.node(0).log);
    assert!(world.node(1).replica.is_intact() && !world.node(1).memory.damaged);
    world.crash(2);
    world.write(0, "d");
    world.settle();
    assert_eq!(committed(world, 0), end(world, 0), "a write needs it, and has it");
}

#[test]
fn a_damaged_replica_gets_back_what_it_lacks_and_then_counts_again() {
    let mut world = damaged();
    assert!(!world.node(1).replica.is_intact());
    world.meet(1);
    world.settle();
    counts_again(&mut world);
}

#[test]
fn what_a_damaged_replica_holds_counts_for_no_commit_before_it_holds_all() {
    let mut world = damaged();
    world.crash(2);
    world.write(0, "d");
    let before = committed(&world, 0);
    world.meet(1);
    // All but the last save happens: it holds everything, and its disk does not say so yet.
    while world.node(1).replica.synced() < end(&world, 0) || !world.letters.is_empty() {
        for number in 0..2 {
            if world.node(number).synced < world.node(number).log.len() {
                world.sync(number);
            }
        }
        if world.node(1).memory.damaged && world.node(1).replica.memory().damaged {
            world.save(1);
        }
        world.save(0);
        if !world.letters.is_empty() {
            world.deliver(0);
        }
    }
    assert!(world.node(1).memory.damaged && !world.node(1).replica.is_intact());
    assert_eq!(committed(&world, 0), before);
    world.settle();
    assert_eq!(committed(&world, 0), end(&world, 0));
}

#[test]
fn a_damaged_replica_keeps_its_promise_shows_nothing_by_its_seal_and_leads_nothing() {
    let mut world = damaged();
    let promised = world.node(1).memory.promised;
    world.seal(1, 2);
    world.settle();
    let sealed = world.sealed(1).unwrap();
    assert!(!sealed.intact && sealed.promised.record == RecordEpoch(2) && promised.record == RecordEpoch(1));
    world.lead(1, 2, &Configs::first(voters(&[0, 1, 2])));
    assert!(
        matches!(world.answers.last(), Some((_, Answer::Refused(Refusal::Damaged)))),
        "{:?}",
        world.answers
    );
    let row = ShardRow::first(voters(&[0, 1, 2]), id(0)).seal().unwrap();
    assert_eq!(row.epoch, RecordEpoch(2));
    // The leader of the epoch before is not followed any more: nobody can lead by this seal, and nobody commits against it.
    world.meet(1);
    world.settle();
    assert_eq!(world.node(1).replica.part(), Part::Waiting);
    assert!(!world.node(1).replica.is_intact());
}

#[test]
fn a_leader_that_starts_damaged_does_not_go_on_by_itself_and_follows_the_next_one() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    world.crash(0);
    world.damage(0, 2);
    world.restart(0);
    world.settle();
    assert_eq!(world.node(0).replica.part(), Part::Waiting);
    for number in 0..3 {
        world.seal(number, 2);
    }
    world.settle();
    world.lead(1, 2, &Configs::first(voters(&[0, 1, 2])));
    world.settle();
    assert!(world.node(1).replica.takes_writes());
    assert_eq!(world.node(0).log, world.node(1).log);
    assert!(world.node(0).replica.is_intact());
}

#[test]
fn what_an_earlier_start_said_of_itself_does_not_hide_the_damage_that_a_later_one_found() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    let epoch = world.node(0).replica.leads().unwrap();
    let history = world.node(1).replica.history().clone();
    let (boot, synced) = (world.node(1).boot, end(&world, 1));
    world.crash(1);
    world.damage(1, 0);
    world.restart(1);
    world.cut_off.insert(id(2));
    while !world.letters.iter().any(|letter| matches!(letter.message, Message::Adopt { .. })) {
        world.save(1);
        world.deliver(0);
    }
    // The network has kept what the earlier start said.
    let report = Report { epoch, boot, number: 99, history, committed: LogIndex(0), intact: true };
    let late = [Message::Report(report), Message::Ack { epoch, synced: LogIndex(synced.0 + 1), round: 0 }];
    world.write(0, "b");
    world.sync(0);
    let before = committed(&world, 0);
    for message in late {
        world.step(id(0), Input::Heard { from: id(1), message });
    }
    assert_eq!(committed(&world, 0), before);
    assert!(end(&world, 1) < before, "it has not got anything back yet");
    world.settle();
    assert_eq!(committed(&world, 0), end(&world, 0));
    let held = |world: &World, who: ReplicaId| world.nodes[&who].log.len() as u64;
    assert_eq!(held(&world, id(1)), end(&world, 0).0);
}

#[test]
fn a_damaged_replica_that_the_log_has_left_behind_is_repaired_with_an_image() {
    let mut world = damaged();
    world.nodes.get_mut(&id(0)).unwrap().released = end(&world, 0);
    world.meet(1);
    world.settle();
    assert_eq!(world.node(0).seeds, [id(1)]);
    let upto = committed(&world, 0).0;
    world.imaged(0, 1, upto);
    world.settle();
    world.fetched(1);
    world.write(0, "d");
    world.settle();
    assert!(!world.node(1).replica.is_intact());
    world.seeded(1, 0);
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(0).replica.history());
    assert!(world.node(1).replica.is_intact() && !world.node(1).memory.damaged);
}

/// Three entries are committed, and replica 1, which has them, is to give up all that it has.
fn giving_up() -> World {
    let mut world = World::led();
    for text in ["a", "b", "c"] {
        world.write(0, text);
    }
    world.settle();
    spare(&mut world, 1);
    world.step(id(1), Input::GiveUp);
    world
}

/// Time passes until the leader can do without what this replica holds; how long that takes.
fn spare(world: &mut World, number: u32) -> Duration {
    let mut now = Duration::ZERO;
    while !world.node(number).replica.can_give_up() {
        assert!(now < Duration::from_secs(10), "it never can");
        now += Duration::from_millis(500);
        world.step(id(0), Input::Tick(now));
        world.settle();
    }
    now
}

#[test]
fn a_follower_that_gives_up_what_it_has_says_so_on_its_disk_first_and_gets_all_of_it_again() {
    let mut world = giving_up();
    assert!(!world.node(1).emptying && !world.node(1).replica.is_intact());
    world.step(id(1), Input::GiveUp);
    world.save(1);
    assert!(world.node(1).emptying && world.node(1).memory.damaged);
    world.settle();
    assert_eq!(committed(&world, 1), end(&world, 0));
    counts_again(&mut world);
}

#[test]
fn a_follower_that_gives_up_what_it_has_confirms_nothing_until_it_was_emptied() {
    let mut world = giving_up();
    world.crash(2);
    world.write(0, "d");
    world.sync(0);
    let before = committed(&world, 0);
    world.seal(1, 2);
    for _ in 0..20 {
        world.save(0);
        world.sync(1);
        world.step(id(0), Input::Read);
        if !world.letters.is_empty() {
            world.deliver(0);
        }
    }
    assert_eq!(committed(&world, 0), before);
    world.save(1);
    world.save(1);
    assert!(world.sealed(1).is_none(), "what it has goes, and is told to nobody");
    world.cut(1);
    let sealed = world.sealed(1).unwrap();
    assert!(!sealed.intact && sealed.standing.end == LogIndex(0), "{sealed:?}");
}

#[test]
fn a_crash_while_a_follower_gives_up_what_it_has_leaves_one_that_is_damaged() {
    for is_saved in [false, true] {
        let mut world = giving_up();
        if is_saved {
            world.save(1);
        }
        world.crash(1);
        assert_eq!(world.node(1).memory.damaged, is_saved);
        world.restart(1);
        world.settle();
        assert_eq!(world.node(1).log, world.node(0).log);
        assert!(world.node(1).replica.is_intact() && !world.node(1).memory.damaged);
    }
}

#[test]
fn a_leader_does_without_what_one_follower_holds_at_a_time_and_without_none_while_it_is_damaged_itself() {
    let mut world = World::led();
    let spared =
        |world: &World| (1..3).filter(|number| world.node(*number).replica.can_give_up()).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for second in 1..9 {
        world.step(id(0), Input::Tick(Duration::from_secs(second)));
        world.settle();
        seen.extend(spared(&world));
        assert_eq!(spared(&world).len(), 1);
    }
    assert_eq!(seen, [1, 2, 2, 1, 1, 2, 2, 1]);
    // Whoever has given up what it had comes first until it has everything.
    world.step(id(1), Input::GiveUp);
    world.cut_off.insert(id(2));
    while !world.letters.iter().any(|letter| matches!(letter.message, Message::Adopt { .. })) {
        world.save(1);
        world.cut(1);
        world.deliver(0);
    }
    world.cut_off.clear();
    for second in 9..13 {
        world.step(id(0), Input::Tick(Duration::from_secs(second)));
        while let Some(place) = world.letters.iter().position(|letter| letter.to == id(2)) {
            world.deliver(place);
        }
        assert!(spared(&world).iter().all(|number| *number == 1));
    }
    world.nodes.get_mut(&id(0)).unwrap().replica.note_rot(true);
    world.step(id(0), Input::Tick(Duration::from_secs(13)));
    world.settle();
    world.step(id(0), Input::Tick(Duration::from_secs(14)));
    world.settle();
    assert_eq!(spared(&world), [0; 0]);
}

#[test]
fn neither_a_leader_nor_one_that_follows_nobody_gives_up_what_it_has() {
    let mut world = World::led();
    world.step(id(0), Input::GiveUp);
    assert!(world.node(0).replica.takes_writes() && world.node(0).replica.is_intact());
    world.seal(1, 2);
    world.settle();
    world.step(id(1), Input::GiveUp);
    world.settle();
    assert!(world.node(1).replica.is_intact() && !world.node(1).log.is_empty());
}

#[test]
fn what_a_follower_reported_before_it_gave_up_what_it_had_does_not_make_it_count() {
    let mut world = World::led();
    world.write(0, "a");
    world.settle();
    let epoch = world.node(0).replica.leads().unwrap();
    let (history, synced) = (world.node(1).replica.history().clone(), end(&world, 1));
    let early =
        Report { epoch, boot: world.node(1).boot, number: 1, history, committed: LogIndex(0), intact: true };
    spare(&mut world, 1);
    world.step(id(1), Input::GiveUp);
    world.cut_off.insert(id(2));
    while !world.letters.iter().any(|letter| matches!(letter.message, Message::Adopt { .. })) {
        world.save(1);
        world.cut(1);
        world.deliver(0);
    }
    world.write(0, "b");
    world.sync(0);
    let before = committed(&world, 0);
    let late = [Message::Report(early), Message::Ack { epoch, synced: LogIndex(synced.0 + 1), round: 0 }];
    for message in late {
        world.step(id(0), Input::Heard { from: id(1), message });
    }
    assert_eq!(committed(&world, 0), before);
    world.settle();
    assert_eq!(committed(&world, 0), end(&world, 0));
    assert_eq!(world.node(1).log, world.node(0).log);
}
