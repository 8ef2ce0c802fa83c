//! One connection through a proxy: two lines and an end that both share.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Kept;
use super::line::{Cut, Pipe};
use super::rules::{Accept, Rules};

/// A connection that was taken.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) target: SocketAddr,
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) resets: watch::Receiver<()>,
    pub(super) kept: Kept,
    pub(super) seed: u64,
}

impl Link {
    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let accept = self.rules.borrow_and_update().accept;
        match accept {
            Accept::Closed => reset(&self.stream),
            Accept::HalfOpen => self.swallow().await,
            Accept::Open => {
                // Nobody listens there: the opener sees its connection end.
                let Ok(other) = TcpStream::connect(self.target).await else { return reset(&self.stream) };
                let _ = (self.stream.set_nodelay(true), other.set_nodelay(true));
                self.carry(other).await;
            }
        }
    }

    async fn carry(self, other: TcpStream) {
        let Self { mut stream, rules, mut resets, kept, seed, .. } = self;
        let mut other = other;
        let cut = {
            let (from, to) = stream.split();
            let (other_from, other_to) = other.split();
            let there = Pipe::new(rules.clone(), |rules| rules.there, seed, Some(kept));
            let back = Pipe::new(rules.clone(), |rules| rules.back, seed ^ 1, None);
            let both = async { tokio::try_join!(there.run(from, other_to), back.run(other_from, to)) };
            tokio::select! {
                ended = both => ended.is_err(),
                _ = resets.changed() => true,
            }
        };
        if cut {
            reset(&stream);
            reset(&other);
        }
    }

    async fn swallow(mut self) {
        let mut nowhere = tokio::io::sink();
        let ended = |rules: &Rules| rules.accept != Accept::HalfOpen;
        tokio::select! {
            _ = tokio::io::copy(&mut self.stream, &mut nowhere) => {}
            _ = self.rules.wait_for(ended) => {}
            _ = self.resets.changed() => {}
        }
        reset(&self.stream);
    }
}

/// The end of the stream becomes a reset, and what was not sent yet is thrown away.
fn reset(stream: &TcpStream) {
    // A connection that has ended already needs none.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

impl From<Cut> for io::Error {
    fn from(_: Cut) -> Self {
        io::ErrorKind::ConnectionReset.into()
    }
}
