//! A WebSocket over one byte stream.
//!
//! ```text
//! transport -> read.rs (pooled buffer) -> proto::connection -> drive.rs -> next
//! send, feed -> proto::connection -> write.rs (queue) -> inner.rs (flush) -> transport
//! ```
//!
//! `drive.rs` is the loop, `end.rs` what follows the last frame, `wakers.rs` how two tasks share a connection, `lease.rs`
//! how a server takes a connection back, `entry.rs` how it ends all of them.

mod clock;
mod drive;
mod end;
mod entry;
mod frames;
mod futures;
mod inner;
mod lease;
mod open;
pub(crate) mod random;
mod read;
mod wakers;
mod write;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config, Error, Result,
    proto::{
        CloseCode, CloseFrame, Message, Role,
        connection::{Ending, Event, Stats},
        deflate::Compression,
    },
};

pub(crate) use clock::{Alarm, Forerunner, now};
pub(crate) use drive::Turn;
pub(crate) use entry::{Entries, Entry, Order, until_cut, while_serving};
pub(crate) use frames::Copied;
use futures::{Feed, Next};
pub(crate) use inner::{Inner, Place, copy};
use lease::Leased;

#[cfg(feature = "hyper")]
pub(crate) use lease::Counter;
pub(crate) use lease::{Lease, Lendable, close, lend};
pub(crate) use open::{HEAD_READ, HEAD_WRITTEN, Judging, Turned, accept, agree, answer_and_end, connect, open, within};
pub(crate) use random::nonce;
pub(crate) use wakers::Side;

