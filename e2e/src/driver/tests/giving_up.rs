//! Shards whose quorum is gone for good.

use std::time::Duration;

use thalweg_node::core::failover::{Presence, Trouble};
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId, VolumeIncarnation};

use super::{PATIENCE, Stage, hear};
use crate::driver::unclean::{Granted, grant, wish_within};
use crate::driver::{GivenUp, News, RecordFile, View, Wish, price, wish};

const SHARD: ShardId = ShardId(0);

fn volume(number: u8) -> VolumeIncarnation {
    VolumeIncarnation([number; 16])
}

fn record(stage: &Stage) -> RecordFile {
    RecordFile::at(stage.folder.path()).unwrap()
}

/// Wishes that a shard goes on with the third node, in the epoch in which it is.
async fn go_on(stage: &Stage, shard: ShardId) -> (RecordEpoch, GivenUp) {
    loop {
        let epoch = record(stage).read().unwrap().1.rows[&shard].epoch;
        match wish(&record(stage), shard, epoch, volume(2)).await {
            Ok(given_up) => return (epoch, given_up),
            Err(error) => assert!(error.to_string().contains("is in epoch"), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_shard_goes_on_with_one_replica_when_it_is_wished_and_those_that_were_gone_never_come_back() {
    let stage = Stage::new(2).await;
    let (driver, mut news) = stage.open().await;
    for gone in [0, 1] {
        stage.fakes[gone].state().up = false;
        driver.ended(&format!("n{gone}")).await;
    }
    let blocked = hear(&mut news, |news| match news {
        News::Trouble(SHARD, Trouble::FailoverBlocked(missing)) => Some(missing.clone()),
        _ => None,
    });
    assert_eq!(blocked.await, [ReplicaId(0), ReplicaId(1)]);
    // The first end was the beginning of a failover, which the second one may have stopped at any step.
    let (epoch, given_up) = go_on(&stage, SHARD).await;
    let barred: Vec<_> = given_up.barred.iter().map(|it| (it.id, it.incarnation)).collect();
    assert_eq!(barred, [(ReplicaId(0), volume(0)), (ReplicaId(1), volume(1))]);
    assert_eq!((given_up.chosen, given_up.epoch), (ReplicaId(2), RecordEpoch(epoch.0 + 1)));
    let leads = |view: &View| view.leaders().get("n2").is_some_and(|shards| shards.contains(&SHARD));
    let view = driver.wait(PATIENCE, "it leads", leads).await.unwrap();
    assert_eq!(view.table.rows[&SHARD].configs.everybody(), [ReplicaId(2)]);
    let members: Vec<ReplicaId> = view.table.roster.members.keys().copied().collect();
    assert_eq!((members, view.table.wish), (vec![ReplicaId(2)], None));
    // The other shard lacks the same voters, and is wished for on its own.
    go_on(&stage, ShardId(1)).await;
    driver.wait(PATIENCE, "all is led", View::is_open).await.unwrap();
    // One of those that were gone comes back with all it has: nobody takes it in.
    stage.fakes[0].state().up = true;
    let refused = hear(&mut news, |news| match news {
        News::Refused(why) if why.contains("barred for ever") => Some(why.clone()),
        _ => None,
    });
    assert!(refused.await.contains("n0"));
    let view = driver.view();
    assert!(!view.table.roster.members.contains_key(&ReplicaId(0)) && view.is_open());
    // Emptied, it is another replica, and votes.
    stage.fakes[0].wipe(42);
    driver.wait(PATIENCE, "it votes", |view| view.is_open() && view.is_settled(2)).await.unwrap();
    let said = driver.view().table.unclean;
    let barred: Vec<usize> = said.iter().map(|given_up| given_up.barred.len()).collect();
    assert_eq!(barred, [2, 2], "what was given up stays said");
    driver.stop().await;
}

#[tokio::test]
async fn a_wish_that_would_lose_something_for_nothing_is_refused_and_changes_nothing() {
    let stage = Stage::new(1).await;
    let (driver, _news) = stage.open().await;
    let before = driver.view().table;
    let epoch = before.rows[&SHARD].epoch;
    let refused = async |epoch: u64, number: u8| {
        let outcome = wish(&record(&stage), SHARD, RecordEpoch(epoch), volume(number)).await;
        outcome.unwrap_err().to_string()
    };
    assert!(refused(epoch.0, 2).await.contains("enough voters answer"));
    assert!(refused(epoch.0 + 1, 2).await.contains("is in epoch"));
    assert!(refused(epoch.0, 9).await.contains("is no member"));
    let mut after = record(&stage).read().unwrap().1;
    assert!(after.wish.take().is_some_and(|wish| wish.refused.is_some()));
    assert_eq!(after, before);
    driver.stop().await;
}

#[tokio::test]
async fn a_wish_that_no_driver_takes_up_is_taken_back() {
    let stage = Stage::new(1).await;
    let (driver, _news) = stage.open().await;
    driver.stop().await;
    let before = record(&stage).read().unwrap().1;
    let (epoch, longest) = (before.rows[&SHARD].epoch, Duration::from_millis(300));
    let outcome = wish_within(longest, &record(&stage), SHARD, epoch, volume(2)).await;
    assert!(outcome.unwrap_err().to_string().contains("no driver took it up"));
    assert_eq!(record(&stage).read().unwrap().1, before);
}

#[test]
fn the_price_names_everybody_who_is_given_up_and_every_shard_that_this_touches() {
    let mut table = super::table(3, 2);
    let row = table.rows.get_mut(&SHARD).unwrap();
    *row = row.activate(ReplicaId(0)).unwrap();
    let ask = |shard, epoch, number| Wish {
        shard: ShardId(shard),
        epoch: RecordEpoch(epoch),
        incarnation: volume(number),
        refused: None,
    };
    let lossy = price(&table, &ask(0, 1, 2)).unwrap();
    assert!(lossy.contains("is LOST") && lossy.contains("MUST be off"), "{lossy}");
    assert!(lossy.contains("n0 (replica 0), which votes for these shards, too: 1"), "{lossy}");
    let lossless = price(&table, &ask(0, 1, 0)).unwrap();
    assert!(lossless.contains("has everything that was acknowledged"), "{lossless}");
    for (wrong, why) in
        [(ask(0, 2, 2), "is in epoch"), (ask(0, 1, 7), "is no member"), (ask(9, 1, 2), "no shard")]
    {
        let error = price(&table, &wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_wish_is_answered_once_and_whoever_learned_from_what_was_given_up_begins_anew() {
    let mut table = super::table(3, 2);
    let row = table.rows.get_mut(&SHARD).unwrap();
    *row = row.activate(ReplicaId(0)).unwrap();
    let epoch = row.epoch;
    table.learners.insert(SHARD, vec![ReplicaId(7)]);
    let wish = Wish { shard: SHARD, epoch, incarnation: volume(2), refused: None };
    let alone =
        |_, id| if id == ReplicaId(2) { Presence::Answers { damaged: false } } else { Presence::Silent };
    table.wish = Some(Wish { refused: Some("before".to_owned()), ..wish });
    let before = table.clone();
    assert!(grant(&mut table, alone).is_none());
    assert_eq!(table, before, "what was refused stays so");
    table.wish = Some(wish);
    assert!(matches!(grant(&mut table, alone), Some(Granted::Yes(_))));
    assert_eq!((table.wish, table.learners.contains_key(&SHARD)), (None, false));
}
