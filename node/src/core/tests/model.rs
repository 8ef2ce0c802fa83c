//! A naive model of the protocol: whole streams in plain vectors, every rule written again from the protocol's text and
//! not from the core. Answers are lines of text, so that the two share no type but numbers.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) json: bool,
    /// Seconds.
    pub(super) ttl: Option<u64>,
    pub(super) until: Option<i64>,
    pub(super) keep: Option<u64>,
    /// Source and message number, copied bytes.
    pub(super) fork: Option<(String, usize, u64)>,
    /// Everything a reader could see, inherited messages first.
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) base: usize,
    pub(super) earliest: usize,
    pub(super) closed: bool,
    pub(super) producers: BTreeMap<u8, (u64, u64)>,
    pub(super) seq: Option<Vec<u8>>,
    pub(super) pins: BTreeSet<u64>,
    pub(super) retired: bool,
    /// The source's id and the pin there.
    pub(super) parent: Option<(u64, u64)>,
    pub(super) touched: i64,
    pub(super) read: i64,
    pub(super) gone: bool,
}

impl Stream {
    fn offset(&self, at: usize) -> (u64, u64) {
        (at as u64, self.messages[..at].iter().map(|message| message.len() as u64).sum())
    }

    pub(super) fn tail(&self) -> (u64, u64) {
        self.offset(self.messages.len())
    }

    fn over(&self, now: i64) -> bool {
        let slid = self.ttl.is_some_and(|ttl| self.touched.max(self.read) + 1000 * ttl.cast_signed() <= now);
        slid || self.until.is_some_and(|until| until <= now)
    }

    fn kept(&self) -> usize {
        self.messages[self.base.max(self.earliest)..].iter().map(Vec::len).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// In order of their ids, from 1.
    pub(super) streams: Vec<Stream>,
    pub(super) now: i64,
    pub(super) bytes_max: usize,
    pub(super) producers_max: usize,
}

/// A body as the model sees it: the messages, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Absent,
    Messages(Vec<Vec<u8>>),
    Invalid,
    EmptyArray,
}

#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) name: String,
    pub(super) json: bool,
    pub(super) ttl: Option<u64>,
    pub(super) until: Option<i64>,
    pub(super) keep: Option<u64>,
    pub(super) closed: bool,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) name: String,
    pub(super) json: Option<bool>,
    pub(super) body: Body,
    pub(super) close: bool,
    pub(super) producer: Option<(u8, u64, u64)>,
    pub(super) seq: Option<Vec<u8>>,
    /// Expected number of messages; the bytes are taken to fit.
    pub(super) if_match: Option<(u64, u64)>,
}

/// A fork request with its point found: how many messages are inherited, and the copied bytes.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) source: String,
    pub(super) at: Option<usize>,
    pub(super) copied: Option<Vec<u8>>,
}

