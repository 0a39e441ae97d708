//! A client of HTTP/2 that writes frames as they are told (RFC 9113 section 4.1) and reads what comes back.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const END_STREAM: u8 = 1;
/// As SETTINGS' flag it is ACK.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const CANCEL: u32 = 8;
/// `:status: 200` by HPACK's static table, as the first of a field block.
pub(super) const STATUS_200: u8 = 0x88;

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error of an RST_STREAM.
    pub(super) fn error(&self) -> Option<u32> {
        let code = self.payload.first_chunk().filter(|_| self.kind == RST_STREAM);
        code.map(|code| u32::from_be_bytes(*code))
    }

    /// The settings of a SETTINGS frame, in their order.
    pub(super) fn settings(&self) -> Vec<(u16, u32)> {
        if self.kind != SETTINGS || self.flags & ACK != 0 {
            return Vec::new();
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        let settings = self.payload.chunks_exact(6);
        settings.map(|setting| (u16::try_from(number(&setting[..2])).unwrap(), number(&setting[2..]))).collect()
    }
}

pub(super) struct Wire(DuplexStream);

impl Wire {
    pub(super) async fn open(mut stream: DuplexStream) -> Self {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("the server reads");
        let mut wire = Self(stream);
        wire.send(SETTINGS, 0, 0, &[]).await;
        wire
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.expect("the server reads");
    }

    /// HEADERS with these fields, as literals without an index (RFC 7541 section 6.2.2).
    pub(super) async fn headers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let length = |text: &str| u8::try_from(text.len()).expect("short");
        let mut block = Vec::new();
        for (name, value) in fields {
            block.extend([0, length(name)]);
            block.extend(name.as_bytes());
            block.push(length(value));
            block.extend(value.as_bytes());
        }
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, error: u32) {
        self.send(RST_STREAM, 0, stream, &error.to_be_bytes()).await;
    }

    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [l2, l1, l0, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l2, l1, l0]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame that is about a stream.
    pub(super) async fn next_of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await.expect("the server is there");
            // WINDOW_UPDATE says nothing here.
            if frame.stream == stream && frame.kind != 8 {
                return frame;
            }
        }
    }
}
