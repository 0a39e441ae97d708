//! Serving behind proxies: whom a server believes, the PROXY protocol, Unix sockets, several and inherited listeners, path
//! prefixes, and hooks that wait.

#[cfg(unix)]
mod unix;

use std::{future::pending, net::SocketAddr, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use wireline::{
    Client, Config, Server,
    server::{Acceptance, Acceptor, Origins, Peer, ProxyProtocol, Refusal, TrustedProxies},
};

/// Our server's task, which ends with the value.
struct Serving(JoinSet<()>);

/// Runs a server that tells each connection its path, user and peer.
fn serve(server: Server) -> Serving {
    let mut task = JoinSet::new();
    task.spawn(async move {
        let served = server.serve(|mut ws, request| async move {
            let user = request.extensions().get::<User>().map_or("-", |user| user.0);
            ws.send(format!("{} {user} {}", request.uri(), shown(request.extensions().get()))).await?;
            Ok(())
        });
        served.await.expect("it serves");
    });
    Serving(task)
}

#[derive(Clone)]
struct User(&'static str);

/// `address scheme host evidence`, with `-` for what is not known.
fn shown(peer: Option<&Peer>) -> String {
    let peer = peer.expect("there is a peer");
    let show = |part: Option<String>| part.unwrap_or_else(|| "-".into());
    let address = show(peer.address.map(|address| address.to_string()));
    let scheme = show(peer.scheme.as_ref().map(ToString::to_string));
    let host = show(peer.host.as_ref().map(ToString::to_string));
    format!("{address} {scheme} {host} {:?}", peer.evidence)
}

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// What the server tells a client that sends `front` before its request with these headers: its message, or the status of
/// its refusal, or `dropped`.
async fn told<S>(mut stream: S, front: &[u8], path: &str, headers: Headers<'_>) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if stream.write_all(front).await.is_err() {
        return "dropped".into();
    }
    let mut client = Client::new(format!("ws://good.com{path}")).expect("a URL");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        client = client.header(name, HeaderValue::from_str(value).expect("a value")).expect("a header");
    }
    match client.connect_over(stream).await {
        Ok((mut ws, _)) => ws.next().await.expect("a message").expect("no error").as_text().expect("a text").into(),
        Err(wireline::Error::Handshake(error)) => match *error {
            wireline::proto::handshake::HandshakeError::Rejected(rejected) => rejected.status().as_u16().to_string(),
            _ => "dropped".into(),
        },
        Err(_) => "dropped".into(),
    }
}

async fn bound() -> (Server, SocketAddr) {
    let server = Server::bind("127.0.0.1:0").await.expect("a free port");
    let address = server.local_addr().expect("its address");
    (server, address)
}

async fn dial(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the server listens")
}

