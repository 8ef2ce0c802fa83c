//! A relay before a node's port for its peers. It knows where frames end, so that a test loses exactly what it means to
//! lose, and hears when that has happened.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use thalweg_node::codec::frame::{FRAME_HEAD_BYTES, FrameHead, FrameKind};
use thalweg_node::codec::handshake::PREAMBLE_BYTES;

use crate::world::PATIENCE;

/// What a relay does with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// All frames of a kind are swallowed; the connection lives.
    All(FrameKind),
    /// With the next frame of a kind its connection breaks.
    Next(FrameKind),
}

#[derive(Debug, Default)]
struct State {
    loss: Option<Loss>,
    lost: usize,
    /// Frames that came by, in either direction.
    seen: Vec<FrameKind>,
    sockets: Vec<TcpStream>,
}

/// A relay.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Relay {
    /// One that passes everything on to `to`.
    pub(crate) fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let mine = relay.clone();
        // Ends with the process: nobody can make a listener look up.
        std::thread::spawn(move || {
            for here in listener.incoming().flatten() {
                if let Ok(there) = TcpStream::connect(to) {
                    mine.join(&here, &there);
                }
            }
        });
        relay
    }

    fn join(&self, here: &TcpStream, there: &TcpStream) {
        // Small frames go at once, as they do between nodes.
        [here, there].iter().for_each(|socket| socket.set_nodelay(true).unwrap());
        for (from, onto) in [(here, there), (there, here)] {
            let (from, onto) = (from.try_clone().unwrap(), onto.try_clone().unwrap());
            self.state.0.lock().unwrap().sockets.push(from.try_clone().unwrap());
            let mine = self.clone();
            std::thread::spawn(move || {
                let _ended = mine.carry(&from, &onto);
                let _ = (from.shutdown(Shutdown::Both), onto.shutdown(Shutdown::Both));
            });
        }
    }

    /// Carries what one side says, frame by frame.
    fn carry(&self, mut from: &TcpStream, mut onto: &TcpStream) -> std::io::Result<()> {
        let mut preamble = [0; PREAMBLE_BYTES];
        from.read_exact(&mut preamble)?;
        onto.write_all(&preamble)?;
        loop {
            let mut frame = vec![0; FRAME_HEAD_BYTES];
            from.read_exact(&mut frame)?;
            let head = FrameHead::decode(frame.first_chunk().unwrap()).unwrap();
            frame.resize(FRAME_HEAD_BYTES + head.payload_bytes, 0);
            from.read_exact(&mut frame[FRAME_HEAD_BYTES..])?;
            match self.takes(head.kind) {
                None => onto.write_all(&frame)?,
                Some(Loss::All(_)) => {}
                Some(Loss::Next(_)) => return Ok(()),
            }
        }
    }

    /// What becomes of a frame, if it is not passed on.
    fn takes(&self, found: FrameKind) -> Option<Loss> {
        let mut state = self.state.0.lock().unwrap();
        state.seen.push(found);
        let loss =
            state.loss.filter(|loss| matches!(loss, Loss::All(kind) | Loss::Next(kind) if *kind == found))?;
        if loss == Loss::Next(found) {
            state.loss = None;
        }
        state.lost += 1;
        self.state.1.notify_all();
        Some(loss)
    }

    /// From now on all frames of this kind are swallowed.
    pub(crate) fn swallow(&self, kind: FrameKind) {
        self.state.0.lock().unwrap().loss = Some(Loss::All(kind));
    }

    /// The connection breaks with the next frame of this kind, which does not arrive.
    pub(crate) fn break_with(&self, kind: FrameKind) {
        self.state.0.lock().unwrap().loss = Some(Loss::Next(kind));
    }

    /// Everything is passed on again; connections that lack something break, so that it is sent again.
    pub(crate) fn heal(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.loss = None;
        state.sockets.drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }

    /// How many frames of a kind have come by so far.
    pub(crate) fn seen(&self, kind: FrameKind) -> usize {
        self.state.0.lock().unwrap().seen.iter().filter(|seen| **seen == kind).count()
    }

    /// Waits until something was lost.
    pub(crate) fn loss(&self) {
        let state = self.state.0.lock().unwrap();
        let waited = self.state.1.wait_timeout_while(state, PATIENCE, |state| state.lost == 0);
        assert!(waited.unwrap().0.lost > 0, "nothing came by");
    }
}
