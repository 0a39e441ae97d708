//! TLS under a connection, by rustls. Without the feature the same names exist and say so.

#[cfg(not(feature = "tls-no-provider"))]
mod absent;
#[cfg(feature = "tls-no-provider")]
mod session;

#[cfg(not(feature = "tls-no-provider"))]
pub(crate) use absent::{Session, TlsAcceptor, TlsConnector};
#[cfg(feature = "tls-no-provider")]
pub(crate) use session::{Session, TlsAcceptor, TlsConnector};
