//! A client: draws, asks, records; outlives any number of servers.

mod families;
mod reading;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::answers::outcome;
use super::choice::{Choice, Generator};
use super::payload::{Format, Payload};
use super::stream::{Findings, Life, Stream};
use super::target::TargetWatch;
use crate::checker::Dialect;
use crate::client::{Answer, Connection, Draft, Failure, Request};
use crate::history::{Action, Append, Event, Keep, Kept, Message, Outcome, Refusal, Stamp};
use crate::stopwatch::Stopwatch;

/// An answer that is not there by then will not be waited for; the request's fate is unknown.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Between attempts that were refused for want of a server.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// How often what must succeed is tried again; a start in between takes some hundred of them.
const ATTEMPTS_MAX: u32 = 500;
/// How often a producer tries again at once; then it goes on with something else first.
const PRODUCER_ATTEMPTS: usize = 3;

/// What all clients of a run share.
#[derive(Debug, Clone)]
pub struct Client {
    number: u32,
    generator: Generator,
    target: TargetWatch,
    streams: Arc<[Arc<Stream>]>,
    findings: Arc<Findings>,
    clock: Stopwatch,
    dialect: Dialect,
    link: Link,
    producers: HashMap<usize, Producer>,
}

/// The connection, if there is one. A copied client opens its own.
#[derive(Debug, Default)]
struct Link(Option<Connection>);

impl Clone for Link {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// This client as a producer of one stream.
#[derive(Debug, Clone, Default)]
struct Producer {
    life: u64,
    epoch: u64,
    next_seq: u64,
    /// Sent, and never answered: it must be sent again before anything else.
    pending: Option<(Stamp, Payload)>,
}

impl Client {
    /// A client of its own seed.
    #[must_use]
    pub fn new(
        number: u32,
        seed: u64,
        target: TargetWatch,
        streams: Arc<[Arc<Stream>]>,
        findings: Arc<Findings>,
        (clock, dialect): (Stopwatch, Dialect),
    ) -> Self {
        let generator = Generator::new(seed.wrapping_add(u64::from(number)), streams.len() as u64);
        Self {
            number,
            generator,
            target,
            streams,
            findings,
            clock,
            dialect,
            link: Link::default(),
            producers: HashMap::new(),
        }
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let (number, choice) = self.generator.draw();
            let Some(stream) = self.streams.get(number).cloned() else { return };
            match choice {
                Choice::Renew => self.renew(&stream).await,
                // Others know neither incarnations nor instants with milliseconds.
                Choice::Family | Choice::Brief if self.dialect == Dialect::Bytes => {}
                Choice::Family => self.family().await,
                Choice::Brief => self.brief().await,
                _ => {
                    let life = stream.life.read().await;
                    self.perform(number, &stream, &life, choice).await;
                }
            }
        }
    }

    /// Creates every stream; the first thing in a run.
    pub async fn create_all(&mut self) {
        for stream in self.streams.clone().iter() {
            let life = stream.life.read().await;
            self.create(stream, &life).await;
        }
    }

    /// Reads every stream to its end and judges it; the last thing in a run, when all others have stopped.
    pub async fn judge_all(&mut self) {
        for stream in self.streams.clone().iter() {
            let life = stream.life.write().await;
            self.simple(stream, &life, Action::Head).await;
            let end = self.read_all(stream, &life).await;
            life.judge(&stream.name, self.dialect, end, &self.findings);
        }
    }

    async fn perform(&mut self, number: usize, stream: &Stream, life: &Life, choice: Choice) {
        match choice {
            Choice::Append(count) => {
                let count = if stream.format == Format::Json { count } else { 1 };
                let payload = self.payload(stream.format, count);
                self.append(stream, life, &payload, |_| {}).await;
            }
            Choice::Produce => self.produce(number, stream, life, false).await,
            Choice::ProduceInNewEpoch => self.produce(number, stream, life, true).await,
            Choice::ProduceWithGap => {
                let payload = self.payload(stream.format, 1);
                let producer = self.number;
                let next = self.producer(number, life);
                let stamp = Stamp { producer, epoch: next.epoch, seq: next.next_seq + 3 };
                self.append(stream, life, &payload, |append| append.stamp = Some(stamp)).await;
            }
            Choice::Sequence => {
                let payload = self.payload(stream.format, 1);
                let seq = life.next_seq.fetch_add(1, Ordering::Relaxed);
                self.append(stream, life, &payload, |append| append.seq = Some(seq)).await;
            }
            Choice::Conditional if self.dialect == Dialect::MessagesAndBytes => {
                let payload = self.payload(stream.format, 1);
                let tail = life.tail();
                self.append(stream, life, &payload, |append| append.if_match = Some(tail)).await;
            }
            Choice::Close { with_message } => {
                let count = u32::from(with_message);
                let payload = self.payload(stream.format, count);
                self.append(stream, life, &payload, |append| append.close = true).await;
            }
            Choice::Read => {
                let positions = life.positions();
                let from = if self.generator.dice().once_in(4) {
                    None
                } else {
                    self.generator.dice().pick(&positions).copied()
                };
                self.read(stream, life, from.unwrap_or_default(), false).await;
            }
            Choice::LongPoll => {
                self.read(stream, life, life.tail(), true).await;
            }
            Choice::Events => self.follow(stream, life).await,
            Choice::Head | Choice::Conditional | Choice::Renew | Choice::Family | Choice::Brief => {
                self.simple(stream, life, Action::Head).await;
            }
            Choice::Confirm => {
                self.simple(stream, life, Action::Create(Append::default())).await;
            }
        }
    }

