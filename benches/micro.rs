//! The steps of the data path one by one, through the public API alone.
//!
//! ```text
//! cargo bench --bench micro [-- FILTER]
//! ```
//!
//! README.md in this directory says what each of them is for.

mod wire;

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderValue, uri::PathAndQuery};
use tokio_util::codec::{Decoder, Encoder};
use wireline::{
    Limits,
    proto::{
        Frame, FrameCodec, Mask, Opcode, Utf8Bytes,
        handshake::{Acceptance, AwaitRequest, ClientRequest, encode_response, judge},
    },
};

use crate::wire::{
    KEY, Then, broadcasts, callbacks, client_frames, compressed_json, fragments, messages, open, open_deflate, texts,
    turn,
};

fn mask(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for len in [20, 1024, 16 * 1024, 1024 * 1024] {
        let mut payload = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| Mask::new(KEY).apply(black_box(&mut payload), 0)));
    }
}

fn utf8(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    for (name, character) in [("ascii", "x"), ("two bytes", "ж"), ("three bytes", "漢")] {
        for len in [20, 1024, 16 * 1024] {
            let text = Bytes::from(character.repeat(len / character.len()));
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(format!("{name} {len}"), |b| {
                b.iter(|| Utf8Bytes::try_from(black_box(text.clone())).is_ok());
            });
        }
    }
}

/// A frame without a payload is nothing but its header.
fn header(c: &mut Criterion) {
    let empty = BytesMut::from(&*client_frames([Frame::new(Opcode::Binary, "")]));
    c.bench_function("header", |b| {
        let mut codec = FrameCodec::server();
        b.iter_batched_ref(
            || empty.clone(),
            |bytes| codec.decode(bytes).expect("a valid frame"),
            BatchSize::SmallInput,
        );
    });
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode 64 frames");
    for len in [20, 1024, 16 * 1024] {
        let bytes = BytesMut::from(&*client_frames(vec![Frame::new(Opcode::Binary, vec![7; len]); 64]));
        group.throughput(Throughput::Elements(64));
        group.bench_function(len.to_string(), |b| {
            let mut codec = FrameCodec::server();
            let all = |bytes: &mut BytesMut| {
                while let Some(frame) = codec.decode(bytes).expect("valid frames") {
                    black_box(frame);
                }
            };
            b.iter_batched_ref(|| bytes.clone(), all, BatchSize::LargeInput);
        });
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (role, mut codec) in [("server", FrameCodec::server()), ("client", FrameCodec::client(|| Mask::new(KEY)))] {
        for len in [20, 1024, 16 * 1024] {
            let frame = Frame::new(Opcode::Binary, vec![7; len]);
            let mut out = BytesMut::with_capacity(len + 14);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(format!("{role} {len}"), |b| {
                b.iter(|| {
                    out.clear();
                    codec.encode(frame.clone(), &mut out).expect("a valid frame");
                    black_box(&out);
                });
            });
        }
    }
}

fn connection(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    let rows = [
        ("assemble 8 fragments of 512", fragments(8), Then::Drop, 1),
        ("receive 20", messages(20, 64), Then::Drop, 64),
        ("echo 20", messages(20, 64), Then::Echo, 64),
        ("echo text of 20", texts(20, 64), Then::Echo, 64),
        ("echo 1024", messages(1024, 16), Then::Echo, 16),
        ("echo 16384", messages(16 * 1024, 4), Then::Echo, 4),
    ];
    let mut group = c.benchmark_group("connection");
    for len in [1024, 8192] {
        let mut ws = open_deflate(compressed_json(len));
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("echo deflated JSON of {len}"), |b| b.iter(|| turn(&mut ws, Then::Echo)));
    }
    for (len, count) in [(20, 64), (1024, 16)] {
        group.throughput(Throughput::Elements(count));
        let mut echo = callbacks(messages(len, usize::try_from(count).expect("a count")));
        group.bench_function(format!("handler, echo {len}"), |b| b.iter(&mut echo));
    }
    for (name, count) in [("handler, broadcast 128 to 100", 1), ("handler, 16 broadcasts to 100", 16)] {
        group.throughput(Throughput::Elements(100 * count as u64));
        group.bench_function(name, |b| b.iter(&mut broadcasts(messages(128, count), 99)));
    }
    for (name, batch, then, count) in rows {
        let mut ws = open(batch);
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| b.iter(|| turn(&mut ws, then)));
    }
}

fn handshake(c: &mut Criterion) {
    let host = HeaderValue::from_static("example.com");
    let request = ClientRequest::new(host, PathAndQuery::from_static("/chat")).expect("a valid request");
    let nonce = *b"the sample nonce";
    let mut asked = BytesMut::new();
    drop(request.start(nonce, &Limits::default(), &mut asked));
    let answer = |asked: &mut BytesMut| {
        let request = AwaitRequest::new(&Limits::default()).receive(asked).expect("valid").expect("whole");
        let response = judge(&request).expect("valid").respond(Acceptance::new()).expect("nothing was chosen");
        let mut out = BytesMut::with_capacity(256);
        encode_response(&response, b"", &mut out);
        out
    };
    let answered = answer(&mut asked.clone());
    c.bench_function("handshake/server", |b| b.iter_batched_ref(|| asked.clone(), answer, BatchSize::SmallInput));
    let ask = |answered: &mut BytesMut| {
        let mut out = BytesMut::with_capacity(256);
        let mut awaiting = request.start(nonce, &Limits::default(), &mut out);
        (out, awaiting.receive(answered).expect("valid"))
    };
    c.bench_function("handshake/client", |b| b.iter_batched_ref(|| answered.clone(), ask, BatchSize::SmallInput));
}

criterion_group!(benches, mask, utf8, header, decode, encode, connection, handshake);
criterion_main!(benches);
