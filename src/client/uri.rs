use std::borrow::Cow;

use http::{HeaderValue, uri::PathAndQuery};
use url::{Host, Position, Url};

use crate::proto::{Misuse, handshake::ClientRequest};

/// Where a `ws` or `wss` URL leads (RFC 6455 section 3).
///
/// ```
/// use wireline::client::{Scheme, Target};
/// let target = Target::parse("wss://bücher.example:8443/chat?room=1")?;
/// assert_eq!(target.scheme(), Scheme::Wss);
/// assert_eq!((&*target.host(), target.port()), ("xn--bcher-kva.example", 8443));
/// assert_eq!(target.resource(), "/chat?room=1");
/// assert_eq!(target.host_header(), "xn--bcher-kva.example:8443");
/// # Ok::<_, wireline::proto::Misuse>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: Host,
    port: u16,
    resource: PathAndQuery,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 section 3 has two schemes")]
pub enum Scheme {
    /// `ws`: over TCP, by default to port 80.
    Ws,
    /// `wss`: over TLS, by default to port 443.
    Wss,
}

impl Scheme {
    /// The port of a URL that names none.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl Target {
    /// Reads a URL.
    ///
    /// Stricter than the URL standard, which repairs what it reads: blanks, control characters, backslashes and missing
    /// or superfluous slashes are refused, so that nobody is led elsewhere than the text says.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`]: another scheme than `ws` or `wss`, a fragment (RFC 6455 section 3), user information
    /// (send an `Authorization` header instead), no host, port 0, or a character that has to be percent-encoded.
    pub fn parse(url: &str) -> Result<Self, Misuse> {
        check_text(url)?;
        let url = Url::parse(url).map_err(|_| Misuse::InvalidRequest("the URL is malformed"))?;
        let scheme = match url.scheme() {
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            _ => return Err(WRONG_SCHEME),
        };
        let host = url.host().ok_or(Misuse::InvalidRequest("the URL has no host"))?.to_owned();
        let port = url.port().unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(Misuse::InvalidRequest("the URL's port is 0"));
        }
        // RFC 6455 §3: the resource name is the path, or a slash, and the query with its question mark.
        let resource = PathAndQuery::try_from(&url[Position::BeforePath..])
            .map_err(|_| Misuse::InvalidRequest("the URL's path or query must be percent-encoded"))?;
        Ok(Self { scheme, host, port, resource })
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host to connect to, and the name for which TLS checks the certificate: a domain in ASCII, or an address
    /// without brackets.
    #[must_use]
    pub fn host(&self) -> Cow<'_, str> {
        match &self.host {
            Host::Domain(domain) => Cow::Borrowed(domain),
            Host::Ipv4(address) => Cow::Owned(address.to_string()),
            Host::Ipv6(address) => Cow::Owned(address.to_string()),
        }
    }

    /// The port to connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as requested from the server.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.resource.as_str()
    }

    /// The value of `Host`: the port is left out where it is the scheme's own (RFC 6455 section 4.1).
    #[must_use]
    pub fn host_header(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The request for this target.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`]: the URL's host cannot stand in a `Host` header.
    pub fn request(&self) -> Result<ClientRequest, Misuse> {
        let host = HeaderValue::try_from(self.host_header())
            .map_err(|_| Misuse::InvalidRequest("the URL's host cannot stand in a Host header"))?;
        ClientRequest::new(host, self.resource.clone())
    }
}

impl TryFrom<&Url> for Target {
    type Error = Misuse;

    fn try_from(url: &Url) -> Result<Self, Misuse> {
        Self::parse(url.as_str())
    }
}

const WRONG_SCHEME: Misuse = Misuse::InvalidRequest("the URL does not begin with ws:// or wss://");

/// Refuses what the `url` crate would quietly repair or what a WebSocket URL may not have.
fn check_text(url: &str) -> Result<(), Misuse> {
    if url.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\\') {
        return Err(Misuse::InvalidRequest("the URL holds a blank, a control character or a backslash"));
    }
    // RFC 6455 §3: no fragment; a # in a path is written %23.
    if url.contains('#') {
        return Err(Misuse::InvalidRequest("the URL has a fragment (RFC 6455 section 3)"));
    }
    let (scheme, rest) = url.split_once("://").ok_or(WRONG_SCHEME)?;
    if !scheme.eq_ignore_ascii_case("ws") && !scheme.eq_ignore_ascii_case("wss") {
        return Err(WRONG_SCHEME);
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(Misuse::InvalidRequest("the URL has no host"));
    }
    if authority.contains('@') {
        return Err(Misuse::InvalidRequest("the URL has user information: send an Authorization header instead"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c12_urls_and_what_is_made_of_them() {
        let table: &[(&str, &str, &str, u16, &str, &str)] = &[
            // id, URL, host, port, Host, resource
            ("C-02", "ws://localhost", "localhost", 80, "localhost", "/"),
            ("C-02", "ws://localhost/", "localhost", 80, "localhost", "/"),
            ("C-02", "ws://localhost/path", "localhost", 80, "localhost", "/path"),
            ("C-02", "ws://localhost/path/?q=1", "localhost", 80, "localhost", "/path/?q=1"),
            ("C-02", "ws://localhost?q", "localhost", 80, "localhost", "/?q"),
            ("C-02", "ws://localhost/?", "localhost", 80, "localhost", "/?"),
            ("C-02", "ws://localhost//a;b=c,d", "localhost", 80, "localhost", "//a;b=c,d"),
            ("C-02", "ws://localhost/a/../b", "localhost", 80, "localhost", "/b"),
            ("C-02", "ws://localhost/%23%2f%C3%A9", "localhost", 80, "localhost", "/%23%2f%C3%A9"),
            ("C-02", "ws://localhost/\u{e9}?\u{e9}", "localhost", 80, "localhost", "/%C3%A9?%C3%A9"),
            ("C-02", "ws://localhost/?a={\"b\":[1]}|^`", "localhost", 80, "localhost", "/?a={%22b%22:[1]}|^`"),
            ("C-02", "WS://LOCALHOST/Path", "localhost", 80, "localhost", "/Path"),
            ("C-08", "ws://localhost:80/", "localhost", 80, "localhost", "/"),
            ("C-08", "ws://localhost:443/", "localhost", 443, "localhost:443", "/"),
            ("C-08", "wss://localhost:443/", "localhost", 443, "localhost", "/"),
            ("C-08", "wss://localhost/", "localhost", 443, "localhost", "/"),
            ("C-08", "wss://localhost:80/", "localhost", 80, "localhost:80", "/"),
            ("C-08", "ws://localhost:65535", "localhost", 65535, "localhost:65535", "/"),
            ("C12", "ws://[::1]:9001/", "::1", 9001, "[::1]:9001", "/"),
            ("C12", "wss://[0:0::1]/", "::1", 443, "[::1]", "/"),
            ("C12", "ws://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", "/"),
            ("C12", "ws://\u{e9}.example", "xn--9ca.example", 80, "xn--9ca.example", "/"),
        ];
        for &(id, url, host, port, host_header, resource) in table {
            let target = Target::parse(url).unwrap_or_else(|error| panic!("{id} {url}: {error}"));
            let found = (&*target.host(), target.port(), &*target.host_header(), target.resource());
            assert_eq!(found, (host, port, host_header, resource), "{id} {url}");
            assert!(target.request().is_ok(), "{id} {url}");
            assert_eq!(Target::try_from(&Url::parse(url).unwrap()), Ok(target), "{id} {url}");
        }
    }

    #[test]
    fn c12_urls_that_are_refused() {
        let table: &[(&str, &str)] = &[
            ("C-01", "ws://h/a#b"),
            ("C-01", "ws://h/#"),
            ("C-03", "http://h/"),
            ("C-03", "https://h/"),
            ("C-03", "wsx://h/"),
            ("C-03", "//h/"),
            ("C-03", "h/"),
            ("C-03", ""),
            ("C-03", "ws:h"),
            ("C-03", "ws:/h"),
            ("C-03", "ws:///h"),
            ("C-03", "ws:////h"),
            ("C-03", "ws://"),
            ("C-03", "ws://:80/"),
            ("C-03", "ws://?q"),
            ("C-03", "ws://h:x/"),
            ("C-03", "ws://h:65536/"),
            ("C-03", "ws://[::1/"),
            ("C-03", "ws://1.2.3.256/"),
            ("C-03", "ws://a b/"),
            ("C-03", "ws://a%00b/"),
            ("C12", "ws://h:0/"),
            ("C12", "ws://user@h/"),
            ("C12", "ws://user:password@h/"),
            ("C12", "ws://@h/"),
            ("C11", "ws://h/a b"),
            ("C11", " ws://h/"),
            ("C11", "ws://h/ "),
            ("C11", "ws://h/a\tb"),
            ("C11", "ws://h/\r\nX: y"),
            ("C11", "ws://h\r\n/"),
            ("C11", "ws://h/\0"),
            ("C11", "ws://h/\u{7f}"),
            ("C11", "ws://h/\u{a0}"),
            ("C11", "ws://h\\@evil/"),
        ];
        for &(id, url) in table {
            assert!(matches!(Target::parse(url), Err(Misuse::InvalidRequest(_))), "{id} {url:?}");
        }
        let long = format!("ws://h/{}", "a".repeat(70_000));
        assert!(Target::parse(&long).is_err(), "C-03 a path longer than http::Uri holds");
    }
}
