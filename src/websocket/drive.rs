//! One turn of the loop: decode what is here, else read more, else flush, else wait.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::unconstrained,
};
use tokio_util::io::poll_read_buf;

use crate::{
    Error, Result,
    proto::{
        Awaited, CloseFrame, Fault, Message,
        connection::{Cause, Connection, Due, Event, Receive, Step, WentOff},
    },
    websocket::{
        clock::now,
        end::Phase,
        inner::{FRAMES_PER_POLL, Inner, Transported, Watch},
        random,
        wakers::Side,
        write::Queue,
    },
};

/// What one read came to.
enum Read {
    /// Bytes are in the input buffer.
    Buffered,
    /// Bytes went straight into the message.
    Direct(usize),
    End,
}

/// Whether the application has just asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Begins,
    GoesOn,
}

/// What a poll for something came to.
enum Found<T> {
    Item(T),
    /// Bytes were read, and nobody has looked at them yet.
    Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    /// The next message; control frames are dealt with on the way.
    #[inline(always)]
    pub(super) fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Message>>> {
        let mut call = Call::Begins;
        loop {
            if let Some(message) = self.buffered_message() {
                return Poll::Ready(Some(Ok(message)));
            }
            // Taken apart and put together: as it is it would be returned through memory, and the message above with it.
            match ready!(self.poll_unusual(cx, call)) {
                Some(Ok(Found::Item(message))) => return Poll::Ready(Some(Ok(message))),
                Some(Ok(Found::Bytes)) => call = Call::GoesOn,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Whatever else may be next.
    #[inline(never)]
    fn poll_unusual(&mut self, cx: &Context<'_>, call: Call) -> Poll<Option<Result<Found<Message>>>> {
        if call == Call::Begins {
            self.connection.asked();
        }
        loop {
            match ready!(self.poll_step(cx, Side::Reader)) {
                Some(Ok(Found::Item(Event::Message(message)))) => return Poll::Ready(Some(Ok(Found::Item(message)))),
                Some(Ok(Found::Item(Event::Ping(_) | Event::Pong(_) | Event::Close(_)))) => {}
                Some(Ok(Found::Bytes)) => return Poll::Ready(Some(Ok(Found::Bytes))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// A message that is here already, for which neither the transport nor the clock is asked anything.
    #[inline(always)]
    fn buffered_message(&mut self) -> Option<Message> {
        if self.phase != Phase::Open || self.budget == 0 {
            return None;
        }
        let (input, decoded) = self.input.left()?;
        match self.connection.plain_copy(input, &self.config.limits)? {
            Ok((message, len)) => {
                *decoded += len;
                self.budget -= 1;
                self.connection.message_received();
                Some(message)
            }
            Err(violation) => {
                self.failed(violation.into());
                None
            }
        }
    }

    /// Reads and drops until the connection has ended.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>, side: Side) -> Poll<Result<()>> {
        loop {
            match ready!(self.poll_event(cx, side)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The next event. `None`, once after the end, and for ever.
    pub(super) fn poll_event(&mut self, cx: &Context<'_>, side: Side) -> Poll<Option<Result<Event>>> {
        self.connection.asked();
        loop {
            match ready!(self.poll_step(cx, side)) {
                Some(Ok(Found::Item(event))) => return Poll::Ready(Some(Ok(event))),
                Some(Ok(Found::Bytes)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// The next event, or bytes that may have one.
    fn poll_step(&mut self, cx: &Context<'_>, side: Side) -> Poll<Option<Result<Found<Event>>>> {
        let both = self.polled_by(side, cx.waker());
        let cx = &mut both.as_ref().map_or_else(|| Context::from_waker(cx.waker()), Context::from_waker);
        loop {
            if self.phase != Phase::Open {
                ready!(self.poll_end(cx));
                return Poll::Ready(self.take_failure().map(Err));
            }
            match ready!(self.poll_turn(cx)) {
                Turn::Item(event) => {
                    match &event {
                        Event::Close(_) => self.close_received(),
                        Event::Ping(_) => self.write_now(cx),
                        Event::Message(_) | Event::Pong(_) => {}
                    }
                    return Poll::Ready(Some(Ok(Found::Item(event))));
                }
                Turn::Read => return Poll::Ready(Some(Ok(Found::Bytes))),
                Turn::Fault(fault) => self.failed(fault),
                Turn::End => {
                    let error =
                        io::Error::new(io::ErrorKind::UnexpectedEof, "the transport ended without a close frame");
                    self.lost(error, Phase::Flush);
                }
                Turn::Lost(error) => self.lost(error, Phase::Cut),
                Turn::Late(awaited) => self.cut(awaited),
            }
        }
    }

    /// Begins the closing handshake and leaves it at that for one poll: whoever drops the future then goes on with `next`
    /// and misses no message. Ready if there is nothing to begin.
    pub(super) fn poll_start_close(&mut self, cx: &Context<'_>, frame: CloseFrame) -> Poll<()> {
        if self.phase != Phase::Open || !self.connection.is_open() || self.transport == Transported::Broken {
            return Poll::Ready(());
        }
        self.start_close(Some(frame));
        let both = self.polled_by(Side::Writer, cx.waker());
        let cx = &mut both.as_ref().map_or_else(|| Context::from_waker(cx.waker()), Context::from_waker);
        self.write_now(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn close_received(&mut self) {
        if self.transport == Transported::Broken {
            // The peer has said how it ends; that we could not write any more is no news then.
            self.take_failure();
        } else {
            let out = self.output.get_or_insert_with(Queue::take);
            self.connection.answer_close(now(), &mut random::mask, &mut **out);
        }
        self.phase = Phase::Flush;
    }

    fn failed(&mut self, fault: Fault) {
        let out = self.output.get_or_insert_with(Queue::take);
        self.connection.fail(Cause::Fault(fault), now(), &mut random::mask, &mut **out);
        self.fail_with(fault.into());
        self.phase = Phase::Flush;
    }

    fn lost(&mut self, error: io::Error, phase: Phase) {
        let out = self.output.get_or_insert_with(Queue::take);
        self.connection.fail(Cause::Lost, now(), &mut random::mask, &mut **out);
        self.fail_first_with(|| Error::Network(error));
        self.phase = phase;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R> Inner<S, R>
where
    Connection<R>: Receive,
{
    /// One turn of the loop, while the connection is open: what came of it is for the caller to deal with.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn<<Connection<R> as Receive>::Item>> {
        if self.connection.close_deadline(&self.config.timings).is_some() {
            // Our Close frame does not wait until a peer that sends without end has nothing more to read.
            self.write_now(cx);
        }
        loop {
            let input = self.input.pending();
            if input.is_some() || self.connection.is_unfinished() {
                if self.budget == 0 {
                    // Other tasks first. Nothing is flushed for that, and the input stays where it is.
                    self.budget = FRAMES_PER_POLL;
                    self.connection.note_heard(now(), WentOff::NotYet);
                    if self.heed(cx).is_ready() {
                        return Poll::Ready(Turn::Late(Awaited::Close));
                    }
                    if let Some(awaited) = self.overdue(cx) {
                        return Poll::Ready(Turn::Late(awaited));
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let received = match input {
                    Some(input) => self.connection.receive(input, &self.config.limits),
                    None => self.connection.receive(&mut BytesMut::new(), &self.config.limits),
                };
                self.budget = self.budget.saturating_sub(self.connection.take_work().saturating_add(1));
                match received {
                    Ok(Step::Item(item)) => return Poll::Ready(Turn::Item(item)),
                    Ok(Step::Progress) => continue,
                    Ok(Step::NeedMore) => {}
                    Err(fault) => return Poll::Ready(Turn::Fault(fault)),
                }
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(Read::Buffered)) => {
                    self.heard();
                    return Poll::Ready(Turn::Read);
                }
                Poll::Ready(Ok(Read::Direct(read))) => {
                    self.heard();
                    match self.connection.filled(read) {
                        Ok(Step::Item(item)) => return Poll::Ready(Turn::Item(item)),
                        Ok(Step::Progress | Step::NeedMore) => {}
                        Err(fault) => return Poll::Ready(Turn::Fault(fault)),
                    }
                }
                Poll::Ready(Ok(Read::End)) => return Poll::Ready(Turn::End),
                Poll::Ready(Err(error)) => return Poll::Ready(Turn::Lost(error)),
                Poll::Pending => {
                    self.input.release();
                    self.budget = FRAMES_PER_POLL;
                    return self.poll_idle(cx).map(Turn::Late);
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let io = Pin::new(&mut self.io);
        if self.input.is_blank()
            && let Some(mut spare) = self.connection.spare()
        {
            let read = ready!(poll_read_buf(io, cx, spare.buf()))?;
            self.bytes_received += read as u64;
            self.ended |= read == 0;
            return Poll::Ready(Ok(if read == 0 { Read::End } else { Read::Direct(read) }));
        }
        let read = ready!(poll_read_buf(io, cx, self.input.room()))?;
        self.bytes_received += read as u64;
        self.ended |= read == 0;
        Poll::Ready(Ok(if read == 0 { Read::End } else { Read::Buffered }))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R> Inner<S, R> {
    /// Nothing is left to read: the time to write, and to look at the clock. Ready when something did not happen in time.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Awaited> {
        if let Poll::Ready(awaited) = self.heed(cx) {
            return Poll::Ready(awaited);
        }
        loop {
            self.write_now(cx);
            if self.is_alarm_set(cx) {
                return Poll::Pending;
            }
            match self.poll_alarm(cx, Watch::All) {
                Poll::Ready(Due::Ping) => {}
                Poll::Ready(Due::Late(awaited)) => return Poll::Ready(awaited),
                // The timer says nothing in a task that has used up its budget of tokio's, reading without end.
                Poll::Pending => return self.overdue(cx).map_or(Poll::Pending, Poll::Ready),
            }
        }
    }

    /// Whether the timer will wake this task early enough as it is.
    fn is_alarm_set(&mut self, cx: &Context<'_>) -> bool {
        let now = now();
        self.connection.note_heard(now, self.alarm.went_off(now));
        let deadline = self.connection.deadline(&self.config.timings);
        self.wakers.is_only(cx.waker()) && deadline.is_none_or(|deadline| self.alarm.is_armed(now, deadline))
    }

    /// Bytes arrived. The clock is looked at where the connection waits; at once only for a Pong's round trip, and where no
    /// more can be sent, because a connection that is closing has no such note.
    fn heard(&mut self) {
        if self.connection.awaits_pong() || self.transport == Transported::Broken {
            self.connection.heard_now(now());
        } else {
            self.connection.heard();
        }
    }

    /// A Pong goes out at once where the transport takes it, so that every Ping is answered and none waits for an
    /// application that takes long over its messages. Where it does not, the next Ping's answer replaces it.
    pub(super) fn write_now(&mut self, cx: &mut Context<'_>) {
        if self.transport != Transported::Broken
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            self.write_failed(&error);
        }
    }

    /// The clock itself, for when the timer cannot be asked: a peer that always has more to read must put neither the end
    /// off nor the deadline for what it does not read.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Awaited> {
        if self.connection.write_deadline(&self.config.timings).is_none_or(|deadline| now() < deadline) {
            return None;
        }
        // Whatever is left of tokio's budget: a write that it forbids is none that the transport refuses.
        let write = poll_fn(|cx| {
            self.write_now(cx);
            Poll::Ready(())
        });
        let _ = pin!(unconstrained(write)).poll(cx);
        match self.connection.handle_write_timeout(now(), &self.config.timings) {
            Some(Due::Late(awaited)) => Some(awaited),
            Some(Due::Ping) | None => None,
        }
    }
}

/// What a turn of the loop came to.
#[derive(Debug)]
pub(crate) enum Turn<T> {
    /// Bytes were read, and nobody has looked at them yet.
    Read,
    /// Something that arrived.
    Item(T),
    /// The peer broke a rule or went beyond a limit; nothing more can be received.
    Fault(Fault),
    /// The peer has ended the transport.
    End,
    /// The transport failed.
    Lost(io::Error),
    /// Something did not happen in time.
    Late(Awaited),
}
