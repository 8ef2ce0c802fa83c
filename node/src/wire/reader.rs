//! The thread that reads on a connection, and hands to the node what it hears in the order in which it came. The node may
//! make it wait: that is how a node that has enough to do holds back its peers.

use std::sync::Arc;

use super::Host;
use super::accounts::Direction;
use super::inlet::{Inlet, InletError};
use super::line::{Ended, Line};
use super::message::{Said, decode_said};
use crate::codec::CodecError;
use crate::codec::frame::FrameKind;
use crate::core::replication::Message;
use crate::types::{ShardCount, ShardId};

/// Reads until the connection ends.
pub(super) fn hear(
    line: &Line,
    mut inlet: Inlet,
    host: &Arc<dyn Host>,
    (direction, shards): (Direction, ShardCount),
) {
    let allowed = match direction {
        Direction::Dialled => FrameKind::is_followers,
        Direction::Accepted => FrameKind::is_leaders,
    };
    while line.is_open() {
        if !inlet.holds_frame() {
            host.rest();
        }
        match next(line, &mut inlet, allowed, shards) {
            Ok((shard, said)) => {
                line.answered();
                // What arrived before the connection was given up, and was not read, is not handed on.
                if !line.is_open() {
                    break;
                }
                let peer = line.peer.id;
                match said {
                    Said::ReadAsked(number) => host.read_asked(peer, shard, number),
                    Said::ReadAnswered(number, upto) => host.read_answered(peer, shard, number, upto),
                    Said::ErrandAsked(number, bytes) => host.errand_asked(peer, shard, number, &bytes),
                    Said::ErrandAnswered(number, bytes) => host.errand_answered(peer, shard, number, &bytes),
                    Said::Starts(starts) => host.starts_told(peer, &starts),
                    Said::PieceAsked(ask) => line.ask_piece(shard, ask),
                    Said::Piece(piece) => host.piece(peer, shard, piece),
                    Said::Message(message) => {
                        if let Message::Ack { epoch, synced, .. } = message {
                            line.acknowledge(shard, epoch, synced);
                        }
                        host.heard(peer, shard, message);
                    }
                }
            }
            Err(InletError::End) => line.close(Ended::ByPeer),
            Err(InletError::Io(error)) => line.close(Ended::Io(error)),
            Err(InletError::Codec(error)) => line.close(Ended::Garbled(error)),
        }
    }
    host.rest();
}

fn next(
    line: &Line,
    inlet: &mut Inlet,
    allowed: fn(FrameKind) -> bool,
    shards: ShardCount,
) -> Result<(ShardId, Said), InletError> {
    let before = inlet.received;
    let frame = inlet.frame(&mut &line.stream, line.seed, allowed);
    line.count_received(inlet.received - before);
    let frame = frame?;
    if frame.shard.0 >= shards.get() {
        return Err(CodecError::Impossible("a shard's number").into());
    }
    Ok((frame.shard, decode_said(frame.kind, &frame.payload)?))
}
