use http::{HeaderValue, Request, header, uri::Scheme};
use url::Host;

use crate::proto::{forwarded::Peer, handshake::Refusal};

/// Which web pages may open a connection (RFC 6455 section 10.2).
///
/// A browser names the page's origin in the `Origin` header and sends the user's cookies whatever page asks: without this
/// check any page on the web can act as the user (cross-site WebSocket hijacking). Programs that are not browsers send no
/// `Origin`, or whatever they like; a request without it is always let through, so this is no authentication.
///
/// ```
/// use wireline::server::Origins;
/// let request = http::Request::get("/").header("Host", "example.com").header("Origin", "https://evil.example").body(())?;
/// assert!(Origins::SameHost.check(&request, None).is_err());
/// assert!(Origins::List(vec!["https://evil.example".into()]).check(&request, None).is_ok());
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// Pages from the host and port that the request itself names in `Host`, by `http` or `https`. The default.
    ///
    /// The scheme must match too where it is known: behind a proxy that ends TLS it is, if the proxy is trusted and says it.
    /// So is the host that such a proxy was asked for, where it passes on another `Host`.
    #[default]
    SameHost,
    /// Pages from exactly these origins, such as `https://example.com` or `http://localhost:8080`, and no others.
    ///
    /// Compared by scheme, host and port, as browsers do: case, default ports and the spelling of international names do
    /// not matter; subdomains do. `https://*.example.com` stands for every subdomain, at any depth, and not for `example.com`
    /// itself: list it only if all of them are yours. There are no other patterns, and no path, not even a final slash. `null`
    /// (sandboxed pages, local files) is let through if listed, and with it every page that can make itself such a page.
    List(Vec<String>),
    /// Any page on the web.
    ///
    /// **Any site that a user visits can then open a connection with that user's cookies.** Only for servers whose
    /// connections are authenticated by something that another site cannot have, or that are open to everyone.
    Any,
}

impl Origins {
    /// Checks the `Origin` of a request. `scheme` is `http` or `https` where this is known, from our own TLS or from a
    /// proxy that is trusted, and `None` otherwise. A [`Peer`] among the request's extensions says it too, and the host that
    /// a trusted proxy was asked for.
    ///
    /// # Errors
    ///
    /// 403 for an origin that is not allowed, 400 for one that is not ASCII.
    pub fn check<T>(&self, request: &Request<T>, scheme: Option<&Scheme>) -> Result<(), Refusal> {
        let scheme = request.extensions().get::<Peer>().and_then(|peer| peer.scheme.as_ref()).or(scheme);
        match self {
            Self::Any => Ok(()),
            Self::SameHost => match origin_of(request)? {
                Some(text) if !Origin::parse(text).is_some_and(|origin| origin.is_host_of(request, scheme)) => {
                    Err(Refusal::forbidden(
                        "Origin is not the host of this server; Origins::List allows others (RFC 6455 section 10.2)",
                    ))
                }
                _ => Ok(()),
            },
            Self::List(list) => match origin_of(request)? {
                Some(text) if !list.iter().any(|listed| matches(listed, text)) => {
                    Err(Refusal::forbidden("Origin is not in the list of Origins::List (RFC 6455 section 10.2)"))
                }
                _ => Ok(()),
            },
        }
    }
}

/// The one `Origin` of a request, if it has any.
fn origin_of<T>(request: &Request<T>) -> Result<Option<&str>, Refusal> {
    let mut lines = request.headers().get_all(header::ORIGIN).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Refusal::forbidden(
            "there is more than one Origin (RFC 6454 section 7.3); Origins::Any ignores it",
        ));
    }
    line.map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| Refusal::bad_request("Origin is not ASCII (RFC 6454 section 7.1)"))
}

fn matches(listed: &str, text: &str) -> bool {
    if let Some((scheme, parent)) = listed.split_once("://*.") {
        let parent = Origin::parse(&format!("{scheme}://{parent}"));
        return parent.zip(Origin::parse(text)).is_some_and(|(parent, origin)| origin.is_below(&parent));
    }
    match (Origin::parse(listed), Origin::parse(text)) {
        (Some(listed), Some(origin)) => listed == origin,
        // `null`, and what has no host.
        (None, None) => listed == text,
        _ => false,
    }
}

