//! What carries entries to a follower, without a follower: a connection to this machine, and a disk behind it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use anyhow::anyhow;

use super::catch_up::Amount;
use crate::stopwatch::Stopwatch;

/// Bytes of one write and one read.
const PIECE: usize = 256 << 10;
/// Bytes between two syncs: a group of ours is no larger.
const GROUP: usize = 4 << 20;

/// What is behind the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// Nothing.
    Socket,
    /// A file that is synced for each group.
    Disk,
}

/// Carries so much; how many seconds it took.
pub(super) fn carry(folder: &Path, amount: Amount, what: Bare) -> anyhow::Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let mut left = amount.messages * amount.bytes;
    let clock = Stopwatch::start();
    let sender = thread::spawn(move || -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![b'x'; PIECE];
        while left > 0 {
            let now = left.min(PIECE);
            stream.write_all(piece.get(..now).unwrap_or_default())?;
            left -= now;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let mut file = tempfile::tempfile_in(folder)?;
    let mut piece = vec![0; PIECE];
    let mut unsynced = 0;
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            break;
        }
        if what == Bare::Disk {
            file.write_all(piece.get(..read).unwrap_or_default())?;
            unsynced += read;
            if unsynced >= GROUP {
                file.sync_data()?;
                unsynced = 0;
            }
        }
    }
    if what == Bare::Disk {
        file.sync_data()?;
    }
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    Ok(clock.elapsed().as_secs_f64())
}