/// One end of an open WebSocket connection, over any byte stream.
///
/// It is a [`Stream`] of messages and a [`Sink`] for them; the methods of the same names need no import.
///
/// Whoever polls drives the connection: while [`next`](Self::next) is awaited, Pings are answered, queued messages go out,
/// keepalive Pings are sent and deadlines are watched. An application that stops asking for messages stops reading, and
/// the peer is slowed down by TCP.
///
/// # The end
///
/// A normal close is not an error: [`next`](Self::next) returns `None`, and [`ending`](Self::ending) says how the
/// connection ended. A broken rule, an exceeded limit, a missed deadline or a lost transport is one final `Err`. Both come
/// only after the last bytes are flushed and the transport is shut down, within the close deadline; afterwards there is
/// nothing left to do but drop it. Dropping an open `WebSocket` cuts the connection, except in [`Server`](crate::Server),
/// which takes it back and closes it.
///
/// # Panics
///
/// Whatever has to wait panics outside of a Tokio runtime with time enabled: `Builder::enable_time`, `enable_all` or
/// `#[tokio::main]`.
///
/// # Cancel safety
///
/// Every method is cancel-safe: progress is kept in the connection and never in a future. What a dropped
/// [`send`](Self::send) leaves behind is said there.
///
/// ```no_run
/// # async fn example() -> wireline::Result<()> {
/// let mut ws = wireline::connect("ws://127.0.0.1:9001").await?;
/// ws.send("hello").await?;
/// if let Some(message) = ws.next().await {
///     println!("{}", message?);
/// }
/// ws.close(wireline::CloseCode::NORMAL, "done").await?;
/// # Ok(())
/// # }
/// ```
pub struct WebSocket<S: AsyncRead + AsyncWrite + Unpin> {
    inner: Leased<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Takes over a stream whose opening handshake was done elsewhere, without any extension, and of which nothing behind
    /// that was read. [`Config::deflate`] has no effect: compression is agreed on in the handshake.
    ///
    /// This needs no runtime yet; using the connection does (see [`WebSocket`]).
    ///
    /// # Errors
    ///
    /// [`Error::Caller`] if the configuration cannot work ([`Config::validate`]).
    ///
    /// ```
    /// use wireline::{Config, Message, Role, WebSocket};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> wireline::Result<()> {
    /// let (here, there) = tokio::io::duplex(1024);
    /// let mut client = WebSocket::after_handshake(here, Role::Client, Config::default())?;
    /// let mut server = WebSocket::after_handshake(there, Role::Server, Config::default())?;
    /// client.send("hello").await?;
    /// assert_eq!(server.next().await.transpose()?, Some(Message::from("hello")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn after_handshake(stream: S, role: Role, config: Config) -> Result<Self> {
        config.validate()?;
        Ok(Self::new(Inner::new(stream, role, Arc::new(config), None, &[])))
    }

    pub(crate) fn new(inner: Inner<S>) -> Self {
        Self { inner: Leased::new(Box::new(inner)) }
    }

    /// The next message; `None` after the end. See [`WebSocket`] for how a connection ends.
    ///
    /// Before it waits, everything that was fed is flushed, so that a loop of `next` and [`feed`](Self::feed) answers
    /// whatever has arrived with a single write.
    ///
    /// # Errors
    ///
    /// [`Error::Peer`], [`Error::Limit`], [`Error::Network`] or [`Error::Timeout`], once; the connection is over then.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no message is lost.
    #[expect(clippy::should_implement_trait, reason = "what `next` means for streams")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Message>>> {
        Next(self.inner.get())
    }

    /// The next event: like [`next`](Self::next), with control frames.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no event is lost.
    pub fn next_event(&mut self) -> impl Future<Output = Option<Result<Event>>> {
        poll_fn(|cx| self.inner.get().poll_event(cx, Side::Reader))
    }

    /// Sends a message and everything fed before: returns when the transport has taken all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Caller`] if the connection is closing or closed, [`Error::Network`] or [`Error::Timeout`] if the transport
    /// fails or takes nothing for the write deadline. Reading may go on after such an error: the peer's Close frame may be
    /// there already.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the message is either not sent at all, or queued as a whole, and then goes out with the next `send`,
    /// [`flush`](Self::flush) or [`next`](Self::next). It is never torn and never sent twice.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// ws.send("text").await?;
    /// ws.send(vec![1, 2, 3]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<()>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| {
            let inner = self.inner.get();
            ready!(inner.poll_feed(cx, &mut message))?;
            inner.poll_flush(cx, Side::Writer)
        })
    }

    /// Queues a message. It stays queued until the next [`next`](Self::next), [`flush`](Self::flush) or
    /// [`send`](Self::send): nothing is written before the high-water mark ([`Limits::high_water`](crate::Limits::high_water)),
    /// above which `feed` writes until there is room.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the message is queued as a whole or not at all.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// while let Some(message) = ws.next().await {
    ///     ws.feed(message?).await?; // everything that has arrived is answered with one write
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<()>> {
        Feed { inner: self.inner.get(), message: Some(message.into()) }
    }

    /// Writes everything that is queued.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] or [`Error::Timeout`], as [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: what was not written stays queued.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// for part in ["a", "b", "c"] {
    ///     ws.feed(part).await?;
    /// }
    /// ws.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn flush(&mut self) -> impl Future<Output = Result<()>> {
        poll_fn(|cx| self.inner.get().poll_flush(cx, Side::Writer))
    }

    /// Sends a Ping of at most 125 bytes, ahead of queued messages (RFC 6455 section 5.5.2). Its Pong is an event of
    /// [`next_event`](Self::next_event). Keepalive needs no call of this: see [`Timings`](crate::Timings).
    ///
    /// # Errors
    ///
    /// [`Error::Caller`] for a longer payload, with nothing sent; else as [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the Ping is queued or not.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// ws.ping("are you there?").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ping(&mut self, payload: impl Into<Bytes>) -> impl Future<Output = Result<()>> {
        let mut payload = Some(payload.into());
        poll_fn(move |cx| {
            let inner = self.inner.get();
            ready!(inner.poll_ping(cx, &mut payload))?;
            inner.poll_flush(cx, Side::Writer)
        })
    }

    /// Closes the connection: sends what is queued, then a Close frame, and waits for the peer's and for the end of the
    /// transport, at most [`Timings::close`](crate::Timings::close). Messages that still arrive are dropped; to receive
    /// them, drop this future after it was polled once and go on with [`next`](Self::next).
    ///
    /// On a connection that is closing already it waits for the end, and on one that has ended it does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Caller`] for a reason of more than 123 bytes, with nothing sent; [`Error::Timeout`] if the peer does not
    /// answer in time; else as [`next`](Self::next).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once the Close frame is queued, whatever is awaited next goes on closing.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<()> {
        let mut frame = Some(CloseFrame::new(code, reason)?);
        poll_fn(|cx| {
            let inner = self.inner.get();
            if let Some(frame) = frame.take() {
                ready!(inner.poll_start_close(cx, frame));
            }
            inner.poll_closed(cx, Side::Writer)
        })
        .await
    }

    /// How the connection ended; `None` while it has not.
    pub fn ending(&self) -> Option<&Ending> {
        self.inner.peek().ending()
    }

    /// What has passed over the connection, and how it is doing: messages and bytes both ways, the round-trip time, what
    /// compression came to. Counting is always on; this looks at the counters, after the end too.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// while let Some(message) = ws.next().await {
    ///     ws.feed(message?).await?;
    /// }
    /// let stats = ws.stats();
    /// println!("{} messages, {} bytes, {:?}", stats.messages_received, stats.bytes_received, stats.round_trip);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        self.inner.peek().stats()
    }

    /// The settings this connection was opened with.
    ///
    /// ```
    /// # use wireline::{Config, Role, WebSocket};
    /// # let (stream, _) = tokio::io::duplex(64);
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let ws = WebSocket::after_handshake(stream, Role::Server, Config::default())?;
    /// assert_eq!(ws.config(), &Config::default());
    /// # Ok::<(), wireline::Error>(()) }).unwrap();
    /// ```
    pub fn config(&self) -> &Config {
        &self.inner.peek().config
    }

    /// Sets how messages are compressed from the next one on, where the connection agreed to compress at all
    /// ([`Config::deflate`]); elsewhere it has no effect. It is decided when a message is queued, by
    /// [`send`](Self::send), [`feed`](Self::feed) or the `Sink`.
    ///
    /// ```no_run
    /// # async fn example(mut ws: wireline::WebSocket<tokio::net::TcpStream>) -> wireline::Result<()> {
    /// use wireline::proto::deflate::Compression;
    /// ws.set_compression(Compression::Never);
    /// ws.send("a secret beside what others chose").await?;
    /// ws.set_compression(Compression::ByLength);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_compression(&mut self, compression: Compression) {
        self.inner.get().compression = compression;
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.inner.peek().connection.role()
    }

    /// The subprotocol that the opening handshake agreed on (RFC 6455 section 1.9).
    pub fn subprotocol(&self) -> Option<&str> {
        self.inner.peek().subprotocol()
    }

    /// The transport, to look at. Reading from it or writing to it breaks the connection.
    pub fn get_ref(&self) -> &S {
        &self.inner.peek().io
    }
}

