//! An extractor for axum 0.8, in the manner of `axum::extract::ws`.
//!
//! ```
//! use axum::{Router, response::Response, routing::any};
//! use wireline::upgrade::axum::WebSocketUpgrade;
//!
//! async fn echo(upgrade: WebSocketUpgrade) -> Response {
//!     upgrade.on_upgrade(|mut ws| async move {
//!         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
//!         Ok(())
//!     })
//! }
//!
//! // `any`, because over HTTP/2 the method is CONNECT (RFC 8441).
//! let app: Router = Router::new().route("/echo", any(echo));
//! ```
//!
//! The handler is async and runs before anything is answered: what has to be looked up first, such as who the user is, is
//! looked up there, and the handler answers what it likes if it likes to refuse. The rules for all connections are an
//! [`Acceptor`], made once and kept in the router's state:
//!
//! ```
//! use axum::{Router, extract::State, http::{HeaderMap, StatusCode, header}, response::Response, routing::any};
//! use wireline::{WebSocket, server::{Acceptor, BoxError, Origins}, upgrade::{axum::WebSocketUpgrade, hyper::Upgraded}};
//!
//! async fn chat(
//!     State(acceptor): State<Acceptor>,
//!     headers: HeaderMap,
//!     upgrade: WebSocketUpgrade,
//! ) -> Result<Response, StatusCode> {
//!     let token = headers.get(header::AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
//!     let user = user_of(token.as_bytes()).await.ok_or(StatusCode::FORBIDDEN)?;
//!     Ok(upgrade.acceptor(acceptor).on_upgrade(|ws| greet(ws, user)))
//! }
//!
//! async fn greet(mut ws: WebSocket<Upgraded>, user: String) -> Result<(), BoxError> {
//!     ws.send(format!("hello, {user}")).await?;
//!     Ok(())
//! }
//!
//! # async fn user_of(token: &[u8]) -> Option<String> { Some(String::from_utf8(token.to_vec()).ok()?) }
//! let mut config = wireline::Config::default();
//! config.limits.max_message = Some(64 * 1024);
//! let acceptor = Acceptor::new()
//!     .config(config)?
//!     .origins(Origins::List(vec!["https://example.com".into()]))
//!     .subprotocols(["chat.v2", "chat.v1"]);
//! let app: Router = Router::new().route("/chat", any(chat)).with_state(acceptor);
//! # Ok::<(), wireline::Error>(())
//! ```

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode, Version, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Config, Error, Result, WebSocket,
    logging::{ConnectionSpan, Log},
    metrics,
    proto::{
        deflate::DeflateConfig,
        handshake::{HandshakeError, Judged, Refusal, judge, judge_extended_connect},
    },
    server::{Acceptor, BoxError, Origins, Tracker},
    upgrade::hyper::{Guard, Pending, Upgraded, protocol},
    websocket::now,
};

/// A request to open a connection, by GET over HTTP/1.1 or by extended CONNECT over HTTP/2: an extractor.
///
/// The rules of RFC 6455 and RFC 8441 are judged before the handler runs, and a request that breaks one is answered with
/// the [`Refusal`] that says which. What the handler may still choose is judged by [`on_upgrade`](Self::on_upgrade).
///
/// So is `Origin`, unless the [`Acceptor`] is an extension of the request. **Without that a handler runs for pages of any
/// origin**, and must not have changed anything by then that such a page may not change. With it, handlers run only for the
/// pages of that acceptor, whose rules are also those that the upgrade begins with:
///
/// ```
/// use axum::{Extension, Router, response::Response, routing::any};
/// use wireline::{server::{Acceptor, Origins}, upgrade::axum::WebSocketUpgrade};
///
/// async fn chat(upgrade: WebSocketUpgrade) -> Response {
///     // Nobody comes here from another site.
///     upgrade.on_upgrade(|ws| async move { Ok(drop(ws)) })
/// }
///
/// let acceptor = Acceptor::new().origins(Origins::List(vec!["https://example.com".into()]));
/// let app: Router = Router::new().route("/chat", any(chat)).layer(Extension(acceptor));
/// ```
///
/// The module has examples.
#[must_use = "the connection opens when `on_upgrade`'s response is returned"]
pub struct WebSocketUpgrade {
    acceptor: Acceptor,
    judged: Judged,
    head: Request<()>,
    pending: Pending,
    on_failed_upgrade: Box<dyn FnOnce(Error) + Send>,
}

