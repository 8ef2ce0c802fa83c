//! A client of the engine: draws requests, knows what each must be answered, and keeps the timelines of its names.

use std::collections::BTreeMap;

use bytes::Bytes;
use thalweg_node::codec::json;
use thalweg_node::core::{Append, AppendError, Create, CreateError, DeleteError};
use thalweg_node::runtime::{Engine, EngineError, Failure, ForkRequest, ReadFrom};
use thalweg_node::seam::disk::simulated::{Random, SimulatedDisk};
use thalweg_node::seam::{Clock, ManualClock};
use thalweg_node::types::{
    ContentType, Lifetime, Messages, Offset, ProducerId, ProducerStamp, ProducerState, Retention,
    StreamConfig, StreamSeq, UnixMillis,
};

use super::engine_model::{Life, NEVER, Resolved, Sighting, Stream, Timeline, name};

/// What a name is used for; the last letter of the name.
const ROLES: [char; 6] = ['t', 'j', 'p', 'r', 'l', 's'];
const FORKS: u64 = 4;

/// One client and the names that are its own.
pub(crate) struct Client<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) disk: &'a SimulatedDisk,
    pub(crate) clock: &'a ManualClock,
    pub(crate) random: Random,
    pub(crate) names: BTreeMap<String, Timeline>,
    pub(crate) sightings: Vec<Sighting>,
    /// Refusals by the node's own trouble, which only a failing disk may bring.
    pub(crate) refusals: Vec<Failure>,
    /// Requests that the owner of a lane has answered, in order.
    pub(crate) beats: Vec<Beat>,
    /// The disk's history when the answer of the request under way was written down: its beat is of that very moment, or it would
    /// count as one that came after it.
    pub(crate) settled: Option<usize>,
    pub(crate) counter: u64,
}

/// A request that the owner of a lane took up, whatever the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    /// The clock when it was sent.
    pub(crate) sent_at: i64,
    /// The clock when it was answered.
    pub(crate) answered_at: i64,
    /// The disk's history when it was answered.
    pub(crate) answered: usize,
}

fn content_type(json: bool) -> ContentType {
    ContentType::parse(if json { "application/json" } else { "text/plain" }).unwrap()
}

/// The names of client `number`.
pub(crate) fn names_of(number: u64) -> BTreeMap<String, Timeline> {
    let own = ROLES.iter().map(|role| format!("c{number}/{role}"));
    let forks = (0..FORKS).map(|fork| format!("c{number}/fork{fork}"));
    own.chain(forks).map(|text| (text, Timeline::default())).collect()
}

fn role(text: &str) -> char {
    text.chars().last().unwrap_or('t')
}

fn plain_append(text: &str, json: bool, body: Bytes) -> Append {
    let body = if json { json::split(&body).map(Some) } else { Ok(Messages::single(body)) };
    Append {
        name: name(text),
        content_type: Some(content_type(json)),
        body,
        close: false,
        producer: None,
        seq: None,
        if_match: None,
    }
}

fn stamp(epoch: u64, seq: u64) -> ProducerStamp {
    ProducerStamp { id: ProducerId(Bytes::from_static(b"p")), state: ProducerState { epoch, seq } }
}

fn stream_seq(number: u64) -> StreamSeq {
    StreamSeq(Bytes::from(format!("{number:012}")))
}

