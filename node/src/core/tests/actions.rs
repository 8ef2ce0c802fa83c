//! What can happen in a random history, said twice: in the words of the model and as the real request.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Body, Post, Put};
use super::world::{kind, name};
use crate::codec::json;
use crate::core::{Append, AppendError, BodyError, Create, CreateError, DeleteError, PinError, Reply};
use crate::types::{
    Lifetime, Messages, Offset, ProducerId, ProducerStamp, ProducerState, Retention, StreamConfig, StreamSeq,
    UnixMillis,
};

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Longer than a stream of these histories may be.
const LONG: &str = "a text of more than sixty bytes, so that it is too long for any stream";
pub(super) const BYTES_MAX: u64 = 60;

#[derive(Debug, Clone)]
pub(super) enum Action {
    Put(Put),
    Post(Post, Option<Index>),
    Delete(usize),
    /// Target, source, point, copied bytes.
    Fork(Put, usize, Option<Index>, Option<usize>),
    Unpin(u64, u64),
    Expire(u64, Option<i64>),
    Trim(u64, Index),
    Tick(i64),
    Read(usize),
    Apply(Index),
    Restart,
}

fn body() -> impl Strategy<Value = (bool, Body)> {
    let text = prop::sample::select(vec!["x", "yy", "zzz", "0123456789", "x", LONG]);
    let number = prop::sample::select(vec!["1", "{\"k\":1}", "[2, 3]", "\"text\""]);
    prop_oneof![
        2 => any::<bool>().prop_map(|json| (json, Body::Absent)),
        9 => text.prop_map(|text| (false, Body::Messages(vec![text.into()]))),
        4 => prop::collection::vec(number, 1..4)
            .prop_map(|values| (true, Body::Messages(values.into_iter().map(Into::into).collect()))),
        1 => Just((true, Body::Invalid)),
        1 => Just((true, Body::EmptyArray)),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let life = prop_oneof![
        4 => Just((None, None)),
        2 => (0..4u64).prop_map(|ttl| (Some(ttl), None)),
        1 => (0..8000i64).prop_map(|until| (None, Some(until))),
    ];
    let keep = prop::option::weighted(0.2, 1..3u64);
    (0..NAMES.len(), body(), life, keep, prop::bool::weighted(0.15)).prop_map(
        |(at, (json, body), (ttl, until), keep, closed)| Put {
            name: NAMES[at].into(),
            json,
            ttl,
            until,
            keep,
            closed,
            body,
        },
    )
}

fn post() -> impl Strategy<Value = Post> {
    let producer = prop::option::weighted(0.6, (0..3u8, 0..2u64, 0..3u64));
    let seq = prop::option::weighted(0.3, prop::collection::vec(0..3u8, 0..3));
    (0..NAMES.len(), body(), prop::bool::weighted(0.15), producer, seq, prop::bool::weighted(0.1)).prop_map(
        |(at, (json, body), close, producer, seq, untyped)| Post {
            name: NAMES[at].into(),
            json: (!untyped).then_some(json),
            body,
            close,
            producer,
            seq,
            if_match: None,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let any_name = 0..NAMES.len();
    let index = any::<Index>;
    prop_oneof![
        4 => put().prop_map(Action::Put),
        12 => (post(), prop::option::weighted(0.2, index())).prop_map(|(post, tail)| Action::Post(post, tail)),
        2 => any_name.clone().prop_map(Action::Delete),
        5 => (put(), any_name.clone(), prop::option::of(index()), prop::option::weighted(0.3, 0..3usize))
            .prop_map(|(put, source, point, copied)| Action::Fork(put, source, point, copied)),
        1 => (1..12u64, 1..6u64).prop_map(|(stream, pin)| Action::Unpin(stream, pin)),
        3 => (1..12u64, prop::option::of(0..8000i64)).prop_map(|(id, read)| Action::Expire(id, read)),
        2 => (1..12u64, index()).prop_map(|(id, at)| Action::Trim(id, at)),
        3 => (-500..2000i64).prop_map(Action::Tick),
        1 => any_name.prop_map(Action::Read),
        3 => index().prop_map(Action::Apply),
        1 => Just(Action::Restart),
    ]
}

/// A history of requests, time, reads, applying and crashes.
pub(super) fn history() -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(), 1..100)
}

/// The real request of a model's body, as the HTTP room would make it.
pub(super) fn real_body(json: bool, body: &Body) -> Result<Option<Messages>, BodyError> {
    match body {
        Body::Absent => Ok(None),
        Body::Invalid => Err(BodyError::InvalidJson("x".into())),
        Body::EmptyArray => Err(BodyError::EmptyArray),
        Body::Messages(messages) if json => {
            let joined = format!("[{}]", String::from_utf8(messages.join(&b","[..])).unwrap());
            json::split(&Bytes::from(joined)).map(Some)
        }
        Body::Messages(messages) => Ok(Messages::single(Bytes::from(messages.concat()))),
    }
}

fn media(json: bool) -> &'static str {
    if json { "application/json" } else { "text/plain" }
}

