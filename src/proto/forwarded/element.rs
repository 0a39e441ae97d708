use std::{fmt, net::IpAddr};

use http::{HeaderMap, HeaderName, header};

use super::quoted::{is_token, split_last, token_or_quoted};

/// What one proxy wrote into `Forwarded` (RFC 7239 section 4). Parameters that are not known are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Element {
    /// `for`: who sent the request to the proxy.
    pub sender: Option<Node>,
    /// `by`: where the proxy received it.
    pub receiver: Option<Node>,
    /// `host`: the `Host` that the proxy received.
    pub host: Option<String>,
    /// `proto`: the scheme by which it received the request, in lower case.
    pub scheme: Option<String>,
}

/// A node: a name, and a port if it is a number (RFC 7239 section 6).
///
/// ```
/// use wireline::proto::forwarded::{Node, NodeName};
/// let node = Node::parse("[2001:db8::17]:4711")?;
/// assert_eq!((node.name, node.port), (NodeName::Address("2001:db8::17".parse().unwrap()), Some(4711)));
/// # Ok::<_, wireline::proto::forwarded::ForwardedError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The name.
    pub name: NodeName,
    /// The port; `None` if there is none, or an obfuscated one.
    pub port: Option<u16>,
}

/// The name of a node (RFC 7239 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the three that RFC 7239 has")]
pub enum NodeName {
    /// An address.
    Address(IpAddr),
    /// `unknown`: the proxy does not know, or does not say that it does.
    Unknown,
    /// An identifier that hides the address, with its leading underscore.
    Obfuscated(String),
}

/// A header that does not follow the grammar of RFC 7239 section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedError {
    /// The value holds a byte that is not visible ASCII.
    NotAscii,
    /// Something other than `name=value` stands where a pair must.
    NotPair,
    /// A parameter stands in its element twice.
    Duplicate,
    /// A node is neither an address, nor `unknown`, nor an identifier with a leading underscore.
    NotNode,
    /// `proto` is no scheme.
    NotScheme,
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAscii => "a byte is not visible ASCII",
            Self::NotPair => "a parameter is not a name and a value",
            Self::Duplicate => "a parameter stands in its element twice",
            Self::NotNode => "a node is no address and no identifier",
            Self::NotScheme => "proto is no scheme",
        })
    }
}

impl std::error::Error for ForwardedError {}

impl Node {
    /// Parses a node without its quotes.
    ///
    /// Wider than RFC 7239, an IPv6 address may come without brackets if no port follows: `X-Forwarded-For` has it so.
    ///
    /// # Errors
    ///
    /// [`ForwardedError::NotNode`].
    pub fn parse(text: &str) -> Result<Self, ForwardedError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { name: NodeName::Address(address), port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, node_port(port)?),
            _ => (text, None),
        };
        Ok(Self { name: NodeName::parse(name)?, port })
    }
}

impl NodeName {
    fn parse(name: &str) -> Result<Self, ForwardedError> {
        if name.eq_ignore_ascii_case("unknown") {
            return Ok(Self::Unknown);
        }
        if is_obfuscated(name) {
            return Ok(Self::Obfuscated(name.to_owned()));
        }
        let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(inner) => inner.parse().ok().map(IpAddr::V6),
            None => name.parse().ok().map(IpAddr::V4),
        };
        address.map(Self::Address).ok_or(ForwardedError::NotNode)
    }
}

/// RFC 7239 §6: up to five digits, or an obfuscated port.
fn node_port(text: &str) -> Result<Option<u16>, ForwardedError> {
    if is_obfuscated(text) {
        return Ok(None);
    }
    let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.map(Some).ok_or(ForwardedError::NotNode)
}

