//! What an append may cost, as the nodes count it themselves.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cluster::World;

use super::{end, options};

/// Appends of one client, one after the other.
const APPENDS: u64 = 300;

/// The sum of a metric over its labels.
async fn metric(address: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let request = Request::draft("GET", "/metrics").end();
    let page = Connection::open(address).await?.exchange(&request).await?;
    ensure!(page.head.status == 200, "/metrics: status {}", page.head.status);
    let lines = std::str::from_utf8(&page.body)?.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| rest.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<u64>().ok()).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_writer_costs_each_node_one_sync_for_an_append_and_its_peers_stand_in_the_metrics()
-> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let world = World::start(options(11), data.path()).await?;
    let nodes = world.addresses();
    let first = nodes.first().copied().flatten().context("a node")?;
    let mut connection = Connection::open(first).await?;
    let head = connection.exchange(&Request::create("lone", "text/plain")).await?.head;
    ensure!(head.status == 201, "create: status {}", head.status);
    let mut before = Vec::new();
    for address in nodes.iter().flatten() {
        let syncs = metric(*address, "thalweg_log_fsyncs_total").await?;
        before.push((syncs, metric(*address, "thalweg_log_marks_total").await?));
    }
    let append = Request::append("lone", "text/plain", b"one\n");
    for _ in 0..APPENDS {
        let head = connection.exchange(&append).await?.head;
        ensure!(head.status == 204, "append: status {}", head.status);
    }
    for (address, (syncs, marks)) in nodes.iter().flatten().zip(before) {
        let syncs = metric(*address, "thalweg_log_fsyncs_total").await? - syncs;
        let marks = metric(*address, "thalweg_log_marks_total").await? - marks;
        println!("{APPENDS} appends: {syncs} syncs, {marks} marks");
        ensure!(syncs <= APPENDS + 10, "{syncs} syncs for {APPENDS} appends");
        // A lane rests now and then, when the machine is slow; it does not rest after every append.
        ensure!(marks <= APPENDS / 3, "{marks} marks, each with a sync, for {APPENDS} appends");
        ensure!(metric(*address, "thalweg_link_connected").await? == 4, "four links, two with each peer");
        ensure!(metric(*address, "thalweg_replicas").await? == 4, "four replicas");
        ensure!(metric(*address, "thalweg_link_sent_bytes_total").await? > 0, "something was said");
    }
    // One of the three leads the stream; the first node sent on what it does not lead.
    let forwarded = metric(first, "thalweg_http_forwarded_requests_total").await?;
    ensure!(forwarded == 0 || forwarded > APPENDS, "{forwarded} of {} requests were sent on", APPENDS + 1);
    end(world).await
}
