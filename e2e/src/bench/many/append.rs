//! Clients that append, each to its streams in turn, at the node that leads them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::super::load::{Phase, Tally};
use super::super::requests::message;
use super::fleet::Fleet;
use crate::client::{Connection, Request};
use crate::stopwatch::Stopwatch;

/// Streams of a client that writes to many.
const STREAMS_PER_CLIENT: usize = 16;
/// Streams that are made at once.
const MAKERS: usize = 16;

/// What a client sends in turn, and where.
pub(super) type Script = Arc<Vec<(SocketAddr, Request)>>;

/// Makes one stream, to which all of them append.
pub(super) async fn to_one(fleet: &Fleet, clients: usize, bytes: usize) -> anyhow::Result<Vec<Script>> {
    let leader = fleet.create("shared").await?;
    let script = Arc::new(vec![(leader, fleet.append("shared", &message(bytes)))]);
    Ok(vec![script; clients])
}

/// Makes streams for each of them.
pub(super) async fn to_many(fleet: &Fleet, clients: usize, bytes: usize) -> anyhow::Result<Vec<Script>> {
    let body = message(bytes);
    let mut scripts = Vec::new();
    for client in 0..clients {
        let names = (0..STREAMS_PER_CLIENT).map(|stream| format!("own-{client}-{stream}"));
        let mut script = Vec::new();
        for name in names {
            script.push((fleet.create(&name).await?, fleet.append(&name, &body)));
        }
        // Those of one leader follow each other; clients begin at different ones.
        script.rotate_left(client % STREAMS_PER_CLIENT);
        scripts.push(Arc::new(script));
    }
    Ok(scripts)
}

/// One client's connections.
#[derive(Debug, Default)]
pub(super) struct Client(BTreeMap<SocketAddr, Connection>);

impl Client {
    /// Sends one, and waits until it is acknowledged.
    pub(super) async fn append(&mut self, at: SocketAddr, request: &Request) -> anyhow::Result<()> {
        let connection = match self.0.entry(at) {
            std::collections::btree_map::Entry::Occupied(place) => place.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(Connection::open(at).await?),
        };
        let head = connection.exchange_into(request, |_| {}).await?;
        ensure!((200..=204).contains(&head.status), "append: status {}", head.status);
        Ok(())
    }
}

/// Appends until the phase ends it.
pub(super) async fn repeat(script: Script, bytes: usize, phase: Phase) -> anyhow::Result<Tally> {
    let mut client = Client::default();
    let clock = Stopwatch::start();
    let mut tally = Tally::default();
    for (at, request) in script.iter().cycle() {
        if phase.is_stopped() {
            break;
        }
        let sent = clock.nanoseconds();
        client.append(*at, request).await?;
        if phase.is_measuring() {
            tally.add(bytes as u64, clock.nanoseconds() - sent);
        }
    }
    Ok(tally)
}

/// Appends so many in all.
pub(super) async fn exactly(scripts: Vec<Script>, appends: usize) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let clients = scripts.len();
    for (number, script) in scripts.into_iter().enumerate() {
        let mine = (number..appends).step_by(clients).len();
        tasks.spawn(async move {
            let mut client = Client::default();
            for (at, request) in script.iter().cycle().take(mine) {
                client.append(*at, request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Makes so many streams, and says where each is led.
pub(super) async fn streams(fleet: &Fleet, count: usize) -> anyhow::Result<Vec<(SocketAddr, String)>> {
    let mut made = Vec::new();
    for names in (0..count).map(|number| format!("many-{number}")).collect::<Vec<_>>().chunks(MAKERS) {
        for name in names {
            made.push((fleet.create(name).await?, name.clone()));
        }
    }
    Ok(made)
}
