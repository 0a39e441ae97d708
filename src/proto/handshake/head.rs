//! An HTTP/1.1 head, between bytes and [`http`]'s types (RFC 9112 sections 3 to 5).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};

use super::scanner::HeadError;

/// Parses a whole request head, as measured by [`HeadScanner`](super::scanner::HeadScanner).
pub(crate) fn parse_request(head: &Bytes) -> Result<Request<()>, HeadError> {
    let (mut few, mut many) = (FEW_LINES, Vec::new());
    let mut parsed = httparse::Request::new(&mut []);
    let mut length = parsed.parse_with_uninit_headers(head, &mut few);
    if length == Err(httparse::Error::TooManyHeaders) {
        many.resize(lines(head), MaybeUninit::uninit());
        length = parsed.parse_with_uninit_headers(head, &mut many);
    }
    let length = length.map_err(|error| malformed(error, version_of_request(head)))?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Malformed(INCOMPLETE));
    };
    if length != httparse::Status::Complete(head.len()) {
        return Err(HeadError::Malformed(INCOMPLETE));
    }
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Malformed("the method is not a token"))?;
    *request.uri_mut() = request_target(head, target)?;
    *request.version_mut() = version(minor);
    *request.headers_mut() = header_map(head, parsed.headers)?;
    Ok(request)
}

/// Parses a whole response head, as measured by [`HeadScanner`](super::scanner::HeadScanner).
pub(crate) fn parse_response(head: &Bytes) -> Result<Response<()>, HeadError> {
    let mut lines = vec![httparse::EMPTY_HEADER; lines(head)];
    let mut parsed = httparse::Response::new(&mut lines);
    let length = parsed.parse(head).map_err(|error| malformed(error, HeadError::Version))?;
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(HeadError::Malformed(INCOMPLETE));
    };
    if length != httparse::Status::Complete(head.len()) {
        return Err(HeadError::Malformed(INCOMPLETE));
    }
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(code).map_err(|_| HeadError::Malformed("the status code is not one of HTTP's"))?;
    *response.version_mut() = version(minor);
    *response.headers_mut() = header_map(head, parsed.headers)?;
    Ok(response)
}

/// Writes a request head. The request-target is the path and query of the URI (RFC 9112 section 3.2.1).
///
/// ```
/// use wireline::proto::handshake::encode_request;
/// let request = http::Request::get("/chat").header("Host", "example.com").body(())?;
/// let mut out = bytes::BytesMut::new();
/// encode_request(&request, &mut out);
/// assert_eq!(out, "GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n");
/// # Ok::<_, http::Error>(())
/// ```
pub fn encode_request(request: &Request<()>, out: &mut BytesMut) {
    let target = request.uri().path_and_query().map_or("/", |resource| resource.as_str());
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    encode_headers(request.headers(), out);
    out.extend_from_slice(b"\r\n");
}

