//! A peer made by hand, which says whatever a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use thalweg_node::codec::frame::{FRAME_HEAD_BYTES, FrameHead, FrameKind, put_frame};
use thalweg_node::codec::handshake::{
    Greeter, Hello, PREAMBLE_BYTES, decode_put_back, decode_refusal, encode_hello, encode_welcome, preamble,
};
use thalweg_node::types::{Acks, ReplicaId, ShardId};

use crate::world::{CLUSTER, PATIENCE, trail, volume};

/// What a member of the test's cluster says.
pub(crate) fn hello(from: u32, to: u32) -> Hello {
    let from =
        Greeter { id: ReplicaId(from), incarnation: volume(from), trail: trail(from, 5), connection: 77 };
    Hello {
        cluster: CLUSTER,
        shards: 8,
        plan: 0,
        acks: Acks::Majority,
        from,
        to: ReplicaId(to),
        to_incarnation: Some(volume(to)),
    }
}

/// A socket with a peer's end of the protocol, as far as a test goes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) seed: u32,
}

impl Raw {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, seed: 0 }
    }

    pub(crate) fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        let mut out = Vec::new();
        put_frame(&mut out, self.seed, (kind, ShardId(1)), |out| out.extend_from_slice(payload)).unwrap();
        // A peer that has closed shows that in what is read.
        let _ = self.stream.write_all(&out);
    }

    /// The next frame; `None` when the connection is closed.
    pub(crate) fn receive(&mut self) -> Option<(FrameKind, Vec<u8>)> {
        let mut head = [0; FRAME_HEAD_BYTES];
        self.stream.read_exact(&mut head).ok()?;
        let head = FrameHead::decode(&head).unwrap();
        let mut payload = vec![0; head.payload_bytes];
        self.stream.read_exact(&mut payload).ok()?;
        head.fits(self.seed, &payload).unwrap();
        Some((head.kind, payload))
    }

    fn skip_preamble(&mut self) -> bool {
        self.stream.read_exact(&mut [0; PREAMBLE_BYTES]).is_ok()
    }

    /// Says hello, and goes on as far as it is let; the words of the refusal if it is refused.
    pub(crate) fn shake(&mut self, hello: &Hello) -> Result<(), String> {
        self.welcomed(hello)?;
        self.send(FrameKind::Agreed, &[]);
        self.expect(FrameKind::Agreed).map(drop)
    }

    /// Says hello, and hears the welcome.
    pub(crate) fn greet(&mut self, hello: &Hello) {
        self.welcomed(hello).unwrap();
    }

    fn welcomed(&mut self, hello: &Hello) -> Result<(), String> {
        let mut said = Vec::new();
        encode_hello(hello, &mut said);
        self.stream.write_all(&preamble()).unwrap();
        self.send(FrameKind::Hello, &said);
        if !self.skip_preamble() {
            return Err("closed".to_owned());
        }
        let welcome = self.expect(FrameKind::Welcome)?;
        self.seed = crc32c::crc32c_append(crc32c::crc32c(&said), &welcome);
        Ok(())
    }

    fn expect(&mut self, wanted: FrameKind) -> Result<Vec<u8>, String> {
        match self.receive() {
            Some((kind, payload)) if kind == wanted => Ok(payload),
            Some((FrameKind::Refusal, words)) => Err(decode_refusal(&words).unwrap()),
            Some((FrameKind::PutBack, met)) => Err(format!("put back: {:?}", decode_put_back(&met).unwrap())),
            other => Err(format!("{other:?}")),
        }
    }

    /// Takes a node's connection as the member `id`, and shakes hands.
    pub(crate) fn accept(listener: &TcpListener, id: u32) -> Self {
        let mut raw = Self::welcome(listener, id);
        raw.expect(FrameKind::Agreed).unwrap();
        raw.send(FrameKind::Agreed, &[]);
        raw
    }

    /// Takes a node's connection, and welcomes it.
    pub(crate) fn welcome(listener: &TcpListener, id: u32) -> Self {
        let mut raw = Self::over(listener.accept().unwrap().0);
        assert!(raw.skip_preamble());
        let hello = raw.expect(FrameKind::Hello).unwrap();
        let from = Greeter { id: ReplicaId(id), incarnation: volume(id), trail: trail(id, 1), connection: 1 };
        let mut welcome = Vec::new();
        encode_welcome(&from, &mut welcome);
        raw.stream.write_all(&preamble()).unwrap();
        raw.send(FrameKind::Welcome, &welcome);
        raw.seed = crc32c::crc32c_append(crc32c::crc32c(&hello), &welcome);
        raw
    }

    /// Whether the other side closes the connection, whatever it says before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
