//! TLS as the hooks arrange it.

use std::{
    net::{TcpListener, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use wireline::handler::{
    Builder, CloseCode, Error, Factory, Handler, Handshake, Message, Request, Response, Result, Sender, Settings,
    util::{SslStream, TcpStream},
};

use super::{
    rig::{Log, kind},
    wire::{Raw, listener},
};

/// A certificate for localhost that was signed by nobody else.
struct Identity {
    certificate: CertificateDer<'static>,
    server: Arc<ServerConfig>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self { certificate, server: Arc::new(server) }
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// Where a handler takes its configuration from.
#[derive(Clone, Default)]
struct Hooks {
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
}

/// Writes its callbacks down, and secures its streams by its own configuration or the defaults.
struct Secured {
    log: Log,
    ws: Sender,
    hooks: Hooks,
}

struct Plain;

impl Handler for Plain {}

impl Secured {
    fn note(&self, line: &str) {
        self.log.push(self.ws.connection_id(), line);
    }
}

impl Handler for Secured {
    fn build_request(&mut self, url: &url::Url) -> Result<Request> {
        self.note("build_request");
        Request::from_url(url)
    }

    fn on_request(&mut self, req: &Request) -> Result<Response> {
        self.note("on_request");
        Response::from_request(req)
    }

    fn on_response(&mut self, _: &Response) -> Result<()> {
        self.note("on_response");
        Ok(())
    }

    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.note("on_open");
        Ok(())
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.note(&format!("on_message {msg}"));
        self.ws.close(CloseCode::Normal)
    }

    fn on_close(&mut self, code: CloseCode, _: &str) {
        self.note(&format!("on_close {code:?}"));
    }

    fn on_error(&mut self, err: Error) {
        self.note(&format!("on_error {}", kind(&err)));
        self.log.push(u32::MAX, &format!("because {err}"));
    }

    fn upgrade_ssl_client(&mut self, stream: TcpStream, url: &url::Url) -> Result<SslStream<TcpStream>> {
        self.note("upgrade_ssl_client");
        let name = ServerName::try_from(url.host_str().unwrap().to_owned()).unwrap();
        match &self.hooks.client {
            Some(config) => Ok(SslStream::client(stream, Arc::clone(config), name)),
            None => Plain.upgrade_ssl_client(stream, url),
        }
    }

    fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        self.note("upgrade_ssl_server");
        match &self.hooks.server {
            Some(config) => Ok(SslStream::server(stream, Arc::clone(config))),
            None => Plain.upgrade_ssl_server(stream),
        }
    }
}

struct Team {
    log: Log,
    hooks: Hooks,
}

impl Factory for Team {
    type Handler = Box<dyn Handler + Send>;

    /// Boxed: wrappers forward both hooks.
    fn connection_made(&mut self, ws: Sender) -> Self::Handler {
        self.log.push(ws.connection_id(), "made");
        Box::new(Secured { log: self.log.clone(), ws, hooks: self.hooks.clone() })
    }

    fn connection_lost(&mut self, handler: Self::Handler) {
        self.log.push(u32::MAX, "connection_lost");
        drop(handler);
    }
}

/// A server in a thread of its own.
struct Serving {
    address: std::net::SocketAddr,
    ws: Sender,
    log: Log,
    thread: std::thread::JoinHandle<Result<()>>,
}

fn serve(settings: Settings, hooks: Hooks, with_tls: Option<Arc<ServerConfig>>) -> Serving {
    let log = Log::default();
    let ws = Builder::new().with_settings(settings).build(Team { log: log.clone(), hooks }).unwrap();
    let ws = match with_tls {
        Some(config) => ws.with_tls(config),
        None => ws,
    };
    let ws = ws.bind("127.0.0.1:0").unwrap();
    let (address, broadcaster) = (ws.local_addr().unwrap(), ws.broadcaster());
    Serving { address, ws: broadcaster, log, thread: std::thread::spawn(|| ws.run().map(drop)) }
}

impl Serving {
    fn shut_down(self) {
        self.ws.shutdown().unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// Connects once, and says something when open.
fn connect(url: &str, hooks: Hooks, settings: Settings) -> Log {
    let log = Log::default();
    let mut ws = Builder::new().with_settings(settings).build(Team { log: log.clone(), hooks }).unwrap();
    ws.broadcaster().send("never, for it is not asked for yet").unwrap();
    ws.connect(url::Url::parse(url).unwrap()).unwrap();
    ws.broadcaster().send("hello").unwrap();
    ws.run().unwrap();
    log
}

const SERVED: [&str; 7] =
    ["made", "upgrade_ssl_server", "on_request", "on_open", "on_message hello", "on_close Normal", "connection_lost"];
const CONNECTED: [&str; 7] =
    ["made", "build_request", "upgrade_ssl_client", "on_response", "on_open", "on_close Normal", "connection_lost"];

#[test]
fn the_hooks_have_their_place_in_the_order_s3_2_and_6_and_4_tls() {
    let identity = Identity::new();
    let encrypted = Settings { encrypt_server: true, ..Settings::default() };
    let own = Hooks { server: Some(Arc::clone(&identity.server)), ..Hooks::default() };
    let servers = [
        ("with_tls", Settings::default(), Hooks::default(), Some(Arc::clone(&identity.server))),
        ("an override", encrypted, own, None),
    ];
    for (case, settings, hooks, with_tls) in servers {
        let server = serve(settings, hooks, with_tls);
        // IP hosts are allowed.
        for (before, host) in ["localhost", "127.0.0.1"].into_iter().enumerate() {
            server.log.await_times("connection_lost", before);
            let hooks = Hooks { client: Some(identity.client()), ..Hooks::default() };
            let log = connect(&format!("wss://{host}:{}/", server.address.port()), hooks, Settings::default());
            assert_eq!(log.all(), CONNECTED, "4: TLS, {case}, {host}");
        }
        server.log.await_times("connection_lost", 2);
        let lines = server.log.all();
        assert_eq!([&lines[..7], &lines[7..14]], [&SERVED.map(str::to_owned)[..]; 2], "4: TLS, {case}");
        server.shut_down();
    }
}

#[test]
fn the_default_client_trusts_public_authorities_only_and_fails_with_ssl_s6() {
    let identity = Identity::new();
    let server = serve(Settings::default(), Hooks::default(), Some(Arc::clone(&identity.server)));
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("wss://{host}:{}/", server.address.port());
        let log = connect(&url, Hooks::default(), Settings::default());
        let mut lines = log.all();
        lines.retain(|line| !line.starts_with("because"));
        // The one address that answers is not followed by another.
        let expected = ["made", "build_request", "upgrade_ssl_client", "on_error Ssl", "connection_lost"];
        assert_eq!(lines, expected, "{host}");
    }
    server.log.await_times("connection_lost", 2);
    let errors: Vec<_> = server.log.only("on_error");
    assert!(errors.len() == 2 && errors.iter().all(|line| line.contains("Ssl") || line.contains("Io")), "{errors:?}");
    assert_eq!(server.log.only("on_close"), Vec::<String>::new());
    server.shut_down();
}

#[test]
fn encrypt_server_without_a_configuration_names_both_remedies_s6() {
    let settings = Settings { encrypt_server: true, ..Settings::default() };
    let server = serve(settings, Hooks::default(), None);
    assert_eq!(Raw::dial(server.address).rest(), b"");
    server.log.wait_for("connection_lost");
    let lines = server.log.all();
    assert_eq!(lines[..3], ["made", "upgrade_ssl_server", "on_error Protocol"]);
    assert!(lines[3].contains("with_tls") && lines[3].contains("upgrade_ssl_server"), "{lines:?}");
    server.shut_down();
}

#[test]
fn strangers_at_a_tls_port_free_their_slot_s6() {
    let identity = Identity::new();
    let settings =
        Settings { max_connections: 1, handshake_timeout: Duration::from_millis(200), ..Settings::default() };
    let server = serve(settings, Hooks::default(), Some(Arc::clone(&identity.server)));
    let strangers: [&[u8]; 3] = [super::wire::REQUEST.as_bytes(), b"", b"\x16\x03\x01\x00\xc8\x01"];
    for (number, bytes) in strangers.into_iter().enumerate() {
        let mut peer = Raw::dial(server.address);
        peer.write(bytes);
        if number == 0 {
            peer.end();
        }
        let answer = peer.rest();
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert at most: {answer:?}");
        server.log.await_times("connection_lost", number + 1);
    }
    let errors = server.log.only("on_error");
    assert_eq!(errors, ["on_error Ssl", "on_error Io(TimedOut)", "on_error Io(TimedOut)"]);
    assert_eq!(server.log.count("made"), 3);
    drop(Raw::dial(server.address));
    server.log.await_times("made", 4);
    server.shut_down();
}

#[test]
fn a_tls_client_of_a_plain_port_fails_with_ssl_or_in_time_s6() {
    let short = Settings { handshake_timeout: Duration::from_millis(200), ..Settings::default() };
    let rows: [(&[u8], Settings, &str); 2] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Settings::default(), "on_error Ssl"),
        (b"", short, "on_error Io(TimedOut)"),
    ];
    for (answer, settings, expected) in rows {
        let (listener, url) = listener();
        let peer = std::thread::spawn(move || {
            let mut peer = Raw::accept(&listener);
            if !answer.is_empty() {
                peer.write(answer);
            }
            peer.rest()
        });
        let log = connect(&url.replace("ws:", "wss:"), Hooks::default(), settings);
        assert_eq!(log.only("on_error"), [expected]);
        let sent = peer.join().unwrap();
        assert_eq!(sent[..2], [0x16, 3], "a TLS record, and no plain text");
    }
}

