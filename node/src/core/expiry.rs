//! The end of a stream's time. A stream whose deadline has passed counts as absent in every decision, swept or not.

use super::decision::{Context, Verdict};
use super::head::Head;
use super::{Ops, Reply};
use crate::types::{Lifetime, Op, StreamMeta, UnixMillis};

/// The last read or write that counts: what is recorded, what is `known` otherwise, and what the readers say.
fn touched_at(meta: &StreamMeta, known: Option<UnixMillis>, context: &Context<'_>) -> UnixMillis {
    let read = (context.last_read)(meta.id);
    [known, read].into_iter().flatten().fold(meta.touched_at, UnixMillis::max)
}

fn deadline(meta: &StreamMeta, touched_at: UnixMillis) -> Option<UnixMillis> {
    match meta.config.lifetime {
        Lifetime::Sliding(seconds) => Some(touched_at.plus(seconds.saturating_mul(1000))),
        Lifetime::Forever | Lifetime::Until(_) => meta.deadline(),
    }
}

/// Whether the stream's time is over. Readers are asked only when the recorded deadline has passed.
pub(super) fn expired(meta: &StreamMeta, context: &Context<'_>) -> bool {
    let over = |deadline: Option<UnixMillis>| deadline.is_some_and(|at| at <= context.now);
    over(meta.deadline()) && over(deadline(meta, touched_at(meta, None, context)))
}

/// `head`, unless its time is over. A retired stream stays: its name is taken until its forks are gone.
pub(super) fn living<'a>(head: Option<&'a Head>, context: &Context<'_>) -> Option<&'a Head> {
    head.filter(|head| head.meta.retired || !expired(&head.meta, context))
}

/// The end of a stream: for good, or only for those who name it while forks still read from it.
pub(super) fn end(meta: &StreamMeta, reply: Reply) -> Verdict {
    if meta.pins > 0 {
        return Verdict::one(Op::Retire { stream: meta.id }, reply);
    }
    Verdict { ops: Ops::One(Op::Delete { stream: meta.id }), reply, released: meta.parent }
}

/// `Command::Expire`: the sweeper's belief against what is recorded.
pub(super) fn expire(head: Option<&Head>, known: Option<UnixMillis>, context: &Context<'_>) -> Verdict {
    let nothing = Verdict::unchanged(Reply::Released(None));
    let Some(meta) = head.map(|head| &head.meta).filter(|meta| !meta.retired) else { return nothing };
    let touched_at = touched_at(meta, known, context);
    match deadline(meta, touched_at) {
        None => nothing,
        Some(at) if at <= context.now => {
            let released = if meta.pins > 0 { None } else { meta.parent };
            end(meta, Reply::Released(released))
        }
        Some(_) => {
            let moved = touched_at > meta.touched_at && matches!(meta.config.lifetime, Lifetime::Sliding(_));
            if moved {
                Verdict::one(Op::Touch { stream: meta.id, at: touched_at }, Reply::Released(None))
            } else {
                nothing
            }
        }
    }
}
