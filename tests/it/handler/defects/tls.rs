//! TLS under the handlers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;
use wireline::handler::{
    CloseCode, Error, Factory, Handler, Handshake, Message, Result, Sender, Settings,
    util::{SslStream, TcpStream as Stream},
};

use super::stage::{
    self, Listening, Log, REQUEST, Running, Wire, build, echoes, kind, listen, listens, recording, within,
};

/// A server's certificate, and what a client needs to believe it.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        }
    }

    fn server(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key());
        Arc::new(config.expect("a certificate that fits its key"))
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A server with TLS.
fn serve<F: Factory + Send + 'static>(settings: Settings, identity: &Identity, factory: F) -> Listening<F> {
    Listening::run(build(settings, factory).bind("127.0.0.1:0").expect("a port").with_tls(identity.server()))
}

/// A client that has done its TLS handshake, and nothing else.
async fn secured(address: SocketAddr, identity: &Identity) -> Wire<TlsStream<TcpStream>> {
    let Wire(stream) = Wire::to(address).await;
    let connector = TlsConnector::from(identity.client());
    Wire(within("TLS", connector.connect(localhost(), stream)).await.expect("TLS"))
}

#[tokio::test]
async fn d7_a_hundred_of_a_hundred_requests_after_tls_are_answered_whenever_they_come() {
    let identity = Identity::new();
    let server = serve(Settings::default(), &identity, |out: Sender| move |message: Message| out.send(message));
    // Some send their requests at once, as a whole or in pieces.
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = secured(server.address, &identity).await;
        let (first, second) = REQUEST.split_at(number * REQUEST.len() / 50);
        client.send(first).await;
        client.send(second).await;
        client.opened().await;
        client.is_echoed("early").await;
        clients.push(client);
    }
    // Others while more and more has happened.
    let mut waiting = Vec::new();
    for _ in 50..100 {
        waiting.push(secured(server.address, &identity).await);
    }
    while let Some(mut client) = waiting.pop() {
        client.send(REQUEST).await;
        client.opened().await;
        client.is_echoed("late").await;
        clients.push(client);
    }
    assert_eq!(clients.len(), 100);
    drop(clients);
    server.shut_down().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn d7_a_run_that_waits_for_a_request_after_tls_does_not_spin() {
    let identity = Identity::new();
    let log = Log::new();
    let settings = Settings { handshake_timeout: Duration::from_secs(1), ..Settings::default() };
    let ws = build(settings, recording(log.clone(), listens)).bind("127.0.0.1:0").expect("a port");
    let ws = ws.with_tls(identity.server());
    let (address, sender) = (ws.local_addr().expect("it listens"), ws.broadcaster());
    let run = Running::start(|| stage::processor_time(|| ws.run().map(drop)));
    let _silent = secured(address, &identity).await;
    log.until(0, "lost").await;
    sender.shutdown().expect("it is there");
    let (result, used) = run.returns().await;
    result.expect("no error of the run");
    assert_eq!(log.of(0), ["error Io(TimedOut)", "lost"]);
    assert!(used < settings.handshake_timeout / 2, "{used:?} of processor time");
}

#[tokio::test]
async fn d9_an_idle_client_and_half_a_tls_handshake_end_by_their_timeout() {
    let log = Log::new();
    let settings = Settings { max_connections: 1, handshake_timeout: Duration::from_millis(50), ..Settings::default() };
    let server = serve(settings, &Identity::new(), recording(log.clone(), listens));
    for (id, bytes) in (0..).zip([&b""[..], HALF_A_HELLO]) {
        let mut client = Wire::to(server.address).await;
        client.send(bytes).await;
        assert_eq!(client.rest().await, b"");
        log.until(id, "lost").await;
        assert_eq!(log.of(id), ["error Io(TimedOut)", "lost"]);
    }
    server.shut_down().await;
}

const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";

/// A client that believes this certificate.
struct Believes {
    out: Sender,
    config: Arc<ClientConfig>,
    log: Log,
}

