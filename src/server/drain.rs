use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use http::Request;
use tokio::time::timeout;

use crate::{
    CloseCode, Result, Server, Transport, WebSocket,
    server::BoxError,
    websocket::{Entries, Entry, Order},
};

/// How long the tasks that were cut may take to end: they only have to be polled once more.
const AFTER_CUT: Duration = Duration::from_millis(250);

/// What a drain came to.
///
/// A connection counts if it was open when the drain began or opened after that. It is _over_ when it has ended and its
/// application has.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// let drained = wireline::server::Tracker::new().drain(Duration::from_secs(5)).await;
/// println!("{} connections ended by themselves, {} were cut", drained.clean, drained.forced);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were over in time: the closing handshake was completed, or they had ended in another way of their
    /// own.
    pub clean: usize,
    /// Connections that were not: those cut by the deadline of the drain or by [`Tracker::cut`], and those whose peer took
    /// longer over the end than [`Timings::close`](crate::Timings::close) or [`write`](crate::Timings::write).
    pub forced: usize,
}

/// Ends connections together: those of a [`Server`](crate::Server), and those upgraded from hyper and axum.
///
/// Cheap to clone; all clones are the same tracker, but for the [`close_code`](Self::close_code). It is given to
/// [`Server::tracker`](crate::Server::tracker), [`Acceptor::tracker`](super::Acceptor::tracker) or the extractor for axum, as
/// often as there are servers. [`Server::serve_until`](crate::Server::serve_until) needs none of one's own.
///
/// # The drain
///
/// 1. [`Server::serve`](crate::Server::serve) returns and its listeners close. Handshakes under way and later requests, on
///    connections that are there already or from another HTTP server, are refused with 503; who has not come so far as to be
///    told (TLS, the PROXY protocol) is dropped.
/// 2. On every connection what the application fed is sent, and Close with the code behind it. The application sees what it
///    sees when it closes itself: [`next`](crate::WebSocket::next) goes on to the messages that still arrive and then to
///    `None`, and nothing more can be sent.
/// 3. At the deadline, or by [`cut`](Self::cut), the rest is cut. Applications that are stuck are dropped; their peers get
///    what was fed and Close as far as the transport takes it at once.
///
/// None of that is taken back: a tracker drains once, and its servers are over then.
///
/// A connection hears of the drain when its application is waiting for [`next`](crate::WebSocket::next), or sends. An
/// application that does neither for long should also wait for [`draining`](Self::draining), or it is cut at the deadline.
///
/// **What only its owner can end.** What was given to a task of the application's own, or was never given to
/// [`serve`](crate::Server::serve) or `on_upgrade` but accepted by [`Acceptor::accept`](super::Acceptor::accept), is cut as
/// soon as it is polled; where it is not, it lives on, counted as forced, until that task drops it. A task that blocks its
/// thread cannot be ended either.
///
/// Servers of the [`handler`](crate::handler) module have a shutdown of their own,
/// [`Sender::shutdown`](crate::handler::Sender::shutdown), and no tracker.
///
/// ```no_run
/// use std::time::Duration;
/// use wireline::server::{Server, Tracker};
/// # async fn example() -> wireline::Result<()> {
/// let tracker = Tracker::new();
/// let server = Server::bind("127.0.0.1:9001").await?.tracker(&tracker);
/// let serving = server.serve(|mut ws, _request| async move {
///     while let Some(message) = ws.next().await { ws.feed(message?).await?; }
///     Ok(())
/// });
/// let draining = tracker.drain_on(async || drop(tokio::signal::ctrl_c().await), Duration::from_secs(5));
/// let (served, drained) = tokio::join!(serving, draining);
/// println!("{drained:?}");
/// served
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tracker {
    entries: Arc<Entries>,
    code: CloseCode,
}

impl Default for Tracker {
    fn default() -> Self {
        Self { entries: Arc::default(), code: CloseCode::GOING_AWAY }
    }
}

impl Tracker {
    /// One that holds no connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what this handle tells the peers. Default [`CloseCode::GOING_AWAY`], 1001; [`CloseCode::SERVICE_RESTART`], 1012,
    /// asks them to come back after a random delay. The first drain's code counts.
    ///
    /// ```no_run
    /// # async fn example(tracker: wireline::server::Tracker) {
    /// use std::time::Duration;
    /// use wireline::CloseCode;
    /// let drained = tracker.close_code(CloseCode::SERVICE_RESTART).drain(Duration::from_secs(5)).await;
    /// # }
    /// ```
    #[must_use]
    pub fn close_code(self, code: CloseCode) -> Self {
        Self { code, ..self }
    }

    /// How many connections are open, or have an application that has not ended.
    #[must_use]
    pub fn open(&self) -> usize {
        self.entries.open()
    }

