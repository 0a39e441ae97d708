use std::{fmt, sync::Arc, time::Duration};

use http::{Request, Response, uri::Scheme};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config, Result, WebSocket,
    proto::{
        Misuse,
        deflate::DeflateConfig,
        handshake::{Acceptance, Judged, Refusal, judge},
    },
    server::Origins,
    websocket::{self, Turned},
};

/// Accepts a connection over a stream with all defaults. [`Acceptor`] has the choices.
///
/// # Errors
///
/// [`Error::Handshake`](crate::Error::Handshake) if the request was refused: the peer has been told why.
/// [`Error::Network`](crate::Error::Network) and [`Error::Timeout`](crate::Error::Timeout) if it left or took too long.
///
/// # Cancel safety
///
/// Dropping the future drops the stream.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
/// let (stream, _) = listener.accept().await?;
/// let mut ws = wireline::accept(stream).await?;
/// while let Some(message) = ws.next().await {
///     ws.feed(message?).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<WebSocket<S>> {
    let (ws, _) = Acceptor::new().accept(stream).await?;
    Ok(ws)
}

type Hook = dyn Fn(&Request<()>) -> Result<Acceptance, Refusal> + Send + Sync;

/// Accepts connections by these rules. Cheap to clone.
///
/// ```no_run
/// # async fn example(stream: tokio::net::TcpStream) -> wireline::Result<()> {
/// use wireline::server::{Acceptance, Acceptor, Refusal};
/// let acceptor = Acceptor::new().subprotocols(["chat.v2", "chat.v1"]).on_request(|request| {
///     if request.uri().path() == "/chat" {
///         Ok(Acceptance::new())
///     } else {
///         Err(Refusal::new(http::StatusCode::NOT_FOUND).body("there is only /chat here\n"))
///     }
/// });
/// let (ws, request) = acceptor.accept(stream).await?;
/// println!("{} speaks {:?}", request.uri(), ws.subprotocol());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Acceptor {
    config: Arc<Config>,
    origins: Origins,
    subprotocols: Arc<[String]>,
    hook: Option<Arc<Hook>>,
}

impl Acceptor {
    /// The defaults: every request that RFC 6455 allows, from pages of the same host or from no page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
    /// let acceptor = wireline::server::Acceptor::new().config(config)?;
    /// # Ok::<(), wireline::Error>(())
    /// ```
    pub fn config(self, config: Config) -> Result<Self> {
        config.validate()?;
        Ok(Self { config: Arc::new(config), ..self })
    }

    /// Compresses messages for clients that offer it; [`Config::deflate`] by a method of its own.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`]: a setting is out of its range.
    ///
    /// ```
    /// # #[cfg(feature = "deflate")] {
    /// use wireline::{proto::deflate::DeflateConfig, server::Acceptor};
    /// let acceptor = Acceptor::new().deflate(DeflateConfig::default())?;
    /// # }
    /// # Ok::<(), wireline::Error>(())
    /// ```
    pub fn deflate(self, deflate: DeflateConfig) -> Result<Self> {
        let config = Config { deflate: Some(deflate), ..Config::clone(&self.config) };
        self.config(config)
    }

    /// Sets which web pages may connect. Default [`Origins::SameHost`].
    ///
    /// ```
    /// use wireline::server::{Acceptor, Origins};
    /// let acceptor = Acceptor::new().origins(Origins::List(vec!["https://example.com".into()]));
    /// ```
    #[must_use]
    pub fn origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Speaks these subprotocols, the preferred one first: the first that the client offers is chosen, and none if it
    /// offers none of them. The hook of [`on_request`](Self::on_request) may choose differently.
    #[must_use]
    pub fn subprotocols<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Self {
        Self { subprotocols: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Looks at every request that RFC 6455 and the origin rule allow, and accepts it (with headers or a subprotocol of
    /// its choice) or refuses it with any status, headers and body.
    #[must_use]
    pub fn on_request(
        self,
        hook: impl Fn(&Request<()>) -> Result<Acceptance, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }

    /// Accepts one connection. Beside it comes the request, for its path and headers.
    ///
    /// # Errors
    ///
    /// As [`accept`]; and [`Error::Caller`](crate::Error::Caller) if the hook chose what cannot be sent (a subprotocol that
    /// was not offered, a header of the handshake's own): the peer was told 500.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn accept<S>(&self, stream: S) -> Result<(WebSocket<S>, Request<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_if(stream, None, Some(self.config.timings.handshake), || Ok(())).await
    }

    /// The same with what a server knows beside: the scheme, the deadline where it has none of its own, and whether it has
    /// room.
    pub(super) async fn accept_if<S>(
        &self,
        stream: S,
        scheme: Option<Scheme>,
        deadline: Option<Duration>,
        room: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(WebSocket<S>, Request<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let judge = |request: &Request<()>| {
            let response = self.respond(judge(request)?, request, scheme.as_ref())?;
            room()?;
            Ok(response)
        };
        Box::pin(websocket::accept(stream, Arc::clone(&self.config), deadline, judge)).await
    }

    pub(crate) fn settings(&self) -> &Arc<Config> {
        &self.config
    }

    /// The first of our subprotocols that is among these.
    pub(crate) fn choose(&self, offered: &[String]) -> Option<&str> {
        self.subprotocols.iter().find(|name| offered.contains(name)).map(String::as_str)
    }

    /// The answer to a request that RFC 6455 allows.
    pub(crate) fn respond(
        &self,
        judged: Judged,
        request: &Request<()>,
        scheme: Option<&Scheme>,
    ) -> Result<Response<()>, Turned> {
        self.origins.check(request, scheme)?;
        let mut acceptance = match &self.hook {
            Some(hook) => hook(request)?,
            None => Acceptance::new(),
        };
        if acceptance.chosen().is_none()
            && let Some(chosen) = self.choose(judged.subprotocols())
        {
            acceptance = acceptance.subprotocol(chosen);
        }
        judged.respond(acceptance).map_err(|misuse: Misuse| misuse.into())
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("config", &self.config)
            .field("origins", &self.origins)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}
