use std::{
    error::Error as StdError,
    future::Future,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{Request, uri::Scheme};
use tokio::net::{TcpListener, ToSocketAddrs};
use tracing::Instrument;

use crate::{
    Config, Error, Result, WebSocket,
    logging::{ConnectionSpan, Log},
    metrics,
    proto::{
        Awaited, CloseCode,
        deflate::DeflateConfig,
        forwarded::{Endpoint, Evidence, TrustedProxies},
        handshake::{Acceptance, HandshakeError, Refusal},
    },
    server::{
        Acceptor, Listener, Origins, ProxyProtocol, Tracker,
        acceptor::Arrived,
        handshakes::Handshakes,
        listener::{self, Arrival},
        outcome::{Boxed, Observed, see_through},
    },
    tls::TlsAcceptor,
    transport::Transport,
    websocket::{
        Entry, Forerunner, Place, before_last_write, close, hold, lend, now, until_cut, while_serving, within,
    },
};

/// Any error, as applications return it from their closure.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The address that a connection over TCP came from, among the request's extensions; behind a proxy, the proxy's. Who is
/// behind it is [`Peer`](super::Peer).
///
/// ```no_run
/// # async fn example() -> wireline::Result<()> {
/// use wireline::server::PeerAddr;
/// wireline::Server::bind("127.0.0.1:9001").await?.serve(|_ws, request| async move {
///     println!("{:?}", request.extensions().get::<PeerAddr>());
///     Ok(())
/// }).await
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one address")]
pub struct PeerAddr(pub SocketAddr);

/// Listens, and runs one async block per connection.
///
/// The accept loop never waits for a handshake. At [`max_handshakes`](Self::max_handshakes) unfinished ones the oldest is
/// cut, so that slow clients cannot lock honest ones out; when the process runs out of descriptors, accepting pauses
/// briefly (10 ms, doubling up to 1 s) and goes on. `TCP_NODELAY` is set on every connection.
///
/// When the block ends, or drops its `WebSocket`, the server takes the connection back, sends what was fed, and closes:
/// with 1000 after `Ok`, with 1011 after `Err` or a panic, which ends that connection only. The block may use `?` on any
/// error.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> wireline::Result<()> {
/// wireline::Server::bind("127.0.0.1:9001").await?
///     .serve(|mut ws, _request| async move {
///         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
///         Ok(())
///     }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    pub(super) acceptor: Acceptor,
    tls: Option<TlsAcceptor>,
    proxy_protocol: ProxyProtocol,
    max_handshakes: usize,
    max_connections: usize,
}

