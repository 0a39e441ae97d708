use std::{
    fmt,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    runtime::{Builder as RuntimeBuilder, Handle, Runtime, RuntimeFlavor},
    task::{block_in_place, unconstrained},
};
use url::Url;

use crate::{
    handler::{
        Error, ErrorKind, Factory, Handler, Result, Sender, Settings,
        hub::{Hub, Owner as Who},
        interrupt,
        opening::connection,
        owner::{InPlace, Owner, Spawned},
    },
    tls::TlsAcceptor,
};

/// A server, a client, or both: a [`Factory`] that makes a handler for every connection, and the loop that runs them.
///
/// It is made by [`WebSocket::new`] or a [`Builder`], told what to do by [`bind`](Self::bind) and
/// [`connect`](Self::connect), and run by [`run`](Self::run) on this thread, or by [`serve`](Self::serve) and
/// [`run_async`](Self::run_async) in a runtime of the program's own.
///
/// ```no_run
/// use wireline::handler::{Sender, WebSocket};
/// let ws = WebSocket::new(|out: Sender| move |message| out.send(message))?.bind("127.0.0.1:0")?;
/// println!("listening on ws://{}", ws.local_addr()?);
/// ws.run()?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub struct WebSocket<F: Factory> {
    factory: F,
    hub: Arc<Hub>,
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
}

/// Makes [`WebSocket`]s with settings of choice. It can be used again.
///
/// ```
/// use wireline::handler::{Builder, Sender, Settings};
/// let settings = Settings { max_connections: 10_000, ..Settings::default() };
/// let ws = Builder::new().with_settings(settings).build(|out: Sender| move |message| out.send(message))?;
/// # drop(ws);
/// # Ok::<(), wireline::handler::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// With all defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the settings.
    pub const fn with_settings(&mut self, settings: Settings) -> &mut Self {
        self.settings = settings;
        self
    }

    /// A `WebSocket` with these settings.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn build<F: Factory>(&self, factory: F) -> Result<WebSocket<F>> {
        Ok(WebSocket { factory, hub: Hub::new(self.settings, Who::WebSocket), listener: None, tls: None })
    }
}

/// Listens, and runs until the `WebSocket` is shut down: [`WebSocket::new`], [`bind`](WebSocket::bind) and
/// [`run`](WebSocket::run) in one call.
///
/// # Errors
///
/// As those.
///
/// ```no_run
/// use wireline::handler::listen;
/// listen("127.0.0.1:3012", |out| move |message| out.send(message))?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub fn listen<A, F, H>(addr: A, factory: F) -> Result<()>
where
    A: ToSocketAddrs + fmt::Debug,
    F: FnMut(Sender) -> H,
    H: Handler,
{
    WebSocket::new(factory)?.listen(addr).map(drop)
}

/// Connects to a URL, and runs until the last connection is gone. It is `Ok` even if the connection could not be made:
/// [`on_error`](Handler::on_error) is told.
///
/// # Errors
///
/// [`ErrorKind::Internal`] if the URL cannot be parsed; else as [`WebSocket::run`].
///
/// ```no_run
/// use wireline::handler::{connect, CloseCode};
/// connect("ws://127.0.0.1:3012", |out| {
///     out.send("hello").expect("the queue has room");
///     move |message| {
///         println!("{message}");
///         out.close(CloseCode::Normal)
///     }
/// })?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub fn connect<U, F, H>(url: U, factory: F) -> Result<()>
where
    U: std::borrow::Borrow<str>,
    F: FnMut(Sender) -> H,
    H: Handler,
{
    let mut ws = WebSocket::new(factory)?;
    ws.connect(parse(url.borrow())?)?;
    ws.run().map(drop)
}

