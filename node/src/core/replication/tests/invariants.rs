//! The invariants of the protocol, by their numbers, as far as one shard's replicas keep them; `docs/promises.md` lists
//! the tests of each.

use std::time::Duration;

use super::world::{World, id, voters};
use crate::codec::record::RecordKind;
use crate::core::replication::{Answer, Ask, Input, Message, Refusal};
use crate::types::{Boot, Configs, Epoch, LogIndex, RecordEpoch};

fn epoch(record: u64, boot: u64) -> Epoch {
    Epoch { record: RecordEpoch(record), boot: Boot(boot) }
}

fn hear(world: &mut World, to: u32, from: u32, message: Message) {
    world.step(id(to), Input::Heard { from: id(from), message });
}

fn ack(epoch: Epoch, synced: LogIndex) -> Message {
    Message::Ack { epoch, synced, round: 0 }
}

/// Node 1 leads epoch 2, and everybody follows.
fn elected() -> (World, Configs) {
    let mut world = World::led();
    let configs = Configs::first(voters(&[0, 1, 2]));
    (0..3).for_each(|number| world.seal(number, 2));
    world.settle();
    world.lead(1, 2, &configs);
    world.settle();
    (world, configs)
}

/// The letters that a replica has sent and nobody got yet.
fn said(world: &World, by: u32) -> Vec<Message> {
    world.letters.iter().filter(|letter| letter.from == id(by)).map(|letter| letter.message.clone()).collect()
}

#[test]
fn i01_an_epoch_has_one_leader_whatever_is_ordered_and_each_boot_of_it_an_epoch_of_its_own() {
    let (mut world, configs) = elected();
    for number in [0, 2, 1, 0] {
        world.lead(number, 2, &configs);
        world.settle();
    }
    let leaders: Vec<_> = world.nodes.values().filter_map(|node| node.replica.leads()).collect();
    assert_eq!(leaders, [epoch(2, 1)]);
    world.crash(1);
    world.restart(1);
    world.settle();
    let starts = world.node(0).log.iter().filter(|entry| entry.kind == RecordKind::EpochStart);
    let epochs: Vec<Epoch> = starts.map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [epoch(1, 1), epoch(2, 1), epoch(2, 2)]);
}

#[test]
fn i02_a_sealed_voter_confirms_no_entry_and_no_round_of_a_lower_epoch_after_a_restart_either() {
    let mut world = World::led();
    world.seal(1, 2);
    world.settle();
    for restarted in [false, true] {
        if restarted {
            world.crash(1);
            world.restart(1);
            world.settle();
        }
        world.letters.clear();
        let committed = world.node(0).replica.committed();
        hear(&mut world, 1, 0, Message::Follow(epoch(1, 1)));
        hear(&mut world, 1, 0, Message::Beat { epoch: epoch(1, 1), committed, round: 9, is_spare: false });
        world.save(1);
        let promised = Epoch { record: RecordEpoch(2), boot: Boot(0) };
        let refused = Message::Refused { epoch: epoch(1, 1), promised };
        assert_eq!(said(&world, 1), [refused.clone(), refused], "restarted: {restarted}");
    }
}

#[test]
fn i03_an_acknowledgement_of_an_older_epoch_commits_nothing() {
    let (mut world, _) = elected();
    world.write(1, "a");
    world.sync(1);
    world.letters.clear();
    let (end, before) = (world.node(1).replica.history().end(), world.node(1).replica.committed());
    for older in [epoch(1, 1), epoch(2, 0), epoch(0, 9)] {
        hear(&mut world, 1, 0, ack(older, end));
        hear(&mut world, 1, 2, ack(older, end));
        assert_eq!(world.node(1).replica.committed(), before, "of epoch {older}");
    }
    hear(&mut world, 1, 2, ack(epoch(2, 1), end));
    assert_eq!(world.node(1).replica.committed(), end);
}

