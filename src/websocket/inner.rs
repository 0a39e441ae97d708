use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config, Error, Result,
    metrics::Reporter,
    proto::{
        Awaited, CloseFrame, Message, Misuse, Role,
        codec::decoder::Masking,
        connection::{Cause, Connection, Due, Ending, Outgoing, Receiver, Stats},
        deflate::{Agreed, Compression},
    },
    websocket::{
        clock::{Alarm, now},
        end::Phase,
        entry::{Entry, Order},
        random,
        read::Input,
        wakers::{Side, Wakers},
        write::{Queue, Until},
    },
};

/// Frames handled before other tasks get their turn: a peer that sends a million tiny frames at once must not stop them.
pub(super) const FRAMES_PER_POLL: u16 = 128;

/// A connection and everything that drives it. Whoever polls is the driver.
///
/// While it is idle it owns no buffers: they are taken from pools of the thread and given back.
#[derive(Debug)]
pub(crate) struct Inner<S, R = Receiver> {
    pub(super) io: S,
    pub(super) connection: Connection<R>,
    pub(super) config: Arc<Config>,
    pub(super) input: Input,
    pub(super) output: Option<Box<Queue>>,
    pub(super) alarm: Alarm,
    /// Bytes that the transport gave and took.
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) reporter: Reporter,
    pub(super) wakers: Wakers,
    pub(super) rare: Option<Box<Rare>>,
    /// Tells a transport that can make use of it that the end comes right behind what is written from now on.
    pub(super) before_last_write: Option<fn(&S)>,
    /// Held for as long as the connection lives, by a server that counts its connections.
    pub(super) place: Option<Place>,
    /// Of a server that ends its connections together, until this one has ended.
    pub(super) entry: Option<Arc<Entry>>,
    /// Whether the entry knows whom to wake.
    watched: bool,
    /// Whether the peer's end was read: not every transport says it twice.
    pub(super) ended: bool,
    pub(super) phase: Phase,
    pub(super) budget: u16,
    pub(super) transport: Transported,
    /// How messages are compressed from now on, where that was agreed.
    pub(super) compression: Compression,
}

/// What most connections do not have, so that idle ones have no room for it.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// What `poll_next` will yield as its last item.
    failure: Option<Error>,
    subprotocol: Option<String>,
}

