//! A subscription at its home shard: defined once, one wake at a time, and everybody fenced who is not its worker.

use std::collections::BTreeSet;

use super::world::{World, name};
use crate::core::{Command, Presented, Reply, SubscriptionAsk, SubscriptionCommand, SubscriptionError};
use crate::types::limits::{RETRY_MS, SUBSCRIPTION_STREAMS_MAX, SUBSCRIPTIONS_PER_SHARD_MAX};
use crate::types::{
    Definition, Delivery, Glob, Grant, Phase, Stage, Subscription, SubscriptionId, SubscriptionUid, WakeId,
};
use SubscriptionAsk as Ask;

const LEASE_MS: i64 = 5_000;

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn pull() -> Delivery {
    Delivery::Pull { wake_stream: name("wake") }
}

fn webhook() -> Delivery {
    Delivery::Webhook { url: "https://example.com/".into() }
}

fn definition(delivery: Delivery) -> Definition {
    Definition {
        delivery,
        pattern: Some(Glob::parse("events/*").unwrap()),
        streams: BTreeSet::new(),
        lease_ms: u32::try_from(LEASE_MS).unwrap(),
        description: None,
        base: String::new(),
    }
}

fn define(delivery: Delivery, hash: u8, uid: u64) -> Ask {
    let definition = Box::new(definition(delivery));
    Ask::Define { definition, config_hash: [hash; 32], uid: SubscriptionUid(uid) }
}

impl World {
    /// The state after, and whether it changed.
    fn ask(&mut self, text: &str, ask: Ask) -> Result<(Subscription, bool), SubscriptionError> {
        let command = SubscriptionCommand { id: id(text), ask };
        match self.run(Command::Subscription(Box::new(command))).reply {
            Reply::Subscription(reply) => reply.map(|outcome| (*outcome.subscription, outcome.changed)),
            other => panic!("{other:?}"),
        }
    }

    /// A subscription that all shards know.
    fn serving(delivery: Delivery) -> Self {
        let mut world = Self::open();
        world.ask("s", define(delivery, 1, 1)).unwrap();
        world.ask("s", Ask::Linked { uid: SubscriptionUid(1), streams: 0 }).unwrap();
        world
    }

    fn wake(&mut self, wake: u128) -> Grant {
        let (subscription, changed) = self.ask("s", Ask::Wake { wake: WakeId(wake), lost: false }).unwrap();
        assert!(changed);
        subscription.grant().unwrap()
    }

    fn claim(&mut self, worker: &str, wake: u128, pending: bool) -> Result<Grant, SubscriptionError> {
        let ask = Ask::Claim { worker: worker.into(), wake: WakeId(wake), pending };
        self.ask("s", ask).map(|(subscription, _)| subscription.grant().unwrap())
    }

    fn phase(&mut self) -> Phase {
        self.ask("s", Ask::Expire).unwrap().0.phase
    }
}

fn shown(grant: Grant) -> Presented {
    Presented { token: grant, stated: grant }
}

#[test]
fn a_definition_is_confirmed_by_its_like_and_by_nothing_else() {
    let mut world = World::open();
    let (first, new) = world.ask("s", define(pull(), 1, 1)).unwrap();
    assert!(new && first.stage == Stage::Linking && first.uid == SubscriptionUid(1));
    let (again, new) = world.ask("s", define(pull(), 1, 2)).unwrap();
    assert!(!new && again == first, "the second proposal changes nothing");
    assert_eq!(world.ask("s", define(pull(), 2, 3)), Err(SubscriptionError::Exists));
    assert_eq!(world.log.len(), 1);
    world.restart();
    assert_eq!(world.ask("s", define(pull(), 1, 4)), Ok((first, false)));
}

#[test]
fn streams_that_are_named_later_do_not_change_what_confirms_it() {
    let mut world = World::serving(pull());
    let (more, _) = world.ask("s", Ask::AddStreams(vec![name("b"), name("a"), name("b")])).unwrap();
    assert_eq!((more.stage, more.definition.streams.len()), (Stage::Linking, 2));
    let (same, changed) = world.ask("s", define(pull(), 1, 9)).unwrap();
    assert!(!changed && same == more);
    assert!(
        !world.ask("s", Ask::Linked { uid: SubscriptionUid(1), streams: 1 }).unwrap().1,
        "told of one only"
    );
    assert!(world.ask("s", Ask::Linked { uid: SubscriptionUid(1), streams: 2 }).unwrap().1);
    let (less, _) = world.ask("s", Ask::RemoveStream(name("a"))).unwrap();
    assert_eq!(less.definition.streams, BTreeSet::from([name("b")]));
    assert!(!world.ask("s", Ask::RemoveStream(name("zzz"))).unwrap().1);
}