#[test]
fn i03_acknowledgements_of_replicas_outside_the_set_commit_nothing_the_leaders_own_included() {
    let mut world = World::new(4);
    // An older set elected replica 0, and it is no voter of this one.
    world.lead(0, 1, &Configs::first(voters(&[1, 2, 3])));
    world.save(0);
    world.sync(0);
    world.letters.clear();
    let end = world.node(0).replica.history().end();
    hear(&mut world, 0, 1, ack(epoch(1, 1), end));
    hear(&mut world, 0, 9, ack(epoch(1, 1), end));
    assert_eq!(
        world.node(0).replica.committed(),
        LogIndex(0),
        "one voter of three, the leader and a stranger"
    );
    hear(&mut world, 0, 2, ack(epoch(1, 1), end));
    assert_eq!(world.node(0).replica.committed(), end);
}

#[test]
fn i06_an_order_for_another_boot_is_refused_and_nothing_is_led() {
    let mut world = World::led();
    world.seal(1, 2);
    world.settle();
    let sealed = world.sealed(1).unwrap().standing;
    world.crash(1);
    world.restart(1);
    world.settle();
    world.answers.clear();
    world.lead_as(1, 2, &Configs::first(voters(&[0, 1, 2])), sealed);
    world.settle();
    assert!(matches!(world.answers[0].1, Answer::Refused(Refusal::Changed(_))));
    assert_eq!(world.node(1).replica.leads(), None);
}

/// Replica 1 has an entry that nobody else has, and is about to cut it for the leader of epoch 2, replica 2.
fn about_to_cut() -> World {
    let mut world = World::replaced();
    (0..2).for_each(|_| world.save(2));
    world.sync(2);
    while !said(&world, 2).iter().any(|message| matches!(message, Message::Adopt { .. })) {
        world.deliver(0);
        world.save(1);
    }
    world
}

#[test]
fn i09_nothing_is_written_behind_a_cut_before_it_is_durable() {
    let mut world = about_to_cut();
    world.deliver(world.letters.iter().position(|letter| letter.to == id(1)).unwrap());
    let log = world.node(1).log.clone();
    let (after, chain) = (world.node(1).replica.committed(), world.node(2).replica.history().chain());
    let records = crate::core::replication::Records {
        epoch: epoch(2, 1),
        after,
        chain,
        committed: after,
        entries: vec![super::world::write("x"), super::world::write("y")],
    };
    hear(&mut world, 1, 2, Message::Records(records));
    assert_eq!(world.node(1).log, log, "the cut is on its way to the disk");
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(2).replica.history());
    assert!(world.nodes.values().all(|node| !node.halted));
}

#[test]
fn i09_a_commit_index_counts_only_for_what_was_verified_in_its_epoch() {
    let mut world = about_to_cut();
    let (committed, own) = (world.node(1).replica.committed(), world.node(1).replica.synced());
    assert!(committed < own);
    let beat = Message::Beat { epoch: epoch(2, 1), committed: own, round: 0, is_spare: false };
    hear(&mut world, 1, 2, beat.clone());
    assert_eq!(world.node(1).replica.committed(), committed, "its last entry is not the leader's");
    world.deliver(world.letters.iter().position(|letter| letter.to == id(1)).unwrap());
    hear(&mut world, 1, 2, beat.clone());
    world.cut(1);
    hear(&mut world, 1, 2, beat);
    assert_eq!(world.node(1).replica.committed(), committed, "nor what is not here yet");
    world.settle();
    assert_eq!(world.node(1).replica.history(), world.node(2).replica.history());
}

