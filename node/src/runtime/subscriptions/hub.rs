//! The hub: one task that learns what moved, and a short-lived task for each subscription that needs something.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::keys::TokenKind;
use super::webhook::WebhookError;
use super::wire::{callback_url, stream_json, wake_text};
use super::work::Work;
use super::{SubscriptionView, Subscriptions, draw_wake};
use crate::codec::json::split;
use crate::core::{Append, Command, Presented, Reply, SubscriptionAsk};
use crate::runtime::Failure;
use crate::telemetry::Held;
use crate::types::limits::SUBSCRIPTION_STREAMS_SHOWN_MAX;
use crate::types::{
    ContentType, Delivery, Grant, Messages, ShardId, StreamName, Subscription, SubscriptionId, UnixMillis,
};

/// Longest time between two looks: a wall clock that is set forwards makes leases and retries late by this at most.
const LOOK_MAX_MS: u64 = 1_000;
/// Time after which what failed is tried again, when no other time is recorded.
const REPAIR_MS: u64 = 10_000;

/// Time after which a hub that panicked begins again.
const RESTART: Duration = Duration::from_secs(1);

/// Runs the hub until the engine closes. One that panics is told of by `/readyz` and begins again: whatever it had under
/// way is found half done in the index, as after a start.
pub(super) async fn watch(subscriptions: Subscriptions) {
    let shared = Arc::clone(&subscriptions.0.engine.shared);
    if !subscriptions.await_key().await {
        return;
    }
    loop {
        let ended = tokio::spawn(run(subscriptions.clone())).await;
        if ended.is_ok() || shared.closing() {
            return;
        }
        tracing::error!("the task that wakes the workers of subscriptions has panicked and begins again");
        subscriptions.0.metrics.subscriptions.hub_restarts.inc();
        shared.subscriptions.set_trouble(Some("the hub of the subscriptions has failed and begins again"));
        tokio::time::sleep(RESTART).await;
    }
}

/// A piece of work for one subscription. However it ends, the index hears of it: what panics or is cut off is looked at
/// again a little later, like what fails.
struct UnderWay {
    subscriptions: Subscriptions,
    id: SubscriptionId,
    not_before: Option<UnixMillis>,
}

impl UnderWay {
    fn new(subscriptions: &Subscriptions, id: SubscriptionId, now: UnixMillis) -> Self {
        Self { subscriptions: subscriptions.clone(), id, not_before: Some(now.plus(REPAIR_MS)) }
    }

    async fn run(mut self, work: Work) {
        self.not_before = self.subscriptions.work(&self.id, work).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.subscriptions.index().finish(&self.id, self.not_before);
    }
}

/// The homes that this node leads: it does the work of their subscriptions, and of no others.
#[derive(Debug, Default)]
struct Homes {
    led: BTreeSet<ShardId>,
    /// By home, what is under way.
    under_way: Vec<(ShardId, AbortHandle)>,
}

impl Homes {
    /// Takes over what this node leads by now, and ends what it leads no more: nobody is woken from here any more, and
    /// the new leader finds what was cut off as after a start.
    fn look(&mut self, subscriptions: &Subscriptions) {
        let shared = &subscriptions.0.engine.shared;
        let led: BTreeSet<ShardId> =
            shared.count.shards().filter(|shard| shared.leaders.is_here(*shard)).collect();
        self.under_way.retain(|(home, task)| {
            if !led.contains(home) {
                task.abort();
            }
            !task.is_finished()
        });
        let gained: BTreeSet<ShardId> = led.difference(&self.led).copied().collect();
        if !gained.is_empty() {
            shared.subscriptions.take_over(|id| gained.contains(&id.home(shared.count)));
            subscriptions.find_unheard();
        }
        self.led = led;
    }
}