    fn payload(&self, format: Format, count: u32) -> Payload {
        let ids: Vec<u64> = (0..count).map(|_| self.findings.next_id()).collect();
        Payload::new(format, &ids)
    }

    fn producer(&mut self, number: usize, life: &Life) -> &mut Producer {
        let producer = self.producers.entry(number).or_default();
        if producer.life != life.number {
            *producer = Producer { life: life.number, ..Producer::default() };
        }
        producer
    }

    async fn produce(&mut self, number: usize, stream: &Stream, life: &Life, new_epoch: bool) {
        let fresh = self.payload(stream.format, 1);
        let me = self.number;
        let producer = self.producer(number, life);
        if new_epoch && producer.pending.is_none() && producer.next_seq > 0 {
            (producer.epoch, producer.next_seq) = (producer.epoch + 1, 0);
        }
        let stamp = Stamp { producer: me, epoch: producer.epoch, seq: producer.next_seq };
        let (stamp, payload) = producer.pending.take().unwrap_or((stamp, fresh));
        for _ in 0..PRODUCER_ATTEMPTS {
            let outcome = self.append(stream, life, &payload, |append| append.stamp = Some(stamp)).await;
            match outcome {
                Outcome::Unknown | Outcome::Refused(Refusal::Unavailable) => {}
                Outcome::Refused(_) => return,
                _ => {
                    self.producer(number, life).next_seq = stamp.seq + 1;
                    return;
                }
            }
        }
        self.producer(number, life).pending = Some((stamp, payload));
    }

    async fn append(
        &mut self,
        stream: &Stream,
        life: &Life,
        payload: &Payload,
        shape: impl FnOnce(&mut Append),
    ) -> Outcome {
        let mut append = Append { messages: payload.messages.clone(), ..Append::default() };
        shape(&mut append);
        let body: &[u8] = if payload.messages.is_empty() { b"" } else { &payload.body };
        let request = self.headers(stream, &append).body(body);
        let call = self.clock.nanoseconds();
        let answer = self.exchange(&request).await;
        self.conclude(life, call, Action::Append(append), &answer)
    }

    fn headers(&self, stream: &Stream, append: &Append) -> Draft {
        let mut draft = Request::draft("POST", &Request::stream_path(&stream.name))
            .header("Content-Type", stream.format.content_type());
        if append.close {
            draft = draft.header("Stream-Closed", "true");
        }
        if let Some(stamp) = append.stamp {
            draft = draft
                .header("Producer-Id", format_args!("producer-{}", stamp.producer))
                .header("Producer-Epoch", stamp.epoch)
                .header("Producer-Seq", stamp.seq);
        }
        if let Some(seq) = append.seq {
            draft = draft.header("Stream-Seq", format_args!("{seq:016}"));
        }
        if let Some(position) = append.if_match {
            draft = draft.header("If-Match", self.dialect.format(position));
        }
        draft
    }

    /// PUT without content, HEAD or DELETE.
    async fn simple(&mut self, stream: &Stream, life: &Life, action: Action) -> Outcome {
        let request = match action {
            Action::Create(_) => Self::put(stream).body(b""),
            Action::Delete => Request::delete(&stream.name),
            _ => Request::head(&stream.name),
        };
        let call = self.clock.nanoseconds();
        let answer = self.exchange(&request).await;
        self.conclude(life, call, action, &answer)
    }

