use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, header,
    uri::{Authority, PathAndQuery},
};

use super::{
    AwaitResponse, GrammarError, Key, encode_request,
    headers::{check_subprotocols, is_reserved, visible},
    offer_deflate,
};
use crate::proto::{
    Limits, Misuse,
    deflate::{self, DeflateConfig},
};

/// A client's request to open a connection (RFC 6455 section 4.1); the next step is [`AwaitResponse`].
///
/// `Target` makes one of a URL.
///
/// ```
/// use wireline::{Limits, proto::{Misuse, handshake::ClientRequest}};
/// use http::{HeaderValue, uri::PathAndQuery};
/// let host = HeaderValue::from_static("example.com");
/// let request = ClientRequest::new(host, PathAndQuery::from_static("/chat"))?.subprotocols(["chat"])?;
/// let mut out = bytes::BytesMut::new();
/// let await_response = request.start(*b"the sample nonce", &Limits::default(), &mut out);
/// assert!(out.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n"));
/// # Ok::<_, Misuse>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientRequest {
    host: HeaderValue,
    resource: PathAndQuery,
    offered: Vec<String>,
    headers: HeaderMap,
}

impl ClientRequest {
    /// A request for a resource (path and query, RFC 6455 section 3) of a host (with its port, unless it is the default).
    ///
    /// # Errors
    ///
    /// The host is not a host and port, or the resource does not begin with `/` or is not ASCII.
    pub fn new(host: HeaderValue, resource: PathAndQuery) -> Result<Self, Misuse> {
        if !resource.as_str().starts_with('/') || !resource.as_str().is_ascii() {
            return Err(Misuse::InvalidRequest("the path must begin with a slash and be percent-encoded"));
        }
        Self { host: host.clone(), resource, offered: Vec::new(), headers: HeaderMap::new() }.host(host)
    }

    /// Sends another `Host` than that of the URL, for a server that is reached by another name than its own.
    ///
    /// # Errors
    ///
    /// The value is not a host and port.
    pub fn host(mut self, host: HeaderValue) -> Result<Self, Misuse> {
        let authority = Authority::try_from(host.as_bytes()).ok().filter(|authority| !authority.host().is_empty());
        if authority.is_none() || host.as_bytes().contains(&b'@') {
            return Err(Misuse::InvalidRequest("Host must be a host with an optional port"));
        }
        self.host = host;
        Ok(self)
    }

