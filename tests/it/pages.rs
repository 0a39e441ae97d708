//! Plain HTTP beside WebSockets, on one port: which requests get a page, which do not, and how each answer ends.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    task::JoinSet,
};
use wireline::{
    Config, Error, Message, Server,
    proto::handshake::HandshakeError,
    server::{Acceptor, Peer, TrustedProxies},
};

/// A server that echoes and has pages, until it is dropped.
struct Serving {
    address: SocketAddr,
    /// How often a page was asked for.
    asked: Arc<AtomicUsize>,
    _task: JoinSet<wireline::Result<()>>,
}

impl Serving {
    async fn start(with: impl FnOnce(Server) -> Server) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = with(Server::bind("127.0.0.1:0").await.expect("a free port")).pages(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            page(request)
        });
        let address = server.local_addr().expect("its address");
        let mut task = JoinSet::new();
        task.spawn(server.serve(|mut ws, _| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        }));
        Self { address, asked, _task: task }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    /// All that is sent in answer, up to an end that is no reset.
    async fn answer(&self, request: &str) -> String {
        let mut stream = self.dial().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        read(stream).await
    }

    async fn echoes(&self) {
        let mut ws = wireline::connect(format!("ws://{}", self.address)).await.expect("open");
        ws.send("hello").await.expect("sent");
        assert_eq!(ws.next().await.expect("an echo").expect("no error"), Message::from("hello"));
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

const LARGE: usize = 8 * 1024 * 1024;

async fn page(request: Request<()>) -> Response<Vec<u8>> {
    let text = match request.uri().path() {
        "/" => format!("{} {:?}\n", request.uri(), request.version()),
        "/peer" => format!("{:?}\n", request.extensions().get::<Peer>().expect("a peer").address),
        "/large" => "x".repeat(LARGE),
        "/panic" => panic!("a page of a test"),
        "/pending" => pending().await,
        "/opening" => return Response::builder().status(101).body(vec![]).expect("a response"),
        _ => {
            let missing = Response::builder().status(StatusCode::NOT_FOUND).header(header::CONTENT_LENGTH, "99");
            return missing.header(header::CONNECTION, "keep-alive").body(b"no\n".to_vec()).expect("a response");
        }
    };
    Response::new(text.into_bytes())
}

async fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer, and no reset");
    text
}

fn short_deadline() -> Config {
    let mut config = Config::default();
    config.timings.handshake = Duration::from_millis(200);
    config
}

const KEYS: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn requests_for_pages_get_one_answer_and_the_end() {
    let serving = Serving::start(|server| server).await;
    let ok =
        |text: &str| format!("HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    let (home, old) = (ok("/ HTTP/1.1\n"), ok("/ HTTP/1.0\n"));
    let table: &[(&str, &str, &str)] = &[
        // who asks, how, the answer
        (
            "kubelet",
            "GET / HTTP/1.1\r\nHost: a:1\r\nUser-Agent: kube-probe/1.33\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            &home,
        ),
        ("curl", "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n", &home),
        (
            "curl --http2",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            &home,
        ),
        ("httpchk GET /", "GET / HTTP/1.0\r\n\r\n", &old),
        (
            "httpchk",
            "OPTIONS / HTTP/1.0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, OPTIONS\r\nConnection: close\r\n\r\n",
        ),
        ("ab -k", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: a\r\n\r\n", &old),
        ("a proxy", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &ok("http://a/ HTTP/1.1\n")),
        ("a page of another site", "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.com\r\n\r\n", &home),
        ("a body of nothing", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &home),
        (
            "curl -I",
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 11\r\n\r\n",
        ),
        (
            "an unknown path",
            "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\ncontent-length: 3\r\n\r\nno\n",
        ),
        (
            "a page that would open",
            "GET /opening HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    for (who, request, expected) in table {
        assert_eq!(serving.answer(request).await, *expected, "{who}");
        assert_eq!(serving.asked(), usize::from(*who != "httpchk"), "{who}");
        // Requests behind it are not answered.
        let pipelined = request.repeat(3);
        assert_eq!(serving.answer(&pipelined).await, *expected, "{who}, three times");
        assert_eq!(serving.asked(), usize::from(*who != "httpchk"), "{who}, three times");
    }
    serving.echoes().await;
}

#[tokio::test]
async fn what_is_no_request_for_a_page_is_refused_without_asking() {
    let serving = Serving::start(|server| server).await;
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let table: &[(String, u16, &str)] = &[
        // request, status, what the answer names
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"), 426, "Sec-WebSocket-Version is missing"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{KEYS}\r\n"), 426, "Upgrade is missing"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSockets\r\n{KEYS}\r\n"),
            400,
            "Upgrade does not name websocket",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n{KEYS}\r\n"),
            400,
            "Connection does not name Upgrade",
        ),
        (format!("GET / HTTP/1.0\r\nHost: a\r\n{upgrade}{KEYS}\r\n"), 505, "HTTP/1.1"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}{KEYS}Content-Length: 2\r\n\r\nhi"), 400, "no body"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}{KEYS}Origin: http://b\r\n\r\n"), 403, "Origin"),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, "Host"),
        ("GET /\r\n\r\n".into(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".into(), 405, "GET, HEAD, OPTIONS"),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, "GET, HEAD, OPTIONS"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, "GET, HEAD, OPTIONS"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 413, "no body"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(64)), 431, "header lines"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)), 414, "request line"),
    ];
    for (request, status, names) in table {
        let answer = serving.answer(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(names) && answer.contains("\r\nConnection: close"), "{request}: {answer}");
        assert_eq!(serving.asked(), 0, "{request}");
    }
    serving.echoes().await;
}

