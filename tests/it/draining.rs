//! The graceful end of a server: a tracker drains, within a deadline, and reports what it came to (row 4.15). What was
//! upgraded from hyper and axum drains in `upgrade/draining.rs`.

mod refusing;
mod thousand;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinSet,
};
use wireline::{
    Client, CloseCode, Config, Message, Role, Server, Transport, WebSocket,
    proto::{Frame, Opcode},
    server::{BoxError, Drained, Tracker},
};

use crate::{
    finishing::received,
    scripted::{close, encode, frames, text},
};

/// Longer than any test: nothing is cut by it.
const NEVER: Duration = Duration::from_secs(600);

type Application = fn(WebSocket<Transport>, Tracker) -> Boxed;
type Boxed = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A server that drains while clients look on. Dropping it leaves nothing behind.
struct Serving {
    tracker: Tracker,
    address: SocketAddr,
    task: JoinSet<wireline::Result<()>>,
}

impl Serving {
    async fn new(application: Application) -> Self {
        Self::with(Tracker::new(), application).await
    }

    async fn with(tracker: Tracker, application: Application) -> Self {
        let server = Server::bind("127.0.0.1:0").await.unwrap().tracker(&tracker);
        let address = server.local_addr().unwrap();
        let mut task = JoinSet::new();
        let given = tracker.clone();
        task.spawn(server.serve(move |ws, _request| application(ws, given.clone())));
        Self { tracker, address, task }
    }

    /// `serve` has returned.
    async fn served(mut self) {
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// The two numbers of a report.
fn counts(drained: Drained) -> (usize, usize) {
    (drained.clean, drained.forced)
}

/// A raw client, after its opening handshake.
async fn raw(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request(path)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

fn request(path: &str) -> Vec<u8> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    request.into_bytes()
}

/// Everything until the end of TCP, however that comes.
async fn rest(mut stream: TcpStream) -> Vec<Frame> {
    let mut wire = Vec::new();
    while matches!(stream.read_buf(&mut wire).await, Ok(1..)) {}
    frames(Role::Server, &wire)
}

async fn hear(ws: &mut WebSocket<Transport>) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(())
}

/// What applications do with a connection, each of which hears of the drain.
const APPLICATIONS: &[(&str, Application)] = &[
    ("waits for messages", |mut ws, _| {
        Box::pin(async move {
            ws.feed("fed").await?;
            hear(&mut ws).await
        })
    }),
    ("waits for something else, and for the drain", |mut ws, tracker| {
        Box::pin(async move {
            ws.feed("fed").await?;
            tracker.draining().await;
            Ok(())
        })
    }),
    ("sends until it cannot", |mut ws, tracker| {
        Box::pin(async move {
            ws.send("fed").await?;
            tracker.draining().await;
            // The first of these brings Close out behind it.
            while ws.send(Message::Binary(Default::default())).await.is_ok() {}
            Ok(())
        })
    }),
    ("splits it over two tasks", |ws, _| {
        Box::pin(async move {
            use futures_util::{SinkExt, StreamExt};
            let (mut sink, mut stream) = ws.split();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { sink.send(Message::from("fed")).await });
            while let Some(message) = stream.next().await {
                message?;
            }
            tasks.join_next().await.ok_or("a task")???;
            Ok(())
        })
    }),
    ("moves it to a task of its own", |mut ws, _| {
        Box::pin(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                ws.feed("fed").await?;
                hear(&mut ws).await
            });
            tasks.detach_all();
            Ok(())
        })
    }),
    ("looks at it in one task and then in another", |mut ws, _| {
        Box::pin(async move {
            ws.feed("fed").await?;
            tokio::select! {
                biased;
                _ = ws.next() => {}
                () = tokio::task::yield_now() => {}
            }
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { hear(&mut ws).await });
            tasks.join_next().await.ok_or("a task")??
        })
    }),
    ("closes it, and works on until the drain", |mut ws, tracker| {
        Box::pin(async move {
            ws.feed("fed").await?;
            ws.close(CloseCode::GOING_AWAY, "").await?;
            tracker.draining().await;
            Ok(())
        })
    }),
];

