//! Row 4.15 at its size, over TCP.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
};
use wireline::{
    Server, Transport, WebSocket,
    server::{BoxError, Tracker},
};

use super::{counts, raw, received, rest};
use crate::{
    scripted::{close, encode, text},
    support::row::elapsed,
};

/// Of each kind; half of the stuck ones are applications, half are peers.
const WELL: usize = 800;
const MID_MESSAGE: usize = 100;
const STUCK: usize = 50;
const ALL: usize = WELL + MID_MESSAGE + 2 * STUCK;

const DEADLINE: Duration = Duration::from_secs(2);

/// An application that has not ended.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn application(mut ws: WebSocket<Transport>, request: Request<()>, tracker: Tracker) -> Result<(), BoxError> {
    match request.uri().path() {
        "/stuck" => {
            ws.feed("fed").await?;
            std::future::pending().await
        }
        // What is queued when the drain begins goes out before Close.
        "/feeding" => {
            ws.feed("fed").await?;
            tracker.draining().await;
            Ok(())
        }
        _ => {
            ws.feed("fed").await?;
            while let Some(message) = ws.next().await {
                message?;
            }
            Ok(())
        }
    }
}

/// A connection that is told to close when it has sent half of a message, and ends that first.
async fn mid_message(mut stream: TcpStream) {
    let message = encode(wireline::Role::Server, [text("a message")]);
    stream.write_all(&message[..7]).await.unwrap();
    let mut told = [0; 9];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"\x81\x03fed\x88\x02\x03\xe9");
    stream.write_all(&message[7..]).await.unwrap();
    stream.write_all(&encode(wireline::Role::Server, [close(1001, "")])).await.unwrap();
    assert_eq!(rest(stream).await, []);
}

async fn clients(address: SocketAddr) -> (JoinSet<()>, Vec<TcpStream>, Vec<TcpStream>) {
    let mut ending = JoinSet::new();
    for at in 0..WELL {
        let stream = raw(address, if at % 2 == 0 { "/" } else { "/feeding" }).await;
        ending.spawn(async move { assert_eq!(received(stream).await, [text("fed"), close(1001, "")]) });
    }
    for _ in 0..MID_MESSAGE {
        ending.spawn(mid_message(raw(address, "/").await));
    }
    let (mut silent, mut stuck) = (Vec::new(), Vec::new());
    for _ in 0..STUCK {
        silent.push(raw(address, "/").await);
        stuck.push(raw(address, "/stuck").await);
    }
    (ending, silent, stuck)
}

/// The server has a runtime of its own, whose tasks are counted at the end.
#[test]
fn a_drain_of_1000_connections_with_100_stuck_ends_and_reports_them_4_15() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, theirs) = (runtime(), runtime());
    let (tracker, alive) = (Tracker::new(), Arc::new(AtomicUsize::new(0)));
    let server = ours.block_on(Server::bind("127.0.0.1:0")).unwrap().tracker(&tracker);
    let address = server.local_addr().unwrap();
    let mut serving = JoinSet::new();
    let (living, trackers) = (Arc::clone(&alive), tracker.clone());
    let served = server.serve(move |ws, request| {
        living.fetch_add(1, Ordering::SeqCst);
        let (alive, tracker) = (Alive(Arc::clone(&living)), trackers.clone());
        async move {
            let _alive = alive;
            application(ws, request, tracker).await
        }
    });
    serving.spawn_on(served, ours.handle());

    let (ending, silent, stuck) = theirs.block_on(clients(address));
    while alive.load(Ordering::SeqCst) < ALL {
        std::thread::yield_now();
    }
    assert_eq!(tracker.open(), ALL);

    let (drained, took) = ours.block_on(elapsed(tracker.drain(DEADLINE)));
    assert_eq!(counts(drained), (WELL + MID_MESSAGE, 2 * STUCK));
    assert!(took >= DEADLINE && took < 2 * DEADLINE, "{took:?} of {DEADLINE:?}");
    println!("{drained:?} in {took:?}");

    theirs.block_on(async {
        ending.join_all().await;
        assert!(TcpStream::connect(address).await.is_err());
        // Both kinds of stuck connections are at the end of TCP, and their peers can know why.
        for stream in silent.into_iter().chain(stuck) {
            assert_eq!(rest(stream).await, [text("fed"), close(1001, "")]);
        }
    });
    theirs.block_on(async { serving.join_all().await }).remove(0).unwrap();
    assert_eq!((alive.load(Ordering::SeqCst), tracker.open()), (0, 0));
    // A task may have ended and not be taken off the count yet.
    let metrics = ours.handle().metrics();
    let none_alive = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let timeout = ours.block_on(async { tokio::time::timeout(Duration::from_secs(10), none_alive).await });
    assert!(timeout.is_ok(), "{} tasks live on", metrics.num_alive_tasks());
}
