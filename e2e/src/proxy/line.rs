//! One direction of a connection. Pieces are stamped with the time at which they are due as they are read, so a delay does
//! not make a line narrow; the stamps never fall, so nothing overtakes.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::rules::{Flow, Line, Rules};
use super::{KEPT_BYTES, Kept};
use crate::dice::Dice;

/// One read.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces under way: 4 MiB, what a long fat line holds.
const PIECES_MAX: usize = 256;

/// The connection ends with a reset.
pub(super) struct Cut;

/// One direction.
pub(super) struct Pipe {
    rules: watch::Receiver<Rules>,
    flow: fn(&Rules) -> Flow,
    dice: Dice,
    kept: Option<Kept>,
    beginning: BytesMut,
    /// When the piece before this one is due.
    due: Instant,
}

impl Pipe {
    pub(super) fn new(
        rules: watch::Receiver<Rules>,
        flow: fn(&Rules) -> Flow,
        seed: u64,
        kept: Option<Kept>,
    ) -> Self {
        let (dice, beginning) = (Dice::new(seed), BytesMut::new());
        Self { rules, flow, dice, kept, beginning, due: Instant::now() }
    }

    /// Carries everything to the end of the stream; an error cuts both directions.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (pieces, waiting) = mpsc::channel(PIECES_MAX);
        let (rules, flow) = (self.rules.clone(), self.flow);
        tokio::try_join!(self.read(from, pieces), write(waiting, to, rules, flow))?;
        Ok(())
    }

    async fn read(
        mut self,
        mut from: ReadHalf<'_>,
        pieces: mpsc::Sender<(Instant, Bytes)>,
    ) -> io::Result<()> {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            self.keep(&piece);
            let due = self.stamp(piece.len());
            if pieces.send((due, piece.freeze())).await.is_err() {
                return Ok(());
            }
        }
    }

    fn stamp(&mut self, bytes: usize) -> Instant {
        let flow = (self.flow)(&self.rules.borrow());
        let jitter = self.dice.below(u64::try_from(flow.jitter.as_micros()).unwrap_or(u64::MAX));
        let arrives = Instant::now() + flow.delay + Duration::from_micros(jitter);
        let takes = flow.bytes_per_second.map_or(0.0, |rate| bytes as f64 / rate.max(1) as f64);
        self.due = arrives.max(self.due) + Duration::from_secs_f64(takes);
        self.due
    }

    fn keep(&mut self, piece: &[u8]) {
        let Some(kept) = &self.kept else { return };
        let room = KEPT_BYTES.saturating_sub(self.beginning.len());
        if room > 0 {
            self.beginning.extend_from_slice(&piece[..piece.len().min(room)]);
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = self.beginning.clone().freeze();
        }
    }
}

async fn write(
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    flow: fn(&Rules) -> Flow,
) -> io::Result<()> {
    let mut carried = 0;
    let mut swallowed = false;
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        // The proxy is gone when this fails, and so is the connection.
        let now = *rules.wait_for(|rules| flow(rules).line != Line::Stopped).await.map_err(|_| Cut)?;
        let Flow { line, reset_after, .. } = flow(&now);
        if line == Line::Swallowing {
            swallowed = true;
            continue;
        }
        let left = reset_after.map_or(u64::MAX, |most| most.saturating_sub(carried));
        let whole = piece.len() as u64;
        if swallowed || left < whole {
            let part = if swallowed { 0 } else { usize::try_from(left).unwrap_or(0) };
            to.write_all(&piece[..part]).await?;
            return Err(Cut.into());
        }
        to.write_all(&piece).await?;
        carried += whole;
    }
    // The end of the stream is under way like everything else.
    let _ = rules.wait_for(|rules| flow(rules).line == Line::Open).await;
    to.shutdown().await
}
