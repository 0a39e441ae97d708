use tokio::net::TcpStream;

use crate::{Result, proto::Misuse, transport::Transport};

/// Stands in for a TLS client configuration, and has no value by name, as that has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConnector(());

impl TlsConnector {
    #[expect(clippy::unused_async, reason = "the same signature as with TLS")]
    pub(crate) async fn connect(&self, _: &str, _: TcpStream) -> Result<Transport> {
        Err(Misuse::InvalidRequest("wss URLs need wireline's feature `tls`").into())
    }
}

/// Stands in for a TLS server configuration, of which there is none.
#[derive(Clone, Debug)]
pub(crate) enum TlsAcceptor {}

impl TlsAcceptor {
    #[expect(clippy::unused_async, reason = "the same signature as with TLS")]
    pub(crate) async fn accept(&self, _: TcpStream) -> Result<Transport> {
        match *self {}
    }
}

/// A TLS handshake that is about to happen, and cannot.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    Server(Option<TlsAcceptor>),
}

impl Session {
    pub(crate) fn to(_: &str) -> Result<Self> {
        Err(Misuse::InvalidRequest("wss URLs need wireline's feature `tls`").into())
    }

    #[expect(clippy::unused_async, reason = "the same signature as with TLS")]
    pub(crate) async fn handshake(self, _: TcpStream, _: Option<TlsAcceptor>) -> Result<Transport> {
        Err(Misuse::InvalidConfig("TLS needs wireline's feature `tls`").into())
    }
}
