//! Subscriptions at work: requests about them, and the hub that wakes workers.
//!
//! Decisions are the core's, at the home shard of the subscription and at the shards of its streams; what is here carries
//! them out and may be lost at any time. Invariant: whatever a start finds half done (a definition that not every shard
//! knows, links of a deleted one, a wake that nobody confirmed) the hub finishes.

mod address;
mod ask;
mod hub;
mod index;
mod key;
mod keys;
mod spread;
mod webhook;
mod work;

pub mod wire;

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub use address::{Host as WebhookHost, Target as WebhookTarget, WebhookUrlError};
pub use ask::{AckRequest, Claimed, Defined, Shown, SubscriptionRefusal};
pub(crate) use index::SubscriptionIndex;
pub use index::{LinkedStream, SubscriptionView};
pub use keys::TokenKind;
pub use webhook::{Resolution, Resolver, SystemResolver};

use super::{Engine, Failure};
use crate::core::{
    Command, LinkAsk, LinkCommand, LinkReply, Reply, SubscriptionAsk, SubscriptionCommand, SubscriptionError,
    SubscriptionOutcome,
};
use crate::telemetry::Metrics;
use crate::types::{ShardId, SubscriptionId, WakeId};
use keys::Keys;
use webhook::WebhookClient;

/// Definitions and deletions of different subscriptions that may be under way at once.
const LOCKS: usize = 16;

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Whether this machine may be called.
    pub loopback: bool,
    /// Time in which one must answer.
    pub timeout: Duration,
    /// How many are under way at once.
    pub in_flight_max: usize,
}

/// Why subscriptions cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionsError {
    /// The shard that keeps the key.
    #[error("the signing key cannot be read: {0}")]
    Shard(#[from] Failure),
    /// The key is there and cannot be used.
    #[error("the signing key was written by another version, or is damaged")]
    Key,
    /// The system has no randomness.
    #[error("no randomness for a signing key")]
    Randomness,
    /// The TLS client cannot be made.
    #[error("the TLS client cannot be set up: {0}")]
    Tls(String),
}

/// A handle to the subscriptions of a running engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// Empty in a cluster until the leader of its shard was heard.
    keys: OnceLock<Keys>,
    webhooks: WebhookClient,
    permits: Semaphore,
    /// By hash of the id: what changes a definition and its links runs one at a time.
    locks: Vec<tokio::sync::Mutex<()>>,
    metrics: Arc<Metrics>,
    hub: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Subscriptions {
    /// Opens them and starts the hub, which ends with the engine. `/readyz` tells when that fails. In a cluster the key is
    /// had in the background, since somebody must lead its shard first; until then requests are refused for the moment.
    pub async fn start(
        engine: Engine,
        settings: &WebhookSettings,
        resolver: Arc<dyn Resolver>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SubscriptionsError> {
        let shared = Arc::clone(&engine.shared);
        let opened = Self::open(engine, settings, resolver, metrics).await;
        if let Err(error) = &opened {
            shared.subscriptions.set_trouble(Some(&format!("subscriptions are not served: {error}")));
        }
        opened
    }

    async fn open(
        engine: Engine,
        settings: &WebhookSettings,
        resolver: Arc<dyn Resolver>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SubscriptionsError> {
        let keys = match engine.shared.cluster.get() {
            Some(_) => OnceLock::new(),
            None => OnceLock::from(key::find(&engine).await?),
        };
        let webhooks = WebhookClient::new(resolver, settings.loopback, settings.timeout)
            .map_err(|error| SubscriptionsError::Tls(error.to_string()))?;
        let inner = Inner {
            engine,
            keys,
            webhooks,
            permits: Semaphore::new(settings.in_flight_max),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
            metrics,
            hub: std::sync::Mutex::default(),
        };
        let subscriptions = Self(Arc::new(inner));
        let hub = tokio::spawn(hub::watch(subscriptions.clone()));
        subscriptions.hub().replace(hub);
        Ok(subscriptions)
    }

    fn hub(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is under way any more; the engine is closed before. The next start repeats what was cut off.
    pub async fn stop(self) {
        let hub = self.hub().take();
        if let Some(hub) = hub {
            // A hub that panicked has said so in the log.
            let _panicked = hub.await;
        }
    }

    /// The document that receivers of webhooks verify signatures with.
    pub fn jwks(&self) -> Result<String, Failure> {
        self.keys().map(Keys::jwks)
    }

    /// The name of the signing key.
    pub fn kid(&self) -> Result<&str, Failure> {
        self.keys().map(Keys::kid)
    }

    fn keys(&self) -> Result<&Keys, Failure> {
        self.0.keys.get().ok_or(Failure::NoLeader { shard: key::SHARD })
    }

    /// Whether this node leads the home of a subscription, and so does its work.
    fn leads(&self, id: &SubscriptionId) -> bool {
        let shared = &self.0.engine.shared;
        shared.leaders.is_here(id.home(shared.count))
    }

    fn index(&self) -> &SubscriptionIndex {
        &self.0.engine.shared.subscriptions
    }

    /// One at a time per subscription (and a few others).
    async fn lock(&self, id: &SubscriptionId) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let at = seahash::hash(id.as_str().as_bytes()).to_le_bytes()[7];
        match self.0.locks.get(usize::from(at) % LOCKS) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    /// Asks the home shard, which this node leads.
    async fn ask(
        &self,
        id: &SubscriptionId,
        ask: SubscriptionAsk,
    ) -> Result<Result<SubscriptionOutcome, SubscriptionError>, Failure> {
        let home = id.home(self.0.engine.shared.count);
        let command = Command::Subscription(Box::new(SubscriptionCommand { id: id.clone(), ask }));
        match self.0.engine.submit(home, command).await? {
            Reply::Subscription(reply) => Ok(reply),
            _ => Err(Failure::LogFailed),
        }
    }

    /// Asks the shard of a stream, wherever it is led.
    async fn ask_link(
        &self,
        shard: ShardId,
        id: &SubscriptionId,
        ask: LinkAsk,
    ) -> Result<LinkReply, Failure> {
        let command = Command::Link(Box::new(LinkCommand { id: id.clone(), ask }));
        match self.0.engine.errand(shard, command).await? {
            Reply::Link(reply) => Ok(reply),
            _ => Err(Failure::LogFailed),
        }
    }
}

/// A name for a wake.
fn draw_wake() -> Result<WakeId, Failure> {
    let mut raw = [0; 16];
    getrandom::fill(&mut raw).map_err(|_| Failure::Overloaded)?;
    Ok(WakeId(u128::from_le_bytes(raw)))
}

#[cfg(test)]
mod tests;
