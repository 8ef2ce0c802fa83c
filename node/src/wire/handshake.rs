//! How two nodes come to know each other. The side that dials says hello, the other one welcome; then each says that it
//! has agreed, and the side that dialled says so first. Both agreements carry a checksum over both greetings, of which
//! each is said once in all time: so neither side remembers or changes anything for a greeting that was only repeated.
//!
//! Invariant: before hands are shaken a peer costs a bounded number of bytes and a bounded time, and the node hears of it
//! only once it has proved to be there now.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::inlet::{Frame, Inlet, InletError};
use super::{Host, Identity, Peer, Stranger};
use crate::codec::CodecError;
use crate::codec::frame::{FrameKind, put_frame};
use crate::codec::handshake::{
    Greeter, Hello, PROTOCOL_VERSION, decode_hello, decode_put_back, decode_refusal, decode_welcome,
    encode_hello, encode_put_back, encode_refusal, encode_welcome, preamble, preamble_version,
};
use crate::seam::Clock;
use crate::types::{Acks, ClusterId, ReplicaId, ShardCount, ShardId, Start, Trail, VolumeIncarnation};

/// Bytes that are still read of a peer which was refused, so that the words reach it before the connection is reset.
const DRAINED_BYTES_MAX: u64 = 4096;

/// Why hands were not shaken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unshaken {
    /// The socket failed, or the time was over.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is none of ours.
    #[error("it does not speak the protocol of nodes")]
    NotOurs,
    /// Another release.
    #[error("it speaks version {0} of the protocol, this node {PROTOCOL_VERSION}")]
    Version(u16),
    /// It spoke our protocol, but wrongly.
    #[error("its greeting cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// The other side refused, in these words.
    #[error("it refused: {0}")]
    Refused(String),
    /// The other side has met a start of this node's volume of which the volume knows nothing.
    #[error("it has met start {} of this node's volume, of which the volume knows nothing", .0.boot)]
    PutBack(Start),
    /// Two clusters.
    #[error("it belongs to cluster {0}, this node to another one")]
    Cluster(ClusterId),
    /// One cluster, but not as many shards.
    #[error("it has {theirs} shards, this node {ours}")]
    Shards {
        /// Its number.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// Two cluster files.
    #[error(
        "its cluster file names other members or first leaders than this node's: give all members the same ones"
    )]
    Plan,
    /// This node cannot say who it is.
    #[error("this node was not told yet who is in the cluster")]
    Nobody,
    /// Somebody else is looked for.
    #[error("it looks for {0} with another volume or under another id than this node's")]
    NotMe(ReplicaId),
    /// Somebody else answered.
    #[error("{0} with volume {1} answered instead")]
    Other(ReplicaId, VolumeIncarnation),
    /// The node does not want it.
    #[error("{0}")]
    Stranger(#[from] Stranger),
}

impl From<InletError> for Unshaken {
    fn from(error: InletError) -> Self {
        match error {
            InletError::End => Self::Io(io::ErrorKind::UnexpectedEof.into()),
            InletError::Io(error) => Self::Io(error),
            InletError::Codec(error) => Self::Codec(error),
        }
    }
}

impl Unshaken {
    /// The start that the other side does not know, if that is why.
    fn start_of_theirs(&self) -> Option<Start> {
        let Self::Stranger(Stranger::PutBack { why, .. }) = self else { return None };
        why.known.key.map(|key| Start { boot: why.known.boot, key })
    }
}

/// Hands are shaken.
#[derive(Debug)]
pub(super) struct Shaken {
    /// With whom.
    pub(super) peer: Peer,
    /// The seed of what follows.
    pub(super) seed: u32,
    /// What has arrived behind.
    pub(super) inlet: Inlet,
    /// How the peer acknowledges what it leads, if it was the one that dialled.
    pub(super) acks: Option<Acks>,
}

/// Whom a node dials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its id.
    pub(super) id: ReplicaId,
    /// Its volume, if that is known.
    pub(super) incarnation: Option<VolumeIncarnation>,
}

/// One side of a handshake.
pub(super) struct Handshake<'a> {
    stream: &'a TcpStream,
    clock: &'a dyn Clock,
    deadline: Duration,
    host: &'a Arc<dyn Host>,
    shards: ShardCount,
    /// Counts the connections of this start.
    connection: u64,
    inlet: Inlet,
    seed: u32,
    /// The preamble is out.
    begun: bool,
}

