use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, server};

use crate::{
    Error, Result,
    proto::Misuse,
    transport::{Tls, Transport},
};

impl Tls for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// How a client speaks TLS: by default rustls' own defaults with Mozilla's roots.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConnector(Trust);

#[derive(Clone, Debug, Default)]
enum Trust {
    #[default]
    Mozilla,
    /// Mozilla's roots and these.
    And(Vec<CertificateDer<'static>>),
    /// Whatever the caller's configuration says.
    Own(Arc<ClientConfig>),
}

impl TlsConnector {
    pub(crate) fn own(config: Arc<ClientConfig>) -> Self {
        Self(Trust::Own(config))
    }

    /// Trusts these roots too; a configuration of the caller's own stays as it is.
    pub(crate) fn trust(self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self(match self.0 {
            Trust::Mozilla => Trust::And(more.into_iter().collect()),
            Trust::And(mut roots) => {
                roots.extend(more);
                Trust::And(roots)
            }
            own @ Trust::Own(_) => own,
        })
    }

    /// Speaks TLS to a server whose certificate must be for `host`, which is also sent as SNI.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> Result<Transport> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NO_NAME)?;
        Session::Client(self.config()?, name).handshake(stream, None).await
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        static MOZILLA: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        match &self.0 {
            Trust::Own(config) => Ok(Arc::clone(config)),
            Trust::And(more) => client_config(more),
            Trust::Mozilla => match MOZILLA.get() {
                Some(config) => Ok(Arc::clone(config)),
                None => Ok(Arc::clone(MOZILLA.get_or_init({
                    let config = client_config(&[])?;
                    || config
                }))),
            },
        }
    }
}

/// A TLS handshake that is about to happen.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    Client(Arc<ClientConfig>, ServerName<'static>),
    /// Without a configuration, by whatever is the default where it happens.
    Server(Option<TlsAcceptor>),
}

impl Session {
    /// A client's, with Mozilla's roots.
    pub(crate) fn to(host: &str) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NO_NAME)?;
        Ok(Self::Client(TlsConnector::default().config()?, name))
    }

    pub(crate) async fn handshake(self, stream: TcpStream, default: Option<TlsAcceptor>) -> Result<Transport> {
        match self {
            Self::Client(config, name) => {
                let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
                Ok(Transport::tls(TlsStream::from(stream)))
            }
            Self::Server(own) => match own.or(default) {
                Some(acceptor) => acceptor.accept(stream).await,
                None => Err(Misuse::InvalidConfig("no TLS configuration").into()),
            },
        }
    }
}

const NO_NAME: Misuse = Misuse::InvalidRequest("the URL's host cannot be the name of a certificate");

fn client_config(more: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in more {
        roots.add(root.clone()).map_err(|_| Misuse::InvalidConfig("a root certificate cannot be read"))?;
    }
    let config = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Network(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// rustls' own default provider, passed on and never installed for the whole process.
#[cfg(feature = "tls")]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as without a provider")]
fn provider() -> Result<Arc<CryptoProvider>> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(not(feature = "tls"))]
fn provider() -> Result<Arc<CryptoProvider>> {
    let missing = Misuse::InvalidConfig("without the feature `tls` a rustls configuration or provider must be given");
    CryptoProvider::get_default().cloned().ok_or_else(|| missing.into())
}

/// How a server speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsAcceptor(Arc<ServerConfig>);

impl TlsAcceptor {
    pub(crate) const fn own(config: Arc<ServerConfig>) -> Self {
        Self(config)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Transport> {
        let stream: server::TlsStream<TcpStream> =
            tokio_rustls::TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await?;
        Ok(Transport::tls(TlsStream::from(stream)))
    }
}