/// RFC 7239 §6.3: an underscore, then letters, digits, `.`, `_` and `-`, at least one.
fn is_obfuscated(text: &str) -> bool {
    let inner = text.strip_prefix('_').unwrap_or_default();
    !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The elements of all `Forwarded` lines, the last first: that of the proxy that is next to us.
///
/// Each is parsed when it is asked for, so that what stands to its left does not matter to it. Empty elements are skipped.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use wireline::proto::forwarded::elements_from_the_right;
/// let mut headers = HeaderMap::new();
/// headers.append(header::FORWARDED, HeaderValue::from_static("for=\", for=192.0.2.7;proto=https"));
/// let nearest = elements_from_the_right(&headers).next().expect("an element")?;
/// assert_eq!(nearest.scheme.as_deref(), Some("https"));
/// # Ok::<_, wireline::proto::forwarded::ForwardedError>(())
/// ```
pub fn elements_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = Result<Element, ForwardedError>> {
    values_from_the_right(headers, header::FORWARDED).map(|element| Element::parse(element?))
}

/// The elements of all lines of a header, the last first, without blanks around them; empty ones are skipped.
pub(super) fn values_from_the_right(
    headers: &HeaderMap,
    name: HeaderName,
) -> impl Iterator<Item = Result<&str, ForwardedError>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| match line.to_str() {
        Ok(text) => FromTheRight::Rest(Some(text)),
        Err(_) => FromTheRight::NotAscii(Some(ForwardedError::NotAscii)),
    })
}

enum FromTheRight<'a> {
    Rest(Option<&'a str>),
    NotAscii(Option<ForwardedError>),
}

impl<'a> Iterator for FromTheRight<'a> {
    type Item = Result<&'a str, ForwardedError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::NotAscii(error) => error.take().map(Err),
            Self::Rest(rest) => loop {
                let (left, element) = split_last((*rest)?, b',');
                *rest = left;
                let element = element.trim_matches([' ', '\t']);
                if !element.is_empty() {
                    return Some(Ok(element));
                }
            },
        }
    }
}

impl Element {
    fn parse(text: &str) -> Result<Self, ForwardedError> {
        let mut element = Self::default();
        let mut rest = Some(text);
        while let Some(pairs) = rest {
            let (left, pair) = split_last(pairs, b';');
            rest = left;
            // Blanks around `;` are no part of the grammar, but are seen.
            let pair = pair.trim_matches([' ', '\t']);
            if !pair.is_empty() {
                element.take(pair)?;
            }
        }
        Ok(element)
    }

    fn take(&mut self, pair: &str) -> Result<(), ForwardedError> {
        let (name, value) = pair.split_once('=').ok_or(ForwardedError::NotPair)?;
        let value = token_or_quoted(value).filter(|_| is_token(name)).ok_or(ForwardedError::NotPair)?;
        match &*name.to_ascii_lowercase() {
            "for" => set(&mut self.sender, Node::parse(&value)?),
            "by" => set(&mut self.receiver, Node::parse(&value)?),
            "host" => set(&mut self.host, value),
            "proto" => set(&mut self.scheme, scheme(&value).ok_or(ForwardedError::NotScheme)?),
            _ => Ok(()),
        }
    }
}

/// RFC 7239 §4: each parameter at most once in its element.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), ForwardedError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ForwardedError::Duplicate),
    }
}

