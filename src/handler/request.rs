use std::{fmt, io::Write};

use bytes::Bytes;
use http::{Uri, Version, header};
use url::{Position, Url};

use crate::{
    handler::{
        Error, ErrorKind, Result, credentials, forwarded,
        headers::{Headers, MAX_LINES, complete, has_control, slots},
    },
    proto::handshake::{Key, Refusal, is_token, parse_request},
    websocket::nonce,
};

/// The request of an opening handshake, as the client sends it (RFC 6455 section 4.1).
///
/// Where a header occurs more than once, the first line counts. Names are found in any case and kept as they are spelled.
///
/// ```
/// use wireline::handler::Request;
/// let mut request = Request::from_url(&url::Url::parse("ws://example.com/chat?room=1")?)?;
/// request.add_protocol("chat");
/// request.headers_mut().push(("Origin".into(), "http://example.com".into()));
/// assert_eq!(request.resource(), "/chat?room=1");
/// assert_eq!(request.header("host"), Some(&b"example.com".to_vec()));
/// assert_eq!(request.protocols()?, ["chat"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    resource: String,
    http_version: Version,
    headers: Headers,
}

impl Request {
    /// The request for a WebSocket at this URL.
    ///
    /// It has `Connection`, `Host`, `Sec-WebSocket-Version`, a random `Sec-WebSocket-Key` and `Upgrade`, in this order, and
    /// a Basic `Authorization` (RFC 7617) where the URL has a user name or a password. `Host` has the port unless it is the
    /// scheme's own. There is no `Origin`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`]: the URL has no host.
    pub fn from_url(url: &Url) -> Result<Self> {
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(Error::new(ErrorKind::Internal, "the URL has no host to connect to"));
        };
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = Headers::default();
        headers.push("Connection", "Upgrade");
        headers.push("Host", host);
        headers.push("Sec-WebSocket-Version", "13");
        headers.push("Sec-WebSocket-Key", Key::new(nonce()).as_str());
        headers.push("Upgrade", "websocket");
        if let Some(credentials) = credentials::basic(url) {
            headers.push("Authorization", credentials);
        }
        let resource = &url[Position::BeforePath..Position::AfterQuery];
        // RFC 6455 §3: an empty path is a slash; only schemes unknown to the URL standard have one.
        let resource = if resource.starts_with('/') { resource.to_owned() } else { format!("/{resource}") };
        Ok(Self { method: "GET".to_owned(), resource, http_version: Version::HTTP_11, headers })
    }

    /// Reads a request from the beginning of `bytes`; `None` if its head is not complete. What follows is ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Http`]: this is not HTTP/1, or has more than 124 header lines.
    ///
    /// ```
    /// use wireline::handler::Request;
    /// let request = Request::parse(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n")?;
    /// assert_eq!(request.map(|request| request.resource().to_owned()).as_deref(), Some("/chat"));
    /// assert!(Request::parse(b"GET /chat HTTP/1.1\r\nHost:")?.is_none());
    /// # Ok::<_, wireline::handler::Error>(())
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let parsed = Self::read(bytes, &mut [httparse::EMPTY_HEADER; MAX_LINES])?;
        Ok(parsed.map(|(request, _)| request))
    }

    /// Reads a head that is known to be complete and within the limits.
    pub(crate) fn parse_head(head: &[u8]) -> Result<Self> {
        let mut few = [httparse::EMPTY_HEADER; 24];
        let request = match Self::read(head, &mut few) {
            Err(Error { kind: ErrorKind::Http(httparse::Error::TooManyHeaders), .. }) => {
                Self::read(head, &mut slots(head))
            }
            read => read,
        };
        complete(request?, head)
    }

    /// The request and the length of its head.
    fn read<'a>(bytes: &'a [u8], lines: &mut [httparse::Header<'a>]) -> Result<Option<(Self, usize)>> {
        let mut parsed = httparse::Request::new(lines);
        let httparse::Status::Complete(length) = parsed.parse(bytes)? else {
            return Ok(None);
        };
        let request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            resource: resource(parsed.path.unwrap_or_default()),
            http_version: if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
            headers: Headers::from(&*parsed.headers),
        };
        Ok(Some((request, length)))
    }

    /// Writes the request, as HTTP/1.1.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: a header's name is not a token, or its value holds a control character such as CR or LF.
    /// Nothing was written then. [`ErrorKind::Io`]: the writer failed.
    pub fn format<W: Write>(&self, w: &mut W) -> Result<()> {
        if !is_token(&self.method) {
            return Err(Error::new(ErrorKind::Protocol, "the method is not a token (RFC 9110 section 9.1)"));
        }
        if self.resource.is_empty() || has_control(self.resource.as_bytes()) || self.resource.contains([' ', '\t']) {
            return Err(Error::new(ErrorKind::Protocol, "the resource is not a request-target (RFC 9112 section 3.2)"));
        }
        self.headers.check()?;
        Ok(w.write_all(&self.bytes())?)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        for part in [&*self.method, " ", &*self.resource, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        self.headers.write(&mut out);
        out
    }

    /// The request as the core's rules know it, and refused where the core would not read it.
    pub(crate) fn to_http(&self) -> Result<http::Request<()>> {
        let mut head = Vec::new();
        self.format(&mut head)?;
        let mut request = http_of(&head.into())?;
        *request.version_mut() = self.http_version;
        Ok(request)
    }

    /// The method: `GET`, unless somebody sent another.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What is asked for: path and query.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
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

    /// `Origin`: the site of the page that a browser connects from.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: it is not UTF-8.
    pub fn origin(&self) -> Result<Option<&str>> {
        self.headers.text("Origin")
    }

    /// `Sec-WebSocket-Key`, as sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: there is none.
    pub fn key(&self) -> Result<&Vec<u8>> {
        let key = self.headers.get("Sec-WebSocket-Key");
        key.ok_or_else(|| Error::new(ErrorKind::Protocol, "the request has no Sec-WebSocket-Key"))
    }

    /// The `Sec-WebSocket-Accept` that answers the key (RFC 6455 section 4.2.2), whether the key is a valid one or not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: there is no key.
    pub fn hashed_key(&self) -> Result<String> {
        self.key().map(|key| Key::accept_of(key))
    }

    /// `Sec-WebSocket-Version`: 13 is that of RFC 6455.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`]: there is none. [`ErrorKind::Encoding`]: it is not UTF-8.
    pub fn version(&self) -> Result<&str> {
        let version = self.headers.text("Sec-WebSocket-Version")?;
        version.ok_or_else(|| Error::new(ErrorKind::Protocol, "the request has no Sec-WebSocket-Version"))
    }

    /// The subprotocols that the client offers, the preferred first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: the header is not UTF-8.
    pub fn protocols(&self) -> Result<Vec<&str>> {
        self.headers.list("Sec-WebSocket-Protocol")
    }

    /// Offers one more subprotocol.
    pub fn add_protocol(&mut self, protocol: &str) {
        self.headers.add_element("Sec-WebSocket-Protocol", protocol);
    }

    /// Takes the offer of a subprotocol back, as often as it is there.
    pub fn remove_protocol(&mut self, protocol: &str) {
        self.headers.remove_elements("Sec-WebSocket-Protocol", |element| element == protocol.as_bytes());
    }

    /// The extensions that the client offers with their parameters, the preferred first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: the header is not UTF-8.
    pub fn extensions(&self) -> Result<Vec<&str>> {
        self.headers.list("Sec-WebSocket-Extensions")
    }

    /// Offers one more extension, given with its parameters.
    pub fn add_extension(&mut self, ext: &str) {
        self.headers.add_element("Sec-WebSocket-Extensions", ext);
    }

    /// Takes all offers of an extension back, given by its name, whatever the parameters.
    pub fn remove_extension(&mut self, ext: &str) {
        self.headers.remove_extension(ext);
    }

    /// The client's address according to the proxies on the way: the leftmost of `X-Forwarded-For`, else the first `for` of
    /// `Forwarded` (RFC 7239), as written there.
    ///
    /// Anyone can send these headers: trust them only behind a proxy that sets them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encoding`]: the header is not UTF-8.
    pub fn client_addr(&self) -> Result<Option<&str>> {
        forwarded::client(&self.headers)
    }
}

