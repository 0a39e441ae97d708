use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, Request,
    uri::{Authority, Scheme},
};
use ipnet::IpNet;

use super::{
    MAX_HOPS, Node, NodeName,
    element::{elements_from_the_right, scheme, values_from_the_right},
};
use crate::proto::Misuse;

/// Where a byte stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// From an address, over TCP.
    Ip(SocketAddr),
    /// From a program on the same machine, over a Unix socket.
    Unix,
    /// From somebody whom the proxy in front does not name, as the PROXY protocol may leave it. Trusted by nobody.
    Unknown,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// Who sent a request, as far as this is known; among the request's extensions.
///
/// ```no_run
/// # async fn example() -> wireline::Result<()> {
/// use wireline::server::{Peer, TrustedProxies};
/// wireline::Server::bind("127.0.0.1:9001").await?
///     .trusted_proxies(TrustedProxies::new(["127.0.0.1", "10.0.0.0/8"])?)
///     .serve(|_ws, request| async move {
///         let peer = request.extensions().get::<Peer>().ok_or("no peer")?;
///         println!("{:?} by {:?}, known by {:?}", peer.address, peer.scheme, peer.evidence);
///         Ok(())
///     }).await
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's address. `None` over a Unix socket that no proxy speaks for, and where a proxy hid the address, names
    /// nobody, or wrote none that can be read: never the proxy's in the client's place.
    pub address: Option<IpAddr>,
    /// The client's port, where it is known.
    pub port: Option<u16>,
    /// `http` or `https`, as the client sees it; `None` where this is not known.
    pub scheme: Option<Scheme>,
    /// The host, and port if any, that the client asked a trusted proxy for; `None` where no proxy said so, and `Host` counts.
    pub host: Option<Authority>,
    /// What the address is known by.
    pub evidence: Evidence,
}

/// What a [`Peer`] is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evidence {
    /// The stream itself.
    Socket,
    /// A header of the PROXY protocol.
    ProxyProtocol,
    /// `X-Forwarded-For` of a trusted proxy.
    XForwarded,
    /// `Forwarded` of a trusted proxy (RFC 7239).
    Forwarded,
}

/// The proxies whose word is taken for who the client is.
///
/// The header is read from the right: addresses of trusted proxies are passed over, and the first that is not trusted is the
/// client. What stands to the left of it is the client's own claim, and not looked at. A request that does not come from a
/// trusted proxy is its sender's own, whatever its headers say.
///
/// **One family of headers is read, and every trusted proxy must write it**: `X-Forwarded-For`, with `X-Forwarded-Proto` and
/// `X-Forwarded-Host`, or [`Forwarded`](Self::forwarded). Proxies pass on the other unchanged, as the client sent it.
///
/// ```
/// use http::{Request, uri::Scheme};
/// use wireline::server::{Evidence, TrustedProxies};
/// let trusted = TrustedProxies::new(["10.0.0.0/8"])?;
/// let request = Request::get("/")
///     .header("X-Forwarded-For", "192.0.2.1, 203.0.113.7, 10.0.0.2")
///     .header("X-Forwarded-Proto", "https")
///     .body(())?;
///
/// let peer = trusted.peer(&request, "10.0.0.3:4711".parse::<std::net::SocketAddr>()?);
/// assert_eq!(peer.address, Some([203, 0, 113, 7].into()));
/// assert_eq!((peer.scheme, peer.evidence), (Some(Scheme::HTTPS), Evidence::XForwarded));
///
/// let peer = trusted.peer(&request, "203.0.113.9:4711".parse::<std::net::SocketAddr>()?);
/// assert_eq!((peer.address, peer.evidence), (Some([203, 0, 113, 9].into()), Evidence::Socket));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: UnixPeer,
    family: Family,
}

/// Whether whoever connects over a Unix socket is a trusted proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UnixPeer {
    #[default]
    Unknown,
    Trusted,
}

#[derive(Clone, Copy, Debug, Default)]
enum Family {
    #[default]
    XForwarded,
    Forwarded,
}

