//! Our server behind nginx, HAProxy, Caddy and Apache, which end TLS, over TCP and over a Unix socket; and behind those that
//! write the PROXY protocol.

use std::{env, fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, process, sync::Arc, time::Duration};

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::{JoinSet, spawn_blocking},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wireline::{
    Client, Config, Event, Server, WebSocket,
    proto::deflate::DeflateConfig,
    server::{Origins, Peer, ProxyProtocol, Tracker, TrustedProxies},
};

use super::{
    DEADLINE,
    browser::{Browser, Page},
    certificate::Certificate,
    program::Peer as Program,
    reverse_proxy::{Backend, ReverseProxy, Running},
    scenario, skipped,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Tcp,
    Unix,
}

#[tokio::test]
async fn nginx_in_front_of_our_server() {
    behind(ReverseProxy::Nginx, Over::Tcp).await;
}

#[tokio::test]
async fn nginx_in_front_of_our_server_on_a_unix_socket() {
    behind(ReverseProxy::Nginx, Over::Unix).await;
}

#[tokio::test]
async fn haproxy_in_front_of_our_server() {
    behind(ReverseProxy::HAProxy, Over::Tcp).await;
}

#[tokio::test]
async fn haproxy_in_front_of_our_server_on_a_unix_socket() {
    behind(ReverseProxy::HAProxy, Over::Unix).await;
}

#[tokio::test]
async fn caddy_in_front_of_our_server() {
    behind(ReverseProxy::Caddy, Over::Tcp).await;
}

#[tokio::test]
async fn caddy_in_front_of_our_server_on_a_unix_socket() {
    behind(ReverseProxy::Caddy, Over::Unix).await;
}

#[tokio::test]
async fn apache_in_front_of_our_server() {
    behind(ReverseProxy::Apache, Over::Tcp).await;
}

#[tokio::test]
async fn apache_in_front_of_our_server_on_a_unix_socket() {
    behind(ReverseProxy::Apache, Over::Unix).await;
}

#[tokio::test]
async fn nginx_writes_the_proxy_protocol_version_1() {
    announced_by(ReverseProxy::NginxStream).await;
}

#[tokio::test]
async fn haproxy_writes_the_proxy_protocol_version_1() {
    announced_by(ReverseProxy::HAProxyV1).await;
}

#[tokio::test]
async fn haproxy_writes_the_proxy_protocol_version_2() {
    announced_by(ReverseProxy::HAProxyV2).await;
}

/// Everything that has to work through a proxy, with one after the other of our servers behind it.
async fn behind(proxy: ReverseProxy, over: Over) {
    if skipped() {
        return;
    }
    let certificate = Certificate::new();
    let mut site = Site::bind(proxy, over).await;
    let proxy = proxy.start(&site.backend, &certificate).await;
    let client = Through { proxy: &proxy, certificate: &certificate };

    // Compressed, because both offer it, and pinged while they are silent. Python is that while the browser plays.
    let url = format!("wss://localhost:{}/live", proxy.port());
    let page = Page::bind().await;
    let scenario = |server: Server| {
        let server = server.config(pinging(scenario::patient(), Some(PING_AFTER))).expect("valid");
        Process::start(server.origins(Origins::List(vec![page.origin()])))
    };
    let first = scenario(site.server().await);
    let mut python = Program::WEBSOCKETS.start_client(&url, &certificate);
    let browser = async {
        assert_eq!(python.report().await, "passed", "websockets: {}", proxy.log());
        let browser = Browser::open(&page.restart_url(&url));
        assert_eq!(page.report().await, "passed", "chromium: {}", proxy.log());
        assert_eq!(python.report().await, "awake", "websockets: {}", proxy.log());
        assert_eq!(page.report().await, "awake", "chromium: {}", proxy.log());
        browser
    };
    let browser = timeout(DEADLINE, browser).await.expect("both play in time");

    // Nobody is behind the proxy then, and nobody has said goodbye.
    first.end().await;
    let ended = async { (python.report().await, page.report().await) };
    let ended = timeout(DEADLINE, ended).await.expect("the proxy tells both in time");
    assert_eq!(ended, ("ended 1006".into(), "ended 1006".into()), "{}", proxy.log());
    assert!(client.connect("/", &[]).await.is_err(), "no server answers");

    // The server is back, and both find it.
    let tracker = Tracker::new();
    let second = scenario(site.server().await.tracker(&tracker));
    let found = async { (python.report().await, page.report().await) };
    let found = timeout(DEADLINE, found).await.expect("both are back in time");
    assert_eq!(found, ("again".into(), "again".into()), "{}", proxy.log());

    // It ends gracefully this time.
    let drained = tracker.drain(DEADLINE).await;
    assert_eq!((drained.clean, drained.forced), (2, 0), "{}", proxy.log());
    let ended = async { (python.report().await, page.report().await) };
    let ended = timeout(DEADLINE, ended).await.expect("both hear of it in time");
    assert_eq!(ended, ("ended 1001".into(), "ended 1001".into()), "{}", proxy.log());
    second.end().await;
    drop(browser);

    // The next one pings more often than the proxy gives up.
    let server = site.server().await.config(pinging(Config::default(), Some(PING_AFTER))).expect("valid");
    let mut serving = serve(server);
    client.is_told_who_it_is().await;
    client.survives_silence().await;
    serving.shutdown().await;

    // The proof that there was something to survive. Caddy ends nothing.
    if site.proxy != ReverseProxy::Caddy {
        let server = site.server().await.config(pinging(Config::default(), None)).expect("valid");
        let _serving = serve(server);
        client.is_ended_by_silence().await;
    }
}

