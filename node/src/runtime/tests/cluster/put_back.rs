//! Disks that were put back, and starts that nobody has met (I8).

use super::*;
use crate::core::replication::{Answer, Refusal};
use crate::runtime::ShardRole;
use crate::runtime::links::Cluster;
use crate::seam::disk::RealDir;
use crate::store::layout::SET_ASIDE_PREFIX;
use crate::store::superblock::SuperblockStore;
use crate::types::{Boot, Member, RecordEpoch, ReplicaId, Roster, Start, StartKey, VolumeIncarnation};
use crate::wire::{Host, Peer};

fn cluster(node: &Running) -> &Arc<Cluster> {
    node.engine.shared.cluster.get().unwrap()
}

fn boot(node: &Running) -> Boot {
    node.vault.look(|superblock| superblock.boot)
}

/// Copies what a node has stored.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Puts back what a node had stored.
fn put_back(data: &Path, image: &Path) {
    std::fs::remove_dir_all(data).unwrap();
    copy(image, data);
}

/// A cluster that has begun: all its nodes led what they lead first, and ended.
async fn begun(configs: &[Config]) {
    let nodes: Vec<Running> = configs.iter().map(begin).collect();
    for (node, shard) in nodes.iter().zip((0..).map(ShardId)) {
        eventually(|| node.engine.leader(shard) == Whereabouts::Here).await;
    }
    for node in nodes {
        end(node).await;
    }
}

