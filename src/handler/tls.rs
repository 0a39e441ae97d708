use std::fmt;

use crate::tls::Session;

/// A TLS handshake that is about to happen over `S`: the stream, and how to do it.
///
/// The hooks [`upgrade_ssl_client`](crate::handler::Handler::upgrade_ssl_client) and
/// [`upgrade_ssl_server`](crate::handler::Handler::upgrade_ssl_server) make one and return at once; the handshake itself is
/// done afterwards, within `handshake_timeout`. It cannot be read from or written to.
///
/// ```no_run
/// use wireline::handler::{Handler, Result, util::{SslStream, TcpStream}};
///
/// struct Secured(std::sync::Arc<rustls::ServerConfig>);
///
/// impl Handler for Secured {
///     fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
///         Ok(SslStream::server(stream, self.0.clone()))
///     }
/// }
/// ```
pub struct SslStream<S> {
    stream: S,
    session: Session,
}

impl<S> SslStream<S> {
    pub(crate) const fn new(stream: S, session: Session) -> Self {
        Self { stream, session }
    }

    /// A server's handshake with the configuration that its `WebSocket` was given by
    /// [`with_tls`](crate::handler::WebSocket::with_tls).
    #[must_use]
    pub const fn server_default(stream: S) -> Self {
        Self::new(stream, Session::Server(None))
    }

    /// The stream below.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream below, to set options of it.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream below, without TLS.
    pub fn into_inner(self) -> S {
        self.stream
    }

    pub(crate) fn into_parts(self) -> (S, Session) {
        (self.stream, self.session)
    }
}

#[cfg(feature = "tls-no-provider")]
impl<S> SslStream<S> {
    /// A client's handshake: the server's certificate must be for `name`, which is also sent as SNI.
    pub const fn client(
        stream: S,
        config: std::sync::Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> Self {
        Self::new(stream, Session::Client(config, name))
    }

    /// A server's handshake.
    pub const fn server(stream: S, config: std::sync::Arc<rustls::ServerConfig>) -> Self {
        Self::new(stream, Session::Server(Some(crate::tls::TlsAcceptor::own(config))))
    }
}

impl<S: fmt::Debug> fmt::Debug for SslStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