/// Keeps a server's place taken for as long as the connection lives.
pub(crate) fn hold<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, place: Option<Place>) {
    ws.inner.get().place = place;
}

/// Has this called once, before the last write to the transport, if the end follows at once.
pub(crate) fn before_last_write<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, call: fn(&S)) {
    ws.inner.get().set_before_last_write(call);
}

/// Enters a connection that has just opened among those that its server ends together.
pub(crate) fn track<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>, entry: Option<Arc<Entry>>) {
    if let Some(entry) = &entry {
        entry.opened();
    }
    ws.inner.get().entry = entry;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().inner.get().poll_message(cx)
    }
}

/// The same as [`feed`](WebSocket::feed), [`flush`](WebSocket::flush) and [`close`](WebSocket::close), for combinators such
/// as `forward` and `split`. Two tasks may hold the halves of a `split`: each is woken for what it waits for.
///
/// `poll_ready` waits above the high-water mark; `start_send` without it queues up to
/// [`Limits::max_queue`](crate::Limits::max_queue) bytes, and is then refused with
/// [`Misuse::QueueFull`](crate::proto::Misuse::QueueFull).
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use wireline::{Config, Message, Role, WebSocket};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> wireline::Result<()> {
/// let (here, there) = tokio::io::duplex(1024);
/// let client = WebSocket::after_handshake(here, Role::Client, Config::default())?;
/// let mut server = WebSocket::after_handshake(there, Role::Server, Config::default())?;
/// let (mut sink, mut stream) = client.split();
/// let writer = tokio::spawn(async move { sink.send(Message::from("hello")).await });
/// assert_eq!(server.next().await.transpose()?, Some(Message::from("hello")));
/// server.send("hello yourself").await?;
/// assert_eq!(stream.next().await.transpose()?, Some(Message::from("hello yourself")));
/// writer.await.expect("it did not panic")?;
/// # Ok(())
/// # }
/// ```
impl<S: AsyncRead + AsyncWrite + Unpin, M: Into<Message>> Sink<M> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().inner.get().poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: M) -> Result<()> {
        self.get_mut().inner.get().start_send(message.into())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().inner.get().poll_flush(cx, Side::Writer)
    }

    /// Closes with code 1000, as [`WebSocket::close`] does. After `StreamExt::split` both halves read while the sink closes,
    /// and what the sink reads is dropped: to receive everything, read to the end before closing the sink.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let inner = self.get_mut().inner.get();
        ready!(inner.poll_start_close(cx, CloseFrame::bare(CloseCode::NORMAL)));
        inner.poll_closed(cx, Side::Writer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.peek();
        f.debug_struct("WebSocket")
            .field("role", &inner.connection.role())
            .field("ending", &inner.ending())
            .finish_non_exhaustive()
    }
}
