//! TLS under the opening handshake (RFC 6455 sections 4.1 and 10.6): what the client checks and says, what a server knows,
//! and each wrong combination as an error of its own. Nothing ever falls back to plain text.

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    CertificateError, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wireline::{Client, Error, Result, Security, Transport, WebSocket, proto::handshake::HandshakeError};

use super::{
    REQUEST, cited,
    listening::{Echo, echoes, rest, short_deadline, soon},
    wire::name,
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn tls_is_checked_and_never_left_out() {
    ROWS.ids();
}

fn run(ran: &mut Ran) {
    let authority = Authority::new("an authority of one test");
    soon(names(&authority, ran));
    soon(certificates(&authority, ran));
    soon(the_wrong_port(&authority, ran));
    soon(origins(&authority, ran));
    soon(slow_handshakes(&authority, ran));
}

/// An authority made for one test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Valid {
    Now,
    LongAgo,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        // With rcgen's own name for everything, a leaf would look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// The configuration of a server at `localhost`.
    pub(super) fn localhost(&self) -> Arc<ServerConfig> {
        self.server(&["localhost"], Valid::Now).config()
    }

    fn server(&self, names: &[&str], valid: Valid) -> Arc<Recorder> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.use_authority_key_identifier_extension = true;
        if valid == Valid::LongAgo {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key that signs");
        let key = Arc::new(CertifiedKey::new(vec![leaf.der().clone()], key));
        Arc::new(Recorder { key, asked_for: Mutex::default() })
    }
}

/// Has one certificate, and remembers for which names it was asked.
#[derive(Debug)]
struct Recorder {
    key: Arc<CertifiedKey>,
    asked_for: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Recorder {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.asked_for.lock().expect("no panic").push(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.key))
    }
}

impl Recorder {
    fn config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Arc::new(config)
    }

    fn asked_for(&self) -> Vec<Option<String>> {
        std::mem::take(&mut self.asked_for.lock().expect("no panic"))
    }
}

async fn connect(url: String, roots: &[&Authority]) -> Result<WebSocket<Transport>> {
    let client = Client::new(url)?.root_certificates(roots.iter().map(|authority| authority.root()));
    client.connect().await.map(|(ws, _)| ws)
}

/// The error of rustls under a failed attempt.
fn tls_error(error: &Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// The URL's host is the name that is sent (SNI) and checked, whatever `Host` says.
async fn names(authority: &Authority, ran: &mut Ran) {
    let recorder = authority.server(&["localhost", "127.0.0.1"], Valid::Now);
    let echo = Echo::start(|server| server.tls(recorder.config())).await;
    let port = echo.address.port();
    // RFC 6066 section 3: an address is not a name, and not sent.
    for (host, sni) in [("localhost", Some("localhost")), ("LOCALHOST", Some("localhost")), ("127.0.0.1", None)] {
        let mut ws = connect(format!("wss://{host}:{port}"), &[authority]).await.expect("open");
        echoes(&mut ws).await;
        assert_eq!(ws.get_ref().security(), Security::Tls, "C-06, S-16");
        assert_eq!(recorder.asked_for(), [sni.map(str::to_owned)], "C-06: SNI for {host}");
    }
    let client = Client::new(format!("wss://localhost:{port}")).expect("a URL").root_certificates([authority.root()]);
    client.host("other.example").expect("a host").connect().await.expect("open");
    assert_eq!(recorder.asked_for(), [Some("localhost".to_owned())], "C-06: SNI is not Host");
    ran.id("C-06");
    ran.id("S-16");
}

/// A certificate that is not the server's, not of an authority we trust, or not of today.
async fn certificates(authority: &Authority, ran: &mut Ran) {
    let other = Authority::new("another authority");
    type Check = fn(&CertificateError) -> bool;
    let wrong_name: Check =
        |error| matches!(error, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. });
    let unknown: Check = |error| matches!(error, CertificateError::UnknownIssuer);
    let expired: Check = |error| matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    let table: [(&str, Arc<Recorder>, &[&Authority], Check); 5] = [
        ("wrong host", authority.server(&["other.example"], Valid::Now), &[authority], wrong_name),
        ("wrong host", authority.server(&["localhost.example", "*.localhost"], Valid::Now), &[authority], wrong_name),
        ("unknown authority", authority.server(&["localhost"], Valid::Now), &[&other], unknown),
        ("Mozilla's authorities", authority.server(&["localhost"], Valid::Now), &[], unknown),
        ("expired", authority.server(&["localhost"], Valid::LongAgo), &[authority], expired),
    ];
    for (shown, recorder, roots, check) in table {
        let echo = Echo::start(|server| server.tls(recorder.config())).await;
        let error = connect(format!("wss://localhost:{}", echo.address.port()), roots).await.expect_err(shown);
        let checked = matches!(tls_error(&error), Some(rustls::Error::InvalidCertificate(found)) if check(found));
        assert!(matches!(error, Error::Network(_)) && checked, "C-06 {shown}: {error:?}");
        // The server is there for the next.
        let trusted = authority.server(&["localhost"], Valid::Now);
        let next = Echo::start(|server| server.tls(trusted.config())).await;
        let mut ws = connect(format!("wss://localhost:{}", next.address.port()), &[authority]).await.expect("open");
        echoes(&mut ws).await;
    }
    ran.id("C-06");
}

