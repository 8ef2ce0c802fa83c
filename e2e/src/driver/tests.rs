//! A driver over nodes that are only played, on real sockets, in real time.

mod bootstrapping;
mod fake;
mod giving_up;
mod replacing;
mod supervising;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use thalweg_node::types::{ClusterId, Member, ReplicaId, Roster, VolumeIncarnation};
use tokio::sync::mpsc;

use self::fake::Fake;
use super::bootstrap::first;
use super::{Driver, News, Plan, Planned, Setup, Table};

const CLUSTER: ClusterId = ClusterId([7; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

/// The first record of a cluster of so many nodes.
pub(super) fn table(nodes: u32, shards: u16) -> Table {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let names: Vec<String> = (0..nodes).map(|number| format!("n{number}")).collect();
    let planned =
        |name: &String| Planned { name: name.clone(), admin: address, peer: address, client: address };
    let plan = Plan {
        cluster: CLUSTER,
        shards,
        nodes: names.iter().map(planned).collect(),
        detours: BTreeMap::new(),
    };
    let member = |(id, name): (u8, &String)| {
        let incarnation = Some(VolumeIncarnation([id; 16]));
        let (peer, client) = ("peer:1".to_owned(), "client:1".to_owned());
        (ReplicaId(id.into()), Member { node: name.clone(), incarnation, peer, client })
    };
    let members = (0..).zip(&names).map(member).collect();
    first(&plan, Roster { members }).unwrap()
}

/// Three played nodes and the directory of their record.
struct Stage {
    fakes: Vec<Fake>,
    plan: Plan,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new(shards: u16) -> Self {
        let mut fakes = Vec::new();
        for number in 0..3 {
            fakes.push(Fake::start(number, shards).await);
        }
        let planned = |fake: &Fake| Planned {
            name: fake.name.clone(),
            admin: fake.address,
            peer: fake.address,
            client: fake.address,
        };
        let nodes = fakes.iter().map(planned).collect();
        let plan = Plan { cluster: CLUSTER, shards, nodes, detours: BTreeMap::new() };
        Self { fakes, plan, folder: tempfile::tempdir().unwrap() }
    }

    fn setup(&self, rank: u32) -> Setup {
        Setup { plan: self.plan.clone(), record: self.folder.path().to_owned(), rank }
    }

    async fn driver(&self, rank: u32) -> (Driver, mpsc::UnboundedReceiver<News>) {
        Driver::start(self.setup(rank)).await.unwrap()
    }

    /// A driver, once all shards have leaders.
    async fn open(&self) -> (Driver, mpsc::UnboundedReceiver<News>) {
        let (driver, news) = self.driver(0).await;
        driver.wait(PATIENCE, "every shard has a leader", super::View::is_open).await.unwrap();
        (driver, news)
    }
}

/// Waits for news of this kind.
async fn hear<T>(news: &mut mpsc::UnboundedReceiver<News>, wanted: impl Fn(&News) -> Option<T>) -> T {
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            let Some(found) = news.recv().await else { panic!("the driver has stopped") };
            if let Some(found) = wanted(&found) {
                return found;
            }
        }
    });
    heard.await.expect("the driver does not say so")
}
