//! Every node speaks the whole protocol, whether it leads a stream or not.

use anyhow::{Context, ensure};
use thalweg_e2e::client::{Connection, Request};
use thalweg_e2e::cluster::{Options, World};
use thalweg_e2e::conformance;

use super::{end, options};

/// Of 4 shards and 3 nodes, every node follows two shards at least, so each run goes through followers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_338_tests_of_the_official_suite_pass_through_each_node() -> anyhow::Result<()> {
    let everywhere = std::env::var("TEST_CONFORMANCE").is_ok_and(|tier| tier == "all");
    let data = tempfile::tempdir()?;
    let wanted = Options { long_poll_ms: conformance::LONG_POLL_MS, proxied: false, ..options(1) };
    let world = World::start(wanted, data.path()).await?;
    for (node, address) in world.addresses().into_iter().enumerate().skip(if everywhere { 0 } else { 2 }) {
        let address = address.context("it does not run")?;
        let report = conformance::run(&format!("http://{address}"), conformance::LONG_POLL_MS).await?;
        println!("through node {}\n{}", node + 1, report.closing.join("\n"));
        report.check()?;
    }
    end(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledged_is_read_at_once_on_every_other() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let world = World::start(options(2), data.path()).await?;
    let mut nodes = Vec::new();
    for address in world.addresses().into_iter().flatten() {
        nodes.push(Connection::open(address).await?);
    }
    let mut written = String::new();
    for turn in 0..60 {
        let (writer, name) = (turn % nodes.len(), format!("everywhere-{}", turn % 8));
        if turn < 8 {
            let created = nodes[writer].exchange(&Request::create(&name, "text/plain")).await?;
            ensure!(created.head.status == 201, "{}", created.head.status);
        }
        let word = format!("{turn}.");
        let answer = nodes[writer].exchange(&Request::append(&name, "text/plain", word.as_bytes())).await?;
        ensure!(answer.head.status == 204, "{}", answer.head.status);
        written.push_str(&word);
        for (number, node) in nodes.iter_mut().enumerate() {
            let read = node.exchange(&Request::read(&name, "-1")).await?;
            let text = String::from_utf8_lossy(&read.body);
            ensure!(text.ends_with(&word), "{name} on node {}: {text:?} lacks {word}", number + 1);
        }
    }
    end(world).await
}
