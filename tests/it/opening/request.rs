//! What a client asks for: URLs (RFC 6455 section 3), the request as it is sent (section 4.1), and calls that are refused
//! before anything is sent.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    runtime::Runtime,
};
use wireline::{Client, Error, Result, proto::Misuse};

use super::{
    RESPONSE, cited,
    wire::{Then, ask, read_head, runtime},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn client_asks_for_what_its_url_and_caller_say() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let runtime = runtime();
    urls(&runtime, ran);
    calls_that_are_refused(&runtime, ran);
    golden_requests(&runtime, ran);
    runtime.block_on(keys(ran));
    runtime.block_on(connections_at_once(ran));
}

/// The request that a client sends, with its key replaced by dots.
fn sent(runtime: &Runtime, client: &Client) -> String {
    let asked = runtime.block_on(ask(client, RESPONSE.as_bytes(), &[], Then::End, 0));
    assert!(asked.opened.is_ok(), "{:?}", asked.opened);
    let (before, key) = asked.request.split_once("Sec-WebSocket-Key: ").expect("a key");
    format!("{before}Sec-WebSocket-Key: .{}", &key[24..])
}

fn urls(runtime: &Runtime, ran: &mut Ran) {
    let table: &[(&[&'static str], &str, &str, &str)] = &[
        // ids, URL, request-target, Host
        (&["C-02"], "ws://localhost", "/", "localhost"),
        (&["C-02"], "ws://localhost/", "/", "localhost"),
        (&["C-02"], "ws://localhost/path", "/path", "localhost"),
        (&["C-02"], "ws://localhost/path/", "/path/", "localhost"),
        (&["C-02"], "ws://localhost?q", "/?q", "localhost"),
        (&["C-02"], "ws://localhost/?", "/?", "localhost"),
        (&["C-02"], "ws://localhost/path?a=b&c=/?", "/path?a=b&c=/?", "localhost"),
        (&["C-02"], "ws://localhost//a;b=c,d", "//a;b=c,d", "localhost"),
        (&["C-02"], "ws://localhost/a/./b/../c", "/a/c", "localhost"),
        (&["C-02", "C-01"], "ws://localhost/%23%3F%2f", "/%23%3F%2f", "localhost"),
        (&["C-02", "C12"], "ws://localhost/%C3%A9%00?%0D%0A", "/%C3%A9%00?%0D%0A", "localhost"),
        (&["C-02", "C12"], "ws://localhost/\u{e9}?\u{20ac}", "/%C3%A9?%E2%82%AC", "localhost"),
        (&["C-02"], "WS://LOCALHOST/Path", "/Path", "localhost"),
        (&["C-08"], "ws://localhost:80/", "/", "localhost"),
        (&["C-08"], "ws://localhost:443/", "/", "localhost:443"),
        (&["C-08"], "wss://localhost:443/", "/", "localhost"),
        (&["C-08"], "wss://localhost:80/", "/", "localhost:80"),
        (&["C-08"], "ws://localhost:65535/", "/", "localhost:65535"),
        (&["C-08", "C12"], "ws://[::1]/", "/", "[::1]"),
        (&["C-08", "C12"], "ws://[::1]:80/", "/", "[::1]"),
        (&["C-08", "C12"], "wss://[2001:DB8:0::1]:9001/", "/", "[2001:db8::1]:9001"),
        (&["C-08", "C12"], "ws://127.0.0.1:8080", "/", "127.0.0.1:8080"),
        (&["C12"], "ws://b\u{fc}cher.example/", "/", "xn--bcher-kva.example"),
    ];
    for (ids, url, target, host) in table {
        let client = Client::new(url).unwrap_or_else(|error| panic!("{} {url}: {error}", cited(ids)));
        let request = sent(runtime, &client);
        let begin = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
        assert!(request.starts_with(&begin), "{} {url}: {request:?} begins with {begin:?}", cited(ids));
        ids.iter().for_each(|id| ran.id(id));
    }
}

/// A call that cannot be carried out, and the ids it belongs to.
type Call = (&'static [&'static str], String, Box<dyn Fn() -> Result<Client>>);

fn calls_that_are_refused(runtime: &Runtime, ran: &mut Ran) {
    let client = || Client::new("ws://example.com/").expect("a URL");
    let urls: &[(&[&'static str], &str)] = &[
        (&["C-01", "C12"], "ws://h/a#b"),
        (&["C-01", "C12"], "ws://h/#"),
        (&["C-01", "C12"], "ws://h#"),
        (&["C-03", "C12"], "http://h/"),
        (&["C-03", "C12"], "https://h/"),
        (&["C-03", "C12"], "wsx://h/"),
        (&["C-03", "C12"], "h/"),
        (&["C-03", "C12"], ""),
        (&["C-03", "C12"], "ws:h"),
        (&["C-03", "C12"], "ws://"),
        (&["C-03", "C12"], "ws:///h"),
        (&["C-03", "C12"], "ws://:80/"),
        (&["C-03", "C12"], "ws://?q"),
        (&["C-03", "C12"], "ws://h:x/"),
        (&["C-03", "C12"], "ws://h:65536/"),
        (&["C-03", "C12"], "ws://h:-1/"),
        (&["C-03", "C12"], "ws://h:0/"),
        (&["C-03", "C12"], "ws://[::1/"),
        (&["C-03", "C12"], "ws://1.2.3.256/"),
        (&["C12"], "ws://user@h/"),
        (&["C12"], "ws://user:password@h/"),
        (&["C12"], "ws://@h/"),
        (&["C11", "C12"], "ws://a b/"),
        (&["C11", "C12"], "ws://a%0d%0ab/"),
        (&["C11"], "ws://h/a b"),
        (&["C11"], "ws://h/ HTTP/1.1\r\nX: y"),
        (&["C11"], "ws://h\r\n/"),
        (&["C11"], "ws://h/\r"),
        (&["C11"], "ws://h/\n"),
        (&["C11"], "ws://h/\0"),
        (&["C11"], "ws://h/\t"),
        (&["C11"], "ws://h/\u{7f}"),
        (&["C11"], " ws://h/"),
        (&["C11"], "ws://h/ "),
        (&["C11"], "ws://h\\@evil/"),
    ];
    let mut calls: Vec<Call> = Vec::new();
    for &(ids, url) in urls {
        calls.push((ids, format!("URL {url:?}"), Box::new(move || Client::new(url))));
    }
    for host in ["", " ", "a b", "h\r\nX: y", "h\n", "h\0", "user@h", "h/", "h?", "h#", ":80", "\u{e9}", "h:80:80"] {
        calls.push((&["C11"], format!("Host {host:?}"), Box::new(move || client().host(host))));
    }
    for name in ["", " ", "a b", "a\r\n", "a\n", "a\0", "a:", "\u{e9}"] {
        calls.push((&["C11"], format!("header name {name:?}"), Box::new(move || client().header(name, "y"))));
    }
    for value in ["y\r\nX: z", "y\n", "y\r", "\0", "\u{7f}"] {
        calls.push((&["C11"], format!("header value {value:?}"), Box::new(move || client().header("x", value))));
        calls.push((&["C11"], format!("Origin {value:?}"), Box::new(move || client().header("origin", value))));
    }
    for name in [
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-accept",
        "content-length",
        "transfer-encoding",
    ] {
        calls.push((&["C11"], format!("header {name}"), Box::new(move || client().header(name, "1"))));
    }
    let lists: [&[&str]; 12] = [
        &["a b"],
        &["a,b"],
        &["a", "a"],
        &["a", "b", "a"],
        &[""],
        &["a", ""],
        &["\u{e9}"],
        &["a\r\nX: y"],
        &["a\n"],
        &["a\0"],
        &["a/b"],
        &["\"a\""],
    ];
    for names in lists {
        let call = move || client().subprotocols(names.iter().copied());
        calls.push((&["C-12", "C11"], format!("subprotocols {names:?}"), Box::new(call)));
    }
    for (ids, shown, call) in &calls {
        let refused = runtime.block_on(nothing_is_sent(call));
        assert!(
            matches!(refused, Some(Error::Caller(Misuse::InvalidRequest(_)))),
            "{} {shown}: {refused:?}",
            cited(ids)
        );
        ids.iter().for_each(|id| ran.id(id));
    }
}

/// The error of a call, after which the peer has seen no byte.
async fn nothing_is_sent(call: impl Fn() -> Result<Client>) -> Option<Error> {
    let (near, mut far) = duplex(1024);
    let error = async move {
        match call() {
            Ok(client) => client.connect_over(near).await.err(),
            Err(error) => Some(error),
        }
    };
    let (error, sent) = tokio::join!(error, async {
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.expect("read");
        sent
    });
    assert_eq!(sent, b"", "{}: {error:?}", cited(&["C11"]));
    error
}

fn golden_requests(runtime: &Runtime, ran: &mut Ran) {
    let plain = "GET /chat?x=1 HTTP/1.1\r\nHost: example.com:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: .\r\nSec-WebSocket-Version: 13\r\n";
    let client = || Client::new("ws://example.com:9001/chat?x=1").expect("a URL");
    // C-21: neither Origin nor anything else of which the caller said nothing.
    assert_eq!(sent(runtime, &client()), format!("{plain}\r\n"), "C-07, C-08, C-09, C-11, C-21");
    for id in ["C-07", "C-08", "C-09", "C-11"] {
        ran.id(id);
    }
    let full = client()
        .subprotocols(["chat.v2", "chat.v1"])
        .and_then(|client| client.header("origin", "http://example.com"))
        .and_then(|client| client.header("Authorization", "Bearer abc"))
        .and_then(|client| client.header(HeaderName::from_static("cookie"), HeaderValue::from_static("a=b")))
        .and_then(|client| client.header("cookie", "c=d"))
        .expect("headers");
    let more = "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\nOrigin: http://example.com\r\n\
        authorization: Bearer abc\r\ncookie: a=b\r\ncookie: c=d\r\n\r\n";
    assert_eq!(sent(runtime, &full), format!("{plain}{more}"), "C-12, C-21");
    let host = full.host("[::1]:80").expect("a host");
    assert!(sent(runtime, &host).contains("\r\nHost: [::1]:80\r\n"), "C-08");
    let tokens = client().subprotocols(["!#$%&'*+-.^_`|~09azAZ", "Chat", "chat"]).expect("tokens");
    let line = "\r\nSec-WebSocket-Protocol: !#$%&'*+-.^_`|~09azAZ, Chat, chat\r\n";
    assert!(sent(runtime, &tokens).contains(line), "C-12");
    ran.id("C-12");
    ran.id("C-21");
}

/// Ten thousand keys of one client: none twice.
async fn keys(ran: &mut Ran) {
    const COUNT: usize = 10_000;
    let client = Client::new("ws://example.com/").expect("a URL");
    let mut keys = BTreeSet::new();
    for _ in 0..COUNT {
        let (near, far) = duplex(1024);
        let (opened, key) = tokio::join!(client.connect_over(near), key(far));
        assert!(opened.is_err(), "C-10");
        let decoded = wireline::proto::handshake::Key::parse(key.as_bytes());
        assert!(key.len() == 24 && decoded.is_some(), "C-10: {key:?} is the base64 of 16 bytes");
        keys.insert(key);
    }
    assert_eq!(keys.len(), COUNT, "C-10: all different");
    ran.id("C-10");
}

async fn key(mut far: DuplexStream) -> String {
    let request = read_head(&mut far).await;
    let line = request.split("\r\n").find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    line.expect("a key").to_owned()
}

/// RFC 6455 section 4.1 asks browsers to wait for one another. Here that is the caller's choice, as `Client` says: two
/// attempts at once both go on.
async fn connections_at_once(ran: &mut Ran) {
    let client = Client::new("ws://example.com/").expect("a URL");
    let (first, mut second) = (duplex(1024), duplex(1024));
    let (mut first_server, second_server) = (first.1, second.0);
    let both = async { tokio::join!(client.connect_over(first.0), client.connect_over(second_server)) };
    let servers = async {
        // Both have asked before either is answered.
        let requests = (read_head(&mut first_server).await, read_head(&mut second.1).await);
        for (server, request) in [(&mut first_server, requests.0), (&mut second.1, requests.1)] {
            super::wire::deliver(server, &super::wire::with_accept(RESPONSE.as_bytes(), &request), &[]).await;
        }
    };
    let ((one, other), ()) = tokio::join!(both, servers);
    assert!(one.is_ok() && other.is_ok(), "C-04: {one:?} {other:?}");
    ran.id("C-04");
}
