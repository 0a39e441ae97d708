//! The life of a run: how it begins, what ends it, and what does not.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
};
use url::Url;
use wireline::handler::{CloseCode, Sender, Settings, util::Token};

use super::stage::{
    Call, FACTORY, Listening, Log, RESPONSE, Running, Wire, build, connect, echoes, farewell, listen, listener,
    listens, masked, recording, refusing, unmasked, url, within,
};

const SHUTTING_DOWN: &str = "Shutting down.";

/// Reads the Close frame of a server that shuts down, answers it, reads the end, and leaves.
async fn is_shut_down(mut client: Wire) {
    client.reads(unmasked(0x88, farewell(1001, SHUTTING_DOWN))).await;
    client.send(masked(0x88, farewell(1001, "bye"))).await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn d14_shutdown_closes_three_clients_with_1001_and_calls_everything_back() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), echoes));
    let [one, mut two, three] =
        [Wire::open(server.address).await, Wire::open(server.address).await, Wire::open(server.address).await];
    two.is_echoed("hello").await;
    let address = server.address;
    let (ws, (), (), ()) = tokio::join!(server.shut_down(), is_shut_down(one), is_shut_down(two), is_shut_down(three));
    for id in 0..3 {
        let mut told = log.of(id);
        told.retain(|what| what != "message hello");
        assert_eq!(told, ["open", "shutdown", "close 1001 bye", "lost"], "{id}");
    }
    assert_eq!(log.of(FACTORY), ["shutdown"]);
    drop(ws);
    let refused = TcpSocket::new_v4().expect("a socket").connect(address);
    within("an answer", refused).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn d14_shutdown_does_not_wait_for_a_client_that_does_not_answer() {
    let log = Log::new();
    let settings = Settings { close_timeout: Duration::from_millis(100), ..Settings::default() };
    let server = listen(settings, recording(log.clone(), listens));
    // The one that opens was accepted before the other, which is open.
    let mut opening = Wire::to(server.address).await;
    opening.send("GET / HTTP/1.1\r\n").await;
    let mut silent = Wire::open(server.address).await;
    server.shut_down().await;
    assert_eq!(silent.rest().await, unmasked(0x88, farewell(1001, SHUTTING_DOWN)));
    assert_eq!(opening.rest().await, b"");
    assert_eq!(log.of(0), ["shutdown", "lost"]);
    assert_eq!(log.of(1), ["open", "shutdown", "close 1006", "lost"]);
}

#[tokio::test]
async fn d14_shutdown_before_any_connection_ends_the_run_without_a_handler() {
    let log = Log::new();
    let server = listen(Settings::default(), recording(log.clone(), listens));
    let ws = server.shut_down().await;
    assert_eq!((log.of(0), log.of(FACTORY)), (vec![], vec!["shutdown".to_owned()]));
    // Asked for between two runs, it ends the second.
    ws.broadcaster().shutdown().expect("it is there");
    Listening::run(ws).returns().await;
    assert_eq!((log.of(0), log.of(FACTORY).len()), (vec![], 2));
}

#[tokio::test]
async fn d15_shutdown_while_connecting_is_no_panic() {
    // The server has accepted, and does not answer.
    let (listener, address) = listener().await;
    let log = Log::new();
    let (sender, run) = connect(Settings::default(), address, recording(log.clone(), listens));
    let mut server = Wire::from(&listener).await;
    server.head().await;
    sender.shutdown().expect("it is there");
    run.returns().await.expect("no error");
    assert_eq!(log.of(0), ["shutdown", "lost"]);
    assert_eq!(log.of(FACTORY), ["shutdown"]);
    assert_eq!(server.rest().await, b"");

    // Nothing has begun yet.
    let log = Log::new();
    let mut ws = build(Settings::default(), recording(log.clone(), listens));
    ws.connect(url(address)).expect("queued");
    ws.broadcaster().shutdown().expect("it is there");
    Running::start(|| ws.run().map(drop)).returns().await.expect("no error");
    assert_eq!(log.of(0), ["shutdown", "lost"]);
}

