//! The example `tls_server`: its certificate, what it says about protocols, and a new certificate without a restart.

use std::{fs, process::Stdio, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wireline::{Client, Message, WebSocket};

use super::{DEADLINE, certificate::Certificate, directory::Directory, skipped};

#[tokio::test]
async fn tls_server_shows_its_certificate_and_then_the_one_that_replaces_it() {
    if skipped() {
        return;
    }
    timeout(5 * DEADLINE, played()).await.expect("done in time");
}

async fn played() {
    let (first, second) = (Certificate::new(), Certificate::new());
    let files = Directory::new();
    let install = |certificate: &Certificate| {
        let copy = |from, to| fs::copy(from, files.path().join(to)).expect("a file under target");
        copy(certificate.certificate_file(), "cert.pem");
        copy(certificate.key_file(), "key.pem");
    };
    install(&first);
    let mut server = TlsServer::start(&files).await;
    let mut before = server.connect(&first).await.expect("open");
    echoes(&mut before).await;
    assert!(server.connect(&second).await.is_err(), "another authority signed it");

    install(&second);
    server.renew().await;
    echoes(&mut server.connect(&second).await.expect("open with the new certificate")).await;
    assert!(server.connect(&first).await.is_err(), "the first is not shown any more");
    echoes(&mut before).await;
}

async fn echoes(ws: &mut WebSocket<TlsStream<TcpStream>>) {
    ws.send("hello").await.expect("sent");
    assert_eq!(ws.next().await.expect("an echo").expect("no error"), Message::from("hello"));
}

/// The running example.
struct TlsServer {
    program: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl TlsServer {
    /// Returns once it listens; it may have to be built before.
    async fn start(files: &Directory) -> Self {
        let mut program = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", "--quiet", "--example", "tls_server", "--", "127.0.0.1:0"])
            .args(["cert.pem", "key.pem"].map(|name| files.path().join(name)))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("cargo runs");
        let mut lines = BufReader::new(program.stdout.take().expect("it is piped")).lines();
        let line = lines.next_line().await.expect("text").unwrap_or_default();
        let port = line.strip_prefix("listening on wss://127.0.0.1:").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the example printed {line:?}"));
        Self { program, lines, port }
    }

    /// Cargo has become the program that it runs.
    async fn renew(&mut self) {
        let id = self.program.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().await.expect("kill runs").success());
        let line = self.lines.next_line().await.expect("text");
        assert_eq!(line.as_deref(), Some("the certificate was read anew"));
    }

    /// A client that trusts this certificate's authority, and would rather speak HTTP/2.
    async fn connect(&self, trusted: &Certificate) -> wireline::Result<WebSocket<TlsStream<TcpStream>>> {
        let mut config = ClientConfig::clone(&trusted.client_config());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (ws, _) = Client::new(format!("wss://localhost:{}", self.port))?.connect_over(stream).await?;
        Ok(ws)
    }
}
