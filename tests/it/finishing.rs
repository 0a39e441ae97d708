//! How `Server` finishes a connection that the application is done with, in whatever way: what was fed goes out, then
//! Close, then the end of TCP.

use std::{
    future::Future,
    net::SocketAddr,
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use wireline::{
    Cause, Config, Error, Message, Role, Server, Transport, WebSocket, connect,
    proto::{Frame, Opcode},
    server::{BoxError, PeerAddr},
};

use crate::scripted::{close, decode, encode, frames, text};

/// Runs a server for as long as the client takes.
async fn serving<F, Fut, T>(application: F, client: impl AsyncFnOnce(SocketAddr) -> T) -> T
where
    F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let server = Server::bind("127.0.0.1:0").await.unwrap().config(short()).unwrap();
    let address = server.local_addr().unwrap();
    tokio::select! {
        served = server.serve(application) => panic!("{served:?}"),
        done = client(address) => done,
    }
}

/// Deadlines that a test can wait for where one of them has to pass.
fn short() -> Config {
    let mut config = Config::default();
    config.timings.close = Duration::from_millis(300);
    config
}

/// A raw client, after its opening handshake.
async fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /chat HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Reads until the server's Close frame, answers it, and reads to the end of TCP. Everything that was received.
pub(crate) async fn received(mut stream: TcpStream) -> Vec<Frame> {
    let mut wire = Vec::new();
    while !decode(Role::Server, &wire).0.iter().any(|frame| frame.opcode == Opcode::Close) {
        assert_ne!(stream.read_buf(&mut wire).await.unwrap(), 0, "the end of TCP without a Close frame: {wire:?}");
    }
    stream.write_all(&encode(Role::Server, [close(1000, "")])).await.unwrap();
    stream.read_to_end(&mut wire).await.unwrap();
    frames(Role::Server, &wire)
}

async fn say(stream: &mut TcpStream, frame: Frame) {
    stream.write_all(&encode(Role::Server, [frame])).await.unwrap();
}

type Application = fn(WebSocket<Transport>, Request<()>) -> Boxed;
type Boxed = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Applications that feed two messages and are done, each in its own way, and the code that the peer is told.
const APPLICATIONS: &[(&str, Application, u16)] = &[
    ("returns Ok", |mut ws, _| Box::pin(async move { feed(&mut ws).await }), 1000),
    (
        "returns Err",
        |mut ws, _| {
            Box::pin(async move {
                feed(&mut ws).await?;
                Err("no more".into())
            })
        },
        1011,
    ),
    (
        "panics",
        |mut ws, _| {
            Box::pin(async move {
                feed(&mut ws).await?;
                panic!("the application panics, as this test wants it to");
            })
        },
        1011,
    ),
    (
        "drops it and returns Err later",
        |mut ws, _| {
            Box::pin(async move {
                feed(&mut ws).await?;
                drop(ws);
                tokio::task::yield_now().await;
                Err("too late to be told".into())
            })
        },
        1000,
    ),
    (
        "gives it to another task",
        |mut ws, _| {
            Box::pin(async move {
                let mut tasks = JoinSet::new();
                tasks.spawn(async move {
                    feed(&mut ws).await.unwrap();
                    tokio::task::yield_now().await;
                });
                tasks.detach_all();
                Ok(())
            })
        },
        1000,
    ),
    (
        "gives it to another task and panics",
        |mut ws, _| {
            Box::pin(async move {
                let mut tasks = JoinSet::new();
                tasks.spawn(async move { feed(&mut ws).await.unwrap() });
                tasks.detach_all();
                panic!("the application panics, as this test wants it to");
            })
        },
        1000,
    ),
];

async fn feed(ws: &mut WebSocket<Transport>) -> Result<(), BoxError> {
    ws.feed("one").await?;
    ws.feed("two").await?;
    Ok(())
}

/// The panics that these tests cause are not printed: they would look like failures.
fn without_the_expected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let expected = panic.payload().downcast_ref::<&str>().is_some_and(|text| text.ends_with("wants it to"));
            if !expected {
                print(panic);
            }
        }));
    });
}