impl Server {
    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] with the operating system's error.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropping the future closes the socket, if there is one already.
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        Ok(Self::from_listener(TcpListener::bind(address).await?))
    }

    /// Listens on a Unix socket. One that a process left behind at this path when it ended is replaced; this one stays behind,
    /// too. Who may connect is decided by the permissions of its directory and, on Linux, of the socket.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] with the operating system's error.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropping the future closes the socket, if there is one already.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::Result<()> {
    /// use wireline::{Server, server::TrustedProxies};
    /// let server = Server::bind_unix("/run/chat/chat.sock").await?.trusted_proxies(TrustedProxies::default().unix_peer());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub async fn bind_unix(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(Self::from_listener(Listener::bind_unix(path.as_ref()).await?))
    }

    /// Serves the sockets that the process was started with, TCP and Unix: systemd's socket activation, `LISTEN_FDS`.
    ///
    /// `None` if there are none, so that a program can fall back on [`bind`](Self::bind). Call it once, at the beginning and
    /// from one thread: it takes `LISTEN_FDS` and `LISTEN_PID` out of the environment.
    ///
    /// # Errors
    ///
    /// [`Error::Network`]: one of them is no socket that listens over TCP or as a Unix socket.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::Result<()> {
    /// let server = match wireline::Server::inherited()? {
    ///     Some(server) => server,
    ///     None => wireline::Server::bind("127.0.0.1:9001").await?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub fn inherited() -> Result<Option<Self>> {
        let mut listeners = Listener::inherited()?.into_iter();
        let server = listeners.next().map(Self::from_listener);
        Ok(server.map(|server| listeners.fold(server, Self::listener)))
    }

    /// Serves a listener that is there already, TCP or Unix.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("[::1]:9001").await?;
    /// let server = wireline::Server::from_listener(listener);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_listener(listener: impl Into<Listener>) -> Self {
        Self {
            listeners: vec![listener.into()],
            acceptor: Acceptor::new(),
            tls: None,
            proxy_protocol: ProxyProtocol::Off,
            max_handshakes: 1024,
            max_connections: 100_000,
        }
    }

    /// Serves one more listener beside: of one port for each address family, or a Unix socket for the proxy.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// use tokio::net::{TcpListener, UnixListener};
    /// let server = wireline::Server::from_listener(TcpListener::bind("[::1]:9001").await?)
    ///     .listener(UnixListener::bind("/run/chat/chat.sock")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn listener(mut self, listener: impl Into<Listener>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    /// The address it listens on, over TCP; the first of several.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] with the operating system's error; `Unsupported` if there are only Unix sockets.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        let tcp = self.listeners.iter().find_map(Listener::tcp);
        Ok(tcp.ok_or(io::ErrorKind::Unsupported).map_err(io::Error::from)?.local_addr()?)
    }

    /// Believes these proxies about who the client is; see [`Acceptor::trusted_proxies`]. Default: none.
    #[must_use]
    pub fn trusted_proxies(self, trusted: TrustedProxies) -> Self {
        Self { acceptor: self.acceptor.trusted_proxies(trusted), ..self }
    }

    /// Reads the PROXY protocol in front of connections, TLS included. Default [`ProxyProtocol::Off`].
    ///
    /// The deadline and the cap of the opening handshake cover it. A connection without a header where there must be one is
    /// dropped, without an answer. The address in it is the client's, and counts as an address of the socket's own does.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::Result<()> {
    /// use wireline::{Server, server::{ProxyProtocol, TrustedProxies}};
    /// let server = Server::bind("10.0.0.2:9001").await?
    ///     .trusted_proxies(TrustedProxies::new(["10.0.0.1"])?)
    ///     .proxy_protocol(ProxyProtocol::Trusted);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn proxy_protocol(self, proxy_protocol: ProxyProtocol) -> Self {
        Self { proxy_protocol, ..self }
    }

    /// Answers only below this path, and takes it off; see [`Acceptor::path_prefix`].
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`](crate::proto::Misuse::InvalidConfig): the prefix cannot be one.
    pub fn path_prefix(self, prefix: &str) -> Result<Self> {
        Ok(Self { acceptor: self.acceptor.path_prefix(prefix)?, ..self })
    }

    /// Sets limits and timings.
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`](crate::proto::Misuse::InvalidConfig): see [`Config::validate`].
    pub fn config(self, config: Config) -> Result<Self> {
        Ok(Self { acceptor: self.acceptor.config(config)?, ..self })
    }

    /// Compresses messages for clients that offer it; see [`Acceptor::deflate`].
    ///
    /// # Errors
    ///
    /// [`Misuse::InvalidConfig`](crate::proto::Misuse::InvalidConfig): a setting is out of its range.
    pub fn deflate(self, deflate: DeflateConfig) -> Result<Self> {
        Ok(Self { acceptor: self.acceptor.deflate(deflate)?, ..self })
    }

    /// Sets which web pages may connect. Default [`Origins::SameHost`].
    #[must_use]
    pub fn origins(self, origins: Origins) -> Self {
        Self { acceptor: self.acceptor.origins(origins), ..self }
    }

    /// Speaks these subprotocols; see [`Acceptor::subprotocols`].
    #[must_use]
    pub fn subprotocols<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Self {
        Self { acceptor: self.acceptor.subprotocols(names), ..self }
    }

    /// Looks at every request; see [`Acceptor::on_request`].
    #[must_use]
    pub fn on_request(
        self,
        hook: impl Fn(&Request<()>) -> Result<Acceptance, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self { acceptor: self.acceptor.on_request(hook), ..self }
    }

    /// Looks at every request, and may wait; see [`Acceptor::on_request_async`].
    #[must_use]
    pub fn on_request_async<Fut>(self, hook: impl Fn(&Request<()>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<Acceptance, Refusal>> + Send + 'static,
    {
        Self { acceptor: self.acceptor.on_request_async(hook), ..self }
    }

    /// Sets how many connections may be in their opening handshake at once. Default 1,024; beyond, the oldest is cut.
    #[must_use]
    pub fn max_handshakes(self, connections: usize) -> Self {
        Self { max_handshakes: connections.max(1), ..self }
    }

    /// Sets how many connections may be open at once. Default 100,000; beyond, requests are refused with 503.
    #[must_use]
    pub fn max_connections(self, connections: usize) -> Self {
        Self { max_connections: connections, ..self }
    }

    /// Accepts connections until this future is dropped, or its [`tracker`](Self::tracker) drains. Those that are open when
    /// it is dropped go on to their own ends.
    ///
    /// # Errors
    ///
    /// None at present: whatever happens to accepting is logged and tried again.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropping it stops accepting and closes the listener.
    pub async fn serve<F, Fut>(self, application: F) -> Result<()>
    where
        F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let draining = self.acceptor.tracked().map(Tracker::draining);
        let accepting = self.accept_all(application);
        match draining {
            None => accepting.await,
            Some(draining) => tokio::select! {
                biased;
                () = draining => Ok(()),
                served = accepting => served,
            },
        }
    }

    async fn accept_all<F, Fut>(self, application: F) -> Result<()>
    where
        F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            acceptor: self.acceptor,
            tls: self.tls,
            proxy_protocol: self.proxy_protocol,
            handshakes: Handshakes::new(self.max_handshakes),
            open: Arc::default(),
            max_connections: self.max_connections,
            log: Arc::default(),
            application,
        });
        let (mut listeners, mut ahead) = (self.listeners, Forerunner::default());
        let mut pause = FIRST_PAUSE;
        let mut warned: Option<Instant> = None;
        loop {
            match listener::accept(&mut listeners, &mut ahead).await {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    let handshake = shared.begin();
                    let opened = Box::pin(handshake.opened(stream, peer));
                    spawn(Shared::run(opened));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Once a second at most, however often there is room for one more in between.
                    if warned.is_none_or(|at| now().duration_since(at) >= LAST_PAUSE) {
                        warned = Some(now());
                        tracing::warn!(%error, "cannot accept connections, pausing");
                    }
                    metrics::accept_paused();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }
}

