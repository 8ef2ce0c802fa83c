//! How shards get other leaders.

use thalweg_node::core::failover::Reason;
use thalweg_node::types::{Epoch, RecordEpoch, ReplicaId, Roster, ShardId};

use super::{PATIENCE, Stage, hear};
use crate::driver::{News, View};

#[tokio::test]
async fn all_shards_of_a_process_that_ended_go_to_the_others_evenly() {
    let stage = Stage::new(6).await;
    let (driver, mut news) = stage.open().await;
    stage.fakes[0].state().up = false;
    driver.ended("n0").await;
    let moved = hear(&mut news, |news| match news {
        News::Moved { epoch: RecordEpoch(2), reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(moved.await, Some(Reason::Ended));
    let gone = |view: &View| view.is_open() && !view.leaders().contains_key("n0");
    driver.wait(PATIENCE, "the others lead", gone).await.unwrap();
    assert_eq!((stage.fakes[1].leads(), stage.fakes[2].leads()), (3, 3));
    driver.stop().await;
}

#[tokio::test]
async fn a_node_that_forgot_the_others_is_told_again() {
    let stage = Stage::new(2).await;
    let (driver, _news) = stage.open().await;
    let known = stage.fakes[1].state().status.roster.clone();
    {
        let mut state = stage.fakes[1].state();
        (state.status.roster, state.status.replica) = (Roster::default(), None);
    }
    let answers = |view: &View| {
        view.pulses.contains_key(&ReplicaId(1)) && stage.fakes[1].state().status.roster == known
    };
    driver.wait(PATIENCE, "it knows them again", answers).await.unwrap();
    driver.stop().await;
}

#[tokio::test]
async fn two_drivers_over_one_record_move_a_shard_once() {
    let stage = Stage::new(3).await;
    let (first, _first_news) = stage.open().await;
    let (second, _second_news) = stage.driver(1).await;
    stage.fakes[0].state().up = false;
    tokio::join!(first.ended("n0"), second.ended("n0"));
    let gone = |view: &View| view.is_open() && !view.leaders().contains_key("n0");
    first.wait(PATIENCE, "the others lead", gone).await.unwrap();
    let seen = second.wait(PATIENCE, "the second one sees it", gone).await.unwrap();
    let epochs: Vec<RecordEpoch> = seen.table.rows.values().map(|row| row.epoch).collect();
    assert_eq!(epochs, [RecordEpoch(2), RecordEpoch(1), RecordEpoch(1)]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_driver_that_was_dropped_amid_an_election_is_followed_by_one_that_ends_it() {
    let stage = Stage::new(1).await;
    let (driver, _news) = stage.open().await;
    stage.fakes.iter().for_each(|fake| fake.state().up = false);
    driver.stop().await;
    let record = crate::driver::RecordFile::at(stage.folder.path()).unwrap();
    let (_, table) = record
        .change(|table| {
            let row = table.rows.get_mut(&ShardId(0)).unwrap();
            *row = row.seal().unwrap();
            true
        })
        .unwrap();
    assert_eq!(table.rows[&ShardId(0)].epoch, RecordEpoch(2));
    stage.fakes.iter().for_each(|fake| fake.state().up = true);
    let (driver, _news) = stage.open().await;
    assert_eq!(driver.view().table.rows[&ShardId(0)].epoch, RecordEpoch(2));
    driver.stop().await;
}

#[tokio::test]
async fn i16_nothing_is_touched_once_the_record_is_older_than_what_nodes_have_promised() {
    let stage = Stage::new(1).await;
    let (driver, mut news) = stage.open().await;
    let before = driver.view().table;
    let leader = usize::try_from(before.rows[&ShardId(0)].leader().unwrap().0).unwrap();
    let other = (leader + 1) % 3;
    for shard in stage.fakes[other].state().shards.values_mut() {
        shard.promised = Epoch { record: RecordEpoch(9), ..shard.promised };
    }
    let said = hear(&mut news, |news| match news {
        News::Halted(why) => Some(why.clone()),
        _ => None,
    });
    assert!(said.await.contains("RecordRollback"));
    stage.fakes[leader].state().up = false;
    driver.ended(&format!("n{leader}")).await;
    // Whatever it did would be done by the time at which it has heard the next three answers.
    tokio::time::sleep(std::time::Duration::from_millis(1_600)).await;
    assert_eq!(driver.view().table, before);
    driver.stop().await;
}
