//! WebSockets from requests that hyper 1 has read, over HTTP/1.1 and over HTTP/2 (RFC 8441).
//!
//! [`upgrade`] inside of a hyper service gives the response for hyper to send, and an [`Upgrading`] that becomes the
//! connection. hyper hands connections over only if it is served so: HTTP/1.1 by `with_upgrades`
//! (`serve_connection_with_upgrades` of hyper-util), HTTP/2 with `enable_connect_protocol`.
//!
//! ```no_run
//! use std::convert::Infallible;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::{body::Incoming, server::conn::http1, service::service_fn};
//! use hyper_util::rt::TokioIo;
//! use wireline::{server::Acceptor, upgrade::hyper::upgrade};
//!
//! async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let (response, upgrading) = match upgrade(&Acceptor::new(), &mut request) {
//!         Ok(accepted) => accepted,
//!         Err(refusal) => return Ok(refusal.into_response().map(Full::new)),
//!     };
//!     tokio::spawn(upgrading.serve(|mut ws| async move {
//!         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
//!         Ok(())
//!     }));
//!     Ok(response.map(|()| Full::default()))
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     tokio::spawn(http1::Builder::new()
//!         .serve_connection(TokioIo::new(stream), service_fn(answer))
//!         .with_upgrades());
//! }
//! # }
//! ```

use std::{
    cell::RefCell,
    future::Future,
    io::{self, IoSlice},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    thread::LocalKey,
};

use futures_util::FutureExt;
use http::{Request, Response, Version};
use hyper::{ext::Protocol, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    Result, WebSocket,
    logging::{ConnectionSpan, Log},
    metrics,
    proto::handshake::Refusal,
    server::{Acceptor, BoxError, Observed, see_through},
    upgrade::{Upgrade, guard::Watched},
    websocket::{Counter, Lendable, lend, until_cut, within},
};

pub use super::guard::Guard;

/// Judges a request by the rules of an acceptor: HTTP/1.1 as [`Acceptor::upgrade`], HTTP/2 as
/// [`Acceptor::extended_connect`].
///
/// It takes from the request what [`hyper::upgrade::on`] would. Send the response: nothing opens before.
///
/// # Errors
///
/// The answer for a request that is not accepted; [`Refusal::into_response`] is what to send. It is 500 if something
/// between hyper and here has taken the connection away.
pub fn upgrade<B>(acceptor: &Acceptor, request: &mut Request<B>) -> Result<(Response<()>, Upgrading), Refusal> {
    let upgrade = match request.version() {
        Version::HTTP_2 => acceptor.extended_connect(request, protocol(request)),
        _ => acceptor.upgrade(request),
    }?;
    let span = ConnectionSpan::of(request);
    Ok(Pending::take(request.extensions_mut())?.open(upgrade, span))
}

/// What a request brings that may become a connection.
pub(super) struct Pending {
    on_upgrade: OnUpgrade,
    watched: Option<Watched>,
}

impl Pending {
    pub(super) fn take(extensions: &mut http::Extensions) -> Result<Self, Refusal> {
        let on_upgrade = extensions
            .remove()
            .ok_or_else(|| Refusal::internal("hyper's connection is not among the request's extensions"))?;
        Ok(Self { on_upgrade, watched: extensions.get().cloned() })
    }

    /// The response, and what it opens.
    pub(super) fn open(self, upgrade: Upgrade, span: ConnectionSpan) -> (Response<()>, Upgrading) {
        let mut response = upgrade.response().clone();
        if let Some(watched) = &self.watched {
            watched.mark(&mut response);
        }
        (response, Upgrading::new(upgrade, self, span))
    }
}

pub(super) fn protocol<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get::<Protocol>().map(Protocol::as_str)
}