fn loopback() -> TrustedProxies {
    TrustedProxies::new(["127.0.0.1"]).expect("an address")
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc6\x33\x64\x01\xc8\x22\x01\xbb";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test]
async fn proxy_protocol_is_read_where_it_must_be_there_and_refused_elsewhere() {
    let nobody = || TrustedProxies::new(["192.0.2.1"]).expect("an address");
    let client = "/ - 203.0.113.7 - - ProxyProtocol";
    let socket = "/ - 127.0.0.1 - - Socket";
    let table: &[(ProxyProtocol, TrustedProxies, &[u8], &str)] = &[
        (ProxyProtocol::Off, loopback(), b"", socket),
        (ProxyProtocol::Off, loopback(), V1, "400"),
        (ProxyProtocol::Off, loopback(), V2, "400"),
        (ProxyProtocol::Required, nobody(), V1, client),
        (ProxyProtocol::Required, nobody(), V2, client),
        (ProxyProtocol::Required, nobody(), LOCAL, socket),
        (ProxyProtocol::Required, nobody(), UNKNOWN, "/ - - - - ProxyProtocol"),
        (ProxyProtocol::Required, nobody(), b"", "dropped"),
        (ProxyProtocol::Trusted, loopback(), V1, client),
        (ProxyProtocol::Trusted, loopback(), b"", "dropped"),
        (ProxyProtocol::Trusted, nobody(), b"", socket),
        (ProxyProtocol::Trusted, nobody(), V1, "400"),
    ];
    for (proxy_protocol, trusted, front, expected) in table {
        let (server, address) = bound().await;
        let _serving = serve(server.trusted_proxies(trusted.clone()).proxy_protocol(*proxy_protocol));
        let told = told(dial(address).await, front, "/", &[]).await;
        assert_eq!(&told, expected, "{proxy_protocol:?} {}", front.escape_ascii());
    }
}

#[tokio::test]
async fn proxy_protocol_names_whose_headers_then_count() {
    let (server, address) = bound().await;
    let trusted = TrustedProxies::new(["127.0.0.1", "203.0.113.7"]).expect("addresses");
    let _serving = serve(server.trusted_proxies(trusted).proxy_protocol(ProxyProtocol::Trusted));
    let headers = [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-Proto", "https")];
    assert_eq!(told(dial(address).await, V1, "/", &headers).await, "/ - 198.51.100.9 https - XForwarded");
    let other = b"PROXY TCP4 203.0.113.8 198.51.100.1 51234 443\r\n";
    assert_eq!(told(dial(address).await, other, "/", &headers).await, "/ - 203.0.113.8 - - ProxyProtocol");
    // Whoever it is, the headers are not the proxy's.
    assert_eq!(told(dial(address).await, UNKNOWN, "/", &headers).await, "/ - - - - ProxyProtocol");
    assert_eq!(told(dial(address).await, LOCAL, "/", &headers).await, "/ - 198.51.100.9 https - XForwarded");
}

#[tokio::test]
async fn proxy_header_that_does_not_come_meets_the_handshake_deadline() {
    let mut config = Config::default();
    config.timings.handshake = Duration::from_millis(50);
    let (server, address) = bound().await;
    let _serving = serve(server.config(config).expect("valid").proxy_protocol(ProxyProtocol::Required));
    for front in [&V1[..20], &V2[..14], &V2[..20], b""] {
        let mut stream = dial(address).await;
        stream.write_all(front).await.expect("sent");
        // A reset is an end too.
        let answer = stream.read(&mut [0; 64]).await.unwrap_or(0);
        assert_eq!(answer, 0, "{}", front.escape_ascii());
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn proxy_protocol_stands_in_front_of_tls() {
    use std::sync::Arc;
    let made = rcgen::generate_simple_self_signed(["good.com".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("its versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    let (server, address) = bound().await;
    let _serving = serve(server.proxy_protocol(ProxyProtocol::Required).tls(Arc::new(config)));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("its versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = dial(address).await;
    stream.write_all(V2).await.expect("sent");
    let name = rustls::pki_types::ServerName::try_from("good.com").expect("a name");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    assert_eq!(told(stream, b"", "/", &[]).await, "/ - 203.0.113.7 https - ProxyProtocol");
}

#[tokio::test]
async fn h17_scheme_and_host_of_a_trusted_proxy_decide_about_the_origin_and_of_no_other() {
    let https = ("X-Forwarded-Proto", "https");
    let http = ("X-Forwarded-Proto", "http");
    // headers, Origin, the answer where the proxy is trusted, and where it is not
    let table: &[(Headers<'_>, &str, u16, u16)] = &[
        (&[], "https://good.com", 101, 101),
        (&[], "http://good.com", 101, 101),
        (&[https], "https://good.com", 101, 101),
        (&[https], "http://good.com", 403, 101),
        (&[http], "https://good.com", 403, 101),
        (&[https], "https://good.com:8443", 403, 403),
        (&[https, ("X-Forwarded-Host", "good.com:8443")], "https://good.com:8443", 101, 403),
        (&[https, ("X-Forwarded-Host", "public.com")], "https://public.com", 101, 403),
        (&[https, ("X-Forwarded-Host", "public.com")], "https://good.com", 403, 101),
        (&[https, ("X-Forwarded-Host", "PUBLIC.com")], "https://public.com:443", 101, 403),
        (&[https, ("X-Forwarded-Host", "evil.com, public.com")], "https://evil.com", 403, 403),
        (&[https, ("X-Forwarded-Host", "public.com")], "https://public.com.evil.com", 403, 403),
        (&[https, ("X-Forwarded-Host", "public.com")], "https://evilpublic.com", 403, 403),
        (&[https, ("X-Forwarded-Host", "[::1]:80")], "https://[::1]:80", 101, 403),
        (&[https, ("X-Forwarded-Host", "public.com")], "null", 403, 403),
        (&[("Forwarded", "host=public.com;proto=https")], "https://public.com", 403, 403),
    ];
    for (trusted, pick) in [(loopback(), 2), (TrustedProxies::default(), 3)] {
        let (server, address) = bound().await;
        let _serving = serve(server.trusted_proxies(trusted));
        for row in table {
            let headers = [row.0, &[("Origin", row.1)]].concat();
            let told = told(dial(address).await, b"", "/", &headers).await;
            let status = told.parse().unwrap_or(101);
            assert_eq!(status, if pick == 2 { row.2 } else { row.3 }, "{row:?}: {told}");
        }
    }
}

#[tokio::test]
async fn several_listeners_are_served_at_once() {
    let (server, first) = bound().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let second = listener.local_addr().expect("its address");
    let standard = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let third = standard.local_addr().expect("its address");
    let _serving =
        serve(server.listener(listener).listener(wireline::server::Listener::try_from(standard).expect("it")));
    for address in [first, second, third, second, first] {
        assert_eq!(told(dial(address).await, b"", "/", &[]).await, "/ - 127.0.0.1 - - Socket");
    }
}

#[tokio::test]
async fn path_prefix_is_taken_off_and_other_paths_are_not_found() {
    let (server, address) = bound().await;
    let _serving = serve(server.path_prefix("/chat/v1").expect("a prefix"));
    let table: &[(&str, &str)] = &[
        ("/chat/v1", "/"),
        ("/chat/v1/", "/"),
        ("/chat/v1?a=b", "/?a=b"),
        ("/chat/v1/room/1?a", "/room/1?a"),
        ("/chat/v1//evil.com/x", "//evil.com/x"),
        ("/chat/v10", "404"),
        ("/chat", "404"),
        ("/", "404"),
        ("/Chat/v1", "404"),
        ("/other?/chat/v1", "404"),
    ];
    for (path, expected) in table {
        let told = told(dial(address).await, b"", path, &[]).await;
        assert_eq!(told.split(' ').next(), Some(*expected), "{path}");
    }
    for prefix in ["", "/", "chat", "/chat/", "/a b", "/a?b", "//"] {
        assert!(Acceptor::new().path_prefix(prefix).is_err(), "{prefix:?}");
    }
}

#[tokio::test]
async fn hook_that_waits_decides_before_the_connection_is_open() {
    let (server, address) = bound().await;
    let _serving = serve(server.on_request_async(|request| {
        let token = request.headers().get(header::AUTHORIZATION).cloned();
        assert!(request.extensions().get::<Peer>().is_some(), "the hook sees the peer");
        async move {
            tokio::task::yield_now().await;
            match token.as_ref().map(HeaderValue::as_bytes) {
                Some(b"Bearer alice") => Ok(Acceptance::new().extension(User("alice"))),
                Some(b"Bearer misuse") => Ok(Acceptance::new().subprotocol("not offered")),
                _ => Err(Refusal::new(StatusCode::UNAUTHORIZED)),
            }
        }
    }));
    let table = [("Bearer alice", "/ alice 127.0.0.1 - - Socket"), ("Bearer mallory", "401"), ("Bearer misuse", "500")];
    for (token, expected) in table {
        assert_eq!(told(dial(address).await, b"", "/", &[("Authorization", token)]).await, expected, "{token}");
    }
}

#[tokio::test]
async fn hook_that_never_decides_meets_the_handshake_deadline() {
    let mut config = Config::default();
    config.timings.handshake = Duration::from_millis(50);
    let (server, address) = bound().await;
    let _serving = serve(server.config(config).expect("valid").on_request_async(|_| pending()));
    assert_eq!(told(dial(address).await, b"", "/", &[]).await, "dropped");
}

#[tokio::test]
async fn acceptor_tells_the_peer_of_a_stream_of_the_callers_own() {
    let acceptor =
        Acceptor::new().trusted_proxies(loopback()).origins(Origins::List(vec!["https://*.good.com".into()]));
    let table: &[(&str, Headers<'_>, &str)] = &[
        ("127.0.0.1:1", &[("X-Forwarded-For", "203.0.113.7")], "203.0.113.7 - - XForwarded"),
        ("127.0.0.2:1", &[("X-Forwarded-For", "203.0.113.7")], "127.0.0.2 - - Socket"),
        ("127.0.0.1:1", &[("Origin", "https://a.good.com")], "127.0.0.1 - - Socket"),
    ];
    for (from, headers, expected) in table {
        let (near, far) = tokio::io::duplex(4096);
        let from: SocketAddr = from.parse().expect("an address");
        let accept = async {
            let (mut ws, request) = acceptor.accept_from(near, from).await.expect("accepted");
            ws.send(shown(request.extensions().get())).await.expect("sent");
        };
        let (told, ()) = tokio::join!(told(far, b"", "/", headers), accept);
        assert_eq!(&told, expected, "{from} {headers:?}");
    }
}

/// A request that another HTTP server has read.
fn read_by_another_server() -> http::request::Builder {
    http::Request::get("/chat/room")
        .header("host", "inner:9001")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "good.com")
}

#[test]
fn h17_upgrade_goes_by_the_peer_among_the_extensions() {
    let acceptor = Acceptor::new().path_prefix("/chat").expect("a prefix").on_request(|request| {
        assert_eq!(request.uri().path(), "/room");
        Ok(Acceptance::new().extension(User("alice")))
    });
    for (from, origin, expected) in [
        ("127.0.0.1:1", "https://good.com", 101),
        ("127.0.0.1:1", "http://good.com", 403),
        ("127.0.0.1:1", "https://inner:9001", 403),
        ("203.0.113.7:1", "https://good.com", 403),
        ("203.0.113.7:1", "https://inner:9001", 101),
    ] {
        let mut request = read_by_another_server().header("origin", origin).body(()).expect("a request");
        let peer = loopback().peer(&request, from.parse::<SocketAddr>().expect("an address"));
        request.extensions_mut().insert(peer);
        let status = match acceptor.upgrade(&request) {
            Ok(upgrade) => {
                assert_eq!(upgrade.response().extensions().get::<User>().map(|user| user.0), Some("alice"));
                101
            }
            Err(refusal) => refusal.status().as_u16(),
        };
        assert_eq!(status, expected, "{from} {origin}");
    }
}

#[test]
fn upgrade_never_skips_a_hook_that_waits() {
    let acceptor = Acceptor::new().on_request_async(|_| async { Ok(Acceptance::new()) });
    let request = read_by_another_server().body(()).expect("a request");
    assert_eq!(acceptor.upgrade(&request).map(drop).map_err(|refusal| refusal.status().as_u16()), Err(500));
}
