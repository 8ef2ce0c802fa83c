//! The thread that takes connections in, and those that shake hands and then read. Invariant: at most
//! [`UNSHAKEN_MAX`] connections have not shaken hands; one more costs the oldest of them its place, so that a flood of
//! strangers cannot keep out a peer that is quick.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::accounts::Direction;
use super::desk::Desk;
use super::door::Door;
use super::handshake::Unshaken;
use super::line::Ended;
use super::pen::Pen;
use super::reader;
use super::writer;

/// Connections that have not shaken hands: several for each member of the largest cluster.
const UNSHAKEN_MAX: usize = 64;
/// How long a listener that failed is left alone: it fails when the process has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections in.
#[derive(Debug)]
pub(super) struct Doorman {
    desk: Arc<Desk>,
    /// The sockets of connections that have not shaken hands, by their numbers.
    unshaken: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
}

impl Doorman {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk, unshaken: Mutex::default() }
    }

    // Each change is one step of the map.
    fn unshaken(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<TcpStream>>> {
        self.unshaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes connections in until the node stops, and waits for the threads of all of them.
    pub(super) fn run(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let taken = listener.accept();
            let wish = self.desk.wish();
            if wish.stop {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            let begun = taken.and_then(|(stream, from)| self.begin(stream, from));
            match begun {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.desk.complain("the listener", &Unshaken::Io(error));
                    self.desk.pause(wish, PAUSE);
                }
            }
        }
        self.unshaken().values().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    /// Gives a connection a thread of its own.
    fn begin(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) -> io::Result<JoinHandle<()>> {
        let number = self.desk.number();
        let stream = Arc::new(stream);
        let crowded_out = {
            let mut unshaken = self.unshaken();
            unshaken.insert(number, Arc::clone(&stream));
            if unshaken.len() > UNSHAKEN_MAX { unshaken.pop_first() } else { None }
        };
        if let Some((_, oldest)) = crowded_out {
            // Its thread finds it closed.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let doorman = Arc::clone(self);
        let meet = move || {
            if let Err(error) = doorman.meet(number, &stream) {
                doorman.desk.complain(&from.ip().to_string(), &error);
            }
            doorman.unshaken().remove(&number);
        };
        thread::Builder::new().name(format!("link-{number}")).spawn(meet).inspect_err(|_| {
            self.unshaken().remove(&number);
        })
    }

    /// Shakes hands, and hears the peer until the connection ends.
    fn meet(&self, number: u64, stream: &Arc<TcpStream>) -> Result<(), Unshaken> {
        let desk = &self.desk;
        desk.prepare(stream)?;
        let mut shaken = desk.handshake(stream, number).accept()?;
        let inlet = std::mem::take(&mut shaken.inlet);
        let line = desk.line(&shaken, stream.try_clone()?, Direction::Accepted);
        let counts = desk.registry.enter(number, &line);
        self.unshaken().remove(&number);
        if !counts {
            line.close(Ended::Superseded);
            return Ok(());
        }
        let writes = {
            let pen = Pen::new(&desk.host, Arc::clone(&desk.options), Vec::new());
            let line = Arc::clone(&line);
            let name = format!("answer-{}", line.peer.id.0);
            thread::Builder::new().name(name).spawn(move || writer::write(&line, pen))
        };
        if let Ok(writer) = writes {
            desk.began(&line, Direction::Accepted);
            if let Some(acks) = shaken.acks {
                desk.host.acknowledges(line.peer, acks);
            }
            desk.host.accepted(line.peer, Door::new(Arc::clone(&line)));
            reader::hear(&line, inlet, &desk.host, (Direction::Accepted, desk.options.shards));
            // As above.
            let _ = writer.join();
            desk.ended(&line, Direction::Accepted);
        }
        line.close(Ended::ByPeer);
        desk.registry.leave(line.peer.id);
        Ok(())
    }
}

/// Makes a listener look whether it should end.
pub(super) fn knock(address: SocketAddr) {
    let mut address = address;
    if address.ip().is_unspecified() {
        let is_v4 = address.is_ipv4();
        address.set_ip(if is_v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    // When it does not answer, its queue is full and it looks anyway.
    let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
}
