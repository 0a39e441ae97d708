use bytes::BytesMut;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::{
    Key, Opening, Refusal, head::parse_request, headers::is_reserved, judge::check_body, lines::Lines,
    scanner::HeadScanner,
};
use crate::proto::{Limits, Misuse};

/// A server that waits for the head of a request; the next step is [`judge`](fn@super::judge).
///
/// ```
/// use wireline::{Limits, proto::handshake::{AwaitRequest, Refusal}};
/// let mut await_request = AwaitRequest::new(&Limits::default());
/// let mut input = bytes::BytesMut::from("GET /chat HTTP/1.1\r\nHost: example.com\r\n");
/// assert!(await_request.receive(&mut input)?.is_none());
/// input.extend_from_slice(b"\r\nearly");
/// let request = await_request.receive(&mut input)?.expect("the head is complete");
/// assert_eq!(request.uri().path(), "/chat");
/// assert_eq!(input, "early");
/// # Ok::<_, Refusal>(())
/// ```
#[derive(Debug)]
pub struct AwaitRequest {
    scanner: HeadScanner,
}

impl AwaitRequest {
    /// Waits for a head within `limits`.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self { scanner: HeadScanner::request(limits) }
    }

    /// The request, once its head is in `input`; what follows the head stays in `input`: frames, if we upgrade.
    ///
    /// Until then `input` keeps all bytes, and only new ones are looked at.
    ///
    /// # Errors
    ///
    /// The request is beyond a limit, malformed, or has a body. Send the refusal and close.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<Request<()>>, Refusal> {
        let request = self.receive_any(input)?;
        if let Some(request) = &request {
            // What is left of the input is only frames if none of it is a body.
            check_body(&Lines::of(request.headers()))?;
        }
        Ok(request)
    }

    /// The same for whoever judges the body later, as [`judge`](fn@super::judge) does.
    pub(crate) fn receive_any(&mut self, input: &mut BytesMut) -> Result<Option<Request<()>>, Refusal> {
        match self.receive_head(input)? {
            Some(head) => Ok(Some(parse_request(&head.freeze())?)),
            None => Ok(None),
        }
    }

    /// The bytes of the head, once it is complete and within the limits; neither parsed nor judged.
    pub(crate) fn receive_head(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, Refusal> {
        Ok(self.scanner.scan(input)?.map(|length| input.split_to(length)))
    }
}

/// A request that may be accepted; what [`judge`](fn@super::judge) found in it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What HTTP/1.1 wants a proof for; an extended CONNECT needs none.
    pub(super) key: Option<Key>,
    pub(super) subprotocols: Vec<String>,
}

impl Judged {
    /// The subprotocols that the client offers, in its order of preference.
    #[must_use]
    pub fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// The response that opens the connection: 101 (RFC 6455 section 4.2.2), or 200 to an extended CONNECT (RFC 8441
    /// section 5).
    ///
    /// # Errors
    ///
    /// The acceptance chooses a subprotocol that was not offered, or sets a header that is the handshake's own.
    pub fn respond(self, acceptance: Acceptance) -> Result<Response<()>, Misuse> {
        self.open(acceptance).map(Opening::into_response)
    }

    /// The same, not put into [`http`]'s types yet.
    pub(crate) fn open(self, acceptance: Acceptance) -> Result<Opening, Misuse> {
        let Acceptance { subprotocol: chosen, headers, extensions } = acceptance;
        if headers.keys().any(is_reserved) {
            return Err(Misuse::InvalidRequest(
                "Upgrade, Connection, Content-Length, Transfer-Encoding and Sec-WebSocket-* are not the application's to set",
            ));
        }
        let mut subprotocol = None;
        if let Some(chosen) = chosen {
            // RFC 6455 §4.2.2: chosen from the client's list, or no header.
            let value = HeaderValue::from_str(&chosen).ok().filter(|_| self.subprotocols.contains(&chosen));
            let foreign = Misuse::InvalidRequest("the chosen subprotocol was not offered by the client");
            subprotocol = Some(value.ok_or(foreign)?);
        }
        Ok(Opening { key: self.key, subprotocol, headers, extensions })
    }
}

