//! Opening connections.

mod uri;

use std::{future::ready, sync::Arc};

use http::{HeaderName, HeaderValue, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    Config, Result, WebSocket,
    proto::{Misuse, deflate::DeflateConfig, handshake::ClientRequest},
    tls::TlsConnector,
    transport::Transport,
    websocket,
};

pub use uri::{Scheme, Target};

/// Connects to a `ws` or `wss` URL with all defaults. [`Client`] has the choices.
///
/// # Errors
///
/// [`Error::Caller`](crate::Error::Caller) for a URL that cannot be connected to, [`Error::Handshake`](crate::Error::Handshake)
/// if the server does not agree, [`Error::Network`](crate::Error::Network) and [`Error::Timeout`](crate::Error::Timeout).
///
/// # Cancel safety
///
/// Dropping the future gives the attempt up; nothing else is lost.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> wireline::Result<()> {
/// let mut ws = wireline::connect("wss://example.com/feed").await?;
/// ws.send("hello").await?;
/// while let Some(message) = ws.next().await {
///     println!("{}", message?);
/// }
/// let ending = ws.ending(); // how it ended: a value, not an error
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: impl AsRef<str>) -> Result<WebSocket<Transport>> {
    let (ws, _) = Client::new(url)?.connect().await?;
    Ok(ws)
}

/// A connection to be opened: the URL, and what to say beside it.
///
/// One `Client` can connect any number of times. One connection at a time per server is what RFC 6455 section 4.1 asks of
/// browsers; here that is the caller's choice.
///
/// ```no_run
/// # async fn example() -> wireline::Result<()> {
/// use wireline::Client;
/// let client = Client::new("wss://example.com/chat")?
///     .header("authorization", "Bearer abc")?
///     .subprotocols(["chat.v2", "chat.v1"])?;
/// let (ws, response) = client.connect().await?;
/// println!("{:?} {:?}", ws.subprotocol(), response.headers().get("server"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    request: ClientRequest,
    config: Arc<Config>,
    tls: TlsConnector,
}

