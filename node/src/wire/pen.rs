//! The pen of a connection: what is under way on it, and how it is written. Whoever holds it writes: the writer's thread, which
//! sends in each turn what was said, then what the lanes just wrote, then a piece of what a follower lacks, in one write; or a lane
//! that has little to say and finds nobody at it, and spares the wake-up of a thread. Invariants: bytes go out in the order in which
//! they were made, whoever writes; whoever sends at once never waits, not for the pen, not for the socket, not for a file; what it
//! holds is bounded by a turn's bytes and one entry of the largest size.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::SendFlags;

use super::Host;
use super::accounts::Progress;
use super::line::{Ended, Line};
use super::message::{Said, put_message, put_said};
use super::options::LinkOptions;
use super::outbox::{Command, Outbox};
use super::parcel::Parcels;
use super::shipment::{Shipment, Stage};
use super::source::{Shipments, Source};
use crate::core::replication::Message;
use crate::types::ShardId;

/// Bytes that a lane sends by itself: copying and sending more takes longer than waking whoever does it meanwhile.
pub(super) const AT_ONCE_BYTES_MAX: usize = 16 << 10;
/// Memory that is kept from one turn to the next.
const KEPT_BYTES: usize = 2 << 20;

/// What is under way on one connection.
pub(super) struct Pen {
    host: Arc<dyn Host>,
    options: Arc<LinkOptions>,
    /// Where entries come from, by lane; none on a connection that the peer dialled.
    sources: Vec<Source>,
    shipments: Shipments,
    parcels: Parcels,
    outbox: Outbox,
    out: Vec<u8>,
    /// So many bytes of that are sent.
    sent: usize,
    owes: bool,
    /// When the files may be read again.
    next_scan: Duration,
    progress: Progress,
}

impl std::fmt::Debug for Pen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pen").field("shipments", &self.shipments).finish_non_exhaustive()
    }
}

impl Pen {
    pub(super) fn new(host: &Arc<dyn Host>, options: Arc<LinkOptions>, sources: Vec<Source>) -> Self {
        Self {
            host: Arc::clone(host),
            options,
            sources,
            shipments: Shipments::new(),
            parcels: Parcels::default(),
            outbox: Outbox::default(),
            out: Vec::new(),
            sent: 0,
            owes: false,
            next_scan: Duration::ZERO,
            progress: Progress::default(),
        }
    }

    /// Sends what there is, and waits until the socket takes it; whether there was anything.
    pub(super) fn turn(&mut self, line: &Line) -> Result<bool, Ended> {
        self.outbox.clear();
        line.swap_outbox(&mut self.outbox);
        self.take_outbox();
        self.take_confirmed(line);
        for (shard, ask) in line.take_asks() {
            self.parcels.ask(shard, ask);
        }
        let mut busy = self.collect(line)?;
        self.flush(line)?;
        busy |= self.show(line);
        busy |= !self.out.is_empty();
        self.write(line)?;
        Ok(busy)
    }

    /// Sends what was put in, if that is little, nothing else is under way, and the socket takes it; whether nothing is left to do.
    pub(super) fn at_once(&mut self, line: &Line) -> Result<bool, Ended> {
        let waiting: usize = self.sources.iter().map(Source::waiting_bytes).sum();
        self.outbox.clear();
        if waiting > AT_ONCE_BYTES_MAX || !self.is_calm() || !line.swap_small_outbox(&mut self.outbox) {
            return Ok(false);
        }
        self.take_outbox();
        self.take_confirmed(line);
        self.drain(line)?;
        self.flush(line)?;
        self.write_at_once(line)?;
        Ok(self.is_calm())
    }

    /// Nothing is left to be sent, and nothing to be read in a file.
    fn is_calm(&self) -> bool {
        let is_level = |shipment: &Shipment| matches!(shipment.stage, Stage::Level(_));
        self.out.is_empty() && self.shipments.values().all(is_level) && !self.parcels.is_due()
    }

    fn take_outbox(&mut self) {
        self.out.extend_from_slice(&self.outbox.bytes);
        self.owes |= self.outbox.owes;
        for command in self.outbox.commands.drain(..) {
            match command {
                Command::Ship(shard, shipping) => {
                    let source = self.sources.get(self.options.lane_of(shard));
                    let start = source.map(Source::start).unwrap_or_default();
                    let shipment = Shipment::new(shipping, start, self.options.window_bytes);
                    self.shipments.insert(shard, shipment);
                }
                Command::Unship(shard) => {
                    self.shipments.remove(&shard);
                    self.parcels.take_away(shard);
                }
                Command::Parcel(shard, parcel) => self.parcels.put(shard, parcel),
            }
        }
    }

    fn take_confirmed(&mut self, line: &Line) {
        for (shard, (epoch, synced)) in line.take_acks() {
            if let Some(shipment) = self.shipments.get_mut(&shard) {
                shipment.confirm(epoch, synced);
            }
        }
    }

    /// Collects entries from the rings; whether there may be more.
    fn drain(&mut self, line: &Line) -> Result<bool, Ended> {
        let Self { sources, shipments, out, owes, .. } = self;
        let mut flush = |shard, shipment: &mut Shipment| flush(line, out, owes, (shard, shipment));
        let mut busy = false;
        for source in sources {
            busy |= source.drain(shipments, &mut flush)?;
        }
        Ok(busy)
    }

