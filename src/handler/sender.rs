use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use url::Url;

use crate::{
    Message as CoreMessage,
    handler::{
        CloseCode, Error, ErrorKind, Message, OpCode, Result, desk,
        hub::{Hub, Patience, post_to},
        mailbox::{Command, Encoded, Everyone, Mailbox, Posted},
        timeouts::{Target, Timeout},
        util::{QueueError, Token},
    },
    proto::connection::Payload,
};

/// The token of a `Sender` that belongs to no connection.
const BROADCASTER: Token = Token(usize::MAX - 5);

/// Asks a connection, or the `WebSocket` it belongs to, to do something: from its own callbacks, from other threads, from
/// anywhere. Cloning it is cheap.
///
/// Every method only queues: `Ok` means that the command waits to be carried out. Commands of one thread to one connection
/// are carried out in their order. Those that a callback leaves are carried out when it returns, before the next frame is
/// looked at.
///
/// At most `max_connections * queue_size` commands may wait (see [`Settings`](crate::handler::Settings)). Beyond that a
/// method fails with [`ErrorKind::Queue`] on a thread that runs in a Tokio context, as callbacks do, and waits for room on
/// any other thread.
///
/// On a connection that is gone, commands are dropped and the result is `Ok`, so that programs may keep Senders for longer
/// than their connections; [`try_send`](Self::try_send), [`send_to`](Self::send_to) and [`is_alive`](Self::is_alive) tell.
/// Once the `WebSocket` is gone every method fails with [`ErrorKind::Queue`].
///
/// Two Senders are equal if they have the same token and connection number.
///
/// ```no_run
/// use wireline::handler::{listen, Sender};
/// listen("127.0.0.1:3012", |out: Sender| move |message| out.broadcast(message))?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
#[derive(Clone)]
pub struct Sender {
    hub: Arc<Hub>,
    mailbox: Option<Arc<Mailbox>>,
}

impl Sender {
    pub(crate) fn of(hub: &Arc<Hub>, mailbox: &Arc<Mailbox>) -> Self {
        Self { hub: Arc::clone(hub), mailbox: Some(Arc::clone(mailbox)) }
    }