/// What an application adds to the response that opens the connection.
///
/// ```
/// use wireline::proto::handshake::Acceptance;
/// use http::{HeaderValue, header};
/// let acceptance = Acceptance::new()
///     .subprotocol("chat")
///     .header(header::SERVER, HeaderValue::from_static("wireline"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    subprotocol: Option<String>,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Acceptance {
    /// Accepts with no subprotocol and no further headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the subprotocols that the client offered.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// The subprotocol chosen with [`Acceptance::subprotocol`].
    #[must_use]
    pub fn chosen(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Adds a header to the response. The handshake's own are refused by [`Judged::respond`].
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Hands something to the application, such as the user that a token belongs to: it is among the extensions of the
    /// request (of [`Judged::respond`]'s response, where that is called by hand), by its type.
    #[must_use]
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, header};
    use proptest::prelude::*;

    use super::*;
    use crate::proto::handshake::{encode_response, judge};

    const REQUEST: &[u8] =
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn judged() -> Judged {
        let request = AwaitRequest::new(&Limits::default()).receive(&mut BytesMut::from(REQUEST));
        judge(&request.unwrap().unwrap()).unwrap()
    }

    /// Receives `input` in pieces that end at `cuts`: the result, and what is left.
    fn receive(input: &[u8], cuts: &[usize]) -> (Result<Option<String>, u16>, Vec<u8>) {
        let (mut await_request, mut buffer, mut from) = (AwaitRequest::new(&Limits::default()), BytesMut::new(), 0);
        for &to in cuts.iter().chain([&input.len()]) {
            buffer.extend_from_slice(&input[from..to]);
            from = to;
            match await_request.receive(&mut buffer) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    buffer.extend_from_slice(&input[from..]);
                    return (Ok(Some(format!("{request:?}"))), buffer.to_vec());
                }
                Err(refusal) => return (Err(refusal.status().as_u16()), Vec::new()),
            }
        }
        (Ok(None), buffer.to_vec())
    }

    #[test]
    fn h9_request_split_anywhere_keeps_what_follows() {
        let input = [REQUEST, b"\x81\x85frames"].concat();
        let whole = receive(&input, &[]);
        assert_eq!(whole.1, b"\x81\x85frames");
        for cut in 0..=input.len() {
            assert_eq!(receive(&input, &[cut]), whole, "cut at {cut}");
        }
        assert_eq!(receive(&input, &(0..input.len()).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn a_head_is_received_as_sent_and_within_the_limits() {
        let mut input = BytesMut::from([REQUEST, b"\x81\x85frames"].concat().as_slice());
        let head = AwaitRequest::new(&Limits::default()).receive_head(&mut input);
        assert_eq!((head.unwrap().as_deref(), &input[..]), (Some(REQUEST), b"\x81\x85frames".as_slice()));
        let limits = Limits { max_headers: 2, ..Limits::default() };
        let mut await_request = AwaitRequest::new(&limits);
        assert!(matches!(await_request.receive_head(&mut BytesMut::from(&REQUEST[..20])), Ok(None)));
        let refusal = await_request.receive_head(&mut BytesMut::from(REQUEST)).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    #[test]
    fn s_11_golden_response() {
        let acceptance = Acceptance::new().subprotocol("chat").header(header::SERVER, HeaderValue::from_static("x"));
        assert_eq!((acceptance.chosen(), Acceptance::new().chosen()), (Some("chat"), None));
        let mut out = BytesMut::new();
        encode_response(&judged().respond(acceptance).unwrap(), b"", &mut out);
        let golden = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nserver: x\r\n\r\n";
        assert_eq!(out, golden);
        assert!(judged().respond(Acceptance::new()).unwrap().headers().get(header::SEC_WEBSOCKET_PROTOCOL).is_none());
    }

    #[test]
    fn s_09_s_10_foreign_choices_are_not_sent() {
        assert_eq!(judged().subprotocols(), ["chat", "superchat"]);
        for foreign in ["Chat", "other", "", "chat, superchat", "chat\r\nX: y"] {
            assert!(judged().respond(Acceptance::new().subprotocol(foreign)).is_err(), "S-09 {foreign:?}");
        }
        for name in [
            "upgrade",
            "connection",
            "sec-websocket-extensions",
            "sec-websocket-protocol",
            "content-length",
            "transfer-encoding",
        ] {
            let acceptance = Acceptance::new().header(HeaderName::from_static(name), HeaderValue::from_static("0"));
            assert!(judged().respond(acceptance).is_err(), "S-10 {name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_received_without_panic_and_alike_however_cut(
            garbage in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..40),
            at in 0..REQUEST.len(),
            overwritten in 0..4_usize,
            mut cuts in prop::collection::vec(0..REQUEST.len(), 0..4),
        ) {
            let mut input = REQUEST.to_vec();
            input.splice(at..(at + overwritten).min(REQUEST.len()), garbage);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(input.len()));
            cuts.sort_unstable();
            prop_assert_eq!(receive(&input, &cuts), receive(&input, &[]));
            if let Ok(Some(request)) = AwaitRequest::new(&Limits::default()).receive(&mut BytesMut::from(&*input)) {
                let _ = judge(&request);
            }
        }
    }
}
