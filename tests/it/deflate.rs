//! permessage-deflate (RFC 7692) on real connections: the negotiation, hostile compressed input in both roles, what is
//! sent, what it costs, and handlers.
//!
//! The tables of `src/proto/deflate` judge parameters and payloads; these show that a connection meets that judgement,
//! however its bytes are cut, and what the other end then sees.

mod bombs;
mod cancelling;
mod fairness;
mod handlers;
mod memory;
mod negotiation;
mod rows;
mod sending;

use bytes::Bytes;
use tokio::io::{DuplexStream, duplex};
use wireline::{
    Client, Config, Message, WebSocket,
    proto::deflate::{ContextTakeover, DeflateConfig},
    server::Acceptor,
};
use zlib_rs::{Deflate, DeflateConfig as Settings, DeflateFlush, Inflate, InflateFlush};

use crate::support::suite::Suite;

/// The suites whose ids are compared with the list of what must run.
pub(crate) static SUITES: &[&Suite] = &[
    &bombs::BOMBS,
    &cancelling::CANCELLING,
    &negotiation::ANSWERS,
    &negotiation::OFFERS,
    &rows::DATA,
    &sending::SENDING,
];

const MIB: usize = 1024 * 1024;

/// How the end of a flush looks, which does not travel (RFC 7692 section 7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Both windows of 15 bits, both contexts kept, everything from the first byte on compressed.
fn takeover() -> DeflateConfig {
    let mut deflate = DeflateConfig::default();
    deflate.threshold = 1;
    deflate.server_context_takeover = ContextTakeover::Allowed;
    deflate.client_context_takeover = ContextTakeover::Allowed;
    deflate
}

/// The same without any context.
fn fresh() -> DeflateConfig {
    let mut deflate = DeflateConfig::default();
    deflate.threshold = 1;
    deflate
}

fn config(deflate: DeflateConfig) -> Config {
    let mut config = crate::scripted::quiet();
    config.deflate = Some(deflate);
    config
}

/// A client and a server, open, with what each of them wants.
async fn open(client: Config, server: Config) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (near, far) = duplex(256 * 1024);
    let client = Client::new("ws://example.com/chat").unwrap().config(client).unwrap();
    let acceptor = Acceptor::new().config(server).unwrap();
    let (client, server) = tokio::join!(client.connect_over(near), acceptor.accept(far));
    (client.unwrap().0, server.unwrap().0)
}

/// Fills the pools of this thread: compressor, decoder and scratch buffers belong to no connection.
async fn warm_up(deflate: &DeflateConfig) {
    let (mut client, mut server) = open(config(deflate.clone()), config(deflate.clone())).await;
    for _ in 0..2 {
        let text = Message::from("warm ".repeat(100));
        let (sent, received) = tokio::join!(client.send(text.clone()), server.next());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), text);
        let (sent, received) = tokio::join!(server.send(text.clone()), client.next());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), text);
    }
}

/// What a peer makes of messages that may look back 32 KiB, each with the end of its flush.
fn compressed<const N: usize>(messages: [&[u8]; N], flush: DeflateFlush) -> [Vec<u8>; N] {
    let mut deflate = Deflate::new_with_config(Settings { window_bits: -15, ..Settings::default() });
    messages.map(|message| {
        let mut output = vec![0; message.len() + message.len() / 8 + 1024];
        let before = deflate.total_out();
        deflate.compress(message, &mut output, flush).expect("room enough");
        output.truncate(usize::try_from(deflate.total_out() - before).unwrap());
        output
    })
}

/// The payloads of messages in a row.
fn payloads<const N: usize>(messages: [&[u8]; N]) -> [Vec<u8>; N] {
    compressed(messages, DeflateFlush::SyncFlush)
        .map(|flushed| flushed.strip_suffix(&FLUSHED).expect("a flush").to_vec())
}

/// The payload of one message.
fn payload(message: &[u8]) -> Vec<u8> {
    let [payload] = payloads([message]);
    payload
}

/// The payload of a message of so many MiB of zeros, about a thousandth as long: one MiB over and over, each of which
/// stands for itself.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let [flushed] = compressed([&vec![0; MIB]], DeflateFlush::FullFlush);
    flushed.repeat(mebibytes).strip_suffix(&FLUSHED).expect("a flush").to_vec()
}

/// What payloads of one direction come to, one after the other, by an inflater of their own.
struct Peer(Inflate);

impl Peer {
    fn new() -> Self {
        Self(Inflate::new(false, 15))
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &FLUSHED].concat();
        let mut output = vec![0; 4 * MIB];
        let before = self.0.total_out();
        self.0.decompress(&input, &mut output, InflateFlush::SyncFlush).expect("a payload that can be inflated");
        output.truncate(usize::try_from(self.0.total_out() - before).unwrap());
        output
    }
}

/// A frame without masking.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(u8::try_from(len).unwrap()),
        len @ 126..65536 => {
            frame.push(126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// Bytes that cannot be compressed.
fn noise(len: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// "Hello" as RFC 7692 section 7.2.3.1 compresses it, in a frame.
const HELLO_COMPRESSED: &str = "C1 07 F2 48 CD C9 C9 07 00";

/// The frames of a wire, masked or not: the first byte of each, and the payload without masking.
fn wire(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (len, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk().unwrap())), &rest[2..]),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk().unwrap())).unwrap(), &rest[8..]),
            len => (usize::from(len), rest),
        };
        let (key, rest) = if second & 0x80 == 0 { ([0; 4], rest) } else { (*rest.first_chunk().unwrap(), &rest[4..]) };
        let (payload, rest) = rest.split_at(len);
        frames.push((*first, payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()));
        bytes = rest;
    }
    frames
}
