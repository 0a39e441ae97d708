//! The loop behind a `WebSocket` that runs: it accepts, connects, makes handlers, and gets them back.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use url::Url;

use crate::{
    handler::{
        Error, ErrorKind, Factory, Handler, Result, Sender, Settings,
        agent::{Agent, contain},
        hub::{Hub, OwnerCommand, Place},
        opening::{Ended, Ends, Origin, connection},
    },
    metrics,
    server::{FIRST_PAUSE, LAST_PAUSE, is_of_one_connection},
    tls::TlsAcceptor,
    transport::Nodelay,
    websocket::{Alarm, Forerunner, now},
};

/// Connections accepted before others have their turn.
const ACCEPTS_PER_TURN: usize = 32;

/// Where connections run.
pub(crate) trait Pool<H> {
    fn start(&mut self, agent: Agent<H>, origin: Origin);

    /// The next connection that has ended, without its handler if its task panicked; `Ready(None)` if there is none left.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Ended<H>>>>;
}

/// Polled in place, one after the other: handlers need be neither `Send` nor `'static`.
#[derive(Debug)]
pub(crate) struct InPlace<F, M> {
    connections: FuturesUnordered<F>,
    make: M,
}

impl<F, M> InPlace<F, M> {
    pub(crate) fn new(make: M) -> Self {
        Self { connections: FuturesUnordered::new(), make }
    }
}

impl<H, F, M> Pool<H> for InPlace<F, M>
where
    F: Future<Output = Ended<H>>,
    M: Fn(Agent<H>, Origin) -> F,
{
    fn start(&mut self, agent: Agent<H>, origin: Origin) {
        self.connections.push((self.make)(agent, origin));
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Ended<H>>>> {
        Pin::new(&mut self.connections).poll_next(cx).map(|ended| ended.map(Some))
    }
}

/// A task of the caller's runtime for each; dropping it cuts them all.
#[derive(Debug)]
pub(crate) struct Spawned<H: 'static>(JoinSet<Ended<H>>);

impl<H: 'static> Default for Spawned<H> {
    fn default() -> Self {
        Self(JoinSet::new())
    }
}

impl<H: Handler + Send + 'static> Pool<H> for Spawned<H> {
    fn start(&mut self, agent: Agent<H>, origin: Origin) {
        self.0.spawn(connection(agent, origin));
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Ended<H>>>> {
        self.0.poll_join_next(cx).map(|ended| ended.map(Result::ok))
    }
}

/// A `WebSocket` that runs.
#[derive(Debug)]
pub(crate) struct Owner<'a, F, P> {
    factory: &'a mut F,
    hub: Arc<Hub>,
    pool: P,
    listener: Option<Listening>,
    tls: Option<TlsAcceptor>,
    stage: Stage,
    paused: Paused,
    /// Why the first client connection that failed did.
    failure: Option<Error>,
}

/// What connections are accepted from.
#[derive(Debug)]
struct Listening {
    socket: TcpListener,
    nodelay: Option<Nodelay>,
    /// Where every connection arrives, if the listener says so.
    address: Option<SocketAddr>,
    ahead: Forerunner,
}

impl Listening {
    fn on(socket: TcpListener, settings: &Settings) -> Self {
        let nodelay = settings.tcp_nodelay.then(|| Nodelay::of(&socket));
        let address = socket.local_addr().ok().filter(|address| !address.ip().is_unspecified());
        Self { socket, nodelay, address, ahead: Forerunner::default() }
    }

