use std::{
    any::Any,
    collections::BTreeMap,
    error::Error as StdError,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{Request, uri::Scheme};
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::oneshot,
};

use crate::{
    Config, Error, Result, WebSocket,
    proto::{
        Awaited, CloseCode,
        deflate::DeflateConfig,
        handshake::{Acceptance, Refusal},
    },
    server::{Acceptor, Origins},
    tls::TlsAcceptor,
    transport::Transport,
    websocket::{Lease, Lendable, Place, close, hold, lend, now, within},
};

/// Any error, as applications return it from their closure.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The address a connection came from, among the request's extensions.
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
    listener: TcpListener,
    acceptor: Acceptor,
    tls: Option<TlsAcceptor>,
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

    /// Serves a listener that is there already.
    ///
    /// ```no_run
    /// # async fn example() -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("[::1]:9001").await?;
    /// let server = wireline::Server::from_listener(listener);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_listener(listener: TcpListener) -> Self {
        Self { listener, acceptor: Acceptor::new(), tls: None, max_handshakes: 1024, max_connections: 100_000 }
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] with the operating system's error.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
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

    /// Accepts connections until this future is dropped; those that are open then go on to their own ends.
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
        let shared = Arc::new(Shared {
            acceptor: self.acceptor,
            tls: self.tls,
            handshakes: Mutex::default(),
            max_handshakes: self.max_handshakes,
            open: Arc::default(),
            max_connections: self.max_connections,
            application,
        });
        let mut pause = FIRST_PAUSE;
        let mut warned: Option<Instant> = None;
        loop {
            match self.listener.accept().await {
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
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }
}

#[cfg(feature = "tls-no-provider")]
impl Server {
    /// Speaks TLS by this configuration of rustls. ALPN may stay unset; if set, it must name `http/1.1`.
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
    handshakes: Mutex<Handshakes>,
    max_handshakes: usize,
    open: Arc<AtomicUsize>,
    max_connections: usize,
    application: F,
}

/// The handshakes under way, the oldest first. Dropping an entry cuts its handshake.
#[derive(Default)]
struct Handshakes {
    next: u64,
    running: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handshake under way, until dropped; `cut` resolves when it has to make room.
struct Handshake<F> {
    shared: Arc<Shared<F>>,
    id: u64,
    cut: oneshot::Receiver<()>,
}

impl<F> Drop for Handshake<F> {
    fn drop(&mut self) {
        self.shared.handshakes.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&self.id);
    }
}

impl<F> Shared<F> {
    fn begin(self: &Arc<Self>) -> Handshake<F> {
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if handshakes.running.len() >= self.max_handshakes {
            handshakes.running.pop_first();
        }
        let id = handshakes.next;
        handshakes.next += 1;
        let (sender, cut) = oneshot::channel();
        handshakes.running.insert(id, sender);
        Handshake { shared: Arc::clone(self), id, cut }
    }

    async fn open(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Result<Opened<F>> {
        stream.set_nodelay(true)?;
        let (stream, scheme) = match &self.tls {
            None => (Transport::tcp(stream), None),
            Some(tls) => (tls.accept(stream).await?, Some(Scheme::HTTPS)),
        };
        let mut place = None;
        let room = || {
            place = Place::take(&self.open, self.max_connections);
            let full = "this server has as many connections as it may; max_connections is the setting";
            if place.is_some() { Ok(()) } else { Err(Refusal::unavailable(full)) }
        };
        let (mut ws, mut request) = self.acceptor.accept_if(stream, scheme, None, room).await?;
        hold(&mut ws, place);
        request.extensions_mut().insert(PeerAddr(peer));
        Ok(Opened { ws, request, shared: Arc::clone(self) })
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
    async fn run(mut handshake: Boxed<Option<Box<Opened<F>>>>) {
        let opened = handshake.as_mut().await;
        drop(handshake);
        let Some(opened) = opened else { return };
        let lease;
        let mut application = pin!({
            // Moved first: else the emptied box would live as long as the connection.
            let boxed = opened;
            let Opened { mut ws, request, shared } = *boxed;
            lease = lend(&mut ws);
            let call = AssertUnwindSafe(|| (shared.application)(ws, request));
            let (called, returned) = lease.watch(|| catch_unwind(call));
            let (application, code) = match called {
                Ok(application) => (Some(application), CloseCode::NORMAL),
                Err(panic) => (None, code(Err(panic))),
            };
            // The closure itself let go of the connection, before there was a future.
            if let Some(connection) = returned {
                spawn(close(connection, code));
            }
            let Some(application) = application else { return };
            AssertUnwindSafe(application).catch_unwind()
        });
        see_through(lease, application.as_mut()).await;
    }
}

/// Polls an application to its end, and closes its connection by that once it has let go of it.
pub(crate) fn see_through<S: Lendable>(
    lease: Lease<S>,
    mut application: Pin<&mut impl Future<Output = Outcome>>,
) -> impl Future<Output = ()> {
    let mut outcome = None;
    let mut closing: Option<Boxed<()>> = None;
    poll_fn(move |cx| {
        if outcome.is_none() {
            let (polled, returned) = lease.watch(|| application.as_mut().poll(cx));
            if let Poll::Ready(done) = polled {
                outcome = Some(code(done));
            }
            // An application may go on with other work after it let go of its connection.
            if let Some(connection) = returned {
                closing = Some(Box::pin(close(connection, outcome.unwrap_or(CloseCode::NORMAL))));
            }
        }
        if closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            closing = None;
        }
        if outcome.is_some() && closing.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
}

impl<F> Handshake<F> {
    async fn opened(mut self, stream: TcpStream, peer: SocketAddr) -> Option<Box<Opened<F>>> {
        match self.run(stream, peer).await {
            Ok(opened) => Some(Box::new(opened)),
            Err(error) => {
                let source = error.source().map(tracing::field::display);
                tracing::debug!(%peer, %error, source, "opening handshake failed");
                None
            }
        }
    }

    async fn run(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<Opened<F>> {
        let deadline = self.shared.acceptor.settings().timings.handshake;
        tokio::select! {
            biased;
            _ = &mut self.cut => Err(Error::Timeout(Awaited::Handshake)),
            opened = within(deadline, self.shared.open(stream, peer)) => opened,
        }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection after its handshake.
struct Opened<F> {
    ws: WebSocket<Transport>,
    request: Request<()>,
    shared: Arc<Shared<F>>,
}

/// How an application ended: by itself or by a panic.
type Outcome = Result<Result<(), BoxError>, Box<dyn Any + Send>>;

/// How an application's end is told to the peer.
fn code(outcome: Outcome) -> CloseCode {
    match outcome {
        Ok(Ok(())) => CloseCode::NORMAL,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the application ended its connection with an error");
            CloseCode::INTERNAL_ERROR
        }
        Err(panic) => {
            tracing::error!(reason = panic_words(&*panic), "the application panicked; its connection is closed");
            CloseCode::INTERNAL_ERROR
        }
    }
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
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
}
