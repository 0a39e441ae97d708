//! A transport in memory that does exactly what a test says, and a record of what was done to it.
//!
//! [`Scripted`] goes under a `WebSocket`; the test keeps the [`Control`]. Everything but the WebSocket itself is in the
//! test's hands: the bytes that arrive, how many each call takes, when a call is Pending, how the transport fails.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_util::codec::{Decoder, Encoder};
use wireline::{
    CloseCode, CloseFrame, Config, Role, WebSocket,
    proto::{Frame, FrameCodec, Mask, Opcode},
};

pub(crate) const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What was done to the transport, reads that found bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write(usize),
    Flush,
    /// A read that found the peer's end.
    End,
    Shutdown,
    Drop,
}

/// How calls go, one step each, over and over: `None` is Pending with a wake-up, a number is how many bytes at most.
#[derive(Debug)]
pub(crate) struct Pace {
    steps: Vec<Option<usize>>,
    at: usize,
}

impl Pace {
    pub(crate) fn new(steps: impl Into<Vec<Option<usize>>>) -> Self {
        Self { steps: steps.into(), at: 0 }
    }

    /// Whatever there is, at once.
    pub(crate) fn free() -> Self {
        Self::new([Some(usize::MAX)])
    }

    /// Pending before each byte.
    pub(crate) fn bytewise() -> Self {
        Self::new([None, Some(1)])
    }

