//! How a cluster begins, and what is never taken for a beginning.

use thalweg_node::types::{ClusterId, Epoch, RecordEpoch, ReplicaId, ShardId};

use super::{Driver, Stage, hear};
use crate::driver::{BootstrapError, News, RecordFile, bootstrap};

#[tokio::test]
async fn new_nodes_become_a_cluster_whose_shards_have_leaders_evenly() {
    let stage = Stage::new(6).await;
    let (driver, _news) = stage.open().await;
    let view = driver.view();
    let leads: Vec<usize> = view.leaders().values().map(Vec::len).collect();
    assert_eq!(leads, [2, 2, 2]);
    for (number, fake) in stage.fakes.iter().enumerate() {
        let state = fake.state();
        assert_eq!(state.status.replica, Some(ReplicaId(u32::try_from(number).unwrap())));
        assert_eq!(state.status.roster, view.table.roster);
    }
    driver.stop().await;
}

#[tokio::test]
async fn i16_nodes_that_hold_data_or_belong_elsewhere_are_never_taken_for_a_new_cluster() {
    let stage = Stage::new(1).await;
    let record = RecordFile::at(stage.folder.path()).unwrap();
    stage.fakes[1].state().status.is_new = false;
    let outcome = bootstrap(&stage.plan, &record).await;
    assert!(matches!(&outcome, Err(BootstrapError::RecordLost(node)) if node == "n1"), "{outcome:?}");
    stage.fakes[1].wipe(1);
    stage.fakes[2].state().status.cluster = ClusterId([9; 16]);
    let outcome = bootstrap(&stage.plan, &record).await;
    assert!(matches!(&outcome, Err(BootstrapError::Foreign { node, .. }) if node == "n2"), "{outcome:?}");
    stage.fakes[2].wipe(1);
    let outcome = bootstrap(&stage.plan, &record).await;
    assert!(matches!(&outcome, Err(BootstrapError::SameVolume(node)) if node == "n2"), "{outcome:?}");
    assert!(record.read().is_err(), "nothing was written");
    stage.fakes[2].wipe(2);
    bootstrap(&stage.plan, &record).await.unwrap();
}

#[tokio::test]
async fn i16_a_driver_that_finds_its_record_gone_refuses_and_makes_no_other() {
    let stage = Stage::new(1).await;
    let (driver, mut news) = stage.open().await;
    let path = stage.folder.path().join("record.json");
    let copy = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let refused = hear(&mut news, |news| match news {
        News::Refused(why) => Some(why.clone()),
        _ => None,
    });
    assert!(refused.await.contains("there is no record"));
    let leader = driver.view().leaders().into_keys().next().unwrap();
    driver.ended(&leader).await;
    driver.stop().await;
    let error = Driver::start(stage.setup(0)).await.unwrap_err();
    assert!(error.to_string().contains("RecordLost"), "{error}");
    assert!(!path.exists(), "nothing was written in its place");
    std::fs::write(&path, copy).unwrap();
    stage.open().await.0.stop().await;
}

#[tokio::test]
async fn i16_an_older_record_is_found_out_before_anything_is_decided_on_it() {
    let stage = Stage::new(1).await;
    stage.open().await.0.stop().await;
    let record = RecordFile::at(stage.folder.path()).unwrap();
    let (_, table) = record.read().unwrap();
    let Ok(leader) = table.rows[&ShardId(0)].leader() else { panic!("nobody leads") };
    let other = (leader.0 + 1) % 3;
    for shard in stage.fakes[usize::try_from(other).unwrap()].state().shards.values_mut() {
        shard.promised = Epoch { record: RecordEpoch(9), ..shard.promised };
    }
    // The leader has ended: whoever does not ask the others first begins an epoch.
    stage.fakes[usize::try_from(leader.0).unwrap()].state().up = false;
    let (driver, mut news) = stage.driver(0).await;
    driver.ended(&format!("n{}", leader.0)).await;
    let refused = hear(&mut news, |news| match news {
        News::Halted(why) => Some(why.clone()),
        _ => None,
    });
    assert!(refused.await.contains("RecordRollback"));
    driver.stop().await;
    assert_eq!(record.read().unwrap().1, table);
}

#[tokio::test]
async fn i16_a_record_of_another_cluster_is_refused() {
    let mut stage = Stage::new(1).await;
    stage.open().await.0.stop().await;
    stage.plan.cluster = ClusterId([9; 16]);
    let error = Driver::start(stage.setup(0)).await.unwrap_err();
    assert!(error.to_string().contains("the record is that of cluster"), "{error}");
}
