//! How much room in the log a command may need. Invariant: never less than its record takes, so that a command which was
//! let in never has to be taken back.

use crate::core::{BodyError, Command};
use crate::types::Messages;

/// What linking a stream to one subscription adds to a record at most: both names and a few numbers.
const LINK_BYTES_MAX: usize = 1536;

/// What a command may add to the log at most, in a shard that knows of `shares` subscriptions.
pub(super) fn log_bytes(command: &Command, shares: usize) -> usize {
    const HEAD_BYTES: usize = 8 * 1024;
    /// A definition with all the streams that it may name.
    const DEFINITION_BYTES: usize = 128 * 1024;
    let wire = |body: &Result<Option<Messages>, BodyError>| match body {
        Ok(Some(messages)) => messages.wire().len() + 5 * messages.lengths().len(),
        _ => 0,
    };
    HEAD_BYTES
        + shares * LINK_BYTES_MAX
        + match command {
            Command::Append(append) => wire(&append.body),
            Command::Create(create) => {
                let prefix = create.fork.as_ref().and_then(|fork| fork.prefix.as_ref());
                wire(&create.body) + prefix.map_or(0, |prefix| prefix.wire().len())
            }
            Command::Subscription(_) | Command::Link(_) => DEFINITION_BYTES,
            _ => 0,
        }
}
