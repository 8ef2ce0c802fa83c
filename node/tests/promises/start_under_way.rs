//! Promise: a node that starts says so from the first moment on, over connections that go on with the engine when it is
//! there; and a start that is given up ends, and costs nothing.

use std::sync::Arc;

use thalweg_node::core::Create;
use thalweg_node::http::api::{Api, Front, Settings, Site};
use thalweg_node::http::wire::{Limits, Registry, serve};
use thalweg_node::runtime::{GivenUp, Running, StartPhase, StartProgress, start_watched_on};
use thalweg_node::seam::disk::simulated::SimulatedDisk;
use thalweg_node::seam::{Clock, SystemClock};
use thalweg_node::telemetry::Metrics;
use thalweg_node::types::{StreamConfig, StreamName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::engine_world::{BEGINNING, World, block_on, config};
use super::gated_disk::{Gate, GatedDir};

const STREAMS: usize = 20;

/// A disk on which a node created streams and was killed, so that all of them are in the log alone.
fn killed() -> World {
    let world = World::new(SimulatedDisk::new(9), BEGINNING, config(1, 4, 1));
    let running = world.start().unwrap();
    for number in 0..STREAMS {
        let create = Create {
            name: name(number),
            config: StreamConfig::default(),
            content_type_given: false,
            fork_offset_given: false,
            closed: false,
            body: Ok(None),
            fork: None,
        };
        block_on(running.engine.create(create, None)).unwrap();
    }
    let disk = world.disk.after_kill(1);
    running.stop();
    World { disk, ..world }
}

fn name(number: usize) -> StreamName {
    StreamName::from_bytes(format!("s{number}").as_bytes()).unwrap()
}

/// A start behind a gate, on a thread of its own.
struct Starting {
    gate: Gate,
    progress: Arc<StartProgress>,
    metrics: Arc<Metrics>,
    thread: std::thread::JoinHandle<anyhow::Result<Running>>,
}

impl Starting {
    fn begin(world: &World, path: &str, call: &'static str) -> Self {
        let (gate, progress) = (Gate::default(), Arc::new(StartProgress::default()));
        gate.close(path, call);
        let root = GatedDir::root(world.disk.root(), &gate);
        let (config, clock) = (world.config.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>);
        let (metrics, told) = (Arc::new(Metrics::new(1)), Arc::clone(&progress));
        let counted = Arc::clone(&metrics);
        let start = move || start_watched_on(root, &config, &clock, counted, &told);
        let thread = std::thread::spawn(start);
        gate.arrival();
        Self { gate, progress, metrics, thread }
    }
}

/// One connection that is kept.
struct Connection(TcpStream);

impl Connection {
    async fn ask(&mut self, request: &str) -> (u16, String, String) {
        let request =
            format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("the connection stays"));
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if !request.starts_with("HEAD") {
            self.0.read_exact(&mut body).await.unwrap();
        }
        (head[9..12].parse().unwrap(), head, String::from_utf8(body).unwrap())
    }

    async fn status(&mut self, request: &str) -> u16 {
        self.ask(request).await.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_that_starts_says_so_and_goes_on_with_the_same_connections() {
    let world = tokio::task::spawn_blocking(killed).await.unwrap();
    let starting = Starting::begin(&world, "tables/shard-002.redb", "open");
    let front = Arc::new(Front::new(Arc::clone(&starting.progress), Arc::clone(&starting.metrics)));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new(Limits::default(), Arc::clone(&clock), Arc::clone(&starting.metrics));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, Arc::clone(&front), registry, async { drop(stopped.await) }));

    let mut client = Connection(TcpStream::connect(address).await.unwrap());
    assert_eq!(client.status("GET /healthz").await, 200);
    let (status, head, body) = client.ask("GET /readyz").await;
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("Retry-After: 1\r\n") && head.contains("application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&problem["code"], &problem["state"]), (&"not_ready".into(), &"starting".into()), "{body}");
    assert_eq!(problem["start"]["phase"], "tables", "{body}");
    assert_eq!(
        (&problem["start"]["shards_opened"], &problem["start"]["shards"]),
        (&2.into(), &4.into()),
        "{body}"
    );
    let (status, _, page) = client.ask("GET /metrics").await;
    assert!(status == 200 && page.contains("thalweg_http_connections 1"), "{page}");
    for request in [
        "PUT /v1/stream/s0",
        "GET /v1/stream/s0",
        "POST /v1/stream/s0",
        "HEAD /v1/stream/s0",
        "DELETE /v1/stream/s0",
        "GET /v1/streams",
        "GET /v1/stream/__ds/jwks.json",
        "GET /readyz?strict",
    ] {
        let (status, head, body) = client.ask(request).await;
        assert_eq!(status, 503, "{request}: {head}");
        assert!(head.contains("Retry-After: 1\r\n"), "{request}: {head}");
        assert!(request.starts_with("HEAD") || body.contains("\"outcome\":\"refused\""), "{request}: {body}");
    }
    assert_eq!(client.status("OPTIONS /v1/stream/s0").await, 204);

    starting.gate.open();
    let running =
        tokio::task::spawn_blocking(move || starting.thread.join().unwrap().unwrap()).await.unwrap();
    let engine = running.engine.clone();
    let site = Site { readiness: Box::new(move || engine.condition()), ..Site::default() };
    front.open(Api::new(running.engine.clone(), clock, |_| 1, Settings::default(), site));
    for number in 0..STREAMS {
        assert_eq!(client.status(&format!("HEAD /v1/stream/s{number}")).await, 200, "the same connection");
    }
    let (status, _, body) = client.ask("GET /readyz").await;
    let condition: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &condition["state"]), (200, &"ready".into()), "{body}");
    drop(client);
    running.engine.close();
    drop(stop);
    assert_eq!(served.await.unwrap().connections_cut, 0);
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
}

#[test]
fn a_start_says_how_far_it_is() {
    let world = killed();
    let starting = Starting::begin(&world, "tables/shard-003.redb", "open");
    let tables = starting.progress.stage();
    assert_eq!((tables.phase, tables.shards_opened, tables.shards), (StartPhase::Tables, 3, 4));
    starting.gate.open();
    let running = starting.thread.join().unwrap().unwrap();
    let whole = starting.progress.stage();
    assert_eq!((whole.phase, whole.shards_opened), (StartPhase::Owners, 4));
    assert!(whole.log_records_read >= u64::try_from(STREAMS).unwrap(), "{whole:?}");
    assert!((1..=whole.log_bytes).contains(&whole.log_bytes_read), "{whole:?}");
    running.stop();
}

#[test]
fn a_start_that_is_given_up_ends_and_costs_nothing() {
    let world = killed();
    for (path, call) in [("tables/shard-001.redb", "open"), ("lane-000/", "read"), ("lane-000/", "sync")] {
        let starting = Starting::begin(&world, path, call);
        starting.progress.give_up();
        starting.gate.open();
        let error = starting.thread.join().unwrap().map(Running::stop).unwrap_err();
        assert!(error.is::<GivenUp>(), "{path} {call}: {error:#}");
    }
    let running = world.start().unwrap();
    for number in 0..STREAMS {
        block_on(running.engine.head(&name(number))).unwrap();
    }
    running.stop();
}