pub(super) fn real_put(put: &Put) -> Create {
    let lifetime = match (put.ttl, put.until) {
        (Some(seconds), _) => Lifetime::Sliding(seconds),
        (_, Some(at)) => Lifetime::Until(UnixMillis(at)),
        _ => Lifetime::Forever,
    };
    let retention = Retention { messages: put.keep, ..Retention::default() };
    Create {
        name: name(&put.name),
        config: StreamConfig { content_type: kind(media(put.json)), lifetime, retention, fork: None },
        content_type_given: true,
        fork_offset_given: false,
        closed: put.closed,
        body: real_body(put.json, &put.body),
        fork: None,
    }
}

pub(super) fn real_post(post: &Post) -> Append {
    let producer = post.producer.map(|(id, epoch, seq)| ProducerStamp {
        id: ProducerId(Bytes::copy_from_slice(&[id])),
        state: ProducerState { epoch, seq },
    });
    Append {
        name: name(&post.name),
        content_type: post.json.map(|json| kind(media(json))),
        body: real_body(post.json == Some(true), &post.body),
        close: post.close,
        producer,
        seq: post.seq.clone().map(|seq| StreamSeq(Bytes::from(seq))),
        if_match: post.if_match.map(|(messages, bytes)| Offset { messages, bytes }),
    }
}

pub(super) fn pair(offset: Offset) -> (u64, u64) {
    (offset.messages, offset.bytes)
}

/// A reply in the words of the model.
pub(super) fn line(reply: &Reply) -> String {
    match reply {
        Reply::Create(Ok(created)) => {
            let meta = &created.meta;
            format!("new={} id={} tail={:?} closed={}", created.new, meta.id, pair(meta.tail), meta.closed)
        }
        Reply::Create(Err(error)) => match error {
            CreateError::Conflict(what) => format!("conflict {what}"),
            CreateError::Retired => "retired".into(),
            CreateError::Unpinned => "unpinned".into(),
            CreateError::Body(_) => "invalid".into(),
            CreateError::StreamFull { .. } => "full".into(),
            other => format!("{other:?}"),
        },
        Reply::Append(Ok(appended)) => {
            let by = appended.producer.map_or(String::new(), |p| format!(" by={}.{}", p.epoch, p.seq));
            let repeated = if appended.duplicate { " repeated" } else { "" };
            format!("tail={:?} closed={}{by}{repeated}", pair(appended.tail), appended.closed)
        }
        Reply::Append(Err(error)) => match error {
            AppendError::NotFound => "not found".into(),
            AppendError::Gone => "gone".into(),
            AppendError::EmptyBody => "empty".into(),
            AppendError::MissingContentType => "untyped".into(),
            AppendError::Body(_) => "invalid".into(),
            AppendError::Fenced { current } => format!("fenced {current}"),
            AppendError::Closed { tail } => format!("closed {:?}", pair(*tail)),
            AppendError::ContentType { .. } => "type".into(),
            AppendError::EpochStart => "epoch start".into(),
            AppendError::SequenceGap { expected, received } => format!("gap {expected} {received}"),
            AppendError::StreamSeq => "sequence".into(),
            AppendError::TailMoved { tail } => format!("moved {:?}", pair(*tail)),
            AppendError::StreamFull { .. } => "full".into(),
            AppendError::TooManyProducers { .. } => "producers".into(),
        },
        Reply::Delete(Ok(_)) => "deleted".into(),
        Reply::Delete(Err(DeleteError::NotFound)) => "not found".into(),
        Reply::Delete(Err(DeleteError::Gone)) => "gone".into(),
        Reply::Pin(Ok(pinned)) => format!("pinned {:?}", pair(pinned.upto)),
        Reply::Pin(Err(PinError::NotFound)) => "source absent".into(),
        Reply::Pin(Err(PinError::Retired)) => "source retired".into(),
        Reply::Pin(Err(PinError::BeforeEarliest)) => "before the earliest".into(),
        Reply::Pin(Err(other)) => format!("{other:?}"),
        Reply::Released(_) | Reply::Trimmed => String::new(),
        other @ (Reply::Subscription(_) | Reply::Link(_) | Reply::Secret(_)) => format!("{other:?}"),
    }
}