impl Client {
    /// A client for a `ws` or `wss` URL.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`] says what is wrong with the URL; see [`Target::parse`].
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let target = Target::parse(url.as_ref())?;
        let request = target.request()?;
        Ok(Self { target, request, config: Arc::default(), tls: TlsConnector::default() })
    }

    /// Adds a header to the request, such as `Authorization`, `Cookie` or `Origin`, which are sent only if set here.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`]: a name or value that cannot be sent, or a header of the handshake's own.
    pub fn header(self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Result<Self> {
        let name = name.try_into().map_err(|_| Misuse::InvalidRequest("a header name must be a token"))?;
        let value =
            value.try_into().map_err(|_| Misuse::InvalidRequest("a header value must not hold CR, LF or NUL"))?;
        Ok(Self { request: self.request.header(name, value)?, ..self })
    }

    /// Offers these subprotocols, the preferred one first. Which one the server chose, if any, is
    /// [`WebSocket::subprotocol`].
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`]: a name that is not a token, or one that occurs twice; or more than 128.
    pub fn subprotocols<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self { request: self.request.subprotocols(names)?, ..self })
    }

    /// Sends another `Host` than the URL's. The connection still goes to the URL's host, and TLS still checks that name.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidRequest`]: not a host with an optional port.
    ///
    /// ```
    /// let client = wireline::Client::new("ws://127.0.0.1:8080")?.host("chat.example.com")?;
    /// # Ok::<(), wireline::Error>(())
    /// ```
    pub fn host(self, host: impl TryInto<HeaderValue>) -> Result<Self> {
        let host = host.try_into().map_err(|_| Misuse::InvalidRequest("Host must be a host with an optional port"))?;
        Ok(Self { request: self.request.host(host)?, ..self })
    }

    /// Sets limits and timings.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`]: see [`Config::validate`].
    ///
    /// ```
    /// let mut config = wireline::Config::default();
    /// config.limits.max_message = Some(1024);
    /// let client = wireline::Client::new("ws://127.0.0.1:8080")?.config(config)?;
    /// # Ok::<(), wireline::Error>(())
    /// ```
    pub fn config(self, config: Config) -> Result<Self> {
        config.validate()?;
        Ok(Self { config: Arc::new(config), ..self })
    }

    /// Offers to compress messages; [`Config::deflate`] by a method of its own.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`]: a setting is out of its range.
    ///
    /// ```
    /// # #[cfg(feature = "deflate")] {
    /// use wireline::{Client, proto::deflate::DeflateConfig};
    /// let client = Client::new("ws://127.0.0.1:8080")?.deflate(DeflateConfig::default())?;
    /// # }
    /// # Ok::<(), wireline::Error>(())
    /// ```
    pub fn deflate(self, deflate: DeflateConfig) -> Result<Self> {
        let config = Config { deflate: Some(deflate), ..Config::clone(&self.config) };
        self.config(config)
    }

    /// Connects over TCP, and TLS for `wss`, and opens the connection. `TCP_NODELAY` is set. Beside the connection it
    /// returns the server's response, for its headers. All of it, looking up the name included, has the time of
    /// [`Timings::handshake`](crate::Timings::handshake). `wss` needs the feature `tls` or `tls-no-provider`.
    ///
    /// Nothing is followed: a redirect is an error that holds the response
    /// ([`HandshakeError::Rejected`](crate::proto::handshake::HandshakeError::Rejected)).
    ///
    /// # Errors
    ///
    /// As [`connect`]; a certificate that does not hold is an [`Error::Network`](crate::Error::Network).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up.
    pub async fn connect(&self) -> Result<(WebSocket<Transport>, Response<()>)> {
        Box::pin(websocket::connect(self.dial(), Arc::clone(&self.config), &self.request)).await
    }

    /// Opens the connection over a stream that is there already: a Unix socket, a tunnel, a TLS session of your own. The
    /// URL only says what to ask for; nothing is encrypted here.
    ///
    /// # Errors
    ///
    /// As [`connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up, and the stream with it.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let stream = tokio::net::UnixStream::connect("/run/feed.sock").await?;
    /// let (ws, _) = wireline::Client::new("ws://localhost/feed")?.connect_over(stream).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_over<S>(&self, stream: S) -> Result<(WebSocket<S>, Response<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let dialed = ready(Ok(stream));
        Box::pin(websocket::connect(dialed, Arc::clone(&self.config), &self.request)).await
    }

    async fn dial(&self) -> Result<Transport> {
        let host = self.target.host();
        let stream = TcpStream::connect((&*host, self.target.port())).await?;
        stream.set_nodelay(true)?;
        match self.target.scheme() {
            Scheme::Ws => Ok(Transport::tcp(stream)),
            Scheme::Wss => self.tls.connect(&host, stream).await,
        }
    }
}

#[cfg(feature = "tls-no-provider")]
impl Client {
    /// Speaks TLS by this configuration of rustls and no other: its roots, client certificates, provider and versions.
    ///
    /// If it sets ALPN protocols, `http/1.1` must be the one agreed on.
    #[must_use]
    pub fn tls(self, config: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: TlsConnector::own(config), ..self }
    }

    /// Trusts these root certificates beside Mozilla's, for servers of a private authority.
    ///
    /// ```no_run
    /// use rustls::pki_types::{CertificateDer, pem::PemObject};
    /// let root = CertificateDer::from_pem_file("ca.pem")?;
    /// let client = wireline::Client::new("wss://intranet.example")?.root_certificates([root]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn root_certificates(
        self,
        roots: impl IntoIterator<Item = rustls::pki_types::CertificateDer<'static>>,
    ) -> Self {
        Self { tls: self.tls.trust(roots), ..self }
    }
}

#[cfg(feature = "native-roots")]
impl Client {
    /// Trusts the operating system's root certificates beside Mozilla's. Those that cannot be read are left out.
    ///
    /// ```no_run
    /// let client = wireline::Client::new("wss://intranet.example")?.native_roots();
    /// # Ok::<(), wireline::Error>(())
    /// ```
    #[must_use]
    pub fn native_roots(self) -> Self {
        self.root_certificates(rustls_native_certs::load_native_certs().certs)
    }
}