#[test]
fn i10_a_change_that_a_new_leader_finds_counts_until_it_has_committed_in_its_own_epoch() {
    let mut world = World::new(4);
    let old = Configs::first(voters(&[0, 1, 2]));
    world.lead(0, 1, &old);
    world.settle();
    world.crash(3);
    let changed = old.with_next(voters(&[0, 1, 2, 3]));
    world.crash(2);
    world.write(0, "a");
    world.settle();
    let told = Input::Configure {
        ask: Ask(7),
        epoch: RecordEpoch(1),
        configs: changed.clone(),
        learners: Vec::new(),
    };
    world.step(id(0), told);
    world.settle();
    world.crash(0);
    world.restart(2);
    [1, 2].into_iter().for_each(|number| world.seal(number, 2));
    world.settle();
    world.lead(1, 2, &changed);
    world.settle();
    assert!(!world.node(1).replica.takes_writes(), "two of three, but two of four");
    assert_eq!(world.confirmed, [], "and nothing of its own epoch is committed");
    world.restart(3);
    world.settle();
    assert!(world.node(1).replica.takes_writes());
    assert_eq!(world.confirmed, [(RecordEpoch(2), 2)]);
}

#[test]
fn i13_a_leader_that_hears_of_nobody_leads_on_and_takes_nothing_until_it_does_or_is_sealed() {
    let mut world = World::led();
    world.cut_off.insert(id(0));
    world.letters.clear();
    world.step(id(0), Input::Tick(Duration::from_secs(60)));
    let replica = &world.node(0).replica;
    assert!(!replica.takes_writes() && replica.halted().is_none() && replica.leads().is_some());
    world.step(id(0), Input::Read);
    world.settle();
    assert!(world.readable.is_empty(), "nor does it serve reads");
    world.cut_off.clear();
    world.step(id(0), Input::Tick(Duration::from_secs(61)));
    world.settle();
    world.step(id(0), Input::Tick(Duration::from_millis(61_100)));
    assert!(world.node(0).replica.takes_writes());
    world.settle();
    assert_eq!(world.readable.len(), 1, "the read that waited");
}

#[test]
fn i14_a_round_proves_leadership_only_to_reads_that_asked_before_it_began() {
    let mut world = World::led();
    world.step(id(0), Input::Read);
    let first: Vec<_> = std::mem::take(&mut world.letters);
    world.step(id(0), Input::Read);
    for letter in first {
        world.arrive(letter);
    }
    let echoes = std::mem::take(&mut world.letters);
    // Only the echoes of the first round arrive: the second read waits on.
    for letter in echoes.into_iter().filter(|letter| letter.to == id(0)) {
        world.arrive(letter);
    }
    assert_eq!(world.readable.iter().map(|(_, round, _)| *round).collect::<Vec<_>>(), [1]);
    world.settle();
    assert_eq!(world.readable.iter().map(|(_, round, _)| *round).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn i11_a_removed_replica_takes_no_part_after_a_restart_either_until_a_set_has_it_again() {
    let mut world = World::led();
    let first = Configs::first(voters(&[0, 1, 2]));
    let change = |world: &mut World, configs: Configs, learners: &[u32]| {
        let (epoch, learners) = (RecordEpoch(1), learners.iter().copied().map(id).collect());
        world.step(id(0), Input::Configure { ask: Ask(1), epoch, configs, learners });
        world.settle();
        world.write(0, "a");
        world.settle();
    };
    change(&mut world, first.with_next(voters(&[0, 1])), &[2]);
    for restarted in [false, true] {
        if restarted {
            world.crash(2);
            world.restart(2);
            world.settle();
        }
        world.answers.clear();
        world.seal(2, 2);
        world.lead(2, 2, &first);
        world.settle();
        let refused = Answer::Refused(Refusal::Retired);
        assert_eq!(world.answers, [(id(2), refused.clone()), (id(2), refused)], "restarted: {restarted}");
    }
    assert_eq!(world.node(2).replica.memory().promised.record, RecordEpoch(1), "it promised nothing either");
    let configs = world.node(0).replica.memory().configs.clone().unwrap();
    change(&mut world, configs.with_next(voters(&[0, 1, 2])), &[]);
    world.crash(2);
    world.restart(2);
    world.settle();
    world.answers.clear();
    world.seal(2, 2);
    world.settle();
    assert!(world.sealed(2).is_some() && !world.node(2).memory.retired, "it votes");
}
