use bytes::BytesMut;
use http::{HeaderMap, Response, StatusCode, Version, header};

use super::{
    FinalResponse, HandshakeError, ReadResponse,
    extensions::each_extension,
    headers::{lists, only, subprotocols},
};
use crate::proto::Limits;

/// A client that waits for the response to its request.
///
/// ```
/// use wireline::{Limits, proto::handshake::ClientRequest};
/// use http::{HeaderValue, uri::PathAndQuery};
/// let request = ClientRequest::new(HeaderValue::from_static("example.com"), PathAndQuery::from_static("/"))?;
/// let mut out = bytes::BytesMut::new();
/// let mut await_response = request.start(*b"the sample nonce", &Limits::default(), &mut out);
/// let mut input = bytes::BytesMut::from(concat!(
///     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
///     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nframes",
/// ));
/// let response = await_response.receive(&mut input)?;
/// assert!(response.is_some());
/// assert_eq!(input, "frames");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AwaitResponse {
    reading: ReadResponse,
    expected: Expected,
}

impl AwaitResponse {
    pub(super) const fn new(
        accept: String,
        subprotocols: Vec<String>,
        extensions: Vec<String>,
        limits: &Limits,
    ) -> Self {
        let expected = Expected { accept: Accept::Exactly(accept), subprotocols, extensions };
        Self { reading: ReadResponse::new(limits), expected }
    }

    /// The response that opened the connection, once its head is in `input`; what follows it stays there: frames.
    ///
    /// Interim responses (1xx other than 101) are skipped; `max_head` and `max_headers` count them all together.
    ///
    /// # Errors
    ///
    /// The response is beyond a limit, malformed, does not open the connection (then its body is awaited first), or
    /// breaks a rule of RFC 6455 section 4.1. No byte behind it may be used: close.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<Response<()>>, HandshakeError> {
        let Some(received) = self.reading.receive(input)? else {
            return Ok(None);
        };
        if received.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(rejected(received));
        }
        self.expected.check(&received.response)?;
        Ok(Some(received.response))
    }

    /// Why the handshake failed, where the connection ended before [`receive`](Self::receive) had a result for all input.
    #[must_use]
    pub fn eof(self) -> HandshakeError {
        self.reading.eof().map_or_else(|error| error, rejected)
    }
}

fn rejected(received: FinalResponse) -> HandshakeError {
    HandshakeError::Rejected(Box::new(received.response.map(|()| received.body)))
}

/// What a response must be to open the connection that we asked for (RFC 6455 section 4.1).
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) accept: Accept,
    /// Subprotocols that we offered.
    pub(crate) subprotocols: Vec<String>,
    /// Names of the extensions that we offered.
    pub(crate) extensions: Vec<String>,
}

/// Which `Sec-WebSocket-Accept` will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// This one, which answers our key.
    Exactly(String),
    /// Any, or none.
    Any,
}

