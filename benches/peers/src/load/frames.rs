//! Frames out, built once, and frames in, walked over.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use wireline_peers::{Content, Failure, Kind, Workload};

use crate::content::{Numbers, payload};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FIN: u8 = 0x80;
/// RFC 7692 section 6: the message is compressed.
const RSV1: u8 = 0x40;
/// RFC 7692 section 7.2.1: what every sync flush ends with, and is left out.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The bytes that a client sends, each message masked with a key of its own.
#[derive(Debug)]
pub(crate) struct Requests {
    /// What the reply's payload must be.
    pub(crate) payload: Vec<u8>,
    pub(crate) one: Vec<u8>,
    pub(crate) batch: Vec<u8>,
}

impl Requests {
    pub(crate) fn of(workload: &Workload) -> Result<Self, Failure> {
        let payload = payload(workload);
        let (sent, rsv) =
            if workload.kind == Kind::Deflate { (deflate(&payload)?, RSV1) } else { (payload.clone(), 0) };
        let mut numbers = Numbers(workload.bytes as u64 | 1 << 40);
        let mut message = || {
            let mut bytes = Vec::new();
            let chunks: Vec<&[u8]> = sent.chunks(sent.len().div_ceil(workload.frames)).collect();
            for (at, chunk) in chunks.iter().enumerate() {
                let opcode = if at == 0 { opcode(workload) | rsv } else { 0 };
                let fin = if at + 1 == chunks.len() { FIN } else { 0 };
                masked(fin | opcode, chunk, numbers.next() as u32, &mut bytes);
            }
            bytes
        };
        let one = message();
        let batch = (0..workload.in_flight).flat_map(|_| message()).collect();
        Ok(Self { payload, one, batch })
    }
}

pub(crate) fn opcode(workload: &Workload) -> u8 {
    if workload.content == Content::Binary { BINARY } else { TEXT }
}

/// A Close frame of a client, with code 1000.
pub(crate) fn close() -> Vec<u8> {
    let mut bytes = Vec::new();
    masked(FIN | CLOSE, &1000u16.to_be_bytes(), 0x1234_5678, &mut bytes);
    bytes
}

fn masked(first: u8, payload: &[u8], key: u32, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    header(first, payload.len(), bytes);
    bytes[start + 1] |= 0x80;
    let key = key.to_be_bytes();
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// A whole message of a server.
pub(crate) fn unmasked(opcode: u8, payload: &[u8], bytes: &mut Vec<u8>) {
    header(FIN | opcode, payload.len(), bytes);
    bytes.extend(payload);
}

fn header(first: u8, length: usize, bytes: &mut Vec<u8>) {
    bytes.push(first);
    match length {
        ..126 => bytes.push(length as u8),
        126..65_536 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
}

fn deflate(payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut deflated = Vec::with_capacity(payload.len() + 64);
    Compress::new(Compression::default(), false).compress_vec(payload, &mut deflated, FlushCompress::Sync)?;
    Ok(deflated.strip_suffix(&TAIL).ok_or("the compressor did not flush")?.to_vec())
}

fn inflate(deflated: &[u8], length: usize) -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::with_capacity(length + 64);
    let deflated = [deflated, &TAIL].concat();
    Decompress::new(false).decompress_vec(&deflated, &mut payload, FlushDecompress::Sync)?;
    Ok(payload)
}

/// Whether these bytes are one message of a server with this payload and no control frame.
pub(crate) fn check_reply(reply: &[u8], expected: &[u8]) -> Result<(), Failure> {
    let mut walker = Walker::default();
    let (mut first, mut payload) = (0, Vec::new());
    walker.walk(reply, |part| match part {
        Part::Header(byte) if first == 0 => first = byte,
        Part::Header(_) | Part::End => {}
        Part::Payload(bytes) => payload.extend_from_slice(bytes),
    })?;
    if first & RSV1 != 0 {
        payload = inflate(&payload, expected.len())?;
    }
    if payload == expected { Ok(()) } else { Err("a reply has the wrong payload".into()) }
}

#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// The first byte of a frame.
    Header(u8),
    /// Some of a data frame's payload.
    Payload(&'a [u8]),
    /// A message is complete.
    End,
}

/// Where in a server's frames its bytes are, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; 10],
    have: usize,
    left: u64,
    inside: bool,
    /// What a Pong has to carry.
    ping: Vec<u8>,
    /// Pongs to be sent, masked.
    pub(crate) pongs: Vec<u8>,
}

