//! An open connection: frames in, callbacks, frames out.
//!
//! ```text
//! frames -> on_frame -> the rules of messages (reassembly.rs) -> on_message, on_close
//! commands, answers -> on_send_frame -> the queue
//! ```

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    handler::{
        CloseCode, Error, ErrorKind, Frame, Handler, Handshake, Message, Observes, OpCode,
        agent::{Agent, COMMANDS_PER_TURN, Next, Raised, Undelivered},
        batch::{Batch, Bundle},
        frame::{Bits, unmasked_len},
        mailbox::{Broadcast, Command, Encoded, Everyone},
        reassembly::{Farewell, Reassembly},
        remedy::Remedy,
    },
    proto::{
        self, Awaited, Fault, Opcode, Rsv, Violation,
        connection::{Collected, Collector, Payload, after},
    },
    websocket::{Copied, Inner, Side, Turn, now},
};

/// An open connection with its handler.
#[derive(Debug)]
pub(crate) struct Session<S, H> {
    agent: Agent<H>,
    inner: Inner<S, Collector>,
    /// What `on_open` is to be called with.
    opening: Option<Box<Handshake>>,
    reassembly: Reassembly,
    stage: Stage,
    on_close: Due,
    on_shutdown: Due,
    /// Control frames queued in a row beyond `max_out_buffer`.
    beyond: u16,
}

/// Where the connection stands, as its handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Our Close is on its way; messages are still delivered.
    Closing,
    /// An error, or the end of the `WebSocket`: nothing is delivered any more but the peer's Close.
    Failing,
}

