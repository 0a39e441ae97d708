use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Role,
    handler::{
        Error, ErrorKind, Handler, Handshake, Result, Sender, Settings,
        agent::Agent,
        hub::{Hub, Owner, Rules},
        run::Session,
        util::QueueError,
    },
    websocket::Inner,
};

/// One handler over one stream whose opening handshake was done elsewhere: an upgraded connection of an HTTP server, a Unix
/// socket, a pipe in memory.
///
/// ```
/// use wireline::handler::{Attach, CloseCode, Message, Result, Sender};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let (here, there) = tokio::io::duplex(1024);
/// let server = Attach::server().run(there, |out: Sender| move |message| out.send(message));
/// let client = Attach::client().run(here, |out: Sender| {
///     out.send("hello").expect("the queue has room");
///     move |message: Message| {
///         assert_eq!(message, Message::text("hello"));
///         out.close(CloseCode::Normal)
///     }
/// });
/// let (server, client) = tokio::join!(server, client);
/// server.and(client.map(drop))
/// # }
/// ```
#[derive(Debug)]
pub struct Attach {
    role: Role,
    settings: Option<Settings>,
    handshake: Option<Handshake>,
    leftover: Bytes,
    group: Option<Sender>,
}

impl Attach {
    /// For the server's end.
    #[must_use]
    pub const fn server() -> Self {
        Self::new(Role::Server)
    }

    /// For the client's end.
    #[must_use]
    pub const fn client() -> Self {
        Self::new(Role::Client)
    }

    const fn new(role: Role) -> Self {
        Self { role, settings: None, handshake: None, leftover: Bytes::new(), group: None }
    }

    /// Sets the settings; by default those of the group, else the defaults.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// Says what [`on_open`](Handler::on_open) is called with. By default an empty request, and a response without headers.
    #[must_use]
    pub fn handshake(self, handshake: Handshake) -> Self {
        Self { handshake: Some(handshake), ..self }
    }

    /// Bytes that were read behind the opening handshake already: the first frames.
    #[must_use]
    pub fn leftover(self, bytes: Bytes) -> Self {
        Self { leftover: bytes, ..self }
    }

    /// Makes the connection one of that Sender's `WebSocket`: for broadcasts, `send_to`, `connections` and its shutdown,
    /// which does not wait for it. Without a group it is a `WebSocket` of its own.
    #[must_use]
    pub fn group(self, member: &Sender) -> Self {
        Self { group: Some(member.clone()), ..self }
    }

    /// Runs the handler that `make` makes until the connection has ended, and gives it back. The first callback is
    /// [`on_open`](Handler::on_open).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Capacity`] if the group has as many connections as it may, [`ErrorKind::Queue`] if its `WebSocket` is
    /// gone. How the connection ended is told to the handler, and is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the connection without callbacks.
    pub async fn run<S, M, H>(self, stream: S, make: M) -> Result<H>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        M: FnOnce(Sender) -> H,
        H: Handler,
    {
        let Self { role, settings, handshake, leftover, group } = self;
        let hub = match &group {
            Some(member) => Arc::clone(member.hub()),
            None => Hub::new(settings.unwrap_or_default(), Owner::Nobody),
        };
        if hub.is_gone() {
            return Err(QueueError::Closed.into());
        }
        if hub.len() >= hub.rules.settings.max_connections {
            return Err(Error::new(ErrorKind::Capacity, "the group has max_connections connections already"));
        }
        let rules = settings.map_or_else(|| Arc::clone(&hub.rules), Rules::of);
        let place = hub.join(None);
        let handler = make(Sender::of(&hub, &place.mailbox));
        let agent = Agent::new(handler, place, rules);
        let collector = agent.collector(agent.settings().masking(role), None);
        let inner = Inner::of_frames(stream, role, collector, Arc::clone(agent.config()), None, &leftover);
        let mut session = Session::new(agent, inner, handshake.unwrap_or_else(Handshake::unknown));
        poll_fn(|cx| session.poll(cx)).await;
        let (handler, place) = session.into_agent().into_parts();
        drop(place);
        if group.is_none() {
            hub.end();
        }
        Ok(handler)
    }
}