    pub(crate) fn broadcaster(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), mailbox: None }
    }

    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The connection's place, which a later connection uses again.
    #[must_use]
    pub fn token(&self) -> Token {
        self.mailbox.as_ref().map_or(BROADCASTER, |mailbox| mailbox.token)
    }

    /// The connection's number: from 0 upward, wrapping, and never that of another living connection.
    #[must_use]
    pub fn connection_id(&self) -> u32 {
        self.mailbox.as_ref().map_or(0, |mailbox| mailbox.id)
    }

    /// Sends a message to this connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Queue`]: see [`Sender`].
    #[inline]
    pub fn send<M: Into<Message>>(&self, msg: M) -> Result<()> {
        self.send_message(msg.into())
    }

    #[inline]
    fn send_message(&self, message: Message) -> Result<()> {
        let Some(mailbox) = &self.mailbox else {
            let (opcode, payload) = message.into_payload();
            return self.broadcast_payload(opcode, payload, None);
        };
        match desk::put_message(&self.hub, mailbox, message) {
            Ok(()) => Ok(()),
            Err(message) => self.post_behind(mailbox, Command::Message(message)),
        }
    }

    /// Sends a message whose payload may be shared and is not copied.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_shared(&self, msg: CoreMessage) -> Result<()> {
        let (opcode, payload) = shared(msg);
        self.send_payload(opcode, payload)
    }

    fn send_payload(&self, opcode: OpCode, payload: Payload) -> Result<()> {
        match &self.mailbox {
            Some(mailbox) => self.post(mailbox, Command::Send(opcode, payload)),
            None => self.broadcast_payload(opcode, payload, None),
        }
    }

    /// Sends a message to this connection if that can be done right now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Queue`] if too many commands wait, **or the connection is gone**. It never blocks.
    pub fn try_send<M: Into<Message>>(&self, msg: M) -> Result<()> {
        match &self.mailbox {
            Some(mailbox) => self.post_now(mailbox, Command::Message(msg.into())),
            None => {
                let (opcode, payload) = msg.into().into_payload();
                let permit = self.hub.take_permit(Patience::Never)?;
                self.hub.broadcast(Everyone::Send { opcode, payload, encoded: Encoded::default() }, permit, None);
                Ok(())
            }
        }
    }

    /// Sends a message to another connection of the same `WebSocket`, by its number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Queue`] if there is no such connection; else as [`send`](Self::send).
    pub fn send_to<M: Into<Message>>(&self, connection_id: u32, msg: M) -> Result<()> {
        let mailbox = self.hub.find(connection_id).ok_or(QueueError::Closed)?;
        let message = msg.into();
        self.hub.take_room(Patience::Block)?;
        self.posted(self.hub.post(&mailbox, Command::Message(message)))
    }

    /// Sends a message to every connection of the `WebSocket`, this one, clients, and those that are not open yet included.
    /// The payload is held once, however many connections there are.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn broadcast<M: Into<Message>>(&self, msg: M) -> Result<()> {
        let (opcode, payload) = msg.into().into_payload();
        self.broadcast_payload(opcode, payload, None)
    }

    /// Sends a message to every connection but this one.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn broadcast_others<M: Into<Message>>(&self, msg: M) -> Result<()> {
        let (opcode, payload) = msg.into().into_payload();
        self.broadcast_payload(opcode, payload, self.mailbox.as_ref().map(|mailbox| mailbox.id))
    }

    /// Sends a message whose payload may be shared, and is not copied, to every connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn broadcast_shared(&self, msg: CoreMessage) -> Result<()> {
        let (opcode, payload) = shared(msg);
        self.broadcast_payload(opcode, payload, None)
    }

    fn broadcast_payload(&self, opcode: OpCode, payload: Payload, except: Option<u32>) -> Result<()> {
        self.everyone(Everyone::Send { opcode, payload, encoded: Encoded::default() }, except)
    }

    /// Starts to close the connection. A code that may not travel goes out as a Close frame without payload.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn close(&self, code: CloseCode) -> Result<()> {
        self.close_with_reason(code, "")
    }

    /// Starts to close the connection, with a reason of which at most 123 bytes travel (RFC 6455 section 5.5).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn close_with_reason<S: Into<Cow<'static, str>>>(&self, code: CloseCode, reason: S) -> Result<()> {
        match &self.mailbox {
            Some(mailbox) => self.post(mailbox, Command::Close(code, reason.into())),
            None => self.everyone(Everyone::Close(code, reason.into()), None),
        }
    }

    /// Sends a Ping.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] at once for more than 125 bytes (RFC 6455 section 5.5); else as [`send`](Self::send).
    pub fn ping(&self, data: Vec<u8>) -> Result<()> {
        check_control(&data)?;
        match &self.mailbox {
            Some(mailbox) => self.post(mailbox, Command::Ping(data)),
            None => self.everyone(Everyone::Ping(Bytes::from(data)), None),
        }
    }

    /// Sends a Pong, asked for or not.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn pong(&self, data: Vec<u8>) -> Result<()> {
        check_control(&data)?;
        match &self.mailbox {
            Some(mailbox) => self.post(mailbox, Command::Pong(data)),
            None => self.everyone(Everyone::Pong(Bytes::from(data)), None),
        }
    }

    /// Adds a client connection to the `WebSocket`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Queue`] also on a connection that was attached by itself; else as [`send`](Self::send). That the
    /// connection could not be made is told to its own handler.
    pub fn connect(&self, url: Url) -> Result<()> {
        let permit = self.hub.take_permit(Patience::Block)?;
        Ok(self.hub.connect(url, Some(permit))?)
    }

    /// Ends the `WebSocket`: no connection is accepted any more, all are closed with 1001, and `run` returns.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn shutdown(&self) -> Result<()> {
        if self.hub.is_gone() {
            return Err(QueueError::Closed.into());
        }
        self.hub.shutdown();
        Ok(())
    }

    /// Calls [`on_timeout`](crate::handler::Handler::on_timeout) with this token, not before `ms` milliseconds.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn timeout(&self, ms: u64, token: Token) -> Result<()> {
        match &self.mailbox {
            Some(mailbox) => self.post(mailbox, Command::Timeout { ms, token }),
            None => self.everyone(Everyone::Timeout { ms, token, key: OnceLock::new() }, None),
        }
    }

    /// Cancels a timeout of any connection of this `WebSocket`; one that has fired stays fired. Another's is left alone.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn cancel(&self, timeout: Timeout) -> Result<()> {
        match timeout.target {
            Target::All => self.everyone(Everyone::Cancel(timeout.key), None),
            Target::One(mailbox) => {
                self.hub.take_room(Patience::Block)?;
                // One of another `WebSocket` has no place of ours to give back.
                let ours = mailbox.upgrade().is_some_and(|mailbox| {
                    self.hub.find(mailbox.id).is_some_and(|found| Arc::ptr_eq(&found, &mailbox))
                });
                if !ours || post_to(&self.hub, &mailbox, Command::Cancel(timeout.key)) == Posted::Dropped {
                    self.hub.give_room(1);
                }
                Ok(())
            }
        }
    }

    /// Whether the connection has not ended yet; of a broadcaster, whether its `WebSocket` is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.mailbox {
            Some(mailbox) => !mailbox.is_gone(),
            None => !self.hub.is_gone(),
        }
    }

    /// A `Sender` of every living connection of the `WebSocket`, by number.
    #[must_use]
    pub fn connections(&self) -> Vec<Self> {
        self.hub.living().iter().map(|mailbox| Self::of(&self.hub, mailbox)).collect()
    }

    /// Queues; what is for a connection that is gone is dropped.
    fn post(&self, mailbox: &Mailbox, command: Command) -> Result<()> {
        match desk::put_first(&self.hub, mailbox, command) {
            None => Ok(()),
            Some(command) => self.post_behind(mailbox, command),
        }
    }

    /// Queues behind what waits, in a place.
    #[cold]
    fn post_behind(&self, mailbox: &Mailbox, command: Command) -> Result<()> {
        self.hub.take_room(Patience::Block)?;
        if self.hub.post(mailbox, command) == Posted::Dropped {
            self.hub.give_room(1);
        }
        Ok(())
    }

    fn post_now(&self, mailbox: &Mailbox, command: Command) -> Result<()> {
        if mailbox.is_gone() {
            return Err(QueueError::Closed.into());
        }
        self.hub.take_room(Patience::Never)?;
        self.posted(self.hub.post(mailbox, command))
    }

    fn posted(&self, posted: Posted) -> Result<()> {
        match posted {
            Posted::Queued => Ok(()),
            Posted::Dropped => {
                self.hub.give_room(1);
                Err(QueueError::Closed.into())
            }
        }
    }

    fn everyone(&self, what: Everyone, except: Option<u32>) -> Result<()> {
        let permit = self.hub.take_permit(Patience::Block)?;
        self.hub.broadcast(what, permit, except);
        Ok(())
    }
}

fn shared(msg: CoreMessage) -> (OpCode, Payload) {
    match msg {
        CoreMessage::Text(text) => (OpCode::Text, Payload::Text(text)),
        CoreMessage::Binary(bytes) => (OpCode::Binary, Payload::Bytes(bytes)),
    }
}

fn check_control(data: &[u8]) -> Result<()> {
    if data.len() > 125 {
        let details = format!("ping or pong payload of {} bytes, more than 125 (RFC 6455 section 5.5)", data.len());
        return Err(Error::new(ErrorKind::Protocol, details));
    }
    Ok(())
}

impl PartialEq for Sender {
    fn eq(&self, other: &Self) -> bool {
        (self.token(), self.connection_id()) == (other.token(), other.connection_id())
    }
}

impl Eq for Sender {}

impl Hash for Sender {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.token(), self.connection_id()).hash(state);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("token", &self.token())
            .field("connection_id", &self.connection_id())
            .finish_non_exhaustive()
    }
}