/// Whether a callback that is called once has to be called yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Yes,
    No,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> Session<S, H> {
    pub(crate) fn new(agent: Agent<H>, inner: Inner<S, Collector>, shake: Handshake) -> Self {
        Self::with(agent, inner, Some(Box::new(shake)), Due::Yes)
    }

    fn with(agent: Agent<H>, inner: Inner<S, Collector>, opening: Option<Box<Handshake>>, on_close: Due) -> Self {
        let (reassembly, stage) = (Reassembly::default(), Stage::Open);
        Self { agent, inner, opening, reassembly, stage, on_close, on_shutdown: Due::Yes, beyond: 0 }
    }

    /// A connection whose handler refused the response that opened it: it is closed without having been open.
    pub(crate) fn refused(agent: Agent<H>, inner: Inner<S, Collector>, why: Raised) -> Self {
        let mut session = Self::with(agent, inner, None, Due::No);
        let (remedy, reason) = (Remedy::of(why.error()), why.reason());
        session.agent.tell(|handler| handler.on_error(why.into_error()));
        match remedy {
            Remedy::Cut => session.inner.end_now(),
            Remedy::Close(code) => session.close(Frame::close(code, &reason)),
            Remedy::Nothing => session.close(Frame::close(CloseCode::Error, &reason)),
        }
        session.fail();
        session
    }

    /// Ready at the end of the connection.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.inner.is_polled_by(cx.waker()) {
            self.agent.moved();
        }
        let both = self.inner.polled_by(Side::Reader, cx.waker());
        let cx = &mut both.as_ref().map_or_else(|| Context::from_waker(cx.waker()), Context::from_waker);
        let _sitting = self.agent.sit_down();
        let mut left = COMMANDS_PER_TURN;
        if let Some(shake) = self.opening.take() {
            let opened = self.agent.call(|handler| handler.on_open(*shake));
            self.check(opened);
            self.agent.release();
        }
        self.fire();
        let mut turns = 0_usize;
        loop {
            while self.agent.has_commands() {
                match self.agent.next(&mut left) {
                    Next::Command(command) => self.carry_out(command, cx),
                    Next::Nothing => break,
                    Next::Enough => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
            if self.inner.reads() {
                if turns > 0 && self.agent.crowds_the_queue() {
                    // Those that have commands to carry out first: a peer that sends much would fill the queue.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if self.stage == Stage::Open
                    && self.agent.observes() == Observes::Messages
                    && let Some(delivered) = self.inner.buffered(|opcode, payload| self.agent.deliver(opcode, payload))
                {
                    turns += 1;
                    match delivered.map_err(|why| *why) {
                        Ok(()) => {}
                        Err(Undelivered::NotText) => self.fault(Violation::InvalidUtf8.into()),
                        Err(Undelivered::Raised(raised)) => self.error(raised),
                    }
                    if !self.send_answer(&mut left)
                        && let Some(answer) = self.agent.answer(&mut left)
                        && self.stage == Stage::Open
                    {
                        self.send_message(answer, cx);
                    }
                    continue;
                }
                match self.inner.poll_turn(cx) {
                    Poll::Ready(Turn::Read) => continue,
                    Poll::Ready(turn) => {
                        turns += 1;
                        self.turn(turn, cx);
                        continue;
                    }
                    Poll::Pending => {}
                }
            } else if self.inner.poll_ended(cx).is_ready() {
                self.ended();
                return Poll::Ready(());
            }
            let idle_until = self.idle_until();
            if self.agent.poll_alarm(cx, idle_until).is_ready() {
                self.fire();
            } else if self.agent.end_turn(cx) {
                return Poll::Pending;
            }
        }
    }

    pub(crate) fn into_agent(self) -> Agent<H> {
        self.agent
    }

    fn ended(&mut self) {
        if self.on_close == Due::Yes {
            self.on_close = Due::No;
            self.agent.tell(|handler| handler.on_close(CloseCode::Abnormal, ""));
        }
        self.agent.end();
    }

    #[inline]
    fn idle_until(&mut self) -> Option<Instant> {
        let idle = self.agent.settings().idle_timeout;
        (!idle.is_zero() && self.stage == Stage::Open).then(|| after(self.inner.heard_at(), idle))
    }

    /// Calls back for every timeout that has passed.
    #[inline]
    fn fire(&mut self) {
        while let Some(fired) = self.agent.fire() {
            self.check(fired);
        }
        if self.idle_until().is_some_and(|at| at <= now()) {
            self.close_by(Frame::close(CloseCode::Away, ""));
        }
    }

    fn carry_out(&mut self, command: Command, cx: &mut Context<'_>) {
        match command {
            Command::Cancel(key) => self.agent.cancel(key),
            Command::Shutdown => self.shutdown(),
            Command::Shared(Bundle::One(broadcast)) => self.carry_out_shared(&broadcast, cx),
            Command::Shared(Bundle::More(batch)) => self.carry_out_batch(&batch, cx),
            _ if self.stage == Stage::Failing => {}
            Command::Timeout { ms, token } => {
                let scheduled = self.agent.schedule(ms, token);
                self.check(scheduled);
            }
            _ if self.stage == Stage::Closing => {}
            Command::Message(message) => self.send_message(message, cx),
            Command::Send(opcode, payload) => self.send(Frame::wire(FINAL, opcode, payload), cx),
            Command::Close(code, reason) => self.close_by(Frame::close(code, &reason)),
            Command::Ping(data) => self.send(Frame::ping(data), cx),
            Command::Pong(data) => self.send(Frame::pong(data), cx),
        }
    }

    fn carry_out_shared(&mut self, broadcast: &Arc<Broadcast>, cx: &mut Context<'_>) {
        match &broadcast.what {
            _ if self.stage == Stage::Failing => {}
            Everyone::Cancel(_) | Everyone::Timeout { .. } => {
                let done = self.agent.carry_out_timeouts(broadcast);
                self.check(done);
            }
            _ if self.stage == Stage::Closing => {}
            Everyone::Send { opcode, payload, encoded } => self.send_shared(*opcode, payload, encoded, cx),
            Everyone::Close(code, reason) => self.close_by(Frame::close(*code, reason)),
            Everyone::Ping(data) => self.send(Frame::wire(FINAL, OpCode::Ping, Payload::Bytes(data.clone())), cx),
            Everyone::Pong(data) => self.send(Frame::wire(FINAL, OpCode::Pong, Payload::Bytes(data.clone())), cx),
        }
    }

    /// Sends a message or a control frame of the application's.
    fn send(&mut self, frame: Frame, cx: &mut Context<'_>) {
        if let Some(frame) = self.hook(frame) {
            self.put(frame, cx);
        }
    }

    /// Sends the answer to the message that was just received, in the usual case: it is copied from where it lies. Only
    /// where nobody looks at frames.
    #[inline]
    fn send_answer(&mut self, left: &mut usize) -> bool {
        let (settings, queued) = (self.agent.settings(), self.inner.queued());
        let has_room = settings.out_buffer_grow && queued < settings.max_out_buffer && !self.inner.is_crowded();
        if self.stage != Stage::Open || !has_room {
            return false;
        }
        let size = self.fragment_size();
        self.agent.send_answer(left, |message| self.inner.put_copied(message.data_opcode(), message.as_bytes(), size))
    }

    /// Sends a message of the application's own.
    #[inline]
    fn send_message(&mut self, message: Message, cx: &mut Context<'_>) {
        let opcode = message.opcode();
        if self.agent.observes() == Observes::Frames {
            return self.send(Frame::message(message.into_data(), opcode, true), cx);
        }
        let payload = message.as_bytes();
        if !self.has_room(Some(unmasked_len(payload.len())), cx) {
            return;
        }
        let (size, known) = (self.fragment_size(), message.data_opcode());
        match self.inner.put_copied(known, payload, size) {
            Copied::Yes => message.recycle(),
            Copied::No => self.inner.put(proto::Frame::new(known, message.into_payload().1.into_bytes()), size),
        }
    }

    /// The frame as the handler wants it sent, if it does.
    fn hook(&mut self, frame: Frame) -> Option<Frame> {
        if self.agent.observes() == Observes::Messages {
            return Some(frame);
        }
        let hooked = self.agent.call(|handler| handler.on_send_frame(frame));
        self.check(hooked)?
    }

    /// Sends a message that every connection sends: where the handler leaves it as it is, it is encoded once for all.
    fn send_shared(&mut self, opcode: OpCode, payload: &Payload, encoded: &Encoded, cx: &mut Context<'_>) {
        let Some(frame) = self.hook(Frame::wire(FINAL, opcode, payload.clone())) else { return };
        let untouched = frame.bits() == FINAL && frame.opcode() == opcode && frame.shares(payload.bytes());
        let shared = self.inner.shared_form().filter(|_| untouched && self.agent.is_like_the_others());
        let (Some(form), Some(known)) = (shared, opcode.known()) else { return self.put(frame, cx) };
        if self.has_room(frame.charge(), cx) {
            let frames = encoded.get(form, || self.encode(known, payload));
            self.inner.put_encoded(&frames, 1);
        }
    }

    fn encode(&mut self, opcode: Opcode, payload: &Payload) -> Bytes {
        let size = self.fragment_size();
        self.inner.encode(proto::Frame::new(opcode, payload.clone().into_bytes()), size)
    }

    /// Sends messages that every connection sends: at once, where each would be sent as it is.
    fn carry_out_batch(&mut self, batch: &Batch, cx: &mut Context<'_>) {
        let alike = self.stage == Stage::Open
            && self.agent.observes() == Observes::Messages
            && self.agent.is_like_the_others()
            && self.agent.settings().out_buffer_grow;
        if let Some(form) = self.inner.shared_form().filter(|_| alike) {
            let frames = batch.frames(form, |opcode, payload| {
                opcode.known().map_or_else(Bytes::new, |known| self.encode(known, payload))
            });
            self.inner.relieve(cx);
            if self.inner.queued().saturating_add(frames.len()) <= self.agent.settings().max_out_buffer {
                return self.inner.put_encoded(&frames, batch.broadcasts.len());
            }
        }
        self.agent.take_apart(batch);
    }

    fn put(&mut self, frame: Frame, cx: &mut Context<'_>) {
        let Some(opcode) = frame.opcode().known() else {
            return self.error(illegal("a frame with opcode Bad is not sent (RFC 6455 section 5.2)").into());
        };
        if opcode.is_control()
            && let Err(error) = check_control(&frame)
        {
            return self.error(error.into());
        }
        if !self.has_room(frame.charge(), cx) {
            return;
        }
        let size = self.fragment_size();
        if !opcode.is_control()
            && frame.bits() == FINAL
            && self.inner.put_copied(opcode, frame.bytes(), size) == Copied::Yes
        {
            return;
        }
        let Bits { fin, rsv } = frame.bits();
        let mut out = proto::Frame::new(opcode, frame.into_payload().into_bytes());
        (out.fin, out.rsv) = (fin, rsv);
        self.inner.put(out, size);
    }

    fn fragment_size(&self) -> Option<usize> {
        Some(self.agent.settings().fragment_size.max(1))
    }

    /// Whether a frame may be queued, of so many bytes if it is data; if not, the connection is failing now.
    fn has_room(&mut self, data: Option<usize>, cx: &mut Context<'_>) -> bool {
        self.inner.relieve(cx);
        let settings = self.agent.settings();
        let queued = self.inner.queued();
        let is_full = queued >= settings.max_out_buffer;
        self.beyond = if is_full && data.is_none() { self.beyond + 1 } else { 0 };
        let details = if is_full && (data.is_some() || self.beyond > MAX_BEYOND) {
            "the peer reads too slowly: max_out_buffer bytes are unsent"
        } else if !settings.out_buffer_grow
            && data.is_some_and(|len| queued.saturating_add(len) > settings.out_buffer_capacity)
        {
            "the frame does not fit into out_buffer_capacity, and out_buffer_grow is off"
        } else {
            return true;
        };
        self.inner.drop_unsent();
        self.error(Error::new(ErrorKind::Capacity, details).into());
        false
    }

    /// Starts the closing handshake.
    fn close_by(&mut self, frame: Frame) {
        self.close(frame);
        self.stage = Stage::Closing;
    }

    /// Sends a Close frame. A hook that fails over it does not keep the connection open.
    fn close(&mut self, frame: Frame) {
        let hooked = match self.agent.observes() {
            Observes::Messages => Ok(Some(frame.clone())),
            Observes::Frames => self.agent.call(|handler| handler.on_send_frame(frame.clone())),
        };
        let frame = match hooked {
            Ok(frame) => frame.filter(|frame| check_control(frame).is_ok()),
            Err(raised) => {
                self.agent.tell(|handler| handler.on_error(raised.into_error()));
                Some(frame)
            }
        };
        if let Some((frame, opcode)) = frame.and_then(|frame| frame.opcode().known().map(|opcode| (frame, opcode))) {
            let rsv = frame.bits().rsv;
            let mut out = proto::Frame::new(opcode, frame.into_payload().into_bytes());
            out.rsv = rsv;
            self.inner.put(out, None);
        }
        self.inner.close_begun();
    }

    fn shutdown(&mut self) {
        if std::mem::replace(&mut self.on_shutdown, Due::No) == Due::Yes {
            self.agent.tell(Handler::on_shutdown);
        }
        if self.stage == Stage::Open {
            self.close(Frame::close(CloseCode::Away, "Shutting down."));
        }
        self.fail();
    }

    /// From here on nothing but the peer's Close is delivered.
    fn fail(&mut self) {
        self.stage = Stage::Failing;
        self.agent.cancel_all();
    }

    fn turn(&mut self, turn: Turn<Collected>, cx: &mut Context<'_>) {
        match turn {
            Turn::Read => {}
            Turn::Item(frame) => self.received(frame, cx),
            Turn::Fault(fault) => self.fault(fault),
            Turn::End => {
                self.lost(None);
                self.inner.end();
            }
            Turn::Lost(error) => {
                self.lost(Some(error.into()));
                self.inner.end_now();
            }
            Turn::Late(Awaited::Close) => {
                self.lost(None);
                self.inner.end_now();
            }
            Turn::Late(awaited) => {
                self.lost(Some(crate::Error::Timeout(awaited)));
                self.inner.end_now();
            }
        }
    }

    /// The transport has ended: because of this, or of what made writing fail before.
    fn lost(&mut self, why: Option<crate::Error>) {
        if let Some(error) = self.inner.take_failure().or(why) {
            self.error(Error::from(error).into());
        }
    }

    /// Nothing that follows can be understood.
    fn fault(&mut self, fault: Fault) {
        let too_long = fault == Fault::Violation(Violation::ControlTooLong);
        if too_long && self.inner.refused_opcode() == Some(Opcode::Close) {
            self.told((CloseCode::Protocol, "Received close frame with payload length exceeding 125.".to_owned()));
            self.answer(CloseCode::Protocol);
        } else {
            self.error(Error::from(crate::Error::from(fault)).into());
        }
        self.inner.end();
    }

    fn received(&mut self, received: Collected, cx: &mut Context<'_>) {
        let Collected { fin, rsv, opcode, payload } = received;
        let frame = Frame::wire(Bits { fin, rsv }, opcode.into(), payload);
        if self.stage == Stage::Failing {
            if opcode == Opcode::Close {
                self.closed(frame);
            }
            return;
        }
        let Some(frame) = self.look_at(frame) else { return };
        match frame.opcode() {
            OpCode::Text | OpCode::Binary | OpCode::Continue => self.data(frame),
            OpCode::Close => self.closed(frame),
            OpCode::Ping => self.ping(frame, cx),
            OpCode::Pong => self.check_received_control(&frame),
            OpCode::Bad => self.error(illegal("opcode Bad is not received (RFC 6455 section 5.2)").into()),
        }
    }

    /// The frame as the handler wants it received, if it does.
    fn look_at(&mut self, frame: Frame) -> Option<Frame> {
        if self.agent.observes() == Observes::Messages {
            return Some(frame);
        }
        let hooked = self.agent.call(|handler| handler.on_frame(frame));
        self.check(hooked)?
    }

    fn data(&mut self, frame: Frame) {
        match self.reassembly.push(frame, self.agent.settings()) {
            Ok(Some(message)) => self.deliver(message),
            Ok(None) => {}
            Err(error) => self.error(error.into()),
        }
    }

    #[inline]
    fn deliver(&mut self, message: Message) {
        let taken = self.agent.call(|handler| handler.on_message(message));
        self.check(taken);
    }

    fn check_received_control(&mut self, frame: &Frame) {
        if let Err(error) = check_control(frame) {
            self.error(error.into());
        }
    }

    fn ping(&mut self, frame: Frame, cx: &mut Context<'_>) {
        self.check_received_control(&frame);
        if self.stage != Stage::Open {
            return;
        }
        let Some(pong) = self.hook(Frame::wire(FINAL, OpCode::Pong, frame.into_payload())) else { return };
        if pong.opcode() != OpCode::Pong || pong.bits() != FINAL || check_control(&pong).is_err() {
            return self.put(pong, cx);
        }
        self.inner.relieve(cx);
        self.inner.put_pong(pong.into_payload().into_bytes());
    }

    /// The peer's Close frame.
    fn closed(&mut self, frame: Frame) {
        if !frame.is_final() {
            return self.error(Error::from(crate::Error::Peer(Violation::FragmentedControl)).into());
        }
        let payload = frame.into_payload();
        let farewell = Farewell::of(payload.bytes());
        if let Some(told) = farewell.told {
            self.told(told);
        }
        if let Some(error) = farewell.broke.filter(|_| self.stage != Stage::Failing) {
            self.agent.tell(|handler| handler.on_error(error));
        }
        self.answer(farewell.answer);
        self.inner.close_received(proto::CloseFrame::parse(payload.bytes()).ok().flatten());
    }

    fn told(&mut self, (code, reason): (CloseCode, String)) {
        if self.on_close == Due::Yes {
            self.on_close = Due::No;
            self.agent.tell(|handler| handler.on_close(code, &reason));
        }
    }

    /// Answers the peer's Close frame, unless ours was sent before.
    fn answer(&mut self, code: CloseCode) {
        if self.stage == Stage::Open {
            self.close(Frame::close(code, ""));
        }
        self.fail();
    }

    /// What a callback returned, if it is no error; an error is dealt with.
    fn check<T>(&mut self, result: Result<T, Raised>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(raised) => {
                self.error(raised);
                None
            }
        }
    }

    /// Tells the handler, and does what the kind of error asks for. One that follows another's Close is dropped.
    fn error(&mut self, raised: Raised) {
        if self.stage == Stage::Failing {
            return;
        }
        let remedy = Remedy::of(raised.error());
        let panic = self.agent.settings().panics_on(&raised.error().kind).then(|| raised.error().to_string());
        let reason = raised.reason();
        self.agent.tell(|handler| handler.on_error(raised.into_error()));
        if let Some(error) = panic {
            panic!("Panicking on {error}");
        }
        match remedy {
            Remedy::Nothing => {}
            Remedy::Cut => {
                self.fail();
                self.inner.end_now();
            }
            Remedy::Close(code) => {
                if self.stage == Stage::Open {
                    self.close(Frame::close(code, &reason));
                }
                self.fail();
            }
        }
    }
}

/// A heartbeat beside a message that is too long for its buffer is no fault; more than this without room is.
const MAX_BEYOND: u16 = 64;

const FINAL: Bits = Bits { fin: true, rsv: Rsv::NONE };

// RFC 6455 §5.5: a control frame is whole, and has at most 125 bytes.
fn check_control(frame: &Frame) -> Result<(), Error> {
    if !frame.is_final() {
        return Err(crate::Error::Peer(Violation::FragmentedControl).into());
    }
    if frame.payload_len() > 125 {
        return Err(crate::Error::Peer(Violation::ControlTooLong).into());
    }
    Ok(())
}

fn illegal(details: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, details)
}