#[tokio::test]
async fn d15_close_while_connecting_is_carried_out_once_open() {
    let (listener, address) = listener().await;
    let log = Log::new();
    let react = |out: &Sender, call: Call<'_>| match call {
        // The timer rings before the connection is open.
        Call::Timeout(_) => out.close_with_reason(CloseCode::Normal, "early"),
        _ => Ok(()),
    };
    let ws = build(Settings::default(), recording(log.clone(), react));
    let sender = ws.broadcaster();
    sender.connect(url(address)).expect("queued");
    let run = Running::start(|| ws.run().map(drop));
    let mut server = Wire::from(&listener).await;
    server.head().await;
    // It is there, and waits for the response.
    sender.timeout(0, Token(7)).expect("queued");
    log.until(0, "timeout 7").await;
    server.send(RESPONSE).await;
    assert_eq!(server.client_frame().await, (0x88, farewell(1000, "early")));
    server.send(unmasked(0x88, farewell(1000, ""))).await;
    drop(server);
    run.returns().await.expect("no error");
    assert_eq!(log.of(0), ["new timeout 7", "timeout 7", "open", "close 1000", "lost"]);
}

#[tokio::test]
async fn d17_a_run_may_be_followed_by_another() {
    // As a server, at the same address.
    let log = Log::new();
    let mut server = listen(Settings::default(), recording(log.clone(), echoes));
    for _ in 0..3 {
        let address = server.address;
        let mut client = Wire::open(address).await;
        client.is_echoed("hello").await;
        let (ws, ()) = tokio::join!(server.shut_down(), is_shut_down(client));
        server = Listening::run(ws);
        assert_eq!(server.address, address);
    }
    server.shut_down().await;
    assert_eq!(log.of(FACTORY).len(), 4);

    // As a client.
    let (listener, address) = listener().await;
    let log = Log::new();
    let mut ws = build(Settings::default(), recording(log.clone(), listens));
    for round in 1..=3 {
        ws.connect(url(address)).expect("queued");
        let run = Running::start(|| ws.run());
        let server = Wire::accept(&listener).await;
        drop(server);
        ws = run.returns().await.expect("no error");
        log.until_all(round, "close 1006").await;
        log.until_all(round, "lost").await;
    }
    assert_eq!(log.of(FACTORY).len(), 3);
}

#[tokio::test]
async fn d17_a_client_may_reconnect_from_its_last_callbacks() {
    type Last = fn(&Call<'_>) -> bool;
    let rows: [(&str, Last); 3] = [
        ("on_close", |call| matches!(call, Call::Close)),
        ("connection_lost", |call| matches!(call, Call::Lost)),
        ("on_error", |call| matches!(call, Call::Error)),
    ];
    for (name, last) in rows {
        let (listener, address) = listener().await;
        let log = Log::new();
        let react = move |out: &Sender, call: Call<'_>| {
            // Twice at most: the third connection is not followed by another.
            if last(&call) && out.connection_id() < 2 { out.connect(url(address)) } else { Ok(()) }
        };
        let (_, run) = connect(Settings::default(), address, recording(log.clone(), react));
        for _ in 0..3 {
            if name == "on_error" {
                Wire::from(&listener).await.head().await;
            } else {
                drop(Wire::accept(&listener).await);
            }
        }
        run.returns().await.expect(name);
        log.until_all(3, "lost").await;
        assert_eq!(log.of(FACTORY), ["shutdown"], "{name}");
    }
}

#[tokio::test]
async fn d23_a_failed_connect_leaves_its_caller_open() {
    let (_held, refusing) = refusing();
    let log = Log::new();
    let react = move |out: &Sender, call: Call<'_>| match call {
        Call::Message(message) if message.len() == 2 => out.connect(url(refusing)),
        call => echoes(out, call),
    };
    let server = listen(Settings::default(), recording(log.clone(), react));
    let mut client = Wire::open(server.address).await;
    client.is_echoed("hello").await;
    client.send(masked(0x81, "go")).await;
    log.until(1, "lost").await;
    assert_eq!(log.of(1), ["error Io(ConnectionRefused)", "lost"]);
    client.is_echoed("still here").await;
    assert_eq!(log.of(0), ["open", "message hello", "message go", "message still here"]);
    drop(client);
    server.shut_down().await;
}

/// A runtime whose only thread for what blocks is held until the end of the returned channel: every lookup of a name waits.
fn without_names() -> (Runtime, mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.expect("a runtime");
    let (release, held) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || held.recv().is_err());
    (runtime, release)
}

