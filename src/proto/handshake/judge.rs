use http::{HeaderMap, Method, Request, Version, header, uri::Authority};

use super::{Judged, Key, Refusal, extensions::extensions, headers::subprotocols, lines::Lines};

/// Judges a request by RFC 6455 section 4.2.1, whoever read it.
///
/// The order is from the general to the particular, so that a peer is told the first thing it has to change: is this
/// HTTP/1.1 (else no header means what it says), a GET, without a body, with a target and a host; does it ask for
/// WebSocket at all; in our version (else the key may well look different); with a key; and are the lists well-formed.
///
/// `Origin` is not judged here: see `Origins`.
///
/// ```
/// use wireline::proto::handshake::{Acceptance, judge};
/// let request = http::Request::get("/chat")
///     .header("Host", "example.com")
///     .header("Upgrade", "websocket")
///     .header("Connection", "Upgrade")
///     .header("Sec-WebSocket-Version", "13")
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("Sec-WebSocket-Protocol", "chat, superchat")
///     .body(())?;
/// let response = judge(&request)?.respond(Acceptance::new().subprotocol("chat"))?;
/// assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The answer for a request that breaks a rule: 400, 405, 426 or 505.
pub fn judge<T>(request: &Request<T>) -> Result<Judged, Refusal> {
    let lines = Lines::of(request.headers());
    let key = check_request(request, &lines, Methods::Get)?;
    Ok(Judged { key: Some(key), subprotocols: check_lists(request.headers(), &lines)? })
}

/// Judges an extended CONNECT request of HTTP/2 (RFC 8441 section 5), whoever read it; `protocol` is its `:protocol`.
///
/// The stream takes the place of the connection: there is neither `Connection` nor `Upgrade`, and no key to prove that
/// the server understood, because nothing else means `:protocol`. Version, subprotocols and extensions are as in [`judge`],
/// and the response is 200.
///
/// ```
/// use wireline::proto::handshake::{Acceptance, judge_extended_connect};
/// let request = http::Request::connect("https://example.com/chat")
///     .version(http::Version::HTTP_2)
///     .header("Sec-WebSocket-Version", "13")
///     .body(())?;
/// let response = judge_extended_connect(&request, Some("websocket"))?.respond(Acceptance::new())?;
/// assert_eq!(response.status(), 200);
/// assert!(response.headers().is_empty());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The answer for a request that breaks a rule: 400, 405, 501 or 505. It has no headers of HTTP/1.1's connections.
pub fn judge_extended_connect<T>(request: &Request<T>, protocol: Option<&str>) -> Result<Judged, Refusal> {
    check_extended_connect(request, protocol).map_err(Refusal::on_stream)
}

fn check_extended_connect<T>(request: &Request<T>, protocol: Option<&str>) -> Result<Judged, Refusal> {
    if request.version() != Version::HTTP_2 {
        return Err(Refusal::version_not_supported());
    }
    match *request.method() {
        Method::CONNECT => {}
        Method::HEAD => return Err(Refusal::connect_only().body("")),
        _ => return Err(Refusal::connect_only()),
    }
    match protocol {
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {}
        Some(_) => return Err(Refusal::not_implemented("only the :protocol websocket is spoken here")),
        None => return Err(Refusal::bad_request("CONNECT has no :protocol (RFC 8441 section 4)")),
    }
    let uri = request.uri();
    // RFC 8441 §4: with :protocol, CONNECT has these three.
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() || !uri.path().starts_with('/')
    {
        return Err(Refusal::bad_request(":scheme, :authority or :path is missing (RFC 8441 sections 4 and 5)"));
    }
    let lines = Lines::of(request.headers());
    check_body(&lines)?;
    check_version(&lines)?;
    Ok(Judged { key: None, subprotocols: check_lists(request.headers(), &lines)? })
}

/// The subprotocols of a request whose lists are well-formed.
fn check_lists(headers: &HeaderMap, lines: &Lines<'_>) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    if !lines.subprotocols.is_absent() {
        let offered = subprotocols(headers)
            .map_err(|_| Refusal::bad_request("Sec-WebSocket-Protocol is malformed (RFC 6455 section 4.1)"))?;
        names.extend(offered.into_iter().map(str::to_owned));
    }
    check_extensions(headers, lines)?;
    Ok(names)
}

