//! Retention: the earliest readable offset moves forward, never back and never past the tail.
//!
//! On a fork it may lie before the fork's own data: then it hides a part of what was inherited. On a source it hides
//! messages from those who name the source; forks go on to read what they pinned, and the data stays for them.

use super::Reply;
use super::decision::Verdict;
use super::fork::lies_between;
use super::head::Head;
use crate::types::{Offset, Op};

/// Decides a trim. The sweeper names message boundaries; what cannot be one is ignored.
pub(super) fn trim(head: Option<&Head>, earliest: Offset) -> Verdict {
    let nothing = Verdict::unchanged(Reply::Trimmed);
    let Some(meta) = head.map(|head| &head.meta).filter(|meta| !meta.retired) else { return nothing };
    let forward = earliest > meta.earliest && lies_between(earliest, meta.earliest, meta.tail);
    let aligned = earliest.messages != meta.base.messages || earliest == meta.base;
    if forward && aligned {
        Verdict::one(Op::Trim { stream: meta.id, earliest }, Reply::Trimmed)
    } else {
        nothing
    }
}