#[test]
fn subscriptions_and_their_streams_are_bounded() {
    let mut world = World::open();
    for number in 0..SUBSCRIPTIONS_PER_SHARD_MAX {
        world.ask(&number.to_string(), define(pull(), 1, 1)).unwrap();
    }
    assert_eq!(world.ask("more", define(pull(), 1, 1)), Err(SubscriptionError::TooMany));
    assert!(!world.ask("0", define(pull(), 1, 1)).unwrap().1, "those that are there are still confirmed");
    let many = (0..=SUBSCRIPTION_STREAMS_MAX).map(|number| name(&number.to_string())).collect();
    assert_eq!(world.ask("0", Ask::AddStreams(many)), Err(SubscriptionError::TooManyStreams));
    let long = (0..100).map(|number| name(&format!("{number}{}", "x".repeat(1000)))).collect();
    assert_eq!(world.ask("0", Ask::AddStreams(long)), Err(SubscriptionError::TooManyStreams));
}

#[test]
fn what_is_being_removed_answers_as_if_it_were_gone_until_it_is() {
    let mut world = World::serving(pull());
    let (removed, _) = world.ask("s", Ask::Remove).unwrap();
    assert_eq!(removed.stage, Stage::Removing);
    for ask in [Ask::Remove, Ask::Expire, Ask::Wake { wake: WakeId(1), lost: true }] {
        assert_eq!(world.ask("s", ask), Err(SubscriptionError::NotFound));
    }
    assert_eq!(world.ask("s", define(pull(), 1, 2)), Err(SubscriptionError::Removing));
    assert_eq!(world.ask("s", Ask::Forget(SubscriptionUid(7))), Err(SubscriptionError::NotFound));
    world.restart();
    world.ask("s", Ask::Forget(SubscriptionUid(1))).unwrap();
    assert!(world.ask("s", define(pull(), 2, 2)).unwrap().1, "the id is free");
    assert_eq!(world.ask("s", Ask::Forget(SubscriptionUid(1))), Err(SubscriptionError::NotFound));
}

#[test]
fn one_wake_is_in_flight_at_a_time_and_each_has_a_generation_of_its_own() {
    let mut world = World::serving(webhook());
    let first = world.wake(11);
    assert_eq!(first, Grant { generation: 1, wake: WakeId(11) });
    assert!(!world.ask("s", Ask::Wake { wake: WakeId(12), lost: false }).unwrap().1);
    let (again, _) = world.ask("s", Ask::Wake { wake: WakeId(13), lost: true }).unwrap();
    assert_eq!(again.grant(), Some(Grant { generation: 2, wake: WakeId(13) }), "a lost one is repeated anew");
    assert_eq!(world.ask("s", Ask::Settle(shown(first))), Err(SubscriptionError::Fenced));
    world.ask("s", Ask::Settle(shown(again.grant().unwrap()))).unwrap();
    world.restart();
    assert_eq!(world.wake(14).generation, 3);
}

#[test]
fn a_wake_waits_until_all_shards_know_the_subscription() {
    let mut world = World::open();
    world.ask("s", define(pull(), 1, 1)).unwrap();
    assert!(!world.ask("s", Ask::Wake { wake: WakeId(1), lost: false }).unwrap().1);
}

/// What a worker shows in place of the wake in flight, part by part.
#[test]
fn a_worker_is_fenced_by_each_part_that_does_not_match() {
    let right = Grant { generation: 1, wake: WakeId(5) };
    let generation = Grant { generation: 2, ..right };
    let older = Grant { generation: 0, ..right };
    let wake = Grant { wake: WakeId(6), ..right };
    for (token, stated, admitted) in [
        (right, right, true),
        (generation, right, false),
        (older, right, false),
        (wake, right, false),
        (right, generation, false),
        (right, older, false),
        (right, wake, false),
        (wake, wake, false),
        (generation, generation, false),
    ] {
        for ask in [Ask::Renew, Ask::Settle] {
            let mut world = World::serving(pull());
            assert_eq!(world.claim("w", 5, true), Ok(right));
            let records = world.log.len();
            let answer = world.ask("s", ask(Presented { token, stated }));
            match admitted {
                true => assert!(answer.is_ok()),
                false => {
                    assert_eq!(answer, Err(SubscriptionError::Fenced), "{token:?} {stated:?}");
                    assert_eq!(world.log.len(), records, "nothing changed");
                }
            }
        }
    }
}