impl WebSocketUpgrade {
    /// Accepts by these rules, in place of the defaults and of everything chosen before.
    pub fn acceptor(self, acceptor: Acceptor) -> Self {
        Self { acceptor, ..self }
    }

    /// Sets limits and timings: [`Acceptor::config`]. The handshake's own are those of hyper's server, but for
    /// [`Timings::handshake`](crate::Timings::handshake), within which it must have sent the response.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::config`]; as a response it is 500.
    ///
    /// ```
    /// use axum::response::Response;
    /// use wireline::upgrade::axum::WebSocketUpgrade;
    /// async fn echo(upgrade: WebSocketUpgrade) -> wireline::Result<Response> {
    ///     let mut config = wireline::Config::default();
    ///     config.limits.max_message = Some(1024);
    ///     Ok(upgrade.config(config)?.on_upgrade(|ws| async move { Ok(drop(ws)) }))
    /// }
    /// ```
    pub fn config(self, config: Config) -> Result<Self> {
        Ok(Self { acceptor: self.acceptor.config(config)?, ..self })
    }

    /// Compresses messages for clients that offer it: [`Acceptor::deflate`].
    ///
    /// # Errors
    ///
    /// As [`Acceptor::deflate`]; as a response it is 500.
    pub fn deflate(self, deflate: DeflateConfig) -> Result<Self> {
        Ok(Self { acceptor: self.acceptor.deflate(deflate)?, ..self })
    }

    /// Sets which web pages may connect: [`Acceptor::origins`]. Default [`Origins::SameHost`].
    pub fn origins(self, origins: Origins) -> Self {
        Self { acceptor: self.acceptor.origins(origins), ..self }
    }

    /// Holds the connection, so that it can be ended with others: [`Acceptor::tracker`]. [`Tracker::drain_on`] has an example.
    pub fn tracker(self, tracker: &Tracker) -> Self {
        Self { acceptor: self.acceptor.tracker(tracker), ..self }
    }

    /// Speaks these subprotocols, the preferred one first: [`Acceptor::subprotocols`].
    ///
    /// ```
    /// use axum::response::Response;
    /// use wireline::upgrade::axum::WebSocketUpgrade;
    /// async fn chat(upgrade: WebSocketUpgrade) -> Response {
    ///     let upgrade = upgrade.protocols(["chat.v2", "chat.v1"]);
    ///     let is_new = upgrade.selected_protocol() == Some("chat.v2");
    ///     upgrade.on_upgrade(move |mut ws| async move {
    ///         ws.send(if is_new { "new" } else { "old" }).await?;
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn protocols<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Self {
        Self { acceptor: self.acceptor.subprotocols(names), ..self }
    }

    /// The subprotocols that the client offers, in its order of preference.
    #[must_use]
    pub fn requested_protocols(&self) -> &[String] {
        self.judged.subprotocols()
    }

    /// The subprotocol that [`protocols`](Self::protocols) comes to.
    #[must_use]
    pub fn selected_protocol(&self) -> Option<&str> {
        self.acceptor.choose(self.judged.subprotocols())
    }

    /// Is told why the connection did not open although the handler wanted it to: [`Error::Handshake`] for a request that
    /// [`on_upgrade`](Self::on_upgrade) refuses, else what [`Upgrading`](super::hyper::Upgrading) fails with. By default it
    /// is logged.
    ///
    /// ```
    /// use axum::response::Response;
    /// use wireline::upgrade::axum::WebSocketUpgrade;
    /// async fn echo(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade
    ///         .on_failed_upgrade(|error| eprintln!("{error}"))
    ///         .on_upgrade(|ws| async move { Ok(drop(ws)) })
    /// }
    /// ```
    pub fn on_failed_upgrade(self, callback: impl FnOnce(Error) + Send + 'static) -> Self {
        Self { on_failed_upgrade: Box::new(callback), ..self }
    }

