//! Each call as the client makes it.

use super::*;

fn seal(shard: u16, epoch: u64) -> SealAsk {
    SealAsk { shard: ShardId(shard), epoch: RecordEpoch(epoch) }
}

#[tokio::test]
async fn a_node_says_who_it_is_and_how_it_does() {
    let port = Port::open().await;
    let status = port.client.status().await.unwrap();
    assert_eq!(NodeReport::from(status.clone()), port.node.node());
    assert_eq!(status.pulse.map(|pulse| (pulse.replica, pulse.boot)), Some((ReplicaId(1), Boot(3))));
    port.node.report.lock().unwrap().replica = None;
    assert_eq!(port.client.status().await.unwrap().pulse, None, "it was not told who it is");
    port.close().await;
}

#[tokio::test]
async fn how_shards_stand_is_told_to_programs_and_to_people() {
    let port = Port::open().await;
    let told = port.client.shards().await.unwrap().shards;
    assert_eq!(told.into_iter().map(ShardReport::from).collect::<Vec<_>>(), reports());
    let answer =
        port.send(b"GET /admin/shards?format=table HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n").await;
    let (head, table) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain"), "{head}");
    assert_eq!(table, include_str!("../golden/shards.txt"));
    port.close().await;
}

#[tokio::test]
async fn the_table_calls_members_by_their_names_beside_their_ids() {
    let port = Port::open().await;
    let member = |node: &str| crate::types::Member {
        node: node.to_owned(),
        incarnation: None,
        peer: format!("{node}:4537"),
        client: format!("{node}:4437"),
    };
    let members = BTreeMap::from([(ReplicaId(0), member("n0")), (ReplicaId(1), member("n1"))]);
    port.node.report.lock().unwrap().roster = Roster { members };
    let answer =
        port.send(b"GET /admin/shards?format=table HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("\n0      leading  1 (n1)  4.3"), "{answer}");
    assert!(answer.contains("replica 0 (n0) has 14:") && answer.contains("replica 2 has 0:"), "{answer}");
    port.close().await;
}

#[tokio::test]
async fn each_ask_of_a_batch_has_its_own_answer_in_its_place() {
    let port = Port::open().await;
    let to = port.node.addressee();
    let batch = Batch { to, asks: vec![seal(3, 2), seal(8, 2), seal(0, 1)] };
    let answers = port.client.seal(&batch).await.unwrap().answers;
    let found: Vec<(u16, Outcome)> = answers.into_iter().map(|one| (one.shard.0, one.outcome)).collect();
    let expected = [
        (3, Ok(Answer::Leads { epoch: Epoch { record: RecordEpoch(2), boot: Boot(3) }, open: true })),
        (8, Err(NoAnswer::NoShard(ShardId(8)))),
        (0, Ok(Answer::Refused(Refusal::Promised(at(2))))),
    ];
    assert_eq!(found, expected.map(|(shard, answer)| (shard, Outcome::from(answer))));
    assert_eq!(port.node.heard(), ["seal 3 2", "seal 8 2", "seal 0 1"]);
    port.close().await;
}

#[tokio::test]
async fn snapshots_are_ordered_by_shard_and_how_they_stand_is_told() {
    let port = Port::open().await;
    let told = port.client.snapshots().await.unwrap().snapshots;
    let expected: Vec<ShardSnapshot> = port.node.snapshots().into_iter().map(Into::into).collect();
    assert_eq!(told, expected);
    assert_eq!(told[0].under_way, Some(UnderWay { rows: 2, of_rows: 3, bytes: 1 }));
    let ask = |shards: &[u16]| SnapshotAsk {
        to: port.node.addressee(),
        shards: shards.iter().copied().map(ShardId).collect(),
    };
    port.client.order_snapshots(&ask(&[])).await.unwrap();
    port.client.order_snapshots(&ask(&[3])).await.unwrap();
    let refused = port.client.order_snapshots(&ask(&[0, 7])).await.unwrap_err();
    assert!(matches!(&refused, AdminError::Refused(trouble) if trouble.code == "no_such_shard"), "{refused}");
    let mut to = port.node.addressee();
    to.incarnation = VolumeIncarnation([9; 16]);
    port.client.order_snapshots(&SnapshotAsk { to, shards: Vec::new() }).await.unwrap_err();
    assert_eq!(port.node.heard(), ["snapshots []", "snapshots [ShardId(3)]"]);
    port.close().await;
}

#[tokio::test]
async fn orders_reach_the_node_whole() {
    let port = Port::open().await;
    let to = port.node.addressee();
    let order = Order { epoch: RecordEpoch(5), configs: configs(), learners: vec![ReplicaId(9)] };
    let expected = Standing { boot: Boot(3), last: at(4), end: LogIndex(17) };
    let lead = LeadAsk::new(ShardId(3), order.clone(), expected);
    port.client.lead(&Batch { to, asks: vec![lead] }).await.unwrap();
    let config = ConfigAsk::new(ShardId(4), order);
    port.client.configure(&Batch { to, asks: vec![config] }).await.unwrap();
    let hand_over =
        HandOverAsk { shard: ShardId(5), epoch: RecordEpoch(6), successor: ReplicaId(2), patience_ms: 40 };
    port.client.hand_over(&Batch { to, asks: vec![hand_over] }).await.unwrap();
    port.client.drain(&Drain { to, draining: true }).await.unwrap();
    port.client.shutdown(&Shutdown { to }).await.unwrap();
    let version = ConfigVersion(1);
    assert_eq!(
        port.node.heard(),
        [
            "lead 3 5 from 17 with [ReplicaId(9)]".to_owned(),
            format!("configure 4 5 {version:?}"),
            "hand over 5 6 to replica 2 in 40ms".to_owned(),
            "drain true".to_owned(),
            "shut down".to_owned()
        ]
    );
    port.close().await;
}

#[tokio::test]
async fn what_is_meant_for_another_node_is_refused_before_anything_happens() {
    let port = Port::open().await;
    let to = port.node.addressee();
    let others = [
        Addressee { cluster: ClusterId([9; 16]), ..to },
        Addressee { replica: Some(ReplicaId(9)), ..to },
        Addressee { replica: None, ..to },
        Addressee { incarnation: VolumeIncarnation([9; 16]), ..to },
    ];
    for other in others {
        let members = Members { to: other, members: MemberList(Roster::default()) };
        let refusals = [
            port.client.seal(&Batch { to: other, asks: vec![seal(3, 2)] }).await.map(drop),
            port.client.drain(&Drain { to: other, draining: true }).await,
            port.client.shutdown(&Shutdown { to: other }).await,
            port.client.members(&members).await,
        ];
        for refusal in refusals {
            let Err(AdminError::Refused(trouble)) = refusal else { panic!("{refusal:?}") };
            assert_eq!((trouble.status, trouble.code.as_str()), (409, "another_node"));
            assert_eq!((trouble.outcome, trouble.found.as_deref()), (Fate::Refused, Some(&to)));
        }
    }
    assert!(port.node.heard().is_empty());
    port.close().await;
}

#[tokio::test]
async fn a_node_that_was_not_told_who_it_is_is_told_once() {
    let port = Port::open().await;
    port.node.report.lock().unwrap().replica = None;
    let to = port.node.addressee();
    assert_eq!(to.replica, None);
    let member = crate::types::Member {
        node: "n1".to_owned(),
        incarnation: Some(to.incarnation),
        peer: "n1:4537".to_owned(),
        client: "n1:4437".to_owned(),
    };
    let roster = Roster { members: BTreeMap::from([(ReplicaId(4), member)]) };
    let stranger = Members { to, members: MemberList(Roster::default()) };
    let Err(AdminError::Refused(trouble)) = port.client.members(&stranger).await else { panic!() };
    assert_eq!((trouble.status, trouble.code.as_str()), (409, "not_in_members"));
    let to = Addressee { replica: Some(ReplicaId(4)), ..to };
    let news = Members { to, members: MemberList(roster) };
    for _ in 0..2 {
        port.client.members(&news).await.unwrap();
        assert_eq!(port.node.addressee(), to);
    }
    port.close().await;
}

#[tokio::test]
async fn a_shard_that_hangs_does_not_hold_back_the_answers_of_others() {
    let node = Fake::new();
    let batch = Batch { to: node.addressee(), asks: vec![seal(7, 2), seal(3, 2)] };
    let answers = orders::put(node.as_ref(), batch, Duration::from_millis(20)).await.unwrap().answers;
    assert_eq!(answers[0].outcome, Outcome::late());
    assert!(matches!(answers[1].outcome, Outcome::Leads { .. }));
}

#[tokio::test]
async fn a_client_knows_whether_its_order_may_have_happened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AdminClient::new(listener.local_addr().unwrap());
    let answering = async {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let asking = async {
        assert!(matches!(client.status().await, Err(AdminError::Lost { .. })));
        assert!(matches!(client.status().await, Err(AdminError::Lost { .. })));
        assert!(matches!(client.status().await, Err(AdminError::Foreign { .. })));
    };
    tokio::join!(answering, asking);
    // Connected by the system, and never answered.
    let hurried = client.clone().with_timeout(Duration::from_millis(20));
    assert!(matches!(hurried.status().await, Err(AdminError::Lost { .. })));
    drop(listener);
    assert!(matches!(client.status().await, Err(AdminError::Unreachable { .. })));
}