async fn is_halted(node: &Running) {
    let put_back = |role: &ShardRole| matches!(role, ShardRole::Halted(why) if why.contains("PutBack"));
    let waiting = async {
        while !node.control().shards().await.iter().all(|shard| put_back(&shard.role)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_volume_restored_to_the_copy_of_one_start_before_is_found_out_and_takes_no_part_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let configs = configs(directory.path(), NODES);
    begun(&configs).await;
    let (one, other, node) = (begin(&configs[0]), begin(&configs[1]), begin(&configs[2]));
    eventually(|| cluster(&node).is_vouched()).await;
    end(node).await;
    copy(&configs[2].data, &image);
    let node = begin(&configs[2]);
    let met = boot(&node);
    let peers = [&one, &other].map(cluster);
    let incarnation = cluster(&node).identity().incarnation;
    let earlier = Peer { id: ReplicaId(2), incarnation, boot: Boot(met.0 - 1) };
    eventually(|| peers.iter().all(|peer| !peer.is_current(earlier))).await;
    end(node).await;

    put_back(&configs[2].data, &image);
    let node = begin(&configs[2]);
    assert_eq!(boot(&node), met, "started as often again");
    eventually(|| cluster(&node).put_back_before() == Some(met)).await;
    is_halted(&node).await;
    assert!(!cluster(&node).is_vouched());
    // The others are a majority.
    eventually(|| one.engine.leader(ShardId(0)) == Whereabouts::Here).await;
    end(node).await;
    end(other).await;
    end(one).await;

    // Nobody is there who could tell it again.
    let node = begin(&configs[2]);
    is_halted(&node).await;
    let answer = node.control().seal(ShardId(0), RecordEpoch(9)).await.unwrap();
    assert!(matches!(answer, Answer::Refused(Refusal::Halted(_))), "{answer:?}");
    end(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_nobody_has_met_leads_nothing_and_goes_on_by_itself_once_one_other_has() {
    let directory = tempfile::tempdir().unwrap();
    let configs = configs(directory.path(), NODES);
    begun(&configs).await;
    let node = begin(&configs[0]);
    let answer = node.control().seal(ShardId(0), RecordEpoch(9)).await.unwrap();
    assert_eq!(answer, Answer::Refused(Refusal::Unvouched));
    let shards = node.control().shards().await;
    assert!(shards.iter().all(|shard| shard.role == ShardRole::Waiting), "{shards:?}");
    let other = begin(&configs[1]);
    eventually(|| node.engine.leader(ShardId(0)) == Whereabouts::Here).await;
    eventually(|| other.engine.leader(ShardId(1)) == Whereabouts::Here).await;
    end(other).await;
    end(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_has_met_of_a_start_the_others_hear_of_and_find_the_older_disk_out() {
    let directory = tempfile::tempdir().unwrap();
    let configs = configs(directory.path(), NODES);
    let (one, other, node) = (begin(&configs[0]), begin(&configs[1]), begin(&configs[2]));
    eventually(|| [&one, &other, &node].iter().all(|node| cluster(node).is_vouched())).await;
    let (identity, id) = (cluster(&node).identity(), ReplicaId(2));
    eventually(|| cluster(&one).door(ReplicaId(1)).is_some()).await;
    end(node).await;
    // Its next start is met by one of them, and lost.
    let lost = identity.trail.followed_by(StartKey(7));
    let peer = Peer { id, incarnation: identity.incarnation, boot: lost.newest() };
    cluster(&one).greeted(peer, &lost).unwrap();
    let earlier = Peer { boot: identity.trail.newest(), ..peer };
    eventually(|| !cluster(&other).is_current(earlier)).await;
    end(one).await;

    let node = begin(&configs[2]);
    eventually(|| cluster(&node).put_back_before() == Some(lost.newest())).await;
    is_halted(&node).await;
    end(node).await;
    end(other).await;
}

/// The folders of a data directory in which something was set aside.
fn set_aside(data: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(SET_ASIDE_PREFIX)).collect()
}

/// Makes nodes that no file names members of their cluster.
async fn join(nodes: &[&Running], configs: &[Config]) {
    let member = |(id, (node, config)): (u32, (&&Running, &Config))| {
        let report = node.control().node();
        let (node, peer) = (format!("n{id}"), config.peer_listen.to_string());
        let incarnation = Some(report.incarnation);
        (ReplicaId(id), Member { node, incarnation, peer, client: format!("127.0.0.1:{}", 4_437 + id) })
    };
    let roster = Roster { members: (0..).zip(nodes.iter().zip(configs)).map(member).collect() };
    for node in nodes {
        node.control().join(roster.clone()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_put_back_is_set_aside_by_the_next_start_and_is_another_volume_then() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let mut configs = configs(directory.path(), NODES);
    configs.iter_mut().for_each(|config| config.cluster_file = None);
    let (one, other, node) = (begin(&configs[0]), begin(&configs[1]), begin(&configs[2]));
    join(&[&one, &other, &node], &configs).await;
    eventually(|| cluster(&node).is_vouched()).await;
    let before = node.control().node();
    end(node).await;
    copy(&configs[2].data, &image);
    let node = begin(&configs[2]);
    let peers = [&one, &other].map(cluster);
    let earlier = Peer { id: ReplicaId(2), incarnation: before.incarnation, boot: before.boot };
    eventually(|| peers.iter().all(|peer| !peer.is_current(earlier))).await;
    end(node).await;

    put_back(&configs[2].data, &image);
    let node = begin(&configs[2]);
    tokio::time::timeout(PATIENCE, node.control().anew_wanted()).await.expect("it is never told");
    assert_eq!(set_aside(&configs[2].data), [""; 0], "nothing is touched while it runs");
    let old = node.vault.look(Clone::clone);
    assert!(old.put_back.is_some());
    end(node).await;
    for start in 1..=2 {
        let node = begin(&configs[2]);
        let now = node.control().node();
        assert!(now.incarnation != before.incarnation && now.is_new && now.replica.is_none(), "{now:?}");
        assert_eq!((now.cluster, now.node, now.boot), (before.cluster, before.node.clone(), Boot(start)));
        assert!(cluster(&node).put_back_before().is_none());
        end(node).await;
    }
    let aside = set_aside(&configs[2].data);
    assert_eq!(aside.len(), 1, "{aside:?}");
    let aside = configs[2].data.join(&aside[0]);
    for name in ["layout.toml", "tables/shard-000.redb", "lane-000/0000000001.aol"] {
        assert!(aside.join(name).is_file(), "{name}");
    }
    // What is aside is what was there: the verbs read it.
    let store = SuperblockStore::peek(RealDir::open(&aside).unwrap().as_ref()).unwrap().unwrap();
    assert_eq!(store, old);
    end(other).await;
    end(one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_member_with_its_own_volume_is_believed_that_a_disk_was_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let configs = configs(directory.path(), NODES);
    let (node, other) = (begin(&configs[0]), begin(&configs[1]));
    eventually(|| cluster(&node).is_vouched() && cluster(&other).is_vouched()).await;
    let met = Start { boot: Boot(99), key: StartKey(1) };
    let (me, known) = (cluster(&node).identity().incarnation, cluster(&other).identity().incarnation);
    let foreign = VolumeIncarnation([9; 16]);
    for (id, incarnation) in [(1, foreign), (7, known), (0, foreign), (0, me)] {
        cluster(&node).put_back(Peer { id: ReplicaId(id), incarnation, boot: Boot(1) }, met);
        assert_eq!(cluster(&node).put_back_before(), None, "{id} {incarnation}");
    }
    // A member, of a start that this volume knows.
    let (trail, member) =
        (cluster(&node).identity().trail, Peer { id: ReplicaId(1), incarnation: known, boot: Boot(1) });
    cluster(&node).put_back(member, trail.last().unwrap());
    assert_eq!(cluster(&node).put_back_before(), None);
    cluster(&node).put_back(member, met);
    assert_eq!(cluster(&node).put_back_before(), Some(Boot(99)));
    end(other).await;
    end(node).await;
}
