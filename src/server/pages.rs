//! Plain HTTP beside WebSockets.

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};

use crate::{
    logging::Log,
    proto::handshake::{finish_page, options},
    server::{Acceptor, Server, panic_words},
    websocket::now,
};

impl Acceptor {
    /// Answers requests that ask for no WebSocket: pages, health, metrics. Default: each of them is refused with 426.
    ///
    /// A request asks for a WebSocket if its `Upgrade` names what begins with `websocket`, or if it has a header that begins
    /// with `Sec-WebSocket-`; one that does so badly is told what is wrong with it, as ever. All others come here: GET and
    /// HEAD of HTTP/1.0 and HTTP/1.1, with the [`Peer`](super::Peer) of [`accept_from`](Self::accept_from) among the
    /// extensions, whatever their `Origin`. OPTIONS is answered with 204, other methods with 405, and a request with a body
    /// with 413.
    ///
    /// The page is sent with its length and `Connection: close`, to HEAD without its body, and the connection ends: requests
    /// behind the first are not answered. [`Timings::handshake`](crate::Timings) covers the closure's future, which is dropped
    /// when it takes longer, and [`Timings::close`](crate::Timings) sending the page; a [`Server`](super::Server) has the
    /// former for both together. A panic is answered with 500. [`accept`](Self::accept) fails with
    /// [`HandshakeError::Answered`](crate::proto::handshake::HandshakeError::Answered) then.
    /// [`upgrade`](Self::upgrade) asks for no pages: that HTTP server has its own.
    ///
    /// ```
    /// use http::Response;
    /// use wireline::server::Acceptor;
    /// let acceptor = Acceptor::new().pages(|request| async move {
    ///     let mut page = Response::new("");
    ///     match request.uri().path() {
    ///         "/healthz" => *page.body_mut() = "ok\n",
    ///         _ => *page.status_mut() = http::StatusCode::NOT_FOUND,
    ///     }
    ///     page
    /// });
    /// ```
    #[must_use]
    pub fn pages<Fut, B>(mut self, pages: impl Fn(Request<()>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Into<Bytes>,
    {
        self.pages = Some(Pages::new(pages));
        self
    }
}

impl Server {
    /// Answers requests that ask for no WebSocket, on the same port: pages, health, metrics; see [`Acceptor::pages`].
    ///
    /// What covers the opening handshake covers them, from the first byte to the last: its deadline, which a page that
    /// takes long to send may want longer, and [`max_handshakes`](Self::max_handshakes). They take no place of
    /// [`max_connections`](Self::max_connections): health is answered by a full server, too.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::Result<()> {
    /// use http::{Response, StatusCode};
    /// wireline::Server::bind("127.0.0.1:9001").await?
    ///     .pages(|request| async move {
    ///         match request.uri().path() {
    ///             "/" => Response::new("<!doctype html><title>Chat</title>…".to_owned()),
    ///             "/healthz" => Response::new("ok\n".to_owned()),
    ///             path => {
    ///                 let mut page = Response::new(format!("there is no {path} here\n"));
    ///                 *page.status_mut() = StatusCode::NOT_FOUND;
    ///                 page
    ///             }
    ///         }
    ///     })
    ///     .serve(|mut ws, _request| async move {
    ///         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
    ///         Ok(())
    ///     }).await
    /// # }
    /// ```
    #[must_use]
    pub fn pages<Fut, B>(mut self, pages: impl Fn(Request<()>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Into<Bytes>,
    {
        self.acceptor = self.acceptor.pages(pages);
        self
    }
}

type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What answers the requests that ask for no WebSocket.
#[derive(Clone)]
pub(super) struct Pages(Arc<dyn Fn(Request<()>) -> Answering + Send + Sync>);

impl Pages {
    pub(super) fn new<Fut, B>(pages: impl Fn(Request<()>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Into<Bytes>,
    {
        Self(Arc::new(move |request| Box::pin(pages(request).map(|page| page.map(Into::into)))))
    }

    /// The answer to a request that was judged, as it is sent.
    pub(super) async fn answer(&self, request: Request<()>) -> Response<Bytes> {
        let method = request.method().clone();
        if method == Method::OPTIONS {
            return options();
        }
        // The closure itself may panic, too.
        let answering = AssertUnwindSafe(async { self.0(request).await });
        let page = answering.catch_unwind().await.unwrap_or_else(|panic| {
            Log::shared().panicked(now(), "closure for pages", panic_words(&*panic));
            let mut page = Response::default();
            *page.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            page
        });
        finish_page(page, &method)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}