#[tokio::test]
async fn what_was_fed_arrives_and_then_close_and_then_the_end() {
    without_the_expected_panics();
    for (name, application, code) in APPLICATIONS {
        serving(*application, async |address| {
            let expected = [text("one"), text("two"), close(*code, "")];
            assert_eq!(received(raw(address).await).await, expected, "an application that {name}");
            // Only that connection is over.
            assert_eq!(received(raw(address).await).await, expected, "the next: an application that {name}");
        })
        .await;
    }
}

/// The same with our own client at the other end, on a runtime of several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_is_told_the_same() {
    without_the_expected_panics();
    for (name, application, code) in APPLICATIONS {
        serving(*application, async |address| {
            let mut ws = connect(format!("ws://{address}/")).await.unwrap();
            for expected in ["one", "two"] {
                assert_eq!(ws.next().await.unwrap().unwrap(), Message::from(expected), "an application that {name}");
            }
            assert!(ws.next().await.is_none(), "an application that {name}");
            let ending = ws.ending().unwrap();
            assert_eq!((ending.cause(), ending.code()), (Cause::Clean, *code), "an application that {name}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_application_that_never_looks_at_its_connection_closes_it() {
    serving(
        |_ws, _| async { Ok(()) },
        async |address| assert_eq!(received(raw(address).await).await, [close(1000, "")]),
    )
    .await;
}

/// The closure itself panics, before there is a future.
#[tokio::test]
async fn a_closure_that_panics_closes_its_connection_with_1011() {
    without_the_expected_panics();
    serving(
        |_ws, request| {
            if request.uri().path() == "/chat" {
                panic!("the closure panics, as this test wants it to");
            }
            async { Ok(()) }
        },
        async |address| {
            assert_eq!(received(raw(address).await).await, [close(1011, "")]);
            let mut ws = connect(format!("ws://{address}/other")).await.unwrap();
            assert!(ws.next().await.is_none());
            assert_eq!(ws.ending().unwrap().code(), 1000);
        },
    )
    .await;
}

/// `message?` of a peer that broke a rule: what was fed before still arrives, and one Close with the rule's code.
#[tokio::test]
async fn a_fault_that_ends_the_application_is_told_once() {
    let faults: [(&str, &[u8], u16); 3] =
        [("a reserved bit", &[0xf1, 0x80], 1002), ("no mask", &[0x81, 0x00], 1002), ("too big", &TOO_BIG, 1009)];
    for (name, bytes, code) in faults {
        serving(
            |mut ws, _| async move {
                while let Some(message) = ws.next().await {
                    ws.feed(message?).await?;
                }
                Ok(())
            },
            async |address| {
                let mut stream = raw(address).await;
                say(&mut stream, text("echo")).await;
                stream.write_all(bytes).await.unwrap();
                assert_eq!(received(stream).await, [text("echo"), close(code, "")], "{name}");
            },
        )
        .await;
    }
}

/// A masked binary frame that announces 2^40 bytes.
const TOO_BIG: [u8; 14] = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    without_the_expected_panics();
    serving(
        |mut ws, _| async move {
            while let Some(message) = ws.next().await {
                let message = message?;
                assert!(message != Message::from("panic"), "panics, as this test wants it to");
                ws.send(message).await?;
            }
            Ok(())
        },
        async |address| {
            let mut healthy = connect(format!("ws://{address}")).await.unwrap();
            for round in 0..10 {
                let mut dying = raw(address).await;
                say(&mut dying, text("panic")).await;
                assert_eq!(received(dying).await, [close(1011, "")], "4.13, round {round}");
                healthy.send("still here").await.unwrap();
                assert_eq!(healthy.next().await.unwrap().unwrap(), Message::from("still here"), "4.13, round {round}");
            }
        },
    )
    .await;
}

/// The application drops its connection and works on: the closing does not wait for that, nor the work for the closing.
#[tokio::test]
async fn an_application_that_lets_go_early_works_on() {
    let (worked, mut results) = mpsc::unbounded_channel();
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    serving(
        move |mut ws, _| {
            let (worked, wait) = (worked.clone(), wait.lock().unwrap().take());
            async move {
                ws.feed("bye").await?;
                drop(ws);
                if let Some(wait) = wait {
                    wait.await?;
                }
                worked.send("worked on")?;
                Ok(())
            }
        },
        async |address| {
            assert_eq!(received(raw(address).await).await, [text("bye"), close(1000, "")]);
            assert!(results.try_recv().is_err(), "it still works");
            go.send(()).unwrap();
            assert_eq!(results.recv().await, Some("worked on"));
        },
    )
    .await;
}

/// A peer that never answers the server's Close is cut at the close deadline, after it got everything.
#[tokio::test]
async fn a_peer_that_does_not_answer_is_cut() {
    serving(
        |mut ws, _| async move { feed(&mut ws).await },
        async |address| {
            let mut stream = raw(address).await;
            let mut wire = Vec::new();
            stream.read_to_end(&mut wire).await.unwrap();
            assert_eq!(frames(Role::Server, &wire), [text("one"), text("two"), close(1000, "")]);
        },
    )
    .await;
}

/// A peer that sends without end while the server wants to close.
#[tokio::test]
async fn a_peer_that_floods_and_does_not_answer_is_cut() {
    serving(
        |_ws, _| async { Ok(()) },
        async |address| {
            let (mut from, mut to) = raw(address).await.into_split();
            let flood = encode(Role::Server, (0..10_000).map(|_| text("flood")));
            // Ends when the server has gone.
            let write = async { while to.write_all(&flood).await.is_ok() {} };
            let read = async {
                let mut wire = Vec::new();
                let _ = from.read_to_end(&mut wire).await;
                wire
            };
            let (wire, ()) = tokio::join!(read, write);
            assert_eq!(decode(Role::Server, &wire).0, [close(1000, "")], "K11");
        },
    )
    .await;
}

/// Megabytes that were fed reach a peer that reads slowly, before Close.
#[tokio::test]
async fn what_was_fed_arrives_however_much_it_is() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let serve = server.serve(|mut ws, _| async move {
        for byte in 0..8 {
            ws.feed(vec![byte; 1_000_000]).await?;
        }
        Ok(())
    });
    let read = async {
        let all = received(raw(address).await).await;
        assert_eq!(all.len(), 9);
        for (byte, frame) in (0..8).zip(&all) {
            assert!(frame.payload.len() == 1_000_000 && frame.payload.iter().all(|at| *at == byte), "message {byte}");
        }
        assert_eq!(all[8], close(1000, ""));
    };
    tokio::select! {
        served = serve => panic!("{served:?}"),
        () = read => {}
    }
}

#[tokio::test]
async fn the_request_knows_where_it_came_from() {
    serving(
        |mut ws, request| async move {
            let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.to_string());
            ws.feed(peer.unwrap_or_default()).await?;
            ws.feed(request.uri().path()).await?;
            Ok(())
        },
        async |address| {
            let stream = raw(address).await;
            let ours = stream.local_addr().unwrap().to_string();
            assert_eq!(received(stream).await, [text(ours), text("/chat"), close(1000, "")]);
        },
    )
    .await;
}

