//! Writes to shards that this node does not lead: the leader answers them, and the client need not know. While nobody leads
//! they wait; one that reached a node which leads no more, and so did nothing, is sent to the one that does. Invariant: a request
//! goes one node further at most, and is answered "refused" only if it was not done.

use std::future::pending;
use std::pin::pin;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::errors::{NOT_LEADER, write_failure};
use super::names::{STREAM_ROOT, decode_name, percent_decode};
use super::rare::write_response;
use super::router::is_reserved;
use super::{Api, Sse};
use crate::http::forward::{Message, UNDONE, Unanswered, Wishes, target};
use crate::http::subscriptions;
use crate::http::wire::{Body, Exchange, Interrupt, Method, Request, ResponseHead};
use crate::runtime::{Engine, Failure, Whereabouts};
use crate::types::{ShardId, SubscriptionId};

/// A leader that could not be reached, or that does not know yet that it leads, is asked again after this; one that has said that it
/// does not lead is sent the whole request, so it is asked again after twice as long each time.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One that is starting is asked again after this: it is sent the whole request each time, and leads again within a second or two.
const START_PAUSE: Duration = Duration::from_millis(200);

const DOUBLINGS_MAX: u32 = 6;

/// A leader that was replaced in order has answered what it took before; nodes are near each other, and its answers arrive within
/// this. One that is paused or cut off never answers, and its clients would wait for as long as it is away.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The shard that decides about a request that changes something; `None` for others, and for malformed ones.
pub(super) fn shard_of(engine: &Engine, request: &Request<'_>) -> Option<ShardId> {
    if !matches!(request.head.method, Method::Post | Method::Put | Method::Delete) {
        return None;
    }
    let name = request.path().strip_prefix(STREAM_ROOT)?;
    if !is_reserved(name) {
        return Some(engine.shard_of(&decode_name(name).ok()?));
    }
    let id = name.strip_prefix(b"__ds/subscriptions/")?.split(|&b| b == b'/').next()?;
    let id = SubscriptionId::parse(std::str::from_utf8(&percent_decode(id)).ok()?).ok()?;
    Some(engine.home_of(&id))
}

/// Answers a request about a shard that is led elsewhere, or that nobody leads at the moment.
pub(super) async fn elsewhere(
    api: &Api,
    shard: ShardId,
    request: &Request<'_>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Body<Sse> {
    let (body, is_undone) = match find(api, shard, request, exchange, out).await {
        Ok(body) => (body, out.refusal() == Some(NOT_LEADER.code)),
        Err(failure) => {
            let is_undone = matches!(failure, Failure::NotLeader { .. });
            let is_reserved = request.path().strip_prefix(STREAM_ROOT).is_some_and(is_reserved);
            let body = match is_reserved {
                true => write_response(subscriptions::failed(&failure), out).await,
                false => write_failure(out, &failure),
            };
            (body, is_undone)
        }
    };
    if is_undone && Wishes::of(request).forwarded {
        out.header(UNDONE, b"1");
    }
    body
}

async fn find(
    api: &Api,
    shard: ShardId,
    request: &Request<'_>,
    exchange: &Exchange<'_>,
    out: &mut ResponseHead,
) -> Result<Body<Sse>, Failure> {
    let wishes = Wishes::of(request);
    let forwarder = api.forwarder();
    let deadline = Instant::now() + forwarder.limits.hold;
    let mut changes = api.engine().leader_changed();
    let mut undone = 0;
    loop {
        changes.mark_unchanged();
        let found = api.engine().leader(shard);
        let ask_again_at = match &found {
            Whereabouts::Here => {
                let body = Box::pin(api.serve(request, exchange, out)).await;
                if wishes.forwarded || out.refusal() != Some(NOT_LEADER.code) {
                    return Ok(body);
                }
                Instant::now() + RETRY_PAUSE
            }
            _ if wishes.forwarded => return Err(Failure::NotLeader { shard }),
            Whereabouts::There(leader, _) if wishes.redirect => {
                exchange.registry().metrics.http.redirected.inc();
                return Ok(redirect(leader, request, out));
            }
            Whereabouts::There(leader, meant) => {
                let message = Message::new(request, leader, meant);
                let admission = &exchange.registry().admission;
                let replaced = replaced(api.engine(), shard, &found, changes.clone());
                match forwarder.forward(leader, &message, (deadline, replaced), admission, out).await {
                    Ok(body) => {
                        exchange.registry().metrics.http.forwarded.inc();
                        return Ok(body);
                    }
                    Err(Unanswered::Lost) => {
                        exchange.registry().metrics.http.forwarded_lost.inc();
                        return Err(Failure::LeaderLost);
                    }
                    Err(Unanswered::Crowded) => return Err(Failure::Overloaded),
                    Err(Unanswered::Unsent) => Instant::now() + RETRY_PAUSE,
                    Err(Unanswered::Starting) => Instant::now() + START_PAUSE,
                    // It kept the request back and another leads by now, or one of us has not heard yet who does.
                    Err(Unanswered::Undone) => {
                        undone += 1;
                        Instant::now() + RETRY_PAUSE * (1 << undone.min(DOUBLINGS_MAX))
                    }
                }
            }
            Whereabouts::Nobody => deadline,
        };
        wait(&mut changes, ask_again_at.min(deadline), exchange).await?;
        if Instant::now() >= deadline {
            return Err(if undone > 0 { Failure::NotLeader { shard } } else { Failure::NoLeader { shard } });
        }
    }
}

/// Until a leader changes, or the time has come.
async fn wait(
    changes: &mut watch::Receiver<()>,
    until: Instant,
    exchange: &Exchange<'_>,
) -> Result<(), Failure> {
    let mut changed = pin!(timeout_at(until, changes.changed()));
    tokio::select! {
        biased;
        _changed = &mut changed => Ok(()),
        interrupt = exchange.interrupted() => match interrupt {
            Interrupt::Closing => Err(Failure::ShuttingDown),
            // Nobody hears the answer.
            Interrupt::PeerGone | Interrupt::Expired => Err(Failure::Overloaded),
        },
    }
}

/// Until the leader that was found is no longer the one, and what it said last has had time to arrive. That nobody leads for a
/// moment ends no wait: it may go on, and its answer come.
async fn replaced(engine: &Engine, shard: ShardId, found: &Whereabouts, mut changes: watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        let now = engine.leader(shard);
        if now != Whereabouts::Nobody && now != *found {
            return sleep(LAST_WORDS).await;
        }
    }
    // The engine ends, and with it this request.
    pending().await
}

/// The client goes there itself.
fn redirect(leader: &str, request: &Request<'_>, out: &mut ResponseHead) -> Body<Sse> {
    let location = [b"http://", leader.as_bytes(), &target(request)].concat();
    out.begin(307);
    out.header("Location", &location);
    out.lines("Preference-Applied: redirect\r\nCache-Control: no-store\r\n");
    Body::empty()
}