/// Reads until a deadline.
struct Timed<'a>(&'a TcpStream, &'a dyn Clock, Duration);

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.2.saturating_sub(self.1.elapsed());
        if rest.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.set_read_timeout(Some(rest))?;
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

impl<'a> Handshake<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        (clock, timeout): (&'a dyn Clock, Duration),
        host: &'a Arc<dyn Host>,
        (shards, connection): (ShardCount, u64),
    ) -> Self {
        let deadline = clock.elapsed() + timeout;
        let inlet = Inlet::default();
        Self { stream, clock, deadline, host, shards, connection, inlet, seed: 0, begun: false }
    }

    /// The side that dials.
    pub(super) fn dial(mut self, wanted: Wanted) -> Result<Shaken, Unshaken> {
        let me = self.host.identity();
        let from = self.greeter(&me).ok_or(Unshaken::Nobody)?;
        let hello = Hello {
            cluster: me.cluster,
            shards: self.shards.get(),
            plan: me.plan,
            acks: me.acks,
            from,
            to: wanted.id,
            to_incarnation: wanted.incarnation,
        };
        let mut said = Vec::new();
        encode_hello(&hello, &mut said);
        self.say(FrameKind::Hello, &said)?;
        self.version()?;
        let welcome = self.hear(FrameKind::Welcome)?;
        self.seed = seed(&said, &welcome.payload);
        let outcome = self.agree(&welcome, wanted);
        let peer = self.or_refuse(outcome)?;
        self.say(FrameKind::Agreed, &[])?;
        self.hear_agreed(peer)?;
        self.done(peer, None)
    }

    /// The side that is dialled.
    pub(super) fn accept(mut self) -> Result<Shaken, Unshaken> {
        let outcome = self.welcome();
        let (peer, trail, acks) = self.or_refuse(outcome)?;
        let outcome = self.host.greeted(peer, &trail).map_err(Unshaken::Stranger);
        self.or_refuse(outcome)?;
        self.say(FrameKind::Agreed, &[])?;
        self.done(peer, Some(acks))
    }

    /// Up to the other side's agreement: from here on it is there, and it is now.
    fn welcome(&mut self) -> Result<(Peer, Trail, Acks), Unshaken> {
        self.version()?;
        let hello = self.hear(FrameKind::Hello)?;
        let (me, theirs) = (self.host.identity(), decode_hello(&hello.payload)?);
        let from = self.greeter(&me);
        if theirs.cluster != me.cluster {
            return Err(Unshaken::Cluster(theirs.cluster));
        }
        if theirs.shards != self.shards.get() {
            return Err(Unshaken::Shards { theirs: theirs.shards, ours: self.shards.get() });
        }
        // Of two first leaders of one shard each would be obeyed by somebody.
        if theirs.plan != me.plan && theirs.plan != 0 && me.plan != 0 {
            return Err(Unshaken::Plan);
        }
        let from = from.ok_or(Unshaken::Nobody)?;
        let is_me = theirs.to == from.id
            && theirs.to_incarnation.is_none_or(|incarnation| incarnation == me.incarnation);
        if !is_me || theirs.from.id == from.id || theirs.from.incarnation == me.incarnation {
            return Err(Unshaken::NotMe(theirs.to));
        }
        let peer = peer(&theirs.from);
        let mut said = Vec::new();
        encode_welcome(&from, &mut said);
        self.say(FrameKind::Welcome, &said)?;
        self.seed = seed(&hello.payload, &said);
        // Anybody may have dialled: that this volume was put back is believed when a member says so that this node has dialled.
        self.hear_one_of(&[FrameKind::Agreed, FrameKind::PutBack])?;
        Ok((peer, theirs.from.trail, theirs.acks))
    }

    /// Whether whoever answered is the one that is wanted.
    fn agree(&self, welcome: &Frame, wanted: Wanted) -> Result<Peer, Unshaken> {
        let greeter = decode_welcome(&welcome.payload)?;
        let peer = peer(&greeter);
        let fits = wanted.incarnation.is_none_or(|incarnation| incarnation == peer.incarnation);
        if peer.id != wanted.id || !fits {
            return Err(Unshaken::Other(peer.id, peer.incarnation));
        }
        self.host.greeted(peer, &greeter.trail)?;
        Ok(peer)
    }

    fn greeter(&self, me: &Identity) -> Option<Greeter> {
        let (incarnation, trail, connection) = (me.incarnation, me.trail, self.connection);
        me.me.map(|id| Greeter { id, incarnation, trail, connection })
    }

    fn done(self, peer: Peer, acks: Option<Acks>) -> Result<Shaken, Unshaken> {
        self.stream.set_read_timeout(None)?;
        Ok(Shaken { peer, seed: self.seed, inlet: self.inlet, acks })
    }

    /// The other side's preamble.
    fn version(&mut self) -> Result<(), Unshaken> {
        let bytes = self.inlet.take(&mut Timed(self.stream, self.clock, self.deadline))?;
        match preamble_version(&bytes) {
            Some(PROTOCOL_VERSION) => Ok(()),
            Some(other) => Err(Unshaken::Version(other)),
            None => Err(Unshaken::NotOurs),
        }
    }

    /// Whoever was dialled has agreed, or says why it does not. It is there, it is now, and it is where the members are known to be: so
    /// what it says of this node's volume may change this node.
    fn hear_agreed(&mut self, from: Peer) -> Result<(), Unshaken> {
        let outcome = self.hear_one_of(&[FrameKind::Agreed, FrameKind::PutBack]);
        if let Err(Unshaken::PutBack(met)) = outcome {
            self.host.put_back(from, met);
        }
        outcome.map(drop)
    }

    fn hear(&mut self, kind: FrameKind) -> Result<Frame, Unshaken> {
        self.hear_one_of(&[kind])
    }

    fn hear_one_of(&mut self, kinds: &[FrameKind]) -> Result<Frame, Unshaken> {
        let mut source = Timed(self.stream, self.clock, self.deadline);
        let allowed = |found| kinds.contains(&found) || found == FrameKind::Refusal;
        let frame = self.inlet.frame(&mut source, self.seed, allowed)?;
        match frame.kind {
            FrameKind::PutBack => Err(Unshaken::PutBack(decode_put_back(&frame.payload)?)),
            FrameKind::Refusal => Err(Unshaken::Refused(decode_refusal(&frame.payload)?)),
            _ => Ok(frame),
        }
    }

    fn say(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), Unshaken> {
        let mut out = if self.begun { Vec::new() } else { preamble().to_vec() };
        put_frame(&mut out, self.seed, (kind, ShardId(0)), |out| out.extend_from_slice(payload))?;
        self.begun = true;
        Ok((&mut &*self.stream).write_all(&out)?)
    }

    /// Tells the other side why, unless it said so itself or there is nobody to tell.
    fn or_refuse<T>(&mut self, outcome: Result<T, Unshaken>) -> Result<T, Unshaken> {
        if let Err(error) = &outcome
            && !matches!(error, Unshaken::Io(_) | Unshaken::Refused(_) | Unshaken::PutBack(_))
        {
            let mut said = Vec::new();
            let kind = match error.start_of_theirs() {
                Some(met) => {
                    encode_put_back(&met, &mut said);
                    FrameKind::PutBack
                }
                None => {
                    encode_refusal(&error.to_string(), &mut said);
                    FrameKind::Refusal
                }
            };
            if self.say(kind, &said).is_ok() {
                self.linger();
            }
        }
        outcome
    }

    /// Waits until the other side has read the words and closed, within the deadline.
    fn linger(&self) {
        if self.stream.shutdown(Shutdown::Write).is_ok() {
            let rest = Timed(self.stream, self.clock, self.deadline);
            // Whatever comes now changes nothing.
            let _ = io::copy(&mut rest.take(DRAINED_BYTES_MAX), &mut io::sink());
        }
    }
}

const fn peer(greeter: &Greeter) -> Peer {
    Peer { id: greeter.id, incarnation: greeter.incarnation, boot: greeter.trail.newest() }
}

/// What both sides said seeds the checksums of what follows.
fn seed(hello: &[u8], welcome: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(hello), welcome)
}
