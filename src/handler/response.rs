use std::{fmt, io::Write};

use crate::{
    handler::{
        Error, ErrorKind, Request, Result,
        headers::{Headers, MAX_LINES, complete, has_control, slots},
    },
    websocket::HEAD_WRITTEN,
};

/// The response to the request of an opening handshake, as the server sends it (RFC 6455 section 4.2.2).
///
/// Status 101 opens the connection; with any other the connection ends after the response. Where a header occurs more than
/// once, the first line counts. Names are found in any case and kept as they are spelled.
///
/// ```
/// use wireline::handler::{Request, Response, Result};
/// fn on_request(request: &Request) -> Result<Response> {
///     match request.resource() {
///         "/chat" => Response::from_request(request),
///         _ => Ok(Response::new(404, "Not Found", b"no such room".to_vec())),
///     }
/// }
/// # let request = Request::from_url(&url::Url::parse("ws://h/chat").unwrap())?;
/// # assert_eq!(on_request(&request)?.status(), 101);
/// # Ok::<_, wireline::handler::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    reason: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Response {
    /// A response with this body, and `Content-Length` for it as its only header.
    pub fn new<R: Into<String>>(status: u16, reason: R, body: Vec<u8>) -> Self {
        let mut headers = Headers::default();
        headers.push("Content-Length", body.len().to_string());
        Self { status, reason: reason.into(), headers, body }
    }

    /// The response that opens the connection: 101 with `Connection`, `Sec-WebSocket-Accept` and `Upgrade`.
    ///
    /// Of the request only the key is looked at, and no subprotocol or extension is accepted. Without
    /// [`set_status`](Self::set_status) to another than 101, the request is judged before the response is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: the request has no key.
    pub fn from_request(req: &Request) -> Result<Self> {
        let mut headers = Headers::default();
        headers.push("Connection", "Upgrade");
        headers.push("Sec-WebSocket-Accept", req.hashed_key()?);
        headers.push("Upgrade", "websocket");
        Ok(Self { status: 101, reason: "Switching Protocols".to_owned(), headers, body: Vec::new() })
    }

    /// Reads a response from the beginning of `bytes`; `None` if its head is not complete. What follows is ignored: the
    /// body is empty.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Http`]: this is not HTTP/1, or has more than 124 header lines.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let parsed = Self::read(bytes, &mut [httparse::EMPTY_HEADER; MAX_LINES])?;
        Ok(parsed.map(|(response, _)| response))
    }

    /// Reads a head that is known to be complete and within the limits, for a body that was read already.
    pub(crate) fn parse_head(head: &[u8], body: Vec<u8>) -> Result<Self> {
        let response = complete(Self::read(head, &mut slots(head))?, head)?;
        Ok(Self { body, ..response })
    }

    /// The response and the length of its head.
    fn read<'a>(bytes: &'a [u8], lines: &mut [httparse::Header<'a>]) -> Result<Option<(Self, usize)>> {
        let mut parsed = httparse::Response::new(lines);
        let httparse::Status::Complete(length) = parsed.parse(bytes)? else {
            return Ok(None);
        };
        let response = Self {
            status: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            headers: Headers::from(&*parsed.headers),
            body: Vec::new(),
        };
        Ok(Some((response, length)))
    }

    /// Writes the response with its body, as HTTP/1.1.
    ///
    /// No header is added: without `Content-Length` and `Transfer-Encoding` the body ends with the connection (RFC 9112
    /// section 6.3).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: the status does not have three digits, a header's name is not a token, or the reason or a
    /// header's value holds a control character such as CR or LF. Nothing was written then. [`ErrorKind::Io`]: the writer
    /// failed.
    pub fn format<W: Write>(&self, w: &mut W) -> Result<()> {
        if !(100..=999).contains(&self.status) {
            let details = format!("status {} does not have three digits (RFC 9112 section 4)", self.status);
            return Err(Error::new(ErrorKind::Protocol, details));
        }
        if has_control(self.reason.as_bytes()) {
            let details = "the reason holds a control character (RFC 9112 section 4)";
            return Err(Error::new(ErrorKind::Protocol, details));
        }
        self.headers.check()?;
        Ok(w.write_all(&self.bytes())?)
    }

    fn bytes(&self) -> Vec<u8> {
        // As much as the head of the other server has, for its reason.
        let mut out = Vec::with_capacity(HEAD_WRITTEN + self.body.len());
        let status = self.status.to_string();
        for part in ["HTTP/1.1 ", &*status, " ", &*self.reason, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        self.headers.write(&mut out);
        out.extend_from_slice(&self.body);
        out
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Sets the status, and nothing else.
    pub const fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// The text behind the status.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Sets the text behind the status.
    pub fn set_reason<R: Into<String>>(&mut self, reason: R) {
        self.reason = reason.into();
    }

    /// The body. A client that was refused has at most 1 MiB of it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, header: &str) -> Option<&Vec<u8>> {
        self.headers.get(header)
    }

    /// The value of a header, to be changed.
    pub fn header_mut(&mut self, header: &str) -> Option<&mut Vec<u8>> {
        self.headers.get_mut(header)
    }

    /// All headers in order, as names and values.
    #[must_use]
    pub const fn headers(&self) -> &Vec<(String, Vec<u8>)> {
        self.headers.lines()
    }

    /// All headers in order, to be changed.
    pub const fn headers_mut(&mut self) -> &mut Vec<(String, Vec<u8>)> {
        self.headers.lines_mut()
    }

    /// `Sec-WebSocket-Accept`, as sent: what answers the client's key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: there is none.
    pub fn key(&self) -> Result<&Vec<u8>> {
        let key = self.headers.get("Sec-WebSocket-Accept");
        key.ok_or_else(|| Error::new(ErrorKind::Protocol, "the response has no Sec-WebSocket-Accept"))
    }

    /// The subprotocol that the server chose.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: the header is not UTF-8.
    pub fn protocol(&self) -> Result<Option<&str>> {
        self.headers.text("Sec-WebSocket-Protocol")
    }

    /// Chooses a subprotocol, in place of any chosen before. It must be one that the client offers.
    pub fn set_protocol(&mut self, protocol: &str) {
        self.headers.set("Sec-WebSocket-Protocol", protocol);
    }

    /// The extensions that the server accepts, with their parameters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: the header is not UTF-8.
    pub fn extensions(&self) -> Result<Vec<&str>> {
        self.headers.list("Sec-WebSocket-Extensions")
    }

    /// Accepts one more extension, given with its parameters. It must be one that the client offers.
    pub fn add_extension(&mut self, ext: &str) {
        self.headers.add_element("Sec-WebSocket-Extensions", ext);
    }

    /// Does not accept an extension after all, given by its name, whatever the parameters.
    pub fn remove_extension(&mut self, ext: &str) {
        self.headers.remove_extension(ext);
    }
}