impl Model {
    /// The stream that a name means now.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let live = |stream: &Stream| stream.name == name && !stream.gone;
        let at = self.streams.iter().position(live)?;
        (self.streams[at].retired || !self.streams[at].over(self.now)).then_some(at)
    }

    /// The stream that a name belongs to, expired or not.
    pub(super) fn holder(&self, name: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.name == name && !stream.gone)
    }

    fn shown(&self, at: usize, new: bool) -> String {
        let stream = &self.streams[at];
        format!("new={new} id={} tail={:?} closed={}", stream.id, stream.tail(), stream.closed)
    }

    pub(super) fn put(&mut self, put: &Put, point: Option<&Point>, pin: Option<u64>) -> String {
        if let Some(at) = self.holder(&put.name) {
            if self.streams[at].retired {
                return "retired".into();
            }
            if !self.streams[at].over(self.now) {
                return match Self::differs(&self.streams[at], put, point) {
                    Some(what) => format!("conflict {what}"),
                    None => self.shown(at, false),
                };
            }
            if !self.streams[at].pins.is_empty() {
                self.streams[at].retired = true;
                return "retired".into();
            }
        }
        if point.is_some() && pin.is_none() {
            return "unpinned".into();
        }
        match self.begin(put, point, pin) {
            Err(refused) => refused,
            Ok(stream) => {
                if let Some(at) = self.holder(&put.name) {
                    self.remove(at);
                }
                self.streams.push(Stream { id: self.streams.len() as u64 + 1, ..stream });
                self.shown(self.streams.len() - 1, true)
            }
        }
    }

    fn differs(stream: &Stream, put: &Put, point: Option<&Point>) -> Option<&'static str> {
        if point.is_none() && stream.json != put.json {
            return Some("content type");
        }
        let named = put.ttl.is_some() || put.until.is_some();
        if (point.is_none() || named) && (stream.ttl, stream.until) != (put.ttl, put.until) {
            return Some("lifetime");
        }
        if (point.is_none() || put.keep.is_some()) && stream.keep != put.keep {
            return Some("retention");
        }
        if stream.closed != put.closed {
            return Some("closure state");
        }
        match (&stream.fork, point) {
            (None, None) => None,
            (Some((source, at, copied)), Some(point)) if *source == point.source => {
                if point.at.is_some_and(|named| named != *at) {
                    Some("fork offset")
                } else if point.copied.as_ref().map_or(0, |bytes| bytes.len() as u64) != *copied {
                    Some("fork sub-offset")
                } else {
                    None
                }
            }
            _ => Some("fork source"),
        }
    }

    fn begin(&self, put: &Put, point: Option<&Point>, pin: Option<u64>) -> Result<Stream, String> {
        let mut stream = Stream {
            name: put.name.clone(),
            json: put.json,
            ttl: put.ttl,
            until: put.until,
            keep: put.keep,
            closed: put.closed,
            touched: self.now,
            read: i64::MIN / 2,
            ..Stream::default()
        };
        let mut own = Vec::new();
        if let (Some(point), Some(pin)) = (point, pin) {
            let source = self.streams.iter().find(|source| source.pins.contains(&pin)).ok_or("no pin")?;
            let at = point.at.unwrap_or(source.messages.len());
            stream.json = source.json;
            if put.ttl.is_none() && put.until.is_none() {
                (stream.ttl, stream.until) = (source.ttl, source.until);
            }
            stream.keep = put.keep.or(source.keep);
            stream.messages = source.messages[..at].to_vec();
            (stream.base, stream.earliest) = (at, source.earliest.min(at));
            let copied = point.copied.clone().unwrap_or_default();
            stream.fork = Some((point.source.clone(), at, copied.len() as u64));
            stream.parent = Some((source.id, pin));
            own.extend(point.copied.clone().filter(|bytes| !bytes.is_empty()));
        }
        match &put.body {
            Body::Absent | Body::EmptyArray => {}
            Body::Invalid => return Err("invalid".into()),
            Body::Messages(messages) => own.extend(messages.clone()),
        }
        if own.iter().map(Vec::len).sum::<usize>() > self.bytes_max {
            return Err("full".into());
        }
        stream.messages.extend(own);
        Ok(stream)
    }

    /// A stream goes for good, and lets go of its source, up the chain.
    fn remove(&mut self, at: usize) {
        self.streams[at].gone = true;
        if let Some((source, pin)) = self.streams[at].parent {
            self.unpin(source, pin);
        }
    }

    fn end(&mut self, at: usize) {
        if self.streams[at].pins.is_empty() {
            self.remove(at);
        } else {
            self.streams[at].retired = true;
        }
    }

    pub(super) fn pin(&mut self, point: &Point, pin: u64) -> String {
        let Some(at) = self.find(&point.source) else { return "source absent".into() };
        let source = &mut self.streams[at];
        if source.retired {
            return "source retired".into();
        }
        let upto = point.at.unwrap_or(source.messages.len());
        if upto < source.earliest {
            return "before the earliest".into();
        }
        source.pins.insert(pin);
        format!("pinned {:?}", source.offset(upto))
    }

    pub(super) fn unpin(&mut self, source: u64, pin: u64) {
        let Some(at) = self.streams.iter().position(|stream| stream.id == source && !stream.gone) else {
            return;
        };
        if self.streams[at].pins.remove(&pin) && self.streams[at].retired && self.streams[at].pins.is_empty()
        {
            self.remove(at);
        }
    }

    pub(super) fn delete(&mut self, name: &str) -> String {
        match self.find(name) {
            None => "not found".into(),
            Some(at) if self.streams[at].retired => "gone".into(),
            Some(at) => {
                self.end(at);
                "deleted".into()
            }
        }
    }

    pub(super) fn post(&mut self, post: &Post) -> String {
        let Some(at) = self.find(&post.name) else { return "not found".into() };
        let (now, bytes_max, producers_max) = (self.now, self.bytes_max, self.producers_max);
        let stream = &mut self.streams[at];
        if stream.retired {
            return "gone".into();
        }
        let messages = match &post.body {
            Body::Absent if !post.close => return "empty".into(),
            Body::Absent => vec![],
            _ if post.json.is_none() => return "untyped".into(),
            Body::Invalid => return "invalid".into(),
            Body::EmptyArray => return "invalid".into(),
            Body::Messages(messages) => messages.clone(),
        };
        let known = post.producer.and_then(|(id, ..)| stream.producers.get(&id).copied());
        if let (Some((_, epoch, number)), Some((last_epoch, last))) = (post.producer, known) {
            if epoch < last_epoch {
                return format!("fenced {last_epoch}");
            }
            if epoch == last_epoch && number <= last {
                let (tail, closed) = (stream.tail(), stream.closed);
                return format!("tail={tail:?} closed={closed} by={last_epoch}.{last} repeated");
            }
        }
        if stream.closed {
            if messages.is_empty() && post.producer.is_none() {
                return format!("tail={:?} closed=true repeated", stream.tail());
            }
            return format!("closed {:?}", stream.tail());
        }
        if !messages.is_empty() && post.json != Some(stream.json) {
            return "type".into();
        }
        if let Some((_, epoch, number)) = post.producer {
            match known {
                None if number > 0 => return format!("gap 0 {number}"),
                Some((last_epoch, _)) if epoch > last_epoch && number > 0 => return "epoch start".into(),
                Some((last_epoch, last)) if epoch == last_epoch && number > last + 1 => {
                    return format!("gap {} {number}", last + 1);
                }
                _ => {}
            }
        }
        if let (Some(seq), Some(last)) = (&post.seq, &stream.seq)
            && seq <= last
        {
            return "sequence".into();
        }
        if post.if_match.is_some_and(|expected| expected != stream.tail()) {
            return format!("moved {:?}", stream.tail());
        }
        if post.producer.is_some() && known.is_none() && stream.producers.len() >= producers_max {
            return "producers".into();
        }
        let added: usize = messages.iter().map(Vec::len).sum();
        if added > 0 && stream.kept() + added > bytes_max {
            return "full".into();
        }
        stream.messages.extend(messages);
        stream.closed = post.close;
        stream.touched = stream.touched.max(now);
        stream.seq = post.seq.clone().or(stream.seq.take());
        let mut by = String::new();
        if let Some((id, epoch, number)) = post.producer {
            stream.producers.insert(id, (epoch, number));
            by = format!(" by={epoch}.{number}");
        }
        format!("tail={:?} closed={}{by}", stream.tail(), stream.closed)
    }

    pub(super) fn expire(&mut self, id: u64, read: Option<i64>) {
        let now = self.now;
        let Some(at) =
            self.streams.iter().position(|stream| stream.id == id && !stream.gone && !stream.retired)
        else {
            return;
        };
        let stream = &mut self.streams[at];
        let seen = stream.read.max(read.unwrap_or(i64::MIN / 2));
        let (before, stored) = (stream.read, stream.touched);
        stream.read = seen;
        if stream.over(now) {
            stream.read = before;
            self.end(at);
        } else if stream.ttl.is_some() {
            stream.touched = stored.max(seen);
            stream.read = before;
        } else {
            stream.read = before;
        }
    }

    pub(super) fn trim(&mut self, id: u64, at: usize) {
        let found = self.streams.iter_mut().find(|stream| stream.id == id && !stream.gone && !stream.retired);
        if let Some(stream) = found.filter(|stream| at > stream.earliest && at <= stream.messages.len()) {
            stream.earliest = at;
        }
    }
}