/// Runs until the engine closes; then ends what is under way, which the next start finds and repeats.
async fn run(subscriptions: Subscriptions) {
    let shared = Arc::clone(&subscriptions.0.engine.shared);
    let mut tasks = JoinSet::new();
    let (mut homes, mut changes) = (Homes::default(), shared.leaders.changes());
    while !shared.closing() {
        changes.mark_unchanged();
        homes.look(&subscriptions);
        let now = shared.clock.now();
        let (work, next) =
            shared.subscriptions.take_work(now, |id| homes.led.contains(&id.home(shared.count)));
        subscriptions.count();
        shared.subscriptions.set_trouble(None);
        for (id, work) in work {
            let home = id.home(shared.count);
            let task = tasks.spawn(UnderWay::new(&subscriptions, id, now).run(work));
            homes.under_way.push((home, task));
        }
        let wait = next.map_or(LOOK_MAX_MS, |at| {
            u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0).min(LOOK_MAX_MS)
        });
        // Whether something moved, another node leads, or the time came: look again.
        let moved = async {
            tokio::select! {
                () = shared.subscriptions.moved() => {}
                _led = changes.changed() => {}
            }
        };
        let _either = timeout(Duration::from_millis(wait), moved).await;
        while let Some(ended) = tasks.try_join_next() {
            if ended.is_err() {
                tracing::error!("work for a subscription has panicked and is tried again");
            }
        }
    }
    tasks.shutdown().await;
}

impl Subscriptions {
    fn count(&self) {
        let count = i64::try_from(self.index().count()).unwrap_or(i64::MAX);
        self.0.metrics.subscriptions.subscriptions.set(count);
    }

    /// Does one thing; says before when not to try again, if it failed.
    async fn work(&self, id: &SubscriptionId, work: Work) -> Option<UnixMillis> {
        let done = match work {
            Work::Repair => {
                let _one_at_a_time = self.lock(id).await;
                self.repair(id).await.map_err(|error| error.to_string())
            }
            Work::Expire => {
                self.0.metrics.subscriptions.leases_expired.inc();
                self.ask(id, SubscriptionAsk::Expire).await.map(drop).map_err(|error| error.to_string())
            }
            Work::Withdraw(grant) => {
                let ask = SubscriptionAsk::Withdraw(grant);
                self.ask(id, ask).await.map(drop).map_err(|error| error.to_string())
            }
            Work::Wake { lost } => self.wake(id, lost).await.map_err(|error| error.to_string()),
        };
        done.err().map(|error| {
            if !self.0.engine.shared.closing() {
                tracing::warn!(subscription = id.as_str(), error, "subscription not served, trying again");
            }
            self.0.engine.shared.clock.now().plus(REPAIR_MS)
        })
    }

    /// Begins a wake and tells workers of it.
    async fn wake(&self, id: &SubscriptionId, lost: bool) -> Result<(), Failure> {
        // Taken before the wake begins, so that its lease and its age count from the call; appends need none.
        let webhook = self
            .index()
            .get(id)
            .is_some_and(|known| matches!(known.definition.delivery, Delivery::Webhook { .. }));
        let _permit = if webhook { self.0.permits.acquire().await.ok() } else { None };
        let Ok(outcome) = self.ask(id, SubscriptionAsk::Wake { wake: draw_wake()?, lost }).await? else {
            return Ok(());
        };
        let subscription = outcome.subscription;
        let (true, Some(grant)) = (outcome.changed, subscription.grant()) else { return Ok(()) };
        if !self.leads(id) {
            // Whoever leads now announces it again.
            return Ok(());
        }
        self.index().announce(id, grant);
        let told = match &subscription.definition.delivery {
            Delivery::Webhook { url } => self.call(&subscription, grant, url).await,
            Delivery::Pull { wake_stream } => self.announce(&subscription, grant, wake_stream).await,
        };
        if let Err(reason) = told {
            tracing::info!(subscription = id.as_str(), reason, "workers could not be woken, trying again");
            let jitter = u16::try_from(getrandom::u32().unwrap_or(500) % 1001).unwrap_or(500);
            let _fenced = self.ask(id, SubscriptionAsk::Failed { grant, jitter }).await?;
        }
        Ok(())
    }