#[tokio::test]
async fn dropping_serve_closes_the_listener_and_leaves_open_connections_alone() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let mut serve = Box::pin(server.serve(|mut ws, _| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    }));
    let mut ws = tokio::select! {
        served = &mut serve => panic!("{served:?}"),
        ws = connect(format!("ws://{address}")) => ws.unwrap(),
    };
    drop(serve);
    let refused = connect(format!("ws://{address}")).await;
    assert!(matches!(refused, Err(Error::Network(_))), "{refused:?}");
    for _ in 0..3 {
        ws.send("still open").await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("still open"));
    }
    ws.close(wireline::CloseCode::NORMAL, "").await.unwrap();
    assert!(ws.ending().unwrap().is_clean());
}

/// Clients that leave in every impolite way while the application feeds and waits: none of them stops the server.
#[tokio::test]
async fn a_peer_that_resets_ends_one_connection_only() {
    serving(
        |mut ws, _| async move {
            ws.send("hello").await?;
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        },
        async |address| {
            for round in 0..20 {
                let mut stream = raw(address).await;
                if round % 2 == 0 {
                    say(&mut stream, text("and gone")).await;
                }
                if round % 3 == 0 {
                    stream.set_zero_linger().unwrap();
                }
                drop(stream);
            }
            let mut ws = connect(format!("ws://{address}")).await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("hello"));
            ws.close(wireline::CloseCode::NORMAL, "").await.unwrap();
            assert!(ws.ending().unwrap().is_clean());
        },
    )
    .await;
}