fn by_name(address: SocketAddr) -> Url {
    Url::parse(&format!("ws://localhost:{}/", address.port())).expect("a URL")
}

#[test]
fn d24_a_slow_lookup_delays_neither_other_connections_nor_the_end() {
    let (runtime, release) = without_names();
    runtime.block_on(async {
        let (listener, address) = listener().await;
        let log = Log::new();
        let mut ws = build(Settings::default(), recording(log.clone(), echoes));
        ws.connect(by_name(address)).expect("queued").connect(url(address)).expect("queued");
        let sender = ws.broadcaster();
        let test = async {
            // The second connection, whose URL has an address, is there before the first.
            let mut server = Wire::accept(&listener).await;
            log.until(1, "open").await;
            server.send(unmasked(0x81, "hello")).await;
            log.until(1, "message hello").await;
            assert_eq!(log.of(0), [""; 0]);
            drop(server);
            log.until(1, "lost").await;
            sender.shutdown().expect("it is there");
        };
        let (ended, ()) = tokio::join!(within("the end of the run", ws.run_async()), test);
        ended.map(drop).expect("no error");
        assert_eq!(log.of(0), ["shutdown", "lost"]);
        assert_eq!(log.of(FACTORY), ["shutdown"]);
    });
    drop(release);
}

#[test]
fn d24_a_slow_lookup_ends_by_its_timeout() {
    let (runtime, release) = without_names();
    runtime.block_on(async {
        let (_held, address) = refusing();
        let log = Log::new();
        let settings = Settings { handshake_timeout: Duration::from_millis(50), ..Settings::default() };
        let mut ws = build(settings, recording(log.clone(), listens));
        ws.connect(by_name(address)).expect("queued");
        within("the end of the run", ws.run_async()).await.map(drop).expect("no error");
        assert_eq!(log.of(0), ["error Io(TimedOut)", "lost"]);
    });
    drop(release);
}

#[tokio::test]
async fn d24_run_returns_while_what_blocks_is_not_done() {
    let log = Log::new();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let react = move |out: &Sender, call: Call<'_>| {
        if let Call::Open = call {
            // As a lookup does, on the runtime of the run.
            let held = held.clone();
            tokio::task::spawn_blocking(move || held.lock().map(|held| held.recv().is_err()).is_ok());
            out.shutdown()?;
        }
        Ok(())
    };
    let server = listen(Settings::default(), recording(log.clone(), react));
    let client = Wire::open(server.address).await;
    is_shut_down(client).await;
    server.returns().await;
    drop(release);
}

/// A port at which one of the two loopback addresses listens, and the other one refuses; `None` without IPv6.
async fn half_a_port(listens: &str, refuses: &str) -> Option<(TcpListener, TcpSocket)> {
    for _ in 0..100 {
        let listener = TcpListener::bind((listens, 0)).await.ok()?;
        let port = listener.local_addr().expect("an address").port();
        let address = SocketAddr::new(refuses.parse().expect("an address"), port);
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.ok()?;
        match socket.bind(address) {
            Ok(()) => return Some((listener, socket)),
            // Somebody else has it.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(_) => return None,
        }
    }
    panic!("every port is in use");
}

#[tokio::test]
async fn d26_where_the_first_address_refuses_the_second_is_tried() {
    // Whichever the resolver puts first, it is the one that refuses in one of the rows.
    for (listens_at, refuses) in [("127.0.0.1", "::1"), ("::1", "127.0.0.1")] {
        let names: Vec<_> =
            tokio::net::lookup_host("localhost:0").await.expect("localhost").map(|at| at.ip()).collect();
        if !names.contains(&listens_at.parse().expect("an address")) {
            continue;
        }
        let Some((listener, _held)) = half_a_port(listens_at, refuses).await else { continue };
        let log = Log::new();
        let address = listener.local_addr().expect("an address");
        let mut ws = build(Settings::default(), recording(log.clone(), listens));
        ws.connect(by_name(address)).expect("queued");
        let run = Running::start(|| ws.run().map(drop));
        drop(Wire::accept(&listener).await);
        run.returns().await.expect("no error");
        assert_eq!(log.of(0), ["open", "close 1006", "lost"], "{listens_at}");
    }
}
