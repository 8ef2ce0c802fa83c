//! DELETE: for good, or only for those who name the stream while forks still read from it.

use super::decision::{Context, Verdict};
use super::expiry::{end, living};
use super::head::Head;
use super::{DeleteError, Deleted, Reply};

/// Decides a deletion.
pub(super) fn delete(head: Option<&Head>, context: &Context<'_>) -> Verdict {
    let refused = |error| Verdict::unchanged(Reply::Delete(Err(error)));
    let Some(head) = living(head, context) else { return refused(DeleteError::NotFound) };
    let meta = &head.meta;
    if meta.retired {
        return refused(DeleteError::Gone);
    }
    let parent = if meta.pins > 0 { None } else { meta.parent };
    end(meta, Reply::Delete(Ok(Deleted { parent })))
}