/// An origin with a host (RFC 6454 section 4), ready to be compared.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
    /// `None` for a scheme whose default port we do not know.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = host_and_port(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether this is an origin of a subdomain.
    fn is_below(&self, parent: &Self) -> bool {
        let (Host::Domain(domain), Host::Domain(above)) = (&self.host, &parent.host) else {
            return false;
        };
        let label = domain.strip_suffix(&**above).and_then(|labels| labels.strip_suffix('.'));
        self.scheme == parent.scheme && self.port == parent.port && label.is_some_and(|label| !label.is_empty())
    }

    /// Whether this is the host that the request asks for.
    fn is_host_of<T>(&self, request: &Request<T>, scheme: Option<&Scheme>) -> bool {
        let scheme = scheme.map_or(&*self.scheme, Scheme::as_str);
        // RFC 9112 §3.2.2: a host in the request-target takes the place of Host.
        let target = request.uri().authority().map(|authority| authority.as_str());
        let told = request.extensions().get::<Peer>().and_then(|peer| peer.host.as_ref());
        let target = told.map(|authority| authority.as_str()).or(target);
        let host = request.headers().get(header::HOST).map(HeaderValue::to_str);
        let Some(authority) = target.or_else(|| host?.ok()) else {
            return false;
        };
        let Some((host, port)) = host_and_port(authority) else {
            return false;
        };
        // Other schemes are not the web's: the host of an app's own scheme is what the app says it is.
        matches!(&*self.scheme, "http" | "https")
            && self.scheme == scheme
            && self.host == host
            && self.port == port.or_else(|| default_port(scheme))
    }
}

/// Splits `host[:port]` and gives the host its one spelling: lower case, punycode, the short form of an address.
fn host_and_port(authority: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port_number(port)?)),
        _ => (authority, None),
    };
    Some((Host::parse(host).ok()?, port))
}

