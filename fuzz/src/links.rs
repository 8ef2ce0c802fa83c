//! Parsers of what travels between nodes. The checksum of a frame is not asked for: what stands behind it is reached.

use bytes::Bytes;
use thalweg_node::codec::frame::{FRAME_HEAD_BYTES, FrameHead, FrameKind};
use thalweg_node::codec::handshake::{
    decode_hello, decode_put_back, decode_refusal, decode_welcome, encode_hello, encode_put_back,
    encode_refusal, encode_welcome,
};
use thalweg_node::runtime::errand_said_again;
use thalweg_node::wire::{decode_said, put_said};

/// Frames: a head is within its bound; what is taken behind it is written back to bytes that read as the same.
pub fn frame(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return };
    let Ok(head) = FrameHead::decode(head) else { return };
    assert!(head.payload_bytes <= head.kind.payload_bytes_max(), "a length is within its bound");
    let mut written = Vec::new();
    match head.kind {
        FrameKind::Hello => {
            let Ok(hello) = decode_hello(payload) else { return };
            encode_hello(&hello, &mut written);
            assert_eq!(written, payload, "a hello is written as it was read");
        }
        FrameKind::Welcome => {
            let Ok(welcome) = decode_welcome(payload) else { return };
            encode_welcome(&welcome, &mut written);
            assert_eq!(written, payload, "a welcome is written as it was read");
        }
        FrameKind::Refusal => {
            let Ok(words) = decode_refusal(payload) else { return };
            encode_refusal(&words, &mut written);
            assert!(decode_refusal(&written).is_ok(), "a refusal must read back");
        }
        FrameKind::PutBack => {
            let Ok(met) = decode_put_back(payload) else { return };
            encode_put_back(&met, &mut written);
            assert_eq!(written, payload, "a start is written as it was read");
        }
        kind => {
            let Ok(said) = decode_said(kind, &Bytes::copy_from_slice(payload)) else { return };
            if put_said(&mut written, 0, head.shard, &said).is_ok() {
                let payload = Bytes::from(written).slice(FRAME_HEAD_BYTES..);
                assert_eq!(decode_said(kind, &payload), Ok(said), "a message must read back");
            }
        }
    }
}

/// Errands: whatever is read as one can be said, and reads back as it was said.
pub fn errand(bytes: &[u8]) {
    let Some(said) = errand_said_again(&Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(errand_said_again(&said), Some(said), "an errand must read back");
}
