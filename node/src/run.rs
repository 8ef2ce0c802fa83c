//! From a configuration to a serving node, and to its end. The only place that takes the real clock, the real disk and
//! the signals of the system.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::http::api::{Api, Settings, Site};
use crate::http::subscriptions::{refusing, router};
use crate::http::wire::{Limits, Registry, common_headers, serve};
use crate::runtime::subscriptions::{Subscriptions, SystemResolver, WebhookSettings};
use crate::runtime::{Engine, Fatal, Running, StartReport, start};
use crate::seam::{Clock, SystemClock};
use crate::telemetry::Metrics;

/// Serves until a signal or a failed log ends it. An error says why the node could not start or had to stop.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let workers = workers(config)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start the threads that serve connections")?;
    tokio.block_on(node(config))
}

/// One fewer than there are cores: what the owners of the log and the system's network need is worth more than a second
/// thread that takes half of the work and wakes twice as often.
fn workers(config: &Config) -> anyhow::Result<usize> {
    match usize::try_from(config.workers)? {
        0 => Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))),
        workers => Ok(workers),
    }
}

async fn node(config: &Config) -> anyhow::Result<()> {
    // Bound first: an address in use is told before the data is touched.
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", config.listen)
    })?;
    let address = listener.local_addr()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new(config.lanes));
    let opened = {
        let (config, clock, metrics) = (config.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        tokio::task::spawn_blocking(move || start(&config, &clock, metrics)).await?
    };
    let running = opened?;
    greet(config, address, &running.report);
    let subscriptions = subscriptions(config, &running, &metrics).await;
    let rare = match &subscriptions {
        Ok(subscriptions) => router(subscriptions.clone()),
        Err(reason) => refusing(reason),
    };
    let site = Site { rare, ..site(&running.engine, &metrics) };
    let api = Api::new(running.engine.clone(), Arc::clone(&clock), draw, settings(config), site);
    let registry = Registry::new(limits(config), clock, Arc::clone(&metrics));
    let fatal = running.fatal.clone();
    let ended = Arc::new(tokio::sync::OnceCell::new());
    let shutdown = {
        let (ended, engine) = (Arc::clone(&ended), running.engine.clone());
        async move {
            let reason = stop_reason(&fatal).await;
            engine.close();
            let _first = ended.set(reason);
        }
    };
    let served = serve(listener, Arc::new(api), registry, shutdown).await;
    if served.connections_cut > 0 {
        tracing::warn!(connections = served.connections_cut, "requests were still running and were cut off");
    }
    if let Ok(subscriptions) = subscriptions {
        subscriptions.stop().await;
    }
    tokio::task::spawn_blocking(move || running.stop()).await?;
    match ended.get() {
        Some(Stop::Failed(reason)) => anyhow::bail!("{reason}"),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Why service ends.
#[derive(Debug, Clone)]
enum Stop {
    Signal,
    Failed(Arc<str>),
}

async fn stop_reason(fatal: &Fatal) -> Stop {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return Stop::Failed(fatal.reported().await);
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        reason = fatal.reported() => return Stop::Failed(reason),
    }
    tracing::info!("stopping: requests under way are finished, live readers are told to come back");
    Stop::Signal
}

/// What a person who just started a node wants to know.
fn greet(config: &Config, address: SocketAddr, report: &StartReport) {
    for (shard, reason) in &report.damaged {
        tracing::error!(shard = shard.0, reason, "shard damaged, refusing service");
    }
    tracing::info!(
        created = report.created,
        streams = report.streams,
        log_records = report.records,
        took_ms = report.took.as_millis(),
        "opened {}",
        config.data.display()
    );
    let version = env!("CARGO_PKG_VERSION");
    let shards = config.shards.get();
    let data = config.data.display();
    let base = format!("http://{address}/v1/stream/hello");
    #[expect(clippy::print_stdout, reason = "the greeting is the program's answer to whoever started it")]
    {
        println!("thalweg {version} · 1 node · {shards} shards · {} · data in {data}", config.durability());
        println!("listening on http://{address}\n");
        println!("Try, in another terminal:");
        println!("  curl -X PUT  {base} -H 'content-type: text/plain'");
        println!("  curl -X POST {base} -H 'content-type: text/plain' -d 'one '");
        println!("  curl         '{base}?offset=-1'");
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        long_poll_timeout: config.long_poll_timeout,
        sse_lifetime: config.sse_lifetime,
        sse_keep_alive: config.sse_keep_alive,
        read_bytes_max: config.read_response_max.as_usize(),
        sse_event_bytes_max: config.sse_event_max.as_usize(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
        head_bytes_max: config.request_head_max.as_usize(),
        body_bytes_max: config.request_body_max.as_usize(),
        head_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        body_timeout: config.transfer_timeout,
        bytes_per_second_min: config.transfer_rate_min.get(),
        write_timeout: config.transfer_timeout,
        shutdown_timeout: config.shutdown_grace,
        request_bytes_in_flight_max: config.request_permits.as_usize(),
        response_bytes_in_flight_max: config.response_permits.as_usize(),
        admission_wait: config.permit_wait,
        common_headers: common_headers(config.cors_origin.header()),
        ..Limits::default()
    }
}

fn site(engine: &Engine, metrics: &Arc<Metrics>) -> Site {
    let (page, engine) = (Arc::clone(metrics), engine.clone());
    Site {
        metrics: Box::new(move || page.page()),
        readiness: Box::new(move || engine.readiness()),
        ..Site::default()
    }
}

/// What is behind the endpoints below `__ds`, or why nothing is. The node serves streams all the same.
async fn subscriptions(
    config: &Config,
    running: &Running,
    metrics: &Arc<Metrics>,
) -> Result<Subscriptions, String> {
    if !config.subscriptions.is_on() {
        return Err("subscriptions are switched off on this node".to_owned());
    }
    let settings = WebhookSettings {
        loopback: config.webhooks_to_loopback(),
        timeout: config.webhook_timeout,
        in_flight_max: usize::try_from(config.webhooks_in_flight_max).unwrap_or(usize::MAX >> 3),
    };
    let engine = running.engine.clone();
    let started =
        Subscriptions::start(engine, &settings, Arc::new(SystemResolver), Arc::clone(metrics)).await;
    started.map_err(|error| {
        tracing::error!(%error, "subscriptions are not served");
        error.to_string()
    })
}

/// A number from `1..=most` to spread clients; need not be secret.
fn draw(most: u64) -> u64 {
    getrandom::u64().map_or(1, |random| random % most.max(1) + 1)
}