/// The same as a future, in a runtime of the program's own, which is an error if the connection could not be made.
///
/// # Errors
///
/// As [`connect`], and why the connection could not be made, or the handler's own error if it refused the response.
///
/// # Cancel safety
///
/// Dropping the future cuts the connection without callbacks.
///
/// ```no_run
/// # async fn example() -> wireline::handler::Result<()> {
/// use wireline::handler::{connect_async, CloseCode, Sender};
/// connect_async("ws://127.0.0.1:3012", |out: Sender| {
///     out.send("hello").expect("the queue has room");
///     move |message| {
///         println!("{message}");
///         out.close(CloseCode::Normal)
///     }
/// }).await
/// # }
/// ```
pub async fn connect_async<U, F>(url: U, factory: F) -> Result<()>
where
    U: std::borrow::Borrow<str>,
    F: Factory,
    F::Handler: Send + 'static,
{
    let url = parse(url.borrow())?;
    let mut ws = WebSocket::new(factory)?;
    ws.connect(url)?;
    match ws.run_spawned(None).await? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| Error::new(ErrorKind::Internal, format!("the URL {url} cannot be parsed: {error}")))
}

impl<F: Factory> WebSocket<F> {
    /// A `WebSocket` with all defaults.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn new(factory: F) -> Result<Self> {
        Builder::new().build(factory)
    }

    /// Listens on the first of the addresses on which that works. It needs no runtime; connections wait until the
    /// `WebSocket` runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] with the last address's error; [`ErrorKind::Internal`] if there is no address, or if it listens
    /// already.
    pub fn bind<A: ToSocketAddrs>(mut self, addr_spec: A) -> Result<Self> {
        if self.listener.is_some() {
            return Err(Error::new(ErrorKind::Internal, "this WebSocket listens already"));
        }
        let mut last = Err(Error::new(ErrorKind::Internal, "there is no address to listen on"));
        for address in addr_spec.to_socket_addrs()? {
            last = listen_on(address).map_err(|error| {
                let details = format!("cannot listen on {address}");
                Error::new(ErrorKind::Io(error), details)
            });
            if last.is_ok() {
                break;
            }
        }
        self.listener = Some(last?);
        Ok(self)
    }

    /// [`bind`](Self::bind), then [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// As those.
    pub fn listen<A: ToSocketAddrs>(self, addr_spec: A) -> Result<Self> {
        self.bind(addr_spec)?.run()
    }

    /// Asks for a client connection, which is made when the `WebSocket` runs. It never waits, and any number may be asked
    /// for; at most [`max_connections`](Settings::max_connections) are made at the same time.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn connect(&mut self, url: Url) -> Result<&mut Self> {
        self.hub.connect(url, None)?;
        Ok(self)
    }

    /// A `Sender` for all connections, before, during and between runs.
    #[must_use]
    pub fn broadcaster(&self) -> Sender {
        Sender::broadcaster(&self.hub)
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if it does not listen; else the operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Some(listener) => listener.local_addr(),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "this WebSocket does not listen")),
        }
    }

    /// Runs on this thread, all connections on it, until [`Sender::shutdown`]; without a listener also until the last
    /// connection is gone and nothing is asked for any more. Then it hands itself back, to be run again.
    ///
    /// Handlers and the factory need be neither `Send` nor `'static`. Callbacks run in a Tokio context and may
    /// `tokio::spawn` work of their own, which ends with the run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] in a current-thread runtime, which it would stop: use [`run_async`](Self::run_async) or
    /// [`serve`](Self::serve) there. [`ErrorKind::Io`] if the listener fails, or no runtime can be made.
    ///
    /// # Panics
    ///
    /// For what [`Settings`] say by its fields `panic_on_...`.
    pub fn run(mut self) -> Result<Self> {
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Err(_) => self.run_here()?,
            Ok(RuntimeFlavor::MultiThread) => block_in_place(|| self.run_here())?,
            Ok(_) => {
                let details = "run would stop this current-thread runtime: await run_async or serve instead";
                return Err(Error::new(ErrorKind::Internal, details));
            }
        }
        Ok(self)
    }

    fn run_here(&mut self) -> Result<()> {
        let _watched = self.hub.rules.settings.shutdown_on_interrupt.then(|| interrupt::watch(&self.hub));
        let runtime = Stopping(Some(RuntimeBuilder::new_current_thread().enable_all().build()?));
        let pool = InPlace::new(connection);
        let Some(runtime) = &runtime.0 else { return Ok(()) };
        // The driver has a budget of its own. Tokio's, which all connections would share, ruins fairness among thousands.
        runtime.block_on(unconstrained(async {
            let listener = self.take_listener()?;
            let mut owner = Owner::new(&mut self.factory, &self.hub, pool, listener, self.tls.clone());
            poll_fn(|cx| owner.poll(cx)).await.map(drop)
        }))
    }

    /// The listener for one run; this `WebSocket` keeps its own for the next.
    fn take_listener(&self) -> Result<Option<tokio::net::TcpListener>> {
        match &self.listener {
            Some(listener) => Ok(Some(tokio::net::TcpListener::from_std(listener.try_clone()?)?)),
            None => Ok(None),
        }
    }
}