impl Client<'_> {
    /// Sends `count` requests, one after the other.
    pub(crate) async fn work(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.set(self.clock.now().plus(self.random.below(300)));
            let texts: Vec<String> = self
                .names
                .iter()
                .filter(|(text, line)| !(line.unknown() || text.contains("fork") && line.untouched()))
                .map(|(text, _)| text.clone())
                .collect();
            let Some(text) = texts.get(self.below(texts.len())).cloned() else { return };
            if self.random.chance(15) {
                self.look(&text).await;
            }
            let sent_at = self.now();
            if self.request(&text).await {
                let answered = self.settled.take().unwrap_or_else(|| self.disk.moment());
                let answered_at = self.now();
                self.beats.push(Beat { sent_at, answered_at, answered });
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Sends something that fits the name; `false` if nothing does.
    async fn request(&mut self, text: &str) -> bool {
        let last = self.names[text].last().cloned();
        match last {
            None if self.random.chance(20) => self.append_to_nothing(text).await,
            None if role(text) == 's' && !self.names[text].untouched() => return false,
            None if !text.contains("fork") => self.create(text).await,
            None => return false,
            Some(stream) => match self.random.below(100) {
                0..4 => self.delete(text, &stream).await,
                4..7 if role(text) == 'l' => self.create(text).await,
                4..10 if role(text) == 's' => return self.fork(text, &stream).await,
                10..22 => self.refused_append(text, &stream).await,
                _ if stream.closed => {
                    if self.random.chance(40) {
                        self.delete(text, &stream).await;
                    } else {
                        self.refused_append(text, &stream).await;
                    }
                }
                _ => self.append(text, stream).await,
            },
        }
        true
    }

    /// Bodies are never alike, so that a lost, doubled or invented one shows.
    fn body(&mut self, text: &str, json: bool) -> Bytes {
        self.counter += 1;
        let filler = match self.random.below(30) {
            0 => self.below(20_000),
            1..6 => self.below(3000),
            _ => self.below(200),
        };
        let mark = format!("{text}#{}#", self.counter);
        let bytes = if json {
            let parts = 1 + self.below(4);
            let one = |part: usize| format!("{{\"m\":\"{mark}{part}{}\"}}", "j".repeat(filler / parts));
            format!("[{}]", (0..parts).map(one).collect::<Vec<_>>().join(" , "))
        } else {
            format!("{mark}{}", "x".repeat(filler))
        };
        Bytes::from(bytes)
    }

    /// Takes an answer up: what was done, or may have been, is a version of the name.
    fn settle<T, E: std::error::Error>(
        &mut self,
        text: &str,
        issued: usize,
        answer: Result<T, EngineError<E>>,
        state: Option<Stream>,
    ) -> Result<Option<T>, E> {
        let answered = self.disk.moment();
        self.settled = Some(answered);
        match answer {
            Ok(done) => {
                self.line(text).push(issued, answered, state);
                Ok(Some(done))
            }
            Err(EngineError::Failure(failure)) => {
                if !failure.refused() {
                    self.line(text).push(issued, NEVER, state);
                }
                self.refusals.push(failure);
                Ok(None)
            }
            Err(EngineError::Refused(error)) => Err(error),
        }
    }

    fn line(&mut self, text: &str) -> &mut Timeline {
        self.names.get_mut(text).unwrap()
    }

    async fn create(&mut self, text: &str) {
        let role = role(text);
        let json = role == 'j';
        let now = self.now();
        let (lifetime, life) = match (role, self.random.below(4)) {
            ('l', 0) => (Lifetime::Until(UnixMillis(now + 2000)), Life::Until(now + 2000)),
            ('l', 1) => (Lifetime::Until(UnixMillis(now + 1_000_000_000)), Life::Until(now + 1_000_000_000)),
            ('l', 2) => (Lifetime::Sliding(1), Life::Sliding(1, now + 1000)),
            ('l', _) => (Lifetime::Sliding(1_000_000), Life::Sliding(1_000_000, now + 1_000_000_000)),
            _ => (Lifetime::Forever, Life::Forever),
        };
        let keep = (role == 'r').then(|| 2 + self.random.below(6));
        let retention = Retention { messages: keep, ..Retention::default() };
        let body = self.random.chance(50).then(|| self.body(text, json));
        let closed = role == 't' && self.random.chance(10);
        let body = body.map(|body| plain_append(text, json, body).body.unwrap().unwrap());
        let messages = body.iter().flat_map(each).collect();
        let state = Stream { json, messages, closed, producer: None, seq: None, keep, life };
        let create = Create {
            name: name(text),
            config: StreamConfig { content_type: content_type(json), lifetime, retention, fork: None },
            content_type_given: true,
            fork_offset_given: false,
            closed,
            body: Ok(body),
            fork: None,
        };
        let before = self.names[text].last().cloned();
        let issued = self.disk.moment();
        let answer = self.engine.create(create, None).await;
        // What stands there may have ended by itself or not: only the answer tells.
        if before.is_some()
            && matches!(
                &answer,
                Ok(thalweg_node::core::Created { new: false, .. })
                    | Err(EngineError::Refused(CreateError::Conflict(_)))
            )
        {
            return;
        }
        if let Err(error) = self.settle(text, issued, answer, Some(state)) {
            panic!("{text}: not created: {error}");
        }
    }

    /// `false` if there is no name left for another fork.
    async fn fork(&mut self, text: &str, source: &Stream) -> bool {
        let fork = (0..FORKS).map(|number| text.replace("/s", &format!("/fork{number}")));
        let Some(fork) = fork.into_iter().find(|fork| self.names[fork].untouched()) else { return false };
        let at = self.below(source.messages.len() + 1);
        let mut messages = source.messages[..at].to_vec();
        let mut sub_offset = 0;
        if let Some(next) = source.messages.get(at).filter(|_| self.random.chance(50)) {
            sub_offset = 1 + self.random.below(next.len() as u64);
            messages.push(next.slice(..usize::try_from(sub_offset).unwrap()));
        }
        let state = Stream { messages, closed: false, producer: None, seq: None, ..source.clone() };
        let create = Create {
            name: name(&fork),
            config: StreamConfig::default(),
            content_type_given: false,
            fork_offset_given: false,
            closed: false,
            body: Ok(None),
            fork: None,
        };
        let request = ForkRequest { source: name(text), offset: Some(source.boundary(at)), sub_offset };
        let issued = self.disk.moment();
        let answer = self.engine.create(create, Some(request)).await;
        if let Err(error) = self.settle(&fork, issued, answer, Some(state)) {
            panic!("{fork}: not forked from {text}: {error}");
        }
        true
    }

    async fn append(&mut self, text: &str, mut stream: Stream) {
        let body = self.body(text, stream.json);
        let mut append = plain_append(text, stream.json, body);
        stream.messages.extend(append.body.iter().flatten().flat_map(each));
        if matches!(role(text), 'j' | 'p') {
            let (epoch, seq) = match stream.producer {
                None => (0, 0),
                Some((epoch, _)) if self.random.chance(10) => (epoch + 1, 0),
                Some((epoch, seq)) => (epoch, seq + 1),
            };
            stream.producer = Some((epoch, seq));
            append.producer = Some(stamp(epoch, seq));
        }
        if role(text) == 'p' {
            let next = stream.seq.map_or(0, |seq| seq + 1 + self.random.below(3));
            stream.seq = Some(next);
            append.seq = Some(stream_seq(next));
        }
        if self.random.chance(20) {
            append.if_match = self.names[text].last().map(Stream::tail);
        }
        append.close = role(text) != 's' && self.random.chance(3);
        stream.closed = append.close;
        if let Life::Sliding(seconds, ends) = stream.life {
            let window = i64::try_from(seconds * 1000).unwrap();
            stream.life = Life::Sliding(seconds, ends.max(self.now() + window));
        }
        let before = self.names[text].last().map(|stream| stream.life);
        let (tail, life) = (stream.tail(), stream.life);
        let issued = self.disk.moment();
        let answer = self.engine.append(append).await;
        match self.settle(text, issued, answer, Some(stream)) {
            Ok(Some(done)) => assert!(!done.duplicate && done.tail == tail, "{text}: {done:?}, not {tail}"),
            Ok(None) => {}
            Err(error) => {
                let over = matches!(before, Some(Life::Until(at) | Life::Sliding(_, at)) if at <= self.now());
                assert!(error == AppendError::NotFound && over, "{text}, {life:?}: {error}");
            }
        }
    }

    async fn delete(&mut self, text: &str, stream: &Stream) {
        let issued = self.disk.moment();
        let answer = self.engine.delete(name(text)).await;
        if let Err(error) = self.settle(text, issued, answer, None) {
            let over = stream.life != Life::Forever;
            assert!(error == DeleteError::NotFound && over, "{text}: not deleted: {error}");
        }
    }

    async fn append_to_nothing(&mut self, text: &str) {
        let body = self.body(text, false);
        let answer = self.engine.append(plain_append(text, false, body)).await;
        match answer {
            Err(EngineError::Refused(AppendError::NotFound | AppendError::Gone)) => {}
            Err(EngineError::Failure(failure)) if failure.refused() => self.refusals.push(failure),
            other => {
                // It would have been refused: the log cannot have failed under it, but its answer may be lost.
                let lost = matches!(other, Err(EngineError::Failure(Failure::LogFailed)));
                assert!(lost, "{text}: an append to nothing: {other:?}");
                self.refusals.push(Failure::LogFailed);
            }
        }
    }

    /// An append that must be refused, and the check that it was refused for the right reason.
    async fn refused_append(&mut self, text: &str, stream: &Stream) {
        let body = self.body(text, stream.json);
        let mut append = plain_append(text, stream.json, body);
        let tail = stream.tail();
        let kind = self.random.below(4);
        let expected = match (kind, stream.producer, stream.seq) {
            (0, Some((epoch, _)), _) if epoch > 0 => {
                append.producer = Some(stamp(epoch - 1, 0));
                AppendError::Fenced { current: epoch }
            }
            (0 | 1, Some((epoch, seq)), _) => return self.retry(text, append, stamp(epoch, seq), tail).await,
            (_, _, _) if stream.closed => AppendError::Closed { tail },
            (2, Some((epoch, seq)), _) => {
                append.producer = Some(stamp(epoch, seq + 2));
                AppendError::SequenceGap { expected: seq + 1, received: seq + 2 }
            }
            (3, _, Some(seq)) => {
                append.seq = Some(stream_seq(seq));
                AppendError::StreamSeq
            }
            _ => {
                append.if_match = Some(Offset { messages: tail.messages + 1, bytes: tail.bytes + 1 });
                AppendError::TailMoved { tail }
            }
        };
        match self.engine.append(append).await {
            Err(EngineError::Refused(AppendError::NotFound)) if stream.life != Life::Forever => {}
            Err(EngineError::Refused(error)) => assert_eq!(error, expected, "{text}"),
            Err(EngineError::Failure(failure)) => self.refusals.push(failure),
            Ok(done) => panic!("{text}: {done:?} instead of {expected}"),
        }
    }

    /// The producer's last request once more: confirmed, and nothing happens.
    async fn retry(&mut self, text: &str, append: Append, stamp: ProducerStamp, tail: Offset) {
        match self.engine.append(Append { producer: Some(stamp), ..append }).await {
            Ok(done) => assert!(done.duplicate && done.tail == tail, "{text}: {done:?}, not {tail}"),
            Err(EngineError::Failure(failure)) => self.refusals.push(failure),
            Err(error) => panic!("{text}: a retry: {error}"),
        }
    }

    /// Looks at any stream, while other clients may write to it.
    async fn look(&mut self, text: &str) {
        let other = format!("c{}/{}", self.random.below(3), role(text));
        let Ok(batch) = self.engine.read(&name(&other), ReadFrom::Start, 100).await else { return };
        self.sightings.push(Sighting {
            moment: self.disk.moment(),
            name: other,
            incarnation: batch.state.incarnation,
            earliest: batch.state.earliest,
            tail: batch.state.tail,
            closed: batch.state.closed,
        });
    }

    /// How the names stand now, by what was answered.
    pub(crate) fn resolved(&self) -> Resolved {
        self.names.iter().map(|(text, line)| (text.clone(), line.last().cloned())).collect()
    }
}

fn each(messages: &Messages) -> Vec<Bytes> {
    let count = messages.lengths().len();
    (0..count).map(|number| Bytes::copy_from_slice(messages.slice(number, number + 1).wire())).collect()
}