/// The request as text, whatever in it is not UTF-8 replaced.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

/// The request without its body. A host that is named by the URI only becomes `Host`.
impl<T> From<&http::Request<T>> for Request {
    fn from(request: &http::Request<T>) -> Self {
        let mut headers = Headers::from(request.headers());
        if let (Some(authority), None) = (request.uri().authority(), request.headers().get(header::HOST)) {
            headers.push("Host", authority.as_str().rsplit('@').next().unwrap_or_default());
        }
        Self {
            method: request.method().to_string(),
            resource: path_and_query(request.uri()),
            http_version: request.version(),
            headers,
        }
    }
}

/// The request of a head as the core's rules know it, and refused where the core would not read it.
pub(crate) fn http_of(head: &Bytes) -> Result<http::Request<()>> {
    parse_request(head).map_err(|error| Error::new(ErrorKind::Protocol, Refusal::from(error).to_string()))
}

/// Path and query of a request-target, which may also be a whole URI (RFC 9112 section 3.2.2). Any other is kept, for whoever
/// judges it.
fn resource(target: &str) -> String {
    if target.starts_with('/') || target.contains('#') {
        return target.to_owned();
    }
    match Uri::try_from(target) {
        Ok(uri) if uri.scheme().is_some() => path_and_query(&uri),
        _ => target.to_owned(),
    }
}

