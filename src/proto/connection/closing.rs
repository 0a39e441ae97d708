use std::time::Instant;

use crate::proto::{
    Awaited, CloseFrame, Fault, Mask, Misuse,
    codec::encoder::Output,
    connection::{Connection, State, Transition},
};

/// How a connection ended: what was sent, what was received, who began, and why.
///
/// ```
/// # use wireline::{CloseCode, Config, Role, WebSocket};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> wireline::Result<()> {
/// let (here, there) = tokio::io::duplex(1024);
/// let mut client = WebSocket::after_handshake(here, Role::Client, Config::default())?;
/// let mut server = WebSocket::after_handshake(there, Role::Server, Config::default())?;
/// tokio::join!(async { client.close(CloseCode::GOING_AWAY, "lunch").await }, server.next()).0?;
/// let ending = server.ending().expect("the stream has ended");
/// assert!(ending.is_clean());
/// assert_eq!((ending.code(), ending.reason()), (1001, "lunch"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    sent: CloseRecord,
    received: CloseRecord,
    initiator: Initiator,
    cause: Cause,
}

/// Whether a Close frame passed in one direction, and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a Close frame was there or not, with a payload or without")]
pub enum CloseRecord {
    /// None passed.
    #[default]
    None,
    /// One without a payload.
    Empty,
    /// One with a code and perhaps a reason.
    Frame(CloseFrame),
}

/// Who began to end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Initiator {
    /// This endpoint: it closed, or failed the connection.
    Local,
    /// The peer: it closed, or was lost.
    Peer,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Both Close frames passed (RFC 6455 section 7.1.4).
    Clean,
    /// The peer broke a rule or went beyond a limit.
    Fault(Fault),
    /// Something did not happen in time.
    Timeout(Awaited),
    /// The transport failed, or ended without the peer's Close frame or before ours could be sent.
    Lost,
}

impl CloseRecord {
    /// The frame's content, if one with a payload passed.
    #[must_use]
    pub const fn frame(&self) -> Option<&CloseFrame> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::None | Self::Empty => None,
        }
    }

    const fn passed(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl From<Option<CloseFrame>> for CloseRecord {
    fn from(frame: Option<CloseFrame>) -> Self {
        frame.map_or(Self::Empty, Self::Frame)
    }
}

impl Ending {
    /// The Close frame that this endpoint sent.
    #[must_use]
    pub const fn sent(&self) -> &CloseRecord {
        &self.sent
    }

    /// The Close frame that the peer sent.
    #[must_use]
    pub const fn received(&self) -> &CloseRecord {
        &self.received
    }

    /// Who began.
    #[must_use]
    pub const fn initiator(&self) -> Initiator {
        self.initiator
    }

    /// Why.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the closing handshake was completed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.cause == Cause::Clean
    }

    /// _The WebSocket Connection Close Code_ (RFC 6455 section 7.1.5): the peer's code, 1005 if its Close frame had none,
    /// 1006 if it sent no Close frame.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match &self.received {
            CloseRecord::Frame(frame) => frame.code().get(),
            CloseRecord::Empty => 1005,
            CloseRecord::None => 1006,
        }
    }

    /// _The WebSocket Connection Close Reason_ (RFC 6455 section 7.1.6): the peer's words, or none.
    #[must_use]
    pub const fn reason(&self) -> &str {
        match &self.received {
            CloseRecord::Frame(frame) => frame.reason(),
            CloseRecord::Empty | CloseRecord::None => "",
        }
    }
}

/// An ending that is being written.
#[derive(Debug)]
pub(super) struct Closing {
    ending: Ending,
    finished: Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finished {
    No,
    Yes,
}

impl Closing {
    const fn begun_by(initiator: Initiator) -> Self {
        let ending = Ending { sent: CloseRecord::None, received: CloseRecord::None, initiator, cause: Cause::Lost };
        Self { ending, finished: Finished::No }
    }

    pub(super) fn ending(&self) -> Option<&Ending> {
        (self.finished == Finished::Yes).then_some(&self.ending)
    }
}

impl<R> Connection<R> {
    pub(super) fn step(&mut self, transition: Transition) -> Result<(), Misuse> {
        self.state = self.state.after(transition).ok_or(Misuse::Closed)?;
        Ok(())
    }

    /// Begins the closing handshake: encodes our Close frame and starts its deadline. With a Close already sent or
    /// received, or a failed connection, nothing is left to do.
    pub(crate) fn close(
        &mut self,
        frame: Option<CloseFrame>,
        now: Instant,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) {
        if self.state == State::Open && self.step(Transition::SendClose).is_ok() {
            self.close_now(frame, Initiator::Local, now, masks, out);
        }
    }

