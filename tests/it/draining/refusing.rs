//! New connections, and those in their opening handshake, while a server drains.

use std::{io, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    sync::Notify,
};
use wireline::{
    Error, Server,
    server::{Acceptance, Acceptor, Tracker},
};

use super::{APPLICATIONS, NEVER, STUCK, Serving, counts, raw, request};

/// The answer to bytes that were sent before the drain began, and what the drain comes to.
async fn answer(serving: &Serving, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    // A connection that is accepted later is open by now: so this one is accepted, too.
    drop(raw(serving.address, "/").await);
    let (drained, answer) = tokio::join!(serving.tracker.drain(NEVER), async {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        drop(stream);
        String::from_utf8(answer).unwrap()
    });
    assert_eq!(drained.forced, 0);
    answer
}

#[tokio::test]
async fn a_handshake_under_way_is_refused_with_503() {
    let whole = request("/");
    for sent in [0, 1, whole.len() / 2, whole.len() - 1] {
        let serving = Serving::new(APPLICATIONS[0].1).await;
        let answer = answer(&serving, &whole[..sent]).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{sent} bytes of a request: {answer}");
        assert!(answer.contains("going down"), "{sent} bytes of a request: {answer}");
        serving.served().await;
    }
}

#[tokio::test]
async fn a_hook_that_waits_is_overtaken() {
    let tracker = Tracker::new();
    let [asked, answered] = [(); 2].map(|()| Arc::new(Notify::new()));
    let (asked_too, answered_too) = (Arc::clone(&asked), Arc::clone(&answered));
    let server = Server::bind("127.0.0.1:0").await.unwrap().tracker(&tracker).on_request_async(move |_| {
        let (asked, answered) = (Arc::clone(&asked_too), Arc::clone(&answered_too));
        async move {
            asked.notify_one();
            answered.notified().await;
            Ok(Acceptance::new())
        }
    });
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    stream.write_all(&request("/")).await.unwrap();
    let client = async {
        asked.notified().await;
        let (drained, answer) = tokio::join!(tracker.drain(NEVER), async {
            tracker.draining().await;
            answered.notify_one();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            drop(stream);
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(counts(drained), (0, 0));
    };
    tokio::join!(server.serve(|_ws, _| async { Ok(()) }), client).0.unwrap();
}

/// A hook that never answers ends with the drain.
#[tokio::test]
async fn a_handshake_that_is_stuck_is_cut() {
    let tracker = Tracker::new();
    let asked = Arc::new(Notify::new());
    let asking = Arc::clone(&asked);
    let server = Server::bind("127.0.0.1:0").await.unwrap().tracker(&tracker).on_request_async(move |_| {
        asking.notify_one();
        std::future::pending()
    });
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    stream.write_all(&request("/")).await.unwrap();
    let client = async {
        asked.notified().await;
        assert_eq!(counts(tracker.drain(Duration::from_millis(200)).await), (0, 0));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    };
    tokio::join!(server.serve(|_ws, _| async { Ok(()) }), client).0.unwrap();
}

#[tokio::test]
async fn new_tcp_connections_are_refused() {
    let serving = Serving::new(STUCK[0].1).await;
    let stuck = raw(serving.address, "/").await;
    let address = serving.address;
    let tracker = serving.tracker.clone();
    let (drained, ()) = tokio::join!(tracker.drain(NEVER), async {
        serving.served().await;
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(tracker.is_draining());
        tracker.cut();
    });
    assert_eq!(counts(drained), (0, 1));
    drop(stuck);
}

#[tokio::test]
async fn an_acceptor_that_drains_refuses() {
    let tracker = Tracker::new();
    let acceptor = Acceptor::new().tracker(&tracker);
    assert_eq!(counts(tracker.drain(NEVER).await), (0, 0));

    let (ours, mut theirs) = duplex(4096);
    theirs.write_all(&request("/")).await.unwrap();
    let (refused, answer) = tokio::join!(acceptor.accept(ours), async {
        let mut answer = vec![0; 12];
        theirs.read_exact(&mut answer).await.unwrap();
        drop(theirs);
        answer
    });
    assert!(matches!(refused, Err(Error::Handshake(_))), "{refused:?}");
    assert_eq!(answer, b"HTTP/1.1 503");

    let builder = Request::get("/").header("host", "example.com").header("upgrade", "websocket");
    let builder = builder.header("connection", "Upgrade").header("sec-websocket-version", "13");
    let request = builder.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap();
    assert_eq!(acceptor.upgrade(&request).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
}
