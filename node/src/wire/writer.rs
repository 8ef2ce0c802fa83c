//! The thread that writes on a connection. Each turn it sends what was said, then what the lanes just wrote, then a piece
//! of what a follower lacks, in one write; with nothing to do it sleeps. Invariant: what it holds is bounded by a turn's
//! bytes and one entry of the largest size.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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

/// Memory that is kept from one turn to the next.
const KEPT_BYTES: usize = 2 << 20;

/// The writer of one connection.
pub(super) struct Writer {
    line: Arc<Line>,
    host: Arc<dyn Host>,
    options: Arc<LinkOptions>,
    /// Where entries come from, by lane; none on a connection that the peer dialled.
    sources: Vec<Source>,
    shipments: Shipments,
    parcels: Parcels,
    outbox: Outbox,
    out: Vec<u8>,
    owes: bool,
    /// When the files may be read again.
    next_scan: Duration,
    progress: Progress,
}

impl Writer {
    pub(super) fn new(
        line: Arc<Line>,
        host: &Arc<dyn Host>,
        options: Arc<LinkOptions>,
        sources: Vec<Source>,
    ) -> Self {
        Self {
            line,
            host: Arc::clone(host),
            options,
            sources,
            shipments: Shipments::new(),
            parcels: Parcels::default(),
            outbox: Outbox::default(),
            out: Vec::new(),
            owes: false,
            next_scan: Duration::ZERO,
            progress: Progress::default(),
        }
    }

    /// Writes until the connection ends.
    pub(super) fn run(mut self) {
        while self.line.is_open() {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => self.rest(),
                Err(why) => self.line.close(why),
            }
        }
    }

    /// Sends what there is; whether there was anything.
    fn turn(&mut self) -> Result<bool, Ended> {
        self.line.bell.look();
        self.take_outbox();
        for (shard, (epoch, synced)) in self.line.take_acks() {
            if let Some(shipment) = self.shipments.get_mut(&shard) {
                shipment.confirm(epoch, synced);
            }
        }
        for (shard, ask) in self.line.take_asks() {
            self.parcels.ask(shard, ask);
        }
        let mut busy = self.collect()?;
        for (shard, shipment) in &mut self.shipments {
            flush(&self.line, &mut self.out, &mut self.owes, (*shard, shipment))?;
        }
        busy |= self.show();
        busy |= !self.out.is_empty();
        self.write()?;
        Ok(busy)
    }

    fn take_outbox(&mut self) {
        self.outbox.clear();
        self.line.swap_outbox(&mut self.outbox);
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

    /// Collects entries from the rings and the files; whether there may be more.
    fn collect(&mut self) -> Result<bool, Ended> {
        let Self { line, sources, shipments, parcels, out, owes, options, .. } = self;
        let mut flush = |shard, shipment: &mut Shipment| flush(line, out, owes, (shard, shipment));
        let mut busy = false;
        for source in sources.iter_mut() {
            busy |= source.drain(shipments, &mut flush)?;
        }
        let now = options.clock.elapsed();
        if now < self.next_scan {
            return Ok(busy);
        }
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

    /// Shows what has changed of how far each shard is; whether a shard began to wait for a confirmation.
    fn show(&mut self) -> bool {
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
                    peer = self.line.peer.id.0,
                    shard = shard.0,
                    after = shipment.sent().0,
                    "the log no longer has what a follower lacks: it needs a snapshot"
                );
                self.host.lacks(self.line.peer.id, *shard, shipment.epoch());
            }
        }
        if progress != self.progress {
            self.line.set_progress(progress.clone());
            self.progress = progress;
        }
        // A confirmation that came before this was set is looked for in one more turn.
        held && !self.line.awaits_ack.swap(held, Ordering::AcqRel)
            || !held && self.line.awaits_ack.swap(false, Ordering::AcqRel)
    }

    fn write(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Before the bytes are out: the answer may be here at once.
        if std::mem::take(&mut self.owes) {
            self.line.owe(self.options.clock.elapsed());
        }
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match (&self.line.stream).write(rest) {
                Ok(0) => return Err(Ended::ByPeer),
                Ok(count) => {
                    self.line.count_sent(count);
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(Ended::Stuck(self.options.write_timeout));
                    }
                    _ => return Err(Ended::Io(error)),
                },
            }
        }
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        Ok(())
    }

    /// Sleeps until something is put in, the files may be read again, or the peer has been silent for too long.
    fn rest(&self) {
        let now = self.options.clock.elapsed();
        let due = self.line.owed_since().map(|since| since + self.options.silence_timeout);
        if due.is_some_and(|due| due <= now) {
            return self.line.close(Ended::Silent(self.options.silence_timeout));
        }
        let reads = self.shipments.values().any(|one| matches!(one.stage, Stage::Behind(_) | Stage::Riding))
            || self.parcels.is_due();
        let scan = reads.then_some(self.next_scan);
        let wake = due.into_iter().chain(scan).min();
        self.line.bell.sleep(wake.map(|at| at.saturating_sub(now)));
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
