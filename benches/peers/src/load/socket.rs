//! Connections to a server: TCP, TLS on demand, and the opening handshake.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use socket2::SockRef;
use std::os::fd::AsRawFd;
use wireline_peers::Failure;

/// How long anything may take before the window.
const PATIENCE: Duration = Duration::from_secs(10);

/// RFC 6455 section 1.3 has the key and what must come back for it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

pub(crate) fn request(address: SocketAddr, deflate: Deflate) -> Vec<u8> {
    let extensions = match deflate {
        Deflate::Offered => format!("Sec-WebSocket-Extensions: {OFFER}\r\n"),
        Deflate::NotOffered => String::new(),
    };
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
    .into_bytes()
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deflate {
    Offered,
    NotOffered,
}

/// Whether a response opens the connection.
pub(crate) fn judge(head: &[u8]) -> Result<(), Failure> {
    let head = String::from_utf8_lossy(head);
    if !head.starts_with("HTTP/1.1 101") {
        return Err(format!("the handshake is answered with {:?}", head.lines().next().unwrap_or_default()).into());
    }
    if !head.contains(ACCEPT) {
        return Err("the handshake is answered with another accept value".into());
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Socket {
    /// A blocking connection, which will be reset when it is dropped: thousands must leave no TIME_WAIT.
    pub(crate) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        reset_on_close(&stream)?;
        Ok(match tls {
            None => Self::Plain(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                Self::Tls(Box::new(ClientConnection::new(Arc::clone(config), name)?), stream)
            }
        })
    }

    /// The opening handshake, and whether permessage-deflate was agreed on.
    pub(crate) fn upgrade(&mut self, deflate: Deflate) -> Result<Deflate, Failure> {
        let request = request(self.stream().peer_addr()?, deflate);
        self.send(&request)?;
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match self.read(&mut buffer)? {
                0 => return Err("the server hung up in the handshake".into()),
                read => head.extend_from_slice(&buffer[..read]),
            }
        }
        judge(&head)?;
        let agreed = String::from_utf8_lossy(&head).to_lowercase().contains("permessage-deflate");
        Ok(if agreed { Deflate::Offered } else { Deflate::NotOffered })
    }

    /// Writes all of it, while the connection still blocks.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// No more blocking from here on: what has happened is reported to the poll under this number.
    pub(crate) fn register(&self, registry: &Registry, token: usize) -> io::Result<()> {
        self.stream().set_nonblocking(true)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.stream().as_raw_fd()), Token(token), interests)
    }

    /// Whether a read that does not fill its buffer leaves nothing in the socket.
    pub(crate) fn short_read_is_last(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls(_, stream) => stream,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(connection, stream) => loop {
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                flush(connection, stream)?;
                if connection.read_tls(stream)? == 0 {
                    return Ok(0);
                }
                connection.process_new_packets().map_err(io::Error::other)?;
            },
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(connection, stream) => {
                flush(connection, stream)?;
                let taken = connection.writer().write(bytes)?;
                flush(connection, stream)?;
                if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
            }
        }
    }

    /// Writes what TLS holds back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(connection, stream) => flush(connection, stream),
        }
    }
}

pub(crate) fn reset_on_close(stream: &impl std::os::fd::AsFd) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn flush(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            done => done?,
        };
    }
    Ok(())
}

/// TLS as a client speaks it by default, except that any certificate will do: the server has made its own.
pub(crate) fn tls() -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