#[test]
fn the_hooks_are_used_for_wss_and_encrypt_server_only_s6() {
    let server = serve(Settings::default(), Hooks::default(), None);
    let log = connect(&format!("ws://{}/", server.address), Hooks::default(), Settings::default());
    assert_eq!(log.only("upgrade_ssl_client"), Vec::<String>::new());
    server.log.wait_for("connection_lost");
    assert_eq!(server.log.only("upgrade_ssl_server"), Vec::<String>::new());
    server.shut_down();
}

/// The others may work, unless it was TLS itself that failed.
#[test]
fn upgrade_ssl_client_is_called_once_per_address_that_accepts_tcp_s3_2() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let mut listeners = vec![first];
    // Where the name has more addresses than that one, and their port is free.
    for address in ("localhost", port).to_socket_addrs().unwrap().filter(|address| !address.is_ipv4()) {
        listeners.extend(TcpListener::bind(address));
    }
    let expected = listeners.len();
    let peers: Vec<_> =
        listeners.into_iter().map(|listener| std::thread::spawn(move || drop(listener.accept()))).collect();
    let log = connect(&format!("wss://localhost:{port}/"), Hooks::default(), Settings::default());
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    assert_eq!(log.count("upgrade_ssl_client"), expected);
    assert_eq!(log.count("build_request"), 1);
    assert!(log.only("on_error")[0].starts_with("on_error Io("), "{:?}", log.all());
}

#[test]
fn an_ssl_stream_is_what_it_was_made_of_s6() {
    fn is_send<T: Send>(_: &T) {}
    let identity = Identity::new();
    let mut stream = SslStream::server(String::from("stream"), identity.server);
    is_send(&stream);
    stream.get_mut().push('!');
    assert_eq!(stream.get_ref(), "stream!");
    assert!(format!("{stream:?}").contains("stream!"));
    assert_eq!(stream.into_inner(), "stream!");
    assert_eq!(SslStream::server_default(7).into_inner(), 7);
}
