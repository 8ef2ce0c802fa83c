//! Room for very many connections: each is a descriptor at both ends.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Room for `count` connections in this process and in the servers that it starts from now on.
pub fn allow_descriptors(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = count + 1_000;
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "at most {:?} descriptors are allowed",
        limit.maximum
    );
    if limit.current.is_some_and(|now| now < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    }
    Ok(())
}
