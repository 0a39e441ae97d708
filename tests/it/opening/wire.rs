//! Raw bytes to one of our ends, cut as the row wants, and what comes back.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    runtime::{Builder, Runtime},
};
use wireline::{Client, Error, Message, Result, WebSocket, server::Acceptor};

use super::KEY;
use crate::support::{
    alloc::{Meter, uncounted},
    row,
};

/// Room in each direction of an in-memory stream.
const ROOM: usize = 64 * 1024;

/// Each of the three deliveries, as the offsets where the bytes are cut: one write, one byte per write, and in two at
/// every offset. Beyond 4 KiB they go in writes of 1,500 bytes, and the last two cover what is around the line ends.
pub(super) fn deliveries(bytes: &[u8]) -> Vec<Vec<usize>> {
    let length = bytes.len();
    if length <= 4096 {
        return [vec![], (1..length).collect()].into_iter().chain((1..length).map(|cut| vec![cut])).collect();
    }
    let segments: Vec<usize> = (1500..length).step_by(1500).collect();
    let line_ends = bytes.iter().take(20 * 1024).enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let near: Vec<usize> = line_ends.take(12).flat_map(|at| at - 1..at + 3).filter(|cut| *cut < length).collect();
    let with = |more: &[usize]| {
        let mut cuts = [&*segments, more].concat();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    };
    [vec![], segments.clone(), with(&near)].into_iter().chain(near.iter().map(|cut| with(&[*cut]))).collect()
}

/// Writes `bytes` cut at `cuts`; the other end runs after each piece. Stops quietly when the other end has.
pub(super) async fn deliver(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], cuts: &[usize]) {
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        if stream.write_all(&bytes[from..to]).await.is_err() {
            return;
        }
        from = to;
        tokio::task::yield_now().await;
    }
}

/// A response as it stands on the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// All up to the empty line.
    pub(super) head: String,
    /// What follows; of a 101 only what came with it.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Reads until the end of the stream, or of the head where the status is 101.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            let ended = !matches!(stream.read_buf(&mut bytes).await, Ok(1..));
            match Self::parse(&bytes) {
                Some(answer) if ended || answer.status == 101 => return Some(answer),
                _ if ended => return None,
                _ => {}
            }
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in ASCII");
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().expect("a status");
        Some(Self { status, head, body: bytes[end + 4..].to_vec() })
    }

    /// The values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).map(|line| line.split_once(": ").expect("a header line"));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// What a server made of what it was sent.
#[derive(Debug)]
pub(super) struct Served {
    /// The open connection's request, subprotocol and first message; or why there is none.
    pub(super) accepted: Result<Accepted>,
    pub(super) answer: Option<Answer>,
    pub(super) read: Counts,
}

#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) request: Request<()>,
    pub(super) subprotocol: Option<String>,
    pub(super) message: Option<Message>,
}

/// Delivers `input` to a server and reads its answer; then the client goes away.
pub(super) async fn serve(acceptor: &Acceptor, input: &[u8], cuts: &[usize]) -> Served {
    let (near, mut far) = duplex(ROOM);
    let (near, counts) = Counted::new(near);
    let meter = Meter::start();
    let server = async {
        let (mut ws, request) = acceptor.accept(near).await?;
        let subprotocol = ws.subprotocol().map(str::to_owned);
        let message = ws.next().await.transpose().ok().flatten();
        Ok(Accepted { request, subprotocol, message })
    };
    let client = async move {
        deliver(&mut far, input, cuts).await;
        Answer::read(&mut far).await
    };
    let (accepted, answer) = tokio::join!(server, apart(client));
    within_bounds(meter, counts.get());
    Served { accepted, answer, read: counts.get() }
}

/// The oracle's bound on memory: twice what was received and 64 KiB, the pooled read buffer apart.
fn within_bounds(meter: Meter, read: Counts) {
    let bound = 2 * i64::try_from(read.bytes).expect("it was received") + 64 * 1024;
    assert!(meter.peak() <= bound, "o4: {} bytes of heap for {} received", meter.peak(), read.bytes);
}

/// The scripted peer, whose memory is not the library's.
async fn apart<T>(peer: impl Future<Output = T>) -> T {
    let mut peer = uncounted(|| Box::pin(peer));
    let result = poll_fn(|cx| uncounted(|| peer.as_mut().poll(cx))).await;
    uncounted(|| drop(peer));
    result
}

/// What a scripted server does behind its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Keeps the connection open and says nothing more.
    Hold,
    /// Ends its side.
    End,
}