#[tokio::test]
async fn what_was_fed_arrives_and_then_close_and_then_the_end_4_15() {
    for &(name, application) in APPLICATIONS {
        let serving = Serving::new(application).await;
        let client = raw(serving.address, "/").await;
        let (frames, drained) = tokio::join!(received(client), async {
            while serving.tracker.open() == 0 {
                tokio::task::yield_now().await;
            }
            serving.tracker.drain(NEVER).await
        });
        let expected = [text("fed"), close(1001, "")];
        let frames: Vec<_> = frames.into_iter().filter(|frame| frame.opcode != Opcode::Binary).collect();
        assert_eq!(frames, expected, "an application that {name}");
        assert_eq!((counts(drained), serving.tracker.open()), ((1, 0), 0), "an application that {name}");
        serving.served().await;
    }
}

/// The same on a runtime of several threads, with our own client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_is_told_the_code() {
    for (code, number) in [(None, 1001), (Some(CloseCode::SERVICE_RESTART), 1012)] {
        for &(name, application) in &APPLICATIONS[..5] {
            let serving = Serving::new(application).await;
            let client = Client::new(format!("ws://{}/", serving.address)).unwrap();
            let (mut ws, _) = client.connect().await.unwrap();
            let tracker = code.map_or_else(|| serving.tracker.clone(), |code| serving.tracker.clone().close_code(code));
            let draining = async {
                while tracker.open() == 0 {
                    tokio::task::yield_now().await;
                }
                tracker.drain(NEVER).await
            };
            let looking = async {
                while ws.next().await.transpose().unwrap().is_some() {}
                ws.ending().unwrap().code()
            };
            let (drained, told) = tokio::join!(draining, looking);
            assert_eq!((counts(drained), told), ((1, 0), number), "an application that {name}");
            serving.served().await;
        }
    }
}

/// More than the transport takes at once: the peer reads only after the drain has begun.
#[tokio::test]
async fn a_long_queue_goes_out_before_close() {
    const LEN: usize = 8 << 20;
    let serving = Serving::new(|mut ws, _| {
        Box::pin(async move {
            ws.send(Message::from(vec![7; LEN])).await?;
            hear(&mut ws).await
        })
    })
    .await;
    let client = raw(serving.address, "/").await;
    while serving.tracker.open() == 0 {
        tokio::task::yield_now().await;
    }
    let (drained, frames) = tokio::join!(serving.tracker.drain(NEVER), async {
        serving.tracker.draining().await;
        received(client).await
    });
    let lens: Vec<_> = frames.iter().map(|frame| (frame.opcode, frame.payload.len())).collect();
    assert_eq!(lens, [(Opcode::Binary, LEN), (Opcode::Close, 2)]);
    assert_eq!(counts(drained), (1, 0));
}

/// A message that arrives while the connection closes is still received.
#[tokio::test]
async fn a_peer_in_the_middle_of_a_message_may_end_it() {
    let (heard, hearing) = oneshot::channel();
    let heard = Arc::new(std::sync::Mutex::new(Some(heard)));
    let tracker = Tracker::new();
    let server = Server::bind("127.0.0.1:0").await.unwrap().tracker(&tracker);
    let address = server.local_addr().unwrap();
    let application = move |mut ws: WebSocket<Transport>, _: Request<()>| {
        let heard = Arc::clone(&heard);
        async move {
            let message = ws.next().await.ok_or("no message")??;
            let refused = ws.send("an answer").await.is_err();
            let heard = heard.lock().unwrap().take().ok_or("the second message")?;
            heard.send((message, refused)).map_err(|_| "nobody listens")?;
            hear(&mut ws).await
        }
    };
    let client = async {
        let mut stream = raw(address, "/").await;
        let message = encode(Role::Server, [text("a message")]);
        stream.write_all(&message[..7]).await.unwrap();
        let (drained, frames) = tokio::join!(tracker.drain(NEVER), async {
            let mut told = [0; 4];
            stream.read_exact(&mut told).await.unwrap();
            stream.write_all(&message[7..]).await.unwrap();
            stream.write_all(&encode(Role::Server, [close(1001, "")])).await.unwrap();
            (told, rest(stream).await)
        });
        assert_eq!(frames, (*b"\x88\x02\x03\xe9", Vec::new()));
        assert_eq!(counts(drained), (1, 0));
    };
    let (served, ()) = tokio::join!(server.serve(application), client);
    served.unwrap();
    assert_eq!(hearing.await.unwrap(), (Message::from("a message"), true));
}