/// RFC 3986 §3.1: a scheme, in lower case.
pub(super) fn scheme(text: &str) -> Option<String> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let valid = text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(rest);
    valid.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    type Parsed = Vec<Result<Element, ForwardedError>>;

    fn parse(lines: &[&str]) -> Parsed {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        elements_from_the_right(&headers).collect()
    }

    fn sender(text: &str) -> Element {
        Element { sender: Some(Node::parse(text).unwrap()), ..Element::default() }
    }

    #[test]
    fn rfc_7239_4_elements_come_from_the_right() {
        let whole = Element {
            sender: Some(Node::parse("192.0.2.60").unwrap()),
            receiver: Some(Node::parse("203.0.113.43").unwrap()),
            host: Some("example.com".into()),
            scheme: Some("https".into()),
        };
        let table: &[(&[&str], Parsed)] = &[
            (&[], vec![]),
            (&[""], vec![]),
            (&["for=\"_gazonk\""], vec![Ok(sender("_gazonk"))]),
            (&["For=\"[2001:db8:cafe::17]:4711\""], vec![Ok(sender("[2001:db8:cafe::17]:4711"))]),
            (&["for=192.0.2.60;proto=HTTPS;by=203.0.113.43;host=example.com"], vec![Ok(whole)]),
            (&["for=192.0.2.43, for=198.51.100.17"], vec![Ok(sender("198.51.100.17")), Ok(sender("192.0.2.43"))]),
            (&["for=192.0.2.43", "for=unknown ,,"], vec![Ok(sender("unknown")), Ok(sender("192.0.2.43"))]),
            (&["for=192.0.2.43;ext=\"a,b;c\""], vec![Ok(sender("192.0.2.43"))]),
            (&["host=\"a:80\""], vec![Ok(Element { host: Some("a:80".into()), ..Element::default() })]),
            // What is broken to the left stays there.
            (&["for=\", for=192.0.2.43"], vec![Ok(sender("192.0.2.43")), Err(ForwardedError::NotPair)]),
            (&["\u{ff}", "for=192.0.2.43"], vec![Ok(sender("192.0.2.43")), Err(ForwardedError::NotAscii)]),
            (&["for"], vec![Err(ForwardedError::NotPair)]),
            (&["for=[::1]"], vec![Err(ForwardedError::NotPair)]),
            (&["for =a"], vec![Err(ForwardedError::NotPair)]),
            (&["=a"], vec![Err(ForwardedError::NotPair)]),
            (&["for=\"a\"b"], vec![Err(ForwardedError::NotPair)]),
            (&["for=_a;For=_b"], vec![Err(ForwardedError::Duplicate)]),
            (&["for=example.com"], vec![Err(ForwardedError::NotNode)]),
            (&["proto=1"], vec![Err(ForwardedError::NotScheme)]),
        ];
        for (lines, expected) in table {
            assert_eq!(&parse(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn rfc_7239_6_nodes() {
        let address = |text: &str| Some(NodeName::Address(text.parse().unwrap()));
        let table: &[(&str, Option<NodeName>, Option<u16>)] = &[
            ("192.0.2.1", address("192.0.2.1"), None),
            ("192.0.2.1:80", address("192.0.2.1"), Some(80)),
            ("192.0.2.1:_p", address("192.0.2.1"), None),
            ("[::1]", address("::1"), None),
            ("[::1]:65535", address("::1"), Some(65535)),
            ("::1", address("::1"), None),
            ("unknown", Some(NodeName::Unknown), None),
            ("Unknown:80", Some(NodeName::Unknown), Some(80)),
            ("_SEVKISEK", Some(NodeName::Obfuscated("_SEVKISEK".into())), None),
            ("_a.b-c_:80", Some(NodeName::Obfuscated("_a.b-c_".into())), Some(80)),
            ("", None, None),
            ("_", None, None),
            ("_a b", None, None),
            ("192.0.2.1:", None, None),
            ("192.0.2.1:65536", None, None),
            ("192.0.2.1:+80", None, None),
            ("192.0.2.1:000080", None, None),
            ("192.0.2.01", None, None),
            ("[192.0.2.1]", None, None),
            ("[::1", None, None),
            ("[::1]80", None, None),
            ("fe80::1%eth0", None, None),
            ("example.com", None, None),
        ];
        for (text, name, port) in table {
            let parsed = Node::parse(text).ok();
            let expected = name.clone().map(|name| Node { name, port: *port });
            assert_eq!(parsed, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_without_panic_and_the_nearest_element_stands(
            left in "[ -~]{0,40}",
            pieces in prop::collection::vec(prop_oneof![Just("for="), Just("\""), Just(","), Just(";"), Just("\\"), Just("[::1]"), Just("_a")], 0..12),
        ) {
            let _ = parse(&[&left]);
            let _ = parse(&[&pieces.concat()]);
            for left in [left, pieces.concat()] {
                let line = format!("{left},for=192.0.2.1;proto=https");
                let nearest = parse(&[&line]).swap_remove(0).unwrap();
                prop_assert_eq!(nearest.scheme.as_deref(), Some("https"), "{}", line);
            }
        }
    }
}