impl Handler for Believes {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.out.send("hello")
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.log.note(0, msg.into_text()?);
        self.out.close(CloseCode::Normal)
    }

    fn on_error(&mut self, err: Error) {
        self.log.note(0, kind(&err));
    }

    fn upgrade_ssl_client(&mut self, stream: Stream, _: &Url) -> Result<SslStream<Stream>> {
        Ok(SslStream::client(stream, self.config.clone(), localhost()))
    }
}

#[tokio::test]
async fn d7_a_handler_of_ours_reaches_the_server_too() {
    let identity = Identity::new();
    let server = serve(Settings::default(), &identity, |out: Sender| move |message: Message| out.send(message));
    let url = format!("wss://{}", server.address);
    let (log, config) = (Log::new(), identity.client());
    let told = log.clone();
    let make = move |out| Believes { out, config: config.clone(), log: told.clone() };
    Running::start(|| wireline::handler::connect(url, make)).returns().await.expect("no error");
    assert_eq!(log.of(0), ["hello"]);
    server.shut_down().await;
}

/// How a client fails to do its TLS handshake.
#[derive(Clone, Copy, Debug)]
enum Fails {
    Sends(&'static [u8]),
    DoesNotBelieve,
    Leaves,
}

#[tokio::test]
async fn d8_failing_tls_handshakes_leak_no_place() {
    let (identity, other) = (Identity::new(), Identity::new());
    let log = Log::new();
    let settings = Settings { max_connections: 2, ..Settings::default() };
    let server = serve(settings, &identity, recording(log.clone(), echoes));
    let rows = [
        (Fails::Sends(REQUEST.as_bytes()), "error Ssl"),
        (Fails::Sends(b"\0\0\0\0\0\0\0\0"), "error Ssl"),
        (Fails::DoesNotBelieve, "error Ssl"),
        (Fails::Leaves, "error Io(UnexpectedEof)"),
    ];
    let mut id = 0;
    for (fails, error) in rows {
        for _ in 0..2 * settings.max_connections {
            let mut client = Wire::to(server.address).await;
            match fails {
                Fails::Sends(bytes) => {
                    client.send(bytes).await;
                    client.rest().await;
                }
                Fails::DoesNotBelieve => {
                    let connector = TlsConnector::from(other.client());
                    let connected = within("TLS", connector.connect(localhost(), client.0)).await;
                    connected.expect_err("an unknown certificate");
                }
                Fails::Leaves => {
                    client.send(HALF_A_HELLO).await;
                    drop(client);
                }
            }
            log.until(id, "lost").await;
            assert_eq!(log.of(id), [error, "lost"], "{fails:?}");
            id += 1;
        }
    }
    let mut client = secured(server.address, &identity).await;
    client.send(REQUEST).await;
    client.opened().await;
    client.is_echoed("hello").await;
    drop(client);
    server.shut_down().await;
}

/// Says what it was told in full.
struct Complains(Sender, Log);

impl Handler for Complains {
    fn on_error(&mut self, err: Error) {
        self.1.note(self.0.connection_id(), err.to_string());
        self.1.note(self.0.connection_id(), "told");
    }
}

#[tokio::test]
async fn d8_tls_without_a_configuration_is_an_error_of_each_connection_and_leaks_no_place() {
    let log = Log::new();
    let told = log.clone();
    let settings = Settings { max_connections: 2, encrypt_server: true, ..Settings::default() };
    let server = listen(settings, move |out: Sender| Complains(out, told.clone()));
    for id in 0..4 {
        assert_eq!(Wire::to(server.address).await.rest().await, b"");
        log.until(id, "told").await;
        let text = log.of(id).remove(0);
        assert!(text.starts_with("WebSocket Protocol Error"), "{text}");
        assert!(text.contains("with_tls") && text.contains("upgrade_ssl_server"), "{text}");
    }
    server.shut_down().await;
}