/// The answer arrives although much more than it was sent, and none of that is read as a request.
#[tokio::test]
async fn an_answer_outlives_the_body_of_its_request() {
    let serving = Serving::start(|server| server).await;
    for (method, status) in [("GET", 413), ("POST", 405)] {
        let body = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(512 * 1024 / 28);
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = serving.answer(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{method}: {answer}");
        assert_eq!(serving.asked(), 0, "{method}");
    }
}

#[tokio::test]
async fn a_large_page_arrives_and_a_client_that_does_not_read_it_is_cut() {
    let serving = Serving::start(|server| server).await;
    let answer = serving.answer("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.ends_with(&format!("content-length: {LARGE}")), "{head}");
    assert!(body.len() == LARGE && body.bytes().all(|byte| byte == b'x'));

    // More than the sockets hold: the rest is still with the server when its deadline ends it.
    let serving = Serving::start(|server| server.config(short_deadline()).expect("valid")).await;
    let mut stream = serving.dial().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    // Asks nothing of the socket that would make room; once the server is gone, writing fails.
    while stream.write_all(b"\r\n").await.is_ok() {
        tokio::task::yield_now().await;
    }
    serving.echoes().await;
}

#[tokio::test]
async fn a_page_that_panics_or_never_comes_ends_alone() {
    let serving = Serving::start(|server| server.config(short_deadline()).expect("valid")).await;
    let answer = serving.answer("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(serving.answer("GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    serving.echoes().await;
}

#[tokio::test]
async fn peer_and_path_prefix_are_those_of_websockets() {
    let serving = Serving::start(|server| {
        let trusted = TrustedProxies::new(["127.0.0.1"]).expect("an address");
        server.trusted_proxies(trusted).path_prefix("/live").expect("a prefix")
    })
    .await;
    let table = [
        ("/live", 200, "/ HTTP/1.1\n"),
        ("/live/", 200, "/ HTTP/1.1\n"),
        ("/live/?a", 200, "/?a HTTP/1.1\n"),
        ("/live/peer", 200, "Some(203.0.113.7)\n"),
        ("/live/x", 404, "no\n"),
        ("/", 404, ""),
    ];
    for (path, status, expected) in table {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
        let answer = serving.answer(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!((head.split(' ').nth(1), body), (Some(&*status.to_string()), expected), "{path}");
    }
    // It asks about the server, whatever is below the prefix (RFC 9110 §9.3.7).
    let answer = serving.answer("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

#[tokio::test]
async fn a_full_server_answers_pages() {
    let serving = Serving::start(|server| server.max_connections(0)).await;
    assert!(serving.answer("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(wireline::connect(format!("ws://{}", serving.address)).await.is_err());
}

#[tokio::test]
async fn pages_are_counted_among_the_handshakes() {
    let mut config = Config::default();
    config.timings.handshake = Duration::from_secs(3600);
    let serving = Serving::start(|server| server.config(config).expect("valid").max_handshakes(1)).await;
    let mut waiting = serving.dial().await;
    waiting.write_all(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    while serving.asked() == 0 {
        tokio::task::yield_now().await;
    }
    // It makes room for this one.
    serving.echoes().await;
    assert_eq!(read(waiting).await, "");
}

#[tokio::test]
async fn acceptor_says_that_it_answered_with_a_page() {
    let acceptor = Acceptor::new().pages(|request| async move {
        assert_eq!(*request.method(), Method::GET);
        Response::new("page")
    });
    let (near, mut far) = duplex(4096);
    far.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    far.shutdown().await.expect("closed");
    let error = acceptor.accept(near).await.expect_err("no WebSocket");
    let Error::Handshake(error) = error else { panic!("{error:?}") };
    assert!(matches!(*error, HandshakeError::Answered(StatusCode::OK)), "{error:?}");
    assert_eq!(error.to_string(), "no WebSocket was asked for, and the answer was 200 OK");
    let mut answer = String::new();
    far.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("\r\n\r\npage"), "{answer}");
}
