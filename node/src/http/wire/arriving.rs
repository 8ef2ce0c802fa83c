//! A request body that arrives in parts. Invariant: its buffer is never larger than what was granted, and what is granted
//! follows what has arrived: at most about as much again is set aside in advance, whatever length was announced.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Grant;
use super::registry::{Membership, Registry, Watch};
use super::room::Share;
use super::transfers::{CutMark, Entered};

/// Room for the beginning of a body, and for the least that it grows by: a read buffer's worth.
const STEP_BYTES_MIN: usize = 16 * 1024;

/// The body so far.
pub(super) struct Arriving {
    registry: Arc<Registry>,
    watch: Arc<Watch>,
    buffer: BytesMut,
    /// The announced length, or the largest that is accepted.
    most: usize,
    announced: bool,
    held: Option<Held>,
    waited: Duration,
}

struct Held {
    grant: Grant,
    share: Share,
    entered: Entered,
}

impl Arriving {
    /// A body of `announced` bytes, or of any number up to `most`.
    pub(super) fn new(membership: &Membership, announced: Option<usize>, most: usize) -> Self {
        Self {
            registry: Arc::clone(&membership.registry),
            watch: Arc::clone(&membership.watch),
            buffer: BytesMut::new(),
            most: announced.unwrap_or(most),
            announced: announced.is_some(),
            held: None,
            waited: Duration::ZERO,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Time that it waited for room: its peer cannot help that.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether its room was taken away.
    pub(super) fn is_cut(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.entered.is_cut())
    }

    /// For whoever wants to know that while the buffer is being read into.
    pub(super) fn cut(&self) -> Option<CutMark> {
        self.held.as_ref().map(|held| held.entered.mark())
    }

    /// Makes room for `more` bytes behind what has arrived; false when there is none.
    pub(super) async fn make_room(&mut self, more: usize) -> bool {
        let needed = self.buffer.len() + more;
        if needed <= self.buffer.capacity() {
            return true;
        }
        let began = Instant::now();
        let found = self.take((needed + needed.max(STEP_BYTES_MIN)).min(self.most)).await;
        self.waited += began.elapsed();
        let granted = self.held.as_ref().map_or(0, |held| held.grant.bytes()).min(self.most);
        if !found || granted < needed {
            return false;
        }
        // By hand, since a buffer that grows by itself may become larger than it was asked to be.
        let mut larger = BytesMut::with_capacity(granted);
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
        true
    }

    async fn take(&mut self, target: usize) -> bool {
        let admission = &self.registry.admission;
        if let Some(held) = &mut self.held
            && (held.share == Share::Large || admission.is_small_request(target))
        {
            let found =
                admission.more((&mut held.grant, held.share), (target, self.most), &held.entered).await;
            held.entered.holds(held.grant.bytes());
            return found;
        }
        // The beginning, or a body of unknown length that is no small one any more: it moves over with all that it has.
        let most = if self.announced { self.most } else { target };
        let Some((grant, share)) = admission.request(target, most).await else { return false };
        let entered = admission.enter_request(share, &self.watch, grant.bytes(), self.most);
        self.held = Some(Held { grant, share, entered });
        self.note();
        true
    }

    /// Where to read into; nothing more than there is room for.
    pub(super) fn room(&mut self) -> impl bytes::BufMut + Send + '_ {
        let free = self.buffer.capacity().min(self.most) - self.buffer.len();
        bytes::BufMut::limit(&mut self.buffer, free)
    }

    /// Adds bytes for which there is room.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Something has arrived.
    pub(super) fn note(&self) {
        if let Some(held) = &self.held {
            // How much a body of unknown length still needs nobody knows: at least what it has room for.
            let end = if self.announced { self.most } else { held.grant.bytes() + STEP_BYTES_MIN };
            held.entered.moved(Instant::now(), self.buffer.len(), end.saturating_sub(self.buffer.len()));
        }
    }

    /// All of it has arrived.
    pub(super) fn finish(self) -> (Bytes, Grant) {
        (self.buffer.freeze(), self.held.map(|held| held.grant).unwrap_or_default())
    }
}