/// The response with its body as text, whatever in it is not UTF-8 replaced.
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

/// The response without its body.
impl<T> From<&http::Response<T>> for Response {
    fn from(response: &http::Response<T>) -> Self {
        Self {
            status: response.status().as_u16(),
            reason: response.status().canonical_reason().unwrap_or_default().to_owned(),
            headers: Headers::from(response.headers()),
            body: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nUpgrade: websocket\r\n\r\n";

    fn parsed(text: &str) -> Response {
        Response::parse(text.as_bytes()).unwrap().unwrap()
    }

    fn formatted(response: &Response) -> String {
        let mut out = Vec::new();
        response.format(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn request(key: &str) -> Request {
        Request::parse(format!("POST /x HTTP/1.0\r\n{key}\r\n").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn from_request_looks_only_at_the_key() {
        let response = Response::from_request(&request("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n")).unwrap();
        assert_eq!((formatted(&response).as_str(), response.to_string().as_str()), (RESPONSE, RESPONSE));
        assert!(matches!(Response::from_request(&request("")).unwrap_err().kind, ErrorKind::Protocol));
        let mut response = Response::from_request(&request("Sec-WebSocket-Key: no key\r\n")).unwrap();
        response.set_status(404);
        response.set_reason("Not Found");
        assert_eq!((response.status(), response.reason(), response.body()), (404, "Not Found", &b""[..]));
        assert!(formatted(&response).starts_with("HTTP/1.1 404 Not Found\r\nConnection: Upgrade\r\n"));
    }

    #[test]
    fn format_writes_what_parse_read() {
        let response = parsed(RESPONSE);
        assert_eq!((response.status(), response.reason()), (101, "Switching Protocols"));
        assert_eq!(response.key().unwrap(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(formatted(&response), RESPONSE);
        let page = Response::new(200, "OK", b"<p>".to_vec());
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>";
        assert_eq!((formatted(&page).as_str(), page.body()), (text, &b"<p>"[..]));
        assert_eq!(parsed(text).body(), b"");
        let (head, body) = text.split_at(text.len() - 3);
        assert_eq!(formatted(&Response::parse_head(head.as_bytes(), body.into()).unwrap()), text);
    }

    #[test]
    fn parse_waits_for_the_end_of_the_head() {
        for end in 0..RESPONSE.len() {
            assert!(Response::parse(&RESPONSE.as_bytes()[..end]).unwrap().is_none(), "{end}");
            assert!(Response::parse_head(&RESPONSE.as_bytes()[..end], Vec::new()).is_err(), "{end}");
        }
        for text in ["HTTP/2.0 200 x\r\n\r\n", "HTTP/1.1 20 x\r\n\r\n", "SSH-2.0", "HTTP/1.1 200 x\r\nA b\r\n\r\n"] {
            let error = Response::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Http(_)), "{text:?}: {error:?}");
        }
        for text in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.0 200 \r\n\r\n"] {
            assert_eq!((parsed(text).status(), parsed(text).reason()), (200, ""), "{text:?}");
        }
    }

    #[test]
    fn parse_takes_124_headers_and_parse_head_any_number() {
        let head = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(parsed(&head(124)).headers().len(), 124);
        let error = Response::parse(head(125).as_bytes()).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Http(httparse::Error::TooManyHeaders)), "{error:?}");
        assert_eq!(Response::parse_head(head(2000).as_bytes(), Vec::new()).unwrap().headers().len(), 2000);
    }

    #[test]
    fn headers_of_a_response() {
        let mut response = parsed("HTTP/1.1 101 x\r\nx-a: 1\r\nSec-WebSocket-Protocol: a\r\n\r\n");
        assert_eq!(response.header("X-A"), Some(&b"1".to_vec()));
        assert!(matches!(response.key().unwrap_err().kind, ErrorKind::Protocol));
        response.header_mut("X-A").unwrap().push(b'!');
        response.headers_mut().push(("Y".into(), b"2".to_vec()));
        response.set_protocol("b");
        assert_eq!(response.protocol().unwrap(), Some("b"));
        assert_eq!(formatted(&response), "HTTP/1.1 101 x\r\nx-a: 1!\r\nSec-WebSocket-Protocol: b\r\nY: 2\r\n\r\n");
        let mut response = Response::new(101, "", Vec::new());
        assert_eq!(response.protocol().unwrap(), None);
        response.set_protocol("c");
        assert_eq!(response.headers()[1], ("Sec-WebSocket-Protocol".to_owned(), b"c".to_vec()));
    }

    #[test]
    fn d18_extensions_are_added_and_removed() {
        let mut response = parsed(RESPONSE);
        assert!(response.extensions().unwrap().is_empty());
        for extension in ["permessage-deflate; server_max_window_bits=10", "permessage-deflate-x", "x"] {
            response.add_extension(extension);
        }
        assert_eq!(response.extensions().unwrap().len(), 3);
        response.remove_extension("permessage-deflate");
        assert_eq!(response.extensions().unwrap(), ["permessage-deflate-x", "x"]);
        response.remove_extension("x");
        response.remove_extension("permessage-deflate-x");
        assert_eq!(formatted(&response), RESPONSE);
    }

    #[test]
    fn what_could_split_a_response_is_not_written() {
        let mut value = Response::new(200, "OK", Vec::new());
        value.headers_mut().push(("Location".into(), b"/\r\nSet-Cookie: x=y".to_vec()));
        let mut name = Response::new(200, "OK", Vec::new());
        name.headers_mut().push(("A\r\nB".into(), b"c".to_vec()));
        let with = |status: u16, reason: &str| Response::new(status, reason, Vec::new());
        let responses =
            [value, name, with(200, "OK\r\nA: b"), with(200, "\0"), with(99, "x"), with(1000, "x"), with(0, "")];
        for response in responses {
            let mut out = Vec::new();
            let error = response.format(&mut out).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol) && out.is_empty(), "{response:?}");
            assert!(!response.to_string().is_empty());
        }
        assert!(formatted(&with(999, "\u{e9}")).starts_with("HTTP/1.1 999 \u{e9}\r\n"));
    }

    #[test]
    fn display_replaces_what_is_not_utf_8() {
        let mut response = Response::new(200, "OK", b"\xff\xfe".to_vec());
        response.headers_mut().push(("X".into(), b"\xff".to_vec()));
        let shown = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \u{fffd}\r\n\r\n\u{fffd}\u{fffd}";
        assert_eq!(response.to_string(), shown);
    }

    #[test]
    fn from_the_http_crates_response() {
        let built = http::Response::builder().status(404).header("X-A", "1").body("x").unwrap();
        assert_eq!(Response::from(&built).to_string(), "HTTP/1.1 404 Not Found\r\nx-a: 1\r\n\r\n");
        let built = http::Response::builder().status(599).body(()).unwrap();
        assert_eq!(Response::from(&built).to_string(), "HTTP/1.1 599 \r\n\r\n");
    }
}