/// A silent connection is pinged after a quarter of what the proxies are set to.
const PING_AFTER: Duration = Duration::from_millis(500);

/// So many Pings take longer than that.
const PINGS: usize = 6;

fn pinging(mut config: Config, after: Option<Duration>) -> Config {
    config.timings.ping_after = after;
    config.deflate = Some(DeflateConfig::default());
    config
}

/// Where our servers listen, one after the other.
struct Site {
    proxy: ReverseProxy,
    backend: Backend,
    /// The first one, which found the port.
    bound: Option<Server>,
}

impl Site {
    async fn bind(proxy: ReverseProxy, over: Over) -> Self {
        let (backend, bound) = match over {
            Over::Tcp => {
                let server = Server::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
                (Backend::Tcp(server.local_addr().expect("its address").port()), Some(server))
            }
            Over::Unix => {
                let name = format!("wireline-{}-{proxy:?}.sock", process::id());
                (Backend::Unix(env::temp_dir().join(name).to_str().expect("a path of text").into()), None)
            }
        };
        Self { proxy, backend, bound }
    }

    async fn server(&mut self) -> Server {
        let server = match (self.bound.take(), &self.backend) {
            (Some(server), _) => server,
            (None, Backend::Tcp(port)) => Server::bind((Ipv4Addr::LOCALHOST, *port)).await.expect("the same port"),
            (None, Backend::Unix(path)) => {
                let server = Server::bind_unix(path).await.expect("a socket");
                // Apache gives up its rights.
                fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("our own file");
                server
            }
        };
        let trusted = TrustedProxies::new(["127.0.0.1"]).expect("an address").unix_peer();
        server.trusted_proxies(trusted).path_prefix("/live").expect("a prefix")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Backend::Unix(path) = &self.backend {
            let _ = fs::remove_file(path);
        }
    }
}

/// A server of the scenario, as if in a process of its own: when it ends, so do its connections.
struct Process(Runtime);

impl Process {
    fn start(server: Server) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move { scenario::serve(server).await.expect("it serves") });
        Self(runtime)
    }

    async fn end(self) {
        spawn_blocking(move || drop(self.0)).await.expect("it ends");
    }
}

/// Runs a server that tells each connection its path and peer, and then echoes.
fn serve(server: Server) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        let served = server.serve(|mut ws, request| async move {
            let peer = request.extensions().get::<Peer>().ok_or("no peer")?;
            let address = peer.address.ok_or("no address")?;
            let scheme = peer.scheme.as_ref().map_or("-", |scheme| scheme.as_str());
            let host = peer.host.as_ref().map_or("-", |host| host.as_str());
            ws.send(format!("{} {address} {scheme} {host} {:?}", request.uri(), peer.evidence)).await?;
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        });
        served.await.expect("it serves");
    });
    task
}