/// Connections that may wait to be accepted. The standard library has 128, which a burst of clients fills, and those beyond
/// try again only after a second.
const BACKLOG: i32 = 1024;

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: a server that starts again finds its port free.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Work that is still looking up names does not keep `run` from returning.
#[derive(Debug)]
struct Stopping(Option<Runtime>);

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl<F: Factory> WebSocket<F>
where
    F::Handler: Send + 'static,
{
    /// Accepts from a listener of the program's own, with a task of its runtime for each connection, until
    /// [`Sender::shutdown`].
    ///
    /// Callbacks of one handler never overlap; those of different handlers run in parallel. One that blocks holds up a
    /// thread of the runtime. All calls to the factory are made by this future. `shutdown_on_interrupt` is ignored. A
    /// panic of a handler ends its own task only; with `panic_on_internal` one of the factory ends this future, and with it
    /// all connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if it listens already, by [`bind`](Self::bind); [`ErrorKind::Io`] if the listener fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts all connections without callbacks.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::handler::Result<()> {
    /// use wireline::handler::{Sender, WebSocket};
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3012").await?;
    /// WebSocket::new(|out: Sender| move |message| out.send(message))?.serve(listener).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve(mut self, listener: tokio::net::TcpListener) -> Result<Self> {
        if self.listener.is_some() {
            return Err(Error::new(ErrorKind::Internal, "this WebSocket listens already"));
        }
        self.run_spawned(Some(listener)).await?;
        Ok(self)
    }

    /// [`run`](Self::run) as a future, in a runtime of the program's own: with the listener of [`bind`](Self::bind), or as
    /// a client only. Otherwise as [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the listener fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts all connections without callbacks.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::handler::Result<()> {
    /// use wireline::handler::{Sender, WebSocket};
    /// let ws = WebSocket::new(|out: Sender| move |message| out.send(message))?.bind("127.0.0.1:3012")?;
    /// ws.run_async().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_async(mut self) -> Result<Self> {
        let listener = self.take_listener()?;
        self.run_spawned(listener).await?;
        Ok(self)
    }

    async fn run_spawned(&mut self, listener: Option<tokio::net::TcpListener>) -> Result<Option<Error>> {
        let tls = self.tls.clone();
        let mut owner = Owner::new(&mut self.factory, &self.hub, Spawned::default(), listener, tls);
        poll_fn(|cx| owner.poll(cx)).await
    }
}

#[cfg(feature = "tls-no-provider")]
impl<F: Factory> WebSocket<F> {
    /// Speaks TLS to whoever connects, as with [`encrypt_server`](Settings::encrypt_server), by this configuration unless a
    /// handler overrides [`upgrade_ssl_server`](Handler::upgrade_ssl_server).
    ///
    /// ```no_run
    /// # fn example(config: std::sync::Arc<rustls::ServerConfig>) -> wireline::handler::Result<()> {
    /// use wireline::handler::{Sender, WebSocket};
    /// WebSocket::new(|out: Sender| move |message| out.send(message))?.with_tls(config).listen("0.0.0.0:443")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(TlsAcceptor::own(config));
        self
    }
}

impl<F: Factory> Drop for WebSocket<F> {
    fn drop(&mut self) {
        self.hub.end();
    }
}

impl<F: Factory + fmt::Debug> fmt::Debug for WebSocket<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("factory", &self.factory)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
