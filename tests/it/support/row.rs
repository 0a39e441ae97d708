//! The rows of the hostile-input tables and the oracle that judges every one of them:
//!
//! - o1: nothing panics;
//! - o2: the application gets the messages that were complete before the bad byte, in order, once; then one last `Err` or
//!   `None`, then `None` for ever;
//! - o3: the wire shows the echoes, at most one Close with the listed code behind them, the end of the stream, and nothing
//!   after it;
//! - o4: the heap never exceeds twice the bytes received so far and 64 KiB;
//! - o5: polls and reads are linear in what was received, and nothing is polled unless something happened.

use std::{
    any::Any,
    cell::Cell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use futures_util::Sink;
use wireline::{
    Cause, Config, Error, Message, Role, WebSocket,
    proto::{Excess, Fault, Frame, Opcode, Violation},
};

use super::{
    alloc::uncounted,
    peer::{After, Peer, Shutdown},
    script::{Delivery, Keys, LONG, Part, Script, ZONE, hex},
    suite::Ran,
};

/// The application echoes messages of at most this many bytes.
const ECHOED: usize = 1024;

/// What one row's split deliveries of one role and one way of masking may cost, in bytes delivered and, for each frame,
/// [`FRAME_COST`] bytes more. Above it the splits are sampled evenly.
const SPLIT_BUDGET: u64 = 6 * 1024 * 1024;
const FRAME_COST: u64 = 128;

const BOTH: &[Role] = &[Role::Server, Role::Client];

/// A message the row expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Text(String),
    Binary(Vec<u8>),
    /// This many equal bytes, as text or not.
    Filled(Kind, u8, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Want {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn is(&self, message: &Message) -> bool {
        match self {
            Self::Text(text) => message.as_text() == Some(text),
            Self::Binary(bytes) => !message.is_text() && message.as_bytes() == bytes,
            Self::Filled(kind, byte, len) => {
                let block = [*byte; 1024];
                message.is_text() == (*kind == Kind::Text)
                    && message.len() as u64 == *len
                    && message.as_bytes().chunks(1024).all(|piece| *piece == block[..piece.len()])
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Binary(bytes) => bytes.len() as u64,
            Self::Filled(_, _, len) => *len,
        }
    }

    fn echo(&self) -> Option<(Opcode, &[u8])> {
        match self {
            Self::Text(text) if text.len() <= ECHOED => Some((Opcode::Text, text.as_bytes())),
            Self::Binary(bytes) if bytes.len() <= ECHOED => Some((Opcode::Binary, bytes)),
            _ => None,
        }
    }
}

/// How the connection ends.
#[derive(Clone, Debug)]
enum End {
    /// The script says nothing of it: the peer then closes with 1000.
    Open,
    /// Our fault handling: this fault, once this byte of this frame has been read.
    Fault { fault: Fault, part: usize, number: u64, byte: u64 },
    /// The peer's Close frame in the script, answered with this payload; code as the application sees it.
    Closed { answer: Vec<u8>, code: u16 },
    /// The transport ends without a Close frame.
    Lost,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    id: &'static str,
    advisory: &'static str,
    config: Config,
    /// What the peer offers or answers in the opening handshake; without it there is none.
    extensions: Option<(&'static str, &'static str)>,
    roles: &'static [Role],
    script: Script,
    want: Vec<Want>,
    pongs: Vec<Vec<u8>>,
    pongs_first: bool,
    end: End,
    deliveries: Option<&'static [Delivery]>,
    masks: Option<&'static [Keys]>,
    heap: Option<i64>,
    once: bool,
}

impl Row {
    /// A row whose frames are written as in the table.
    pub(crate) fn new(id: &'static str, advisory: &'static str, frames: &str) -> Self {
        Self {
            id,
            advisory,
            config: Config::default(),
            extensions: None,
            roles: BOTH,
            script: Script::frames(frames),
            want: Vec::new(),
            pongs: Vec::new(),
            pongs_first: false,
            end: End::Open,
            deliveries: None,
            masks: None,
            heap: None,
            once: false,
        }
    }

    /// Bytes that are sent as they are, to this role only.
    pub(crate) fn literal(id: &'static str, advisory: &'static str, roles: &'static [Role], bytes: &str) -> Self {
        let script = Script::default().then(Part::Literal(hex(bytes)));
        Self { roles, script, masks: Some(&[Keys::None]), ..Self::new(id, advisory, "") }
    }

    pub(crate) fn config(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.config);
        self
    }

    /// The connection opens with a handshake, in which a client offers the one value of `Sec-WebSocket-Extensions` and a
    /// server answers the other.
    #[cfg(feature = "deflate")]
    pub(crate) fn extensions(self, offer: &'static str, answer: &'static str) -> Self {
        Self { extensions: Some((offer, answer)), ..self }
    }

    pub(crate) fn then(self, part: Part) -> Self {
        Self { script: self.script.then(part), ..self }
    }

    /// A frame of this header and that many equal bytes.
    pub(crate) fn then_filled(self, header: &str, byte: u8, len: u64) -> Self {
        self.then(Part::Filled(hex(header), byte, len))
    }

    pub(crate) fn then_frame(self, frame: &str) -> Self {
        self.then_repeated(frame, 1)
    }

    pub(crate) fn then_repeated(self, frame: &str, count: u64) -> Self {
        self.then(Part::Frame(hex(frame), count))
    }

    /// These messages arrive.
    pub(crate) fn delivers(self, want: impl IntoIterator<Item = Want>) -> Self {
        Self { want: want.into_iter().collect(), ..self }
    }

    /// These Pings are answered; where several arrive together, the last one.
    pub(crate) fn pongs<const N: usize>(self, pongs: [&[u8]; N]) -> Self {
        Self { pongs: pongs.map(<[u8]>::to_vec).to_vec(), ..self }
    }

    /// The Pong goes out before any echo.
    pub(crate) fn pong_comes_first(self) -> Self {
        Self { pongs_first: true, ..self }
    }

    /// The connection fails once byte `byte` of the last frame is there, counted from 1 and without masking-key.
    pub(crate) fn fails(self, byte: u64, fault: impl Into<Fault>) -> Self {
        let part = self.script.last();
        let number = self.script.count(part) - 1;
        self.fails_at(number, byte, fault)
    }

    /// The same for the frame of this number, counted from 0, of the last part.
    pub(crate) fn fails_at(self, number: u64, byte: u64, fault: impl Into<Fault>) -> Self {
        let part = self.script.last();
        Self { end: End::Fault { fault: fault.into(), part, number, byte }, ..self }
    }

    /// The same once this many payload bytes are there, over all frames of the script.
    pub(crate) fn fails_in_payload(self, mut bytes: usize, fault: impl Into<Fault>) -> Self {
        let mut part = 0;
        while let Part::Frame(frame, 1) = self.script.part(part) {
            let here = frame.len() - 2;
            if bytes <= here || part == self.script.last() {
                break;
            }
            bytes -= here;
            part += 1;
        }
        let byte = 2 + bytes as u64;
        Self { end: End::Fault { fault: fault.into(), part, number: 0, byte }, ..self }
    }

    /// The script holds the peer's Close frame; it is answered with this payload.
    pub(crate) fn closes(self, answer: &str, code: u16) -> Self {
        Self { end: End::Closed { answer: hex(answer), code }, ..self }
    }

    /// The transport ends after the script, without a Close frame.
    pub(crate) fn loses_the_transport(self) -> Self {
        Self { end: End::Lost, ..self }
    }

    pub(crate) fn delivered(self, deliveries: &'static [Delivery]) -> Self {
        Self { deliveries: Some(deliveries), ..self }
    }

    /// For rows that are long: masked in the first way only, and split once.
    pub(crate) fn masked_once(self) -> Self {
        Self { once: true, ..self }
    }

    /// The heap stays at or below this many bytes, whatever was received.
    pub(crate) fn heap_within(self, bytes: i64) -> Self {
        Self { heap: Some(bytes), ..self }
    }

    fn failure_offset(&self, keys: Keys) -> Option<u64> {
        match &self.end {
            End::Fault { fault, part, number, byte } => {
                // Rules are judged on their byte, limits on the whole header, whose end is the masking-key.
                let key = if matches!(fault, Fault::Excess(_)) && keys != Keys::None { 4 } else { 0 };
                Some(self.script.offset(*part, *number, *byte, keys) + key)
            }
            End::Open | End::Closed { .. } | End::Lost => None,
        }
    }

    fn deliveries(&self, script: &Script, keys: Keys) -> Vec<Delivery> {
        if let Some(deliveries) = self.deliveries {
            return deliveries.to_vec();
        }
        let len = script.len(keys);
        let read = self.failure_offset(keys).unwrap_or(len);
        let cost = read + FRAME_COST * script.frame_count().min(read / 2);
        let affordable = (SPLIT_BUDGET / cost.max(1)).max(1);
        let splits = if len <= LONG { len.saturating_sub(1) } else { ZONE };
        let step = splits.div_ceil(affordable).max(1);
        let split = |at: u64| if len <= LONG { Delivery::SplitAt(at + 1) } else { Delivery::Staggered(at) };
        let splits = (0..splits).step_by(usize::try_from(step).expect("small")).map(split);
        [Delivery::Whole, Delivery::Bytewise].into_iter().chain(splits).collect()
    }

    /// Runs every case of the row: each role, each way of masking, each delivery.
    fn problems(&self, runtime: &tokio::runtime::Runtime) -> Vec<String> {
        let mut problems = Vec::new();
        for &role in self.roles {
            let masks = self.masks.unwrap_or(Keys::for_role(role));
            for &keys in if self.once { &masks[..1] } else { masks } {
                let (script, after) = match self.end {
                    End::Open => (self.script.clone().then(Part::Frame(hex("88 02 03 E8"), 1)), After::EndOnClose),
                    End::Fault { .. } | End::Closed { .. } => (self.script.clone(), After::EndOnClose),
                    End::Lost => (self.script.clone(), After::End),
                };
                let endless = script.len(keys) == u64::MAX;
                let mut cases: Vec<_> =
                    self.deliveries(&script, keys).into_iter().map(|delivery| (delivery, script.clone())).collect();
                if matches!(self.end, End::Fault { .. } | End::Closed { .. }) && script.len(keys) <= LONG {
                    // RFC 6455 §7.1.7 and §5.5.1: whatever follows is ignored.
                    let tail = ["81 01 78", "89 00", "88 02 03 EA"].map(|frame| Part::Frame(hex(frame), 1));
                    let script = tail.into_iter().fold(script, Script::then);
                    cases.extend([(Delivery::Whole, script.clone()), (Delivery::Bytewise, script)]);
                }
                for (delivery, script) in cases {
                    // A peer that goes on sending once we have closed is drained; in one delivery that is enough.
                    let after = if endless && delivery != Delivery::Whole { After::StopOnClose } else { after };
                    let case = Case { row: self, role, keys, delivery, script, after };
                    let found = catch_unwind(AssertUnwindSafe(|| runtime.block_on(case.run())))
                        .unwrap_or_else(|panic| vec![format!("panic: {}", text_of(&panic))]);
                    let label = format!("{} ({}) as {role:?}, {delivery:?}, keys {keys:?}", self.id, self.advisory);
                    problems.extend(found.into_iter().map(|problem| format!("{label}: {problem}")));
                }
            }
        }
        problems
    }
}

/// Runs rows and registers their ids; fails with all problems at once.
pub(crate) fn run(rows: &[Row], ran: &mut Ran) {
    let runtime = runtime();
    let mut problems = Vec::new();
    warm_up(&runtime);
    for row in rows {
        let found = row.problems(&runtime);
        if found.is_empty() {
            ran.id(row.id);
        }
        // The first few of a row say enough.
        problems.extend(found.into_iter().take(3));
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// A current-thread runtime whose clock stands still and jumps when everything waits.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// Fills this thread's pools, so that no row pays for them.
pub(crate) fn warm_up(runtime: &tokio::runtime::Runtime) {
    for role in [Role::Server, Role::Client] {
        let keys = Keys::for_role(role)[0];
        let script = Script::frames("89 01 61 ; 81 01 61 ; 88 00").source(keys, Delivery::Bytewise);
        runtime.block_on(async {
            let mut ws = WebSocket::after_handshake(Peer::new(script, After::EndOnClose), role, Config::default())
                .expect("a configuration that works");
            while let Some(Ok(message)) = ws.next().await {
                let _ = ws.send(message).await;
            }
        });
    }
}

fn text_of(panic: &Box<dyn Any + Send>) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("not a text")
}

/// Counts how often a future is polled.
pub(crate) async fn counted<F: Future>(polls: &Cell<u64>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

struct Case<'a> {
    row: &'a Row,
    role: Role,
    keys: Keys,
    delivery: Delivery,
    script: Script,
    after: After,
}

impl Case<'_> {
    async fn run(&self) -> Vec<String> {
        let peer = Peer::new(uncounted(|| self.script.source(self.keys, self.delivery)), self.after);
        let mut ws = self.open(&peer).await.expect("a configuration and a handshake that work");
        peer.measure();
        let polls = Cell::new(0);
        let mut problems = uncounted(Vec::new);
        let error = counted(&polls, self.application(&mut ws, &mut problems)).await;
        self.judge_end(error.as_ref(), &ws, &mut problems);
        self.judge_wire(&peer, &mut problems);
        self.judge_work(&peer, polls.get(), &mut problems);
        after_the_end(&mut ws, &mut problems).await;
        let late = peer.state().late_writes;
        if late > 0 {
            problems.push(format!("o3: {late} writes after the end of the stream"));
        }
        problems
    }

    async fn open(&self, peer: &Peer) -> wireline::Result<WebSocket<Peer>> {
        let config = self.row.config.clone();
        match (self.row.extensions, self.role) {
            (None, _) => WebSocket::after_handshake(peer.clone(), self.role, config),
            (Some((offer, _)), Role::Server) => peer.open(self.role, config, &[offer]).await,
            (Some((_, answer)), Role::Client) => peer.open(self.role, config, &[answer]).await,
        }
    }

    /// What was compressed counts after inflation.
    fn inflated(&self) -> i64 {
        let delivered = i64::try_from(2 * self.row.want.iter().map(Want::len).sum::<u64>()).unwrap_or(i64::MAX);
        if self.row.extensions.is_some() { delivered + self.row.heap.unwrap_or(0) } else { 0 }
    }

    /// Takes the messages, echoes the small ones, and says how it ended (o2).
    async fn application(&self, ws: &mut WebSocket<Peer>, problems: &mut Vec<String>) -> Option<Error> {
        let mut want = self.row.want.iter();
        let error = loop {
            match ws.next().await {
                Some(Ok(message)) => {
                    uncounted(|| match want.next() {
                        Some(want) if want.is(&message) => {}
                        want => problems.push(format!("o2: {} arrived instead of {want:?}", short(&message))),
                    });
                    if message.len() <= ECHOED
                        && let Err(error) = ws.feed(message).await
                    {
                        uncounted(|| problems.push(format!("o2: a message cannot be echoed: {error}")));
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        uncounted(|| {
            let missing: Vec<_> = want.collect();
            if !missing.is_empty() {
                problems.push(format!("o2: {missing:?} did not arrive"));
            }
        });
        error
    }

    fn judge_end(&self, error: Option<&Error>, ws: &WebSocket<Peer>, problems: &mut Vec<String>) {
        let cause = ws.ending().map(wireline::Ending::cause);
        let code = ws.ending().map(wireline::Ending::code);
        let right = match (&self.row.end, error) {
            (End::Fault { fault: Fault::Violation(violation), .. }, Some(Error::Peer(found))) => {
                violation == found && cause == Some(Cause::Fault((*violation).into()))
            }
            (End::Fault { fault: Fault::Excess(excess), .. }, Some(Error::Limit(found))) => {
                excess == found && cause == Some(Cause::Fault((*excess).into()))
            }
            (End::Closed { code: expected, .. }, None) => cause == Some(Cause::Clean) && code == Some(*expected),
            (End::Open, None) => cause == Some(Cause::Clean) && code == Some(1000),
            (End::Lost, Some(Error::Network(_))) => cause == Some(Cause::Lost) && code == Some(1006),
            _ => false,
        };
        if !right {
            let expected = &self.row.end;
            problems.push(format!("o2: ended with {error:?}, {cause:?}, code {code:?} instead of {expected:?}"));
        }
    }

    fn judge_wire(&self, peer: &Peer, problems: &mut Vec<String>) {
        let frames = match peer.frames(self.role) {
            Ok(frames) => frames,
            Err(error) => return problems.push(format!("o3: {error}")),
        };
        let answer = match &self.row.end {
            End::Open => Some(hex("03 E8")),
            End::Closed { answer, .. } => Some(answer.clone()),
            End::Fault { fault, .. } => Some(fault.close_code().get().to_be_bytes().to_vec()),
            End::Lost => None,
        };
        let (pongs, others): (Vec<_>, Vec<_>) = frames.iter().partition(|frame| frame.opcode == Opcode::Pong);
        let echoes = self.row.want.iter().filter_map(Want::echo);
        let expected: Vec<_> = echoes.chain(answer.iter().map(|answer| (Opcode::Close, answer.as_slice()))).collect();
        let found: Vec<_> = others.iter().map(|frame| (frame.opcode, &frame.payload[..])).collect();
        if found != expected {
            problems.push(format!("o3: the wire shows {} instead of {expected:?}", shorter(&frames)));
        }
        let mut asked = self.row.pongs.iter();
        if !pongs.iter().all(|pong| asked.any(|asked| pong.payload == *asked)) {
            problems.push(format!("o3: Pongs that nobody asked for: {pongs:?}"));
        }
        // What arrives together with the peer's Close need not be answered any more.
        let waits = self.delivery == Delivery::Bytewise && matches!(self.row.end, End::Open);
        if waits && pongs.last().map(|pong| &pong.payload[..]) != self.row.pongs.last().map(Vec::as_slice) {
            problems.push("o3: the last Ping was not answered".into());
        }
        if self.row.pongs_first && frames.first().map(|frame| frame.opcode) != Some(Opcode::Pong) {
            problems.push(format!("o3: the Pong is not the first frame: {}", shorter(&frames)));
        }
        let state = peer.state();
        if state.shutdown != Shutdown::Yes {
            problems.push("o3: the stream was not ended".into());
        }
        // With everything in one read the connection has read ahead; else it stops at the bad byte.
        let limit = self.row.failure_offset(self.keys).filter(|_| self.delivery == Delivery::Bytewise);
        if let (Some(limit), Some(at)) = (limit, state.close_at)
            && at > limit
        {
            problems.push(format!("o3: failed after {at} bytes, and byte {limit} was wrong"));
        }
    }

    fn judge_work(&self, peer: &Peer, polls: u64, problems: &mut Vec<String>) {
        let state = peer.state();
        if let Some(at) = self.row.failure_offset(self.keys) {
            let drained = state.received.saturating_sub(at);
            if drained > u64::from(self.row.config.limits.max_drain) + 128 * 1024 {
                problems.push(format!("o5: {drained} bytes were read after the failure"));
            }
        }
        // A poll for each wait, and one for each 128 frames, which are 256 bytes at least.
        let bound = state.waits + state.received / 256 + 16;
        if polls > bound {
            problems.push(format!("o5: {polls} polls for {} bytes and {} waits", state.received, state.waits));
        }
        let bound = 2 * state.waits + state.received / 256 + 16;
        if state.read_calls > bound {
            problems
                .push(format!("o5: {} reads for {} bytes and {} waits", state.read_calls, state.received, state.waits));
        }
        if state.excess > 64 * 1024 + self.inflated() {
            problems.push(format!("o4: {} bytes of heap beyond twice what was received", state.excess));
        }
        if let Some(limit) = self.row.heap
            && state.peak() > limit
        {
            problems.push(format!("o4: {} bytes of heap, more than {limit}", state.peak()));
        }
    }
}

/// `None` for ever, and no call panics or hangs (o1, o2).
async fn after_the_end(ws: &mut WebSocket<Peer>, problems: &mut Vec<String>) {
    for _ in 0..3 {
        if let Some(item) = ws.next().await {
            problems.push(format!("o2: {item:?} after the end"));
        }
    }
    if ws.send("late").await.is_ok() || Pin::new(&mut *ws).start_send("late").is_ok() {
        problems.push("o2: a message was taken after the end".into());
    }
    let _ = ws.flush().await;
    if ws.ping("late").await.is_ok() {
        problems.push("o2: a ping was taken after the end".into());
    }
    let closed = poll_fn(|cx| Sink::<Message>::poll_close(Pin::new(&mut *ws), cx)).await;
    if let Err(error) = closed {
        problems.push(format!("o2: closing after the end fails: {error}"));
    }
    if ws.ending().is_none() {
        problems.push("o2: no ending".into());
    }
}

fn short(message: &Message) -> String {
    if message.len() <= 64 { format!("{message:?}") } else { format!("a message of {} bytes", message.len()) }
}

fn shorter(frames: &[Frame]) -> String {
    let shown: Vec<_> = frames
        .iter()
        .map(|frame| format!("{:?} {:02x?}", frame.opcode, &frame.payload[..frame.payload.len().min(16)]))
        .take(12)
        .collect();
    format!("{} frames: {}", frames.len(), shown.join("; "))
}

/// A limit that is exceeded, as the library says it.
pub(crate) const fn message_excess(limit: u64) -> Fault {
    Fault::Excess(Excess::Message { limit })
}

pub(crate) const fn fragment_excess(limit: u64) -> Fault {
    Fault::Excess(Excess::Fragments { limit })
}

pub(crate) const fn violation(violation: Violation) -> Fault {
    Fault::Violation(violation)
}

/// Runs a future and says how much (virtual) time it took.
#[expect(clippy::disallowed_methods, reason = "measures the paused clock, not the wall's")]
pub(crate) async fn elapsed<F: Future>(future: F) -> (F::Output, std::time::Duration) {
    let start = tokio::time::Instant::now();
    (future.await, start.elapsed())
}

/// Polls once.
pub(crate) async fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