    /// Adds a header, such as `Authorization`, `Cookie` or `Origin`.
    ///
    /// # Errors
    ///
    /// The header is the handshake's own: `Host` (see [`ClientRequest::host`]), `Upgrade`, `Connection`,
    /// `Sec-WebSocket-*`, `Content-Length`, `Transfer-Encoding`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, Misuse> {
        if name == header::HOST {
            return Err(Misuse::InvalidRequest("Host has a method of its own"));
        }
        if is_reserved(&name) {
            return Err(Misuse::InvalidRequest(
                "Upgrade, Connection, Content-Length, Transfer-Encoding and Sec-WebSocket-* are not the application's to set",
            ));
        }
        self.headers
            .try_append(name, value)
            .map_err(|_| Misuse::InvalidRequest("there are more headers than a request can hold"))?;
        Ok(self)
    }

    /// Offers these subprotocols, the preferred first, in place of any offered before.
    ///
    /// # Errors
    ///
    /// RFC 6455 section 4.1: a name is not a token, or occurs twice; or there are more than 128.
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Result<Self, Misuse> {
        self.offered = names.into_iter().map(Into::into).collect();
        let names: Vec<&str> = self.offered.iter().map(String::as_str).collect();
        match check_subprotocols(&names) {
            Ok(()) => Ok(self),
            Err(GrammarError::Duplicate) => Err(Misuse::InvalidRequest("a subprotocol is offered twice")),
            Err(GrammarError::TooMany) => Err(Misuse::InvalidRequest("more than 128 subprotocols are offered")),
            Err(_) => Err(Misuse::InvalidRequest("a subprotocol must be a token (RFC 6455 section 4.1)")),
        }
    }

    /// Writes the request to `out` and waits for the response to it.
    ///
    /// `nonce` is the [`Key`]: random and fresh for each connection.
    #[must_use]
    pub fn start(&self, nonce: [u8; 16], limits: &Limits, out: &mut BytesMut) -> AwaitResponse {
        self.start_with(nonce, limits, None, out)
    }

    /// The same with an offer of compression, whose answer is for the caller to judge.
    pub(crate) fn start_with(
        &self,
        nonce: [u8; 16],
        limits: &Limits,
        deflate: Option<&DeflateConfig>,
        out: &mut BytesMut,
    ) -> AwaitResponse {
        let key = Key::new(nonce);
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from(self.resource.clone());
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_KEY, visible(key.as_str()));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if !self.offered.is_empty() {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, visible(self.offered.join(", ")));
        }
        if let Some(config) = deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offer_deflate(config));
        }
        headers.extend(self.headers.clone());
        encode_request(&request, out);
        let extensions = deflate.map(|_| deflate::NAME.to_owned()).into_iter().collect();
        AwaitResponse::new(key.accept(), self.offered.clone(), extensions, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ClientRequest {
        ClientRequest::new(HeaderValue::from_static("server.example.com"), PathAndQuery::from_static("/chat?x=1"))
            .unwrap()
    }

    fn encoded(request: &ClientRequest) -> String {
        let mut out = BytesMut::new();
        let _ = request.start(*b"the sample nonce", &Limits::default(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn c_07_to_c_12_c_21_golden_request() {
        let plain = "GET /chat?x=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        assert_eq!(encoded(&request()), format!("{plain}\r\n"));
        let origin = HeaderValue::from_static("http://example.com");
        let cookie = HeaderValue::from_static("a=b");
        let full = request().subprotocols(["chat", "superchat"]).unwrap().header(header::ORIGIN, origin).unwrap();
        let full = full.header(header::COOKIE, cookie.clone()).unwrap().header(header::COOKIE, cookie).unwrap();
        let more = "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\ncookie: a=b\r\ncookie: a=b\r\n\r\n";
        assert_eq!(encoded(&full), format!("{plain}{more}"));
        let other = full.host(HeaderValue::from_static("[::1]:80")).unwrap().subprotocols::<String>([]).unwrap();
        assert!(encoded(&other).contains("\r\nHost: [::1]:80\r\n") && !encoded(&other).contains("Protocol"));
    }

    #[test]
    fn c_12_subprotocols_are_unique_tokens() {
        let table: &[(&[&str], bool)] = &[
            (&["chat", "Chat", "v1.chat+json"], true),
            (&["a b"], false),
            (&["a,b"], false),
            (&["a", "b", "a"], false),
            (&[""], false),
            (&["\u{e9}"], false),
            (&["a\r\nX: y"], false),
            (&["a\0"], false),
        ];
        for &(names, valid) in table {
            assert_eq!(request().subprotocols(names.iter().copied()).is_ok(), valid, "C-12 {names:?}");
        }
    }

    #[test]
    fn c11_what_a_caller_may_not_set() {
        let value = HeaderValue::from_static("1");
        for name in [
            "host",
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-extensions",
            "content-length",
            "transfer-encoding",
        ] {
            assert!(request().header(HeaderName::from_static(name), value.clone()).is_err(), "C11 {name}");
        }
        for host in ["", "a b", "user@h", "h/", "h?", "\u{e9}", ":80"] {
            let host = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            assert!(request().host(host.clone()).is_err(), "C11 {host:?}");
            assert!(ClientRequest::new(host.clone(), PathAndQuery::from_static("/")).is_err(), "C11 {host:?}");
        }
        for resource in ["*", "?q", "/\u{e9}"] {
            let resource = PathAndQuery::try_from(resource).unwrap();
            assert!(ClientRequest::new(HeaderValue::from_static("h"), resource).is_err(), "C11");
        }
    }
}
