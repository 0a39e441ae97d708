//! A listening server over TCP: strangers at its port, slow and many connections, early data.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    task::JoinSet,
    time::timeout,
};
use tracing_subscriber::fmt::MakeWriter;
use wireline::{Client, Config, Error, Message, Result, Server, Transport, WebSocket};

use super::{
    REQUEST, cited,
    server::{masked, refusal},
    wire::{Answer, runtime},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn server_outlives_strangers_at_its_port() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    strangers(ran);
    soon(early_data(ran));
    soon(slow_request(ran));
}

/// Runs to the end, which a broken library would never reach.
pub(super) fn soon<T>(test: impl Future<Output = T>) -> T {
    let ended = runtime().block_on(async { timeout(Duration::from_secs(60), test).await });
    ended.expect("the test ends")
}

/// A server that echoes, until it is dropped.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    _task: JoinSet<Result<()>>,
}

impl Echo {
    pub(super) async fn start(with: impl FnOnce(Server) -> Server) -> Self {
        let server = with(Server::bind("127.0.0.1:0").await.expect("a port"));
        let address = server.local_addr().expect("an address");
        let mut task = JoinSet::new();
        task.spawn(server.serve(|mut ws, _| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        }));
        Self { address, _task: task }
    }

    pub(super) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn connect(&self) -> Result<WebSocket<Transport>> {
        wireline::connect(format!("ws://{}", self.address)).await
    }
}

/// Settings with a handshake deadline that a test can wait for.
pub(super) fn short_deadline() -> Config {
    let mut config = Config::default();
    config.timings.handshake = Duration::from_millis(500);
    config
}

/// Reads until the end of a connection, be it a reset.
pub(super) async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    read
}

pub(super) async fn echoes(ws: &mut WebSocket<Transport>) {
    ws.send("hello").await.expect("sent");
    assert_eq!(ws.next().await.expect("an echo").expect("no error"), Message::from("hello"));
}

/// What a stranger does once it has sent its bytes.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Waits to be sent away.
    Never,
    Closes,
    Resets,
}

fn strangers(ran: &mut Ran) {
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    let table: &[(&[u8], Leaves, Option<u16>)] = &[
        // bytes, what then, and the status of the answer if there is one
        (hello, Leaves::Never, Some(400)),
        (hello, Leaves::Closes, Some(400)),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Leaves::Never, None),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Leaves::Closes, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Leaves::Never, Some(505)),
        (b"EHLO example.com\r\n\r\n", Leaves::Never, Some(400)),
        (b"\0\0\0\0", Leaves::Never, Some(400)),
        (b"", Leaves::Never, None),
        (b"", Leaves::Closes, None),
        (b"", Leaves::Resets, None),
        (b"GET / HTTP/1.1\r\nHo", Leaves::Resets, None),
    ];
    // tracing forgets a line that another thread is the first to reach while there is a single subscriber: so this line is
    // reached once before, and there are two.
    soon(stranger(hello, Leaves::Closes, Some(400), "at first"));
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    for &(bytes, leaves, status) in table {
        let context = format!("{}: {} and {leaves:?}", cited(&["H16"]), bytes.escape_ascii());
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        soon(stranger(bytes, leaves, status, &context));
        drop(logging);
        let log = log.text();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("wireline")).collect();
        let failures = lines.iter().filter(|line| line.contains("opening handshake failed")).count();
        assert_eq!(failures, 1, "{context}: one line, not {lines:#?}");
        let loud = lines.iter().filter(|line| ["ERROR", "WARN", "INFO"].iter().any(|level| line.contains(level)));
        assert_eq!(loud.count(), 0, "{context}: {lines:#?}");
    }
    ran.id("H16");
}

