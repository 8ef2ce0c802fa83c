//! Sockets as we want them from the system: a long queue of connections that wait to be accepted, and little of an answer
//! that its reader does not take. Invariant: what the system holds of our answers is bounded by the number of connections.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted; the system has a bound of its own (`net.core.somaxconn`, mostly 4096). With
/// the 128 of the standard library, one busy millisecond makes new clients wait for a second.
const BACKLOG: i32 = 4096;
/// So many connections may leave a whole answer with the system (up to 4 MiB each, as it chooses): large reads are then a
/// fifth faster.
const GENEROUS_CONNECTIONS_MAX: usize = 64;
/// Bytes of an answer that the system takes from the other connections before it has sent them. Without a bound, 500
/// clients that never read an answer of 2 MiB held 1.3 GiB that no permit counts.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Listens on an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// An accepted connection beside so many others. With a dead peer this fails, and so will reading: nothing is said of it.
pub(super) fn tune(stream: &TcpStream, connections_open: usize) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    if connections_open > GENEROUS_CONNECTIONS_MAX {
        leave_little(stream);
    }
}

/// From here on the system takes little that it has not sent.
pub(super) fn leave_little(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
