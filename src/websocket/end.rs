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
    /// Ready at the end; what is left of a failure is for `take_failure`.
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
                Due::Late(_) => {
                    if let Some(entry) = &self.entry {
                        entry.late();
                    }
                    self.enter(Phase::Cut);
                }
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
        if self.queued() > 0
            && let Some(call) = self.before_last_write.take()
        {
            call(&self.io);
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
        if self.ended {
            return Poll::Ready(());
        }
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

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use tokio::io::ReadBuf;

    use super::*;
    use crate::{Config, WebSocket, proto::CloseCode};

    /// A transport that writes down what is asked of it.
    struct Recorder {
        input: &'static [u8],
        calls: std::cell::RefCell<Vec<&'static str>>,
    }

    impl Recorder {
        fn note(&self, call: &'static str) {
            self.calls.borrow_mut().push(call);
        }
    }

    impl AsyncRead for Recorder {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(std::mem::take(&mut self.input));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Recorder {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.note("write");
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.note("shut down");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_transport_is_told_once_that_the_end_follows_the_last_write_rfc_6455_7_1_1() {
        let close: &[u8] = &[0x88, 0x80, 0, 0, 0, 0];
        let broken: &[u8] = &[0x83, 0x80, 0, 0, 0, 0];
        let rows: [(&str, &'static [u8], bool, &[&str]); 4] = [
            ("the peer closes", close, false, &["told", "write", "shut down"]),
            ("we close, the peer answers", close, true, &["write", "shut down"]),
            ("the peer breaks a rule", broken, false, &["told", "write", "shut down"]),
            ("the peer is gone", &[], false, &["shut down"]),
        ];
        for (name, input, we_close, expected) in rows {
            let recorder = Recorder { input, calls: Vec::new().into() };
            let config = Arc::new(Config::default());
            let mut inner = Inner::new(recorder, Role::Server, config, None, &[]);
            inner.set_before_last_write(|recorder: &Recorder| recorder.note("told"));
            let mut ws = WebSocket::new(inner);
            if we_close {
                ws.close(CloseCode::NORMAL, "").await.unwrap();
            }
            while ws.next().await.is_some() {}
            assert_eq!(*ws.get_ref().calls.borrow(), expected, "{name}");
        }
    }
}