    /// Our Close frame is the caller's own, encoded by [`Connection::put`] or suppressed: this is only its state and its
    /// deadline. `false` if one was sent before or none may be.
    pub(crate) fn close_put(&mut self, now: Instant) -> bool {
        let initiator = if self.state == State::Open { Initiator::Local } else { Initiator::Peer };
        let begun = self.step(Transition::SendClose).is_ok();
        if begun {
            self.urgent.clear();
            self.begin_closing(initiator);
            self.timers.closing(now);
        }
        begun
    }

    /// Nothing is read as frames any more; whatever Close frame there is is the caller's own.
    pub(crate) fn fail_put(&mut self, now: Instant) {
        if self.step(Transition::Fail).is_ok() {
            self.urgent.clear();
            self.begin_closing(Initiator::Local);
            self.timers.closing(now);
        }
    }

    /// Answers the peer's Close frame with its own code (RFC 6455 section 5.5.1), unless ours was sent before.
    pub(crate) fn answer_close(&mut self, now: Instant, masks: &mut impl FnMut() -> Mask, out: &mut impl Output) {
        if self.state != State::CloseReceived || self.step(Transition::SendClose).is_err() {
            self.timers.closing(now);
            return;
        }
        let code = self.closing.as_ref().and_then(|closing| closing.ending.received.frame()).map(CloseFrame::code);
        self.close_now(code.map(CloseFrame::bare), Initiator::Peer, now, masks, out);
    }

    /// Fails the connection (RFC 6455 section 7.1.7): nothing is read as frames any more, and a Close frame with the
    /// fault's code goes out if none was sent before.
    pub(crate) fn fail(&mut self, cause: Cause, now: Instant, masks: &mut impl FnMut() -> Mask, out: &mut impl Output) {
        let sent_before = matches!(self.state, State::CloseSent | State::Closed);
        if self.step(Transition::Fail).is_err() {
            return;
        }
        let code = match cause {
            Cause::Fault(fault) => Some(fault.close_code()),
            Cause::Timeout(Awaited::Pong) => Some(crate::proto::CloseCode::INTERNAL_ERROR),
            Cause::Timeout(_) | Cause::Lost | Cause::Clean => None,
        };
        let initiator = if cause == Cause::Lost { Initiator::Peer } else { Initiator::Local };
        match code {
            Some(code) if !sent_before => self.close_now(Some(CloseFrame::bare(code)), initiator, now, masks, out),
            _ => {
                self.urgent.clear();
                self.begin_closing(initiator);
                self.timers.closing(now);
            }
        }
        self.begin_closing(initiator).cause = cause;
    }

    /// Nothing can be written any more; what the peer has sent may still be read until the close deadline.
    pub(crate) fn write_lost(&mut self, now: Instant) {
        self.urgent.clear();
        self.write_blocked(None);
        self.timers.closing(now);
    }

    /// Our Close frame was given up before all of it could be written.
    pub(crate) fn close_not_sent(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.ending.sent = CloseRecord::None;
            if closing.ending.cause == Cause::Clean {
                closing.ending.cause = Cause::Lost;
            }
        }
    }

    /// The transport is gone and nothing will change any more.
    pub(crate) fn finish(&mut self) {
        self.timers.stop();
        self.urgent.clear();
        let clean = self.state == State::Closed;
        let closing = self.closing.get_or_insert_with(|| Box::new(Closing::begun_by(Initiator::Peer)));
        if clean && closing.ending.sent.passed() {
            closing.ending.cause = Cause::Clean;
        }
        closing.finished = Finished::Yes;
    }

    /// Whether messages may still be sent.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether both Close frames have passed.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(crate) fn close_received(&mut self, frame: Option<CloseFrame>) {
        if self.step(Transition::ReceiveClose).is_ok() {
            self.urgent.clear();
            self.begin_closing(Initiator::Peer).received = frame.into();
        }
    }

    fn close_now(
        &mut self,
        frame: Option<CloseFrame>,
        initiator: Initiator,
        now: Instant,
        masks: &mut impl FnMut() -> Mask,
        out: &mut impl Output,
    ) {
        self.urgent.clear();
        self.send_close(frame.as_ref(), masks, out);
        self.begin_closing(initiator).sent = frame.into();
        self.timers.closing(now);
    }

    fn begin_closing(&mut self, initiator: Initiator) -> &mut Ending {
        &mut self.closing.get_or_insert_with(|| Box::new(Closing::begun_by(initiator))).ending
    }
}
