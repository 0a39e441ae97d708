//! A connection in memory, polled by hand: what micro.rs and counts.rs measure.

use std::{
    future::Future,
    hint::black_box,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::Encoder;
use wireline::{
    Config, Role, WebSocket,
    proto::{Frame, FrameCodec, Mask, Opcode},
};

pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a client puts on the wire.
pub(crate) fn client_frames(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut codec = FrameCodec::client(|| Mask::new(KEY));
    let mut bytes = BytesMut::new();
    for frame in frames {
        codec.encode(frame, &mut bytes).expect("a valid frame");
    }
    bytes.to_vec()
}

/// One text without ASCII, in so many fragments of 512 bytes.
pub(crate) fn fragments(count: usize) -> Vec<u8> {
    let part = "ж".repeat(256);
    client_frames((0..count).map(|at| {
        let frame = Frame::new(if at == 0 { Opcode::Text } else { Opcode::Continuation }, part.clone());
        if at + 1 == count { frame } else { frame.unfinished() }
    }))
}

/// So many binary messages of this length.
pub(crate) fn messages(len: usize, count: usize) -> Vec<u8> {
    client_frames(vec![Frame::new(Opcode::Binary, vec![7; len]); count])
}

/// A server's connection to a client that sends this batch, over and over.
pub(crate) fn open(batch: Vec<u8>) -> WebSocket<Batches> {
    let peer = Batches { batch, sent: 0 };
    WebSocket::after_handshake(peer, Role::Server, Config::default()).expect("a valid configuration")
}

/// What one end sends, over and over: a batch, then nothing until the reader has asked again. What it is sent, it drops.
pub(crate) struct Batches {
    batch: Vec<u8>,
    sent: usize,
}

impl AsyncRead for Batches {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.sent == self.batch.len() {
            self.sent = 0;
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

#[derive(Clone, Copy)]
pub(crate) enum Then {
    Drop,
    Echo,
}

/// One batch through an open connection: each message is read, and echoed if so asked.
async fn batch(ws: &mut WebSocket<Batches>, then: Then) {
    while let Some(message) = ws.next().await {
        let message = message.expect("valid messages");
        match then {
            Then::Drop => drop(black_box(message)),
            Then::Echo => ws.feed(message).await.expect("there is room"),
        }
    }
}

/// Polls until the batch has been read and answered.
pub(crate) fn turn(ws: &mut WebSocket<Batches>, then: Then) {
    let mut future = pin!(batch(ws, then));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}