/// Judges a request as [`judge`] does, but takes its subprotocols as they are and, if so asked, any method.
pub(crate) fn judge_upgrade<T>(request: &Request<T>, methods: Methods) -> Result<(), Refusal> {
    let lines = Lines::of(request.headers());
    check_request(request, &lines, methods)?;
    check_extensions(request.headers(), &lines)
}

/// By which methods a connection may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    /// GET, as RFC 6455 section 4.2.1 has it.
    Get,
    /// Any.
    Any,
}

fn check_request<T>(request: &Request<T>, lines: &Lines<'_>, methods: Methods) -> Result<Key, Refusal> {
    check_request_line(request, methods)?;
    check_body(lines)?;
    check_host(lines)?;
    check_upgrade(request.headers(), lines)?;
    check_version(lines)?;
    check_key(lines)
}

// RFC 6455 §4.2.1 (1): an HTTP/1.1 GET whose target has a path, possibly behind a scheme and host.
fn check_request_line<T>(request: &Request<T>, methods: Methods) -> Result<(), Refusal> {
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::version_not_supported());
    }
    match *request.method() {
        _ if methods == Methods::Any => {}
        Method::GET => {}
        // RFC 9110 §9.3.2: an answer to HEAD has no body.
        Method::HEAD => return Err(Refusal::method_not_allowed().body("")),
        _ => return Err(Refusal::method_not_allowed()),
    }
    if !request.uri().path().starts_with('/') {
        return Err(Refusal::bad_request("the request-target has no path (RFC 6455 section 4.2.1)"));
    }
    Ok(())
}

/// Refuses a request with a body: a server and a proxy that disagree whether the bytes behind the head are a body or
/// frames can be made to smuggle requests.
pub(super) fn check_body(lines: &Lines<'_>) -> Result<(), Refusal> {
    if lines.has_body {
        return Err(Refusal::bad_request("the opening handshake has no body (RFC 9110 section 9.3.1)"));
    }
    Ok(())
}

// RFC 6455 §4.2.1 (2) and RFC 9112 §3.2: one Host with the server's authority.
pub(super) fn check_host(lines: &Lines<'_>) -> Result<(), Refusal> {
    match lines.host.only() {
        Some(host) if is_authority(host.as_bytes()) => Ok(()),
        _ => Err(Refusal::bad_request("there is not exactly one valid Host (RFC 9112 section 3.2)")),
    }
}

/// Whether this is a host, with a port perhaps.
fn is_authority(host: &[u8]) -> bool {
    is_name_and_port(host)
        || !host.contains(&b'@') && Authority::try_from(host).is_ok_and(|authority| !authority.host().is_empty())
}

/// Whether this is one of the many that need not be parsed: letters, digits, dots and hyphens, and a number behind a colon.
fn is_name_and_port(host: &[u8]) -> bool {
    let name = host.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
    name > 0
        && match host.get(name..) {
            None | Some([]) => true,
            Some([b':', port @ ..]) => !port.is_empty() && port.iter().all(u8::is_ascii_digit),
            Some(_) => false,
        }
}

// RFC 6455 §4.2.1 (3), (4): both headers name their token, in any case, alone or in a list.
fn check_upgrade(headers: &HeaderMap, lines: &Lines<'_>) -> Result<(), Refusal> {
    if lines.upgrade.is_absent() {
        return Err(Refusal::upgrade_required(
            "this is a WebSocket server: Upgrade is missing (RFC 6455 section 4.2.1)",
        ));
    }
    if !lines.upgrade.lists(headers, header::UPGRADE, "websocket") {
        return Err(Refusal::bad_request("Upgrade does not name websocket (RFC 6455 section 4.2.1)"));
    }
    if !lines.connection.lists(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::bad_request("Connection does not name Upgrade (RFC 6455 section 4.2.1)"));
    }
    Ok(())
}

