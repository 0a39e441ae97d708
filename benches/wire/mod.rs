//! A connection in memory, polled by hand: what micro.rs and counts.rs measure.

mod batches;
mod json;

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Waker},
};

use batches::Batches;
use bytes::BytesMut;
use tokio_util::codec::Encoder;
use wireline::{
    Config, Role, WebSocket,
    handler::{Attach, Builder, Sender, Settings},
    proto::{Frame, FrameCodec, Mask, Opcode, deflate::DeflateConfig},
    server::Acceptor,
};
use zlib_rs::{Deflate, DeflateConfig as Compressor, DeflateFlush};

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

/// So many messages of this length, which are text.
pub(crate) fn texts(len: usize, count: usize) -> Vec<u8> {
    client_frames(vec![Frame::new(Opcode::Text, "a".repeat(len)); count])
}

/// One text of JSON of this length, compressed as other clients do, at level 6.
pub(crate) fn compressed_json(len: usize) -> Vec<u8> {
    let mut deflate = Deflate::new_with_config(Compressor { window_bits: -15, level: 6, ..Compressor::default() });
    let mut payload = vec![0; len + 64];
    deflate.compress(&json::json(len, 0), &mut payload, DeflateFlush::SyncFlush).expect("room for the output");
    payload.truncate(usize::try_from(deflate.total_out()).expect("a length") - 4);
    let mut bytes = client_frames([Frame::new(Opcode::Text, payload)]);
    // RSV1, which the codec knows no extension for.
    bytes[0] |= 0x40;
    bytes
}

/// A server's connection that has agreed on permessage-deflate, by the default settings.
pub(crate) fn open_deflate(batch: Vec<u8>) -> WebSocket<Batches> {
    let request = http::Request::get("/")
        .header("host", "example.com")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-extensions", "permessage-deflate; client_no_context_takeover")
        .body(())
        .expect("a valid request");
    let acceptor = Acceptor::new().deflate(DeflateConfig::default()).expect("a valid configuration");
    acceptor.upgrade(&request).expect("it is accepted").over(Batches::new(batch, usize::MAX), b"")
}

/// A server's connection to a client that sends this batch, over and over.
pub(crate) fn open(batch: Vec<u8>) -> WebSocket<Batches> {
    WebSocket::after_handshake(Batches::new(batch, usize::MAX), Role::Server, Config::default())
        .expect("a valid configuration")
}

/// The same with callbacks: the returned closure polls until a batch has been echoed.
pub(crate) fn callbacks(batch: Vec<u8>) -> impl FnMut() {
    let batches = Batches::new(batch, usize::MAX);
    let mut session = Box::pin(Attach::server().run(batches, |out: Sender| move |message| out.send(message)));
    move || assert!(session.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending())
}

/// Callbacks that broadcast what a client sends, to it and to so many that send nothing: the returned closure polls until
/// all have a batch.
pub(crate) fn broadcasts(batch: Vec<u8>, receivers: usize) -> impl FnMut() {
    let settings = Settings { max_connections: receivers + 1, ..Settings::default() };
    let group = Builder::new().with_settings(settings).build(|_: Sender| |_| Ok(())).expect("valid settings");
    let attach = |batch: Vec<u8>| {
        let session = Attach::server().group(&group.broadcaster());
        Box::pin(session.run(Batches::new(batch, usize::MAX), |out: Sender| move |message| out.broadcast(message)))
    };
    let mut sessions: Vec<_> = std::iter::once(batch).chain(vec![Vec::new(); receivers]).map(attach).collect();
    move || {
        let _ = &group;
        for session in &mut sessions {
            assert!(session.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
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
