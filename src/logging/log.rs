use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, LazyLock},
    time::Instant,
};

use crate::{
    Error,
    logging::{Escaped, limiter::Limiter},
    proto::forwarded::Endpoint,
};

/// The lines that peers can provoke, each kind with a limit of its own.
#[derive(Debug, Default)]
pub(crate) struct Log {
    handshakes: Limiter,
    errors: Limiter,
    panics: Limiter,
}

impl Log {
    /// For connections that belong to no server of ours.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Log>> = LazyLock::new(Arc::default);
        Arc::clone(&SHARED)
    }

    pub(crate) fn handshake_failed(&self, now: Instant, peer: Option<Endpoint>, error: &Error) {
        let Some(suppressed) = self.handshakes.admit(now) else { return };
        if suppressed > 0 {
            tracing::debug!(suppressed, "more opening handshakes failed than were logged");
        }
        let peer = peer.map(tracing::field::debug);
        let source = error.source().map(|source| tracing::field::display(Escaped(source)));
        tracing::debug!(peer, error = %Escaped(error), source, "opening handshake failed");
    }

    pub(crate) fn application_failed(&self, now: Instant, error: &(dyn StdError + Send + Sync)) {
        let Some(suppressed) = self.errors.admit(now) else { return };
        if suppressed > 0 {
            tracing::debug!(suppressed, "more applications ended with an error than were logged");
        }
        tracing::debug!(error = %Escaped(error), "the application ended its connection with an error");
    }

    /// An error that a handler has no opinion of its own about.
    pub(crate) fn handler_failed(&self, now: Instant, error: &dyn fmt::Debug) {
        let Some(suppressed) = self.errors.admit(now) else { return };
        if suppressed > 0 {
            tracing::error!(suppressed, "handler: more errors than were logged");
        }
        tracing::error!(error = %Escaped(format_args!("{error:?}")), "handler: error");
    }

    /// A panic of `whose`, which closed a connection.
    pub(crate) fn panicked(&self, now: Instant, whose: &str, words: &str) {
        let Some(suppressed) = self.panics.admit(now) else { return };
        if suppressed > 0 {
            tracing::error!(suppressed, "there were more panics than were logged");
        }
        tracing::error!(reason = %Escaped(words), "the {whose} panicked");
    }
}
