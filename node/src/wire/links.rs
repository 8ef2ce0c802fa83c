//! All links of a node: starts and ends their threads, and follows the roster.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Host;
use super::accounts::LinkReport;
use super::desk::Desk;
use super::dialler;
use super::doorman::{Doorman, knock};
use super::line::Ended;
use super::options::LinkOptions;
use crate::types::ReplicaId;

#[derive(Debug)]
struct Dialler {
    gone: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Threads {
    /// As whom this node dials; another id means other connections.
    me: Option<ReplicaId>,
    diallers: BTreeMap<ReplicaId, Dialler>,
    /// Of members that are gone.
    leaving: Vec<JoinHandle<()>>,
    doorman: Option<JoinHandle<()>>,
}

/// The links of a node to its peers. Dropped without [`Self::stop`] they go on.
#[derive(Debug)]
pub struct Links {
    desk: Arc<Desk>,
    address: SocketAddr,
    threads: Mutex<Threads>,
}

impl Links {
    /// Listens, and dials all other members.
    pub fn start(host: Arc<dyn Host>, listener: TcpListener, options: LinkOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(host, options));
        let doorman = Arc::new(Doorman::new(Arc::clone(&desk)));
        let run = move || doorman.run(&listener);
        let doorman = Some(thread::Builder::new().name("link-listener".to_owned()).spawn(run)?);
        let threads = Mutex::new(Threads { doorman, ..Threads::default() });
        let links = Self { desk, address, threads };
        links.look();
        Ok(links)
    }

    // A panic in between leaves a thread that runs and is not joined, which harms nobody.
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The roster, or who this node is, has changed: dials who is new and drops who is gone. Whoever waits to dial
    /// again does so now.
    pub fn look(&self) {
        let mut threads = self.threads();
        if self.desk.wish().stop {
            return;
        }
        let (me, roster) = (self.desk.host.identity().me, self.desk.host.roster());
        let is_other = threads.me.is_some() && threads.me != me;
        threads.me = me;
        let wanted = |id: ReplicaId| me.is_some_and(|me| me != id) && roster.members.contains_key(&id);
        let gone: Vec<ReplicaId> = threads.diallers.keys().copied().filter(|id| !wanted(*id)).collect();
        for id in gone {
            let Some(dialler) = threads.diallers.remove(&id) else { continue };
            dialler.gone.store(true, Ordering::Release);
            threads.leaving.push(dialler.thread);
        }
        threads.leaving.retain(|thread| !thread.is_finished());
        for line in self.desk.accounts.lines() {
            if is_other || !wanted(line.peer.id) || !self.desk.is_wanted(&line) {
                line.close(Ended::Left);
            }
        }
        self.desk.accounts.retain(|id| roster.members.contains_key(&id));
        self.desk.wish_for(|wish| wish.looks += 1);
        for id in roster.members.keys().copied().filter(|id| wanted(*id)) {
            if threads.diallers.contains_key(&id) {
                continue;
            }
            match self.dialler(id) {
                Ok(dialler) => drop(threads.diallers.insert(id, dialler)),
                Err(error) => tracing::error!(peer = id.0, %error, "no thread for the link with a peer"),
            }
        }
    }

    fn dialler(&self, id: ReplicaId) -> io::Result<Dialler> {
        let gone = Arc::new(AtomicBool::default());
        let (desk, flag) = (Arc::clone(&self.desk), Arc::clone(&gone));
        let run = move || dialler::run(&desk, id, &flag);
        let thread = thread::Builder::new().name(format!("link-{}", id.0)).spawn(run)?;
        Ok(Dialler { gone, thread })
    }

    /// How all links are.
    #[must_use]
    pub fn report(&self) -> Vec<LinkReport> {
        self.desk.accounts.report()
    }

    /// Ends all connections and waits for all threads: as long as the host blocks in a call, and at most as long as
    /// looking up a name, connecting, or the rest of a handshake takes.
    pub fn stop(&self) {
        self.desk.wish_for(|wish| wish.stop = true);
        self.desk.registry.close();
        self.desk.accounts.lines().iter().for_each(|line| line.close(Ended::Stopped));
        knock(self.address);
        let threads = std::mem::take(&mut *self.threads());
        let diallers = threads.diallers.into_values().map(|dialler| dialler.thread);
        for thread in diallers.chain(threads.leaving).chain(threads.doorman) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
