//! WebSockets from requests that another HTTP server has read.

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "hyper")]
mod draining;
#[cfg(feature = "hyper")]
mod frames;
#[cfg(feature = "hyper")]
mod guard;
#[cfg(feature = "hyper")]
pub(crate) mod http2;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "hyper")]
mod rig;

use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use wireline::{
    Message, Role, WebSocket,
    server::{Acceptance, Acceptor, Refusal},
};

/// The sample of RFC 6455 section 1.3.
fn request() -> Request<&'static str> {
    let builder = Request::get("/chat").header("host", "example.com").header("upgrade", "websocket");
    let builder = builder.header("connection", "Upgrade").header("sec-websocket-version", "13");
    builder.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body("any type").expect("a request")
}

/// The same over HTTP/2.
fn extended_connect() -> Request<()> {
    let builder = Request::connect("https://example.com/chat").version(Version::HTTP_2);
    builder.header("sec-websocket-version", "13").body(()).expect("a request")
}

#[tokio::test]
async fn h9_what_was_read_ahead_comes_first_wherever_it_is_cut() {
    let frames = b"\x81\x82\0\0\0\0hi\x82\x81\0\0\0\0!\x88\x82\0\0\0\0\x03\xe8";
    for cut in 0..=frames.len() {
        let (ours, mut theirs) = duplex(1024);
        let upgrade = Acceptor::new().upgrade(&request()).unwrap();
        let mut ws = upgrade.over(ours, &frames[..cut]);
        theirs.write_all(&frames[cut..]).await.unwrap();

        assert_eq!(ws.next().await.transpose().unwrap(), Some(Message::from("hi")), "cut at {cut}");
        assert_eq!(ws.next().await.transpose().unwrap(), Some(Message::from(vec![b'!'])), "cut at {cut}");
        let answer = async move {
            let mut close = [0; 4];
            theirs.read_exact(&mut close).await.map(|_| close).unwrap()
        };
        let (end, close) = tokio::join!(ws.next(), answer);
        assert!(end.is_none() && close == *b"\x88\x02\x03\xe8", "cut at {cut}");
        assert!(ws.ending().is_some_and(wireline::Ending::is_clean), "cut at {cut}");
    }
}

#[test]
fn s_05_s_11_golden_response() {
    let acceptor = Acceptor::new().subprotocols(["b", "a"]);
    let mut offering = request();
    offering.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("a, b"));

    let upgrade = acceptor.upgrade(&offering).unwrap();

    let headers = upgrade.response().headers();
    assert_eq!(upgrade.response().status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!((upgrade.subprotocol(), headers.len()), (Some("b"), 4));
    assert_eq!(upgrade.over(duplex(1).0, &[]).subprotocol(), Some("b"));
}

