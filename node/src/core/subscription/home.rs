//! The life of a subscription, decided at its home shard.

use super::facts::{Facts, key_of, put_home};
use super::{Presented, SubscriptionAsk, SubscriptionCommand, SubscriptionError, SubscriptionOutcome};
use crate::types::limits::{
    RETRY_MS, SUBSCRIPTION_SHARES_MAX, SUBSCRIPTION_STREAM_BYTES_MAX, SUBSCRIPTION_STREAMS_MAX,
    SUBSCRIPTIONS_PER_SHARD_MAX,
};
use crate::types::{
    Definition, Delivery, Op, Phase, Space, Stage, StreamName, Subscription, SubscriptionId, SubscriptionUid,
    UnixMillis, WakeId,
};

type Reply = Result<SubscriptionOutcome, SubscriptionError>;

impl Facts {
    /// Decides about one subscription: at most one op, and the answer.
    pub(in crate::core) fn decide(
        &self,
        command: SubscriptionCommand,
        now: UnixMillis,
    ) -> (Option<Op>, Reply) {
        let SubscriptionCommand { id, ask } = command;
        let known = self.home(&id);
        let decided = match ask {
            SubscriptionAsk::Define { definition, config_hash, uid } => {
                self.define(known, id, *definition, config_hash, uid, now)
            }
            SubscriptionAsk::Forget(uid) => return forget(known, uid),
            ask => match known {
                None => Err(SubscriptionError::NotFound),
                Some(known) => judge(known, ask, now),
            },
        };
        match decided {
            Err(error) => (None, Err(error)),
            Ok(next) => {
                let changed = known != Some(&next);
                let op = changed.then(|| put_home(&next));
                (op, Ok(SubscriptionOutcome { changed, subscription: Box::new(next) }))
            }
        }
    }

    fn define(
        &self,
        known: Option<&Subscription>,
        id: SubscriptionId,
        definition: Definition,
        config_hash: [u8; 32],
        uid: SubscriptionUid,
        now: UnixMillis,
    ) -> Result<Subscription, SubscriptionError> {
        match known {
            Some(known) if known.stage == Stage::Removing => Err(SubscriptionError::Removing),
            Some(known) if known.config_hash == config_hash => Ok(known.clone()),
            Some(_) => Err(SubscriptionError::Exists),
            None if self.homes() >= SUBSCRIPTIONS_PER_SHARD_MAX
                || self.shares() >= SUBSCRIPTION_SHARES_MAX =>
            {
                Err(SubscriptionError::TooMany)
            }
            None => {
                check_streams(&definition)?;
                Ok(Subscription {
                    id,
                    uid,
                    definition,
                    config_hash,
                    created_at: now,
                    stage: Stage::Linking,
                    generation: 0,
                    phase: Phase::Idle,
                    failures: 0,
                    retry_at: UnixMillis(0),
                })
            }
        }
    }
}

/// What was swept is forgotten; a later subscription of the same id is not.
fn forget(known: Option<&Subscription>, uid: SubscriptionUid) -> (Option<Op>, Reply) {
    match known {
        Some(known) if known.uid == uid && known.stage == Stage::Removing => {
            let op = Op::Erase { space: Space::Subscription, key: key_of(&known.id) };
            (Some(op), Ok(SubscriptionOutcome { changed: true, subscription: Box::new(known.clone()) }))
        }
        _ => (None, Err(SubscriptionError::NotFound)),
    }
}

/// The state after a question about a subscription that is there; equal to the one before if nothing changes.
fn judge(
    known: &Subscription,
    ask: SubscriptionAsk,
    now: UnixMillis,
) -> Result<Subscription, SubscriptionError> {
    let mut next = known.clone();
    if known.stage == Stage::Removing {
        // Only the sweep goes on; a second deletion finds nothing.
        return Err(SubscriptionError::NotFound);
    }
    match ask {
        SubscriptionAsk::Define { .. } | SubscriptionAsk::Forget(_) => {
            return Err(SubscriptionError::NotFound);
        }
        SubscriptionAsk::Linked { uid, streams } => {
            if known.uid == uid && known.definition.streams.len() == streams {
                next.stage = Stage::Serving;
            }
        }
        SubscriptionAsk::AddStreams(streams) => {
            next.definition.streams.extend(streams);
            check_streams(&next.definition)?;
            if next.definition.streams != known.definition.streams {
                next.stage = Stage::Linking;
            }
        }
        SubscriptionAsk::RemoveStream(stream) => remove_stream(&mut next, &stream),
        SubscriptionAsk::Remove => {
            (next.stage, next.phase, next.failures) = (Stage::Removing, Phase::Idle, 0);
            // Nothing asks for these any more, and a deletion must not need room.
            next.definition.streams.clear();
            next.definition.description = None;
        }
        SubscriptionAsk::Wake { wake, lost } => wake_up(&mut next, wake, lost, now),
        SubscriptionAsk::Delivered(grant) => {
            if next.phase == (Phase::Announced { wake: grant.wake }) && next.grant() == Some(grant) {
                next.failures = 0;
                lease(&mut next, grant.wake, None, now);
            }
        }
        SubscriptionAsk::Failed { grant, jitter } => {
            if next.phase == (Phase::Announced { wake: grant.wake }) && next.grant() == Some(grant) {
                next.phase = Phase::Idle;
                next.failures = next.failures.saturating_add(1);
                next.retry_at = now.plus(retry_ms(next.failures, jitter));
            }
        }
        SubscriptionAsk::Withdraw(grant) => {
            if next.phase == (Phase::Announced { wake: grant.wake }) && next.grant() == Some(grant) {
                next.phase = Phase::Idle;
            }
        }
        SubscriptionAsk::Claim { worker, wake, pending } => claim(&mut next, worker, wake, pending, now)?,
        SubscriptionAsk::Renew(presented) => {
            let holder = admit(&next, presented, now)?;
            lease(&mut next, presented.token.wake, holder, now);
        }
        SubscriptionAsk::Settle(presented) => {
            admit(&next, presented, now)?;
            (next.phase, next.failures) = (Phase::Idle, 0);
        }
        SubscriptionAsk::Expire => {
            if lapsed(&next.phase, now) {
                next.phase = Phase::Idle;
            }
        }
    }
    Ok(next)
}

