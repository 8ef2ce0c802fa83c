//! From a configuration to a serving node, and to its end. The only place that takes the real clock, the real disk and
//! the signals of the system.

mod greeting;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, timeout};

use self::greeting::greeting;
use crate::admin;
use crate::config::{ClusterFile, Config, ToolCall};
use crate::http::api::{Api, Front, Settings, Site};
use crate::http::subscriptions::{refusing, router};
use crate::http::wire::{Limits, Registry, common_headers, listen, serve};
use crate::runtime::subscriptions::{Subscriptions, SystemResolver, WebhookSettings};
use crate::runtime::{Running, StartProgress, start_watched};
use crate::seam::{Clock, SystemClock};
use crate::telemetry::Metrics;

/// How often a start that takes long says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Serves until a signal or a failed log ends it. An error says why the node could not start or had to stop.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let config = &of_its_cluster(config)?;
    let workers = workers(config)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start the threads that serve connections")?;
    let ended = tokio.block_on(node(config));
    // What still runs on a thread of its own (a start that was given up, a name that is being resolved) is not waited for.
    tokio.shutdown_background();
    ended
}

/// Does what a verb asks for; gives what is to be printed, and whether nothing was found damaged.
pub fn run_tool(call: &ToolCall) -> anyhow::Result<(String, bool)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    crate::tool::run(call, &clock)
}

/// One fewer than there are cores: what the owners of the log and the system's network need is worth more than a second
/// thread that takes half of the work and wakes twice as often.
fn workers(config: &Config) -> anyhow::Result<usize> {
    match usize::try_from(config.workers)? {
        0 => Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))),
        workers => Ok(workers),
    }
}

/// With the cluster that a file names: the data directory is formatted for it.
fn of_its_cluster(config: &Config) -> anyhow::Result<Config> {
    let Some(path) = &config.cluster_file else { return Ok(config.clone()) };
    let file = ClusterFile::read(path)?;
    let me = file.me(path, &config.node_name)?;
    for words in file.elsewhere(me, config.listen, config.peer_listen) {
        tracing::warn!("{words}");
    }
    Ok(Config { cluster_id: Some(file.cluster), ..config.clone() })
}

/// An address in use is told before the data is touched.
fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    listen(address)
        .with_context(|| format!("cannot listen on {address}; choose another address with --{setting}"))
}

/// Lives until it is ended; a volume that has to begin anew does so between two lives.
async fn node(config: &Config) -> anyhow::Result<()> {
    let (mut config, mut signals) = (config.clone(), Signals::take().context("cannot listen for signals")?);
    while let Stop::Anew = life(&mut config, &mut signals).await? {
        tracing::info!("starting again, as another volume");
    }
    tracing::info!("stopped");
    Ok(())
}

/// From the bound address to the end of the last thread. Says why it ended, unless it failed.
async fn life(config: &mut Config, signals: &mut Signals) -> anyhow::Result<Stop> {
    let listener = bind(config.listen, "listen")?;
    let mut admin = config.admin_address().map(|address| bind(address, "admin-listen")).transpose()?;
    let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
    let address = listener.local_addr()?;
    // A port that the system chose stays the same in the next life.
    config.listen = address;
    let config = &*config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new(config.lanes));
    let progress = Arc::new(StartProgress::default());
    let front = Arc::new(Front::new(Arc::clone(&progress), Arc::clone(&metrics)));
    let registry = Registry::new(limits(config), Arc::clone(&clock), Arc::clone(&metrics));
    let (ended, end) = oneshot::channel::<()>();
    let service = serve(listener, Arc::clone(&front), registry, async move { drop(end.await) });
    let life = async {
        // Dropped when the life is over, in whatever way: then service ends.
        let _ended = ended;
        let Some(running) = open(config, &clock, &metrics, &progress, signals).await? else {
            return Ok(None);
        };
        // Before anybody is served: whoever elects need not wait for that.
        let governing = govern(&running, admin.take())?;
        let subscriptions = subscriptions(config, &running, &metrics).await;
        front.open(api(config, &running, &clock, &metrics, subscriptions.as_ref()));
        greet(config, address, admin_address, &running);
        let reason = stop_reason(&running, signals).await;
        running.engine.close();
        anyhow::Ok(Some((running, subscriptions, governing, reason)))
    };
    let (served, life) = tokio::join!(service, life);
    if served.connections_cut > 0 {
        tracing::warn!(connections = served.connections_cut, "requests were still running and were cut off");
    }
    let Some((running, subscriptions, governing, reason)) = life? else { return Ok(Stop::Signal) };
    // Until here it tells whoever asks that the node ends.
    governing.end().await;
    if let Ok(subscriptions) = subscriptions {
        subscriptions.stop().await;
    }
    tokio::task::spawn_blocking(move || running.stop()).await?;
    match reason {
        Stop::Failed(reason) => anyhow::bail!("{reason}"),
        reason => Ok(reason),
    }
}