    /// Whether a drain has begun: a health check can say so.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.entries.order() != Order::Serve
    }

    /// Waits until a drain begins: for applications that wait for something other than their connection, and for
    /// `with_graceful_shutdown` of axum. Ready for ever from then on.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is lost.
    ///
    /// ```no_run
    /// # async fn example(mut ticks: tokio::sync::mpsc::Receiver<String>, tracker: wireline::server::Tracker,
    /// #     mut ws: wireline::WebSocket<wireline::Transport>) -> wireline::Result<()> {
    /// loop {
    ///     tokio::select! {
    ///         Some(tick) = ticks.recv() => ws.send(tick).await?,
    ///         () = tracker.draining() => return Ok(()),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let entries = Arc::clone(&self.entries);
        async move { entries.until(|entries| entries.order() != Order::Serve).await }
    }

    /// Ends all connections: ready when none of them and none of their tasks is left, but 0.25 seconds after the deadline
    /// at the latest, whatever is left.
    ///
    /// Another drain begun before is joined: the earlier deadline counts, and both report all connections.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. Dropping the future later does not undo the drain: connections go on to
    /// close, and no deadline but their own watches them. Another call goes on with it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time enabled.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.entries.give(Order::Close(self.code));
        let over = self.entries.until(|entries| entries.is_empty() || entries.order().is_cut());
        let _ = timeout(deadline, over).await;
        if !self.entries.is_empty() {
            self.cut();
            let _ = timeout(AFTER_CUT, self.entries.until(Entries::is_empty)).await;
        }
        let ended = self.entries.ended();
        Drained { clean: ended.clean, forced: ended.forced }
    }

    /// Cuts all connections at once, as the deadline of a drain does, and ends that drain. The second signal.
    ///
    /// ```no_run
    /// let tracker = wireline::server::Tracker::new();
    /// tracker.cut();
    /// assert!(tracker.is_draining());
    /// ```
    pub fn cut(&self) {
        self.entries.give(Order::Cut(self.code));
    }

    /// Waits for a signal, [drains](Self::drain), and [cuts](Self::cut) at a second signal: `signal` is called and awaited
    /// twice. A drain that was begun elsewhere takes the place of the first signal.
    ///
    /// # Cancel safety
    ///
    /// As [`drain`](Self::drain).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time enabled.
    ///
    /// ```no_run
    /// # #[cfg(feature = "axum")]
    /// # async fn example(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// use std::time::Duration;
    /// use axum::{Router, extract::State, routing::any};
    /// use wireline::{server::Tracker, upgrade::axum::WebSocketUpgrade};
    ///
    /// let tracker = Tracker::new();
    /// let echo = async |State(tracker): State<Tracker>, upgrade: WebSocketUpgrade| {
    ///     upgrade.tracker(&tracker).on_upgrade(async |mut ws| {
    ///         while let Some(message) = ws.next().await { ws.feed(message?).await?; }
    ///         Ok(())
    ///     })
    /// };
    /// let app = Router::new().route("/echo", any(echo)).with_state(tracker.clone());
    /// let serving = axum::serve(listener, app).with_graceful_shutdown(tracker.draining());
    /// let draining = tracker.drain_on(async || drop(tokio::signal::ctrl_c().await), Duration::from_secs(5));
    /// let (served, drained) = tokio::join!(serving.into_future(), draining);
    /// println!("{drained:?}");
    /// served
    /// # }
    /// ```
    pub async fn drain_on<Signal>(&self, mut signal: impl FnMut() -> Signal, deadline: Duration) -> Drained
    where
        Signal: Future<Output = ()>,
    {
        tokio::select! {
            () = signal() => {}
            () = self.draining() => {}
        }
        let mut drain = pin!(self.drain(deadline));
        tokio::select! {
            biased;
            drained = &mut drain => return drained,
            () = signal() => self.cut(),
        }
        drain.await
    }

    /// An entry for a connection that arrives.
    pub(crate) fn enter(&self) -> Arc<Entry> {
        self.entries.enter()
    }
}

impl Server {
    /// Holds the connections, so that they can be ended together, with those of other servers perhaps. Default: none.
    ///
    /// ```no_run
    /// # async fn example() -> wireline::Result<()> {
    /// use wireline::server::{Server, Tracker};
    /// let tracker = Tracker::new();
    /// let server = Server::bind("127.0.0.1:9001").await?.tracker(&tracker);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tracker(mut self, tracker: &Tracker) -> Self {
        self.acceptor = self.acceptor.tracker(tracker);
        self
    }

    /// Serves until a signal, and then ends gracefully: it stops accepting, closes all connections with 1001 (or
    /// [`Tracker::close_code`]) behind what their applications fed, and cuts what has not ended by the deadline. A second signal
    /// cuts at once: `signal` is called and awaited twice.
    ///
    /// [`Tracker`] says what happens in a drain; this is one with [`Tracker::drain_on`].
    ///
    /// # Errors
    ///
    /// None at present, as [`serve`](Self::serve).
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops accepting and closes the listeners; connections that are open go on to their own ends.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # #[tokio::main]
    /// # async fn main() -> wireline::Result<()> {
    /// let server = wireline::Server::bind("127.0.0.1:9001").await?;
    /// let ctrl_c = async || drop(tokio::signal::ctrl_c().await);
    /// let drained = server.serve_until(ctrl_c, Duration::from_secs(5), |mut ws, _request| async move {
    ///     while let Some(message) = ws.next().await { ws.feed(message?).await?; }
    ///     Ok(())
    /// }).await?;
    /// println!("{} connections ended by themselves, {} were cut", drained.clean, drained.forced);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_until<Signal, F, Fut>(
        self,
        signal: impl FnMut() -> Signal,
        deadline: Duration,
        application: F,
    ) -> Result<Drained>
    where
        Signal: Future<Output = ()>,
        F: Fn(WebSocket<Transport>, Request<()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let tracker = self.acceptor.tracked().cloned().unwrap_or_default();
        let (served, drained) =
            tokio::join!(self.tracker(&tracker).serve(application), tracker.drain_on(signal, deadline));
        served.map(|()| drained)
    }
}