/// Writes a response head followed by `body`. Headers that frame the body are the caller's.
///
/// ```
/// use wireline::proto::handshake::encode_response;
/// let response = http::Response::builder().status(101).header("Upgrade", "websocket").body(())?;
/// let mut out = bytes::BytesMut::new();
/// encode_response(&response, b"", &mut out);
/// assert_eq!(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
/// # Ok::<_, http::Error>(())
/// ```
pub fn encode_response(response: &Response<()>, body: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status().as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    encode_headers(response.headers(), out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Writes header lines.
pub(super) fn encode_headers(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        encode_line(spelling(name), value.as_bytes(), out);
    }
}

pub(super) fn encode_line(name: &str, value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The handshake's own headers as the RFC writes them, for peers that forget that case does not matter.
fn spelling(name: &HeaderName) -> &str {
    match *name {
        header::HOST => "Host",
        header::UPGRADE => "Upgrade",
        header::CONNECTION => "Connection",
        header::ORIGIN => "Origin",
        header::SEC_WEBSOCKET_KEY => "Sec-WebSocket-Key",
        header::SEC_WEBSOCKET_ACCEPT => "Sec-WebSocket-Accept",
        header::SEC_WEBSOCKET_VERSION => "Sec-WebSocket-Version",
        header::SEC_WEBSOCKET_PROTOCOL => "Sec-WebSocket-Protocol",
        header::SEC_WEBSOCKET_EXTENSIONS => "Sec-WebSocket-Extensions",
        _ => name.as_str(),
    }
}

/// Room for the header lines of most requests.
const FEW_LINES: [MaybeUninit<httparse::Header<'_>>; 32] = [const { MaybeUninit::uninit() }; 32];

/// How many lines there are in a head, which were limited by [`HeadScanner`](super::scanner::HeadScanner).
fn lines(head: &[u8]) -> usize {
    head.iter().filter(|byte| **byte == b'\n').count()
}

/// The headers of a head, whose values stay where they are in it.
fn header_map(head: &Bytes, lines: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::try_with_capacity(lines.len()).map_err(|_| HeadError::TooManyHeaders)?;
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| HeadError::Malformed("a header name is not a token"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value))
            .map_err(|_| HeadError::Malformed("a header value is malformed"))?;
        headers.try_append(name, value).map_err(|_| HeadError::TooManyHeaders)?;
    }
    Ok(headers)
}

/// The target, which stays where it is in the head too.
fn request_target(head: &Bytes, target: &str) -> Result<Uri, HeadError> {
    // `Uri` drops a fragment and takes characters that RFC 3986 has percent-encoded.
    if target.contains('#') || !target.is_ascii() {
        return Err(HeadError::Malformed(
            "the request-target holds a character that a URI may not (RFC 9112 section 3.2)",
        ));
    }
    Uri::from_maybe_shared(head.slice_ref(target.as_bytes()))
        .map_err(|_| HeadError::Malformed("the request-target is not a URI (RFC 9112 section 3.2)"))
}

const fn version(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// What a request line is to be refused for when its version is not understood: the version, if it is one.
fn version_of_request(head: &[u8]) -> HeadError {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line.splitn(3, |byte| *byte == b' ').nth(2) {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::Version
        }
        _ => HeadError::Malformed("the request line does not end in an HTTP version"),
    }
}

const fn malformed(error: httparse::Error, for_version: HeadError) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Malformed("a header line does not begin with a name and a colon"),
        httparse::Error::HeaderValue => HeadError::Malformed("a header value is malformed"),
        httparse::Error::NewLine => HeadError::Malformed("a line does not end in CRLF"),
        httparse::Error::Status => HeadError::Malformed("the status line is malformed"),
        httparse::Error::Token => HeadError::Malformed("the request line is malformed"),
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => for_version,
    }
}

const INCOMPLETE: &str = "the head ends before it is complete";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_responses_that_parse_and_that_do_not() {
        let table: &[(&[u8], Option<u16>)] = &[
            (b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n", Some(101)),
            (b"HTTP/1.1 101 \r\n\r\n", Some(101)),
            (b"HTTP/1.1 101\r\n\r\n", Some(101)),
            (b"HTTP/1.0 404 Not \xe9\r\nA: \xff\x80\r\n\r\n", Some(404)),
            (b"HTTP/1.1 999 x\r\n\r\n", Some(999)),
            (b"HTTP/1.1 099 x\r\n\r\n", None),
            (b"HTTP/1.1 10 x\r\n\r\n", None),
            (b"HTTP/1.1 1010 x\r\n\r\n", None),
            (b"HTTP/2.0 101 x\r\n\r\n", None),
            (b"HTTP/1.1  101 x\r\n\r\n", None),
            (b"http/1.1 101 x\r\n\r\n", None),
            (b"HTTP/1.1 101 x\r\nA b\r\n\r\n", None),
            (b"HTTP/1.1 101 x\r\nA : b\r\n\r\n", None),
            (b"HTTP/1.1 101 x\r\n\xff: b\r\n\r\n", None),
            (b"HTTP/1.1 101 x\r\n: b\r\n\r\n", None),
            (b"HTTP/1.1 101 x\r\nA: b", None),
            (b"", None),
        ];
        for (head, code) in table {
            let parsed = parse_response(&Bytes::copy_from_slice(head)).ok();
            assert_eq!(parsed.map(|response| response.status().as_u16()), *code, "{}", head.escape_ascii());
        }
    }
}
