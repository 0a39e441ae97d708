//! The end of a connection: flush, shut down, drain, so that the peer can read our Close frame.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use crate::{
    proto::{
        Role,
        connection::{Cause, Due, Ending},
    },
    websocket::inner::{Inner, Transported, Watch},
};

/// ```text
/// Open --- Close passed both ways, or a fault, or the peer's end ---> Flush
///   |
///   |   server, or after a fault:  Flush -> Shutdown -> Drain -> Gone
///   |   client:                    Flush -> Drain -> Shutdown -> Gone    (the server ends TCP first, RFC 6455 §7.1.1)
///   |
///   +--- a deadline (in each of these phases), a transport that failed ---> Cut -> Gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Frames are read.
    Open,
    /// What is queued goes out, our Close frame last.
    Flush,
    /// Our side of the transport is ended.
    Shutdown,
    /// The peer's last bytes are read and dropped: unread input would turn the end into a reset, which destroys what the
    /// peer has not read yet. This many have been.
    Drain(u32),
    /// One last try to write what is queued, without waiting.
    Cut,
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R> Inner<S, R> {
    /// Ready at the end; what is left of a failure is in `failure`.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let done = match self.phase {
                Phase::Open | Phase::Flush => self.poll_last_write(cx),
                Phase::Shutdown => Pin::new(&mut self.io).poll_shutdown(cx).map(|_| ()),
                Phase::Drain(drained) => self.poll_drain(cx, drained),
                Phase::Cut => {
                    let _ = self.poll_last_write(cx);
                    let _ = Pin::new(&mut self.io).poll_shutdown(cx);
                    Poll::Ready(())
                }
                Phase::Gone => return Poll::Ready(()),
            };
            if done.is_ready() {
                self.enter(self.after(self.phase));
                continue;
            }
            if self.heed(cx).is_ready() {
                self.enter(Phase::Cut);
                continue;
            }
            match ready!(self.poll_alarm(cx, Watch::All)) {
                Due::Ping => {}
                // Not a failure of its own: both Close frames have passed, or the failure is known.
                Due::Late(_) => self.enter(Phase::Cut),
            }
        }
    }

    fn after(&self, phase: Phase) -> Phase {
        let waits_for_server = self.connection.is_closed() && self.connection.role() == Role::Client;
        match phase {
            Phase::Open | Phase::Flush if waits_for_server => Phase::Drain(0),
            Phase::Open | Phase::Flush => Phase::Shutdown,
            Phase::Shutdown if waits_for_server => Phase::Gone,
            Phase::Shutdown => Phase::Drain(0),
            Phase::Drain(_) if waits_for_server => Phase::Shutdown,
            Phase::Drain(_) | Phase::Cut | Phase::Gone => Phase::Gone,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        if phase == Phase::Gone {
            let unwritten = self.output.take().is_some_and(|out| !out.is_empty());
            if unwritten || self.transport == Transported::Broken {
                self.connection.close_not_sent();
            }
            if unwritten || self.transport == Transported::Held {
                // What was not written and flushed by now never will be; whoever asks is told so, and nothing begins anew.
                self.transport = Transported::Broken;
            }
            self.connection.finish();
            if let Some(entry) = self.entry.take()
                && matches!(self.connection.ending().map(Ending::cause), Some(Cause::Timeout(_)))
            {
                entry.late();
            }
            self.report_end();
            self.input.discard();
            self.alarm.stop();
            self.wakers.wake();
        }
    }

    fn poll_last_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.transport == Transported::Broken {
            return Poll::Ready(());
        }
        match ready!(self.poll_write(cx)) {
            Ok(()) => {}
            Err(_) => {
                self.transport = Transported::Broken;
                self.output = None;
            }
        }
        Poll::Ready(())
    }

    /// Reads until the peer's end, or until it has sent more than it may.
    fn poll_drain(&mut self, cx: &mut Context<'_>, mut drained: u32) -> Poll<()> {
        loop {
            self.input.discard();
            match poll_read_buf(Pin::new(&mut self.io), cx, self.input.room()) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(read)) => {
                    self.bytes_received += read as u64;
                    drained = drained.saturating_add(u32::try_from(read).unwrap_or(u32::MAX));
                }
                Poll::Pending => {
                    self.input.discard();
                    self.phase = Phase::Drain(drained);
                    return Poll::Pending;
                }
            }
            if drained > self.config.limits.max_drain {
                return Poll::Ready(());
            }
        }
    }
}
