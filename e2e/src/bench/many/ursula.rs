//! Three nodes of the crate `ursula`: a voter each in every group, its journal synced before an answer, no cold store.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;

use anyhow::Context;

use crate::server::{Server, ServerKind};

/// Voters.
pub(super) const NODES: usize = 3;
/// As many as we have shards: the fewer, the less an idle node costs.
const GROUPS: usize = 16;

/// Starts them below `folder`.
pub(super) async fn start(folder: &Path) -> anyhow::Result<Vec<Server>> {
    let ports = free_ports(2 * NODES)?;
    let mut starts = tokio::task::JoinSet::new();
    for node in 0..NODES {
        let data = folder.join(format!("node-{}", node + 1));
        std::fs::create_dir_all(&data)?;
        let file = data.join("ursula.toml");
        std::fs::write(&file, configuration(node, &ports, &data.join("wal"))?)?;
        let port = *ports.get(node).context("a port for each")?;
        starts.spawn(async move {
            let server = Server::start(&ServerKind::Ursula(file), &data, port, 20_000).await?;
            Ok::<_, anyhow::Error>((node, server))
        });
    }
    let mut servers = starts.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    servers.sort_by_key(|(node, _)| *node);
    Ok(servers.into_iter().map(|(_, server)| server).collect())
}

fn configuration(node: usize, ports: &[u16], wal: &Path) -> anyhow::Result<String> {
    let (clients, admins) = ports.split_at(NODES);
    let (listen, admin) = (clients.get(node).context("a port")?, admins.get(node).context("a port")?);
    let mut text = String::new();
    writeln!(text, "[server]\nlisten = \"127.0.0.1:{listen}\"\nadmin_listen = \"127.0.0.1:{admin}\"")?;
    writeln!(text, "cluster_id = \"bench\"\n\n[raft]\nnode_id = {}\ngroup_count = {GROUPS}\n", node + 1)?;
    writeln!(text, "[raft.wal]\npath = \"{}\"\nfsync = \"always\"\n", wal.display())?;
    for (number, port) in clients.iter().enumerate() {
        writeln!(text, "[[raft.peers]]\nnode_id = {}\nurl = \"http://127.0.0.1:{port}\"\n", number + 1)?;
    }
    // Without a cold store everything stays in memory: nothing is refused for that.
    writeln!(text, "[storage.cold]\nbackend = \"none\"\nmax_hot_size_per_group = \"0\"")?;
    Ok(text)
}

/// Ports that nobody has at this moment.
pub(super) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All held until the last is found, so that none comes twice.
    let listeners = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