/// Our client, through the proxy.
struct Through<'a> {
    proxy: &'a Running,
    certificate: &'a Certificate,
}

/// Another address than that of the proxies, which connect from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl Through<'_> {
    async fn connect(&self, path: &str, headers: &[(&str, &str)]) -> wireline::Result<WebSocket<TlsStream<TcpStream>>> {
        let stream = dial(self.proxy.port()).await;
        let tls = TlsConnector::from(self.certificate.client_config());
        let stream = tls.connect("localhost".try_into().expect("a name"), stream).await.expect("TLS");
        let mut client = Client::new(format!("wss://localhost:{}/live{path}", self.proxy.port()))?;
        // It is the server that pings.
        client = client.config(pinging(Config::default(), None))?;
        for (name, value) in headers {
            client = client.header(*name, *value)?;
        }
        let (ws, response) = client.connect_over(stream).await?;
        assert!(response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS), "compression passes the proxy");
        Ok(ws)
    }

    async fn is_told_who_it_is(&self) {
        let host = format!("localhost:{}", self.proxy.port());
        let own = format!("https://{host}");
        // Whatever the client claims, and from a page of the same host.
        let forged = [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=6.6.6.6;host=evil.example"),
            ("Origin", &own),
        ];
        for headers in [&forged[..0], &forged] {
            let connected = self.connect("/room?a=b", headers).await;
            let mut ws = connected.unwrap_or_else(|error| panic!("{error}: {}", self.proxy.log()));
            let told = ws.next().await.expect("a message").expect("no error");
            assert_eq!(told.as_text(), Some(&*format!("/room?a=b {CLIENT} https {host} XForwarded")), "{headers:?}");
        }
        for origin in ["https://evil.example", &format!("http://{host}")] {
            let refused = self.connect("/", &[("X-Forwarded-Host", "evil.example"), ("Origin", origin)]).await;
            assert!(refused.is_err(), "{origin}");
        }
    }

    async fn survives_silence(&self) {
        let mut ws = self.connect("/", &[]).await.expect("connected");
        let mut pings = 0;
        while pings < PINGS {
            match timeout(DEADLINE, ws.next_event()).await.expect("a Ping in time") {
                Some(Ok(Event::Ping(_))) => pings += 1,
                Some(Ok(Event::Message(_))) => {}
                other => panic!("expected Pings, got {other:?}: {}", self.proxy.log()),
            }
        }
        ws.send("still here").await.expect("sent");
        let answer = ws.next().await.expect("a message").expect("no error");
        assert_eq!(answer.as_text(), Some("still here"));
    }

    async fn is_ended_by_silence(&self) {
        let mut ws = self.connect("/", &[]).await.expect("connected");
        let told = ws.next().await.expect("a message");
        assert!(told.is_ok());
        let next = timeout(DEADLINE, ws.next()).await.expect("the proxy ends it in time");
        assert!(!matches!(next, Some(Ok(_))), "{next:?}");
    }
}

async fn dial(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((CLIENT, 0).into()).expect("an address of this machine");
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.expect("the proxy listens")
}

/// TLS is our own, behind the header.
async fn announced_by(proxy: ReverseProxy) {
    if skipped() {
        return;
    }
    let certificate = Certificate::new();
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let backend = Backend::Tcp(server.local_addr().expect("its address").port());
    let trusted = TrustedProxies::new(["127.0.0.1"]).expect("an address");
    let server = server.trusted_proxies(trusted).proxy_protocol(ProxyProtocol::Trusted);
    let _serving = serve(server.tls(certificate.server_config()));
    let proxy = proxy.start(&backend, &certificate).await;

    let tls = TlsConnector::from(Arc::clone(&certificate.client_config()));
    let name = "localhost".try_into().expect("a name");
    let stream = tls.connect(name, dial(proxy.port()).await).await.expect("TLS");
    let client =
        Client::new("wss://localhost/").expect("a URL").header("X-Forwarded-For", "6.6.6.6").expect("a header");
    let (mut ws, _) = timeout(DEADLINE, client.connect_over(stream)).await.expect("in time").expect("connected");
    let told = ws.next().await.expect("a message").expect("no error");
    assert_eq!(told.as_text(), Some(&*format!("/ {CLIENT} https - ProxyProtocol")), "{}", proxy.log());
}
