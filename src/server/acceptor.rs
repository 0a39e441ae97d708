use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{Request, StatusCode, Uri, uri::Scheme};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config, Result, WebSocket,
    proto::{
        Misuse,
        deflate::DeflateConfig,
        forwarded::{Endpoint, Evidence, TrustedProxies},
        handshake::{Acceptance, Judged, Opening, Refusal, asks_for_websocket, judge, judge_page},
    },
    server::{Origins, Tracker, announced, pages::Pages},
    websocket::{self, Entry, Judging, Turned, until_cut},
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

type Decision = Result<Acceptance, Refusal>;
type Deciding = Pin<Box<dyn Future<Output = Decision> + Send>>;
type HookTo<T> = dyn Fn(&Request<()>) -> T + Send + Sync;

#[derive(Clone)]
enum Hook {
    Now(Arc<HookTo<Decision>>),
    Later(Arc<HookTo<Deciding>>),
}

/// What a server knows of a stream beside its bytes.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) endpoint: Endpoint,
    pub(super) evidence: Evidence,
    /// Of our own TLS; `None` where a proxy may have ended TLS.
    pub(super) scheme: Option<Scheme>,
}

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
    hook: Option<Hook>,
    pub(super) pages: Option<Pages>,
    trusted: Arc<TrustedProxies>,
    prefix: Option<Arc<str>>,
    tracker: Option<Tracker>,
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
        Self { hook: Some(Hook::Now(Arc::new(hook))), ..self }
    }

    /// The same with a hook that waits, to look up a token for instance: within [`Timings::handshake`](crate::Timings), and
    /// before the connection is open. It takes what it needs from the request; it is dropped when the peer takes too long.
    ///
    /// In the place of any [`on_request`](Self::on_request) before. What it finds can go to the application with
    /// [`Acceptance::extension`].
    ///
    /// ```
    /// use http::{StatusCode, header};
    /// use wireline::server::{Acceptance, Acceptor, Refusal};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// async fn look_up(token: &str) -> Option<User> {
    ///     # tokio::task::yield_now().await;
    ///     (token == "Bearer secret").then(|| User("alice".into()))
    /// }
    ///
    /// let acceptor = Acceptor::new().on_request_async(|request| {
    ///     let token = request.headers().get(header::AUTHORIZATION).cloned();
    ///     async move {
    ///         let token = token.as_ref().and_then(|token| token.to_str().ok()).unwrap_or_default();
    ///         match look_up(token).await {
    ///             Some(user) => Ok(Acceptance::new().extension(user)),
    ///             None => Err(Refusal::new(StatusCode::UNAUTHORIZED)),
    ///         }
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_request_async<Fut>(self, hook: impl Fn(&Request<()>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<Acceptance, Refusal>> + Send + 'static,
    {
        Self { hook: Some(Hook::Later(Arc::new(move |request| Box::pin(hook(request))))), ..self }
    }

    /// Believes these proxies about who the client is. Default: none.
    ///
    /// The [`Peer`](super::Peer) is among the request's extensions; its scheme and host are those that the origin must match.
    /// It takes [`accept_from`](Self::accept_from) to know whom a stream comes from; before
    /// [`upgrade`](Self::upgrade), put the peer of [`TrustedProxies::peer`] among the request's extensions.
    #[must_use]
    pub fn trusted_proxies(self, trusted: TrustedProxies) -> Self {
        Self { trusted: Arc::new(trusted), ..self }
    }

    /// Answers only below this path, `/chat` for instance, and takes it off the request's: `/chat/room?x` becomes `/room?x`
    /// and `/chat` becomes `/`. Other paths get 404. For a proxy that passes on a part of its site, path unchanged.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`]: the prefix does not begin with `/`, ends with it, or cannot be the path of a request.
    ///
    /// ```
    /// use wireline::server::Acceptor;
    /// assert!(Acceptor::new().path_prefix("/chat").is_ok());
    /// assert!(Acceptor::new().path_prefix("chat/").is_err());
    /// ```
    pub fn path_prefix(self, prefix: &str) -> Result<Self> {
        let is_path = prefix.parse::<Uri>().is_ok_and(|uri| uri.path() == prefix && uri.authority().is_none());
        if !prefix.starts_with('/') || prefix.ends_with('/') || !is_path {
            return Err(Misuse::InvalidConfig("a path prefix begins with / and does not end with it").into());
        }
        Ok(Self { prefix: Some(prefix.into()), ..self })
    }

    /// Holds the connections that open by these rules, so that they can be ended together. Default: none.
    ///
    /// ```
    /// use wireline::server::{Acceptor, Tracker};
    /// let tracker = Tracker::new();
    /// let acceptor = Acceptor::new().tracker(&tracker);
    /// ```
    #[must_use]
    pub fn tracker(self, tracker: &Tracker) -> Self {
        Self { tracker: Some(tracker.clone()), ..self }
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
        self.accept_arrived(stream, None).await
    }

    /// The same for a stream of which is known where it comes from: by that and by what
    /// [`trusted_proxies`](Self::trusted_proxies) say, a [`Peer`](super::Peer) is among the request's extensions, for the
    /// hook too.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use wireline::server::{Acceptor, Peer, TrustedProxies};
    /// let acceptor = Acceptor::new().trusted_proxies(TrustedProxies::new(["127.0.0.1"])?);
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
    /// let (stream, address) = listener.accept().await?;
    /// let (ws, request) = acceptor.accept_from(stream, address).await?;
    /// println!("{:?}", request.extensions().get::<Peer>());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept_from<S>(&self, stream: S, endpoint: impl Into<Endpoint>) -> Result<(WebSocket<S>, Request<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let arrived = Arrived { endpoint: endpoint.into(), evidence: Evidence::Socket, scheme: None };
        self.accept_arrived(stream, Some(arrived)).await
    }

    async fn accept_arrived<S>(&self, stream: S, arrived: Option<Arrived>) -> Result<(WebSocket<S>, Request<()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let entry = self.enter();
        let deadline = Some(self.config.timings.handshake);
        let accepting = pin!(self.accept_if(stream, arrived, deadline, entry.clone(), || Ok(())));
        until_cut(entry.as_deref(), accepting).await.map(|(ws, request)| (ws, *request))
    }

    /// The same with what a server knows beside, the deadline where it has none of its own, the entry with its tracker, and
    /// whether it has room.
    pub(super) async fn accept_if<S>(
        &self,
        stream: S,
        arrived: Option<Arrived>,
        deadline: Option<Duration>,
        entry: Option<Arc<Entry>>,
        room: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(WebSocket<S>, Box<Request<()>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let judge = |mut request: Box<Request<()>>| {
            let verdict = match self.judge(&mut request, arrived) {
                Ok(Verdict::Opens(opening)) => {
                    let judged = room().map(|()| (request, opening));
                    return Judging::Done(judged.map_err(Turned::from));
                }
                Ok(verdict) => verdict,
                Err(turned) => return Judging::Done(Err(turned)),
            };
            // Boxed, so that only those which wait pay for it.
            Judging::Waits(Box::pin(async move {
                let opening = self.wait_for(verdict, &mut request).await?;
                room()?;
                Ok((request, opening))
            }))
        };
        Box::pin(websocket::accept(stream, Arc::clone(&self.config), deadline, entry, judge)).await
    }

    pub(super) fn tracked(&self) -> Option<&Tracker> {
        self.tracker.as_ref()
    }

    pub(crate) fn enter(&self) -> Option<Arc<Entry>> {
        self.tracker.as_ref().map(Tracker::enter)
    }

    pub(crate) fn settings(&self) -> &Arc<Config> {
        &self.config
    }

    pub(super) fn trusted(&self) -> &TrustedProxies {
        &self.trusted
    }

    /// The first of our subprotocols that is among these.
    pub(crate) fn choose(&self, offered: &[String]) -> Option<&str> {
        self.subprotocols.iter().find(|name| offered.contains(name)).map(String::as_str)
    }

    /// What becomes of a request, as far as that is known without waiting for the application.
    fn judge(&self, request: &mut Request<()>, arrived: Option<Arrived>) -> Result<Verdict<'_>, Turned> {
        let pages = self.pages.as_ref().filter(|_| !asks_for_websocket(request.headers()));
        if let Some(pages) = pages {
            judge_page(request)?;
            self.tell(request, arrived);
            self.check_serving()?;
            self.strip_prefix(request)?;
            return Ok(Verdict::Shows(pages));
        }
        let judged = judge(request)?;
        self.tell(request, arrived);
        if let Some(Hook::Later(hook)) = &self.hook {
            self.admit(request)?;
            return Ok(Verdict::Asks(judged, hook(request)));
        }
        self.respond(judged, request).map(|opening| Verdict::Opens(handed_over(opening, request)))
    }

    async fn wait_for(&self, verdict: Verdict<'_>, request: &mut Request<()>) -> Result<Opening, Turned> {
        match verdict {
            Verdict::Opens(opening) => Ok(opening),
            Verdict::Asks(judged, deciding) => {
                let acceptance = deciding.await?;
                self.check_serving()?;
                self.answer(judged, acceptance).map(|opening| handed_over(opening, request))
            }
            Verdict::Shows(pages) => Err(Turned::Answered(Box::new(pages.answer(std::mem::take(request)).await))),
        }
    }

    /// Says with a request whom it comes from, where that is known.
    fn tell(&self, request: &mut Request<()>, arrived: Option<Arrived>) {
        if let Some(Arrived { endpoint, evidence, scheme }) = arrived {
            let mut peer = announced::peer(request, endpoint, evidence, &self.trusted);
            peer.scheme = peer.scheme.or(scheme);
            request.extensions_mut().insert(peer);
        }
    }

    /// The answer to a request that RFC 6455 allows, where nothing can be waited for.
    pub(crate) fn respond(&self, judged: Judged, request: &mut Request<()>) -> Result<Opening, Turned> {
        self.admit(request)?;
        let acceptance = match &self.hook {
            None => Acceptance::new(),
            Some(Hook::Now(hook)) => hook(request)?,
            Some(Hook::Later(_)) => {
                return Err(Misuse::InvalidRequest(
                    "a hook of on_request_async waits, which Acceptor::upgrade cannot; look up what is needed before it",
                )
                .into());
            }
        };
        self.answer(judged, acceptance)
    }

    /// Whether a request comes from a page that may connect.
    pub(crate) fn check_origin<T>(&self, request: &Request<T>) -> Result<(), Refusal> {
        self.origins.check(request, None)
    }

    /// Whether a request comes from a page that may connect and is below our path, which is taken off.
    fn admit(&self, request: &mut Request<()>) -> Result<(), Refusal> {
        self.check_serving()?;
        self.check_origin(request)?;
        self.strip_prefix(request)
    }

    fn strip_prefix(&self, request: &mut Request<()>) -> Result<(), Refusal> {
        // `OPTIONS *` asks about the server, whatever is below the prefix (RFC 9110 §9.3.7).
        if let Some(prefix) = self.prefix.as_ref().filter(|_| request.uri().path() != "*") {
            *request.uri_mut() = below(prefix, request.uri()).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND))?;
        }
        Ok(())
    }

    fn check_serving(&self) -> Result<(), Refusal> {
        let draining = self.tracker.as_ref().is_some_and(Tracker::is_draining);
        if draining { Err(Refusal::going_down()) } else { Ok(()) }
    }

    fn answer(&self, judged: Judged, mut acceptance: Acceptance) -> Result<Opening, Turned> {
        if acceptance.chosen().is_none()
            && let Some(chosen) = self.choose(judged.subprotocols())
        {
            acceptance = acceptance.subprotocol(chosen);
        }
        judged.open(acceptance).map_err(|misuse: Misuse| misuse.into())
    }
}

/// What is to become of a request.
enum Verdict<'a> {
    Opens(Opening),
    /// The hook is asked, and takes its time.
    Asks(Judged, Deciding),
    Shows(&'a Pages),
}

/// What the hook hands to the application goes with the request.
fn handed_over(mut opening: Opening, request: &mut Request<()>) -> Opening {
    request.extensions_mut().extend(opening.take_extensions());
    opening
}

/// The rest of a path, from its `/` on, in place of the whole.
fn below(prefix: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    let path = match rest.as_bytes().first() {
        None | Some(b'?') => format!("/{rest}"),
        Some(b'/') => rest.to_owned(),
        _ => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
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