/// What a client made of what it was answered.
#[derive(Debug)]
pub(super) struct Asked {
    /// The subprotocol and the first messages, as many as were asked for; or why there is no connection.
    pub(super) opened: Result<(Option<String>, Vec<Message>)>,
    pub(super) request: String,
    /// What the client sent behind its request.
    pub(super) sent: Vec<u8>,
    pub(super) read: Counts,
}

/// Answers a client with `response`, in which the place of [`ACCEPT`] is taken by the value that belongs to its key.
pub(super) async fn ask(client: &Client, response: &[u8], cuts: &[usize], then: Then, messages: usize) -> Asked {
    let (near, mut far) = duplex(ROOM);
    let (near, counts) = Counted::new(near);
    let meter = Meter::start();
    let client = async {
        let (mut ws, _) = client.connect_over(near).await?;
        let received = receive(&mut ws, messages).await;
        Ok((ws.subprotocol().map(str::to_owned), received))
    };
    let server = async move {
        let request = read_head(&mut far).await;
        deliver(&mut far, &with_accept(response, &request), cuts).await;
        if then == Then::End {
            let _ = far.shutdown().await;
        }
        let mut sent = Vec::new();
        let _ = far.read_to_end(&mut sent).await;
        (request, sent)
    };
    let (opened, (request, sent)) = tokio::join!(client, apart(server));
    within_bounds(meter, counts.get());
    Asked { opened, request, sent, read: counts.get() }
}

/// The next messages, at most `count`.
pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, count: usize) -> Vec<Message> {
    let mut received = Vec::new();
    while received.len() < count {
        match ws.next().await {
            Some(Ok(message)) => received.push(message),
            _ => break,
        }
    }
    received
}

/// Stands for the value of `Sec-WebSocket-Accept`, and is as long.
pub(super) const ACCEPT: &str = "<Sec-WebSocket-Accept value>";
/// Stands for that value in other case.
pub(super) const OTHER_CASE: &str = "<S-WebSocket-Accept changed>";
/// Stands for that value without its last character.
pub(super) const TRUNCATED: &str = "<S-WebSocket-Accept, short>";

/// `response` with the accept value for the key in `request`.
pub(super) fn with_accept(response: &[u8], request: &str) -> Vec<u8> {
    let key = request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.get(..24)).unwrap_or(KEY);
    let accept = wireline::proto::handshake::Key::parse(key.as_bytes()).expect("a key").accept();
    let other_case =
        |letter: char| if letter.is_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
    let changed: String = accept.chars().map(other_case).collect();
    let mut response = response.to_vec();
    // Only rows of thousands of lines are longer, and none of them opens.
    let begin = response.len().min(32 * 1024);
    for (place, value) in [(ACCEPT, &*accept), (OTHER_CASE, &*changed), (TRUNCATED, &accept[..27])] {
        while let Some(at) = response[..begin].windows(place.len()).position(|found| found == place.as_bytes()) {
            response[at..at + place.len()].copy_from_slice(value.as_bytes());
        }
    }
    response
}

/// Reads up to and with the empty line that ends a head.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("a head in ASCII")
}

/// The name of what went wrong, with what matters of its content.
pub(super) fn name(error: &Error) -> String {
    use wireline::proto::handshake::HandshakeError;
    match error {
        Error::Handshake(error) => match &**error {
            HandshakeError::Rejected(response) => {
                format!("Rejected {} {}", response.status().as_u16(), response.body().escape_ascii())
            }
            HandshakeError::Refused(refusal) => format!("Refused {}", refusal.status().as_u16()),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
        },
        Error::Network(error) => format!("Network {:?}", error.kind()),
        other => format!("{other:?}"),
    }
}

/// How much was asked of a transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bytes: usize,
    /// Of them, those read before anything was written.
    pub(super) before_answer: usize,
    pub(super) polls: usize,
}

/// A stream that counts what is read from it.
#[derive(Debug)]
pub(super) struct Counted {
    stream: DuplexStream,
    counts: Rc<Cell<Counts>>,
    wrote: bool,
}

impl Counted {
    fn new(stream: DuplexStream) -> (Self, Rc<Cell<Counts>>) {
        let counts = Rc::default();
        (Self { stream, counts: Rc::clone(&counts), wrote: false }, counts)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = uncounted(|| Pin::new(&mut self.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        let mut counts = self.counts.get();
        counts.bytes += read;
        counts.before_answer += if self.wrote { 0 } else { read };
        counts.polls += 1;
        self.counts.set(counts);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        uncounted(|| Pin::new(&mut self.stream).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub(super) fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    row::warm_up(&runtime);
    runtime
}

/// A runtime whose clock only moves when everything waits.
pub(super) fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}
