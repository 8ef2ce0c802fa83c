//! What nodes ask each other and answer, byte for byte: two releases of one cluster must understand each other while it is
//! upgraded. The bytes are in `errands-v1.txt`; `THALWEG_WRITE_GOLDEN=1` writes that file if it is missing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;

use crate::core::{
    Append, AppendError, Appended, Command, LinkAsk, LinkCommand, LinkError, Pin, PinError, Pinned, Reply,
};
use crate::runtime::Failure;
use crate::runtime::links::errands::answered::{answer_bytes, read_answer};
use crate::runtime::links::errands::asked::{errand_bytes, read_errand, touched_bytes};
use crate::runtime::mailbox::Answered;
use crate::types::{
    ContentType, Framing, Glob, Lengths, Link, LogIndex, Messages, Offset, Parent, PinId, ShardId, Share,
    StreamConfig, StreamId, StreamMeta, StreamName, SubscriptionId, SubscriptionUid, UnixMillis,
};

const AT: Offset = Offset { messages: 300, bytes: 70_000 };
const SHARD: ShardId = ShardId(0x0105);

fn name(text: &str) -> StreamName {
    StreamName::from_bytes(text.as_bytes()).unwrap()
}

fn plain() -> ContentType {
    ContentType::parse("text/plain").unwrap()
}

fn link(ask: LinkAsk) -> Command {
    Command::Link(Box::new(LinkCommand { id: SubscriptionId::parse("mine").unwrap(), ask }))
}

fn event(content_type: &str, framing: Framing, wire: &'static [u8]) -> Command {
    let lengths = Lengths::Many(vec![1, 2].into());
    let messages = Messages::from_parts(framing, lengths, Bytes::from_static(wire)).unwrap();
    Command::Append(Append {
        name: name("events"),
        content_type: ContentType::parse(content_type),
        body: Ok(Some(messages)),
        close: false,
        producer: None,
        seq: None,
        if_match: None,
    })
}

/// One of each.
fn commands() -> Vec<Command> {
    let (uid, stream) = (SubscriptionUid(9), StreamId(300));
    let pattern = Some(Glob::parse("a/*").unwrap());
    let share = Share { uid, pattern, streams: BTreeSet::from([name("a"), name("b")]) };
    let pin =
        |offset| Command::Pin(Pin { source: name("source"), fork: name("fork"), offset, pin: PinId(7) });
    vec![
        pin(None),
        pin(Some(AT)),
        Command::Unpin { stream, pin: PinId(7) },
        link(LinkAsk::Adopt(share)),
        link(LinkAsk::Link(name("a"))),
        link(LinkAsk::Unlink { stream, name: name("a") }),
        link(LinkAsk::Ack { uid, name: name("a"), offset: AT }),
        Command::Secret { key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value") },
        event("text/plain", Framing::Plain, b"abb"),
        event("application/json", Framing::Json, b"1,22"),
    ]
}

fn meta() -> StreamMeta {
    StreamMeta {
        id: StreamId(300),
        name: name("source"),
        config: StreamConfig { content_type: plain(), ..StreamConfig::default() },
        created_at: UnixMillis(-1),
        touched_at: UnixMillis(1_700_000_000_000),
        base: Offset::ZERO,
        earliest: Offset::ZERO,
        tail: AT,
        closed: true,
        closed_by: None,
        last_seq: None,
        parent: None,
        pins: 2,
        retired: false,
    }
}

fn replies() -> Vec<Reply> {
    let (stream, uid) = (StreamId(300), SubscriptionUid(9));
    let appended = Appended { stream, tail: AT, closed: false, producer: None, duplicate: false, data: true };
    let pins = [
        PinError::NotFound,
        PinError::Retired,
        PinError::BeyondTail,
        PinError::Misaligned,
        PinError::BeforeEarliest,
        PinError::TooDeep,
    ];
    let appends = [
        AppendError::NotFound,
        AppendError::Gone,
        AppendError::Closed { tail: AT },
        AppendError::ContentType { expected: plain() },
        AppendError::StreamFull { limit: 300 },
    ];
    let links = [LinkError::NotLinked, LinkError::BeyondTail, LinkError::GoesBack];
    let mut replies = vec![
        Reply::Pin(Ok(Pinned { meta: Box::new(meta()), upto: AT })),
        Reply::Released(None),
        Reply::Link(Ok(None)),
        Reply::Link(Ok(Some(Link { uid, name: name("a"), acked: Some(AT) }))),
        Reply::Secret(Bytes::from_static(b"value")),
        Reply::Append(Ok(appended)),
    ];
    replies.extend(pins.map(|error| Reply::Pin(Err(error))));
    replies.extend(links.map(|error| Reply::Link(Err(error))));
    replies.extend(appends.map(|error| Reply::Append(Err(error))));
    replies
}

fn failures() -> Vec<Failure> {
    let (shard, reason) = (SHARD, "why");
    vec![
        Failure::DiskFull,
        Failure::NodeFull { limit: 300 },
        Failure::LinksFull { limit: 300 },
        Failure::Overloaded,
        Failure::ShuttingDown,
        Failure::ShardDamaged { shard, reason: reason.into() },
        Failure::ShardReopening { shard, reason: reason.into() },
        Failure::ShardBusy { shard },
        Failure::Corrupt,
        Failure::NotLeader { shard },
        Failure::NoLeader { shard },
        Failure::LeaderLost,
        Failure::LogFailed,
        Failure::Ahead { shard },
        Failure::Unreplicated { shard },
    ]
}

fn line(text: &mut String, what: &str, bytes: &[u8]) {
    write!(text, "{what} ").unwrap();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text.push('\n');
}

#[test]
fn errands_and_their_answers_stay_as_they_are() {
    let mut text = String::new();
    for command in commands() {
        let bytes = errand_bytes(&command).unwrap();
        line(&mut text, "asked", &bytes);
        let read = format!("{:?}", read_errand(&bytes).unwrap());
        assert_eq!(read, format!("Command({command:?})"));
    }
    line(&mut text, "touched", &touched_bytes(&[StreamId(1), StreamId(300)]));
    let parent = Parent { shard: SHARD, stream: StreamId(300), upto: AT, pin: PinId(7), depth: 2 };
    let mut released = [None, Some(parent)].into_iter().cycle();
    let answered = |reply| Ok(Answered { reply, released: released.next().flatten() });
    let answers = replies().into_iter().map(answered).chain(failures().into_iter().map(Err));
    for answer in answers {
        let bytes = answer_bytes(&answer, LogIndex(70_000)).unwrap();
        line(&mut text, "answered", &bytes);
        assert_eq!(read_answer(&bytes).unwrap(), (answer, LogIndex(70_000)));
    }
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/runtime/links/errands/tests/errands-v1.txt");
    if std::env::var_os("THALWEG_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "errands are no longer what was released");
}