#[test]
fn a_worker_is_fenced_when_its_work_is_over_and_when_its_lease_has_run_out() {
    let mut world = World::serving(pull());
    let grant = world.claim("w", 5, true).unwrap();
    world.tick(LEASE_MS - 1);
    world.ask("s", Ask::Renew(shown(grant))).unwrap();
    world.tick(LEASE_MS - 1);
    world.ask("s", Ask::Renew(shown(grant))).unwrap();
    world.tick(LEASE_MS);
    assert_eq!(world.ask("s", Ask::Renew(shown(grant))), Err(SubscriptionError::Fenced), "it was too late");
    assert_eq!(world.phase(), Phase::Idle);
    assert_eq!(world.ask("s", Ask::Renew(shown(grant))), Err(SubscriptionError::Fenced));
    let next = world.claim("w", 6, true).unwrap();
    assert_eq!(next.generation, 2);
    world.ask("s", Ask::Settle(shown(next))).unwrap();
    assert_eq!(world.ask("s", Ask::Settle(shown(next))), Err(SubscriptionError::Fenced), "once");
}

#[test]
fn a_lease_survives_a_restart_and_ends_when_it_would_have() {
    let mut world = World::serving(pull());
    let grant = world.claim("worker-1", 5, true).unwrap();
    world.tick(LEASE_MS - 1);
    world.restart();
    let busy = SubscriptionError::Claimed { holder: "worker-1".into(), generation: grant.generation };
    assert_eq!(world.claim("worker-2", 6, true), Err(busy));
    assert!(matches!(world.phase(), Phase::Leased { .. }));
    world.tick(1);
    assert_eq!(world.phase(), Phase::Idle);
    assert_eq!(world.claim("worker-2", 6, true).unwrap().generation, 2);
}

#[test]
fn a_claim_takes_the_announced_wake_or_begins_one_or_finds_nothing() {
    let mut world = World::serving(pull());
    assert_eq!(world.claim("w", 1, false), Err(SubscriptionError::NoPendingWork));
    let announced = world.wake(2);
    assert_eq!(world.claim("w", 3, true), Ok(announced));
    world.ask("s", Ask::Settle(shown(announced))).unwrap();
    assert_eq!(world.claim("w", 4, true), Ok(Grant { generation: 2, wake: WakeId(4) }));
    // Whoever holds a lease hears so although nothing is pending any more.
    assert!(matches!(world.claim("v", 5, false), Err(SubscriptionError::Claimed { .. })));
    assert_eq!(World::serving(webhook()).claim("w", 1, true), Err(SubscriptionError::WrongType));
}

#[test]
fn nobody_works_on_a_pull_wake_that_nobody_claimed() {
    let mut world = World::serving(pull());
    let grant = world.wake(2);
    assert_eq!(world.ask("s", Ask::Settle(shown(grant))), Err(SubscriptionError::Fenced));
    world.ask("s", Ask::Withdraw(grant)).unwrap();
    assert_eq!(world.phase(), Phase::Idle);
    assert_eq!(world.wake(3).generation, 2, "the next one is announced again");
    assert!(!world.ask("s", Ask::Withdraw(grant)).unwrap().1, "an old one changes nothing");
}

#[test]
fn a_worker_may_call_back_before_its_webhook_has_returned() {
    let mut world = World::serving(webhook());
    let grant = world.wake(2);
    world.ask("s", Ask::Settle(shown(grant))).unwrap();
    for late in [Ask::Delivered(grant), Ask::Failed { grant, jitter: 500 }] {
        let (after, changed) = world.ask("s", late).unwrap();
        assert!(!changed && after.failures == 0 && after.phase == Phase::Idle);
    }
    let grant = world.wake(3);
    world.ask("s", Ask::Renew(shown(grant))).unwrap();
    assert!(!world.ask("s", Ask::Failed { grant, jitter: 500 }).unwrap().1, "the worker is there");
}

#[test]
fn retries_back_off_within_their_bounds_and_survive_a_restart() {
    let mut world = World::serving(webhook());
    let mut base = *RETRY_MS.start();
    for (failures, jitter) in (1..=12u32).zip([0, 500, 1000].into_iter().cycle()) {
        let grant = world.wake(u128::from(failures));
        let (failed, _) = world.ask("s", Ask::Failed { grant, jitter }).unwrap();
        assert_eq!((failed.failures, failed.phase.clone()), (failures, Phase::Idle));
        let wait = u64::try_from(failed.retry_at.0 - world.now.0).unwrap();
        let expected = base * [80, 100, 120][usize::from(jitter / 500)] / 100;
        assert_eq!(wait, expected, "failure {failures}");
        world.restart();
        world.tick(i64::try_from(wait).unwrap() - 1);
        assert!(!world.ask("s", Ask::Wake { wake: WakeId(99), lost: false }).unwrap().1, "too early");
        world.tick(1);
        base = (2 * base).min(*RETRY_MS.end());
    }
    let grant = world.wake(100);
    world.ask("s", Ask::Delivered(grant)).unwrap();
    let (served, _) = world.ask("s", Ask::Settle(shown(grant))).unwrap();
    assert_eq!(served.failures, 0, "a success forgets failures");
}
