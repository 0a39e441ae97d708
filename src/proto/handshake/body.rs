use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};

/// Collects the body of a response that did not open the connection, for whoever wants to know why (RFC 9112 section 6).
///
/// At most 1 MiB is taken from the server, framing included; what arrived until then is the body. A body whose framing
/// is broken ends where it breaks: the handshake has failed anyway.
#[derive(Debug)]
pub(super) struct Body {
    expect: Expect,
    /// Bytes that may still be taken from the server.
    room: usize,
    content: BytesMut,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The body, until the end of the connection.
    UntilEof,
    /// A body with so many bytes left.
    Length(usize),
    /// A chunk's size in hexadecimal, of which this much is known.
    ChunkSize(usize),
    /// The rest of the line that holds this chunk size.
    ChunkExtension(usize),
    /// A chunk with so many bytes left.
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Nothing: the body is complete.
    Nothing,
}

const MAX_BODY: usize = 1024 * 1024;

impl Body {
    pub(super) fn of(response: &Response<()>) -> Self {
        let headers = response.headers();
        let expect = if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            Expect::Nothing
        } else if headers.contains_key(header::TRANSFER_ENCODING) {
            transfer_encoding(headers)
        } else {
            content_length(headers).map_or(Expect::UntilEof, Expect::Length)
        };
        Self { expect, room: MAX_BODY, content: BytesMut::new() }
    }

    /// Takes what belongs to the body from `input`; returns the body once it is complete.
    pub(super) fn receive(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        loop {
            if matches!(self.expect, Expect::Nothing | Expect::Length(0)) || self.room == 0 {
                return Some(self.take());
            }
            if input.is_empty() {
                return None;
            }
            let taken = self.step(input);
            self.room -= taken;
        }
    }

    /// What arrived so far.
    pub(super) fn take(&mut self) -> Bytes {
        self.content.split().freeze()
    }

    /// Takes at least one byte and at most `room`; says how many.
    fn step(&mut self, input: &mut BytesMut) -> usize {
        let available = input.len().min(self.room);
        let (length, next) = match self.expect {
            Expect::UntilEof => (available, Expect::UntilEof),
            Expect::Length(left) => (available.min(left), Expect::Length(left.saturating_sub(available))),
            Expect::Chunk(left) if left > available => (available, Expect::Chunk(left - available)),
            Expect::Chunk(left) => (left, Expect::ChunkEnd),
            framing => {
                let byte = input.split_to(1).first().copied().unwrap_or_default();
                self.expect = after(framing, byte);
                return 1;
            }
        };
        self.content.extend_from_slice(&input.split_to(length));
        self.expect = next;
        length
    }
}

/// What follows when `byte` is read as part of a chunk's framing (RFC 9112 section 7.1).
fn after(framing: Expect, byte: u8) -> Expect {
    match (framing, byte) {
        // The trailer section behind the last chunk is of no use here.
        (Expect::ChunkSize(0) | Expect::ChunkExtension(0), b'\n') => Expect::Nothing,
        (Expect::ChunkSize(size) | Expect::ChunkExtension(size), b'\n') => Expect::Chunk(size),
        (Expect::ChunkSize(size), b'\r' | b';' | b' ' | b'\t') => Expect::ChunkExtension(size),
        (Expect::ChunkExtension(_), _) => framing,
        (Expect::ChunkSize(size), _) => char::from(byte)
            .to_digit(16)
            .and_then(|digit| size.checked_mul(16)?.checked_add(usize::try_from(digit).ok()?))
            .map_or(Expect::Nothing, Expect::ChunkSize),
        (Expect::ChunkEnd, b'\r') => Expect::ChunkEnd,
        (Expect::ChunkEnd, b'\n') => Expect::ChunkSize(0),
        _ => Expect::Nothing,
    }
}

/// RFC 9112 §6.3: `Transfer-Encoding` overrides `Content-Length`; without a final `chunked` the body ends with the connection.
fn transfer_encoding(headers: &HeaderMap) -> Expect {
    let last = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    let coding = last.and_then(|line| line.as_bytes().rsplit(|byte| *byte == b',').next());
    match coding {
        Some(coding) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Expect::ChunkSize(0),
        _ => Expect::UntilEof,
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(name: &'static str, value: &'static str) -> Body {
        Body::of(&Response::builder().header(name, value).body(()).unwrap())
    }

    #[test]
    fn framing_of_bodies_whole_and_byte_by_byte() {
        let table: &[(&str, &str, &str, Option<&str>, &str)] = &[
            // header, value, input, body if complete, what is left of the input
            ("content-length", "3", "abcdef", Some("abc"), "def"),
            ("content-length", "0", "abc", Some(""), "abc"),
            ("content-length", "9", "abc", None, ""),
            ("content-length", "x", "abc", None, ""),
            ("x-none", "", "abc", None, ""),
            ("transfer-encoding", "gzip", "abc", None, ""),
            ("transfer-encoding", "gzip, Chunked", "3\r\nabc\r\n0\r\n\r\n", Some("abc"), "\r\n"),
            ("transfer-encoding", "chunked", "1;x=y\r\na\r\n2 \r\nbc\r\n00\r\n", Some("abc"), ""),
            ("transfer-encoding", "chunked", "A\r\n0123456789\r\n", None, ""),
            ("transfer-encoding", "chunked", "3\r\nabc?", Some("abc"), ""),
            ("transfer-encoding", "chunked", "g\r\nabc", Some(""), "\r\nabc"),
            ("transfer-encoding", "chunked", "fffffffffffffffff\r\n", Some(""), "\r\n"),
        ];
        for &(name, value, input, complete, left) in table {
            let mut buffer = BytesMut::from(input);
            let mut whole = body(name, value);
            assert_eq!(whole.receive(&mut buffer).as_deref(), complete.map(str::as_bytes), "{name}: {value} {input:?}");
            assert_eq!(buffer, left, "{name}: {value} {input:?}");

            let (mut buffer, mut slow, mut result) = (BytesMut::new(), body(name, value), None);
            for byte in input.bytes() {
                buffer.extend_from_slice(&[byte]);
                result = result.or_else(|| slow.receive(&mut buffer));
            }
            assert_eq!(result.as_deref(), complete.map(str::as_bytes), "{name}: {value} {input:?} byte by byte");
            assert_eq!(slow.take(), whole.take(), "{name}: {value} {input:?} byte by byte");
        }
    }

    #[test]
    fn c2_endless_body_is_capped() {
        for (value, piece) in
            [("gzip", "a".repeat(1500)), ("chunked", "1\r\na\r\n".repeat(250)), ("chunked", "1;".repeat(750))]
        {
            let mut body = body("transfer-encoding", value);
            let rounds = (1..2000).find(|_| body.receive(&mut BytesMut::from(&*piece)).is_some());
            assert_eq!(rounds, Some(MAX_BODY.div_ceil(1500)), "{value}");
        }
    }
}
