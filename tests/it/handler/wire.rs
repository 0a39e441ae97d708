//! Real sockets: a `WebSocket` in a thread of its own, and the other end in the test's hands, byte by byte.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread::JoinHandle,
};

use tokio::net::TcpSocket;
use url::Url;
use wireline::{
    Role,
    handler::{Result, Sender},
    proto::Frame,
};

use super::rig::{Log, PATIENCE, Spec};
use crate::scripted::{decode, encode};

/// How a `WebSocket` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    RunAsync,
    Serve,
}

pub(crate) const SERVERS: [Mode; 3] = [Mode::Run, Mode::RunAsync, Mode::Serve];
pub(crate) const CLIENTS: [Mode; 2] = [Mode::Run, Mode::RunAsync];

pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Accepted by every client that does not check the key.
pub(crate) const RESPONSE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// A `WebSocket` that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) ws: Sender,
    pub(crate) log: Log,
    thread: JoinHandle<Result<()>>,
}

impl Spec {
    /// Listens on a free port.
    pub(crate) fn serve(&self, mode: Mode) -> Running {
        let (to, from) = mpsc::channel();
        let spec = self.clone();
        let thread = std::thread::spawn(move || {
            let ws = spec.websocket();
            let broadcaster = ws.broadcaster();
            if mode == Mode::Serve {
                return runtime().block_on(async {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                    to.send((listener.local_addr()?, broadcaster)).unwrap();
                    ws.serve(listener).await.map(drop)
                });
            }
            let ws = ws.bind("127.0.0.1:0")?;
            to.send((ws.local_addr()?, broadcaster)).unwrap();
            match mode {
                Mode::Run => ws.run().map(drop),
                _ => runtime().block_on(ws.run_async()).map(drop),
            }
        });
        let (address, ws) = from.recv().expect("it listens");
        Running { address, ws, log: self.log.clone(), thread }
    }

    /// Connects to these URLs.
    pub(crate) fn connect(&self, mode: Mode, urls: &[String]) -> Running {
        let (to, from) = mpsc::channel();
        let urls: Vec<Url> = urls.iter().map(|url| Url::parse(url).expect("a URL")).collect();
        let spec = self.clone();
        let thread = std::thread::spawn(move || {
            let mut ws = spec.websocket();
            to.send(ws.broadcaster()).unwrap();
            for url in urls {
                ws.connect(url)?;
            }
            match mode {
                Mode::Run => ws.run().map(drop),
                _ => runtime().block_on(ws.run_async()).map(drop),
            }
        });
        let ws = from.recv().expect("it was made");
        Running { address: ([0, 0, 0, 0], 0).into(), ws, log: self.log.clone(), thread }
    }
}

impl Running {
    /// Shuts it down, and awaits the end.
    pub(crate) fn shut_down(self) -> Vec<String> {
        self.ws.shutdown().unwrap();
        self.ended()
    }

    /// Awaits the end: the callbacks but for the frame hooks.
    pub(crate) fn ended(self) -> Vec<String> {
        self.thread.join().expect("no panic").expect("it ran");
        self.log.callbacks()
    }

    /// What its thread panicked with.
    pub(crate) fn panicked(self) -> String {
        let panic = self.thread.join().expect_err("a panic");
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).expect("a text")
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The other end of a connection of this role.
pub(crate) struct Raw {
    role: Role,
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
    whole: VecDeque<Frame>,
}

impl Raw {
    fn new(role: Role, stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { role, stream, input: Vec::new(), whole: VecDeque::new() }
    }

    /// A client of this server, which has said nothing yet.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        Self::new(Role::Server, TcpStream::connect(address).unwrap())
    }

    /// A client whose connection is open.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut raw = Self::dial(address);
        raw.write(REQUEST);
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// The server of the next client.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        Self::new(Role::Client, listener.accept().unwrap().0)
    }

    /// A server whose connection is open.
    pub(crate) fn welcome(listener: &TcpListener) -> Self {
        let mut raw = Self::accept(listener);
        raw.head();
        raw.write(RESPONSE);
        raw
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn send(&mut self, frames: impl IntoIterator<Item = Frame>) {
        self.write(encode(self.role, frames));
    }

    /// Reads up to and with the empty line that ends a head.
    pub(crate) fn head(&mut self) -> String {
        let mut from = 0;
        loop {
            if let Some(end) = self.input[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.input.split_off(from + end + 4);
                let head = std::mem::replace(&mut self.input, rest);
                return String::from_utf8(head).unwrap();
            }
            from = self.input.len().saturating_sub(3);
            assert!(self.read(), "the head ends, and not after {} bytes", self.input.len());
        }
    }

    fn read(&mut self) -> bool {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(read) => {
                self.input.extend(&piece[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("reading: {error}"),
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole.pop_front() {
                return Some(frame);
            }
            let (frames, unfinished) = decode(self.role, &self.input);
            self.input.drain(..self.input.len() - unfinished);
            self.whole = frames.into();
            if self.whole.is_empty() && !self.read() {
                return None;
            }
        }
    }

    /// All that still comes.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        while self.read() {}
        self.input
    }

    /// All frames that still come, up to the end of the stream.
    pub(crate) fn frames(mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.frame()).collect()
    }

    /// Ends this side.
    pub(crate) fn end(&self) {
        // The other end may have gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

pub(crate) fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// A port that refuses connections for as long as this lives: it is taken, and nobody listens.
pub(crate) struct Refused {
    pub(crate) url: String,
    _socket: TcpSocket,
}

impl Refused {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self { url: format!("ws://{}/", socket.local_addr().unwrap()), _socket: socket }
    }
}
