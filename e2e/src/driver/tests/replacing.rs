//! Disks that come back empty.

use thalweg_node::types::{ReplicaId, ShardId};

use super::{PATIENCE, Stage, hear};
use crate::driver::{News, View};

#[tokio::test]
async fn an_empty_disk_is_another_replica_that_learns_before_it_votes() {
    let stage = Stage::new(3).await;
    let (driver, mut news) = stage.open().await;
    for fake in &stage.fakes {
        fake.state().lag = 5_000;
    }
    stage.fakes[0].wipe(42);
    let replaced = hear(&mut news, |news| match news {
        News::Replaced { node, is } => Some((node.clone(), *is)),
        _ => None,
    });
    assert_eq!(replaced.await, ("n0".to_owned(), ReplicaId(3)));
    let learns = |view: &View| {
        let two = |row: &thalweg_node::core::replication::ShardRow| {
            !row.configs.is_changing() && row.configs.last().voters.as_slice() == [ReplicaId(1), ReplicaId(2)]
        };
        view.is_open() && view.table.rows.values().all(two) && view.table.learners.len() == 3
    };
    let view = driver.wait(PATIENCE, "the old replica is out, the new one learns", learns).await.unwrap();
    assert_eq!(view.table.learners(ShardId(0)), [ReplicaId(3)]);
    for fake in &stage.fakes {
        fake.state().lag = 5;
    }
    let view = driver.wait(PATIENCE, "it votes", |view| view.is_settled(3)).await.unwrap();
    let voters = view.table.rows[&ShardId(0)].configs.last().voters;
    assert_eq!(voters.as_slice(), [ReplicaId(1), ReplicaId(2), ReplicaId(3)]);
    assert!(!view.table.roster.members.contains_key(&ReplicaId(0)), "whoever votes nowhere is forgotten");
    assert_eq!(view.table.next_replica, 4, "and its id is never given again");
    driver.stop().await;
}

#[tokio::test]
async fn data_that_nobody_knows_is_left_alone() {
    let stage = Stage::new(1).await;
    let (driver, mut news) = stage.open().await;
    stage.fakes[0].wipe(42);
    stage.fakes[0].state().status.is_new = false;
    let said = hear(&mut news, |news| match news {
        News::Refused(why) => Some(why.clone()),
        _ => None,
    });
    assert!(said.await.contains("ForeignData"));
    assert_eq!(driver.view().table.roster.members.len(), 3);
    driver.stop().await;
}
