//! The rules of an open connection, from the first frame to the last.
//!
//! What is public here are the values it hands out; [`WebSocket`](crate::WebSocket) drives it.

mod closing;
mod collect;
mod compression;
mod fragments;
mod plain;
mod receive;
mod send;
mod state;
mod stats;
mod timers;

use bytes::Bytes;

use crate::proto::{CloseFrame, Message, Role};

pub use closing::{Cause, CloseRecord, Ending, Initiator};
pub(crate) use collect::{Collected, Collector, Payload};
pub(crate) use compression::SharedForm;
#[cfg(test)]
pub(crate) use plain::VIEW_FROM;
pub(crate) use receive::{Receive, Receiver, Step};
pub(crate) use send::Outgoing;
pub use stats::{Compressed, Stats};
pub(crate) use timers::{Due, WentOff, after};

use closing::Closing;
use compression::Extension;
use send::Urgent;
use state::{State, Transition};
use stats::Passed;
use timers::Timers;

/// Something that arrived, control frames included.
///
/// Pings have been answered and the closing handshake goes on by itself; these are for watching.
///
/// ```no_run
/// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
/// use wireline::Event;
/// while let Some(event) = ws.next_event().await {
///     match event? {
///         Event::Message(message) => println!("{message}"),
///         Event::Ping(_) | Event::Pong(_) => println!("alive"),
///         Event::Close(frame) => println!("closed: {frame:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows three control frames")]
pub enum Event {
    /// A whole message.
    Message(Message),
    /// A Ping; its Pong is on the way.
    Ping(Bytes),
    /// A Pong, asked for or not.
    Pong(Bytes),
    /// The peer's Close frame; `None` when it had no payload. It is the last event.
    Close(Option<CloseFrame>),
}

/// One end of an open connection.
///
/// It does no I/O. Its methods come in four families:
///
/// - **bytes in**: [`receive`](Receive::receive) (and [`spare`](Receive::spare) with [`filled`](Receive::filled), which skip
///   a copy for large payloads); call again until it says [`Step::NeedMore`]. A [`Receiver`] makes events of them, a
///   [`Collector`] whole frames, for a caller that applies the rules of messages itself;
/// - **the application's wishes**: [`send`](Self::send), [`ping`](Self::ping), [`close`](Self::close);
/// - **bytes out**: data and Close frames are encoded into the caller's
///   [`Output`](crate::proto::codec::encoder::Output) at once; Ping and Pong wait in their slots until the caller reaches
///   a frame boundary and calls [`urgent`](Self::urgent);
/// - **the clock**: [`deadline`](Self::deadline) says when [`handle_timeout`](Self::handle_timeout) wants to be called;
///   calling it early does no harm.
#[derive(Debug)]
pub(crate) struct Connection<R = Receiver> {
    role: Role,
    state: State,
    receiver: R,
    urgent: Urgent,
    timers: Timers,
    closing: Option<Box<Closing>>,
    deflate: Option<Box<Extension>>,
    passed: Passed,
}

impl<R> Connection<R> {
    pub(crate) fn new(role: Role, receiver: R, now: std::time::Instant) -> Self {
        Self {
            role,
            state: State::Open,
            receiver,
            urgent: Urgent::default(),
            timers: Timers::new(now),
            closing: None,
            deflate: None,
            passed: Passed::default(),
        }
    }

    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// How the connection ended, once it has.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.closing.as_ref().and_then(|closing| closing.ending())
    }
}