impl Walker {
    pub(crate) fn walk(&mut self, mut bytes: &[u8], mut on: impl FnMut(Part<'_>)) -> io::Result<()> {
        loop {
            if !self.inside {
                if bytes.is_empty() {
                    return Ok(());
                }
                if !self.take_header(&mut bytes)? {
                    return Ok(());
                }
                on(Part::Header(self.header[0]));
            }
            let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (payload, rest) = bytes.split_at(taken);
            let opcode = self.header[0] & 0x0F;
            if opcode == PING {
                self.ping.extend_from_slice(payload);
            } else if opcode < CLOSE && taken > 0 {
                on(Part::Payload(payload));
            }
            self.left -= taken as u64;
            bytes = rest;
            if self.left > 0 {
                return Ok(());
            }
            self.inside = false;
            self.have = 0;
            if opcode == PING {
                let ping = std::mem::take(&mut self.ping);
                masked(FIN | PONG, &ping, 0x0BAD_CAFE, &mut self.pongs);
            }
            if opcode < CLOSE && self.header[0] & FIN != 0 {
                on(Part::End);
            }
        }
    }

    /// Whether the header is complete.
    fn take_header(&mut self, bytes: &mut &[u8]) -> io::Result<bool> {
        while let [first, rest @ ..] = *bytes {
            self.header[self.have] = *first;
            self.have += 1;
            *bytes = rest;
            let code = self.header[1];
            if self.have >= 2 && code & 0x80 != 0 {
                return Err(io::Error::other("the server sent a masked frame, or no frame"));
            }
            let length = match (self.have, code) {
                (2, ..126) => u64::from(code),
                (4, 126) => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
                (10, 127) => self.header[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
                _ => continue,
            };
            self.left = length;
            self.inside = true;
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use wireline_peers::{WORKLOADS, workload};

    use super::*;

    #[test]
    fn requests_have_the_size_that_the_floor_is_told() {
        for workload in WORKLOADS.iter().filter(|workload| workload.kind != Kind::Deflate) {
            let requests = Requests::of(workload).expect("requests");
            assert_eq!(requests.one.len(), workload.request(), "{}", workload.name);
            assert_eq!(requests.batch.len(), workload.request() * workload.in_flight, "{}", workload.name);
        }
    }

    #[test]
    fn replies_are_found_however_they_are_cut() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut bytes = Vec::new();
            unmasked(BINARY, &payload, &mut bytes);
            unmasked(PING, b"?", &mut bytes);
            unmasked(TEXT, b"end", &mut bytes);
            for step in [1, 2, 3, 1000, bytes.len()] {
                let mut walker = Walker::default();
                let (mut ends, mut found) = (0, 0);
                for chunk in bytes.chunks(step) {
                    let count = |part: Part<'_>| match part {
                        Part::End => ends += 1,
                        Part::Payload(bytes) => found += bytes.len(),
                        Part::Header(_) => {}
                    };
                    walker.walk(chunk, count).expect("frames");
                }
                assert_eq!((ends, found), (2, length + 3), "{length} by {step}");
                assert_eq!(walker.pongs.len(), 2 + 4 + 1, "{length} by {step}");
            }
        }
    }

    #[test]
    fn a_reply_is_checked_deflated_or_not() {
        let expected = payload(workload("json1k").expect("json1k"));
        let mut plain = Vec::new();
        unmasked(TEXT, &expected, &mut plain);
        let mut deflated = Vec::new();
        unmasked(TEXT | RSV1, &deflate(&expected).expect("deflated"), &mut deflated);
        assert!(deflated.len() < plain.len());
        for reply in [plain, deflated] {
            assert!(check_reply(&reply, &expected).is_ok());
            assert!(check_reply(&reply, b"another").is_err());
        }
    }
}
