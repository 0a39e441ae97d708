//! A handler on a thread of its own, and a peer of which the test writes every byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread::JoinHandle,
    time::Duration,
};

use wireline::handler::{Builder, CloseCode, Error, Factory, Frame, Handler, Message, Result, Sender, Settings};
use wireline::proto::handshake::Key;

use super::frame;

/// How long anything may take that is not a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a peer is waited for that does not end its connection.
pub(super) const CLOSE: Duration = Duration::from_millis(200);

pub(super) type Log = mpsc::Sender<String>;

pub(super) fn log() -> (Log, Receiver<String>) {
    mpsc::channel()
}

/// The next lines.
pub(super) fn take(seen: &Receiver<String>, count: usize) -> Vec<String> {
    (0..count).map(|_| seen.recv_timeout(PATIENCE).expect("one more line")).collect()
}

/// Echoes, and logs data frames in and out, and errors.
pub(super) struct Logged {
    out: Sender,
    log: Log,
}

impl Logged {
    pub(super) fn echo(out: Sender, log: Log) -> Self {
        Self { out, log }
    }

    fn note(&self, line: String) {
        // A test that has seen enough is gone.
        let _ = self.log.send(line);
    }

    fn frame(&self, direction: &str, frame: &Frame) {
        let finished = if frame.is_final() { " final" } else { "" };
        let reserved = if frame.has_rsv1() || frame.has_rsv2() || frame.has_rsv3() { " reserved" } else { "" };
        self.note(format!("{direction} {}{finished}{reserved} {}", frame.opcode(), frame.payload().len()));
    }
}

impl Handler for Logged {
    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.out.send(msg)
    }

    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.frame("in", &frame);
        Ok(Some(frame))
    }

    fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        self.frame("out", &frame);
        Ok(Some(frame))
    }

    fn on_error(&mut self, err: Error) {
        self.note(format!("error {:?}", err.kind));
    }

    fn on_close(&mut self, _: CloseCode, _: &str) {}
}

/// A server on a thread; it ends with this.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) broadcaster: Sender,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn serve<F: Factory + Send + 'static>(settings: Settings, factory: F) -> Served {
    let settings = Settings { close_timeout: CLOSE, ..settings };
    let ws = Builder::new().with_settings(settings).build(factory).unwrap().bind("127.0.0.1:0").unwrap();
    let (address, broadcaster) = (ws.local_addr().unwrap(), ws.broadcaster());
    let thread = std::thread::spawn(move || drop(ws.run().unwrap()));
    Served { address, broadcaster, thread: Some(thread) }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.broadcaster.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking());
    }
}

/// A client on a thread, connected to a server that the test plays.
pub(super) fn dial<F: Factory + Send + 'static>(factory: F) -> (TcpListener, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
    let settings = Settings { close_timeout: CLOSE, ..Settings::default() };
    let mut ws = Builder::new().with_settings(settings).build(factory).unwrap();
    ws.connect(url).unwrap();
    (listener, std::thread::spawn(move || drop(ws.run().unwrap())))
}

/// The peer.
pub(super) struct Raw {
    stream: TcpStream,
    masked: bool,
}

impl Raw {
    /// A client that offers these extensions; and the head of the answer.
    pub(super) fn open(address: SocketAddr, offers: Option<&str>) -> (Self, String) {
        let mut raw = Self::new(TcpStream::connect(address).unwrap(), true);
        let offers = offers.map(|offers| format!("Sec-WebSocket-Extensions: {offers}\r\n")).unwrap_or_default();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offers}\r\n"
        );
        raw.stream.write_all(request.as_bytes()).unwrap();
        let head = raw.head();
        (raw, head)
    }

    /// A server that answers with these extensions; and the head of the request.
    pub(super) fn accept(listener: &TcpListener, answer: Option<&str>) -> (Self, String) {
        let mut raw = Self::new(listener.accept().unwrap().0, false);
        let request = raw.head();
        let key = line(&request, "Sec-WebSocket-Key").expect("a key");
        let accept = Key::parse(key.as_bytes()).unwrap().accept();
        let answer = answer.map(|answer| format!("Sec-WebSocket-Extensions: {answer}\r\n")).unwrap_or_default();
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{answer}\r\n"
        );
        raw.stream.write_all(response.as_bytes()).unwrap();
        (raw, request)
    }

    fn new(stream: TcpStream, masked: bool) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, masked }
    }

    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        String::from_utf8(head).unwrap()
    }

    /// One frame, with a masking-key of zeros from a client.
    pub(super) fn send(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = frame(first, payload);
        if self.masked {
            let at = bytes.len() - payload.len();
            bytes[1] |= 0x80;
            bytes.splice(at..at, [0; 4]);
        }
        // Whoever has failed takes no more.
        let _ = self.stream.write_all(&bytes);
    }

    /// The next frame: its first byte, and the payload without masking.
    pub(super) fn frame(&mut self) -> (u8, Vec<u8>) {
        let [first, second] = self.bytes();
        let len = match second & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.bytes())),
            127 => usize::try_from(u64::from_be_bytes(self.bytes())).unwrap(),
            len => usize::from(len),
        };
        let key: [u8; 4] = if second & 0x80 == 0 { [0; 4] } else { self.bytes() };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        (first, payload)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// The value of a header.
pub(super) fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}