    fn accepted(&mut self, stream: &TcpStream, peer: SocketAddr) -> Ends {
        if let Some(nodelay) = &mut self.nodelay {
            nodelay.set_on(stream);
        }
        Ends { peer, local: self.address.or_else(|| stream.local_addr().ok()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked for yet.
    Waiting,
    Running,
    /// No connection is made or accepted any more.
    ShuttingDown,
}

/// Accepting, while there is no room.
#[derive(Debug)]
struct Paused {
    until: Option<Instant>,
    next: Duration,
    alarm: Alarm,
    warned: Option<Instant>,
}

impl<'a, F: Factory, P: Pool<F::Handler>> Owner<'a, F, P> {
    pub(crate) fn new(
        factory: &'a mut F,
        hub: &Arc<Hub>,
        pool: P,
        listener: Option<TcpListener>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let paused = Paused { until: None, next: FIRST_PAUSE, alarm: Alarm::default(), warned: None };
        let listener = listener.map(|socket| Listening::on(socket, &hub.rules.settings));
        Self { factory, hub: Arc::clone(hub), pool, listener, tls, stage: Stage::Waiting, paused, failure: None }
    }

    /// Ready at the end of the run, with the reason for which the first client connection that failed did.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Error>>> {
        loop {
            while let Some(command) = self.hub.next(cx.waker()) {
                self.carry_out(command);
            }
            if let Err(error) = self.accept(cx) {
                return Poll::Ready(Err(error.into()));
            }
            let ended = match self.pool.poll_ended(cx) {
                Poll::Ready(Some(ended)) => {
                    self.lost(ended);
                    continue;
                }
                Poll::Ready(None) => true,
                Poll::Pending => false,
            };
            if ended && self.is_over() {
                self.call(Factory::on_shutdown);
                assert!(
                    self.stage != Stage::ShuttingDown || !self.hub.rules.settings.panic_on_shutdown,
                    "The WebSocket has shut down, and panic_on_shutdown is on."
                );
                return Poll::Ready(Ok(self.failure.take()));
            }
            return Poll::Pending;
        }
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::ShuttingDown => true,
            Stage::Running => self.listener.is_none() && !self.hub.has_commands(),
            Stage::Waiting => false,
        }
    }

    fn carry_out(&mut self, command: OwnerCommand) {
        if self.stage == Stage::ShuttingDown {
            if let OwnerCommand::Connect { .. } = command {
                self.hub.connect_dropped();
            }
            return;
        }
        self.stage = Stage::Running;
        match command {
            OwnerCommand::Connect { url, since, permit } => {
                drop(permit);
                self.connect(url, since);
            }
            OwnerCommand::Late { broadcast, number } => self.hub.pass_on(&broadcast, number),
            OwnerCommand::Shutdown => {
                self.stage = Stage::ShuttingDown;
                self.listener = None;
                self.hub.shutdown_everyone();
            }
        }
    }

    fn connect(&mut self, url: Url, since: u64) {
        let room = if self.is_full() {
            let limit = self.hub.rules.settings.max_connections;
            Err(Error::new(ErrorKind::Capacity, format!("there are max_connections ({limit}) connections already")))
        } else {
            Ok(())
        };
        let place = self.hub.join(Some(since));
        let sender = Sender::of(&self.hub, &place.mailbox);
        if let Some(handler) = self.call(|factory| factory.client_connected(sender)) {
            self.start(handler, place, Origin::Asked(url, room));
        }
    }

    fn call<T>(&mut self, callback: impl FnOnce(&mut F) -> T) -> Option<T> {
        if self.hub.rules.settings.panic_on_internal {
            Some(callback(self.factory))
        } else {
            contain("factory", || callback(self.factory))
        }
    }

    fn is_full(&self) -> bool {
        self.hub.len() >= self.hub.rules.settings.max_connections
    }

    fn start(&mut self, handler: F::Handler, place: Place, origin: Origin) {
        let rules = Arc::clone(&self.hub.rules);
        self.pool.start(Agent::new(handler, place, rules), origin);
    }

    fn accept(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &mut self.listener else { return Ok(()) };
            if let Some(until) = self.paused.until {
                if self.paused.alarm.poll(cx, until).is_pending() {
                    return Ok(());
                }
                self.paused.until = None;
            }
            match listener.socket.poll_accept(cx) {
                Poll::Ready(Ok((stream, peer))) => {
                    self.paused.next = FIRST_PAUSE;
                    let ends = listener.accepted(&stream, peer);
                    listener.ahead.run(cx);
                    self.accepted(stream, ends);
                }
                Poll::Ready(Err(error)) => self.not_accepted(error)?,
                Poll::Pending => return Ok(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn accepted(&mut self, stream: TcpStream, ends: Ends) {
        if self.is_full() {
            // Whether it is taken does not matter: there is no place to wait for it.
            let _ = stream.try_write(FULL);
            if self.paused.may_warn() {
                tracing::warn!("refusing connections: there are max_connections of them");
            }
            return;
        }
        let place = self.hub.join(None);
        let sender = Sender::of(&self.hub, &place.mailbox);
        if let Some(handler) = self.call(|factory| factory.server_connected(sender)) {
            let origin = Origin::Accepted(stream, ends, self.tls.clone());
            self.start(handler, place, origin);
        }
    }

    fn not_accepted(&mut self, error: io::Error) -> io::Result<()> {
        assert!(!self.hub.rules.settings.panic_on_new_connection, "Unable to accept a connection: {error}");
        match error.kind() {
            // The next may be fine.
            _ if is_of_one_connection(&error) => Ok(()),
            // The listener itself cannot be listened on.
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Err(error),
            _ => {
                if self.paused.may_warn() {
                    tracing::warn!(%error, "cannot accept connections, pausing");
                }
                metrics::accept_paused();
                self.paused.until = Some(now() + self.paused.next);
                self.paused.next = (self.paused.next * 2).min(LAST_PAUSE);
                Ok(())
            }
        }
    }

    fn lost(&mut self, ended: Option<Ended<F::Handler>>) {
        // Of a task that panicked nothing is left, and tokio has reported it.
        let Some(Ended { handler, place, failure }) = ended else { return };
        if self.failure.is_none() {
            self.failure = failure;
        }
        self.call(|factory| factory.connection_lost(handler));
        drop(place);
    }
}

impl Paused {
    /// Whether the last warning was a second ago.
    fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|at| now().duration_since(at) >= LAST_PAUSE);
        if may {
            self.warned = Some(now());
        }
        may
    }
}

/// What a connection beyond `max_connections` is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
