//! Requests about subscriptions: define, show, remove, name streams, claim, acknowledge, release.

use sha2::{Digest as _, Sha256};

use super::keys::TokenKind;
use super::spread::SpreadError;
use super::{SubscriptionView, Subscriptions, WebhookUrlError, draw_wake};
use crate::core::{LinkAsk, LinkError, Presented, SubscriptionAsk, SubscriptionError, SubscriptionOutcome};
use crate::runtime::{EngineError, Failure};
use crate::types::limits::SUBSCRIPTION_STREAMS_SHOWN_MAX;
use crate::types::{
    Definition, Delivery, Glob, Grant, Offset, Stage, StreamName, Subscription, SubscriptionId,
    SubscriptionUid,
};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    /// By its state.
    #[error(transparent)]
    State(#[from] SubscriptionError),
    /// The webhook may not go there.
    #[error(transparent)]
    Url(#[from] WebhookUrlError),
    /// The token was not given for this subscription.
    #[error("the token is missing, malformed, or was not given for this subscription")]
    Token,
    /// An acknowledgement cannot be.
    #[error("{stream}: {cause}")]
    Offset {
        /// Of which stream.
        stream: String,
        /// Why not.
        cause: LinkError,
    },
    /// It would link too many streams.
    #[error("the node's subscriptions may link at most {limit} streams; use a narrower pattern")]
    TooManyLinks {
        /// The bound.
        limit: usize,
    },
}

/// The answer to a request about a subscription.
pub(super) type Asked<T> = Result<T, EngineError<SubscriptionRefusal>>;

/// A subscription as it is shown.
pub type Shown = SubscriptionView;

/// A subscription that is defined.
#[derive(Debug, Clone)]
pub struct Defined {
    /// False: it was defined so before.
    pub new: bool,
    /// It.
    pub shown: Shown,
}

/// A lease.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The wake.
    pub grant: Grant,
    /// What the worker shows from now on.
    pub token: String,
    /// What there is to do.
    pub shown: Shown,
}

/// What a worker reports.
#[derive(Debug, Clone)]
pub struct AckRequest {
    /// The wake that it works on; `None`: it names none of ours.
    pub stated: Option<Grant>,
    /// How far it has come.
    pub acks: Vec<(StreamName, Offset)>,
    /// Whether it ends its lease.
    pub done: bool,
}

fn refused<T>(refusal: impl Into<SubscriptionRefusal>) -> Asked<T> {
    Err(EngineError::Refused(refusal.into()))
}

impl Subscriptions {
    async fn decide(&self, id: &SubscriptionId, ask: SubscriptionAsk) -> Asked<SubscriptionOutcome> {
        let decided = self.ask(id, ask).await.map_err(EngineError::Failure)?;
        decided.map_err(|error| EngineError::Refused(error.into()))
    }

    /// PUT: defines a subscription, or confirms that it is defined so.
    pub async fn define(&self, id: &SubscriptionId, definition: Definition) -> Asked<Defined> {
        if let Delivery::Webhook { url } = &definition.delivery
            && let Err(error) = self.0.webhooks.check(url)
        {
            self.0.metrics.subscriptions.webhooks_refused.inc();
            return refused(error);
        }
        let _one_at_a_time = self.lock(id).await;
        // What is left of an earlier one goes first.
        if self.index().get(id).is_some_and(|known| known.stage == Stage::Removing) {
            self.finish_spread(id).await?;
        }
        let uid = getrandom::u64().map_err(|_| EngineError::Failure(Failure::Overloaded))?;
        let config_hash = config_hash(&definition);
        let definition = Box::new(definition);
        let ask = SubscriptionAsk::Define { definition, config_hash, uid: SubscriptionUid(uid) };
        let defined = self.decide(id, ask).await?;
        if let Err(error) = self.finish_spread(id).await {
            let too_many = matches!(error, EngineError::Refused(SubscriptionRefusal::TooManyLinks { .. }));
            if defined.changed && too_many {
                self.remove_locked(id).await?;
            }
            return Err(error);
        }
        Ok(Defined { new: defined.changed, shown: self.shown(id)? })
    }

    /// GET.
    pub async fn show(&self, id: &SubscriptionId) -> Asked<Shown> {
        let shared = &self.0.engine.shared;
        shared.settled(id.home(shared.count)).await.map_err(EngineError::Failure)?;
        shared.settled_where_led().await;
        self.shown(id)
    }

    pub(super) fn shown(&self, id: &SubscriptionId) -> Asked<Shown> {
        let (shared, home) = (&self.0.engine.shared, id.home(self.0.engine.shared.count));
        // What is known of a shard whose tables are being made anew is not all there is.
        let view = || shared.shard(home).map(|_| self.index().view(id, SUBSCRIPTION_STREAMS_SHOWN_MAX));
        match shared.believed(home, view).map_err(EngineError::Failure)? {
            Some(shown) if shown.subscription.stage != Stage::Removing => Ok(shown),
            _ => refused(SubscriptionError::NotFound),
        }
    }

    /// DELETE.
    pub async fn remove(&self, id: &SubscriptionId) -> Asked<()> {
        let _one_at_a_time = self.lock(id).await;
        self.remove_locked(id).await
    }

    async fn remove_locked(&self, id: &SubscriptionId) -> Asked<()> {
        self.decide(id, SubscriptionAsk::Remove).await?;
        self.finish_spread(id).await
    }

    /// Names more streams; those that exist are linked at their tail.
    pub async fn add_streams(&self, id: &SubscriptionId, streams: Vec<StreamName>) -> Asked<()> {
        let _one_at_a_time = self.lock(id).await;
        self.decide(id, SubscriptionAsk::AddStreams(streams)).await?;
        self.finish_spread(id).await
    }