/// A stranger is sent away; an honest client behind it is served; no task is left of either.
async fn stranger(bytes: &[u8], leaves: Leaves, status: Option<u16>, context: &str) {
    let echo = Echo::start(|server| server.config(short_deadline()).expect("valid")).await;
    let tasks = alive_tasks();
    let mut stranger = echo.tcp().await;
    stranger.write_all(bytes).await.expect("sent");
    match leaves {
        Leaves::Resets => {
            stranger.set_zero_linger().expect("an option");
            drop(stranger);
        }
        Leaves::Closes | Leaves::Never => {
            if matches!(leaves, Leaves::Closes) {
                stranger.shutdown().await.expect("closed");
            }
            let answer = Answer::read(&mut stranger).await;
            assert_eq!(answer.map(|answer| answer.status), status, "{context}");
        }
    }
    let mut honest = echo.connect().await.expect("open");
    echoes(&mut honest).await;
    honest.close(wireline::CloseCode::NORMAL, "").await.expect("closed");
    while alive_tasks() > tasks {
        tokio::task::yield_now().await;
    }
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// What was logged, by whoever shares it.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Frames in the segment of the request, and many more before the answer is read.
async fn early_data(ran: &mut Ran) {
    let echo = Echo::start(|server| server).await;
    for count in [1, 64, 1024] {
        let messages: Vec<String> = (0..count).map(|number| format!("{number:060}")).collect();
        let frames = messages.iter().flat_map(|message| masked(0x81, message.as_bytes()));
        let input: Vec<u8> = REQUEST.bytes().chain(frames).chain(masked(0x88, b"")).collect();
        let mut stream = echo.tcp().await;
        let (mut from, mut to) = stream.split();
        let mut output = Vec::new();
        let (written, read) = tokio::join!(to.write_all(&input), from.read_to_end(&mut output));
        written.and(read.map(drop)).expect("the whole exchange");
        let expected: Vec<u8> =
            messages.iter().flat_map(|message| [b"\x81\x3c", message.as_bytes()].concat()).chain(*b"\x88\0").collect();
        assert!(output.starts_with(b"HTTP/1.1 101 "), "{}", cited(&["H9"]));
        assert!(output.ends_with(&expected), "{}: {count} messages", cited(&["H9"]));
        let head = output.len() - expected.len();
        assert!(output[..head].ends_with(b"\r\n\r\n"), "{}: {count} messages", cited(&["H9"]));
    }
    ran.id("H9");
}

/// The deadline is the connection's and not that of a read.
async fn slow_request(ran: &mut Ran) {
    let echo = Echo::start(|server| server.config(short_deadline()).expect("valid")).await;
    let (mut from, mut to) = echo.tcp().await.into_split();
    let trickle = async {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        for byte in REQUEST.bytes() {
            interval.tick().await;
            if to.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    let (read, ()) = tokio::join!(from.read_to_end(&mut answer), trickle);
    assert!(
        read.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "),
        "{}: {answer:?}",
        cited(&["H1"])
    );
    ran.id("H1");
}

#[test]
fn accept_loop_waits_for_no_handshake() {
    soon(async {
        let echo = Echo::start(|server| server).await;
        let mut silent = Vec::new();
        for sent in [0, 1, 20, REQUEST.len() - 1] {
            let mut stream = echo.tcp().await;
            stream.write_all(&REQUEST.as_bytes()[..sent]).await.expect("sent");
            silent.push((stream, sent));
            echoes(&mut echo.connect().await.expect("open beside the silent ones")).await;
        }
        // And they are still welcome.
        for (mut stream, sent) in silent {
            stream.write_all(&REQUEST.as_bytes()[sent..]).await.expect("sent");
            assert_eq!(Answer::read(&mut stream).await.map(|answer| answer.status), Some(101), "4.1");
        }
    });
}

#[test]
fn at_max_handshakes_the_oldest_is_cut_and_honest_ones_succeed() {
    soon(async {
        let echo = Echo::start(|server| server.max_handshakes(2)).await;
        let mut slow = Vec::new();
        for _ in 0..5 {
            slow.push(echo.tcp().await);
            // Accepted in this order: each honest client behind it is answered later.
            echoes(&mut echo.connect().await.expect("open though all places are taken")).await;
        }
        // Each newcomer took the place of the oldest, so none of them is left but the last.
        let last = slow.pop().expect("five");
        for stream in slow {
            assert_eq!(rest(stream).await, b"", "4.2");
        }
        let mut last = last;
        last.write_all(REQUEST.as_bytes()).await.expect("sent");
        assert_eq!(Answer::read(&mut last).await.map(|answer| answer.status), Some(101), "4.2");
    });
}

#[test]
fn max_handshakes_of_0_is_1() {
    soon(async {
        let echo = Echo::start(|server| server.max_handshakes(0)).await;
        let silent = echo.tcp().await;
        echoes(&mut echo.connect().await.expect("open")).await;
        assert_eq!(rest(silent).await, b"", "4.25");
    });
}

#[test]
fn beyond_max_connections_requests_are_refused_with_503() {
    soon(async {
        for max in [0, 1, 3] {
            let echo = Echo::start(|server| server.max_connections(max)).await;
            let mut open = Vec::new();
            for _ in 0..max {
                let mut ws = echo.connect().await.expect("room");
                echoes(&mut ws).await;
                open.push(ws);
            }
            let mut refused = echo.tcp().await;
            refused.write_all(REQUEST.as_bytes()).await.expect("sent");
            refused.shutdown().await.expect("closed");
            let answer = Answer::read(&mut refused).await.expect("an answer");
            assert_eq!(answer.status, 503, "max_connections {max}");
            refusal(&answer, "max_connections", &format!("max_connections {max}"));
            // A request that is refused for another reason takes no place.
            let bad = REQUEST.replace("Version: 13", "Version: 8");
            let mut stream = echo.tcp().await;
            stream.write_all(bad.as_bytes()).await.expect("sent");
            stream.shutdown().await.expect("closed");
            assert_eq!(Answer::read(&mut stream).await.map(|answer| answer.status), Some(426), "max_connections {max}");
            // Those that are open are not disturbed, and each that leaves makes room.
            for ws in &mut open {
                echoes(ws).await;
            }
            if let Some(mut leaving) = open.pop() {
                leaving.close(wireline::CloseCode::NORMAL, "").await.expect("closed");
                let mut next = loop {
                    // Our end has seen the close before the server's task has given its place back.
                    match echo.connect().await {
                        Ok(ws) => break ws,
                        Err(Error::Handshake(_)) => tokio::task::yield_now().await,
                        Err(error) => panic!("max_connections {max}: {error:?}"),
                    }
                };
                echoes(&mut next).await;
            }
        }
    });
}

#[test]
fn server_stops_listening_when_dropped_and_its_connections_go_on() {
    soon(async {
        let echo = Echo::start(|server| server).await;
        let mut ws = echo.connect().await.expect("open");
        let url = format!("ws://{}", echo.address);
        drop(echo);
        echoes(&mut ws).await;
        let client = Client::new(url).expect("a URL");
        while client.connect().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}