// RFC 6455 §4.2.1 (6), §4.2.2 and §4.4: version 13; any other is told which one we speak.
fn check_version(lines: &Lines<'_>) -> Result<(), Refusal> {
    if lines.version.is_absent() {
        return Err(Refusal::upgrade_required("Sec-WebSocket-Version is missing (RFC 6455 section 4.2.1)"));
    }
    match lines.version.only().and_then(|value| value.to_str().ok()).map(str::trim) {
        Some("13") => Ok(()),
        // RFC 6455 §4.3: a number from 0 to 255 without leading zeros.
        Some(other) if other.parse::<u8>().is_ok_and(|version| version.to_string() == other) => {
            Err(Refusal::upgrade_required("this version of the protocol is not spoken here (RFC 6455 section 4.4)"))
        }
        _ => Err(Refusal::bad_request("Sec-WebSocket-Version is malformed (RFC 6455 section 4.3)")),
    }
}

// RFC 6455 §4.2.1 (5): one key, of 16 bytes.
fn check_key(lines: &Lines<'_>) -> Result<Key, Refusal> {
    let key = lines.key.only().and_then(|value| Key::parse(value.as_bytes().trim_ascii()));
    key.ok_or_else(|| Refusal::bad_request("there is not exactly one valid Sec-WebSocket-Key (RFC 6455 section 4.2.1)"))
}

