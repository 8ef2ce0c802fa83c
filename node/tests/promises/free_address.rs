//! Addresses for nodes that listen later. They lie below those that the system gives to outgoing connections, so that no other
//! test of this process takes one meanwhile.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 8_000;

/// Where nobody listens, and nobody else of this process will.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Other processes of the same test begin elsewhere.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + std::process::id().wrapping_mul(37).wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of {COUNT} behind {FIRST} is free");
}
