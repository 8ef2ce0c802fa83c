//! The thread that keeps this node connected to one other member: dials, shakes hands, writes, and dials again.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::accounts::Direction;
use super::desk::Desk;
use super::handshake::{Unshaken, Wanted};
use super::line::Ended;
use super::pen::Pen;
use super::port::Port;
use super::reader;
use super::source::Source;
use super::writer;
use crate::types::ReplicaId;

/// The first pause after a failure, and the longest: a peer that comes back is found within a second, and one that is
/// away for long costs next to nothing.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Keeps this node connected to a member until that member is gone.
pub(super) fn run(desk: &Arc<Desk>, peer: ReplicaId, gone: &AtomicBool) {
    let (first, longest) = PAUSES;
    let mut pause = first;
    loop {
        let wish = desk.wish();
        if wish.stop || gone.load(Ordering::Acquire) {
            return;
        }
        match once(desk, peer) {
            Ok(()) => pause = first,
            Err(error) => {
                desk.accounts.of(peer, Direction::Dialled).set_failed(Some(error.to_string()));
                desk.complain(&peer.to_string(), &error);
            }
        }
        desk.pause(wish, pause);
        pause = (pause * 2).min(longest);
    }
}

/// Dials once, and stays until the connection ends.
fn once(desk: &Arc<Desk>, id: ReplicaId) -> Result<(), Unshaken> {
    // Asked anew each time: a member may have moved.
    let roster = desk.host.roster();
    let Some(member) = roster.members.get(&id) else { return Ok(()) };
    let stream = connect(&member.peer, desk.options.connect_timeout)?;
    desk.prepare(&stream)?;
    let wanted = Wanted { id, incarnation: member.incarnation };
    let mut shaken = desk.handshake(&stream, desk.number()).dial(wanted)?;
    let inlet = std::mem::take(&mut shaken.inlet);
    let line = desk.line(&shaken, stream, Direction::Dialled);
    let options = &desk.options;
    let lanes = options.lanes.len();
    let (ports, sources) = options
        .lanes
        .iter()
        .enumerate()
        .map(|(lane, reader)| {
            let (port, outlet) = Port::new(Arc::clone(&line), options.ring_entries, options.ring_bytes);
            (port, Source::new(reader.clone(), outlet, (lane, lanes)))
        })
        .unzip();
    line.account.set_failed(None);
    desk.began(&line, Direction::Dialled);
    desk.host.dialled(line.peer, ports);
    let hears = {
        let (desk, line) = (Arc::clone(desk), Arc::clone(&line));
        let hear = move || {
            reader::hear(&line, inlet, &desk.host, (Direction::Dialled, desk.options.shards));
        };
        thread::Builder::new().name(format!("hear-{}", id.0)).spawn(hear)
    };
    let outcome = match hears {
        Ok(reader) => {
            writer::write(&line, Pen::new(&desk.host, Arc::clone(options), sources));
            // A reader that panicked has said so; the connection is over either way.
            let _ = reader.join();
            Ok(())
        }
        Err(error) => Err(Unshaken::Io(error)),
    };
    line.close(Ended::ByPeer);
    desk.ended(&line, Direction::Dialled);
    outcome
}

/// Connects to the first address of a name that answers.
fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