    /// Names a stream no more; it stays linked if the pattern means it.
    pub async fn remove_stream(&self, id: &SubscriptionId, stream: StreamName) -> Asked<()> {
        let _one_at_a_time = self.lock(id).await;
        self.decide(id, SubscriptionAsk::RemoveStream(stream)).await?;
        self.finish_spread(id).await
    }

    async fn finish_spread(&self, id: &SubscriptionId) -> Asked<()> {
        match self.repair(id).await {
            Ok(()) => Ok(()),
            Err(SpreadError::Failure(failure)) => Err(EngineError::Failure(failure)),
            Err(SpreadError::TooManyLinks { limit }) => refused(SubscriptionRefusal::TooManyLinks { limit }),
        }
    }

    /// A worker takes the work of a pull-wake subscription.
    pub async fn claim(&self, id: &SubscriptionId, worker: String) -> Asked<Claimed> {
        let wake = draw_wake().map_err(EngineError::Failure)?;
        // What was appended elsewhere before the worker asked is work.
        self.0.engine.shared.settled_where_led().await;
        let pending = self.index().pending(id);
        let outcome = self.decide(id, SubscriptionAsk::Claim { worker, wake, pending }).await?;
        let Some(grant) = outcome.subscription.grant() else {
            return refused(SubscriptionError::Fenced);
        };
        let keys = self.keys().map_err(EngineError::Failure)?;
        let token = keys.token(TokenKind::Claim, id, outcome.subscription.uid, grant);
        Ok(Claimed { grant, token, shown: self.shown(id)? })
    }

    /// A worker has come so far, and perhaps is done. Whether there is more to do.
    pub async fn acknowledge(
        &self,
        id: &SubscriptionId,
        kind: TokenKind,
        token: Option<&str>,
        request: AckRequest,
    ) -> Asked<bool> {
        let (known, presented) = self.admit(id, kind, token, request.stated)?;
        self.decide(id, SubscriptionAsk::Renew(presented)).await?;
        self.0.engine.shared.settled_where_led().await;
        for (stream, offset) in &request.acks {
            if let Err(cause) = self.check_ack(id, stream, *offset) {
                return refused(SubscriptionRefusal::Offset { stream: stream.to_string(), cause });
            }
        }
        for (stream, offset) in request.acks {
            self.ack(id, known.uid, stream, offset).await.map_err(EngineError::Failure)?;
        }
        if !request.done {
            return Ok(false);
        }
        self.decide(id, SubscriptionAsk::Settle(presented)).await?;
        Ok(self.index().pending(id))
    }

    /// A worker gives its lease back.
    pub async fn release(
        &self,
        id: &SubscriptionId,
        token: Option<&str>,
        stated: Option<Grant>,
    ) -> Asked<()> {
        let (_, presented) = self.admit(id, TokenKind::Claim, token, stated)?;
        self.decide(id, SubscriptionAsk::Settle(presented)).await.map(drop)
    }

    fn admit(
        &self,
        id: &SubscriptionId,
        kind: TokenKind,
        token: Option<&str>,
        stated: Option<Grant>,
    ) -> Asked<(std::sync::Arc<Subscription>, Presented)> {
        let known = self.index().get(id).filter(|known| known.stage != Stage::Removing);
        let Some(known) = known else { return refused(SubscriptionError::NotFound) };
        let keys = self.keys().map_err(EngineError::Failure)?;
        let opened = token.and_then(|token| keys.open(token, kind, id, known.uid));
        match (opened, stated) {
            (Some(token), Some(stated)) => Ok((known, Presented { token, stated })),
            (Some(_), None) => refused(SubscriptionError::Fenced),
            (None, _) => refused(SubscriptionRefusal::Token),
        }
    }

    /// The whole request is checked before any of it is kept.
    fn check_ack(&self, id: &SubscriptionId, stream: &StreamName, offset: Offset) -> Result<(), LinkError> {
        let (link, tail) = self.index().link(id, stream).ok_or(LinkError::NotLinked)?;
        if offset > tail || (offset.messages == tail.messages && offset != tail) {
            return Err(LinkError::BeyondTail);
        }
        if link.acked.is_some_and(|acked| offset < acked) {
            return Err(LinkError::GoesBack);
        }
        Ok(())
    }

    /// Keeps one acknowledgement. What cannot be kept any more (the stream is gone, a later one came first) is no failure.
    pub(super) async fn ack(
        &self,
        id: &SubscriptionId,
        uid: SubscriptionUid,
        name: StreamName,
        offset: Offset,
    ) -> Result<(), Failure> {
        let shard = name.shard(self.0.engine.shared.count);
        let _moved = self.ask_link(shard, id, LinkAsk::Ack { uid, name, offset }).await?;
        Ok(())
    }
}

/// Over all that a second PUT must repeat. Each part with its length, so that no two definitions look alike.
fn config_hash(definition: &Definition) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match &definition.delivery {
        Delivery::Webhook { url } => {
            part(b"webhook");
            part(url.as_bytes());
        }
        Delivery::Pull { wake_stream } => {
            part(b"pull-wake");
            part(wake_stream.as_str().as_bytes());
        }
    }
    let texts = [definition.pattern.as_ref().map(Glob::as_str), definition.description.as_deref()];
    for text in texts {
        part(&[u8::from(text.is_some())]);
        part(text.unwrap_or_default().as_bytes());
    }
    part(&definition.lease_ms.to_le_bytes());
    for stream in &definition.streams {
        part(stream.as_str().as_bytes());
    }
    hash.finalize().into()
}