fn path_and_query(uri: &Uri) -> String {
    match uri.path_and_query().map_or("/", |resource| resource.as_str()) {
        query if query.starts_with('?') => format!("/{query}"),
        resource => resource.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: example.com\r\nconnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn parsed(text: &str) -> Request {
        Request::parse(text.as_bytes()).unwrap().unwrap()
    }

    fn with(lines: &str) -> Request {
        parsed(&format!("GET / HTTP/1.1\r\n{lines}\r\n"))
    }

    fn formatted(request: &Request) -> String {
        let mut out = Vec::new();
        request.format(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn from_url(url: &str) -> Result<Request> {
        Request::from_url(&Url::parse(url).unwrap())
    }

    fn text<'a>(request: &'a Request, header: &str) -> Option<&'a str> {
        request.header(header).map(|value| str::from_utf8(value).unwrap())
    }

    #[test]
    fn format_writes_what_parse_read() {
        let request = parsed(REQUEST);
        assert_eq!((request.method(), request.resource()), ("GET", "/chat?x=1"));
        assert_eq!(request.version().unwrap(), "13");
        assert_eq!(request.key().unwrap(), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(request.hashed_key().unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(request.headers()[1], ("connection".to_owned(), b"Upgrade".to_vec()));
        assert_eq!((formatted(&request).as_str(), request.to_string().as_str()), (REQUEST, REQUEST));
        assert_eq!(formatted(&Request::parse_head(REQUEST.as_bytes()).unwrap()), REQUEST);
        let own = from_url("wss://example.com:1/x?y").unwrap();
        assert_eq!(formatted(&parsed(&formatted(&own))), formatted(&own));
    }

    #[test]
    fn parse_waits_for_the_end_of_the_head_and_ignores_what_follows() {
        for end in 0..REQUEST.len() {
            assert!(Request::parse(&REQUEST.as_bytes()[..end]).unwrap().is_none(), "{end}");
            assert!(Request::parse_head(&REQUEST.as_bytes()[..end]).is_err(), "{end}");
        }
        let longer = [REQUEST, "\u{81}"].concat();
        assert_eq!(formatted(&parsed(&longer)), REQUEST);
        assert!(Request::parse_head(longer.as_bytes()).is_err());
    }

    #[test]
    fn parse_takes_124_headers_and_parse_head_any_number() {
        let head = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(parsed(&head(124)).headers().len(), 124);
        let error = Request::parse(head(125).as_bytes()).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Http(httparse::Error::TooManyHeaders)), "{error:?}");
        assert_eq!(Request::parse_head(head(2000).as_bytes()).unwrap().headers().len(), 2000);
    }

    #[test]
    fn d20_malformed_requests_are_http_errors_that_say_why() {
        for text in ["GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nA b\r\n\r\n", "G\0T / HTTP/1.1\r\n\r\n", "\u{1}"] {
            let error = Request::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Http(_)), "{text:?}: {error:?}");
            let shown = error.to_string();
            assert!(shown.starts_with("Unable to parse HTTP") && !shown.contains("deprecated"), "{shown}");
        }
    }

    #[test]
    fn d25_resource_and_host_of_a_url() {
        let table: &[(&str, &str, &str)] = &[
            // URL, resource, Host
            ("ws://example.com", "/", "example.com"),
            ("ws://example.com:80/chat", "/chat", "example.com"),
            ("ws://example.com:8080/", "/", "example.com:8080"),
            ("ws://example.com:443/", "/", "example.com:443"),
            ("wss://example.com:443/a?b=c#d", "/a?b=c", "example.com"),
            ("wss://example.com:80/?", "/?", "example.com:80"),
            ("ws://[::1]:9001/a b", "/a%20b", "[::1]:9001"),
            ("ws://[::1]/", "/", "[::1]"),
            ("ws://user:pass@example.com/", "/", "example.com"),
            ("other://example.com:80?q", "/?q", "example.com:80"),
        ];
        for &(url, resource, host) in table {
            let request = from_url(url).unwrap();
            assert_eq!((request.method(), request.resource()), ("GET", resource), "{url}");
            assert_eq!(text(&request, "Host"), Some(host), "{url}");
        }
    }

    #[test]
    fn a_request_from_a_url_has_the_handshakes_headers() {
        let request = from_url("ws://u:p@h/").unwrap();
        let names: Vec<&str> = request.headers().iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["Connection", "Host", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Upgrade", "Authorization"];
        assert_eq!(names, expected);
        assert!(Key::parse(request.key().unwrap()).is_some());
        assert_ne!(request.key().unwrap(), from_url("ws://h/").unwrap().key().unwrap());
        for (name, value) in [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")] {
            assert_eq!(text(&request, name), Some(value));
        }
        for url in ["unix:/run/x", "other:///x", "data:x"] {
            assert!(matches!(from_url(url).unwrap_err().kind, ErrorKind::Internal), "{url}");
        }
    }

    #[test]
    fn the_resource_of_any_request_target() {
        let table = [
            ("/", "/"),
            ("/a?b", "/a?b"),
            ("http://example.com/a?b", "/a?b"),
            ("http://example.com", "/"),
            ("ws://example.com?b", "/?b"),
            ("*", "*"),
            ("example.com:80", "example.com:80"),
            ("http://h/#x", "http://h/#x"),
        ];
        for (target, resource) in table {
            let request = parsed(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert_eq!(request.resource(), resource, "{target}");
        }
    }

    #[test]
    fn headers_are_found_in_any_case_the_first_first() {
        let mut request = with("X-A: 1\r\nx-a: 2\r\nOrigin: http://h\r\n");
        assert_eq!(text(&request, "x-A"), Some("1"));
        request.header_mut("x-a").unwrap().push(b'!');
        request.headers_mut().push(("Y".into(), b"3".to_vec()));
        assert_eq!((text(&request, "X-a"), text(&request, "y"), text(&request, "z")), (Some("1!"), Some("3"), None));
        assert_eq!(request.origin().unwrap(), Some("http://h"));
        assert_eq!(with("").origin().unwrap(), None);
    }

    #[test]
    fn missing_headers_are_protocol_errors_and_foreign_bytes_encoding_errors() {
        let empty = with("");
        for error in [empty.key().unwrap_err(), empty.version().unwrap_err(), empty.hashed_key().unwrap_err()] {
            assert!(matches!(error.kind, ErrorKind::Protocol), "{error:?}");
        }
        let mut request = Request::parse(
            b"GET / HTTP/1.1\r\nOrigin: \xff\r\nSec-WebSocket-Version: \xff\r\nSec-WebSocket-Protocol: \xff\r\n\
            Sec-WebSocket-Extensions: \xff\r\nX-Forwarded-For: \xff\r\nSec-WebSocket-Key: \xff\r\n\r\n",
        )
        .unwrap()
        .unwrap();
        assert!(request.hashed_key().is_ok());
        assert!(request.to_string().contains("Origin: \u{fffd}\r\n"));
        request.remove_protocol("x");
        let errors = [
            request.origin().unwrap_err(),
            request.version().unwrap_err(),
            request.protocols().unwrap_err(),
            request.extensions().unwrap_err(),
            request.client_addr().unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error.kind, ErrorKind::Encoding(_)), "{error:?}");
        }
    }

    #[test]
    fn d18_lists_are_extended_and_removed_from() {
        let mut request = with("");
        for protocol in ["chat", "superchat", "chat"] {
            request.add_protocol(protocol);
        }
        assert_eq!(text(&request, "Sec-WebSocket-Protocol"), Some("chat,superchat,chat"));
        request.remove_protocol("super");
        assert_eq!(request.protocols().unwrap(), ["chat", "superchat", "chat"]);
        request.remove_protocol("chat");
        assert_eq!(request.protocols().unwrap(), ["superchat"]);
        request.remove_protocol("superchat");
        assert!(request.protocols().unwrap().is_empty() && request.header("sec-websocket-protocol").is_none());

        for extension in ["x; a=1", "xx", "x", "y;x"] {
            request.add_extension(extension);
        }
        request.remove_extension("x");
        assert_eq!(request.extensions().unwrap(), ["xx", "y;x"]);
        request.remove_extension("y");
        request.remove_extension("xx");
        assert!(request.headers().is_empty());
    }

    #[test]
    fn what_could_split_a_request_is_not_written() {
        let mut value = parsed(REQUEST);
        value.headers_mut().push(("X".into(), b"y\r\nZ: z".to_vec()));
        let mut name = parsed(REQUEST);
        name.headers_mut().push(("X: y\r\nZ".into(), b"z".to_vec()));
        let target = |resource: &str| Request { resource: resource.to_owned(), ..parsed(REQUEST) };
        let method = Request { method: "GET / HTTP/1.1\r\n".to_owned(), ..parsed(REQUEST) };
        let requests = [value, name, method, target(""), target("/ x"), target("/\r\n"), target("/\t"), target("/\0")];
        for request in requests {
            let mut out = Vec::new();
            let error = request.format(&mut out).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol) && out.is_empty(), "{request:?}");
            assert!(request.to_http().is_err() && !request.to_string().is_empty());
        }
    }

    #[test]
    fn to_http_is_what_the_core_would_read() {
        let request = parsed(REQUEST).to_http().unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", "/chat?x=1"));
        assert_eq!((request.version(), request.headers().len()), (Version::HTTP_11, 5));
        assert_eq!(parsed("GET / HTTP/1.0\r\n\r\n").to_http().unwrap().version(), Version::HTTP_10);
        for head in ["GET /#x HTTP/1.1\r\n\r\n", "GET /\u{e9} HTTP/1.1\r\n\r\n"] {
            let error = parsed(head).to_http().unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol), "{head:?}: {error:?}");
        }
    }

    #[test]
    fn from_the_http_crates_request() {
        let built = http::Request::get("http://user@example.com:8080/a?b").header("X-A", "1").body("x").unwrap();
        let request = Request::from(&built);
        assert_eq!((request.method(), request.resource()), ("GET", "/a?b"));
        assert_eq!((text(&request, "X-A"), text(&request, "Host")), (Some("1"), Some("example.com:8080")));
        let built = http::Request::post("/").header("Host", "h").version(Version::HTTP_2).body(()).unwrap();
        let request = Request::from(&built);
        assert_eq!(request.to_string(), "POST / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(request.to_http().unwrap().version(), Version::HTTP_2);
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_so_that_it_parses_alike(
            garbage in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>()], 0..20),
            at in 0..REQUEST.len(),
            overwritten in 0..4_usize,
        ) {
            let mut input = REQUEST.as_bytes().to_vec();
            input.splice(at..(at + overwritten).min(REQUEST.len()), garbage);
            if let Ok(Some(request)) = Request::parse(&input) {
                let mut out = Vec::new();
                request.format(&mut out).unwrap();
                let again = Request::parse_head(&out).unwrap();
                prop_assert_eq!((again.method(), again.resource()), (request.method(), request.resource()));
                prop_assert_eq!(again.headers(), request.headers());
                let _ = (request.to_http(), request.client_addr(), request.protocols());
            }
        }
    }
}
