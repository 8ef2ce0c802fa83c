//! Links, decided at the shard of the stream: which streams belong to a subscription, and how far its workers have come.

use super::facts::{Facts, key_of, put_link, put_share};
use super::{LinkAsk, LinkCommand, LinkError, LinkReply};
use crate::codec::subscription::link_key;
use crate::types::{Link, Op, Space, StreamMeta};

/// Decides about one link: at most one op, and the answer. `stream` is the living stream of the name that the question
/// names; its link must be known by now.
pub(in crate::core) fn decide(
    facts: &Facts,
    command: LinkCommand,
    stream: Option<&StreamMeta>,
) -> (Option<Op>, LinkReply) {
    let LinkCommand { id, ask } = command;
    match ask {
        LinkAsk::Adopt(share) => {
            let op = match facts.share(&id) {
                known if share.is_empty() => {
                    known.map(|_| Op::Erase { space: Space::Pattern, key: key_of(&id) })
                }
                Some(known) if *known == share => None,
                _ => Some(put_share(&id, &share)),
            };
            (op, Ok(None))
        }
        LinkAsk::Link(name) => {
            let (Some(meta), Some(share)) = (stream, facts.share(&id)) else {
                return (None, Err(LinkError::NotLinked));
            };
            let known = facts.link(&id, meta.id).flatten();
            if !share.covers(&name) || known.is_some_and(|link| link.uid == share.uid) {
                return (None, Ok(known.cloned()));
            }
            let link = Link { uid: share.uid, name, acked: Some(meta.tail) };
            (Some(put_link(&id, meta.id, &link)), Ok(Some(link)))
        }
        LinkAsk::Unlink { stream, name } => {
            let covered = facts.share(&id).is_some_and(|share| share.covers(&name));
            let linked = facts.link(&id, stream).flatten().is_some();
            let erase = linked && !covered;
            let op = Op::Erase { space: Space::Link, key: link_key(&id, stream) };
            (erase.then_some(op), Ok(None))
        }
        LinkAsk::Ack { uid, name: _, offset } => {
            let found = stream.and_then(|meta| Some((meta, facts.link(&id, meta.id).flatten()?)));
            let Some((meta, link)) = found.filter(|(_, link)| link.uid == uid) else {
                return (None, Err(LinkError::NotLinked));
            };
            if offset > meta.tail || (offset.messages == meta.tail.messages && offset != meta.tail) {
                return (None, Err(LinkError::BeyondTail));
            }
            match link.acked {
                Some(acked) if offset < acked => (None, Err(LinkError::GoesBack)),
                Some(acked) if offset == acked => (None, Ok(Some(link.clone()))),
                _ => {
                    let moved = Link { acked: Some(offset), ..link.clone() };
                    (Some(put_link(&id, meta.id, &moved)), Ok(Some(moved)))
                }
            }
        }
    }
}