/// Applications that do not end, and how much of what their peers are told is certain.
const STUCK: &[(&str, Application)] = &[
    ("never looks at its connection again", |mut ws, _| {
        Box::pin(async move {
            ws.feed("fed").await?;
            std::future::pending().await
        })
    }),
    ("does not end when its connection has", |mut ws, _| {
        Box::pin(async move {
            ws.feed("fed").await?;
            hear(&mut ws).await?;
            std::future::pending().await
        })
    }),
    ("drops its connection and does not end", |mut ws, tracker| {
        Box::pin(async move {
            ws.feed("fed").await?;
            tracker.draining().await;
            drop(ws);
            std::future::pending().await
        })
    }),
];

#[tokio::test]
async fn a_stuck_application_is_cut_and_its_peer_is_told_why() {
    for &(name, application) in STUCK {
        let serving = Serving::new(application).await;
        let client = raw(serving.address, "/").await;
        while serving.tracker.open() == 0 {
            tokio::task::yield_now().await;
        }
        let (frames, drained) = tokio::join!(received(client), serving.tracker.drain(Duration::from_millis(300)));
        assert_eq!(frames, [text("fed"), close(1001, "")], "an application that {name}");
        assert_eq!((counts(drained), serving.tracker.open()), ((0, 1), 0), "an application that {name}");
        serving.served().await;
    }
}

/// What a peer does that does not answer Close.
#[tokio::test]
async fn a_stuck_peer_is_cut() {
    let flood = encode(Role::Server, vec![text("flood"); 1000]);
    for (name, bytes) in [("is silent", &[][..]), ("sends without end", &flood)] {
        for &(named, application) in &APPLICATIONS[..6] {
            let serving = Serving::new(application).await;
            let mut client = raw(serving.address, "/").await;
            while serving.tracker.open() == 0 {
                tokio::task::yield_now().await;
            }
            let stuck = async {
                while !bytes.is_empty() && client.write_all(bytes).await.is_ok() {}
                std::future::pending().await
            };
            let drained = tokio::select! {
                drained = serving.tracker.drain(Duration::from_millis(300)) => drained,
                () = stuck => unreachable!(),
            };
            let case = format!("a peer that {name}, an application that {named}");
            assert_eq!((counts(drained), serving.tracker.open()), ((0, 1), 0), "{case}");
            serving.served().await;
        }
    }
}

/// The deadline of the connection itself may come first: that is no clean end either.
#[tokio::test]
async fn a_peer_that_is_late_for_its_own_close_deadline_counts_as_forced() {
    let mut config = Config::default();
    config.timings.close = Duration::from_millis(50);
    let tracker = Tracker::new();
    let server = Server::bind("127.0.0.1:0").await.unwrap().tracker(&tracker).config(config).unwrap();
    let address = server.local_addr().unwrap();
    let client = async {
        let (_silent, mut answering) = (raw(address, "/").await, raw(address, "/").await);
        // It answers, but never ends its stream.
        let answer = async {
            answering.read_exact(&mut [0; 4]).await.unwrap();
            answering.write_all(b"\x88\x80\0\0\0\0").await.unwrap();
            std::future::pending().await
        };
        tokio::select! {
            drained = tracker.drain(NEVER) => drained,
            () = answer => unreachable!(),
        }
    };
    let (_, drained) = tokio::join!(server.serve(|mut ws, _| async move { hear(&mut ws).await }), client);
    assert_eq!(counts(drained), (0, 2));
}