// RFC 6455 §9.1: extensions that do not follow the grammar fail the handshake, whether any is known here or not.
fn check_extensions(headers: &HeaderMap, lines: &Lines<'_>) -> Result<(), Refusal> {
    if lines.extensions.is_absent() {
        return Ok(());
    }
    match extensions(headers) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::bad_request("Sec-WebSocket-Extensions is malformed (RFC 6455 section 9.1)")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::proto::{
        Limits,
        handshake::{Acceptance, AwaitRequest, head::parse_request},
    };

    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn replaced(from: &str, to: &str) -> String {
        if from == END { format!("{}{to}\r\n", &REQUEST[..REQUEST.len() - 2]) } else { REQUEST.replacen(from, to, 1) }
    }

    /// The status that answers REQUEST with `from` replaced by `to`, whose characters stand for single bytes.
    fn answer(from: &str, to: &str) -> u16 {
        let text = replaced(from, to);
        assert_ne!(text, REQUEST.replacen(END, "", 1), "{from:?} is part of the request");
        let mut input: BytesMut = text.chars().map(|character| u8::try_from(character).unwrap()).collect();
        let received = AwaitRequest::new(&Limits::default()).receive(&mut input);
        let judged = received.and_then(|request| judge(&request.expect("the head is whole")));
        match judged {
            Ok(judged) => judged.respond(Acceptance::new()).unwrap().status().as_u16(),
            Err(refusal) => {
                assert!(!refusal.content().is_empty() || text.starts_with("HEAD"), "{from:?} -> {to:?} says why");
                refusal.status().as_u16()
            }
        }
    }

    /// Where a row adds lines.
    const END: &str = "";

    #[test]
    fn hostile_requests_and_their_answers() {
        let table: &[(&str, &str, &str, u16)] = &[
            // id, what is replaced in REQUEST, by what, the answer
            ("S-11", "chat", "", 101),
            ("H5", END, "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n", 101),
            ("H5", END, "Sec-WebSocket-Protocol: a,,b\r\n", 101),
            ("H5", END, "Sec-WebSocket-Protocol: a, a\r\n", 400),
            ("H5", END, "Sec-WebSocket-Protocol: ,\r\n", 400),
            ("H5", END, "Sec-WebSocket-Protocol:\r\n", 400),
            ("H5", END, "Sec-WebSocket-Protocol: a b\r\n", 400),
            ("H5", END, "Sec-WebSocket-Protocol: a\0\r\n", 400),
            ("H6", END, "Sec-WebSocket-Extensions: constructor\r\n", 101),
            ("H6", END, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", 101),
            ("H6", END, "Sec-WebSocket-Extensions: ,;constructor\r\n", 400),
            ("H6", END, "Sec-WebSocket-Extensions: permessage-deflate; =1\r\n", 400),
            ("H6", END, "Sec-WebSocket-Extensions: a;b=\"\\c\\c\r\n", 400),
            ("H7", END, "Sec-WebSocket-Protocol: \u{ff}\r\n", 400),
            ("H7", END, "Sec-WebSocket-Extensions: \u{80}\r\n", 400),
            ("H7", END, "X-Harmless: \u{ff}\u{80}\r\n", 101),
            ("H7", "example.com", "ex\u{e4}mple.com", 400),
            ("H7", "dGhl", "dGh\u{e9}", 400),
            ("H7", "Connection: Upgrade", "Connection: Upgr\u{e4}de", 400),
            ("H7", ": websocket", ": websocket\u{a0}", 400),
            ("H7", "/chat", "/ch\u{e4}t", 400),
            ("H7", "/chat", "/\u{c3}\u{a4}", 400),
            ("H7", "Upgrade:", "Upgr\u{e4}de:", 400),
            ("H8", END, "Content-Length: 0\r\n", 101),
            ("H8", END, "Content-Length: 5\r\n", 400),
            ("H8", END, "Content-Length: x\r\n", 400),
            ("H8", END, "Content-Length: 0\r\nContent-Length: 5\r\n", 400),
            ("H8", END, "Transfer-Encoding: chunked\r\n", 400),
            ("H8", END, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400),
            ("H10", "Connection: Upgrade", "Connection: keep-alive, Upgrade", 101),
            ("H10", "Connection: Upgrade", "connection: uPGRADE", 101),
            ("H10", "Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101),
            ("H10", "Connection: Upgrade", "Connection: notupgrade", 400),
            ("H10", "Connection: Upgrade", "Connection: Upgrade;x", 400),
            ("H10", "Connection: Upgrade\r\n", "", 400),
            ("H11", ": websocket", ": WebSocket", 101),
            ("H11", ": websocket", ": h2c, websocket", 101),
            ("H11", ": websocket", ": websockets", 400),
            ("H11", ": websocket", ": websocket/13", 400),
            ("H11", "Upgrade: websocket\r\n", "", 426),
            ("H12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
            ("H12", END, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
            ("H12", "dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAA", 400),
            ("H12", "dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAAA=", 400),
            ("H12", "dGhlIHNhbXBsZSBub25jZQ==", " dGhlIHNhbXBsZSBub25jZQ== ", 101),
            ("H13", "Sec-WebSocket-Version: 13\r\n", "", 426),
            ("H13", ": 13", ": 0", 426),
            ("H13", ": 13", ": 8", 426),
            ("H13", ": 13", ": 12", 426),
            ("H13", ": 13", ": 14", 426),
            ("H13", ": 13", ": 255", 426),
            ("H13", ": 13", ": 256", 400),
            ("H13", ": 13", ": 013", 400),
            ("H13", ": 13", ": +13", 400),
            ("H13", ": 13", ": 13, 8", 400),
            ("H13", ": 13", ": 13abc", 400),
            ("H13", ": 13", ":", 400),
            ("H13", ": 13", ":   13\t", 101),
            ("H13", END, "Sec-WebSocket-Version: 13\r\n", 400),
            ("H14", "GET", "POST", 405),
            ("H14", "GET", "HEAD", 405),
            ("H14", "GET", "get", 405),
            ("H14", "GET", "G\u{c9}T", 400),
            ("H14", "HTTP/1.1", "HTTP/1.0", 505),
            ("H14", "HTTP/1.1", "HTTP/2.0", 505),
            ("H14", "HTTP/1.1", "HTTP/1.2", 505),
            ("H14", "HTTP/1.1", "HTTP/1.1junk", 400),
            ("H14", "HTTP/1.1", "http/1.1", 400),
            ("H14", " HTTP/1.1", "", 400),
            ("H14", "/chat", "http://example.com/chat", 101),
            ("H14", "/chat", "http://example.com", 101),
            ("H14", "/chat", "example.com:80", 400),
            ("H14", "/chat", "chat", 400),
            ("H14", "/chat", "*", 400),
            ("H14", "/chat", "", 400),
            ("H14", "/chat", "/chat#x", 400),
            ("H14", "/chat", "/chat room", 400),
            ("H14", "GET ", "GET  ", 400),
            ("H14", "Host: example.com\r\n", "", 400),
            ("H14", END, "Host: example.com\r\n", 400),
            ("H14", "example.com", "", 400),
            ("H14", "example.com", "a b", 400),
            ("H14", "example.com", "user@example.com", 400),
            ("H14", "example.com", "a, b", 400),
            ("H14", "example.com", "[::1]:9001", 101),
            ("H14", "\r\nHost", "\nHost", 400),
            ("H14", "\r\nHost", "\rHost", 400),
            ("H14", END, "X: y\n", 400),
            ("H14", END, "X: y\r\n z\r\n", 400),
            ("H14", "Host:", " Host:", 400),
            ("H14", "Host:", "Host :", 400),
            ("H14", "Host:", "Host", 400),
            ("H14", "Host:", ":", 400),
            ("H14", "example.com", "exa\0mple.com", 400),
            ("H14", "example.com", "exa\u{7f}mple.com", 400),
            ("H14", "GET", "\r\nGET", 400),
            ("H14", "GET", "\nGET", 400),
            ("H14", "GET", " GET", 400),
            (
                "H18",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
                "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n",
                426,
            ),
        ];
        for &(id, from, to, status) in table {
            assert_eq!(answer(from, to), status, "{id}: {from:?} -> {to:?}");
        }
    }

    #[test]
    fn d19_d22_an_upgrade_is_judged_alike_but_for_subprotocols_and_maybe_the_method() {
        use Methods::{Any, Get};
        let table: &[(&str, &str, Methods, u16)] = &[
            ("GET", "GET", Get, 101),
            ("GET", "GET", Any, 101),
            ("GET", "POST", Get, 405),
            ("GET", "POST", Any, 101),
            ("GET", "HEAD", Any, 101),
            (END, "Sec-WebSocket-Protocol: a b, a b\r\n", Get, 101),
            (END, "Sec-WebSocket-Extensions: a;b=\"c\r\n", Any, 400),
            (END, "Content-Length: 5\r\n", Any, 400),
            ("HTTP/1.1", "HTTP/1.0", Any, 505),
            ("/chat", "*", Any, 400),
            ("Host: example.com\r\n", "", Any, 400),
            ("Upgrade: websocket\r\n", "", Any, 426),
            ("Connection: Upgrade\r\n", "", Any, 400),
            (": 13", ": 8", Any, 426),
            ("dGhl", "", Any, 400),
        ];
        for &(from, to, methods, status) in table {
            let request = parse_request(&replaced(from, to).into()).unwrap();
            let judged = judge_upgrade(&request, methods);
            let found = judged.map_or_else(|refusal| refusal.status().as_u16(), |()| 101);
            assert_eq!(found, status, "{from:?} -> {to:?} {methods:?}");
        }
    }

    #[test]
    fn h14_http2_preface_is_told_the_version() {
        let mut input = BytesMut::from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let refusal = AwaitRequest::new(&Limits::default()).receive(&mut input).unwrap_err();
        assert_eq!(refusal.status(), 505);
    }

    proptest::proptest! {
        #[test]
        fn what_need_not_be_parsed_is_a_host(host in "[a-z0-9.:@%_\\[\\] \\-]{0,12}|[a-zA-Z0-9.-]{0,300}(:[0-9]{0,9})?") {
            let parsed = Authority::try_from(&*host).is_ok_and(|authority| !authority.host().is_empty());
            proptest::prop_assert!(parsed || !is_name_and_port(host.as_bytes()), "{:?}", host);
        }
    }

    #[test]
    fn requests_of_other_http_versions_are_not_judged() {
        let request = Request::get("https://example.com/").version(Version::HTTP_2).body(()).unwrap();
        assert_eq!(judge(&request).unwrap_err().status(), 505);
    }

    #[test]
    fn s_07_answer_to_another_version_names_ours() {
        let request =
            Request::get("/").header("Host", "h").header("Upgrade", "websocket").header("Connection", "upgrade");
        let refusal = judge(&request.header("Sec-WebSocket-Version", "8").body(()).unwrap()).unwrap_err();
        assert_eq!(refusal.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }
}