fn port_number(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, scheme: Option<&Scheme>, host: &str, lines: &[&str]) -> u16 {
        let mut request = Request::new(());
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).unwrap());
        for line in lines {
            request.headers_mut().append(header::ORIGIN, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        origins.check(&request, scheme).map_or_else(|refusal| refusal.status().as_u16(), |()| 101)
    }

    #[test]
    fn h17_same_host() {
        let (http, https) = (Some(&Scheme::HTTP), Some(&Scheme::HTTPS));
        let table: &[(Option<&Scheme>, &str, &[&str], u16)] = &[
            // scheme if known, Host, Origin lines, answer
            (None, "good.com", &[], 101),
            (None, "good.com", &["https://good.com"], 101),
            (None, "good.com", &["http://good.com"], 101),
            (None, "good.com:443", &["https://good.com"], 101),
            (None, "good.com", &["https://good.com:443"], 101),
            (None, "good.com:80", &["http://good.com"], 101),
            (None, "good.com:80", &["https://good.com"], 403),
            (None, "good.com:8443", &["https://good.com:8443"], 101),
            // other scheme
            (https, "good.com", &["https://good.com"], 101),
            (https, "good.com", &["http://good.com"], 403),
            (http, "good.com", &["https://good.com"], 403),
            (https, "good.com", &["https://good.com:443"], 101),
            (None, "good.com", &["ftp://good.com"], 403),
            (None, "good.com", &["app://good.com"], 403),
            // other port
            (None, "good.com", &["https://good.com:8443"], 403),
            (None, "good.com:8443", &["https://good.com"], 403),
            (None, "good.com", &["https://good.com:+443"], 403),
            (None, "good.com", &["https://good.com:"], 403),
            // other host
            (None, "good.com", &["null"], 403),
            (None, "null", &["null"], 403),
            (None, "good.com", &["https://good.com.evil.com"], 403),
            (None, "good.com", &["https://evilgood.com"], 403),
            (None, "good.com", &["https://www.good.com"], 403),
            (None, "www.good.com", &["https://good.com"], 403),
            (None, "good.com", &["https://evil.com/good.com"], 403),
            (None, "good.com", &["https://evil.com@good.com"], 403),
            (None, "good.com", &["https://good.com@evil.com"], 403),
            (None, "good.com", &["https://good.com/"], 403),
            (None, "good.com", &["good.com"], 403),
            (None, "good.com", &[""], 403),
            (None, "good.com", &["https://"], 403),
            // spelling of the host
            (None, "good.com", &["https://GOOD.com"], 101),
            (None, "Good.COM", &["HTTPS://good.com"], 101),
            (None, "xn--9ca.com", &["https://xn--9ca.com"], 101),
            (None, "good.com", &["https://g\u{f6}\u{f6}d.com"], 400),
            (None, "[::1]:9001", &["http://[::1]:9001"], 101),
            (None, "[::1]", &["http://[0:0::1]"], 101),
            (None, "[::1]", &["http://[::2]"], 403),
            (None, "good.com", &["https://good.com."], 403),
            (None, "good.com.", &["https://good.com."], 101),
            // two headers
            (None, "good.com", &["https://good.com", "https://good.com"], 403),
            (None, "good.com", &["https://good.com", "https://evil.com"], 403),
            (None, "good.com", &["https://good.com https://evil.com"], 403),
            (None, "good.com", &["https://good.com, https://evil.com"], 403),
        ];
        for &(scheme, host, lines, status) in table {
            assert_eq!(check(&Origins::default(), scheme, host, lines), status, "H17 {scheme:?} {host} {lines:?}");
        }
    }

    #[test]
    fn h17_list() {
        let listed = ["https://good.com", "http://localhost:8080", "https://\u{e9}.com", "https://[::1]", "app://id"];
        let list = Origins::List(listed.map(str::to_owned).to_vec());
        let table: &[(&str, u16)] = &[
            ("https://good.com", 101),
            ("https://GOOD.com:443", 101),
            ("http://localhost:8080", 101),
            ("https://xn--9ca.com", 101),
            ("https://[0::1]", 101),
            ("app://id", 101),
            ("http://good.com", 403),
            ("https://good.com:444", 403),
            ("https://good.com.evil.com", 403),
            ("https://evilgood.com", 403),
            ("https://good.com.", 403),
            ("http://localhost", 403),
            ("app://other", 403),
            ("null", 403),
            ("https://host", 403),
            ("\u{ff}", 400),
        ];
        for &(origin, status) in table {
            assert_eq!(check(&list, None, "host", &[origin]), status, "H17 {origin}");
        }
        assert_eq!(check(&list, None, "host", &[]), 101, "H17 absent");
        assert_eq!(check(&list, None, "host", &["https://good.com", "https://good.com"]), 403, "H17 two headers");
        assert_eq!(check(&Origins::List(vec!["null".into()]), None, "host", &["null"]), 101, "H17 null, listed");
        assert_eq!(check(&Origins::List(vec![]), None, "host", &["null"]), 403, "H17 empty list");
    }

    #[test]
    fn h17_patterns_of_subdomains() {
        let patterns = ["https://*.good.com", "http://*.good.com:8080", "https://*.\u{e9}.com"];
        let list = Origins::List(patterns.map(str::to_owned).to_vec());
        let table: &[(&str, u16)] = &[
            ("https://a.good.com", 101),
            ("https://a.b.good.com", 101),
            ("https://A.GOOD.com:443", 101),
            ("http://a.good.com:8080", 101),
            ("https://a.xn--9ca.com", 101),
            ("https://good.com", 403),
            ("https://.good.com", 403),
            ("https://evilgood.com", 403),
            ("https://a.good.com.evil.com", 403),
            ("https://a.good.com.", 403),
            ("https://a.good.com:8443", 403),
            ("http://a.good.com", 403),
            ("https://evil.com/a.good.com", 403),
            ("https://evil.com@a.good.com", 403),
            ("https://*.good.com.evil.com", 403),
            ("null", 403),
        ];
        for &(origin, status) in table {
            assert_eq!(check(&list, None, "host", &[origin]), status, "H17 {origin}");
        }
        for pattern in
            ["https://*", "https://*.", "https://a.*.com", "*.good.com", "https://*good.com", "https://*.0.0.1"]
        {
            let list = Origins::List(vec![pattern.into()]);
            for origin in ["https://a.good.com", "https://127.0.0.1", "https://good.com"] {
                assert_eq!(check(&list, None, "host", &[origin]), 403, "H17 {pattern} {origin}");
            }
        }
    }

    #[test]
    fn h17_any_and_a_host_in_the_request_target() {
        for lines in [&["https://evil.com"][..], &["null"], &["\u{ff}"], &["a", "b"], &[]] {
            assert_eq!(check(&Origins::Any, None, "good.com", lines), 101, "H17 {lines:?}");
        }
        let request = Request::get("http://good.com/").header("Host", "evil.com").header("Origin", "http://evil.com");
        assert!(Origins::SameHost.check(&request.body(()).unwrap(), None).is_err());
        let hostless = Request::get("/").header("Origin", "http://evil.com").body(()).unwrap();
        assert!(Origins::SameHost.check(&hostless, None).is_err());
    }

    #[test]
    fn s_14_refusal_names_the_header_and_the_setting() {
        let request = Request::get("/").header("Host", "a").header("Origin", "http://b").body(()).unwrap();
        let shown = Origins::SameHost.check(&request, None).unwrap_err().to_string();
        assert!(shown.contains("403") && shown.contains("Origin") && shown.contains("Origins::List"), "{shown}");
    }
}