#[cfg(feature = "tls-no-provider")]
impl Server {
    /// Speaks TLS by this configuration of rustls, over TCP; a Unix socket stays as it is. ALPN may stay unset; if set, it must name `http/1.1`.
    ///
    /// ```no_run
    /// # async fn example(config: std::sync::Arc<rustls::ServerConfig>) -> wireline::Result<()> {
    /// let server = wireline::Server::bind("0.0.0.0:443").await?.tls(config);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Some(TlsAcceptor::own(config)), ..self }
    }
}

/// How long accepting pauses when the process or the system has no room: doubling from the first to the last.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(crate) const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Errors of one incoming connection that is gone already; the next may be fine.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[expect(clippy::disallowed_methods, reason = "one task per connection")]
fn spawn(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

struct Shared<F> {
    acceptor: Acceptor,
    tls: Option<TlsAcceptor>,
    proxy_protocol: ProxyProtocol,
    handshakes: Handshakes,
    open: Arc<AtomicUsize>,
    max_connections: usize,
    log: Arc<Log>,
    application: F,
}

/// A handshake under way, until dropped.
struct Handshake<F> {
    shared: Arc<Shared<F>>,
    id: u64,
    entry: Option<Arc<Entry>>,
}

impl<F> Drop for Handshake<F> {
    fn drop(&mut self) {
        self.shared.handshakes.end(self.id);
    }
}

impl<F> Shared<F> {
    fn begin(self: &Arc<Self>) -> Handshake<F> {
        Handshake { shared: Arc::clone(self), id: self.handshakes.begin(), entry: self.acceptor.enter() }
    }

    async fn open(self: &Arc<Self>, stream: Arrival, peer: Endpoint, entry: Option<Arc<Entry>>) -> Result<Opened<F>> {
        let (stream, (endpoint, evidence), scheme) = match self.ready_now(stream, peer)? {
            Ok(stream) => (stream, (peer, Evidence::Socket), None),
            // Before the request can be read, nobody can be told that the server is going down.
            Err(stream) => {
                // Boxed: a request may be long in coming after it.
                let mut ready = Box::pin(self.ready(stream, peer));
                let ready = while_serving(entry.as_deref(), ready.as_mut()).await;
                ready.unwrap_or(Err(Error::Timeout(Awaited::Handshake)))?
            }
        };
        let arrived = Arrived { endpoint, evidence, scheme };
        let mut place = None;
        let room = || {
            place = Place::take(&self.open, self.max_connections);
            let full = "this server has as many connections as it may; max_connections is the setting";
            if place.is_some() { Ok(()) } else { Err(Refusal::unavailable(full)) }
        };
        let (mut ws, mut request) = self.acceptor.accept_if(stream, Some(arrived), None, entry, room).await?;
        hold(&mut ws, place);
        before_last_write(&mut ws, Transport::hold_for_end);
        if let Endpoint::Ip(peer) = peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        Ok(Opened { ws, request, shared: Arc::clone(self) })
    }

    /// A stream of which the request can be read at once, as of most; else it is given back.
    fn ready_now(&self, stream: Arrival, peer: Endpoint) -> Result<Result<Transport, Arrival>> {
        Ok(match stream {
            _ if self.proxy_protocol.is_expected(peer, self.acceptor.trusted()) => Err(stream),
            Arrival::Tcp(_) if self.tls.is_some() => Err(stream),
            Arrival::Tcp(stream) => Ok(Transport::tcp(stream)),
            Arrival::Ready(stream) => Ok(stream),
        })
    }

    /// A stream of which the request can be read, with what the PROXY protocol and TLS in front of it say.
    async fn ready(
        &self,
        stream: Arrival,
        peer: Endpoint,
    ) -> Result<(Transport, (Endpoint, Evidence), Option<Scheme>)> {
        let trusted = self.acceptor.trusted();
        Ok(match stream {
            Arrival::Tcp(mut stream) => {
                let announced = self.proxy_protocol.announced(&mut stream, peer, trusted).await?;
                match &self.tls {
                    None => (Transport::tcp(stream), announced, None),
                    // Boxed: only TLS pays for it, and only until it is there.
                    Some(tls) => (Box::pin(tls.accept(stream)).await?, announced, Some(Scheme::HTTPS)),
                }
            }
            Arrival::Ready(mut stream) => {
                let announced = self.proxy_protocol.announced(&mut stream, peer, trusted).await?;
                (stream, announced, None)
            }
        })
    }
}

impl<F, Fut> Shared<F>
where
    F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>>,
{
    /// A connection from its first byte to its last.
    ///
    /// The handshake and the closing are boxed, so that their memory is free while the connection lives.
    #[expect(clippy::manual_async_fn, reason = "that would keep its argument beside the one that is polled")]
    fn run(mut handshake: Boxed<Option<Box<Opened<F>>>>) -> impl Future<Output = ()> {
        async move {
            let opened = handshake.as_mut().await;
            drop(handshake);
            let Some(opened) = opened else { return };
            let (lease, observed);
            let mut application = pin!({
                // Moved first: else the emptied box would live as long as the connection.
                let boxed = opened;
                let Opened { mut ws, request, shared } = *boxed;
                lease = lend(&mut ws);
                observed = Observed { span: ConnectionSpan::of(&request), log: Arc::clone(&shared.log) };
                let call = AssertUnwindSafe(|| (shared.application)(ws, *request));
                let (called, returned) = observed.span.within(|| lease.watch(|| catch_unwind(call)));
                let (application, code) = match called {
                    Ok(application) => (Some(application), CloseCode::NORMAL),
                    Err(panic) => (None, observed.span.within(|| observed.code(Err(panic)))),
                };
                // The closure itself let go of the connection, before there was a future.
                if let Some(connection) = returned {
                    observed.span.within(|| spawn(close(connection, code).in_current_span()));
                }
                let Some(application) = application else { return };
                AssertUnwindSafe(application).catch_unwind()
            });
            see_through(&lease, &observed, application.as_mut()).await;
        }
    }
}

impl<F> Handshake<F> {
    async fn opened(self, stream: Arrival, peer: Endpoint) -> Option<Box<Opened<F>>> {
        match self.run(stream, peer).await {
            Ok(opened) => Some(Box::new(opened)),
            Err(Error::Handshake(error)) if matches!(*error, HandshakeError::Answered(_)) => {
                tracing::trace!(?peer, %error, "plain HTTP");
                None
            }
            Err(error) => {
                metrics::handshake_failed(&error);
                self.shared.log.handshake_failed(now(), Some(peer), &error);
                None
            }
        }
    }

    async fn run(&self, stream: Arrival, peer: Endpoint) -> Result<Opened<F>> {
        let deadline = self.shared.acceptor.settings().timings.handshake;
        let opening = pin!(self.shared.open(stream, peer, self.entry.clone()));
        let opening = pin!(within(deadline, until_cut(self.entry.as_deref(), opening)));
        let opened = self.shared.handshakes.unless_cut(self.id, opening).await;
        opened.unwrap_or(Err(Error::Timeout(Awaited::Handshake)))
    }
}

/// A connection after its handshake.
struct Opened<F> {
    ws: WebSocket<Transport>,
    request: Box<Request<()>>,
    shared: Arc<Shared<F>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The task of a connection, for an application whose own future is empty.
    fn task<F, Fut>(_: F) -> impl Future<Output = ()>
    where
        F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>>,
    {
        Shared::<F>::run(Box::pin(async { None }))
    }

    #[test]
    fn the_future_of_a_connection_is_small() {
        let task = task(|_ws, _request| async { Ok(()) });
        assert!(size_of_val(&task) <= 512, "{} bytes", size_of_val(&task));
    }

    #[test]
    fn accepting_goes_on_at_once_if_one_connection_is_gone_and_pauses_else_4_14() {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory, QuotaExceeded};
        let rows = [(ConnectionAborted, true), (ConnectionReset, true), (Interrupted, true)];
        for (kind, at_once) in rows.into_iter().chain([(OutOfMemory, false), (QuotaExceeded, false)]) {
            assert_eq!(is_of_one_connection(&kind.into()), at_once, "{kind:?}");
        }
    }
}
