use std::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use http::Request;
use tracing::{Level, Span, field};

use crate::{
    logging::Escaped,
    proto::{connection::Ending, forwarded::Peer},
};

/// The span of a connection, where somebody wants spans: a pointer, because connections are many and subscribers few.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSpan(Option<Box<Span>>);

impl ConnectionSpan {
    /// For the connection that a request opens, with the [`Peer`] among its extensions.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        // Asked first: where nobody subscribes to spans, the feature `log` of tracing would write a line for each.
        if !tracing::span_enabled!(Level::INFO) {
            return Self(None);
        }
        let peer = request.extensions().get().map(|peer| field::display(Address(peer)));
        // Without the query, which may hold secrets.
        let path = Escaped(request.uri().path());
        let span = tracing::info_span!("websocket", id, peer, %path);
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    /// Whatever is logged meanwhile belongs to this connection.
    pub(crate) fn within<T>(&self, poll: impl FnOnce() -> T) -> T {
        match &self.0 {
            None => poll(),
            Some(span) => span.in_scope(poll),
        }
    }
}

struct Address<'a>(&'a Peer);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.address, self.0.port) {
            (Some(address), Some(port)) => SocketAddr::new(address, port).fmt(f),
            (Some(address), None) => address.fmt(f),
            (None, _) => f.write_str("unknown"),
        }
    }
}

/// Says how a connection ended, into the span that it is in.
pub(crate) fn closed(ending: Option<&Ending>) {
    let Some(ending) = ending else { return };
    tracing::debug!(
        code = ending.code(),
        reason = %Escaped(ending.reason()),
        cause = ?ending.cause(),
        initiator = ?ending.initiator(),
        "connection closed"
    );
}