    /// Appends the event of a pull-wake.
    async fn announce(
        &self,
        subscription: &Subscription,
        grant: Grant,
        wake_stream: &StreamName,
    ) -> Result<(), String> {
        let stream = self.index().first_pending(&subscription.id);
        let event = json!({
            "type": "wake",
            "subscription_id": subscription.id.as_str(),
            "stream": stream.as_ref().map(StreamName::as_str),
            "generation": grant.generation,
            "ts": self.0.engine.shared.clock.now().0,
        });
        let state = self.0.engine.head(wake_stream).await.map_err(|error| error.to_string())?;
        let content_type = state.config.content_type.clone();
        let append = event_append(wake_stream.clone(), content_type, event.to_string());
        let shard = append.name.shard(self.0.engine.shared.count);
        match self.0.engine.errand(shard, Command::Append(append)).await {
            Ok(Reply::Append(Ok(_))) => Ok(()),
            Ok(Reply::Append(Err(error))) => Err(error.to_string()),
            Ok(_) => Err(Failure::LogFailed.to_string()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Posts a webhook and takes its answer.
    async fn call(&self, subscription: &Subscription, grant: Grant, url: &str) -> Result<(), String> {
        let id = &subscription.id;
        let Some(view) = self.index().view(id, SUBSCRIPTION_STREAMS_SHOWN_MAX) else { return Ok(()) };
        let keys = self.keys().map_err(|failure| failure.to_string())?;
        let token = keys.token(TokenKind::Callback, id, subscription.uid, grant);
        let body = webhook_body(&view, grant, &token);
        let clock = &self.0.engine.shared.clock;
        let signature = keys.signature(&body, clock.now());
        let metrics = &self.0.metrics.subscriptions;
        let before = clock.elapsed();
        let answered = {
            let _in_flight = Held::new(&metrics.webhooks_in_flight);
            self.0.webhooks.post(url, &signature, body).await
        };
        metrics.webhook_time.observe(clock.elapsed().saturating_sub(before));
        match answered {
            Ok(answer) => {
                metrics.webhooks_delivered.inc();
                self.take_answer(&view, grant, &answer).await.map_err(|failure| failure.to_string())
            }
            Err(error) => {
                match error {
                    WebhookError::Refused(_) => metrics.webhooks_refused.inc(),
                    _ => metrics.webhooks_failed.inc(),
                };
                Err(error.to_string())
            }
        }
    }

    /// `{"done": true}` acknowledges all that was shown; anything else means that the worker calls back.
    async fn take_answer(
        &self,
        view: &SubscriptionView,
        grant: Grant,
        answer: &Bytes,
    ) -> Result<(), Failure> {
        #[derive(serde::Deserialize)]
        struct Answer {
            #[serde(default)]
            done: bool,
        }
        let id = &view.subscription.id;
        if !serde_json::from_slice::<Answer>(answer).is_ok_and(|answer| answer.done) {
            let _fenced = self.ask(id, SubscriptionAsk::Delivered(grant)).await?;
            return Ok(());
        }
        let presented = Presented { token: grant, stated: grant };
        if self.ask(id, SubscriptionAsk::Renew(presented)).await?.is_err() {
            return Ok(());
        }
        for stream in view.streams.iter().filter(|stream| stream.pending) {
            if let Some(tail) = stream.tail {
                self.ack(id, view.subscription.uid, stream.name.clone(), tail).await?;
            }
        }
        let _fenced = self.ask(id, SubscriptionAsk::Settle(presented)).await?;
        Ok(())
    }
}

fn event_append(name: StreamName, content_type: ContentType, event: String) -> Append {
    let body = if content_type.is_json() {
        split(&Bytes::from(event)).map(Some)
    } else {
        // A reader of plain text must see where one event ends.
        Ok(Messages::single(Bytes::from(event + "\n")))
    };
    Append {
        name,
        content_type: Some(content_type),
        body,
        close: false,
        producer: None,
        seq: None,
        if_match: None,
    }
}

fn webhook_body(view: &SubscriptionView, grant: Grant, token: &str) -> Bytes {
    let subscription = &view.subscription;
    let body = json!({
        "subscription_id": subscription.id.as_str(),
        "wake_id": wake_text(grant.wake),
        "generation": grant.generation,
        "streams": view.streams.iter().map(stream_json).collect::<Vec<_>>(),
        "callback_url": callback_url(subscription),
        "callback_token": token,
    });
    Bytes::from(body.to_string())
}