impl Expected {
    /// Checks a response with status 101.
    pub(crate) fn check<T>(&self, response: &Response<T>) -> Result<(), HandshakeError> {
        let headers = response.headers();
        if response.version() != Version::HTTP_11 {
            return Err(HandshakeError::MalformedHead("status 101 in HTTP/1.0"));
        }
        // RFC 9110 §6.4.1 and §8.6: status 101 has no body. Frames that another parser takes for a body can smuggle.
        if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(HandshakeError::UnexpectedBody);
        }
        // RFC 6455 §4.1: Upgrade is websocket, and Connection names Upgrade, in any case.
        if !only(headers, header::UPGRADE)
            .is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
        {
            return Err(HandshakeError::MissingUpgrade);
        }
        if !lists(headers, header::CONNECTION, "upgrade") {
            return Err(HandshakeError::MissingConnection);
        }
        self.check_accept(headers)?;
        self.check_extensions(headers)?;
        self.check_subprotocol(headers)
    }

    // RFC 6455 §4.1: the accept value of our key; surrounding whitespace is ignored.
    fn check_accept(&self, headers: &HeaderMap) -> Result<(), HandshakeError> {
        let Accept::Exactly(expected) = &self.accept else {
            return Ok(());
        };
        match only(headers, header::SEC_WEBSOCKET_ACCEPT) {
            Some(accept) if accept.as_bytes().trim_ascii() == expected.as_bytes() => Ok(()),
            Some(_) => Err(HandshakeError::AcceptMismatch),
            None if headers.contains_key(header::SEC_WEBSOCKET_ACCEPT) => Err(HandshakeError::DuplicateAccept),
            None => Err(HandshakeError::MissingAccept),
        }
    }

    // RFC 6455 §4.1: at most one subprotocol, of those we offered. Choosing none is the server's right.
    fn check_subprotocol(&self, headers: &HeaderMap) -> Result<(), HandshakeError> {
        let chosen = subprotocols(headers).map_err(HandshakeError::MalformedSubprotocol)?;
        match *chosen {
            [] => Ok(()),
            [name] if self.subprotocols.iter().any(|offered| offered == name) => Ok(()),
            [name] => Err(HandshakeError::UnrequestedSubprotocol(name.to_owned())),
            _ => Err(HandshakeError::DuplicateSubprotocol),
        }
    }

    // RFC 6455 §4.1: no extension that we did not offer.
    fn check_extensions(&self, headers: &HeaderMap) -> Result<(), HandshakeError> {
        let mut unrequested = None;
        each_extension(headers, |extension| {
            if unrequested.is_none() && !self.extensions.iter().any(|offered| offered == extension.name()) {
                unrequested = Some(extension.name().to_owned());
            }
        })
        .map_err(HandshakeError::MalformedExtensions)?;
        unrequested.map_or(Ok(()), |name| Err(HandshakeError::UnrequestedExtension(name)))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, uri::PathAndQuery};
    use proptest::prelude::*;

    use super::*;
    use crate::proto::handshake::ClientRequest;

    const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn await_response() -> AwaitResponse {
        let request = ClientRequest::new(HeaderValue::from_static("h"), PathAndQuery::from_static("/")).unwrap();
        let request = request.subprotocols(["chat", "superchat"]).unwrap();
        request.start(*b"the sample nonce", &Limits::default(), &mut BytesMut::new())
    }

    /// Receives `input` in pieces that end at `cuts`, then the end of the connection: the result, and what is left.
    fn receive(input: &[u8], cuts: &[usize]) -> (Result<u16, String>, Vec<u8>) {
        let (mut await_response, mut buffer, mut from) = (await_response(), BytesMut::new(), 0);
        for &to in cuts.iter().chain([&input.len()]) {
            buffer.extend_from_slice(&input[from..to]);
            from = to;
            match await_response.receive(&mut buffer) {
                Ok(None) => {}
                Ok(Some(response)) => {
                    buffer.extend_from_slice(&input[from..]);
                    return (Ok(response.status().as_u16()), buffer.to_vec());
                }
                Err(error) => return (Err(name(&error)), Vec::new()),
            }
        }
        (Err(name(&await_response.eof())), Vec::new())
    }

    /// The variant's name; for a rejection also the status and the body.
    fn name(error: &HandshakeError) -> String {
        match error {
            HandshakeError::Rejected(response) => {
                format!("Rejected {} {}", response.status().as_u16(), response.body().escape_ascii())
            }
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
        }
    }

    /// Where a row adds lines.
    const END: &str = "";

    #[test]
    fn hostile_responses_and_what_becomes_of_them() {
        let table: &[(&str, &str, &str, &str)] = &[
            // id, what is replaced in RESPONSE, by what, the result
            ("C1", "s3pPLMBi", "s3pPLMBj", "AcceptMismatch"),
            ("C1", "Oo=", "Oo", "AcceptMismatch"),
            ("C1", "s3pPLMBi", "S3PPLMBI", "AcceptMismatch"),
            ("C1", "Sec-WebSocket-Accept", "X", "MissingAccept"),
            ("C1", END, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "DuplicateAccept"),
            ("C-17", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", " \ts3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t", "101"),
            ("C2", "101 Switching Protocols", "200 OK", "Rejected 200 "),
            ("C2", "101 Switching Protocols", "204 No Content", "Rejected 204 "),
            (
                "C2",
                "101 Switching Protocols\r\n",
                "301 Moved\r\nLocation: ws://other/\r\nContent-Length: 0\r\n",
                "Rejected 301 ",
            ),
            ("C-14", "101 Switching Protocols\r\n", "401 x\r\nWWW-Authenticate: Basic\r\n", "Rejected 401 "),
            ("C2", "101 Switching Protocols", "426 Upgrade Required", "Rejected 426 "),
            ("C2", "HTTP/1.1 101", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 101", "101"),
            ("C2", END, "Content-Length: 5\r\n", "UnexpectedBody"),
            ("C2", END, "Content-Length: 0\r\n", "UnexpectedBody"),
            ("C2", END, "Transfer-Encoding: chunked\r\n", "UnexpectedBody"),
            ("C3", "Upgrade: websocket\r\n", "", "MissingUpgrade"),
            ("C-15", ": websocket", ": WebSocket", "101"),
            ("C-15", ": websocket", ": websockets", "MissingUpgrade"),
            ("C-15", ": websocket", ": h2c, websocket", "MissingUpgrade"),
            ("C3", "Connection: Upgrade\r\n", "", "MissingConnection"),
            ("C-16", "Connection: Upgrade", "connection: keep-alive, uPGRADE", "101"),
            ("C-16", "Connection: Upgrade", "Connection: close", "MissingConnection"),
            ("C4", END, "Sec-WebSocket-Extensions: permessage-deflate\r\n", "UnrequestedExtension"),
            ("C-18", END, "Sec-WebSocket-Extensions: x, x; y=1\r\n", "UnrequestedExtension"),
            ("C4", END, "Sec-WebSocket-Extensions: a;b=\"c\r\n", "MalformedExtensions"),
            ("C4", END, "Sec-WebSocket-Extensions:\r\n", "MalformedExtensions"),
            ("C-19", END, "Sec-WebSocket-Protocol: chat\r\n", "101"),
            ("C-19", END, "Sec-WebSocket-Protocol: superchat\r\n", "101"),
            ("C5", END, "Sec-WebSocket-Protocol: other\r\n", "UnrequestedSubprotocol"),
            ("C5", END, "Sec-WebSocket-Protocol: Chat\r\n", "UnrequestedSubprotocol"),
            ("C5", END, "Sec-WebSocket-Protocol: chat, superchat\r\n", "DuplicateSubprotocol"),
            (
                "C5",
                END,
                "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat\r\n",
                "DuplicateSubprotocol",
            ),
            ("C5", END, "Sec-WebSocket-Protocol:\r\n", "MalformedSubprotocol"),
            ("C6", END, "Sec-WebSocket-Protocol: \u{ff}\r\n", "MalformedSubprotocol"),
            ("C6", END, "Sec-WebSocket-Extensions: \u{80}\r\n", "MalformedExtensions"),
            ("C6", "Upgrade: websocket", "Upgrade: \u{80}", "MissingUpgrade"),
            ("C6", "s3pP", "s3p\u{d0}", "AcceptMismatch"),
            ("C6", END, "X-\u{e9}: y\r\n", "MalformedHead"),
            ("C6", END, "X-Harmless: \u{ff}\r\n", "101"),
            ("C7", END, &"X: y\r\n".repeat(65), "TooManyHeaders"),
            (
                "C7",
                "HTTP/1.1 101",
                &["HTTP/1.1 100 \r\nX: y\r\n\r\n".repeat(65).as_str(), "HTTP/1.1 101"].concat(),
                "TooManyHeaders",
            ),
            ("C7", END, &format!("X: {}\r\n", "y".repeat(16_384)), "HeadTooLarge"),
            ("C7", "\r\n\r\n", "\r\n", "Truncated"),
            ("C-20", "HTTP/1.1", "HTTP/1.0", "MalformedHead"),
            ("C-20", "HTTP/1.1", "HTTP/1.2", "MalformedHead"),
            ("C-20", "HTTP/1.1", "SSH-2.0", "MalformedHead"),
            ("C-20", "HTTP/1.1", "\r\nHTTP/1.1", "MalformedHead"),
            ("C-20", "\r\nUpgrade", "\nUpgrade", "MalformedHead"),
            ("C-20", END, "X: y\r\n z\r\n", "MalformedHead"),
        ];
        for &(id, from, to, expected) in table {
            let input = response(from, to);
            let whole = receive(&input, &[]);
            let result = whole.0.clone().map_or_else(|error| error, |status| status.to_string());
            assert_eq!(result, expected, "{id}: {from:?} -> {to:.80?}");
            assert_eq!(receive(&input, &(0..input.len()).collect::<Vec<_>>()), whole, "{id} byte by byte");
        }
    }

    #[test]
    fn what_is_expected_beside_the_key_can_be_set() {
        let expected = |accept: &Accept, extensions: &[&str]| Expected {
            accept: accept.clone(),
            subprotocols: Vec::new(),
            extensions: extensions.iter().copied().map(str::to_owned).collect(),
        };
        let exactly = Accept::Exactly("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        let many = format!("Sec-WebSocket-Extensions: {}y\r\n", "x, ".repeat(16));
        let table: &[(&str, &str, &Accept, &[&str], &str)] = &[
            ("s3pP", "s3pp", &exactly, &[], "AcceptMismatch"),
            ("s3pP", "s3pp", &Accept::Any, &[], "101"),
            ("Sec-WebSocket-Accept", "X", &Accept::Any, &[], "101"),
            (END, "Sec-WebSocket-Accept: x\r\n", &Accept::Any, &[], "101"),
            ("Upgrade: websocket\r\n", "", &Accept::Any, &[], "MissingUpgrade"),
            (END, "Sec-WebSocket-Extensions: x; a=1, y\r\n", &exactly, &["y", "x"], "101"),
            (END, "Sec-WebSocket-Extensions: x, z\r\n", &exactly, &["y", "x"], "UnrequestedExtension"),
            (END, "Sec-WebSocket-Extensions: X\r\n", &exactly, &["x"], "UnrequestedExtension"),
            (END, "Sec-WebSocket-Extensions: x;\r\n", &exactly, &["x"], "MalformedExtensions"),
            (END, &many, &exactly, &["x", "y"], "101"),
            (END, &many, &exactly, &["x"], "UnrequestedExtension"),
        ];
        for &(from, to, accept, extensions, result) in table {
            let mut input = BytesMut::from(&*response(from, to));
            let received = ReadResponse::new(&Limits::default()).receive(&mut input).unwrap().unwrap();
            let checked = expected(accept, extensions).check(&received.response);
            let found = checked.map_or_else(|error| name(&error), |()| "101".to_owned());
            assert_eq!(found, result, "{from:?} -> {to:?} {accept:?} {extensions:?}");
        }
    }

    /// RESPONSE with `from` replaced by `to`, whose characters stand for single bytes.
    fn response(from: &str, to: &str) -> Vec<u8> {
        let text = if from == END {
            format!("{}{to}\r\n", &RESPONSE[..RESPONSE.len() - 2])
        } else {
            RESPONSE.replacen(from, to, 1)
        };
        assert_ne!(text, RESPONSE, "{from:?} is part of the response");
        text.chars().map(|character| u8::try_from(character).unwrap()).collect()
    }

    #[test]
    fn c2_rejection_has_the_body() {
        let table: &[(&str, &str)] = &[
            ("HTTP/1.1 500 x\r\nContent-Length: 3\r\n\r\nabcdef", "Rejected 500 abc"),
            ("HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nabc", "Rejected 500 abc"),
            ("HTTP/1.0 404 x\r\n\r\nabc", "Rejected 404 abc"),
            ("HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "Rejected 403 abc"),
            ("HTTP/1.1 102 x\r\n\r\nHTTP/1.1 503 x\r\n\r\n", "Rejected 503 "),
        ];
        for &(input, expected) in table {
            assert_eq!(receive(input.as_bytes(), &[]), (Err(expected.to_owned()), vec![]), "{input:?}");
            let every: Vec<usize> = (0..input.len()).collect();
            assert_eq!(receive(input.as_bytes(), &every), (Err(expected.to_owned()), vec![]), "{input:?}");
        }
    }

    #[test]
    fn c8_frames_behind_the_response_are_kept() {
        let input = [RESPONSE.as_bytes(), b"\x81\x02hi"].concat();
        for cut in 0..=input.len() {
            assert_eq!(receive(&input, &[cut]), (Ok(101), b"\x81\x02hi".to_vec()), "cut at {cut}");
        }
    }

    #[test]
    fn c10_no_response_is_not_a_bad_response() {
        assert!(matches!(await_response().eof(), HandshakeError::NoResponse));
        for input in ["H", "HTTP/1.1 101", "HTTP/1.1 100 \r\n\r\n"] {
            let mut await_response = await_response();
            assert!(matches!(await_response.receive(&mut BytesMut::from(input)), Ok(None)), "{input:?}");
            assert!(matches!(await_response.eof(), HandshakeError::Truncated), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_received_without_panic_and_alike_however_cut(
            garbage in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'4'), any::<u8>()], 0..40),
            at in 0..RESPONSE.len(),
            overwritten in 0..4_usize,
            mut cuts in prop::collection::vec(0..RESPONSE.len(), 0..4),
        ) {
            let mut input = RESPONSE.as_bytes().to_vec();
            input.splice(at..(at + overwritten).min(RESPONSE.len()), garbage);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(input.len()));
            cuts.sort_unstable();
            prop_assert_eq!(receive(&input, &cuts), receive(&input, &[]));
        }
    }
}