impl TrustedProxies {
    /// Trusts these addresses (`10.0.0.1`, `::1`) and networks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`]: one of them is neither.
    pub fn new<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, Misuse> {
        let parse = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let networks = networks.into_iter().map(|text| parse(text.as_ref())).collect::<Result<_, _>>();
        let networks = networks.map_err(|_| Misuse::InvalidConfig("a trusted proxy is no address and no network"))?;
        Ok(Self { networks, ..Self::default() })
    }

    /// Trusts whoever may connect over a Unix socket, too: the socket's permissions are what protects it.
    ///
    /// ```
    /// use wireline::server::{Endpoint, TrustedProxies};
    /// assert!(TrustedProxies::default().unix_peer().trusts(Endpoint::Unix));
    /// ```
    #[must_use]
    pub fn unix_peer(self) -> Self {
        Self { unix: UnixPeer::Trusted, ..self }
    }

    /// Reads `Forwarded` (RFC 7239) and not `X-Forwarded-*`.
    ///
    /// ```
    /// use wireline::server::TrustedProxies;
    /// let trusted = TrustedProxies::new(["127.0.0.1"])?.forwarded();
    /// # Ok::<(), wireline::proto::Misuse>(())
    /// ```
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { family: Family::Forwarded, ..self }
    }

    /// Whether this is a trusted proxy. An IPv4 address within IPv6 counts as what it is.
    #[must_use]
    pub fn trusts(&self, endpoint: impl Into<Endpoint>) -> bool {
        match endpoint.into() {
            Endpoint::Ip(address) => self.trusts_address(address.ip()),
            Endpoint::Unix => self.unix == UnixPeer::Trusted,
            Endpoint::Unknown => false,
        }
    }

    fn trusts_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came over a stream from `endpoint`.
    #[must_use]
    pub fn peer<T>(&self, request: &Request<T>, endpoint: impl Into<Endpoint>) -> Peer {
        let endpoint = endpoint.into();
        let mut peer = Peer::of(endpoint);
        if self.trusts(endpoint) {
            match self.family {
                Family::XForwarded => self.walk_x_forwarded(request.headers(), &mut peer),
                Family::Forwarded => self.walk_forwarded(request.headers(), &mut peer),
            }
        }
        peer
    }

    fn walk_x_forwarded(&self, headers: &HeaderMap, peer: &mut Peer) {
        let mut hops = 0;
        for value in values_from_the_right(headers, X_FORWARDED_FOR).take(MAX_HOPS) {
            hops += 1;
            let sender = value.and_then(Node::parse).ok();
            if self.passes(sender, Evidence::XForwarded, peer) == Walk::Ends {
                break;
            }
        }
        // Where each of the proxies adds to the list, that of the outermost; where they replace it, the only one.
        let said = |name| {
            let values = values_from_the_right(headers, name).take(hops.max(1));
            values.last().and_then(Result::ok)
        };
        peer.scheme = said(X_FORWARDED_PROTO).and_then(scheme).and_then(|scheme| known(&scheme));
        peer.host = said(X_FORWARDED_HOST).and_then(|host| host.parse().ok());
    }

    fn walk_forwarded(&self, headers: &HeaderMap, peer: &mut Peer) {
        for element in elements_from_the_right(headers).take(MAX_HOPS) {
            let element = element.unwrap_or_default();
            peer.scheme = element.scheme.as_deref().and_then(known);
            peer.host = element.host.and_then(|host| host.parse().ok());
            if self.passes(element.sender, Evidence::Forwarded, peer) == Walk::Ends {
                break;
            }
        }
    }

    /// Notes who sent to a trusted proxy, and says whether that is a trusted proxy again.
    fn passes(&self, sender: Option<Node>, evidence: Evidence, peer: &mut Peer) -> Walk {
        peer.evidence = evidence;
        peer.address = None;
        peer.port = None;
        if let Some(Node { name: NodeName::Address(address), port }) = sender {
            peer.address = Some(address.to_canonical());
            peer.port = port;
        }
        match peer.address {
            Some(address) if self.trusts_address(address) => Walk::GoesOn,
            _ => Walk::Ends,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Walk {
    GoesOn,
    Ends,
}

impl Peer {
    /// What the stream alone says.
    #[must_use]
    pub fn of(endpoint: impl Into<Endpoint>) -> Self {
        let address = match endpoint.into() {
            Endpoint::Ip(address) => Some(address),
            Endpoint::Unix | Endpoint::Unknown => None,
        };
        Self {
            address: address.map(|address| address.ip().to_canonical()),
            port: address.map(|address| address.port()),
            scheme: None,
            host: None,
            evidence: Evidence::Socket,
        }
    }
}

/// The two schemes of the web, also by the names that WebSockets have for them.
fn known(scheme: &str) -> Option<Scheme> {
    match scheme {
        "http" | "ws" => Some(Scheme::HTTP),
        "https" | "wss" => Some(Scheme::HTTPS),
        _ => None,
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];

    fn request(lines: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for &(name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        request
    }

    /// `address:port scheme host`, with `-` for what is not known.
    fn shown(peer: &Peer) -> String {
        let show = |part: Option<String>| part.unwrap_or_else(|| "-".into());
        let address = show(peer.address.map(|address| address.to_string()));
        let port = show(peer.port.map(|port| port.to_string()));
        let scheme = show(peer.scheme.as_ref().map(ToString::to_string));
        format!("{address} {port} {scheme} {}", show(peer.host.as_ref().map(ToString::to_string)))
    }

    fn check(trusted: &TrustedProxies, from: &str, lines: &[(&'static str, &str)], expected: &str, evidence: Evidence) {
        let from = if from == "unix" { Endpoint::Unix } else { Endpoint::Ip(from.parse().unwrap()) };
        let peer = trusted.peer(&request(lines), from);
        assert_eq!((&*shown(&peer), peer.evidence), (expected, evidence), "{from:?} {lines:?}");
    }

    #[test]
    fn x_forwarded_headers_of_trusted_proxies_are_walked_from_the_right() {
        let trusted = TrustedProxies::new(TRUSTED).unwrap();
        let from = |value| [("x-forwarded-for", value)];
        let table: &[(&str, &str)] = &[
            ("203.0.113.7", "203.0.113.7 - - -"),
            ("1.1.1.1, 203.0.113.7", "203.0.113.7 - - -"),
            ("1.1.1.1, 203.0.113.7, 10.0.0.2,10.0.0.3", "203.0.113.7 - - -"),
            ("10.9.9.9, 203.0.113.7, 127.0.0.1", "203.0.113.7 - - -"),
            ("2001:db8::1", "2001:db8::1 - - -"),
            ("[2001:db8::1]:4711", "2001:db8::1 4711 - -"),
            ("203.0.113.7:4711", "203.0.113.7 4711 - -"),
            ("::ffff:203.0.113.7", "203.0.113.7 - - -"),
            ("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7 - - -"),
            // Every hop is trusted: the outermost one is the client.
            ("10.0.0.9, 10.0.0.2", "10.0.0.9 - - -"),
            // The client is not told, and is never mistaken for a proxy.
            ("unknown", "- - - -"),
            ("203.0.113.7, unknown", "- - - -"),
            ("203.0.113.7, _hidden, 10.0.0.2", "- - - -"),
            ("203.0.113.7, garbage, 10.0.0.2", "- - - -"),
            // What the client sent does not matter, whatever it is.
            ("\", 203.0.113.7", "203.0.113.7 - - -"),
            ("garbage,,, 203.0.113.7,", "203.0.113.7 - - -"),
        ];
        for &(value, expected) in table {
            check(&trusted, "10.0.0.1:80", &from(value), expected, Evidence::XForwarded);
            check(&trusted, "[::ffff:10.0.0.1]:80", &from(value), expected, Evidence::XForwarded);
            check(&trusted, "[fd00::1]:80", &from(value), expected, Evidence::XForwarded);
            check(&trusted, "9.9.9.9:80", &from(value), "9.9.9.9 80 - -", Evidence::Socket);
            check(&trusted, "unix", &from(value), "- - - -", Evidence::Socket);
        }
        let unix = TrustedProxies::default().unix_peer();
        check(&unix, "unix", &from("203.0.113.7"), "203.0.113.7 - - -", Evidence::XForwarded);
        check(&unix, "10.0.0.1:80", &from("203.0.113.7"), "10.0.0.1 80 - -", Evidence::Socket);
        check(&trusted, "10.0.0.1:80", &[], "10.0.0.1 80 - -", Evidence::Socket);
        let lines = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.0.0.2")];
        check(&trusted, "10.0.0.1:80", &lines, "203.0.113.7 - - -", Evidence::XForwarded);
    }

    #[test]
    fn x_forwarded_scheme_and_host_are_those_of_the_outermost_trusted_proxy() {
        let trusted = TrustedProxies::new(TRUSTED).unwrap();
        let table: &[(&str, &str, &str, &str)] = &[
            // X-Forwarded-For, -Proto, -Host
            ("203.0.113.7", "https", "good.com", "203.0.113.7 - https good.com"),
            ("203.0.113.7", "HTTPS", "good.com:8443", "203.0.113.7 - https good.com:8443"),
            ("203.0.113.7", "wss", "[::1]", "203.0.113.7 - https [::1]"),
            // The proxy adds to what the client claims.
            ("203.0.113.7", "https, http", "evil.com, good.com", "203.0.113.7 - http good.com"),
            ("203.0.113.7, 10.0.0.2", "https, http", "good.com, inner", "203.0.113.7 - https good.com"),
            ("203.0.113.7, 10.0.0.2", "ftp, https, http", "evil.com, good.com, inner", "203.0.113.7 - https good.com"),
            // It replaces.
            ("203.0.113.7, 10.0.0.2", "https", "good.com", "203.0.113.7 - https good.com"),
            // Neither can be read.
            ("203.0.113.7", "gopher", "a b", "203.0.113.7 - - -"),
        ];
        for &(sender, scheme, host, expected) in table {
            let lines = [("x-forwarded-for", sender), ("x-forwarded-proto", scheme), ("x-forwarded-host", host)];
            check(&trusted, "10.0.0.1:80", &lines, expected, Evidence::XForwarded);
            check(&trusted, "9.9.9.9:80", &lines, "9.9.9.9 80 - -", Evidence::Socket);
        }
    }

    #[test]
    fn rfc_7239_forwarded_is_read_instead_where_that_was_chosen() {
        let trusted = TrustedProxies::new(TRUSTED).unwrap().forwarded();
        let table: &[(&str, &str)] = &[
            ("for=203.0.113.7;proto=https;host=good.com", "203.0.113.7 - https good.com"),
            (
                "for=1.1.1.1;host=evil.com, for=203.0.113.7;host=good.com;proto=https, for=10.0.0.2;proto=http",
                "203.0.113.7 - https good.com",
            ),
            ("for=\"[2001:db8::1]:4711\";proto=wss", "2001:db8::1 4711 https -"),
            ("for=\", for=203.0.113.7", "203.0.113.7 - - -"),
            ("for=203.0.113.7, for=_hidden;proto=https", "- - https -"),
            ("for=203.0.113.7, for=unknown", "- - - -"),
            ("for=203.0.113.7, proto=https", "- - https -"),
            ("for=203.0.113.7, garbage", "- - - -"),
        ];
        for &(value, expected) in table {
            let lines = [("forwarded", value), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "http")];
            check(&trusted, "10.0.0.1:80", &lines, expected, Evidence::Forwarded);
            check(&trusted, "9.9.9.9:80", &lines, "9.9.9.9 80 - -", Evidence::Socket);
        }
    }

    #[test]
    fn no_more_than_the_named_number_of_hops_is_followed() {
        let trusted = TrustedProxies::new(TRUSTED).unwrap();
        let hops = |count: usize| format!("203.0.113.7{}", ",10.0.0.2".repeat(count));
        let check = |count, expected| {
            check(&trusted, "10.0.0.1:80", &[("x-forwarded-for", &hops(count))], expected, Evidence::XForwarded);
        };
        check(MAX_HOPS - 1, "203.0.113.7 - - -");
        check(MAX_HOPS, "10.0.0.2 - - -");
    }

    #[test]
    fn networks_are_addresses_and_prefixes() {
        for text in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert!(TrustedProxies::new([text]).is_ok(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1:80", "::/129"] {
            assert!(TrustedProxies::new([text]).is_err(), "{text}");
        }
    }
}