/// Requests over HTTP/1.1 that are refused: what is set, to what, and the status.
#[test]
fn h10_to_h14_refused_requests() {
    let table: &[(&str, &str, &str, u16)] = &[
        ("H8", "content-length", "5", 400),
        ("H8", "transfer-encoding", "chunked", 400),
        ("H10", "connection", "notupgrade", 400),
        ("H10", "connection", "", 400),
        ("H11", "upgrade", "websockets", 400),
        ("H11", "upgrade", "websocket/13", 400),
        ("H12", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("H12", "sec-websocket-key", "x", 400),
        ("H13", "sec-websocket-version", "12", 426),
        ("H13", "sec-websocket-version", "13, 8", 400),
        ("H14", "host", "", 400),
        ("H5", "sec-websocket-protocol", "a, a", 400),
        ("H6", "sec-websocket-extensions", ",;x", 400),
        ("H17", "origin", "https://evil.example", 403),
    ];
    for &(id, name, value, status) in table {
        let mut request = request();
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let response = Acceptor::new().upgrade(&request).unwrap_err().into_response();
        assert_eq!(response.status().as_u16(), status, "{id} {name}: {value}");
        assert!(response.headers()["connection"].as_bytes().starts_with(b"close"), "{id} {name}: {value}");
        assert_eq!(response.headers().contains_key("sec-websocket-version"), status == 426, "{id} {name}: {value}");
    }
    for (method, version, status) in [
        (Method::POST, Version::HTTP_11, 405),
        (Method::HEAD, Version::HTTP_11, 405),
        (Method::GET, Version::HTTP_10, 505),
        (Method::GET, Version::HTTP_2, 505),
    ] {
        let mut request = request();
        (*request.method_mut(), *request.version_mut()) = (method.clone(), version);
        let refusal = Acceptor::new().upgrade(&request).unwrap_err();
        assert_eq!(refusal.status().as_u16(), status, "H14 {method} {version:?}");
    }
}

#[test]
fn hooks_choose_and_refuse_and_misuse_is_500_without_words() {
    let seen = Acceptor::new().on_request(|request| {
        assert_eq!(request.extensions().get(), Some(&7_u8));
        Err(Refusal::new(StatusCode::UNAUTHORIZED).body("who?"))
    });
    let mut extended = request();
    extended.extensions_mut().insert(7_u8);
    assert_eq!(seen.upgrade(&extended).unwrap_err().content(), "who?");

    let misused = Acceptor::new().on_request(|_| Ok(Acceptance::new().subprotocol("never offered")));
    let refusal = misused.upgrade(&request()).unwrap_err();
    assert_eq!((refusal.status().as_u16(), &**refusal.content()), (500, &b""[..]));
    assert!(refusal.to_string().contains("not offered"), "the log says why: {refusal}");
}

#[test]
fn h_03_h_04_h_05_extended_connect_is_judged_by_rfc_8441() {
    type Change = fn(&mut Request<()>);
    let table: &[(&str, Option<&str>, Change, u16)] = &[
        ("as it should be", Some("websocket"), |_| {}, 200),
        ("ws is http", Some("websocket"), |r| *r.uri_mut() = "http://example.com/".parse().unwrap(), 200),
        ("same origin", Some("websocket"), |r| insert(r, "origin", "https://example.com"), 200),
        ("neither Key nor Host counts", Some("websocket"), |r| insert(r, "sec-websocket-key", "x"), 200),
        ("other origin", Some("websocket"), |r| insert(r, "origin", "https://evil.example"), 403),
        ("the origin of Host alone", Some("websocket"), evil_host, 403),
        ("other protocol", Some("connect-udp"), |_| {}, 501),
        ("no protocol", None, |_| {}, 400),
        ("GET", None, |r| *r.method_mut() = Method::GET, 405),
        ("HTTP/1.1", Some("websocket"), |r| *r.version_mut() = Version::HTTP_11, 505),
        ("no path", Some("websocket"), |r| *r.uri_mut() = "example.com:443".parse().unwrap(), 400),
        ("other scheme", Some("websocket"), |r| *r.uri_mut() = "ftp://example.com/".parse().unwrap(), 400),
        ("no authority", Some("websocket"), |r| *r.uri_mut() = "/chat".parse().unwrap(), 400),
        ("version 8", Some("websocket"), |r| insert(r, "sec-websocket-version", "8"), 400),
        ("no version", Some("websocket"), |r| drop(r.headers_mut().remove("sec-websocket-version")), 400),
        ("body", Some("websocket"), |r| insert(r, "content-length", "5"), 400),
        ("subprotocols", Some("websocket"), |r| insert(r, "sec-websocket-protocol", "a, a"), 400),
        ("extensions", Some("websocket"), |r| insert(r, "sec-websocket-extensions", ",;"), 400),
    ];
    for (name, protocol, change, status) in table {
        let mut request = extended_connect();
        change(&mut request);
        let response = match Acceptor::new().extended_connect(&request, *protocol) {
            Ok(upgrade) => upgrade.response().clone(),
            Err(refusal) => refusal.into_response().map(drop),
        };
        assert_eq!(response.status().as_u16(), *status, "{name}");
        for forbidden in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
            assert!(!response.headers().contains_key(&forbidden), "{name}: {forbidden}");
        }
    }
}

fn insert(request: &mut Request<()>, name: &'static str, value: &'static str) {
    request.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn evil_host(request: &mut Request<()>) {
    insert(request, "host", "evil.example");
    insert(request, "origin", "https://evil.example");
}

#[tokio::test]
async fn an_upgrade_that_is_dropped_opens_nothing() {
    let upgrade = Acceptor::new().upgrade(&request()).unwrap();
    drop(upgrade);
    let (ours, theirs) = duplex(64);
    let ws = Acceptor::new().upgrade(&request()).unwrap().over(ours, &[]);
    drop(ws);
    let mut peer = WebSocket::after_handshake(theirs, Role::Client, wireline::Config::default()).unwrap();
    assert!(peer.next().await.is_some_and(|outcome| outcome.is_err()), "cut without a Close");
}