/// A connection that opens once hyper has sent the response.
///
/// It is a future of the [`WebSocket`]. That fails with [`Error::Network`](crate::Error::Network) if hyper cannot hand the connection over,
/// because the response was not sent, the peer is gone, or hyper is not served with upgrades; and with [`Error::Timeout`](crate::Error::Timeout)
/// if that takes longer than the handshake deadline, counted from the first poll.
///
/// Dropping it lets go of the connection as soon as hyper hands it over.
///
/// Drop it if you answer with another response instead. Where something around you may do that, there is [`Guard`].
///
/// ```no_run
/// use http::Request;
/// use wireline::{Result, WebSocket, upgrade::hyper::{Upgraded, Upgrading}};
///
/// async fn open(upgrading: Upgrading) -> Result<()> {
///     let mut ws: WebSocket<Upgraded> = upgrading.await?;
///     ws.send("welcome").await
/// }
/// ```
#[must_use = "nothing opens unless it is awaited"]
pub struct Upgrading {
    opening: Pin<Box<dyn Future<Output = Result<WebSocket<Upgraded>>> + Send>>,
    span: ConnectionSpan,
}

impl Upgrading {
    fn new(upgrade: Upgrade, pending: Pending, span: ConnectionSpan) -> Self {
        let Pending { on_upgrade, watched } = pending;
        let opening = async move {
            let deadline = upgrade.config.timings.handshake;
            let entry = upgrade.entry.clone();
            let handing = async { on_upgrade.await.map_err(|error| io::Error::other(error).into()) };
            let handing = pin!(within(deadline, handing));
            let handed = until_cut(entry.as_deref(), handing).await.inspect_err(metrics::handshake_failed)?;
            if watched.is_some_and(|watched| !watched.is_confirmed()) {
                return Err(io::Error::other("another response took the place of the one that opens").into());
            }
            // What hyper has read ahead comes out of its stream first.
            Ok(upgrade.over(Upgraded(TokioIo::new(handed)), &[]))
        };
        Self { opening: Box::pin(opening), span }
    }

    /// Runs an application on the connection, as [`Server::serve`](crate::Server::serve) does: when its future ends, or
    /// drops its `WebSocket`, what was fed is sent and the connection is closed, with 1000 after `Ok`, with 1011 after
    /// `Err` or a panic.
    ///
    /// # Errors
    ///
    /// The connection did not open; the application was not called.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the connection.
    pub async fn serve<F, Fut>(self, application: F) -> Result<()>
    where
        F: FnOnce(WebSocket<Upgraded>) -> Fut,
        Fut: Future<Output = Result<(), BoxError>>,
    {
        let span = self.span.clone();
        let mut ws = self.await?;
        let observed = Observed { span, log: Log::shared() };
        let lease = lend(&mut ws);
        let application = pin!(AssertUnwindSafe(async move { application(ws).await }).catch_unwind());
        see_through(&lease, &observed, application).await;
        Ok(())
    }
}

impl Future for Upgrading {
    type Output = Result<WebSocket<Upgraded>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.opening.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Upgrading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrading").finish_non_exhaustive()
    }
}

/// The stream of a connection that hyper has handed over: one of HTTP/1.1's connections, or a stream of HTTP/2.
///
/// ```no_run
/// use wireline::{WebSocket, upgrade::hyper::Upgraded};
///
/// struct Member {
///     ws: WebSocket<Upgraded>,
/// }
/// ```
#[derive(Debug)]
pub struct Upgraded(TokioIo<hyper::upgrade::Upgraded>);

impl Upgraded {
    /// hyper's own type, which can be taken apart.
    #[must_use]
    pub fn into_inner(self) -> hyper::upgrade::Upgraded {
        self.0.into_inner()
    }
}

impl Lendable for Upgraded {
    fn counter() -> &'static LocalKey<RefCell<Counter<Self>>> {
        thread_local! {
            static COUNTER: RefCell<Counter<Upgraded>> = const { RefCell::new(Counter::new()) };
        }
        &COUNTER
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
