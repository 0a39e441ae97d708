//! A peer in memory, for benchmarks and for the tests that count allocations.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sends a batch whenever the last one was read to its end, so many times, and then ends; takes every answer, and drops it.
/// It asks for no memory.
pub(crate) struct Batches {
    batch: Vec<u8>,
    sent: usize,
    left: usize,
}

impl Batches {
    pub(crate) fn new(batch: Vec<u8>, times: usize) -> Self {
        Self { batch, sent: 0, left: times }
    }
}

impl AsyncRead for Batches {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.sent == self.batch.len() {
            self.sent = 0;
            self.left -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let end = self.batch.len().min(self.sent + buf.remaining());
        buf.put_slice(&self.batch[self.sent..end]);
        self.sent = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Batches {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
