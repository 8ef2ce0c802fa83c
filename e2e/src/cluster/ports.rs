//! Ports that stay a node's own through all its lives. They lie below those that the system gives to connections, so that
//! nobody's connection takes one while its node is down.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port on which nobody listens, and which this program has not given away before.
pub(super) fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several programs of tests may run at once: each begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(start.wrapping_add(step) % u32::from(COUNT))?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {FIRST} and {} is free", FIRST + COUNT)
}

/// A port of this machine.
pub(super) fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_away_once_and_never_those_that_somebody_holds() {
        let first = free_port().unwrap();
        let held = TcpListener::bind(here(free_port().unwrap() + 1)).unwrap();
        let others: Vec<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        assert!(!others.contains(&first) && !others.contains(&held.local_addr().unwrap().port()));
    }
}