/// One of the connections a server may have, until dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, if fewer than `max` are taken.
    pub(crate) fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let place = Self(Arc::clone(open));
        let before = open.fetch_add(1, Ordering::Relaxed);
        (before < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the transport is known to hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transported {
    /// All that was written has gone out.
    Flushed,
    /// The transport may hold bytes until it is flushed.
    Held,
    /// A write failed; nothing can be sent any more.
    Broken,
}

/// Which deadlines the poller answers for: only a reader knows whether the peer is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    All,
    Writing,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    pub(crate) fn new(io: S, role: Role, config: Arc<Config>, agreed: Option<Agreed>, read_ahead: &[u8]) -> Self {
        let receiver = Receiver::new(Masking::ByRole(role));
        Self::over(io, Connection::new(role, receiver, now()).with_deflate(agreed), config, read_ahead)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R> Inner<S, R> {
    pub(super) fn over(io: S, connection: Connection<R>, config: Arc<Config>, read_ahead: &[u8]) -> Self {
        let reporter = Reporter::opened(connection.role());
        Self {
            io,
            connection,
            config,
            input: Input::new(read_ahead),
            output: None,
            alarm: Alarm::default(),
            bytes_received: read_ahead.len() as u64,
            bytes_sent: 0,
            reporter,
            wakers: Wakers::default(),
            rare: None,
            before_last_write: None,
            place: None,
            entry: None,
            watched: false,
            ended: false,
            phase: Phase::Open,
            budget: FRAMES_PER_POLL,
            transport: Transported::Flushed,
            compression: Compression::default(),
        }
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.connection.ending()
    }

    /// Whether this is the one task that has polled so far.
    #[inline]
    pub(crate) fn is_polled_by(&self, waker: &Waker) -> bool {
        self.wakers.is_only(waker)
    }

    /// Notes who polls. What comes back, if anything, is the waker to be used instead.
    pub(crate) fn polled_by(&mut self, side: Side, waker: &Waker) -> Option<Waker> {
        if self.wakers.is_only(waker) {
            return None;
        }
        self.alarm.disarm();
        self.watched = false;
        self.wakers.enter(side, waker)
    }

    /// Room for one more message below the high-water mark; nothing is written before that mark is reached.
    pub(super) fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.check_sendable()?;
        if self.queued() < self.config.limits.high_water {
            return Poll::Ready(Ok(()));
        }
        let written = self.poll_flush(cx, Side::Writer)?;
        if written.is_ready() || self.queued() < self.config.limits.high_water {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Queues the message as soon as there is room; ready at once when it was queued before.
    #[inline(always)]
    pub(super) fn poll_feed(&mut self, cx: &Context<'_>, message: &mut Option<Message>) -> Poll<Result<()>> {
        if let Some(given) = message
            && self.feed_now(given)
        {
            *message = None;
            return Poll::Ready(Ok(()));
        }
        self.poll_feed_later(cx, message)
    }

    /// The usual case by itself: a small message, and room for it.
    #[inline(always)]
    fn feed_now(&mut self, message: &Message) -> bool {
        if !self.connection.is_open() || self.transport == Transported::Broken {
            return false;
        }
        let out = self.output.get_or_insert_with(Queue::take);
        out.len() < self.config.limits.high_water
            && self.connection.send_copied(message, self.config.fragment_size, &mut random::mask, &mut **out)
    }

    #[inline(never)]
    fn poll_feed_later(&mut self, cx: &Context<'_>, message: &mut Option<Message>) -> Poll<Result<()>> {
        if message.is_some() {
            ready!(self.poll_ready(cx))?;
        }
        Poll::Ready(message.take().map_or(Ok(()), |message| self.start_send(message)))
    }

    /// Encodes a message into the queue.
    pub(super) fn start_send(&mut self, message: Message) -> Result<()> {
        self.check_sendable()?;
        if self.queued() >= self.config.limits.max_queue {
            return Err(Misuse::QueueFull.into());
        }
        let out = self.output.get_or_insert_with(Queue::take);
        let how = Outgoing {
            fragment_size: self.config.fragment_size,
            compression: self.compression,
            deflate: self.config.deflate.as_ref(),
        };
        self.connection.send(message, how, &mut random::mask, &mut **out)?;
        Ok(())
    }

    /// Queues a Ping once the last one has gone out.
    pub(super) fn poll_ping(&mut self, cx: &Context<'_>, payload: &mut Option<Bytes>) -> Poll<Result<()>> {
        while let Some(bytes) = payload {
            self.check_sendable()?;
            if self.connection.ping(bytes.clone())? {
                *payload = None;
            } else {
                ready!(self.poll_flush(cx, Side::Writer))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Begins the closing handshake behind everything queued.
    pub(crate) fn start_close(&mut self, frame: Option<CloseFrame>) {
        if self.phase == Phase::Open && self.transport != Transported::Broken {
            let out = self.output.get_or_insert_with(Queue::take);
            self.connection.close(frame, now(), &mut random::mask, &mut **out);
        }
    }

    /// Keeps to the order that the server's connections have: begins the closing handshake behind everything queued. Ready
    /// when it is time to cut.
    pub(super) fn heed(&mut self, cx: &Context<'_>) -> Poll<Awaited> {
        let Some(entry) = &self.entry else { return Poll::Pending };
        let mut order = entry.order();
        // An order takes the waker out of the entry.
        if !self.watched || order != Order::Serve {
            self.watched = true;
            order = entry.watch(cx.waker());
        }
        if let Some(code) = order.code()
            && self.connection.is_open()
        {
            self.start_close(Some(CloseFrame::bare(code)));
        }
        if order.is_cut() { Poll::Ready(Awaited::Close) } else { Poll::Pending }
    }

    /// What the server's connections are ordered to do.
    pub(super) fn order(&self) -> Order {
        self.entry.as_ref().map_or(Order::Serve, |entry| entry.order())
    }

    /// Writes everything that is queued. An error here is the end of sending; reading goes on.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>, side: Side) -> Poll<Result<()>> {
        let both = self.polled_by(side, cx.waker());
        let cx = &mut both.as_ref().map_or_else(|| Context::from_waker(cx.waker()), Context::from_waker);
        loop {
            if let Poll::Ready(awaited) = self.heed(cx) {
                self.cut(awaited);
                return Poll::Ready(Err(Error::Timeout(awaited)));
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.write_failed(&error))),
                Poll::Pending => {}
            }
            match self.poll_alarm(cx, Watch::Writing) {
                Poll::Ready(Due::Late(awaited)) => {
                    self.cut(awaited);
                    return Poll::Ready(Err(Error::Timeout(awaited)));
                }
                Poll::Ready(Due::Ping) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes and flushes, control frames first.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.transport == Transported::Broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.poll_write_queue(cx);
        match &written {
            Poll::Pending => self.connection.write_blocked(Some(now())),
            Poll::Ready(_) => self.connection.write_blocked(None),
        }
        written
    }

    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.connection.is_urgent() {
                let out = self.output.get_or_insert_with(Queue::take);
                if let Some(mut front) = out.front() {
                    self.connection.urgent(now(), &mut random::mask, &mut front);
                }
            }
            let Some(out) = &mut self.output else { break };
            if out.is_empty() {
                if let Some(out) = self.output.take() {
                    out.give();
                }
                break;
            }
            let until = if self.connection.is_urgent() { Until::Boundary } else { Until::End };
            self.bytes_sent += ready!(out.poll_write(&mut self.io, cx, until))? as u64;
            self.connection.write_blocked(None);
            self.transport = Transported::Held;
        }
        if self.transport == Transported::Held {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.transport = Transported::Flushed;
        }
        Poll::Ready(Ok(()))
    }

    /// What the one timer says. `Due::Ping` means that there is something to flush.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>, watch: Watch) -> Poll<Due> {
        let timings = &self.config.timings;
        loop {
            let deadline = match watch {
                Watch::All => self.connection.deadline(timings),
                Watch::Writing => self.connection.write_deadline(timings),
            };
            let Some(deadline) = deadline else { return Poll::Pending };
            ready!(self.alarm.poll(cx, deadline));
            let stats = self.stats();
            self.reporter.publish(self.connection.role(), &stats);
            let now = now().max(deadline);
            let due = match watch {
                Watch::All => self.connection.handle_timeout(now, timings),
                Watch::Writing => self.connection.handle_write_timeout(now, timings),
            };
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
    }

    /// A write failed: what is queued is lost and nothing more can be sent, but what the peer has sent is still read until
    /// its Close frame, its end, or the close deadline.
    pub(super) fn write_failed(&mut self, error: &io::Error) -> Error {
        if self.transport != Transported::Broken {
            self.transport = Transported::Broken;
            self.output = None;
            self.connection.write_lost(now());
            // Behind the peer's Close frame, or another failure, it is no news.
            if self.phase == Phase::Open {
                self.fail_first_with(|| Error::Network(copy(error)));
            }
            // A reader in another task has the close deadline to watch from now on.
            self.wakers.wake();
        }
        Error::Network(copy(error))
    }

    /// Ends the connection at once: something did not happen in time.
    pub(super) fn cut(&mut self, awaited: Awaited) {
        let out = self.output.get_or_insert_with(Queue::take);
        let lost = self.transport == Transported::Broken;
        let cause = if lost { Cause::Lost } else { Cause::Timeout(awaited) };
        self.connection.fail(cause, now(), &mut random::mask, &mut **out);
        if self.phase == Phase::Open {
            self.fail_first_with(|| Error::Timeout(awaited));
        }
        self.phase = Phase::Cut;
        self.wakers.wake();
    }

    fn check_sendable(&self) -> Result<()> {
        if self.connection.is_open() && self.transport != Transported::Broken {
            return Ok(());
        }
        Err(match self.rare.as_ref().and_then(|rare| rare.failure.as_ref()) {
            Some(Error::Network(error)) => Error::Network(copy(error)),
            Some(Error::Timeout(awaited)) => Error::Timeout(*awaited),
            _ => Misuse::Closed.into(),
        })
    }
}

impl<S, R> Inner<S, R> {
    pub(super) fn fail_with(&mut self, failure: Error) {
        self.rare.get_or_insert_default().failure = Some(failure);
    }

    /// A failure before this one stays.
    pub(super) fn fail_first_with(&mut self, failure: impl FnOnce() -> Error) {
        self.rare.get_or_insert_default().failure.get_or_insert_with(failure);
    }

    /// Why the connection failed, once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.rare.as_mut()?.failure.take()
    }

    pub(super) fn set_subprotocol(&mut self, subprotocol: Option<String>) {
        if subprotocol.is_some() {
            self.rare.get_or_insert_default().subprotocol = subprotocol;
        }
    }

    pub(super) fn subprotocol(&self) -> Option<&str> {
        self.rare.as_ref()?.subprotocol.as_deref()
    }

    /// Calls this, once, before the last write to the transport, if the end follows at once.
    pub(crate) fn set_before_last_write(&mut self, call: fn(&S)) {
        self.before_last_write = Some(call);
    }

    pub(crate) fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, |out| out.len())
    }

    /// What has passed, and how it is doing.
    pub(super) fn stats(&self) -> Stats {
        let (bytes_received, bytes_sent, queued) = (self.bytes_received, self.bytes_sent, self.queued());
        Stats { bytes_received, bytes_sent, queued, ..self.connection.stats() }
    }

    /// Counts this connection as closed, once.
    pub(super) fn report_end(&mut self) {
        let stats = self.stats();
        self.reporter.closed(self.connection.role(), &stats, self.connection.ending());
    }
}

/// A connection that is dropped with something left gives its buffers back too.
impl<S, R> Drop for Inner<S, R> {
    fn drop(&mut self) {
        if self.phase != Phase::Gone {
            self.report_end();
        }
        self.input.discard();
        if let Some(out) = self.output.take() {
            out.give();
        }
    }
}

/// The same error once more, for whoever asks next.
pub(crate) fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
