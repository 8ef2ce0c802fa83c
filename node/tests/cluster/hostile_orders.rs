//! Orders at the admin port of a whole node that are meant for others, come too late, come twice or come in floods: what the
//! node has promised, written and remembered is as it was.

use std::sync::Arc;

use thalweg_node::admin::words::{
    Addressee, Batch, ConfigAsk, LeadAsk, Outcome, SealAsk, Shutdown, Standing, VoterSets,
};
use thalweg_node::admin::{AdminClient, AdminError, Governed, serve};
use thalweg_node::types::{
    ClusterId, Configs, Epoch, LogIndex, RecordEpoch, ReplicaId, VolumeIncarnation, Voters,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::member::{LED, Lone, SHARD, lead};
use crate::world::within;

struct Port {
    client: AdminClient,
    address: std::net::SocketAddr,
    _ends: oneshot::Sender<()>,
}

async fn port(lone: &Lone) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ends, end) = oneshot::channel::<()>();
    let node: Arc<dyn Governed> = Arc::new(lone.control());
    tokio::spawn(serve(listener, node, async move { drop(end.await) }));
    Port { client: AdminClient::new(address), address, _ends: ends }
}

fn seal(to: Addressee, epoch: u64) -> Batch<SealAsk> {
    Batch { to, asks: vec![SealAsk { shard: SHARD, epoch: RecordEpoch(epoch) }] }
}

fn sets() -> VoterSets {
    VoterSets(Configs::first(Voters::new([0, 1, 2].map(ReplicaId)).unwrap()))
}

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_for_others_of_the_past_or_of_nobody_who_was_elected_change_nothing() {
    let lone = Lone::start();
    let leader = lead(&lone);
    let port = port(&lone).await;
    let me = port.client.status().await.unwrap().addressee();
    let before = lone.state().await;
    let others = [
        Addressee { cluster: ClusterId([9; 16]), ..me },
        Addressee { replica: Some(ReplicaId(2)), ..me },
        Addressee { replica: None, ..me },
        Addressee { incarnation: VolumeIncarnation([9; 16]), ..me },
    ];
    for to in others {
        let answer = port.client.seal(&seal(to, 50)).await;
        assert!(matches!(answer, Err(AdminError::Refused(_))), "{answer:?}");
        let answer = port.client.shutdown(&Shutdown { to }).await;
        assert!(matches!(answer, Err(AdminError::Refused(_))), "{answer:?}");
    }
    // A seal of the past; an order to lead that nobody won; news of voters for one who does not lead.
    for epoch in [0, 1, 2] {
        let answers = port.client.seal(&seal(me, epoch)).await.unwrap();
        assert!(refused(&answers.answers[0].outcome), "{answers:?}");
    }
    let expected = Standing { boot: before.boot(), last: LED, end: LogIndex(1) };
    for epoch in [2, 3, 50] {
        let (configs, epoch) = (sets(), RecordEpoch(epoch));
        let ask = LeadAsk { shard: SHARD, epoch, configs: configs.clone(), learners: Vec::new(), expected };
        let answers = port.client.lead(&Batch { to: me, asks: vec![ask] }).await.unwrap();
        assert!(refused(&answers.answers[0].outcome), "{answers:?}");
        let ask = ConfigAsk { shard: SHARD, epoch, configs, learners: Vec::new() };
        let answers = port.client.configure(&Batch { to: me, asks: vec![ask] }).await.unwrap();
        assert!(refused(&answers.answers[0].outcome), "{answers:?}");
    }
    assert_eq!(lone.state().await, before);
    drop(leader);
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_played_again_after_its_time_is_refused_and_at_its_time_changes_nothing() {
    let lone = Lone::start();
    let leader = lead(&lone);
    let port = port(&lone).await;
    let me = port.client.status().await.unwrap().addressee();
    for epoch in [7, 8] {
        let answers = port.client.seal(&seal(me, epoch)).await.unwrap();
        assert!(matches!(answers.answers[0].outcome, Outcome::Sealed(_)), "{answers:?}");
    }
    let before = lone.state().await;
    let again = port.client.seal(&seal(me, 8)).await.unwrap();
    assert!(matches!(again.answers[0].outcome, Outcome::Sealed(_)), "{again:?}");
    let late = port.client.seal(&seal(me, 7)).await.unwrap();
    assert!(refused(&late.answers[0].outcome), "{late:?}");
    assert_eq!(lone.state().await, before);
    let report = lone.shard(|report| report.promised >= Epoch::default()).await;
    assert_eq!(report.promised.record, RecordEpoch(8));
    drop(leader);
    lone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_the_admin_port_changes_nothing_and_keeps_no_elector_out() {
    let lone = Lone::start();
    let leader = lead(&lone);
    let port = port(&lone).await;
    let before = lone.state().await;
    let mut flood = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /admin/shutdown HTTP/1.1\r\nhost: n0\r\n").await.unwrap();
        }
        flood.push(stream);
    }
    let begun = tokio::time::Instant::now();
    within(port.client.status()).await.expect("an elector is served");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut first = flood.remove(0);
    assert!(within(first.read(&mut [0; 9])).await.map_or(true, |count| count == 0), "the oldest are closed");
    assert_eq!(lone.state().await, before);
    drop((leader, flood));
    lone.stop().await;
}
