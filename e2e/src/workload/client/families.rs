//! Streams of a client's own: forks that outlive their source, and streams that end by themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{ATTEMPTS_MAX, Client, RETRY_DELAY};
use crate::client::Request;
use crate::history::{Action, Append, Lifetime, Outcome, Position, Refusal, Terms};
use crate::stopwatch::wall_milliseconds;
use crate::workload::answers::outcome;
use crate::workload::payload::Format;
use crate::workload::stream::{Life, Stream};

/// Forks in a family at most.
const FORKS_MAX: u64 = 3;
/// How long a stream with a fixed end lives: it outlasts a restart, so that it is there before it ends.
const LIFE_MS: u64 = 4_000;
/// In this time it is created, or it is given up: its end must not come before it.
const CREATION_MS: u64 = 1_000;
/// A sliding window, and how often a stream is looked for after it.
const WINDOW_SECONDS: u64 = 1;
const LOOK_DELAY: Duration = Duration::from_millis(20);

impl Client {
    /// A source, forks of it and of each other at any message, more messages to all; then they end in any order. What
    /// was forked stays readable whatever becomes of the source.
    pub(super) async fn family(&mut self) {
        let number = self.findings.next_id();
        let format = Format::of(number);
        let source = Stream::own(format!("families/{number}/0"), format, Terms::default(), Vec::new(), 1);
        self.create(&source, &*source.life.read().await).await;
        self.extend(&source).await;
        // Each with the place of its source.
        let mut members = vec![(source, None)];
        for fork in 1..=1 + self.generator.dice().below(FORKS_MAX) {
            let place = usize::try_from(self.generator.dice().below(members.len() as u64)).unwrap_or(0);
            let Some((parent, _)) = members.get(place).cloned() else { break };
            let Some(child) = self.fork(&parent, format!("families/{number}/{fork}")).await else { break };
            self.extend(&child).await;
            self.extend(&parent).await;
            members.push((child, Some(parent.name.clone())));
        }
        while !members.is_empty() {
            let place = usize::try_from(self.generator.dice().below(members.len() as u64)).unwrap_or(0);
            let (member, _) = members.swap_remove(place);
            let forked = members.iter().any(|(_, source)| source.as_ref() == Some(&member.name));
            self.end(&member, &*member.life.read().await, forked).await;
        }
    }

    /// A fork at any message; it holds from its first moment what stands before that.
    async fn fork(&mut self, source: &Stream, name: String) -> Option<Arc<Stream>> {
        let held = self.read_all(source, &*source.life.read().await).await;
        let count = usize::try_from(self.generator.dice().below(held.messages.len() as u64 + 1)).unwrap_or(0);
        let inherited = held.messages.get(..count)?;
        let bytes = inherited.iter().map(|message| message.bytes).sum();
        let point = Position { messages: inherited.len() as u64, bytes };
        let creation = vec![
            ("Stream-Forked-From", Request::stream_path(&source.name)),
            ("Stream-Fork-Offset", self.dialect.format(point)),
        ];
        let fork = Stream::own(name, source.format, Terms::default(), creation, 1);
        self.create_with(&fork, &*fork.life.read().await, inherited, b"").await;
        Some(fork)
    }

    /// Some messages more.
    async fn extend(&mut self, stream: &Stream) {
        let life = stream.life.read().await;
        for _ in 0..=self.generator.dice().below(3) {
            let payload = self.payload(stream.format, 1);
            self.append(stream, &life, &payload, |_| {}).await;
        }
    }