#[tokio::test]
async fn a_second_signal_cuts_at_once() {
    let signals = Arc::new(Notify::new());
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let signal = || {
        let signals = Arc::clone(&signals);
        async move { signals.notified().await }
    };
    let application = |ws: WebSocket<Transport>, request: Request<()>| {
        let stuck = request.uri().path() == "/stuck";
        STUCK[usize::from(!stuck)].1(ws, Tracker::new())
    };
    let client = async {
        let [told, stuck] = [raw(address, "/").await, raw(address, "/stuck").await];
        signals.notify_one();
        // The first signal has come: one of them is told to close.
        let mut fed_and_close = [0; 9];
        let mut told = told;
        told.read_exact(&mut fed_and_close).await.unwrap();
        assert_eq!(&fed_and_close, b"\x81\x03fed\x88\x02\x03\xe9");
        signals.notify_one();
        (rest(told).await, rest(stuck).await)
    };
    let (drained, rests) = tokio::join!(server.serve_until(signal, NEVER, application), client);
    assert_eq!(counts(drained.unwrap()), (0, 2));
    assert_eq!(rests, (Vec::new(), vec![text("fed"), close(1001, "")]));
}

#[tokio::test]
async fn a_cut_needs_no_drain_before() {
    let serving = Serving::new(STUCK[0].1).await;
    let client = raw(serving.address, "/").await;
    while serving.tracker.open() == 0 {
        tokio::task::yield_now().await;
    }
    serving.tracker.cut();
    assert_eq!(rest(client).await, [text("fed"), close(1001, "")]);
    assert_eq!(counts(serving.tracker.drain(NEVER).await), (0, 1));
    serving.served().await;
}

#[tokio::test]
async fn an_empty_server_drains_at_once_and_again() {
    let serving = Serving::new(APPLICATIONS[0].1).await;
    let before = received(raw(serving.address, "/").await);
    drop(before);
    while serving.tracker.open() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        assert_eq!(counts(serving.tracker.drain(NEVER).await), (0, 0));
    }
    serving.served().await;
}

/// Dropping the future of a drain does not undo it; another call goes on with it, and counts what ended before.
#[tokio::test]
async fn a_drain_that_is_dropped_goes_on() {
    let serving = Serving::new(APPLICATIONS[0].1).await;
    let [first, second] = [raw(serving.address, "/").await, raw(serving.address, "/").await];
    while serving.tracker.open() < 2 {
        tokio::task::yield_now().await;
    }
    tokio::select! {
        biased;
        _ = serving.tracker.drain(NEVER) => unreachable!("nobody has answered"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(received(first).await, [text("fed"), close(1001, "")]);
    let other = serving.tracker.clone().close_code(CloseCode::SERVICE_RESTART);
    let (drained, again, frames) = tokio::join!(serving.tracker.drain(NEVER), other.drain(NEVER), received(second));
    assert_eq!(frames, [text("fed"), close(1001, "")]);
    assert_eq!((counts(drained), counts(again)), ((2, 0), (2, 0)));
    serving.served().await;
}

#[tokio::test]
async fn servers_that_share_a_tracker_end_together() {
    let tracker = Tracker::new();
    let servings = [0, 1].map(|_| Serving::with(tracker.clone(), APPLICATIONS[0].1));
    let servings = futures_util::future::join_all(servings).await;
    let clients = futures_util::future::join_all(servings.iter().map(|serving| raw(serving.address, "/"))).await;
    while tracker.open() < 2 {
        tokio::task::yield_now().await;
    }
    let clients = futures_util::future::join_all(clients.into_iter().map(received));
    let (drained, frames) = tokio::join!(tracker.drain(NEVER), clients);
    assert_eq!(frames, vec![[text("fed"), close(1001, "")]; 2]);
    assert_eq!(counts(drained), (2, 0));
    for serving in servings {
        serving.served().await;
    }
}

/// A drain that begins at any moment of many handshakes misses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_open_while_the_drain_begins_end_too() {
    for round in 0..40 {
        let serving = Serving::new(APPLICATIONS[round % 5].1).await;
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let client = Client::new(format!("ws://{}/", serving.address)).unwrap();
            clients.spawn(async move {
                let (mut ws, _) = client.connect().await.ok()?;
                while ws.next().await.transpose().unwrap().is_some() {}
                Some(ws.ending().unwrap().code())
            });
        }
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let drained = serving.tracker.drain(NEVER).await;
        let codes: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        assert_eq!((counts(drained).1, serving.tracker.open()), (0, 0), "round {round}");
        assert!(codes.iter().all(|code| *code == 1001), "round {round}: {codes:?}");
        serving.served().await;
    }
}