    fn conclude(&self, life: &Life, call: u64, action: Action, answer: &Result<Answer, Failure>) -> Outcome {
        match outcome(&action, answer, self.dialect) {
            Ok(outcome) => {
                if matches!((&action, outcome), (Action::Append(_), Outcome::Appended { .. })) {
                    self.findings.note_answer();
                }
                if let (Ok(answer), Outcome::Headed(seen), true) =
                    (answer, outcome, life.terms.keep != Keep::All)
                {
                    let earliest = answer.head.earliest.and_then(|text| self.dialect.parse(text.as_str()));
                    let (earliest, ret) = (earliest.unwrap_or_default(), self.clock.nanoseconds());
                    life.push_kept(Kept { call, ret, earliest, tail: seen.tail });
                }
                self.push(life, call, action, outcome);
                outcome
            }
            Err(problem) => {
                self.findings.problem(problem);
                Outcome::Unknown
            }
        }
    }

    fn push(&self, life: &Life, call: u64, action: Action, outcome: Outcome) {
        life.push(Event { client: self.number, call, ret: self.clock.nanoseconds(), action, outcome });
    }

    /// A PUT of the stream, to be ended with its content.
    fn put(stream: &Stream) -> Draft {
        let draft = Request::draft("PUT", &Request::stream_path(&stream.name))
            .header("Content-Type", stream.format.content_type());
        stream.creation.iter().fold(draft, |draft, (name, value)| draft.header(name, value))
    }

    /// PUT until it is there, every other time with content.
    async fn create(&mut self, stream: &Stream, life: &Life) {
        let count = u32::try_from(life.number % 2).unwrap_or(0);
        let payload = self.payload(stream.format, count);
        let body: &[u8] = if count == 0 { b"" } else { &payload.body };
        self.create_with(stream, life, &payload.messages, body).await;
    }

    /// PUT until it is there; it begins with these messages, which a fork has without sending them.
    async fn create_with(&mut self, stream: &Stream, life: &Life, messages: &[Message], body: &[u8]) {
        let request = Self::put(stream).body(body);
        for _ in 0..ATTEMPTS_MAX {
            let action = Action::Create(Append { messages: messages.to_vec(), ..Append::default() });
            let call = self.clock.nanoseconds();
            let answer = self.exchange(&request).await;
            if matches!(self.conclude(life, call, action, &answer), Outcome::Created { .. }) {
                return;
            }
            sleep(RETRY_DELAY).await;
        }
        self.findings.problem(format!("{} cannot be created", stream.name));
    }

    /// Ends a life and begins the next.
    async fn renew(&mut self, stream: &Stream) {
        let mut life = stream.life.write().await;
        self.end(stream, &life, false).await;
        *life = Life::new(life.number + 1, life.terms);
        self.create(stream, &life).await;
    }

    /// Reads a stream to its end, deletes it and judges its life. A name that forks hold cannot be taken again.
    async fn end(&mut self, stream: &Stream, life: &Life, forked: bool) {
        let mut end = self.read_all(stream, life).await;
        for _ in 0..ATTEMPTS_MAX {
            match self.simple(stream, life, Action::Delete).await {
                Outcome::Deleted | Outcome::Refused(Refusal::NotFound) => break,
                _ => sleep(RETRY_DELAY).await,
            }
        }
        self.simple(stream, life, Action::Head).await;
        if forked {
            self.simple(stream, life, Action::Create(Append::default())).await;
        }
        end.present = false;
        life.judge(&stream.name, self.dialect, end, &self.findings);
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer, Failure> {
        if self.link.0.is_none() {
            let Some(address) = self.target.address().await else {
                return Err(Failure { sent: false, error: std::io::ErrorKind::NotConnected.into() });
            };
            match Connection::open(address).await {
                Ok(connection) => self.link.0 = Some(connection),
                Err(failure) => {
                    sleep(RETRY_DELAY).await;
                    return Err(failure);
                }
            }
        }
        let Some(mut connection) = self.link.0.take() else {
            return Err(Failure { sent: false, error: std::io::ErrorKind::NotConnected.into() });
        };
        let answer = timeout(ANSWER_DEADLINE, connection.exchange(request)).await;
        let answer = answer.unwrap_or_else(|_| {
            let line = request.as_bytes().split(|&byte| byte == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            let at = self.clock.elapsed();
            self.findings.problem(format!("no answer within {ANSWER_DEADLINE:?}, at {at:?}: {line}"));
            Err(Failure { sent: true, error: std::io::ErrorKind::TimedOut.into() })
        })?;
        if answer.head.keeps_alive() {
            self.link.0 = Some(connection);
        }
        Ok(answer)
    }
}