/// TLS to a plain port, and plain text to a TLS port.
async fn the_wrong_port(authority: &Authority, ran: &mut Ran) {
    // A client that wants TLS, and a server that has none: one hello, no plain text after it.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut sent = vec![0; 5];
        stream.read_exact(&mut sent).await.expect("a record");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
        stream.shutdown().await.expect("closed");
        [sent, rest(stream).await].concat()
    };
    let url = format!("wss://localhost:{port}");
    let roots = [authority];
    let (opened, sent) = tokio::join!(connect(url, &roots), server);
    let error = opened.expect_err("no TLS");
    assert!(matches!(tls_error(&error), Some(rustls::Error::InvalidMessage(_))), "C-06: {error:?}");
    assert_eq!(sent[..2], [0x16, 0x03], "C-06: a TLS record");
    assert!(!sent.windows(4).any(|four| four == b"GET " || four == b"HTTP"), "C-06: no plain text");

    // The same against our own server without TLS.
    let plain = Echo::start(|server| server).await;
    let error = connect(format!("wss://localhost:{}", plain.address.port()), &roots).await.expect_err("no TLS");
    assert!(matches!(tls_error(&error), Some(rustls::Error::InvalidMessage(_))), "{}: {error:?}", cited(&["H16"]));
    echoes(&mut wireline::connect(format!("ws://{}", plain.address)).await.expect("open")).await;

    // Plain text to a TLS port.
    let recorder = authority.server(&["localhost"], Valid::Now);
    let echo = Echo::start(|server| server.tls(recorder.config())).await;
    let error = wireline::connect(format!("ws://{}", echo.address)).await.expect_err("TLS");
    let told = match &error {
        Error::Handshake(error) => matches!(**error, HandshakeError::MalformedHead(_) | HandshakeError::NoResponse),
        error => matches!(error, Error::Network(_)),
    };
    assert!(told, "{}: {error:?}", cited(&["H16"]));
    let mut stream = echo.tcp().await;
    stream.write_all(REQUEST.as_bytes()).await.expect("sent");
    let answer = rest(stream).await;
    assert!(answer.is_empty() || answer.starts_with(b"\x15\x03"), "{}: an alert, not {answer:?}", cited(&["H16"]));
    assert_eq!(recorder.asked_for(), [], "{}", cited(&["H16"]));
    // A hello that breaks off, and nothing at all.
    for bytes in [&b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"[..], b""] {
        let mut stream = echo.tcp().await;
        stream.write_all(bytes).await.expect("sent");
        stream.shutdown().await.expect("closed");
        let answer = rest(stream).await;
        assert!(answer.is_empty() || answer.starts_with(b"\x15\x03"), "{}: {answer:?}", cited(&["H16"]));
    }
    let mut ws = connect(format!("wss://localhost:{}", echo.address.port()), &roots).await.expect("open");
    echoes(&mut ws).await;
    ran.id("H16");
    ran.id("C-06");
    ran.id("S-16");
}

/// A server that ends TLS itself knows that its pages are `https`.
async fn origins(authority: &Authority, ran: &mut Ran) {
    let recorder = authority.server(&["localhost"], Valid::Now);
    let echo = Echo::start(|server| server.tls(recorder.config())).await;
    let port = echo.address.port();
    let table = [
        (format!("https://localhost:{port}"), 101),
        (format!("HTTPS://LocalHost:{port}"), 101),
        (format!("http://localhost:{port}"), 403),
        ("https://localhost".to_owned(), 403),
        (format!("wss://localhost:{port}"), 403),
        (format!("https://localhost.evil.com:{port}"), 403),
        ("null".to_owned(), 403),
    ];
    for (origin, status) in table {
        let client =
            Client::new(format!("wss://localhost:{port}")).expect("a URL").root_certificates([authority.root()]);
        let opened = client.header("origin", &*origin).expect("a header").connect().await;
        let found = match opened {
            Ok(_) => 101,
            Err(Error::Handshake(error)) => match *error {
                HandshakeError::Rejected(response) => response.status().as_u16(),
                other => panic!("{}, {origin}: {other:?}", cited(&["H17"])),
            },
            Err(other) => panic!("{}, {origin}: {other:?}", cited(&["H17"])),
        };
        assert_eq!(found, status, "{}: {origin}", cited(&["H17"]));
    }
    // Without TLS of our own the scheme is not known.
    let plain = Echo::start(|server| server).await;
    for scheme in ["http", "https"] {
        let client = Client::new(format!("ws://{}", plain.address)).expect("a URL");
        let opened =
            client.header("origin", format!("{scheme}://{}", plain.address)).expect("a header").connect().await;
        assert!(opened.is_ok(), "{}: {scheme}", cited(&["H17"]));
    }
    ran.id("H17");
    ran.id("S-14");
}

/// The one deadline covers TLS and HTTP, and nobody waits for another's TLS.
async fn slow_handshakes(authority: &Authority, ran: &mut Ran) {
    let recorder = authority.server(&["localhost"], Valid::Now);
    let echo = Echo::start(|server| server.tls(recorder.config())).await;
    let url = || format!("wss://localhost:{}", echo.address.port());
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x00\xc8\x01"] {
        let mut stream = echo.tcp().await;
        stream.write_all(bytes).await.expect("sent");
        silent.push(stream);
        echoes(&mut connect(url(), &[authority]).await.expect("open beside the silent ones")).await;
    }

    let echo = Echo::start(|server| server.tls(recorder.config()).config(short_deadline()).expect("valid")).await;
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x00\xc8\x01"] {
        let mut stream = echo.tcp().await;
        stream.write_all(bytes).await.expect("sent");
        assert_eq!(rest(stream).await, b"", "{}: cut", cited(&["H1"]));
    }

    // A server that is silent in TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("wss://{}", listener.local_addr().expect("an address"));
    let client = Client::new(url).and_then(|client| client.config(short_deadline())).expect("valid");
    let error = client.connect().await.expect_err("silent");
    assert_eq!(name(&error), "Timeout(Handshake)", "C-06");
    ran.id("H1");
}
