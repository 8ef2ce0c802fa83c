//! How a cluster begins, and what is never taken for a beginning.

use thalweg_node::types::{ClusterId, ReplicaId};

use super::{Driver, Stage};
use crate::driver::{BootstrapError, RecordFile, bootstrap};

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
async fn nodes_that_hold_data_or_belong_elsewhere_are_never_taken_for_a_new_cluster() {
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
async fn a_record_of_another_cluster_is_refused() {
    let mut stage = Stage::new(1).await;
    stage.open().await.0.stop().await;
    stage.plan.cluster = ClusterId([9; 16]);
    let error = Driver::start(stage.setup(0)).await.unwrap_err();
    assert!(error.to_string().contains("the record is that of cluster"), "{error}");
}
