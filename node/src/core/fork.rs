//! The source's side of a fork: granting a pin, taking it back, and the end of a deleted source with its last pin.
//!
//! Invariant: a pin counts once, however often it is taken back; else one fork's end could free another fork's data.

use super::decision::{Context, Verdict};
use super::expiry::living;
use super::head::{Head, advance};
use super::{Ops, Pin, PinError, Pinned, Reply};
use crate::types::limits::FORK_DEPTH_MAX;
use crate::types::{Offset, Op, PinId, PinOp, StreamMeta};

/// First half of a fork.
pub(super) fn pin(head: Option<&Head>, pin: Pin, context: &Context<'_>) -> Verdict {
    let (head, upto) = match grant(living(head, context), &pin) {
        Ok(granted) => granted,
        Err(error) => return Verdict::unchanged(Reply::Pin(Err(error))),
    };
    let mut meta = Box::new(head.meta.clone());
    if head.pins.get(&pin.pin) == Some(Some(())) {
        return Verdict::unchanged(Reply::Pin(Ok(Pinned { meta, upto })));
    }
    let op = Op::Pin(PinOp { stream: meta.id, pin: pin.pin, fork: pin.fork, upto, at: context.now });
    advance(&mut meta, &op);
    Verdict::one(op, Reply::Pin(Ok(Pinned { meta, upto })))
}

fn grant<'a>(head: Option<&'a Head>, pin: &Pin) -> Result<(&'a Head, Offset), PinError> {
    let head = head.ok_or(PinError::NotFound)?;
    let meta = &head.meta;
    if meta.retired {
        return Err(PinError::Retired);
    }
    let upto = pin.offset.unwrap_or(meta.tail);
    check_offset(meta, upto)?;
    if meta.parent.is_some_and(|parent| parent.depth >= FORK_DEPTH_MAX) {
        return Err(PinError::TooDeep);
    }
    Ok((head, upto))
}

/// Whether `upto` can be a boundary between the earliest kept message and the tail.
fn check_offset(meta: &StreamMeta, upto: Offset) -> Result<(), PinError> {
    if upto.messages > meta.tail.messages {
        return Err(PinError::BeyondTail);
    }
    if upto.messages < meta.earliest.messages {
        return Err(PinError::BeforeEarliest);
    }
    if lies_between(upto, meta.earliest, meta.tail) { Ok(()) } else { Err(PinError::Misaligned) }
}

/// Whether both numbers of `offset` lie between those of two boundaries, and agree with one that it shares a message with.
pub(super) fn lies_between(offset: Offset, low: Offset, high: Offset) -> bool {
    let within = (low.messages..=high.messages).contains(&offset.messages)
        && (low.bytes..=high.bytes).contains(&offset.bytes);
    let agrees = |other: Offset| offset.messages != other.messages || offset == other;
    within && agrees(low) && agrees(high)
}

/// A fork is gone, or never came to be.
pub(super) fn unpin(head: Option<&Head>, pin: PinId) -> Verdict {
    let nothing = Verdict::unchanged(Reply::Released(None));
    let Some(head) = head.filter(|head| head.pins.get(&pin) == Some(Some(()))) else { return nothing };
    let meta = &head.meta;
    let unpin = Op::Unpin { stream: meta.id, pin };
    if meta.retired && meta.pins <= 1 {
        let ops = Ops::Many(vec![unpin, Op::Delete { stream: meta.id }]);
        return Verdict { ops, reply: Reply::Released(meta.parent), released: meta.parent };
    }
    Verdict::one(unpin, Reply::Released(None))
}