    /// Collects entries from the rings and the files, and pieces; whether there may be more.
    fn collect(&mut self, line: &Line) -> Result<bool, Ended> {
        let mut busy = self.drain(line)?;
        let Self { sources, shipments, parcels, out, owes, options, .. } = self;
        let now = options.clock.elapsed();
        if now < self.next_scan {
            return Ok(busy);
        }
        let mut flush = |shard, shipment: &mut Shipment| flush(line, out, owes, (shard, shipment));
        let mut collected = 0;
        for source in sources {
            if let Some(bytes) = source.scan(shipments, &mut flush)? {
                (busy, collected) = (true, collected + bytes);
            }
        }
        // One piece in each turn, so that entries and beats wait for no more than that.
        if let Some((shard, piece)) = parcels.next() {
            (busy, collected) = (true, collected + piece.bytes.len());
            put_said(out, line.seed, shard, &Said::Piece(piece))?;
        }
        if let Some(rate) = options.catch_up_bytes_per_second {
            let nanos = (collected as u64).saturating_mul(1_000_000_000) / rate.max(1);
            self.next_scan = now + Duration::from_nanos(nanos);
        }
        Ok(busy)
    }

    /// Makes frames of what all shards have collected.
    fn flush(&mut self, line: &Line) -> Result<(), Ended> {
        for (shard, shipment) in &mut self.shipments {
            flush(line, &mut self.out, &mut self.owes, (*shard, shipment))?;
        }
        Ok(())
    }

    /// Shows what has changed of how far each shard is; whether a shard began to wait for a confirmation.
    fn show(&mut self, line: &Line) -> bool {
        let mut progress = Progress::default();
        let mut held = false;
        for (shard, shipment) in &self.shipments {
            match shipment.stage {
                Stage::Level(_) => continue,
                Stage::NeedsSnapshot => progress.needs_snapshot.insert(*shard),
                Stage::Behind(_) | Stage::Riding => progress.catching_up.insert(*shard),
                Stage::Held(_) => {
                    held = true;
                    progress.catching_up.insert(*shard)
                }
            };
        }
        for (shard, shipment) in &mut self.shipments {
            if shipment.begins_to_need_snapshot() {
                tracing::info!(
                    peer = line.peer.id.0,
                    shard = shard.0,
                    after = shipment.sent().0,
                    "the log no longer has what a follower lacks: it needs a snapshot"
                );
                self.host.lacks(line.peer.id, *shard, shipment.epoch());
            }
        }
        if progress != self.progress {
            line.set_progress(progress.clone());
            self.progress = progress;
        }
        // A confirmation that came before this was set is looked for in one more turn.
        held && !line.awaits_ack.swap(held, Ordering::AcqRel)
            || !held && line.awaits_ack.swap(false, Ordering::AcqRel)
    }

    fn write(&mut self, line: &Line) -> Result<(), Ended> {
        self.begin_to_owe(line);
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let outcome = (&line.stream).write(rest);
            if !self.count(line, outcome)? {
                return Err(Ended::Stuck(self.options.write_timeout));
            }
        }
        self.end_write();
        Ok(())
    }

    /// What the socket does not take stays for the thread.
    fn write_at_once(&mut self, line: &Line) -> Result<(), Ended> {
        self.begin_to_owe(line);
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let outcome = rustix::net::send(&line.stream, rest, flags);
            if !self.count(line, outcome.map_err(io::Error::from))? {
                return Ok(());
            }
        }
        self.end_write();
        Ok(())
    }

    /// Before the bytes are out: the answer may be here at once.
    fn begin_to_owe(&mut self, line: &Line) {
        if !self.out.is_empty() && std::mem::take(&mut self.owes) {
            line.owe(self.options.clock.elapsed());
        }
    }

    /// What became of one write; whether the socket took anything or may now.
    fn count(&mut self, line: &Line, outcome: io::Result<usize>) -> Result<bool, Ended> {
        match outcome {
            Ok(0) => Err(Ended::ByPeer),
            Ok(count) => {
                line.count_sent(count);
                self.sent += count;
                Ok(true)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(true),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                _ => Err(Ended::Io(error)),
            },
        }
    }

    fn end_write(&mut self) {
        self.sent = 0;
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
    }

    /// How long nothing need be done: until the files may be read again, or the peer has been silent for too long. Whoever sends at once
    /// wakes nobody, so what is owed since then is looked for before it can be due.
    pub(super) fn patience(&self, line: &Line) -> Result<Duration, Ended> {
        let (now, silence) = (self.options.clock.elapsed(), self.options.silence_timeout);
        let due = line.owed_since().unwrap_or(now) + silence;
        if due <= now {
            return Err(Ended::Silent(silence));
        }
        let reads = self.shipments.values().any(|one| matches!(one.stage, Stage::Behind(_) | Stage::Riding))
            || self.parcels.is_due();
        let wake = if reads { due.min(self.next_scan) } else { due };
        Ok(wake.saturating_sub(now))
    }
}

/// Makes a frame of what a shard has collected.
fn flush(
    line: &Line,
    out: &mut Vec<u8>,
    owes: &mut bool,
    (shard, shipment): (ShardId, &mut Shipment),
) -> Result<(), Ended> {
    if let Some(records) = shipment.take_pending() {
        *owes = true;
        put_message(out, line.seed, shard, &Message::Records(records))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