fn check_streams(definition: &Definition) -> Result<(), SubscriptionError> {
    let streams = &definition.streams;
    if let Delivery::Pull { wake_stream } = &definition.delivery
        && definition.covers(wake_stream)
    {
        return Err(SubscriptionError::OwnWakeStream);
    }
    let bytes: usize = streams.iter().map(|stream| stream.as_str().len()).sum();
    if streams.len() > SUBSCRIPTION_STREAMS_MAX || bytes > SUBSCRIPTION_STREAM_BYTES_MAX {
        return Err(SubscriptionError::TooManyStreams);
    }
    Ok(())
}

fn remove_stream(next: &mut Subscription, stream: &StreamName) {
    if next.definition.streams.remove(stream) {
        next.stage = Stage::Linking;
    }
}

/// Begins a wake unless one is in flight or a retry is not due.
fn wake_up(next: &mut Subscription, wake: WakeId, lost: bool, now: UnixMillis) {
    let free = match &next.phase {
        Phase::Idle => next.failures == 0 || next.retry_at <= now,
        Phase::Announced { .. } => lost,
        phase @ Phase::Leased { .. } => lapsed(phase, now),
    };
    if free && next.stage == Stage::Serving {
        next.generation = next.generation.saturating_add(1);
        next.phase = Phase::Announced { wake };
    }
}

fn claim(
    next: &mut Subscription,
    worker: String,
    wake: WakeId,
    pending: bool,
    now: UnixMillis,
) -> Result<(), SubscriptionError> {
    if matches!(next.definition.delivery, Delivery::Webhook { .. }) {
        return Err(SubscriptionError::WrongType);
    }
    let announced = match &next.phase {
        Phase::Leased { holder, .. } if !lapsed(&next.phase, now) => {
            let holder = holder.clone().unwrap_or_default();
            return Err(SubscriptionError::Claimed { holder, generation: next.generation });
        }
        Phase::Announced { wake } => Some(*wake),
        Phase::Leased { .. } | Phase::Idle => None,
    };
    if !pending {
        return Err(SubscriptionError::NoPendingWork);
    }
    let wake = announced.unwrap_or_else(|| {
        next.generation = next.generation.saturating_add(1);
        wake
    });
    next.failures = 0;
    lease(next, wake, Some(worker), now);
    Ok(())
}

fn lease(next: &mut Subscription, wake: WakeId, holder: Option<String>, now: UnixMillis) {
    let until = now.plus(u64::from(next.definition.lease_ms));
    next.phase = Phase::Leased { wake, holder, until };
}

/// The holder, if what is shown is the wake in flight in every part and its lease has not run out.
fn admit(
    known: &Subscription,
    presented: Presented,
    now: UnixMillis,
) -> Result<Option<String>, SubscriptionError> {
    let current = known.grant();
    if current != Some(presented.token) || current != Some(presented.stated) {
        return Err(SubscriptionError::Fenced);
    }
    match &known.phase {
        // Before its webhook has returned, a worker may call back already; nobody holds an announced pull-wake.
        Phase::Announced { .. } if matches!(known.definition.delivery, Delivery::Webhook { .. }) => Ok(None),
        Phase::Leased { holder, .. } if !lapsed(&known.phase, now) => Ok(holder.clone()),
        _ => Err(SubscriptionError::Fenced),
    }
}

fn lapsed(phase: &Phase, now: UnixMillis) -> bool {
    matches!(phase, Phase::Leased { until, .. } if *until <= now)
}

/// Doubles from the lower bound to the upper, spread by a fifth to both sides.
fn retry_ms(failures: u32, jitter: u16) -> u64 {
    let doubled = RETRY_MS.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    let base = doubled.min(*RETRY_MS.end());
    base * (800 + 400 * u64::from(jitter.min(1000)) / 1000) / 1000
}
