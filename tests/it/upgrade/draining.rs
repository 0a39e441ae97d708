//! Connections upgraded from hyper drain with those of a server (row 4.15). The clock is paused: deadlines are exact.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Handle,
    task::JoinSet,
};
use wireline::{
    Client, CloseCode, Message, Role, WebSocket,
    server::{Acceptor, BoxError, Tracker},
    upgrade::hyper::Upgraded,
};

use super::rig::{echo, http2, serve_with, through_http2};
use crate::{
    scripted::{close, decode, encode, text},
    support::row::elapsed,
};

const DEADLINE: Duration = Duration::from_secs(5);

fn client() -> Client {
    Client::new("ws://example.com/chat").expect("a URL")
}

async fn stuck(mut ws: WebSocket<Upgraded>) -> Result<(), BoxError> {
    ws.feed("fed").await?;
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn both_versions_of_http_drain() {
    for http in 1..=2 {
        let tracker = Tracker::new();
        let acceptor = Acceptor::new().tracker(&tracker);
        let open = async |application: fn(WebSocket<Upgraded>) -> _| {
            let stream = serve_with(acceptor.clone(), application);
            let stream = if http == 2 { through_http2(http2(stream).await).await } else { stream };
            client().connect_over(stream).await.unwrap().0
        };
        let mut well = open(|ws| Box::pin(echo(ws)) as futures_util::future::BoxFuture<'static, _>).await;
        let mut cut = open(|ws| Box::pin(stuck(ws))).await;
        well.send("hello").await.unwrap();
        assert_eq!(well.next().await.transpose().unwrap(), Some(Message::from("hello")));
        while tracker.open() < 2 {
            tokio::task::yield_now().await;
        }
        let tracker = tracker.close_code(CloseCode::SERVICE_RESTART);
        let ((drained, took), end) = tokio::join!(elapsed(tracker.drain(DEADLINE)), well.next());
        assert!(end.is_none(), "HTTP/{http}");
        assert_eq!((drained.clean, drained.forced), (1, 1), "HTTP/{http}");
        assert!(took <= DEADLINE + Duration::from_millis(500), "HTTP/{http}: {took:?}");
        assert_eq!(well.ending().unwrap().code(), 1012, "HTTP/{http}");
        if http == 1 {
            assert_eq!(cut.next().await.transpose().unwrap(), Some(Message::from("fed")));
            while cut.next().await.is_some() {}
            assert_eq!(cut.ending().unwrap().code(), 1012);
        }
    }
}

/// What the 1,000 peers do. All of them read what is sent to them.
#[derive(Clone, Copy)]
enum Peer {
    Answers,
    /// It has sent half of a message, and ends it before it answers.
    MidMessage,
    Silent,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn open(acceptor: &Acceptor, application: fn(WebSocket<Upgraded>) -> Boxed) -> DuplexStream {
    let mut stream = serve_with(acceptor.clone(), application);
    stream.write_all(REQUEST).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream
}

type Boxed = futures_util::future::BoxFuture<'static, Result<(), BoxError>>;

/// Everything it is sent.
async fn look_on(mut stream: DuplexStream, peer: Peer) -> Vec<wireline::proto::Frame> {
    let half = encode(Role::Server, [text("a message")]);
    let half = half.split_at(7);
    if matches!(peer, Peer::MidMessage) {
        stream.write_all(half.0).await.unwrap();
    }
    let mut wire = Vec::new();
    while !wire.ends_with(b"\x88\x02\x03\xe9") {
        assert_ne!(stream.read_buf(&mut wire).await.unwrap(), 0, "the end without Close: {wire:?}");
    }
    if matches!(peer, Peer::MidMessage) {
        stream.write_all(half.1).await.unwrap();
    }
    if !matches!(peer, Peer::Silent) {
        stream.write_all(&encode(Role::Server, [close(1001, "")])).await.unwrap();
    }
    stream.read_to_end(&mut wire).await.unwrap();
    decode(Role::Server, &wire).0
}

/// The clock tells how long the drain took to the millisecond, and no task is left.
#[tokio::test(start_paused = true)]
async fn a_drain_of_1000_connections_with_100_stuck_takes_no_longer_than_its_deadline_4_15() {
    static FED: AtomicUsize = AtomicUsize::new(0);
    let tracker = Tracker::new();
    let acceptor = Acceptor::new().tracker(&tracker);
    let well: fn(WebSocket<Upgraded>) -> Boxed = |mut ws| {
        Box::pin(async move {
            ws.feed("fed").await?;
            FED.fetch_add(1, Ordering::Relaxed);
            while let Some(message) = ws.next().await {
                message?;
            }
            Ok(())
        })
    };
    let mut peers = JoinSet::new();
    for (count, application, peer) in [
        (800, well, Peer::Answers),
        (100, well, Peer::MidMessage),
        (50, well, Peer::Silent),
        (50, |ws| Box::pin(stuck(ws)) as Boxed, Peer::Silent),
    ] {
        for _ in 0..count {
            peers.spawn(look_on(open(&acceptor, application).await, peer));
        }
    }
    while FED.load(Ordering::Relaxed) < 950 || tracker.open() < 1000 {
        tokio::task::yield_now().await;
    }
    let (drained, took) = elapsed(tracker.drain(DEADLINE)).await;
    assert!(took <= DEADLINE + Duration::from_millis(500), "{took:?}");
    assert_eq!((drained.clean, drained.forced, tracker.open()), (900, 100, 0));
    for frames in peers.join_all().await {
        assert_eq!(frames, [text("fed"), close(1001, "")]);
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

/// A response that hyper has not sent yet: what comes of it is cut, or closed as soon as it is open.
#[tokio::test(start_paused = true)]
async fn an_upgrade_under_way_is_waited_for_until_the_deadline() {
    let tracker = Tracker::new();
    let acceptor = Acceptor::new().tracker(&tracker);
    let builder = http::Request::get("/").header("host", "example.com").header("upgrade", "websocket");
    let builder = builder.header("connection", "Upgrade").header("sec-websocket-version", "13");
    let request = builder.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap();

    let never = acceptor.upgrade(&request).unwrap();
    let (ours, theirs) = tokio::io::duplex(1024);
    let opening = acceptor.upgrade(&request).unwrap();
    let later = async move {
        tokio::task::yield_now().await;
        let mut ws = opening.over(ours, &[]);
        ws.next().await
    };
    let (drained, end, frames) = tokio::join!(tracker.drain(DEADLINE), later, look_on(theirs, Peer::Answers));
    assert!(end.is_none());
    assert_eq!(frames, [close(1001, "")]);
    assert_eq!((drained.clean, drained.forced), (1, 0));
    drop(never);
}