    /// A stream that ends by itself: it is there until then, gone afterwards, and its name is free.
    pub(super) async fn brief(&mut self) {
        let number = self.findings.next_id();
        let (name, format) = (format!("brief/{number}"), Format::of(number));
        let began = self.clock.nanoseconds();
        let wall = wall_milliseconds();
        if self.clock.nanoseconds() - began > 5_000_000 {
            // Interrupted between the two clocks: nobody could say when it ends.
            return;
        }
        let end = began + LIFE_MS * 1_000_000;
        let (lifetime, header) = if self.generator.dice().once_in(2) {
            (Lifetime::Until(end), ("Stream-Expires-At", instant(wall + LIFE_MS)))
        } else {
            let window = Duration::from_secs(WINDOW_SECONDS).as_nanos();
            let window = u64::try_from(window).unwrap_or(u64::MAX);
            (Lifetime::Sliding(window), ("Stream-TTL", WINDOW_SECONDS.to_string()))
        };
        let late = u64::try_from(self.target.late().as_nanos()).unwrap_or(u64::MAX);
        let terms = Terms { lifetime, late, ..Terms::default() };
        let stream = Stream::own(name.clone(), format, terms, vec![header], 1);
        if !self.create_soon(&stream, began + CREATION_MS * 1_000_000).await {
            return;
        }
        self.extend(&stream).await;
        let life = stream.life.read().await;
        let mut log = self.read_all(&stream, &life).await;
        if !log.present {
            // It ended while the server was away; what it held before is not known.
            let now = self.clock.nanoseconds();
            if matches!(lifetime, Lifetime::Until(end) if now + 1_000_000_000 < end) {
                self.findings.problem(format!("{name} ended early"));
            }
            return;
        }
        if let Lifetime::Until(end) = lifetime {
            let left = end.saturating_sub(self.clock.nanoseconds()) + 30_000_000;
            sleep(Duration::from_nanos(left)).await;
        }
        let mut served = None;
        let patient = self.clock.nanoseconds().saturating_add(late);
        let mut attempts = 0..ATTEMPTS_MAX;
        while attempts.next().is_some() || self.clock.nanoseconds() < patient {
            served = self.target.address().await;
            if self.simple(&stream, &life, Action::Head).await == Outcome::Refused(Refusal::NotFound) {
                log.present = false;
                break;
            }
            sleep(LOOK_DELAY).await;
        }
        self.read(&stream, &life, Position::default(), false).await;
        life.judge(&name, self.dialect, log, &self.findings);
        // The same name again: another stream, with nothing of the old one.
        let again = Stream::own(name, format, Terms::default(), Vec::new(), 2);
        let life = again.life.read().await;
        match lifetime {
            Lifetime::Sliding(_) => self.outlive(&again, &life, served).await,
            _ => self.create(&again, &life).await,
        }
        self.end(&again, &life, false).await;
    }

    /// PUT until it is there. A start knows no reads, so it begins every sliding window anew: a stream that ended in the moment before a
    /// kill takes its name once more, for a window at most, on a server that is another one than `served` by then. A full volume may hold
    /// up the PUT for so long that the kill comes in between.
    async fn outlive(&mut self, again: &Stream, life: &Life, served: Option<SocketAddr>) {
        let request = Self::put(again).body(b"");
        let patience = 2 * WINDOW_SECONDS * 1_000_000_000;
        let moves = !self.target.late().is_zero();
        let mut taken_since = None;
        for _ in 0..ATTEMPTS_MAX {
            let call = self.clock.nanoseconds();
            let answer = self.exchange(&request).await;
            let action = Action::Create(Append::default());
            let conflict =
                matches!(outcome(&action, &answer, self.dialect), Ok(Outcome::Refused(Refusal::Conflict)));
            let another = moves || self.target.address().await != served;
            if conflict && another && call - *taken_since.get_or_insert(call) < patience {
                sleep(LOOK_DELAY).await;
                continue;
            }
            if matches!(self.conclude(life, call, action, &answer), Outcome::Created { .. }) {
                return;
            }
            sleep(RETRY_DELAY).await;
        }
        self.findings.problem(format!("{} cannot be created", again.name));
    }

    /// PUT until it is there or the time is over.
    async fn create_soon(&mut self, stream: &Stream, end: u64) -> bool {
        let request = Self::put(stream).body(b"");
        let life = stream.life.read().await;
        while self.clock.nanoseconds() < end {
            let call = self.clock.nanoseconds();
            let answer = self.exchange(&request).await;
            let action = Action::Create(Append::default());
            if matches!(self.conclude(&life, call, action, &answer), Outcome::Created { .. }) {
                return true;
            }
            sleep(RETRY_DELAY).await;
        }
        false
    }
}

/// A moment as RFC 3339 writes it.
fn instant(milliseconds: u64) -> String {
    let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_728_432_000_123, "2024-10-09T00:00:00.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(instant(milliseconds), text);
        }
    }
}
