//! WebSockets from requests that another HTTP server has read.
//!
//! [`Acceptor::upgrade`] judges an [`http::Request`] by the rules of [`accept`](crate::accept), and gives the response for
//! that server to send. Once it has sent it and handed its byte stream over, [`Upgrade::over`] is the connection:
//!
//! ```text
//! another server: request -> Acceptor::upgrade -> Refusal -> send its response, and that was all
//!                                              -> Upgrade -> send its response -> stream, read-ahead -> over -> WebSocket
//! ```
//!
//! With the feature `hyper`, [`hyper`] does the second part for hyper 1 over HTTP/1.1 and HTTP/2; with the feature `axum`,
//! [`axum`] has an extractor.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "hyper")]
mod guard;
#[cfg(feature = "hyper")]
pub mod hyper;

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Config, Role, WebSocket, metrics,
    proto::{
        Misuse,
        deflate::Agreed,
        handshake::{Judged, Opening, Refusal, judge, judge_extended_connect},
    },
    server::Acceptor,
    websocket::{self, Entry, Turned},
};

impl Acceptor {
    /// Judges a request of HTTP/1.1 that another HTTP server has read, by all rules of this acceptor.
    ///
    /// How long the other server waits for the head of a request, and how large it may be, is its own setting.
    ///
    /// # Errors
    ///
    /// The answer for a request that is not accepted; [`Refusal::into_response`] is what to send. It is 500 if the hook of
    /// [`on_request`](Self::on_request) chose what cannot be sent, or if the hook is one of
    /// [`on_request_async`](Self::on_request_async), which cannot be waited for here.
    ///
    /// ```
    /// use wireline::{Message, Role, WebSocket, server::{Acceptor, Refusal}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let request = http::Request::get("/chat").header("host", "example.com").header("upgrade", "websocket")
    /// #     .header("connection", "upgrade").header("sec-websocket-version", "13")
    /// #     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(())?;
    /// # let (stream, peer) = tokio::io::duplex(1024);
    /// // `request` comes from your HTTP server, and this goes back to it.
    /// let upgrade = Acceptor::new().upgrade(&request)?;
    /// assert_eq!(upgrade.response().status(), 101);
    ///
    /// // Once it has sent that, it hands over its stream with what it has read already.
    /// let read_ahead = b"\x81\x82\0\0\0\0hi";
    /// let mut ws = upgrade.over(stream, read_ahead);
    /// assert_eq!(ws.next().await.transpose()?, Some(Message::from("hi")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn upgrade<B>(&self, request: &Request<B>) -> Result<Upgrade, Refusal> {
        let judged = judge(request).inspect_err(|_| metrics::handshake_refused())?;
        self.agree_to(judged, head(request))
    }

    /// Judges an extended CONNECT request of HTTP/2 (RFC 8441), whose `:protocol` is `protocol`; as
    /// [`upgrade`](Self::upgrade), but the response is 200 and the stream is one of HTTP/2.
    ///
    /// # Errors
    ///
    /// As [`upgrade`](Self::upgrade).
    ///
    /// ```
    /// use wireline::server::Acceptor;
    /// let request = http::Request::connect("https://example.com/chat")
    ///     .version(http::Version::HTTP_2)
    ///     .header("sec-websocket-version", "13")
    ///     .body(())?;
    /// assert_eq!(Acceptor::new().extended_connect(&request, Some("websocket"))?.response().status(), 200);
    /// assert_eq!(Acceptor::new().extended_connect(&request, Some("connect-udp")).unwrap_err().status(), 501);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn extended_connect<B>(&self, request: &Request<B>, protocol: Option<&str>) -> Result<Upgrade, Refusal> {
        let judged = judge_extended_connect(request, protocol).inspect_err(|_| metrics::handshake_refused())?;
        self.agree_to(judged, head(request))
    }

    fn agree_to(&self, judged: Judged, mut request: Request<()>) -> Result<Upgrade, Refusal> {
        // Whether the other server or a proxy ends TLS is known where a `Peer` among the extensions says it.
        let answered = self.respond(judged, &mut request);
        let answered = answered.inspect_err(|_| metrics::handshake_refused());
        let mut response =
            answered.map(Opening::into_response).map_err(|turned| match (turned, request.version()) {
                (Turned::Refused(refusal), Version::HTTP_2) => refusal.on_stream(),
                (Turned::Refused(refusal), _) => refusal,
                (Turned::Misused(Misuse::InvalidRequest(reason)), _) => Refusal::internal(reason),
                // Pages are not asked for here.
                (Turned::Misused(_) | Turned::Answered(_), _) => StatusCode::INTERNAL_SERVER_ERROR.into(),
            })?;
        let config = Arc::clone(self.settings());
        let agreed = websocket::agree(&request, &config, &mut response);
        Ok(Upgrade { config, agreed, response, entry: self.enter() })
    }
}

/// A request without its body: what the rules look at.
fn head<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

/// A request that is accepted: the response to it, and the connection once that is sent.
///
/// Dropping it accepts nothing. [`Acceptor::upgrade`] has an example.
#[derive(Debug)]
#[must_use = "the response must be sent, and the connection be used"]
pub struct Upgrade {
    config: Arc<Config>,
    agreed: Option<Agreed>,
    response: Response<()>,
    entry: Option<Arc<Entry>>,
}

impl Upgrade {
    /// The response to send: 101, or 200 to an extended CONNECT.
    #[must_use]
    pub const fn response(&self) -> &Response<()> {
        &self.response
    }

    /// The subprotocol that the response chooses.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::to_str)?.ok()
    }

    /// The connection over the stream that follows the response. `read_ahead` is what was read of it already: clients may
    /// send frames right behind their request.
    ///
    /// This needs no runtime yet; using the connection does (see [`WebSocket`]).
    #[must_use]
    pub fn over<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, read_ahead: &[u8]) -> WebSocket<S> {
        let mut ws = websocket::open(stream, Role::Server, self.config, self.agreed, read_ahead, &self.response);
        websocket::track(&mut ws, self.entry);
        ws
    }
}
