//! What each rule does to a connection, seen from both of its ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Accept, Line, Proxy, Rules};
use crate::stopwatch::Stopwatch;

/// Long enough to be sure that nothing comes, short enough for many tests.
const NOTHING: Duration = Duration::from_millis(60);

struct Ends {
    proxy: Proxy,
    listener: TcpListener,
}

impl Ends {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap(), 1).await.unwrap();
        Self { proxy, listener }
    }

    async fn pair(&self) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(self.proxy.address()).await.unwrap();
        (near, self.listener.accept().await.unwrap().0)
    }
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn hears_nothing(stream: &mut TcpStream) -> bool {
    timeout(NOTHING, stream.read_u8()).await.is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    matches!(stream.read_to_end(&mut rest).await, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn without_rules_bytes_and_ends_of_streams_go_through_both_ways() {
    let ends = Ends::new().await;
    let (mut near, mut far) = ends.pair().await;
    near.write_all(b"there").await.unwrap();
    assert_eq!(read(&mut far, 5).await, b"there");
    near.shutdown().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    far.write_all(b"back").await.unwrap();
    assert_eq!(read(&mut near, 4).await, b"back");
}

#[tokio::test]
async fn a_delay_is_one_way_and_does_not_make_the_line_narrow() {
    let ends = Ends::new().await;
    ends.proxy.change(|rules| rules.there.delay = Duration::from_millis(80));
    let (mut near, mut far) = ends.pair().await;
    let clock = Stopwatch::start();
    for number in 0..20 {
        near.write_u8(number).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&mut far, 20).await, (0..20).collect::<Vec<u8>>());
    let there = clock.elapsed();
    assert!(there >= Duration::from_millis(80) && there < Duration::from_millis(80 * 20), "{there:?}");
    far.write_u8(1).await.unwrap();
    let clock = Stopwatch::start();
    near.read_u8().await.unwrap();
    assert!(clock.elapsed() < Duration::from_millis(80));
}

#[tokio::test]
async fn jitter_never_reorders_bytes() {
    let ends = Ends::new().await;
    ends.proxy.change(|rules| rules.there.jitter = Duration::from_millis(20));
    let (mut near, mut far) = ends.pair().await;
    for number in 0..40 {
        near.write_u8(number).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read(&mut far, 40).await, (0..40).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_narrow_line_takes_its_time() {
    let ends = Ends::new().await;
    ends.proxy.change(|rules| rules.there.bytes_per_second = Some(1 << 20));
    let (mut near, mut far) = ends.pair().await;
    let clock = Stopwatch::start();
    let sent = vec![7; 128 << 10];
    let (_, received) = tokio::join!(near.write_all(&sent), read(&mut far, sent.len()));
    assert_eq!(received, sent);
    assert!(clock.elapsed() >= Duration::from_millis(100), "{:?}", clock.elapsed());
}

#[tokio::test]
async fn what_is_sent_while_one_way_is_blocked_arrives_afterwards_and_the_other_way_goes_on() {
    let ends = Ends::new().await;
    let (mut near, mut far) = ends.pair().await;
    ends.proxy.change(|rules| rules.there.line = Line::Stopped);
    near.write_all(b"late").await.unwrap();
    far.write_all(b"now").await.unwrap();
    assert_eq!(read(&mut near, 3).await, b"now");
    assert!(hears_nothing(&mut far).await);
    ends.proxy.heal();
    assert_eq!(read(&mut far, 4).await, b"late");
}

#[tokio::test]
async fn a_connection_that_swallowed_bytes_never_goes_on() {
    let ends = Ends::new().await;
    let (mut near, mut far) = ends.pair().await;
    ends.proxy.change(|rules| rules.there.line = Line::Swallowing);
    near.write_all(b"gone").await.unwrap();
    assert!(hears_nothing(&mut far).await);
    ends.proxy.heal();
    near.write_all(b"more").await.unwrap();
    assert!(is_reset(&mut far).await);
    assert!(is_reset(&mut near).await);
}

#[tokio::test]
async fn a_reset_comes_amid_a_frame() {
    let ends = Ends::new().await;
    ends.proxy.change(|rules| rules.there.reset_after = Some(5));
    let (mut near, mut far) = ends.pair().await;
    near.write_all(b"a long frame").await.unwrap();
    assert!(is_reset(&mut near).await);
    // Whoever reads in time has the first part; the rest is gone either way.
    let mut bytes = Vec::new();
    assert!(far.read_to_end(&mut bytes).await.is_err());
    assert!(b"a lon".starts_with(&bytes[..]), "{bytes:?}");
}

#[tokio::test]
async fn a_reset_ends_every_connection_and_new_ones_go_through() {
    let ends = Ends::new().await;
    let (mut near, mut far) = ends.pair().await;
    let (mut other_near, _other_far) = ends.pair().await;
    ends.proxy.reset();
    assert!(is_reset(&mut near).await && is_reset(&mut far).await && is_reset(&mut other_near).await);
    let (mut near, mut far) = ends.pair().await;
    near.write_u8(1).await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 1);
}

#[tokio::test]
async fn half_open_connections_are_taken_and_never_answered() {
    let ends = Ends::new().await;
    ends.proxy.set(Rules { accept: Accept::HalfOpen, ..Rules::default() });
    let mut near = TcpStream::connect(ends.proxy.address()).await.unwrap();
    near.write_all(b"hello?").await.unwrap();
    assert!(hears_nothing(&mut near).await);
    assert!(timeout(NOTHING, ends.listener.accept()).await.is_err(), "nobody was dialled");
    ends.proxy.heal();
    assert!(is_reset(&mut near).await);
    ends.pair().await;
}

#[tokio::test]
async fn closed_means_that_connections_end_at_once() {
    let ends = Ends::new().await;
    ends.proxy.set(Rules { accept: Accept::Closed, ..Rules::default() });
    let mut near = TcpStream::connect(ends.proxy.address()).await.unwrap();
    assert!(is_reset(&mut near).await);
}

#[tokio::test]
async fn connections_that_are_held_overtake_each_other() {
    let ends = Ends::new().await;
    ends.proxy.change(|rules| rules.hold = Duration::from_millis(50));
    let mut opened = Vec::new();
    for number in 0..12 {
        let mut near = TcpStream::connect(ends.proxy.address()).await.unwrap();
        near.write_u8(number).await.unwrap();
        opened.push(near);
    }
    let mut arrived = Vec::new();
    for _ in 0..12 {
        let (mut far, _) = ends.listener.accept().await.unwrap();
        arrived.push(far.read_u8().await.unwrap());
    }
    assert!(!arrived.is_sorted(), "{arrived:?}");
    arrived.sort_unstable();
    assert_eq!(arrived, (0..12).collect::<Vec<u8>>());
}

#[tokio::test]
async fn the_beginning_of_a_connection_can_come_a_second_time() {
    let ends = Ends::new().await;
    let (mut near, mut far) = ends.pair().await;
    near.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut far, 5).await, b"hello");
    let again = async {
        let (mut far, _) = ends.listener.accept().await.unwrap();
        read(&mut far, 5).await
    };
    let (count, bytes) = tokio::join!(ends.proxy.replay(), again);
    assert_eq!((count.unwrap(), bytes), (5, b"hello".to_vec()));
}