    fn step(&mut self, cx: &Context<'_>) -> Poll<usize> {
        let step = self.steps[self.at % self.steps.len()];
        self.at += 1;
        match step {
            Some(bytes) => Poll::Ready(bytes),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Whether a call is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Pending until it is opened.
    Shut,
}

#[derive(Clone, Copy, Debug)]
enum InputEnd {
    Eof,
    Error(io::ErrorKind),
}

#[derive(Debug)]
struct State {
    input: VecDeque<u8>,
    endless: Option<Vec<u8>>,
    input_end: Option<InputEnd>,
    output: Vec<u8>,
    room: usize,
    write_error: Option<io::ErrorKind>,
    flush: Gate,
    shutdown: Gate,
    vectored: bool,
    reads: Pace,
    writes: Pace,
    flushes: Pace,
    wakers: Vec<Waker>,
    log: Vec<Op>,
    shut: bool,
    /// The transport at the other end, if this is one of a pair.
    peer: Option<Control>,
}

/// The transport.
#[derive(Debug)]
pub(crate) struct Scripted(Control);

/// The test's hand on it.
#[derive(Clone, Debug)]
pub(crate) struct Control(Arc<Mutex<State>>);

impl Scripted {
    /// A transport that takes everything and has nothing to read yet.
    pub(crate) fn new() -> (Self, Control) {
        let control = Control(Arc::new(Mutex::new(State {
            input: VecDeque::new(),
            endless: None,
            input_end: None,
            output: Vec::new(),
            room: usize::MAX,
            write_error: None,
            flush: Gate::Open,
            shutdown: Gate::Open,
            vectored: true,
            reads: Pace::free(),
            writes: Pace::free(),
            flushes: Pace::free(),
            wakers: Vec::new(),
            log: Vec::new(),
            shut: false,
            peer: None,
        })));
        (Self(control.clone()), control)
    }

    /// Two transports, each reading what the other was given.
    pub(crate) fn pair() -> [(Self, Control); 2] {
        let ends = [Self::new(), Self::new()];
        for (at, (_, control)) in ends.iter().enumerate() {
            control.state().peer = Some(ends[1 - at].1.clone());
        }
        ends
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// These bytes arrive.
    pub(crate) fn arrive(&self, bytes: impl AsRef<[u8]>) {
        self.change(|state| state.input.extend(bytes.as_ref()));
    }

    /// These bytes arrive, over and over.
    pub(crate) fn arrive_for_ever(&self, bytes: impl Into<Vec<u8>>) {
        self.change(|state| state.endless = Some(bytes.into()));
    }

    /// The peer ends its side behind what has arrived.
    pub(crate) fn end(&self) {
        self.change(|state| state.input_end = Some(InputEnd::Eof));
    }

    /// Reading fails behind what has arrived.
    pub(crate) fn fail_reads(&self, kind: io::ErrorKind) {
        self.change(|state| state.input_end = Some(InputEnd::Error(kind)));
    }

    pub(crate) fn fail_writes(&self, kind: io::ErrorKind) {
        self.change(|state| state.write_error = Some(kind));
    }

    /// How many more bytes are taken.
    pub(crate) fn room(&self, bytes: usize) {
        self.change(|state| state.room = bytes);
    }

    pub(crate) fn flushing(&self, gate: Gate) {
        self.change(|state| state.flush = gate);
    }

    pub(crate) fn shutting_down(&self, gate: Gate) {
        self.change(|state| state.shutdown = gate);
    }

    pub(crate) fn vectored(&self, vectored: bool) {
        self.change(|state| state.vectored = vectored);
    }

    pub(crate) fn pace(&self, reads: Pace, writes: Pace, flushes: Pace) {
        self.change(|state| {
            state.reads = reads;
            state.writes = writes;
            state.flushes = flushes;
        });
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        self.state().output.clone()
    }

    /// Bytes that have arrived and were not read.
    pub(crate) fn unread(&self) -> usize {
        self.state().input.len()
    }

    pub(crate) fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    pub(crate) fn count(&self, counts: impl Fn(&Op) -> bool) -> usize {
        self.state().log.iter().filter(|op| counts(op)).count()
    }

    pub(crate) fn writes(&self) -> usize {
        self.count(|op| matches!(op, Op::Write(_)))
    }
}

impl Scripted {
    fn write(&self, cx: &Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (taken, peer) = {
            let mut state = self.0.state();
            if let Some(kind) = state.write_error {
                return Poll::Ready(Err(kind.into()));
            }
            if state.shut {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = std::task::ready!(state.writes.step(cx)).min(state.room);
            let mut taken = Vec::new();
            for buf in bufs {
                taken.extend(&buf[..buf.len().min(room - taken.len())]);
            }
            if taken.is_empty() && bufs.iter().any(|buf| !buf.is_empty()) {
                state.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            state.room -= taken.len();
            state.output.extend(&taken);
            state.log.push(Op::Write(taken.len()));
            (taken, state.peer.clone())
        };
        if let Some(peer) = peer {
            peer.arrive(&taken);
        }
        Poll::Ready(Ok(taken.len()))
    }
}

impl AsyncRead for Scripted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        let at_most = std::task::ready!(state.reads.step(cx)).min(buf.remaining());
        if state.input.is_empty()
            && let Some(endless) = state.endless.clone()
        {
            state.input.extend(&endless);
        }
        if !state.input.is_empty() {
            let bytes = state.input.make_contiguous();
            let len = at_most.min(bytes.len());
            buf.put_slice(&bytes[..len]);
            state.input.drain(..len);
            return Poll::Ready(Ok(()));
        }
        match state.input_end {
            Some(InputEnd::Eof) => {
                state.log.push(Op::End);
                Poll::Ready(Ok(()))
            }
            Some(InputEnd::Error(kind)) => Poll::Ready(Err(kind.into())),
            None => {
                state.wakers.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.state().vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        std::task::ready!(state.flushes.step(cx));
        if state.flush == Gate::Shut {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        state.log.push(Op::Flush);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let peer = {
            let mut state = self.0.state();
            if state.shutdown == Gate::Shut {
                state.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            if !std::mem::replace(&mut state.shut, true) {
                state.log.push(Op::Shutdown);
            }
            state.peer.clone()
        };
        if let Some(peer) = peer {
            peer.end();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let peer = {
            let mut state = self.0.state();
            state.log.push(Op::Drop);
            state.peer.take()
        };
        if let Some(peer) = peer {
            peer.end();
        }
    }
}

/// An open connection over a scripted transport.
pub(crate) fn open(role: Role, config: Config) -> (WebSocket<Scripted>, Control) {
    let (transport, control) = Scripted::new();
    (WebSocket::after_handshake(transport, role, config).unwrap(), control)
}

/// A configuration without keepalive.
pub(crate) fn quiet() -> Config {
    let mut config = Config::default();
    config.timings.ping_after = None;
    config
}

/// What a peer of `role` puts on the wire.
pub(crate) fn encode(role: Role, frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut codec = codec(role.peer());
    let mut bytes = BytesMut::new();
    for frame in frames {
        codec.encode(frame, &mut bytes).unwrap();
    }
    bytes.to_vec()
}

/// The frames that `role` wrote, and how many bytes of an unfinished one follow.
pub(crate) fn decode(role: Role, bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut codec = codec(role.peer());
    let mut left = BytesMut::from(bytes);
    let mut frames = Vec::new();
    let mut whole = 0;
    while let Some(frame) = codec.decode(&mut left).expect("only valid frames are written") {
        whole = bytes.len() - left.len();
        frames.push(frame);
    }
    (frames, bytes.len() - whole)
}

/// The frames that `role` wrote, which must be whole.
pub(crate) fn frames(role: Role, bytes: &[u8]) -> Vec<Frame> {
    let (frames, unfinished) = decode(role, bytes);
    assert_eq!(unfinished, 0, "{role:?} left an unfinished frame behind {frames:?}");
    frames
}

fn codec(role: Role) -> FrameCodec {
    match role {
        Role::Client => FrameCodec::client(|| Mask::new([0x37, 0xfa, 0x21, 0x3d])),
        Role::Server => FrameCodec::server(),
    }
}

pub(crate) fn text(text: impl Into<String>) -> Frame {
    Frame::new(Opcode::Text, text.into())
}

pub(crate) fn ping(payload: &'static str) -> Frame {
    Frame::new(Opcode::Ping, payload)
}

pub(crate) fn pong(payload: &'static str) -> Frame {
    Frame::new(Opcode::Pong, payload)
}

/// A Close frame with a code and a reason.
pub(crate) fn close(code: u16, reason: &str) -> Frame {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    Frame::new(Opcode::Close, payload)
}

pub(crate) fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame::new(CloseCode::try_from(code).unwrap(), reason).unwrap()
}

/// Polls at most so many times, then drops the future.
pub(crate) async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
    }
    None
}

/// Lets every other task of a current-thread runtime run until all of them wait.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Tokio's clock, which these tests pause.
#[expect(clippy::disallowed_methods, reason = "reads the paused clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds of the paused clock since `start`; tokio's timers are a few milliseconds late.
pub(crate) fn seconds(start: Instant) -> f64 {
    let elapsed = (now() - start).saturating_sub(Duration::from_millis(5));
    (elapsed.as_secs_f64() * 100.0).ceil() / 100.0
}

/// Runs a table's rows in a runtime of their own, with the clock paused.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}