    /// The response that opens the connection, or the refusal; the connection runs in a task of its own.
    ///
    /// When the callback's future ends, or drops its `WebSocket`, what was fed is sent and the connection is closed: with
    /// 1000 after `Ok`, with 1011 after `Err` or a panic. It may use `?` on any error.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use = "the connection opens when this response is returned"]
    pub fn on_upgrade<F, Fut>(self, callback: F) -> Response
    where
        F: FnOnce(WebSocket<Upgraded>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let span = ConnectionSpan::of(&self.head);
        let upgrade = match self.acceptor.agree_to(self.judged, self.head) {
            Ok(upgrade) => upgrade,
            Err(refusal) => {
                (self.on_failed_upgrade)(HandshakeError::Refused(refusal.clone()).into());
                return refusal.into_response().map(Body::from);
            }
        };
        let (response, upgrading) = self.pending.open(upgrade, span);
        let on_failed_upgrade = self.on_failed_upgrade;
        spawn(async move {
            if let Err(error) = upgrading.serve(callback).await {
                on_failed_upgrade(error);
            }
        });
        response.map(|()| Body::empty())
    }
}

/// Opens WebSockets only where their own response leaves the router: a layer of [`Guard`]s, for outside of all layers that
/// may replace a response.
///
/// ```
/// use axum::{Router, http::StatusCode, middleware, response::Response, routing::any};
/// use wireline::upgrade::axum::{GuardLayer, WebSocketUpgrade};
///
/// async fn echo(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.on_upgrade(|ws| async move { Ok(drop(ws)) })
/// }
///
/// async fn at_night(response: Response) -> Result<Response, StatusCode> {
///     if is_night() { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(response) }
/// }
/// # fn is_night() -> bool { true }
///
/// // The last layer is the outermost.
/// let app: Router = Router::new()
///     .route("/echo", any(echo))
///     .layer(middleware::map_response(at_night))
///     .layer(GuardLayer::new());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardLayer(());

impl GuardLayer {
    /// It has no choices.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded(inner)
    }
}

/// A service with a [`GuardLayer`] around it.
///
/// ```
/// use tower_layer::Layer;
/// use wireline::upgrade::axum::{GuardLayer, Guarded};
/// let guarded: Guarded<axum::Router> = GuardLayer::new().layer(axum::Router::new());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Guarded<S>(S);

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let guard = Guard::new(&mut request);
        let answering = self.0.call(request);
        Box::pin(async move {
            let response = answering.await?;
            guard.confirm(&response);
            Ok(response)
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "one task per connection")]
fn spawn(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

fn log(error: Error) {
    Log::shared().handshake_failed(now(), None, &error);
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("acceptor", &self.acceptor)
            .field("judged", &self.judged)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let head = Request::from_parts(parts.clone(), ());
        let judged = match head.version() {
            Version::HTTP_2 => judge_extended_connect(&head, protocol(&head)),
            _ => judge(&head),
        };
        let judged = judged.inspect_err(|_| metrics::handshake_refused())?;
        let acceptor = parts.extensions.get::<Acceptor>().cloned();
        if let Some(acceptor) = &acceptor {
            let admitted = acceptor.check_origin(&head).inspect_err(|_| metrics::handshake_refused());
            admitted.map_err(|refusal| match head.version() {
                Version::HTTP_2 => refusal.on_stream(),
                _ => refusal,
            })?;
        }
        let pending = Pending::take(&mut parts.extensions)?;
        let acceptor = acceptor.unwrap_or_default();
        Ok(Self { acceptor, judged, head, pending, on_failed_upgrade: Box::new(log) })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::from)
    }
}

/// A request that was refused is answered with its refusal, any other error with 500 and no words.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Handshake(error) = self
            && let HandshakeError::Refused(refusal) = *error
        {
            return IntoResponse::into_response(refusal);
        }
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