/// Starts the engine, and tells now and then how far it is. `None`: a signal came first.
async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    progress: &Arc<StartProgress>,
    signals: &mut Signals,
) -> anyhow::Result<Option<Running>> {
    let opening = {
        let (config, clock, metrics) = (config.clone(), Arc::clone(clock), Arc::clone(metrics));
        let progress = Arc::clone(progress);
        move || start_watched(&config, &clock, metrics, &progress)
    };
    let mut opening = tokio::task::spawn_blocking(opening);
    let mut pace = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            opened = &mut opening => return opened?.map(Some),
            _ = pace.tick() => tracing::info!("starting: {}", progress.stage()),
            () = signals.stop() => break,
        }
    }
    tracing::info!("stopping before the start is complete ({})", progress.stage());
    progress.give_up();
    match timeout(config.shutdown_grace, opening).await {
        // It was complete just then.
        Ok(Ok(Ok(running))) => tokio::task::spawn_blocking(move || running.stop()).await?,
        Ok(Ok(Err(error))) => tracing::debug!(%error, "the start has ended"),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => tracing::warn!(
            "the start does not end in time; the process ends as if killed, which loses nothing"
        ),
    }
    Ok(None)
}

/// Opens the admin port.
fn govern(running: &Running, listener: Option<TcpListener>) -> anyhow::Result<Governing> {
    let control = running.control();
    let Some(listener) = listener else { return Ok(Governing(None)) };
    tracing::info!("the admin port is {}", listener.local_addr()?);
    let (ended, end) = oneshot::channel::<()>();
    let service = admin::serve(listener, Arc::new(control), async move { drop(end.await) });
    Ok(Governing(Some((ended, tokio::spawn(service)))))
}

/// The admin port, if there is one.
struct Governing(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Governing {
    /// Answers the calls that are under way, and ends.
    async fn end(self) {
        let Some((ended, service)) = self.0 else { return };
        drop(ended);
        // Should it have panicked, the panic was told where it happened.
        let _ended = service.await;
    }
}

/// Why service ends.
#[derive(Debug, Clone)]
enum Stop {
    Signal,
    Failed(Arc<str>),
    /// The volume was put back; started again, it is another one.
    Anew,
}

async fn stop_reason(running: &Running, signals: &mut Signals) -> Stop {
    let control = running.control();
    tokio::select! {
        () = signals.stop() => {}
        () = control.end_wanted() => tracing::info!("told to end on the admin port"),
        () = control.anew_wanted() => return Stop::Anew,
        reason = running.fatal.reported() => return Stop::Failed(reason),
    }
    tracing::info!("stopping: requests under way are finished, live readers are told to come back");
    Stop::Signal
}

/// What tells a process to end. Heard from the first moment on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes when one of them comes. Cancel-safe.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The face of a running engine.
fn api(
    config: &Config,
    running: &Running,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    subscriptions: Result<&Subscriptions, &String>,
) -> Api {
    let rare = match subscriptions {
        Ok(subscriptions) => router(subscriptions.clone()),
        Err(reason) => refusing(reason),
    };
    let site = Site { rare, ..site(running, metrics) };
    Api::new(running.engine.clone(), Arc::clone(clock), draw, settings(config), site)
}

/// Says what the start found, and what a person who just started a node wants to know.
fn greet(config: &Config, address: SocketAddr, admin: Option<SocketAddr>, running: &Running) {
    let report = &running.report;
    for (shard, reason) in &report.damaged {
        tracing::error!(shard = shard.0, reason, "shard damaged, refusing service");
    }
    for (shard, reason) in &report.lacking {
        tracing::error!(shard = shard.0, reason, "shard damaged, to be repaired from its leader");
    }
    tracing::info!(
        created = report.created,
        checkpointed_streams = report.streams,
        replayed_records = report.records,
        took_ms = report.took.as_millis(),
        "opened {}",
        config.data.display()
    );
    let greeting = greeting(config, address, admin, &running.control().node());
    // Whoever reads no further (`node | head`) wants the node all the same.
    if let Err(error) = std::io::stdout().lock().write_all(greeting.as_bytes()) {
        tracing::debug!(%error, "nobody reads the greeting");
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        long_poll_timeout: config.long_poll_timeout,
        sse_lifetime: config.sse_lifetime,
        sse_keep_alive: config.sse_keep_alive,
        read_bytes_max: config.read_response_max.as_usize(),
        sse_event_bytes_max: config.sse_event_max.as_usize(),
        ..Settings::default()
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

fn site(running: &Running, metrics: &Arc<Metrics>) -> Site {
    let (page, control, engine) = (Arc::clone(metrics), running.control(), running.engine.clone());
    Site {
        metrics: Box::new(move || {
            control.show_peers(&page.peers);
            page.page()
        }),
        readiness: Box::new(move || engine.condition()),
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
